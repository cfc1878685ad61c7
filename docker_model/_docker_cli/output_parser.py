"""The parser for the output of `docker model run`: the model's words and the CLI's own.

Both come through one stdout, separated by fixed texts alone::

    [warnings of the context detection]
    [Unable to find model 'ai/x' locally. Pulling from the server.
     Downloaded 1.05MB of 2.10MB …
     Model pulled successfully]
    [Thinking:
     the reasoning

     --

     ]the answer
    [
     Token usage: 10 prompt + 5 completion = 15 total]

and one newline. A model may write any of these texts itself, so each counts only where the CLI
puts it, and only in the CLI's exact form. Text that is ambiguous even then counts as the CLI's.
"""

from __future__ import annotations

import re
from codecs import utf_8_decode
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, TypeAlias

from docker_model.types import ReasoningDelta, TextDelta, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SEPARATOR", "SEPARATOR_TO_V0_1_40", "Chatter", "OutputParser", "Part", "PullNotice"]

SEPARATOR: Final = "\n\n--\n\n"
"""Separates the reasoning from the answer, since v0.1.41."""

SEPARATOR_TO_V0_1_40: Final = "\n\n"
"""Separates them from v0.1.37 to v0.1.40. A blank line in the reasoning looks the same."""


@dataclass(frozen=True, slots=True)
class PullNotice:
    """The CLI did not find the model, and begins to pull it.

    Attributes:
        model: The name as the CLI prints it: as given, but v0.1.46 completes it.
    """

    model: str


@dataclass(frozen=True, slots=True)
class Chatter:
    """A line of the CLI's own before the answer, without its newline."""

    line: str


Part: TypeAlias = TextDelta | ReasoningDelta | Usage | PullNotice | Chatter


class State(Enum):
    """The part of the output that the parser is in."""

    START = auto()
    PULL = auto()  # After the notice: a line other than progress is the pull's result.
    GAP = auto()  # After an empty line in a pull: a retry, the result, or a pull without one.
    READY = auto()  # After the pull's result.
    LINE = auto()  # Within a line of the CLI, which ends at the next newline.
    REASONING = auto()
    ANSWER = auto()


_FLOWING: Final[Mapping[State, type[TextDelta | ReasoningDelta]]] = {
    State.REASONING: ReasoningDelta,
    State.ANSWER: TextDelta,
}

# All warnings that `DetectContext` of cmd/cli/desktop/context.go can print. The model's answer
# may begin with "Warning: ", too, so nothing shorter will do.
_WARNINGS: Final = (
    "Warning: unable to open context store: ",
    "Warning: unable to determine active context: ",
    'Warning: unable to read context "',
    "Warning: failed to get Docker info: ",
    "Warning: failed to create Docker client: ",
    "Warning: failed to wake up Docker Cloud",
    "Warning: failed to verify Docker Cloud wake-up: ",
)
# v0.1.30 and older rewrite one line, as if there were a terminal.
_PROGRESS: Final = ("Downloaded ", "Downloaded: ", "\r\x1b[KDownloaded: ")
_RESULTS: Final = ("Model pulled successfully\n", "Using cached model: ")
_HEADER: Final = ("Thinking:\n", State.REASONING)

_Openings: TypeAlias = tuple[tuple[str, State], ...]

# What the CLI may print next, and the state after that line. No text is the beginning of another.
_OPENINGS: Final[Mapping[State, _Openings]] = {
    State.START: (*((warning, State.START) for warning in _WARNINGS), _HEADER),
    State.PULL: (
        *((progress, State.PULL) for progress in _PROGRESS),
        ("Warning: failed to ", State.PULL),  # of the copying of credentials, from v1.2.6 on
        ("\n", State.GAP),
    ),
    State.GAP: (
        *((progress, State.PULL) for progress in _PROGRESS),
        *((result, State.READY) for result in _RESULTS),
        ("\n", State.GAP),
        _HEADER,
    ),
    State.READY: (_HEADER,),
}

_DIGITS: Final = re.compile(r"[0-9]+")
_USAGE_HEAD: Final = "\n\nToken usage: "
_USAGE: Final = re.compile(
    r"\n\nToken usage: ([0-9]+) prompt \+ ([0-9]+) completion = ([0-9]+) total"
)
# Go's int has at most 19 digits. A longer text cannot become the usage line, so this bounds
# what is held back and looked at again, whatever the model writes.
_LONGEST: Final = len(f"{_USAGE_HEAD} prompt +  completion =  total\n") + 3 * 19


