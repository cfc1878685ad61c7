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
    memo: dict[str, str] = {}


_scan = make_scanner(_Settings())
_BLANK = " \t\r\n"


class JsonError(Exception):
    """Not JSON; the text is Go's own."""


def loads(text: str) -> Any:
    """Read one JSON value; raises `JsonError` in Go's words."""
    start = len(text) - len(text.lstrip(_BLANK))
    try:
        value, end = _scan(text, start)
    except StopIteration as stop:
        raise JsonError(_complaint(text, stop.value, "looking for beginning of value")) from None
    except ValueError as error:
        position = getattr(error, "pos", 0)
        raise JsonError(_complaint(text, position, _context(str(error)))) from None
    rest = text[end:].lstrip(_BLANK)
    if rest:
        raise JsonError(_complaint(rest, 0, "after top-level value"))
    return value


def _complaint(text: str, position: int, context: str) -> str:
    rest = text[position:].lstrip(_BLANK)
    return f"invalid character {rest[0]!r} {context}" if rest else "unexpected end of JSON input"


def _context(message: str) -> str:
    if message.startswith("Expecting property name"):
        return "looking for beginning of object key string"
    if message.startswith("Expecting ':'"):
        return "after object key"
    return "looking for beginning of value"


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
