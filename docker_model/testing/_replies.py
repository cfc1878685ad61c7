"""Replies of the runner: the conversion of steps to HTTP."""

from __future__ import annotations

import itertools
import json
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from docker_model.testing import steps
from docker_model.testing._engine import FILE
from docker_model.testing._server import JSON, PLAIN
from docker_model.testing.models import CREATED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from docker_model.testing._command.session import RunnerReply
    from docker_model.testing._server import Exchange

    Client: TypeAlias = Exchange | RunnerReply

FRAME = {"id": "chatcmpl-1", "created": CREATED, "model": FILE}
EMPTY_MESSAGE: dict[str, Any] = {"role": "assistant", "content": None}
BATCH = 2048  # tokens of the prompt
TOKENS_PER_SECOND = 100.0


def send_reply(client: Client, reply: steps.Reply) -> None:
    text = isinstance(reply.body, str)
    kind = reply.content_type or (PLAIN if text else JSON)
    client.reply(reply.status, kind, reply.body.encode() if text else _dump(reply.body))


class Stream:
    """A streamed reply; its head is sent with the first piece, so that a `Fail` can precede it."""

    content_type = JSON

    def __init__(self, client: Client) -> None:
        self._client = client
        self._streamed = True
        self._begun = False

    def play(self, script: Iterable[steps.RunnerStep]) -> None:
        if not any(map(self._is_last, script)):
            self._send(b"")

    def _begin(self) -> None:
        if self._streamed and not self._begun:
            self._begun = True
            self._client.begin(self.content_type)

    def _send(self, data: bytes) -> None:
        """Send a piece; an empty piece ends the reply."""
        self._begin()
        if self._streamed:
            self._client.piece(data)

    def _is_last(self, step: Any) -> bool:
        """Play a step of the runner or the command. Return whether it ends the reply."""
        match step:
            case steps.Raw(data):
                self._send(data)
                return False
            case steps.Hang():
                self._begin()
                self._client.wait(None)
            case steps.Cut():
                self._begin()
                self._client.close_connection = True
            case steps.Fail(message, status) if self._begun:
                self._send(self._error(message, status))
                self._send(b"")
            case steps.Fail(message, status):
                kind = JSON if message.startswith("{") else PLAIN
                send_reply(self._client, steps.Reply(status, message, kind))
            case steps.Reply():
                send_reply(self._client, step)
            case steps.Sleep(seconds):
                self._client.wait(seconds)
                return False
            case _:
                self._client.play(step)
                return False
        return True

    def _error(self, message: str, _status: int) -> bytes:
        """Return an error in the form for the middle of a stream."""
        return _dump({"type": "error", "message": message}) + b"\n"


