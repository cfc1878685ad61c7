"""JSON as Go reads and writes it, as far as the CLI's output depends on it."""

from __future__ import annotations

from _json import encode_basestring, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Settings:
    """What the C scanner wants to know; the values are those of `json.loads`."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = None
    array_hook = None


_scan = make_scanner(_Settings())  # type: ignore[arg-type]  # as json.scanner calls it
_BLANK = " \t\r\n"
_CONTEXTS = {
    "Expecting property name": "looking for beginning of object key string",
    "Expecting ':'": "after object key",
}


class JsonError(Exception):
    """Not JSON; the text is Go's own."""


def loads(text: str) -> Any:
    """Read one JSON value; raises `JsonError` in Go's words."""
    try:
        value, end = _scan(text, len(text) - len(text.lstrip(_BLANK)))
    except (StopIteration, ValueError, SystemError):
        # The last is what the scanner raises while the module with its error is not loaded.
        raise JsonError(_explain(text)) from None
    rest = text[end:].lstrip(_BLANK)
    if rest:
        msg = f"invalid character {rest[0]!r} after top-level value"
        raise JsonError(msg)
    return value


def _explain(text: str) -> str:
    """What Go says of this text, which is not JSON."""
    import json  # noqa: PLC0415 - slow to load, and most texts are JSON

    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].lstrip(_BLANK)
        if not rest:
            return "unexpected end of JSON input"
        for start, context in _CONTEXTS.items():
            if error.msg.startswith(start):
                return f"invalid character {rest[0]!r} {context}"
        return f"invalid character {rest[0]!r} looking for beginning of value"
    raise AssertionError(text)


def dumps(value: Any, indent: int = 0, *, _depth: int = 1) -> str:
    """Write a value with Go's spacing and its escapes of `<`, `>` and `&`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, dict):
        colon = ": " if indent else ":"
        parts = [_string(k) + colon + dumps(v, indent, _depth=_depth + 1) for k, v in value.items()]
        ends = "{}"
    else:
        parts = [dumps(item, indent, _depth=_depth + 1) for item in value]
        ends = "[]"
    if not (indent and parts):
        return ends[0] + ",".join(parts) + ends[1]
    inner, outer = "\n" + " " * (indent * _depth), "\n" + " " * (indent * (_depth - 1))
    return ends[0] + inner + ("," + inner).join(parts) + outer + ends[1]


def _string(text: str) -> str:
    quoted: str = encode_basestring(text)
    for char in "<>&\u2028\u2029":
        if char in quoted:
            quoted = quoted.replace(char, f"\\u{ord(char):04x}")
    return quoted