class OutputParser:
    """Turns the bytes of stdout into parts, in order and in linear time.

    Every split of the bytes gives the same parts, once adjacent deltas are joined. The parser holds
    back only text that may still turn out to be the CLI's: the beginning of one of its lines, of
    the separator or of the usage line, and the last newline.

    Args:
        model: The requested model. A notice that names another one is the model's own text.
        separator: `SEPARATOR`, or `SEPARATOR_TO_V0_1_40` for such an old CLI.
    """

    __slots__ = ("_bytes", "_held", "_line", "_notices", "_separator", "_state", "_then")

    def __init__(self, model: str, *, separator: str = SEPARATOR) -> None:
        self._separator = separator
        self._notices = {
            f"Unable to find model '{name}' locally. Pulling from the server.": name
            for name in (model, _completed(model))
        }
        self._state = State.START
        self._then = State.START  # the state after `LINE`
        self._bytes = b""  # an incomplete character
        self._held = ""
        self._line: list[str] = []  # pieces, so that an endless line costs no copies of itself

    def feed(self, data: bytes) -> list[Part]:
        """Take the next bytes and return the parts that they complete."""
        if self._bytes:
            data = self._bytes + data
        text, used = utf_8_decode(data, "replace", False)  # noqa: FBT003 (positional in C)
        self._bytes = data[used:]
        if not self._held and "\n" not in text and (delta := _FLOWING.get(self._state)):
            return [delta(text)] if text else []
        return self._parse(text)

    def close(self) -> list[Part]:
        """Return the text that was held back. Nothing may follow."""
        parts = self._parse(utf_8_decode(self._bytes, "replace", True)[0])  # noqa: FBT003 (as above)
        if self._state is State.LINE:
            parts.append(Chatter("".join(self._line)))
            return parts
        held = self._held.removesuffix("\n")
        if usage := _USAGE.fullmatch(held):
            parts.append(Usage(*map(int, usage.groups())))
        elif held and self._state is State.PULL:
            parts.append(Chatter(held))
        elif held:
            parts.append(_FLOWING.get(self._state, TextDelta)(held))
        return parts

    def _parse(self, text: str) -> list[Part]:
        parts: list[Part] = []
        text = self._held + text
        self._held = ""
        position = 0
        while position < len(text):
            if self._state is State.LINE:
                position = self._go_on_with_line(text, position, parts)
            elif delta := _FLOWING.get(self._state):
                position = self._flow(delta, text, position, parts)
            elif (opened := self._open(text, position)) is not None:
                position = opened
            else:
                self._held = text[position:]
                break
        return parts

    def _open(self, text: str, position: int) -> int | None:
        """Decide what begins here and return where to go on; `None` if that needs more text."""
        openings = _OPENINGS[self._state]
        if self._state is State.START:
            openings += tuple((f"{notice}\n", State.PULL) for notice in self._notices)
        for opening, then in openings:
            if not text.startswith(opening, position):
                continue
            if then is not State.REASONING:
                self._state, self._then = State.LINE, then
                return position
            after = position + len(opening)
            if after == len(text):
                # The CLI never prints its header without reasoning after it. If nothing follows,
                # this is the answer "Thinking:" with the last newline.
                return None
            self._state = then
            return after
        if any(
            opening.startswith(text[position : position + len(opening)]) for opening, _ in openings
        ):
            return None
        if self._state is State.PULL:
            # The result of a pull is in the server's words: it may be any line.
            self._state, self._then = State.LINE, State.READY
        else:
            self._state = State.ANSWER
        return position

    def _go_on_with_line(self, text: str, position: int, parts: list[Part]) -> int:
        end = text.find("\n", position)
        if end < 0:
            self._line.append(text[position:])
            return len(text)
        self._line.append(text[position:end])
        line = "".join(self._line)
        self._line.clear()
        name = self._notices.get(line)
        parts.append(Chatter(line) if name is None else PullNotice(name))
        if name is not None:
            self._notices.clear()  # there is one only: a second one is the server's result
        self._state = self._then
        return end + 1

    def _flow(
        self, delta: type[TextDelta | ReasoningDelta], text: str, position: int, parts: list[Part]
    ) -> int:
        if self._state is State.REASONING:
            end = text.find(self._separator, position)
            if end >= 0:
                self._state = State.ANSWER
                _append(parts, delta, text[position:end])
                return end + len(self._separator)
        certain = self._certain(text, position)
        _append(parts, delta, text[position:certain])
        self._held = text[certain:]
        return len(text)

    def _certain(self, text: str, position: int) -> int:
        """Return the offset up to which `text` is certainly the model's."""
        newline = text.find("\n", max(position, len(text) - _LONGEST))
        while newline >= 0:
            tail = text[newline:]
            if (
                tail == "\n"
                or _usage_line(tail).startswith(tail)
                or (self._state is State.REASONING and self._separator.startswith(tail))
            ):
                return newline
            newline = text.find("\n", newline + 1)
        return len(text)


def _append(parts: list[Part], delta: type[TextDelta | ReasoningDelta], text: str) -> None:
    if text:
        parts.append(delta(text))


def _usage_line(tail: str) -> str:
    """Return the usage line that `tail` may begin, as far as its numbers are known."""
    if not tail.startswith(_USAGE_HEAD):
        return _USAGE_HEAD
    match [int(digits) for digits in _DIGITS.findall(tail)]:
        case [prompt, completion, *_]:
            total = prompt + completion
            return f"{_USAGE_HEAD}{prompt} prompt + {completion} completion = {total} total\n"
        case [prompt]:
            return f"{_USAGE_HEAD}{prompt} prompt + "
        case _:
            return _USAGE_HEAD


def _completed(model: str) -> str:
    """Return the name as v0.1.46 prints it (docker/model-runner: `NormalizeModelName`)."""
    if model.startswith("hf.co/"):
        model = model.lower()
    owner, slash, _ = model.partition("/")
    tagged = model if ":" in model else f"{model}:latest"
    return tagged if slash and owner else f"ai/{tagged}"
