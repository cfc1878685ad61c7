"""A runner's API for tests of chats: it answers each request as a function of its body says.

What goes over the wire looks as llama.cpp's does behind Docker Model Runner: the reply's
`model` is a file path, `timings` come with the usage, tool calls come in pieces.
"""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILE = "/models/blobs/sha256/0d18/model.gguf"
TIMINGS = {"prompt_n": 7, "predicted_n": 5, "predicted_per_second": 123.25}


class ScriptedRunner:
    """Serves until it is closed.

    Attributes:
        url: Its address, as for `base_url`.
        host: Its address, as for `MODEL_RUNNER_HOST`.
        bodies: What was asked, in order.
        headers: And with which headers.
    """

    def __init__(self, script):
        self.script = script
        self.bodies = []
        self.headers = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.runner = self
        self.server.daemon_threads = True
        self.host = f"http://127.0.0.1:{self.server.server_port}"
        self.url = f"{self.host}/engines/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        known = self.path.rstrip("/").endswith("/models")
        listing = [] if self.path == "/models" else {"object": "list", "data": []}
        self.reply(200 if known else 404, listing)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/count_tokens"):
            count = len(json.dumps([body["messages"], body.get("tools")]))
            self.reply(200, {"input_tokens": count})
            return
        self.server.runner.bodies.append(body)
        self.server.runner.headers.append(dict(self.headers))
        if self.path.endswith("/embeddings"):
            self.reply(*embeddings(body))
            return
        said = self.server.runner.script(body)
        status = said.pop("status", 200)
        if status != 200:
            self.reply(status, said["error"])
        elif body.get("stream"):
            self.stream(said, usage_of(body, said))
        else:
            choice = {"index": 0, **parts(said), "message": message(said)}
            choices = [{**choice, "index": index} for index in range(body.get("n", 1))]
            self.reply(
                200,
                {
                    "id": "chatcmpl-1",
                    "object": "chat.completion",
                    "model": FILE,
                    "choices": choices,
                    "usage": usage_of(body, said),
                    "timings": TIMINGS,
                },
            )

    def reply(self, status, content):
        text = isinstance(content, str)
        data = (content if text else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, said, usage):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": FILE}
        events = [
            {**frame, "choices": [{"index": 0, "finish_reason": None, **choice}]}
            for choice in deltas(said)
        ]
        events.append({**frame, "choices": [], "usage": usage, "timings": TIMINGS})
        try:
            for event in events:
                self.piece(b"data: " + json.dumps(event).encode() + b"\n\n")
            self.piece(b"data: [DONE]\n\n")
            self.piece(b"")
        except ConnectionError:  # the client has left
            self.close_connection = True

    def piece(self, data):
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))


@contextmanager
def serving(script):
    runner = ScriptedRunner(script)
    try:
        yield runner
    finally:
        runner.close()


def message(said):
    kept = ("content", "reasoning_content", "tool_calls")
    return {"role": "assistant", "content": None} | {key: said[key] for key in kept if key in said}


def parts(said):
    reason = said.get("finish_reason") or ("tool_calls" if said.get("tool_calls") else "stop")
    logprobs = {"logprobs": said["logprobs"]} if "logprobs" in said else {}
    return {"finish_reason": reason, **logprobs}


def deltas(said):
    yield {"delta": {"role": "assistant", "content": None}}
    for name in ("reasoning_content", "content"):
        for piece in re.findall(r"(?s).{1,7}", said.get(name) or ""):
            yield {"delta": {name: piece}}
    for entry in (said.get("logprobs") or {}).get("content", ()):
        yield {"delta": {"content": ""}, "logprobs": {"content": [entry]}}
    for index, call in enumerate(said.get("tool_calls") or ()):
        function = call["function"]
        start = {**call, "index": index, "function": {"name": function["name"], "arguments": ""}}
        yield {"delta": {"tool_calls": [start]}}
        for piece in re.findall(r"(?s).{1,5}", function["arguments"]):
            yield {"delta": {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}}
    yield {"delta": {}, "finish_reason": parts(said)["finish_reason"]}


def usage_of(body, said):
    read = said.get("prompt_tokens", len(json.dumps(body["messages"])) + 10 * len(json.dumps(body)))
    written = len(said.get("content") or "") or 1
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def embeddings(body):
    if "chat" in body["model"]:
        text = "Pooling type 'none' is not OAI compatible. Please use a different pooling type"
        return 400, {"error": {"code": 400, "message": text, "type": "invalid_request_error"}}
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    data = [
        {"object": "embedding", "index": index, "embedding": [float(len(text)), 0.5, -0.25]}
        for index, text in enumerate(texts)
    ]
    # Out of order, as an engine may: the index is what counts.
    return 200, {"object": "list", "model": FILE, "data": data[::-1], "usage": {}}


def obedient(body):
    """A model that does what the standard suites ask of one."""
    asked = text_of(body["messages"])
    wanted = body.get("response_format", {})
    if wanted.get("type") == "json_schema":
        schema = wanted["json_schema"]["schema"]
        return {"content": json.dumps(instance(schema, asked, schema))}
    if wanted.get("type") == "json_object":
        return {"content": json.dumps(dict.fromkeys(re.findall(r"'(\w+)'", asked), "well"))}
    tools, choice = body.get("tools"), body.get("tool_choice", "auto")
    assert choice in ("auto", "none", "required")  # llama.cpp knows no others
    answered = body["messages"][-1]["role"] == "tool"
    if tools and choice != "none" and (choice == "required" or not answered):
        function = tools[0]["function"]
        schema = function.get("parameters", {})
        arguments = json.dumps(instance(schema, asked, schema), ensure_ascii=False)
        call = {"name": function["name"], "arguments": arguments}
        return {"tool_calls": [{"type": "function", "id": "abc123", "function": call}]}
    text = f"Hello! I hear you: {asked}"
    for stop in body.get("stop", ()):
        text = text.partition(stop)[0]
    return {"content": text}


def text_of(messages):
    content = next(one["content"] for one in messages[::-1] if one["role"] == "user")
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


def instance(schema, asked, root):
    """Something that matches the schema."""
    if "$ref" in schema:
        found = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return instance(found, asked, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    choices = [choice for several in ("anyOf", "allOf") for choice in schema.get(several, ())]
    if choices:
        return instance(choices[0], asked, root)
    match schema.get("type"):
        case "integer" | "number":
            return int((re.findall(r"\d+", asked) or ["1"])[0])
        case "array":
            return [instance(schema.get("items", {}), asked, root)]
        case "string":
            return (re.findall(r"'([^']+)'", asked) or ["well"])[0]
    properties = schema.get("properties", {})
    return {name: instance(inner, asked, root) for name, inner in properties.items()}
