"""A runner's API for tests of chats: it answers each request as a function of its body says.

What goes over the wire looks as llama.cpp's does behind Docker Model Runner: the reply's
`model` is a file path, `timings` come with the usage, tool calls come in pieces.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager

from docker_model.testing import Event, Finish, Raw, Reply, SimulatedDocker

FILE = "/models/blobs/sha256/0d18/model.gguf"
TIMINGS = {"prompt_n": 7, "predicted_n": 5, "predicted_per_second": 123.25}


class ScriptedRunner:
    """A simulated runner that is scripted by functions of the request's body.

    Attributes:
        url: Its address, as for `base_url`.
        host: Its address, as for `MODEL_RUNNER_HOST`.
    """

    def __init__(self, script):
        self.script = script
        self._docker = SimulatedDocker(
            None,
            script=self._answer,
            replies={
                "POST /v1/embeddings": lambda request: Reply(*embeddings(request.body)),
                "POST /v1/messages/count_tokens": count,
            },
        ).open()
        self.host = self._docker.url
        self.url = f"{self.host}/engines/v1"

    @property
    def _posts(self):
        posts = [request for request in self._docker.requests if request.method == "POST"]
        return [request for request in posts if not request.path.endswith("/count_tokens")]

    @property
    def bodies(self):
        """What was asked, in order."""
        return [request.body for request in self._posts]

    @property
    def headers(self):
        """With which headers."""
        posts = [request.headers for request in self._posts]
        return [{name.title(): value for name, value in headers.items()} for headers in posts]

    def _answer(self, prompt):
        body = prompt.body
        said = self.script(body)
        status = said.pop("status", 200)
        if status != 200:
            yield Reply(status, said["error"])
            return
        counts = {"usage": usage_of(body, said), "timings": TIMINGS}
        if body.get("stream"):
            yield from (Event({"choices": [{"index": 0, **each}]}) for each in deltas(said))
            yield Event({"choices": [], **counts})
            yield Raw(b"data: [DONE]\n\n")
            yield Finish(None)
            return
        choice = {**parts(said), "message": message(said)}
        choices = [{"index": index, **choice} for index in range(body.get("n", 1))]
        frame = {"id": "chatcmpl-1", "object": "chat.completion", "model": FILE}
        yield Reply(body={**frame, "choices": choices, **counts})

    def close(self):
        self._docker.close()


def count(request):
    text = json.dumps([request.body["messages"], request.body.get("tools")])
    return Reply(body={"input_tokens": len(text)})


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
