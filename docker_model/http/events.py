"""Parse server-sent events from the bytes of a reply as they arrive."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from docker_model.errors import GenerationError
from docker_model.http import failures

if TYPE_CHECKING:
    from collections.abc import Iterator

_REASONING, _ALSO_REASONING = "reasoning_content", "reasoning"  # llama.cpp's and vLLM's names
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # possibly half of a surrogate pair
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Events:
    """Parses server-sent events, each of which is a JSON object.

    An object ends with its line, because not every server sends a blank line after it. An object
    on several `data:` lines ends with the last of them.

    Attributes:
        done: True after `[DONE]`; further data is ignored.
    """

    def __init__(self) -> None:
        self.done = False
        self._line: list[bytes] = []  # the pieces of an incomplete line
        self._begun = False  # the first line has been parsed
        self._after_return = False  # the last byte was a CR, which can precede an LF
        self._name = b""
        self._data = b""  # the lines of an incomplete object

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], int]]:
        """Process bytes; yield the events that they complete, each with its size in bytes.

        An event with the name `error`, or of the form `error: …`, becomes `{"error": …}`. Events
        before an invalid event are yielded.

        Raises:
            GenerationError: If the data of an event is not a JSON object.
        """
        if self._after_return and data:
            data = data.removeprefix(b"\n")
            self._after_return = False
        if b"\r" in data:
            self._after_return = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in data:
            self._line.append(data)
            return
        *lines, rest = b"".join([*self._line, data]).split(b"\n")
        self._line = [rest] if rest else []
        for line in lines:
            if (event := self._read(line)) is not None:
                yield event

    def close(self) -> Iterator[tuple[dict[str, Any], int]]:
        """End the stream; yield the event of a last line without a line break.

        Raises:
            GenerationError: If the data of an event is not a JSON object.
        """
        return self.feed(b"\n\n")

    def _read(self, line: bytes) -> tuple[dict[str, Any], int] | None:
        if not self._begun:
            line = line.removeprefix(BYTE_ORDER_MARK)
            self._begun = True
        if self.done:
            return None
        if not line.strip():
            data, self._data, self._name = self._data, b"", b""
            return (parse_object(data), len(data)) if data else None  # raises: incomplete data
        field, colon, value = line.partition(b":")
        value = value.strip()
        if field == b"event":
            self._name = value
        if not colon or field not in (b"data", b"error"):
            return None  # a comment, an id
        if field == b"error" or self._name == b"error":
            return {"error": _loosely(value)}, len(line)
        if value == b"[DONE]":
            self.done = True
            return None
        return self._object(value, len(line))

    def _object(self, value: bytes, size: int) -> tuple[dict[str, Any], int] | None:
        data = self._data + b"\n" + value if self._data else value
        try:
            event = parse_object(data)
        except GenerationError:
            if not self._data and not value.startswith(b"{"):
                raise
            self._data = data
            return None
        self._data = b""
        return event, size


def _loosely(data: bytes) -> Any:
    content = _json(data)
    if content is None:
        return data.decode("utf-8", "replace")
    return content["error"] if isinstance(content, dict) and "error" in content else content


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object of an API like OpenAI's, and rename its reasoning field.

    Raises:
        GenerationError: If the data is not such an object.
    """
    content = _json(data)
    if not isinstance(content, dict) or not _is_well_formed(content):
        msg = "the reply is not a reply of Docker Model Runner; possibly a proxy sent it"
        raise GenerationError(
            msg, hint=failures.ADDRESS_HINT, stderr=data[:500].decode("utf-8", "replace")
        )
    for message in map(_message_of, content.get("choices") or ()):
        if thought := message.pop(_ALSO_REASONING, None):
            message[_REASONING] = message.get(_REASONING) or thought
    return content


def parse_reply(data: bytes) -> dict[str, Any]:
    """Parse the object in the body of a reply.

    Raises:
        RunnerUnavailableError: If the body is a web page.
        GenerationError: If the body is not a JSON object of an API like OpenAI's.
    """
    data = data.removeprefix(BYTE_ORDER_MARK)
    if data.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        raise failures.web_page()
    return parse_object(data)


def _message_of(choice: dict[str, Any]) -> Any:
    return choice.get("delta") or choice.get("message") or {}


def _is_well_formed(content: dict[str, Any]) -> bool:
    """Whether `choices` and `usage` are well-formed; both are optional."""
    usage, choices = content.get("usage") or {}, content.get("choices") or []
    return isinstance(usage, dict) and isinstance(choices, list) and all(map(_is_choice, choices))


def _is_choice(choice: object) -> bool:
    """Whether a value is a choice; `docker_model.http.replies` parses its parts."""
    message = _message_of(choice) if isinstance(choice, dict) else None
    if not isinstance(message, dict) or not isinstance(message.get("content") or "", (str, list)):
        return False
    if not all(isinstance(message.get(name) or "", str) for name in (_REASONING, _ALSO_REASONING)):
        return False
    calls = message.get("tool_calls") or []
    return isinstance(calls, list) and all(map(_is_call, calls))


def _is_call(call: object) -> bool:
    return isinstance(call, dict) and isinstance(call.get("function") or {}, dict)


def _json(data: bytes) -> Any:
    """Parse JSON, or return `None`; invalid characters become U+FFFD, as in the command."""
    text = data.decode("utf-8", "replace")
    try:
        content = json.loads(text)
        if _HALF.search(text):  # Python accepts half of a surrogate pair; UTF-8 does not
            halves = json.dumps(content, ensure_ascii=False).encode("utf-16", "surrogatepass")
            content = json.loads(halves.decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        return None
    return content


def as_chunk(reply: dict[str, Any]) -> dict[str, Any]:
    """Convert a complete reply to a single event of a stream."""
    choices = [
        {**choice, "delta": choice.get("message") or {}} for choice in reply.get("choices") or ()
    ]
    for choice in choices:
        choice.pop("message", None)
        for index, call in enumerate(choice["delta"].get("tool_calls") or ()):
            call.setdefault("index", index)
    return {**reply, "object": "chat.completion.chunk", "choices": choices}
