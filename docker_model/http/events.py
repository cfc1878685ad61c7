"""A streamed reply's bytes, taken apart into its events as they arrive."""

from __future__ import annotations

import json
from typing import Any

from docker_model.errors import GenerationError


class Events:
    """Reads server-sent events, one JSON object a line.

    Attributes:
        done: True after `[DONE]`; what follows is of no account.
    """

    def __init__(self) -> None:
        self.done = False
        self._parts: list[bytes] = []  # of a line that is not complete yet

    def feed(self, data: bytes) -> list[tuple[dict[str, Any], int]]:
        """Take some bytes; the events that they complete, each with its size in bytes.

        An event of the form `error: …` comes as `{"error": …}`, as the others of its kind.

        Raises:
            GenerationError: What came is no JSON.
        """
        if b"\n" not in data:
            self._parts.append(data)
            return []
        *lines, rest = b"".join([*self._parts, data]).split(b"\n")
        self._parts = [rest] if rest else []
        return [event for line in lines if (event := self._read(line)) is not None]

    def _read(self, line: bytes) -> tuple[dict[str, Any], int] | None:
        field, colon, value = line.partition(b":")
        value = value.strip()
        if self.done or not colon or field not in (b"data", b"error"):
            return None  # a blank line, a comment, an event's name
        if value == b"[DONE]":
            self.done = True
            return None
        if field == b"error":
            return {"error": _loosely(value)}, len(line)
        return parse_object(value), len(line)


def _loosely(data: bytes) -> Any:
    try:
        content = json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")
    return content["error"] if isinstance(content, dict) and "error" in content else content


def parse_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        GenerationError: It is none.
    """
    try:
        content = json.loads(data)
    except ValueError:
        content = None
    if not isinstance(content, dict) or not _has_choices(content):
        msg = "what came back is not what Docker Model Runner sends; is there a proxy in between?"
        raise GenerationError(msg, stderr=data[:500].decode("utf-8", "replace"))
    return content


def _has_choices(content: dict[str, Any]) -> bool:
    """Whether what are to be choices are some; an error or a list of vectors has none."""
    choices = content.get("choices") or []
    return isinstance(choices, list) and all(isinstance(choice, dict) for choice in choices)


def as_chunk(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply that came as a whole, as the one event of a stream."""
    choices = [
        {**choice, "delta": choice.get("message") or {}} for choice in reply.get("choices") or ()
    ]
    for choice in choices:
        choice.pop("message", None)
        for index, call in enumerate(choice["delta"].get("tool_calls") or ()):
            call.setdefault("index", index)
    return {**reply, "object": "chat.completion.chunk", "choices": choices}
