"""Replies of the runner: the conversion of steps to HTTP."""

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
EMPTY_MESSAGE = {"role": "assistant", "content": None}


def send_reply(client: Client, reply: Reply) -> None:
    """Send a complete reply."""
    text = isinstance(reply.body, str)
    kind = reply.content_type or (PLAIN if text else JSON)
    client.reply(reply.status, kind, reply.body.encode() if text else _dump(reply.body))


class _Stream:
    """A streamed reply.

    Its head is sent with the first piece, so that an earlier error can be an HTTP error.
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
        """Send a piece; an empty piece ends the reply."""
        self._begin()
        self._client.piece(data)

    def _is_last(self, step: Any) -> bool:
        """Play a step that all streams support. Return whether it ends the reply."""
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
        """Return an error in the form for the middle of a stream."""
        return _dump({"type": "error", "message": message}) + b"\n"


class ChatReply(_Stream):
    """One answer, streamed or complete, depending on `stream` in the request."""

    content_type = "text/event-stream"

    def __init__(self, client: Client, body: Mapping[str, Any], prompt: ChatPrompt) -> None:
        super().__init__(client)
        self._prompt = prompt
        self._choices = body.get("n") or 1
        self._streamed = bool(body.get("stream"))
        self._include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self._return_progress = bool(body.get("return_progress"))
        self._role_sent = False
        self._texts: dict[str, list[str]] = {}  # by field of the message
        self._calls: list[dict[str, Any]] = []
        self._pieces = 0
        limit = body.get("max_tokens")
        self._max_pieces = limit if isinstance(limit, int) and limit > 0 else sys.maxsize
        self._usage: Usage | None = None
        self._finish: str | None = "stop"

    def play(self, steps: Iterable[Step]) -> None:
        """Send the answer."""
        for step in steps:
            # Progress begins after a pause, which simulates the loading of the model.
            if self._return_progress and not self._role_sent and not isinstance(step, Sleep):
                for progress in self._prompt.progress():
                    self._choice(EMPTY_MESSAGE, prompt_progress=progress)
                self._role_sent = True
            if self._play(step):
                return
            if self._pieces == self._max_pieces:
                self._finish = "length"
                break
        if not self._streamed:
            texts = {field: "".join(parts) for field, parts in self._texts.items()}
            message = {**EMPTY_MESSAGE, **texts}
            message |= {"tool_calls": self._calls} if self._calls else {}
            choice = {"finish_reason": self._finish, "message": message}
            choices = [{"index": index, **choice} for index in range(self._choices)]
            reply = {**FRAME, "object": "chat.completion", "choices": choices, **self._counts()}
            self._client.reply(200, JSON, _dump(reply))
            return
        if self._finish is not None:
            self._delta({}, finish=self._finish)
            if self._usage or self._include_usage:
                self._event({"choices": [], **self._counts()})
            self._send(b"data: [DONE]\n\n")
        self._send(b"")

    def _play(self, step: Step) -> bool:
        """Play one step. Return whether it ends the reply."""
        match step:
            case Text(text, size) | Reasoning(text, size):
                field = "content" if isinstance(step, Text) else "reasoning_content"
                for piece in self._tokens(text, size):
                    self._delta({field: piece})
                    self._texts.setdefault(field, []).append(piece)
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
        """Yield pieces of a text up to `max_tokens`; a piece counts as a token."""
        for piece in itertools.islice(pieces(text, size), self._max_pieces - self._pieces):
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
        self._delta({"tool_calls": [{"index": index, **start, "function": function}]})
        for piece in tokens:
            self._delta({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})

    def _delta(self, delta: dict[str, Any], finish: str | None = None) -> None:
        if not self._role_sent:
            self._role_sent = True
            self._choice(EMPTY_MESSAGE)
        self._choice(delta, finish)

    def _choice(self, delta: Mapping[str, Any], finish: str | None = None, **fields: Any) -> None:
        choice = {"index": 0, "finish_reason": finish, "delta": delta}
        self._event({"choices": [choice], **fields})

    def _event(self, event: Mapping[str, Any]) -> None:
        if self._streamed:
            chunk = {**FRAME, "object": "chat.completion.chunk", **event}
            self._send(b"data: " + _dump(chunk) + b"\n\n")

    def _counts(self) -> dict[str, Any]:
        """Return the objects `usage` and `timings` of a reply."""
        usage = self._usage or Usage(len(self._prompt.tokens), self._pieces)
        prompt, completion, total = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
        counts = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion if total is None else total,
        }
        return {"usage": counts, "timings": self._prompt.timings(completion)}

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
            steps: The steps of the pull.
            pulled: Called at the end, before the client receives the last line, because the
                client can use the model immediately.
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
