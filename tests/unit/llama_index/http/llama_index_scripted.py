"""A runner with OpenAI's API whose replies the tests write, and who remembers what was asked."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from llama_index_docker_model import DockerModelLLM


def model(runner, **settings):
    """A model that asks this runner for tools as they are, without a look at its template."""
    settings = {"tool_calling": "native", **settings}
    return DockerModelLLM(model="ai/smollm2", base_url=runner.url, **settings)


def reply(
    content="Hello.", *, calls=(), reasoning=None, finish="stop", thoughts="reasoning_content"
):
    message = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [
            {"type": "function", "function": {"name": name, "arguments": arguments}, **more}
            for name, arguments, more in calls
        ]
        finish = "tool_calls"
    if reasoning:
        message[thoughts] = reasoning
    return message, finish


class Runner:
    """Answers chats with `replies` in turn, the last for good; texts with their lengths."""

    def __init__(self):
        self.replies = [reply()]
        self.asked = []
        self.headers = []
        self.embedding_error = None
        self.told = {}  # beside the answers
        runner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                self.send(200, {"object": "list", "data": []})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                runner.asked.append(body)
                runner.headers.append(dict(self.headers))
                if self.path.endswith("/embeddings"):
                    self.send(*runner.embed(body))
                elif body.get("stream"):
                    self.stream(*runner.next())
                else:
                    message, finish = runner.next()
                    choice = {"index": 0, "message": message, "finish_reason": finish}
                    told = {"model": "/a/file", "usage": USAGE, **runner.told}
                    self.send(200, {**told, "choices": [choice]})

            def send(self, status, content):
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def stream(self, message, finish):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                for delta in deltas(message):
                    self.event({"choices": [{"index": 0, "delta": delta}]})
                self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
                self.event({"choices": [], "usage": USAGE, **runner.told})
                self.wfile.write(b"data: [DONE]\n\n")

            def event(self, chunk):
                self.wfile.write(
                    b"data: " + json.dumps({**chunk, "model": "/x"}).encode() + b"\n\n"
                )

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def next(self):
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def embed(self, body):
        if self.embedding_error:
            return 400, {"error": {"code": 400, "message": self.embedding_error}}
        data = [
            {"object": "embedding", "index": index, "embedding": [float(len(text)), 1.0]}
            for index, text in enumerate(body["input"])
        ]
        return 200, {"object": "list", "data": data[::-1], "usage": {"prompt_tokens": 1}}

    def close(self):
        self.server.shutdown()
        self.server.server_close()


USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def deltas(message):
    yield {"role": "assistant", "content": None}
    for thoughts in ("reasoning_content", "reasoning"):
        if thoughts in message:
            yield {thoughts: message[thoughts]}
    text = message["content"] or ""
    yield from ({"content": text[at : at + 5]} for at in range(0, len(text), 5))
    for index, call in enumerate(message.get("tool_calls", ())):
        function = call["function"]
        yield {"tool_calls": [{**call, "index": index, "function": {**function, "arguments": ""}}]}
        for at in range(0, len(function["arguments"]), 7):
            piece = {"arguments": function["arguments"][at : at + 7]}
            yield {"tool_calls": [{"index": index, "function": piece}]}
