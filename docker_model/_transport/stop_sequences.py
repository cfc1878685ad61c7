"""Ending an answer at a stop sequence or at a length, while it arrives in pieces.

`docker model run` has neither, so both are done here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Cutter"]


class Cutter:
    """Cuts an answer at a stop sequence or a length; takes pieces, and returns what is certain.

    The stop that begins first in the text ends the answer, even if another one is complete
    earlier, and is not part of it. Only what may still become a stop is held back. The time is
    linear in the text for each stop, whatever the text and the stops are.

    Args:
        stops: Stop sequences; none of them empty.
        max_chars: How many characters the answer may have; `None`: any number.

    Attributes:
        finish_reason: `None` while the answer goes on. `"stop_sequence"` as soon as a stop has
            ended it, at `max_chars` too; `"length"` as soon as there is more than `max_chars`
            of it. `flush` can set it as well.
    """

    __slots__ = (
        "_given",
        "_held",
        "_length",
        "_match",
        "_max_chars",
        "_nothing_to_do",
        "_searches",
        "finish_reason",
    )

    def __init__(self, stops: Iterable[str], max_chars: int | None) -> None:
        self.finish_reason: Literal["stop_sequence", "length"] | None = None
        self._searches = [_Search(stop) for stop in dict.fromkeys(stops)]
        self._max_chars = max_chars
        self._nothing_to_do = not self._searches and max_chars is None
        self._length = 0  # of all that came
        self._given = 0  # how much of it was given out
        self._match: int | None = None  # where the first of the complete stops begins
        self._held = ""  # a stop: what is held back is its beginning, so there is no other copy

    def feed(self, text: str) -> str:
        """Take the next piece and return what is now certain; empty after the end."""
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
            # What begins later than a complete stop no longer matters.
            self._searches = [
                search
                for search in self._searches
                if search.matched < len(search.stop) and self._length - search.matched < self._match
            ]
        return self._give(before, text)

    def flush(self) -> str:
        """Return what was held back, now that nothing follows."""
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
        given, self._given = self._given, certain
        if certain <= before:
            return held[: certain - given]
        return held[: before - given] + text[: certain - before]


class _Search:
    """A Knuth-Morris-Pratt search for one stop in a text that comes in pieces.

    Attributes:
        stop: What is searched for.
        matched: How long a beginning of `stop` the text so far ends with.
    """

    __slots__ = ("_borders", "matched", "stop")

    def __init__(self, stop: str) -> None:
        self.stop = stop
        self.matched = 0
        # For each length of a beginning of `stop`: the longest shorter one that it ends with.
        self._borders = borders = [0, 0]
        for char in stop[1:]:
            border = borders[-1]
            while border and stop[border] != char:
                border = borders[border]
            borders.append(border + (stop[border] == char))

    def advance(self, text: str) -> int | None:
        """Go on with the next piece; return where in it the first match ends, if one does."""
        stop, borders, matched = self.stop, self._borders, self.matched
        position = 0
        while position < len(text):
            if not matched:
                position = text.find(stop[0], position)  # skips plain text at C's speed
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