class ChatReply(Stream):
    """One answer, streamed or complete, depending on `stream` in the request."""

    content_type = "text/event-stream"

    def __init__(self, client: Client, body: Mapping[str, Any], prompt_tokens: int) -> None:
        super().__init__(client)
        self._streamed = bool(body.get("stream"))
        self._choices = body.get("n") or 1
        self._prompt_tokens = prompt_tokens
        self._include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self._return_progress = bool(body.get("return_progress"))
        self._role_sent = False
        self._texts: dict[str, list[str]] = {}  # by field of the message
        self._calls: list[dict[str, Any]] = []
        self._pieces = 0
        limit = body.get("max_tokens")
        self._max_pieces = limit if isinstance(limit, int) and limit > 0 else sys.maxsize
        self._usage: steps.Usage | None = None
        self._finish: str | None = "stop"

    def play(self, script: Iterable[steps.Step]) -> None:
        for step in script:
            # Progress begins after a pause, which simulates the loading of the model.
            if self._return_progress and not isinstance(step, steps.Sleep):
                self._progress()
            if self._play(step):
                return
            if self._pieces == self._max_pieces:
                self._finish = "length"
                break
        if not self._streamed:
            texts = {field: "".join(written) for field, written in self._texts.items()}
            message: dict[str, Any] = {**EMPTY_MESSAGE, **texts}
            message |= {"tool_calls": self._calls} if self._calls else {}
            choice = {"finish_reason": self._finish, "message": message}
            choices = [{"index": index, **choice} for index in range(self._choices)]
            reply = {**FRAME, "object": "chat.completion", "choices": choices, **self._counts()}
            send_reply(self._client, steps.Reply(body=reply))
            return
        if self._finish is not None:
            self._delta({}, finish_reason=self._finish)
            if self._usage or self._include_usage:
                self._event({"choices": [], **self._counts()})
            self._send(b"data: [DONE]\n\n")
        self._send(b"")

    def _progress(self) -> None:
        self._return_progress = False
        self._role_sent = True
        total = self._prompt_tokens
        for done in [*range(BATCH, total, BATCH), total]:
            progress = {"total": total, "cache": 0, "processed": done}
            choice = {"index": 0, "finish_reason": None, "delta": EMPTY_MESSAGE}
            self._event({"choices": [choice], "prompt_progress": progress})

    def _play(self, step: steps.Step) -> bool:
        """Play one step. Return whether it ends the reply."""
        match step:
            case steps.Text(text, size):
                self._write("content", text, size)
            case steps.Reasoning(text, size):
                self._write("reasoning_content", text, size)
            case steps.ToolCall():
                self._call(step)
            case steps.Event(data):
                self._event(data)
            case steps.Usage():
                self._usage = step
            case steps.Finish(reason):
                self._finish = reason
            case _:
                return self._is_last(step)
        return False

    def _write(self, field: str, text: str, size: int | None) -> None:
        written = self._texts.setdefault(field, [])
        for piece in self._tokens(text, size):
            self._delta({field: piece})
            written.append(piece)

    def _tokens(self, text: str, size: int | None = None) -> Iterator[str]:
        """Yield pieces of a text up to `max_tokens`; a piece counts as a token."""
        for piece in itertools.islice(steps.pieces(text, size), self._max_pieces - self._pieces):
            self._pieces += 1
            yield piece

    def _call(self, call: steps.ToolCall) -> None:
        text, index = call.arguments, len(self._calls)
        text = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
        tokens = list(self._tokens(text))
        start = {"id": call.id, "type": "function"}
        self._calls.append({**start, "function": {"name": call.name, "arguments": "".join(tokens)}})
        self._finish = "tool_calls"
        function = {"name": call.name, "arguments": ""}
        self._delta({"tool_calls": [{"index": index, **start, "function": function}]})
        for piece in tokens:
            self._delta({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})

    def _delta(self, delta: dict[str, Any], finish_reason: str | None = None) -> None:
        deltas = [delta] if self._role_sent else [EMPTY_MESSAGE, delta]
        self._role_sent = True
        for part in deltas:
            end = finish_reason if part is delta else None
            self._event({"choices": [{"index": 0, "finish_reason": end, "delta": part}]})

    def _event(self, event: Mapping[str, Any]) -> None:
        if self._streamed:
            chunk = {**FRAME, "object": "chat.completion.chunk", **event}
            self._send(b"data: " + _dump(chunk) + b"\n\n")

    def _counts(self) -> dict[str, Any]:
        usage = self._usage or steps.Usage(self._prompt_tokens, self._pieces)
        prompt, completion, total = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
        total = prompt + completion if total is None else total
        counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
        speed = {"predicted_n": completion, "predicted_per_second": TOKENS_PER_SECOND}
        return {"usage": counts, "timings": {"prompt_n": prompt, **speed}}

    def _error(self, message: str, status: int) -> bytes:
        error = {"code": status, "message": message, "type": "server_error"}
        return b"data: " + _dump({"error": error}) + b"\n\n"


def pull_steps(
    script: Iterable[steps.PullStep], pulled: Callable[[], object]
) -> Iterator[steps.RunnerStep]:
    """Convert the steps of a pull. Call `pulled` before the last line: the client uses it then."""
    for step in script:
        match step:
            case steps.Downloaded(current, total, layer):
                part = {"id": layer, "size": total, "current": current}
                line = {"type": "progress", "total": total, "pulled": current, "layer": part}
            case steps.Warn(message):
                line = {"type": "warning", "message": message}
            case steps.Pulled(message):
                pulled()
                line = {"type": "success", "message": message}
            case _:
                yield step
                continue
        yield steps.Raw(_dump(line) + b"\n")


def _dump(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")
