"""A streamed reply's bytes, taken apart into its events as they arrive."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from docker_model.errors import GenerationError

if TYPE_CHECKING:
    from collections.abc import Iterable

_REASONING, _ALSO_REASONING = "reasoning_content", "reasoning"  # llama.cpp's name, vLLM's new one
_SAID = ("content", _REASONING, _ALSO_REASONING)
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # there may be half of a surrogate pair


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
    content = _json(data)
    if content is None:
        return data.decode("utf-8", "replace")
    return content["error"] if isinstance(content, dict) and "error" in content else content


def parse_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object; the model's thoughts in it have one name, whatever the engine's.

    Raises:
        GenerationError: It is none.
    """
    content = _json(data)
    if not isinstance(content, dict) or not _is_well_formed(content):
        msg = "what came back is not what Docker Model Runner sends; is there a proxy in between?"
        raise GenerationError(msg, stderr=data[:500].decode("utf-8", "replace"))
    for said in map(_said, content.get("choices") or ()):
        if thought := said.pop(_ALSO_REASONING, None):
            said[_REASONING] = said.get(_REASONING) or thought
    return content


def _said(choice: dict[str, Any]) -> Any:
    return choice.get("delta") or choice.get("message") or {}


def _is_well_formed(content: dict[str, Any]) -> bool:
    """Whether what are to be choices are some; an error or a list of vectors has none."""
    usage, choices = content.get("usage") or {}, content.get("choices") or []
    return isinstance(usage, dict) and isinstance(choices, list) and all(map(_is_choice, choices))


def _is_choice(choice: object) -> bool:
    """What is said is text; some servers have whole messages in lists of parts."""
    if not isinstance(choice, dict):
        return False
    said = _said(choice)
    if not isinstance(said, dict) or not _are_text(said, _SAID):
        return False
    calls = said.get("tool_calls") or []
    return isinstance(calls, list) and all(map(_is_call, calls))


def _is_call(call: object) -> bool:
    function = (call.get("function") or {}) if isinstance(call, dict) else None
    return isinstance(function, dict) and _are_text(function, ("name", "arguments"))


def _are_text(content: dict[str, Any], names: Iterable[str]) -> bool:
    return all(isinstance(content.get(name) or "", str) for name in names)


def _json(data: bytes) -> Any:
    """`None` for what is no JSON; what is no character becomes U+FFFD, as in the command."""
    text = data.decode("utf-8", "replace")
    try:
        content = json.loads(text)
        if _HALF.search(text):  # half of a pair: Python's alone takes it for a character
            halves = json.dumps(content, ensure_ascii=False).encode("utf-16", "surrogatepass")
            content = json.loads(halves.decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        return None
    return content


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
