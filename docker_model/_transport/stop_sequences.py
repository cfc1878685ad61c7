"""End an answer at a stop sequence or a maximum length, while it arrives in pieces.

`docker model run` supports neither, so this package implements both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Cutter"]


class Cutter:
    """Truncates an answer at a stop sequence or a length, piece by piece.

    The stop sequence that begins first in the text ends the answer, even if another one is
    complete earlier. It is not part of the answer. Text that can still become a stop sequence
    is held back. The time is linear in the length of the text, for each stop sequence.

    Args:
        stops: Stop sequences, which are not empty.
        max_chars: The maximum length of the answer in characters; `None` for no limit.

    Attributes:
        finish_reason: `None` until the answer is truncated. `"stop_sequence"` if a stop sequence
            ended the answer, even exactly at `max_chars`; `"length"` if the answer is longer
            than `max_chars`. `feed` and `flush` set it.
    """

    __slots__ = (
        "_held",
        "_length",
        "_match",
        "_max_chars",
        "_nothing_to_do",
        "_returned",
        "_searches",
        "finish_reason",
    )

    def __init__(self, stops: Iterable[str], max_chars: int | None) -> None:
        self.finish_reason: Literal["stop_sequence", "length"] | None = None
        self._searches = [_Search(stop) for stop in dict.fromkeys(stops)]
        self._max_chars = max_chars
        self._nothing_to_do = not self._searches and max_chars is None
        self._length = 0  # of the text received
        self._returned = 0  # of the text returned
        self._match: int | None = None  # the start of the first complete stop
        self._held = ""  # a stop; the text held back is a prefix of it, and is not stored again

    def feed(self, text: str) -> str:
        """Process the next piece, and return the text that is certain; empty after the end."""
        if self._nothing_to_do:
            return text
        if self.finish_reason is not None:
            return ""
        before = self._length
        self._length += len(text)
        for search in self._searches:
            end = search.advance(text)
            if end is not None:
                begin = before + end - len(search.stop)
                self._match = begin if self._match is None else min(begin, self._match)
        if self._match is not None:
            # Ignore matches that begin after the complete stop.
            self._searches = [
                search
                for search in self._searches
                if search.matched < len(search.stop) and self._length - search.matched < self._match
            ]
        return self._give(before, text)

    def flush(self) -> str:
        """Return the text that was held back, at the end of the input."""
        if self._nothing_to_do or self.finish_reason is not None:
            return ""
        self._searches = []
        return self._give(self._length, "")

    def _give(self, before: int, text: str) -> str:
        held, self._held = self._held, ""
        certain = self._length if self._match is None else self._match
        if self._searches:
            longest = max(self._searches, key=_matched)
            certain = self._length - longest.matched
            self._held = longest.stop
        if self._max_chars is not None and certain > self._max_chars:
            self.finish_reason = "length"
            certain = self._max_chars
        elif certain == self._match:
            self.finish_reason = "stop_sequence"
        returned, self._returned = self._returned, certain
        if certain <= before:
            return held[: certain - returned]
        return held[: before - returned] + text[: certain - before]


class _Search:
    """A Knuth-Morris-Pratt search for one stop in a text that arrives in pieces.

    Attributes:
        stop: The stop sequence.
        matched: The length of the longest prefix of `stop` at the end of the text so far.
    """

    __slots__ = ("_borders", "matched", "stop")

    def __init__(self, stop: str) -> None:
        self.stop = stop
        self.matched = 0
        # For each length of a prefix of `stop`: the longest shorter prefix that it ends with.
        self._borders = borders = [0, 0]
        for char in stop[1:]:
            border = borders[-1]
            while border and stop[border] != char:
                border = borders[border]
            borders.append(border + (stop[border] == char))

    def advance(self, text: str) -> int | None:
        """Search the next piece; return the end of the first match in it, if it has a match."""
        stop, borders, matched = self.stop, self._borders, self.matched
        position = 0
        while position < len(text):
            if not matched:
                position = text.find(stop[0], position)  # fast for text without a match
                if position < 0:
                    break
            char = text[position]
            while matched and stop[matched] != char:
                matched = borders[matched]
            matched += stop[matched] == char
            position += 1
            if matched == len(stop):
                self.matched = matched
                return position
        self.matched = matched
        return None


def _matched(search: _Search) -> int:
    return search.matched
