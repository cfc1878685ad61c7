"""Steps, as the runner sends them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from docker_model.testing.server import chunk, head, whole
from docker_model.testing.steps import (
    CloseStdout,
    Cut,
    Downloaded,
    Exit,
    Fail,
    Finish,
    Grandchild,
    Hang,
    IgnoreSignals,
    Kill,
    Pulled,
    Raw,
    Reasoning,
    Sleep,
    Stderr,
    Stdout,
    Text,
    Usage,
    Warn,
    pieces,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from docker_model.testing.server import Connection
    from docker_model.testing.steps import ProcessStep, PullStep, Step

STDOUT, STDERR = 1, 2


class ChatStream:
    """One streamed answer.

    Its head goes out with the first thing that was said, so that an error before that is an
    HTTP error.
    """

    def __init__(self, connection: Connection, model: str) -> None:
        self._connection = connection
        self._model = model
        self._head_sent = False
        self._spoken = False
        self._usage: Usage | None = None
        self._finish = "stop"

    def play(self, steps: Iterable[Step]) -> None:
        """Send the answer.

        Raises:
            Gone: The client hung up before its end.
        """
        for step in steps:
            if self._last(step):
                return
        self._event({}, finish=self._finish)
        if self._usage is not None:
            self._send_usage(self._usage)
        self._send(b"data: [DONE]\n\n")
        self._connection.send(chunk(b""))

    def _last(self, step: Step) -> bool:
        """Do one step; whether it was the last."""
        match step:
            case Text(text, size):
                for piece in pieces(text, size):
                    self._event({"content": piece})
            case Reasoning(text, size):
                for piece in pieces(text, size):
                    self._event({"reasoning_content": piece})
            case Usage():
                self._usage = step
            case Finish(reason):
                self._finish = reason
            case Sleep(seconds):
                self._connection.wait(seconds)
            case Raw(data):
                self._send(data)
            case Hang():
                self._send_head()
                self._connection.wait(None)
            case Cut():
                self._send_head()
                return True
            case Fail():
                self._fail(step)
                return True
            case _:
                self._send(b": simulated " + _dumps(order(step)) + b"\n\n")
        return False

    def _fail(self, step: Fail) -> None:
        if not self._head_sent:
            kind = "application/json" if step.message.startswith("{") else "text/plain"
            self._connection.send(whole(step.status, kind, step.message.encode()))
            return
        error = {"code": step.status, "message": step.message, "type": "server_error"}
        self._send(b"data: " + _dumps({"error": error}) + b"\n\n")
        self._connection.send(chunk(b""))

    def _send_usage(self, usage: Usage) -> None:
        total = usage.total_tokens
        counts = {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens
            if total is None
            else total,
        }
        event = {**self._frame(), "choices": [], "usage": counts}
        self._send(b"data: " + _dumps(event) + b"\n\n")

    def _event(self, delta: dict[str, Any], finish: str | None = None) -> None:
        if not self._spoken:
            self._spoken = True
            self._event({"role": "assistant", "content": None})
        choice = {"index": 0, "finish_reason": finish, "delta": delta}
        self._send(b"data: " + _dumps({**self._frame(), "choices": [choice]}) + b"\n\n")

    def _frame(self) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": self._model}

    def _send_head(self) -> None:
        if not self._head_sent:
            self._head_sent = True
            self._connection.send(head(200, "text/event-stream", "Transfer-Encoding: chunked"))

    def _send(self, data: bytes) -> None:
        self._send_head()
        self._connection.send(chunk(data))


def play_pull(connection: Connection, steps: Iterable[PullStep]) -> bool:
    """Send the progress of a pull.

    Returns:
        Whether the model is there now.

    Raises:
        Gone: The client hung up before its end.
    """
    started = False
    pulled = False

    def send(data: bytes) -> None:
        nonlocal started
        if not started:
            started = True
            connection.send(head(200, "application/json", "Transfer-Encoding: chunked"))
        if data:
            connection.send(chunk(data))

    for step in steps:
        match step:
            case Downloaded(current, total, layer):
                part = {"id": layer, "size": total, "current": current}
                event = {"type": "progress", "total": total, "pulled": current, "layer": part}
                send(_dumps(event) + b"\n")
            case Warn(message):
                send(_dumps({"type": "warning", "message": message}) + b"\n")
            case Pulled(message):
                pulled = True
                send(_dumps({"type": "success", "message": message}) + b"\n")
            case Fail(message, status):
                if not started:
                    connection.send(whole(status, "text/plain", message.encode()))
                    return False
                send(_dumps({"type": "error", "message": message}) + b"\n")
                break
            case Raw(data):
                send(data)
            case Sleep(seconds):
                connection.wait(seconds)
            case Hang():
                send(b"")
                connection.wait(None)
            case Cut():
                send(b"")
                return False
    send(b"")
    connection.send(chunk(b""))
    return pulled


def order(step: ProcessStep) -> dict[str, Any]:
    """A step that the command itself does, as it is told to it."""
    match step:
        case Exit(code):
            return {"do": "exit", "code": code}
        case Kill():
            return {"do": "kill"}
        case Stdout(data):
            return {"do": "write", "to": STDOUT, "data": data.decode("latin-1")}
        case Stderr(text):
            data = text.encode()
            return {"do": "write", "to": STDERR, "data": data.decode("latin-1")}
        case CloseStdout():
            return {"do": "close", "to": STDOUT}
        case IgnoreSignals():
            return {"do": "ignore signals"}
        case Grandchild(detached):
            return {"do": "grandchild", "detached": detached}
        case Sleep(seconds):
            return {"do": "sleep", "seconds": seconds}
        case Hang():
            return {"do": "hang"}


def _dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )
