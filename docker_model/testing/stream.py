"""Steps, as the runner sends them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from docker_model.testing.engine import FILE
from docker_model.testing.models import CREATED
from docker_model.testing.server import JSON, PLAIN
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
    ToolCall,
    Usage,
    Warn,
    pieces,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from docker_model.testing.engine import ChatPrompt
    from docker_model.testing.server import Exchange
    from docker_model.testing.steps import ProcessStep, PullStep, Step


class _Stream(ABC):
    """A reply that comes in pieces.

    Its head goes out with the first of them, so that an error before that is an HTTP error.
    """

    content_type = ""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._head_sent = False

    def _send(self, data: bytes) -> None:
        """Send a piece; the empty one is the end."""
        self._send_head()
        self._exchange.piece(data)

    def _send_head(self) -> None:
        if not self._head_sent:
            self._head_sent = True
            self._exchange.begin(self.content_type)

    def _runner_step(self, step: Sleep | Hang | Cut | Raw | Fail) -> bool:
        """Do one of the steps that all streams have; whether it was the last."""
        match step:
            case Sleep(seconds):
                self._exchange.wait(seconds)
            case Raw(data):
                self._send(data)
            case Hang():
                self._send_head()
                self._exchange.wait(None)
            case Cut():
                self._send_head()
                self._exchange.close_connection = True
                return True
            case Fail(message, status):
                self._fail(message, status)
                return True
        return False

    def _fail(self, message: str, status: int) -> None:
        if self._head_sent:
            self._send(self._error(message, status))
            self._send(b"")
        else:
            kind = JSON if message.startswith("{") else PLAIN
            self._exchange.reply(status, kind, message.encode())

    @abstractmethod
    def _error(self, message: str, status: int) -> bytes:
        """An error after the head has gone, in the words of this kind of reply."""


class ChatStream(_Stream):
    """One streamed answer."""

    content_type = "text/event-stream"

    def __init__(self, exchange: Exchange, body: dict[str, Any], prompt: ChatPrompt) -> None:
        """Begin.

        Args:
            exchange: Where to.
            body: The request's body. Token counts are sent where it asks for them, or where
                the steps have counts of their own.
            prompt: What the model reads.
        """
        super().__init__(exchange)
        self._prompt = prompt
        self._counted = bool((body.get("stream_options") or {}).get("include_usage"))
        self._progress = bool(body.get("return_progress"))
        self._frame = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": FILE,
        }
        self._spoken = False
        self._calls = 0
        self._pieces = 0
        self._usage: Usage | None = None
        self._finish: str | None = "stop"

    def play(self, steps: Iterable[Step]) -> None:
        """Send the answer.

        Raises:
            Gone: The client hung up before its end.
        """
        for step in steps:
            if self._progress and not self._spoken:
                self._tell_progress()
            if self._last(step):
                return
        self._end()

    def _tell_progress(self) -> None:
        self._spoken = True
        choice = {
            "index": 0,
            "finish_reason": None,
            "delta": {"role": "assistant", "content": None},
        }
        for done in self._prompt.progress():
            self._event({**self._frame, "choices": [choice], "prompt_progress": done})

    def _end(self) -> None:
        if self._finish is not None:
            self._delta({}, finish=self._finish)
            if self._usage or self._counted:
                self._event({**self._frame, "choices": [], **self._counts()})
            self._send(b"data: [DONE]\n\n")
        self._send(b"")

    def _counts(self) -> dict[str, Any]:
        """Token counts and times, as the engine sends them."""
        prompt, completion, total = len(self._prompt.tokens), self._pieces, None
        details = {"prompt_tokens_details": {"cached_tokens": self._prompt.cached}}
        if self._usage:
            prompt, completion = self._usage.prompt_tokens, self._usage.completion_tokens
            total, details = self._usage.total_tokens, {}
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion if total is None else total,
        }
        return {"usage": {**usage, **details}, "timings": self._prompt.timings(completion)}

    def _last(self, step: Step) -> bool:
        """Do one step; whether it was the last."""
        match step:
            case Text(text, size):
                for piece in pieces(text, size):
                    self._piece({"content": piece})
            case Reasoning(text, size):
                for piece in pieces(text, size):
                    self._piece({"reasoning_content": piece})
            case ToolCall():
                self._call(step)
            case Usage():
                self._usage = step
            case Finish(reason):
                self._finish = reason
            case Sleep() | Hang() | Cut() | Raw() | Fail():
                return self._runner_step(step)
            case _:
                self._send(b": simulated " + _dumps(order(step)) + b"\n\n")
        return False

    def _call(self, call: ToolCall) -> None:
        index, self._calls = self._calls, self._calls + 1
        self._finish = "tool_calls"
        function = {"name": call.name, "arguments": ""}
        start = {"index": index, "id": call.id, "type": "function", "function": function}
        self._delta({"tool_calls": [start]})
        text = call.arguments
        if not isinstance(text, str):
            text = json.dumps(text, ensure_ascii=False)
        for piece in pieces(text, None):
            self._piece({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})

    def _piece(self, delta: dict[str, Any]) -> None:
        """One more token, so to say."""
        self._pieces += 1
        self._delta(delta)

    def _delta(self, delta: dict[str, Any], finish: str | None = None) -> None:
        if not self._spoken:
            self._spoken = True
            self._delta({"role": "assistant", "content": None})
        choice = {"index": 0, "finish_reason": finish, "delta": delta}
        self._event({**self._frame, "choices": [choice]})

    def _event(self, event: dict[str, Any]) -> None:
        self._send(b"data: " + _dumps(event) + b"\n\n")

    def _error(self, message: str, status: int) -> bytes:
        error = {"code": status, "message": message, "type": "server_error"}
        return b"data: " + _dumps({"error": error}) + b"\n\n"


class WholeChat(ChatStream):
    """The same answer in one piece."""

    content_type = JSON

    def __init__(self, exchange: Exchange, body: dict[str, Any], prompt: ChatPrompt) -> None:
        super().__init__(exchange, body, prompt)
        self._message: dict[str, Any] = {"role": "assistant", "content": None}

    def _end(self) -> None:
        choice = {"index": 0, "finish_reason": self._finish, "message": self._message}
        reply = {**self._frame, "object": "chat.completion", "choices": [choice]}
        body = _dumps({**reply, **self._counts()})
        self._exchange.reply(200, self.content_type, body)

    def _delta(self, delta: dict[str, Any], finish: str | None = None) -> None:  # noqa: ARG002 - see `_end`
        for name, value in delta.items():
            if name == "tool_calls":
                self._gather(value[0])
            else:
                self._message[name] = (self._message.get(name) or "") + value

    def _gather(self, part: dict[str, Any]) -> None:
        calls = self._message.setdefault("tool_calls", [])
        if "id" in part:
            calls.append({name: part[name] for name in ("id", "type", "function")})
        else:
            calls[-1]["function"]["arguments"] += part["function"]["arguments"]

    def _send(self, data: bytes) -> None:
        pass

    def _send_head(self) -> None:
        pass


class PullStream(_Stream):
    """The progress of one pull."""

    content_type = JSON

    def play(self, steps: Iterable[PullStep], pulled: Callable[[], object]) -> None:
        """Send the progress.

        Args:
            steps: What happens.
            pulled: Called when the model is there, before that is said: whoever hears it may
                ask for the model at once.

        Raises:
            Gone: The client hung up before its end.
        """
        for step in steps:
            match step:
                case Downloaded(current, total, layer):
                    part = {"id": layer, "size": total, "current": current}
                    self._event("progress", total=total, pulled=current, layer=part)
                case Warn(message):
                    self._event("warning", message=message)
                case Pulled(message):
                    pulled()
                    self._event("success", message=message)
                case _:
                    if self._runner_step(step):
                        return
        self._send(b"")

    def _event(self, kind: str, **values: Any) -> None:
        self._send(_dumps({"type": kind, **values}) + b"\n")

    def _error(self, message: str, _status: int) -> bytes:
        return _dumps({"type": "error", "message": message}) + b"\n"


def order(step: ProcessStep) -> dict[str, Any]:
    """Return a step that the command itself does, as it is handed to the command."""
    match step:
        case Sleep(seconds):
            return {"do": "sleep", "seconds": seconds}
        case Hang():
            return {"do": "sleep", "seconds": None}
        case Stdout(data):
            return {"do": "out", "data": data.decode("latin-1")}
        case Stderr(text):
            return {"do": "err", "data": text.encode().decode("latin-1")}
        case Grandchild(detached):
            return {"do": "grandchild", "data": "detached" if detached else ""}
        case Exit(code):
            return {"do": "exit", "data": str(code)}
    verbs = {Kill: "kill", CloseStdout: "close", IgnoreSignals: "ignore"}
    return {"do": verbs[type(step)], "data": ""}


def _dumps(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")
