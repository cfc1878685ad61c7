"""The Ollama API of Docker Model Runner, on top of a simulated runner, for the Ollama clients.

The real runner converts a request to `/api/…` to a request to its OpenAI-compatible API, and
converts the answer back. Like the real runner, this loses schemas, the system prompt of
`generate`, token counts, the finish reason, the text of an error in a stream, and embeddings.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

from docker_model.testing._server import Exchange, Gone, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

# The supported options with their names in the OpenAI-compatible API. All others are ignored.
OPTIONS = {name: name for name in ("temperature", "top_p", "top_k", "stop", "seed")} | {
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "num_predict": "max_tokens",
}
STAMP = {"created_at": "2026-01-01T00:00:00Z"}
JSON = "application/json"


@contextlib.contextmanager
def ollama_api(runner: str) -> Iterator[str]:
    """Serve an Ollama API for the runner at this `HOST:PORT`, and yield the API's address."""

    def answer(exchange: Exchange) -> None:
        _Request(runner, exchange).serve()

    server = Server(lambda connection: [Exchange(connection, answer)], socket.SHUT_RDWR)
    try:
        yield f"http://{server.address}"
    finally:
        server.close()


class _Request:
    """One request."""

    def __init__(self, runner: str, exchange: Exchange) -> None:
        self._exchange = exchange
        self._runner = http.client.HTTPConnection(runner)
        self._socket: socket.socket | None = None
        own = {name: value for name, value in exchange.headers.items() if name[:2].lower() == "x-"}
        self._headers = {"Accept": JSON, "Content-Type": JSON, **own}

    def serve(self) -> None:
        exchange = self._exchange
        exchange.close_connection = True
        watch = threading.Thread(target=self._watch)
        watch.start()
        try:
            # A client that disconnected has closed the connection to the runner, too.
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._answer(exchange.command, exchange.target, exchange.json())
        finally:
            with contextlib.suppress(OSError):
                exchange.connection.shutdown(socket.SHUT_RDWR)  # ends the watch
            watch.join()
            self._runner.close()

    def _watch(self) -> None:
        with contextlib.suppress(Gone):
            self._exchange.wait(None)
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _answer(self, method: str, path: str, body: Any) -> None:
        match method, path:
            case "POST", "/api/chat":
                self._ask(body, body["messages"], generate=False)
            case "POST", "/api/generate":
                message = {"role": "user", "content": body["prompt"]}
                self._ask(body, [message], generate=True)
            case "GET", "/api/tags":
                models = json.loads(self._send("GET", "/models").read())
                names = [tag for model in models for tag in model["tags"]]
                self._reply(200, {"models": [{"name": name, "model": name} for name in names]})
            case "POST", "/api/show":
                known = self._send("GET", f"/models/{body['model']}").status == 200
                details = {"format": "gguf", "family": "llama", "families": ["llama"]}
                self._reply(*(200, {"details": details}) if known else (404, "Model not found"))
            case "POST", "/api/pull":
                self._pull(body["model"])
            case _:
                self._reply(404, "404 page not found\n")

    def _send(self, method: str, path: str, body: Any = None) -> http.client.HTTPResponse:
        data = None if body is None else json.dumps(body)
        self._runner.request(method, path, data, self._headers)
        self._socket = self._runner.sock  # the last reply of a connection removes it
        return self._runner.getresponse()

    def _reply(self, status: int, body: object) -> None:
        kind = "text/plain" if isinstance(body, str) else JSON
        text = body if isinstance(body, str) else json.dumps(body)
        self._exchange.reply(status, kind, text.encode())

    def _ask(self, body: Any, messages: list[Any], *, generate: bool) -> None:
        options = body.get("options") or {}
        chat = {
            "model": body["model"],
            "messages": [_message(message) for message in messages],
            "stream": body.get("stream", True),
            **({"tools": body["tools"]} if body.get("tools") else {}),
            **{to: options[name] for name, to in OPTIONS.items() if name in options},
        }
        if options.get("num_ctx"):
            size = {"model": body["model"], "context-size": options["num_ctx"]}
            self._send("POST", "/engines/_configure", size).read()
        reply = self._send("POST", "/engines/v1/chat/completions", chat)
        if chat["stream"]:
            self._stream(reply, body["model"], generate=generate)
        elif reply.status == 200:
            message = json.loads(reply.read())["choices"][0]["message"]
            self._reply(200, _answer_of(body["model"], message, generate=generate) | {"done": True})
        else:
            text = reply.read().decode()
            with contextlib.suppress(ValueError, KeyError):
                text = json.dumps({"error": json.loads(text)["error"]["message"]})
            self._reply(reply.status, text)

    def _stream(self, reply: http.client.HTTPResponse, model: str, *, generate: bool) -> None:
        """Send the events; drop other lines, including the body of an error."""
        self._exchange.begin(JSON, reply.status)
        for line in _lines(reply):
            data = line.strip().removeprefix(b"data: ")
            if not line.startswith(b"data: "):
                continue
            if data == b"[DONE]":
                last = {} if generate else {"message": {"role": "", "content": ""}}
                event = {"model": model, **STAMP, **last, "done": True}
            else:
                choices = json.loads(data).get("choices") or [{"delta": {}}]
                event = _answer_of(model, choices[0]["delta"], generate=generate) | {"done": False}
            self._exchange.piece(json.dumps(event).encode() + b"\n")
        self._exchange.piece(b"")

    def _pull(self, model: str) -> None:
        reply = self._send("POST", "/models/create", {"from": model})
        self._exchange.begin("application/x-ndjson")
        for line in reply:
            progress = json.loads(line)
            match progress["type"]:
                case "progress":
                    layer = progress["layer"]
                    event = {
                        "status": f"pulling {layer['id'][7:19]}",
                        "digest": layer["id"],
                        "total": layer["size"],
                        "completed": layer["current"],
                    }
                case "success":
                    event = {"status": "success"}
                case _:
                    event = {"error": progress["message"]}
            self._exchange.piece(json.dumps(event).encode() + b"\n")
        self._exchange.piece(b"")


def _lines(reply: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the lines of a reply.

    Raises:
        HTTPException: If the reply is incomplete, which its own iterator would hide.
    """
    incomplete = b""
    while data := reply.read1():
        *lines, incomplete = (incomplete + data).split(b"\n")
        yield from lines


def _message(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if message.get("images"):
        urls = [{"url": f"data:image/png;base64,{data}"} for data in message["images"]]
        images = [{"type": "image_url", "image_url": url} for url in urls]
        content = [{"type": "text", "text": content}, *images]
    return {"role": message["role"], "content": content}


def _answer_of(model: str, message: dict[str, Any], *, generate: bool) -> dict[str, Any]:
    content, thinking = message.get("content") or "", message.get("reasoning_content")
    thought = {"thinking": thinking} if thinking else {}
    if generate:
        return {"model": model, **STAMP, "response": content, **thought}
    calls = [_call(call) for call in message.get("tool_calls") or ()]
    called = {"tool_calls": calls} if calls else {}
    answer = {"role": "assistant", "content": content, **thought, **called}
    return {"model": model, **STAMP, "message": answer}


def _call(call: dict[str, Any]) -> dict[str, Any]:
    """Return a call with its arguments as an object; pieces of a streamed call stay unchanged."""
    function = call["function"]
    arguments = function["arguments"]
    with contextlib.suppress(ValueError):
        arguments = json.loads(arguments)
    return {"function": {"name": function.get("name", ""), "arguments": arguments}}
