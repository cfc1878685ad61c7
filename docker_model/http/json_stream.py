"""Parse a stream of `{"tool": …, "arguments": …}` or `{"answer": …}`, without I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from docker_model.http.tools import is_whole

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Arguments", "BeginCall", "CallReader", "Event", "Text"]

_SPACE = " \t\r\n"
_KEYS = frozenset({"answer", "arguments", "tool"})
_FIRST_HALVES = frozenset({"d8", "d9", "da", "db"})  # of a surrogate pair
_SECOND_HALVES = frozenset({"dc", "dd", "de", "df"})
_ESCAPE_SIZE = len(r"\u00e9")


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer's text, or of its JSON if the answer is an object."""

    text: str


@dataclass(frozen=True, slots=True)
class BeginCall:
    """The beginning of a call.

    Attributes:
        index: The index of the call, from 0.
        name: The name of the tool.
    """

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """A piece of the JSON text of a call's arguments."""

    index: int
    text: str


Event: TypeAlias = Text | BeginCall | Arguments


class _StringReader:
    """Decodes the content of a JSON string that arrives in pieces."""

    def __init__(self) -> None:
        self._escape = ""

    def feed(self, character: str) -> tuple[str, bool]:
        """Process a character; return the text that it completes, and whether the string ends."""
        place = len(self._escape) - _ESCAPE_SIZE
        if place in (0, 1) and character != "\\u"[place]:
            # The first half of a surrogate pair without its second half is not a character.
            held, self._escape = self._escape[_ESCAPE_SIZE:] + character, ""
            text, ended = "\ufffd", False
            for inner in held:
                piece, ended = self.feed(inner)
                text += piece
            return text, ended
        if not self._escape:
            if character == '"':
                return "", True
            if character != "\\":
                return character, False
        self._escape += character
        if not _is_complete(self._escape):
            return "", False
        escape, self._escape = self._escape, ""
        second = escape[_ESCAPE_SIZE:]
        if second and second[2:4].lower() not in _SECOND_HALVES:
            text = "\ufffd"
            for inner in second:
                text += self.feed(inner)[0]
            return text, False
        return _unescape(escape), False


def _is_complete(escape: str) -> bool:
    if len(escape) == 1:
        return False
    if escape[1] != "u":
        return True
    if len(escape) < _ESCAPE_SIZE:
        return False
    is_first_half = escape[2:4].lower() in _FIRST_HALVES
    return not is_first_half or len(escape) == 2 * _ESCAPE_SIZE


def _unescape(escape: str) -> str:
    try:
        text = str(json.loads(f'"{escape}"'))
    except ValueError:
        return escape
    return "\ufffd" if any("\ud800" <= character <= "\udfff" for character in text) else text


class CallReader:
    """Parses a reply to `docker_model.http.tool_schema` piece by piece.

    An engine that does not enforce the schema can reply differently. Text that does not begin with
    `{` or `[`, and other JSON, is an answer in plain text; other JSON is returned by `close`.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._other: list[str] | None = []  # the whole text, until a key of the schema is read
        self._handle: Callable[[str], bool] = self._start
        self._in_array = False
        self._index = -1
        self._key = ""
        self._string = _StringReader()
        self._name: str | None = None
        self._has_arguments = False
        self._held: list[str] = []  # arguments before the name of the tool
        self._nesting = 0  # of brackets in a value
        self._quoted = False  # inside a string of a value
        self._escaped = False

    def feed(self, text: str) -> list[Event]:
        """Process a piece of the reply, and return the events in it."""
        if self._other is not None:
            self._other.append(text)
        for character in text:
            while not self._handle(character):
                pass
        events, self._events = _merged(self._events), []
        return events

    def close(self) -> list[Event]:
        """End the reply, and return the events that were held back."""
        if self._held:
            self._begin_call()
        open_object = self._handle not in (self._start, self._plain, self._ignore)
        if open_object and self._name is not None and not self._has_arguments:
            # The reply ends before the arguments; this is not a call without arguments.
            self._events.append(Arguments(self._index, "{"))
        other = "".join(self._other or ())
        if is_whole(other):
            self._events.append(Text(other))
        events, self._events = _merged(self._events), []
        return events

    # Each handler processes a character, or returns False to pass it to the next handler.

    def _start(self, character: str) -> bool:
        if character in _SPACE:
            return True
        if character == "[" and not self._in_array:
            self._in_array = True
        elif character == "{":
            self._index += 1
            self._name = None
            self._has_arguments = False
            self._handle = self._before_key
        elif self._in_array and character == ",":
            pass
        elif self._in_array:
            self._handle = self._ignore
        else:
            self._handle = self._plain
            return False
        return True

    def _plain(self, character: str) -> bool:
        self._other = None
        self._events.append(Text(character))
        return True

    def _ignore(self, _character: str) -> bool:
        return True

    def _before_key(self, character: str) -> bool:
        if character == '"':
            self._key, self._string = "", _StringReader()
            self._handle = self._in_key
        elif character == "}":
            self._end_object()
        return True

    def _in_key(self, character: str) -> bool:
        text, ended = self._string.feed(character)
        self._key += text
        if ended:
            if self._key in _KEYS:
                self._other = None
            self._handle = self._before_value
        return True

    def _before_value(self, character: str) -> bool:
        if character in _SPACE or character == ":":
            return True
        if character == '"' and self._key != "arguments":
            self._string = _StringReader()
            if self._key == "tool":
                self._name = ""
            self._handle = self._in_string
            return True
        self._nesting, self._quoted, self._escaped = 0, False, False
        self._handle = self._in_value
        return False

    def _in_string(self, character: str) -> bool:
        text, ended = self._string.feed(character)
        if self._key == "answer" and text:
            self._events.append(Text(text))
        elif self._key == "tool":
            self._name = (self._name or "") + text
        if ended:
            if self._key == "tool":
                self._begin_call()
            self._handle = self._before_key
        return True

    def _in_value(self, character: str) -> bool:
        if self._quoted:
            self._add(character)
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            elif character == '"':
                self._quoted = False
            return True
        if self._nesting == 0 and character in ",}":
            self._handle = self._before_key
            return False
        self._add(character)
        if character == '"':
            self._quoted = True
        elif character in "{[":
            self._nesting += 1
        elif character in "}]":
            self._nesting -= 1
            if self._nesting == 0:
                self._handle = self._before_key
        return True

    def _add(self, character: str) -> None:
        if self._key == "answer":
            self._events.append(Text(character))
        elif self._key == "arguments":
            self._has_arguments = True
            if self._name is None:
                self._held.append(character)
            else:
                self._events.append(Arguments(self._index, character))

    def _begin_call(self) -> None:
        self._events.append(BeginCall(self._index, self._name or ""))
        if self._held:
            self._events.append(Arguments(self._index, "".join(self._held)))
            self._held = []

    def _end_object(self) -> None:
        self._handle = self._start if self._in_array else self._ignore


def _merged(events: list[Event]) -> list[Event]:
    """Join consecutive events of one kind."""
    merged: list[Event] = []
    for event in events:
        last = merged[-1] if merged else None
        if isinstance(event, Text) and isinstance(last, Text):
            merged[-1] = Text(last.text + event.text)
        elif (
            isinstance(event, Arguments)
            and isinstance(last, Arguments)
            and last.index == event.index
        ):
            merged[-1] = Arguments(event.index, last.text + event.text)
        else:
            merged.append(event)
    return merged
