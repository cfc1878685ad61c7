"""Steps, as the runner sends them."""

from __future__ import annotations

import itertools
import json
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from docker_model.testing.engine import FILE
from docker_model.testing.models import CREATED
from docker_model.testing.server import JSON, PLAIN
from docker_model.testing.steps import (
    Cut,
    Downloaded,
    Event,
    Fail,
    Finish,
    Hang,
    Pulled,
    Raw,
    Reasoning,
    Reply,
    Sleep,
    Text,
    ToolCall,
    Usage,
    Warn,
    pieces,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from docker_model.testing.command.session import RunnerReply
    from docker_model.testing.engine import ChatPrompt
    from docker_model.testing.server import Exchange
    from docker_model.testing.steps import PullStep, Step

    Client: TypeAlias = Exchange | RunnerReply

FRAME = {"id": "chatcmpl-1", "created": CREATED, "model": FILE}
SPEAKER = {"role": "assistant", "content": None}


def send_reply(client: Client, reply: Reply) -> None:
    """Send a whole reply."""
    text = isinstance(reply.body, str)
    kind = reply.content_type or (PLAIN if text else JSON)
    client.reply(reply.status, kind, reply.body.encode() if text else _dump(reply.body))


class _Stream:
    """A reply that comes in pieces.

    Its head goes out with the first of them, so that an error before that is an HTTP error.
    """

    content_type = JSON

    def __init__(self, client: Client) -> None:
        self._client = client
        self._begun = False

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._client.begin(self.content_type)

    def _send(self, data: bytes) -> None:
        """Send a piece; the empty one is the end."""
        self._begin()
        self._client.piece(data)

    def _is_last(self, step: Any) -> bool:
        """Do one of the steps that all streams have. Return whether it was the last."""
        match step:
            case Sleep(seconds):
                self._client.wait(seconds)
                return False
            case Raw(data):
                self._send(data)
                return False
            case Reply():
                send_reply(self._client, step)
            case Hang():
                self._begin()
                self._client.wait(None)
            case Cut():
                self._begin()
                self._client.close_connection = True
            case Fail(message, status) if self._begun:
                self._send(self._error(message, status))
                self._send(b"")
            case Fail(message, status):
                kind = JSON if message.startswith("{") else PLAIN
                self._client.reply(status, kind, message.encode())
        return True

    def _error(self, message: str, _status: int) -> bytes:
        """Return an error after the head has gone."""
        return _dump({"type": "error", "message": message}) + b"\n"


class ChatReply(_Stream):
    """One answer: streamed, or in one piece where the request's body asks for no stream."""

    content_type = "text/event-stream"

    def __init__(self, client: Client, body: Mapping[str, Any], prompt: ChatPrompt) -> None:
        super().__init__(client)
        self._prompt = prompt
        self._answers = body.get("n") or 1
        self._streamed = bool(body.get("stream"))
        self._counted = bool((body.get("stream_options") or {}).get("include_usage"))
        self._progress = bool(body.get("return_progress"))
        self._message: dict[str, Any] = {}
        self._calls: list[dict[str, Any]] = []
        self._pieces = 0
        most = body.get("max_tokens")
        self._most = most if isinstance(most, int) and most > 0 else sys.maxsize
        self._usage: Usage | None = None
        self._finish: str | None = "stop"

    def play(self, steps: Iterable[Step]) -> None:
        """Send the answer."""
        for step in steps:
            if self._progress and not self._message and not isinstance(step, Sleep):
                for done in self._prompt.progress():  # after a wait: the model was being loaded
                    self._choice(SPEAKER, prompt_progress=done)
                self._message = dict(SPEAKER)
            if self._play(step):
                return
            if self._pieces == self._most:
                self._finish = "length"
                break
        if not self._streamed:
            message = {**SPEAKER, **self._message}
            message |= {"tool_calls": self._calls} if self._calls else {}
            choice = {"finish_reason": self._finish, "message": message}
            choices = [{"index": index, **choice} for index in range(self._answers)]
            reply = {**FRAME, "object": "chat.completion", "choices": choices, **self._counts()}
            self._client.reply(200, JSON, _dump(reply))
            return
        if self._finish is not None:
            self._say({}, finish=self._finish)
            if self._usage or self._counted:
                self._event({"choices": [], **self._counts()})
            self._send(b"data: [DONE]\n\n")
        self._send(b"")

    def _play(self, step: Step) -> bool:
        """Do one step. Return whether it was the last."""
        match step:
            case Text(text, size) | Reasoning(text, size):
                key = "content" if isinstance(step, Text) else "reasoning_content"
                for piece in self._tokens(text, size):
                    self._say({key: piece})
                    self._message[key] = (self._message.get(key) or "") + piece
            case ToolCall():
                self._call(step)
            case Event(data):
                self._event(data)
            case Usage():
                self._usage = step
            case Finish(reason):
                self._finish = reason
            case Sleep() | Hang() | Cut() | Raw() | Fail() | Reply():
                return self._is_last(step)
            case _:
                self._client.play(step)
        return False

    def _tokens(self, text: str, size: int | None = None) -> Iterator[str]:
        """Yield pieces of a text, each of which counts as a token, up to `max_tokens`."""
        for piece in itertools.islice(pieces(text, size), self._most - self._pieces):
            self._pieces += 1
            yield piece

    def _call(self, call: ToolCall) -> None:
        text = call.arguments
        if not isinstance(text, str):
            text = json.dumps(text, ensure_ascii=False)
        tokens = list(self._tokens(text))
        start = {"id": call.id, "type": "function"}
        index = len(self._calls)
        self._calls.append({**start, "function": {"name": call.name, "arguments": "".join(tokens)}})
        self._finish = "tool_calls"
        function = {"name": call.name, "arguments": ""}
        self._say({"tool_calls": [{"index": index, **start, "function": function}]})
        for piece in tokens:
            self._say({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})

    def _say(self, delta: dict[str, Any], finish: str | None = None) -> None:
        if not self._message:
            self._message = dict(SPEAKER)
            self._choice(SPEAKER)
        self._choice(delta, finish)

    def _choice(self, delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> None:
        choice = {"index": 0, "finish_reason": finish, "delta": delta}
        self._event({"choices": [choice], **more})

    def _event(self, event: Mapping[str, Any]) -> None:
        if self._streamed:
            whole = {**FRAME, "object": "chat.completion.chunk", **event}
            self._send(b"data: " + _dump(whole) + b"\n\n")

    def _counts(self) -> dict[str, Any]:
        """Return token counts and times."""
        usage: dict[str, Any] = {
            "prompt_tokens": len(self._prompt.tokens),
            "completion_tokens": self._pieces,
        }
        total = None
        if self._usage:
            total = self._usage.total_tokens
            usage = {
                "prompt_tokens": self._usage.prompt_tokens,
                "completion_tokens": self._usage.completion_tokens,
            }
        both = usage["prompt_tokens"] + usage["completion_tokens"]
        usage["total_tokens"] = both if total is None else total
        return {"usage": usage, "timings": self._prompt.timings(usage["completion_tokens"])}

    def _send(self, data: bytes) -> None:
        if self._streamed:
            super()._send(data)

    def _begin(self) -> None:
        if self._streamed:
            super()._begin()

    def _error(self, message: str, status: int) -> bytes:
        error = {"code": status, "message": message, "type": "server_error"}
        return b"data: " + _dump({"error": error}) + b"\n\n"


class PullReply(_Stream):
    """The progress of one pull."""

    def play(self, steps: Iterable[PullStep], pulled: Callable[[], object]) -> None:
        """Send the progress.

        Args:
            steps: What happens.
            pulled: Called when the model is there, before the client hears so, which may ask
                for the model at once.
        """
        for step in steps:
            match step:
                case Downloaded(current, total, layer):
                    part = {"id": layer, "size": total, "current": current}
                    self._line("progress", total=total, pulled=current, layer=part)
                case Warn(message):
                    self._line("warning", message=message)
                case Pulled(message):
                    pulled()
                    self._line("success", message=message)
                case _:
                    if self._is_last(step):
                        return
        self._send(b"")

    def _line(self, kind: str, **values: Any) -> None:
        self._send(_dump({"type": kind, **values}) + b"\n")


def _dump(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")
