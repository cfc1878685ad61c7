"""Parse the output of `docker model run`: the text of the model and the text of the CLI.

Both are in the same stdout, and only fixed texts separate them::

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

and one newline. A model can also write these texts. The parser therefore only recognizes them
at the positions and in the exact form of the CLI. Text that is still ambiguous is treated as
text of the CLI.
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
"""The separator between the reasoning and the answer, since v0.1.41."""

SEPARATOR_TO_V0_1_40: Final = "\n\n"
"""The separator from v0.1.37 to v0.1.40. A blank line in the reasoning is indistinguishable."""


@dataclass(frozen=True, slots=True)
class PullNotice:
    """The notice that the CLI did not find the model and begins to pull it.

    Attributes:
        model: The name that the CLI prints: the name passed, which v0.1.46 completes.
    """

    model: str


@dataclass(frozen=True, slots=True)
class Chatter:
    """A line of the CLI before the answer, without its newline."""

    line: str


Part: TypeAlias = TextDelta | ReasoningDelta | Usage | PullNotice | Chatter


class State(Enum):
    """The part of the output that the parser is in."""

    START = auto()
    PULL = auto()  # After the notice; a line that is not progress is the result of the pull.
    GAP = auto()  # After an empty line in a pull; a retry, a result or no result follows.
    READY = auto()  # After the result of the pull.
    LINE = auto()  # Inside a line of the CLI, up to the next newline.
    REASONING = auto()
    ANSWER = auto()


_FLOWING: Final[Mapping[State, type[TextDelta | ReasoningDelta]]] = {
    State.REASONING: ReasoningDelta,
    State.ANSWER: TextDelta,
}

# All warnings that `DetectContext` of cmd/cli/desktop/context.go can print. A shorter prefix
# such as "Warning: " is not sufficient, because an answer can begin with it.
_WARNINGS: Final = (
    "Warning: unable to open context store: ",
    "Warning: unable to determine active context: ",
    'Warning: unable to read context "',
    "Warning: failed to get Docker info: ",
    "Warning: failed to create Docker client: ",
    "Warning: failed to wake up Docker Cloud",
    "Warning: failed to verify Docker Cloud wake-up: ",
)
# v0.1.30 and older rewrite one line, as on a terminal.
_PROGRESS: Final = ("Downloaded ", "Downloaded: ", "\r\x1b[KDownloaded: ")
_RESULTS: Final = ("Model pulled successfully\n", "Using cached model: ")
_HEADER: Final = ("Thinking:\n", State.REASONING)

_Openings: TypeAlias = tuple[tuple[str, State], ...]

# The texts that the CLI can print next, and the state after them. No text is a prefix of another.
_OPENINGS: Final[Mapping[State, _Openings]] = {
    State.START: (*((warning, State.START) for warning in _WARNINGS), _HEADER),
    State.PULL: (
        *((progress, State.PULL) for progress in _PROGRESS),
        ("Warning: failed to ", State.PULL),  # to copy credentials; since v1.2.6
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
# Go's int has at most 19 digits. A longer text cannot become the usage line, so this is the
# maximum length of the text that is held back and parsed again.
_LONGEST: Final = len(f"{_USAGE_HEAD} prompt +  completion =  total\n") + 3 * 19


class OutputParser:
    """Converts the bytes of stdout to parts, in order and in linear time.

    The result does not depend on how the bytes are split, once adjacent deltas are joined. The
    parser only holds back text that can still become text of the CLI: the beginning of a line of
    the CLI, of the separator or of the usage line, and the last newline.

    Args:
        model: The requested model. A notice with another name is text of the model.
        separator: `SEPARATOR`, or `SEPARATOR_TO_V0_1_40` for an old CLI.
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
        self._line: list[str] = []  # pieces, because appending to a long string copies it

    def feed(self, data: bytes) -> list[Part]:
        """Process the next bytes, and return the parts that they complete."""
        if self._bytes:
            data = self._bytes + data
        text, used = utf_8_decode(data, "replace", False)  # noqa: FBT003 (positional in C)
        self._bytes = data[used:]
        if not self._held and "\n" not in text and (delta := _FLOWING.get(self._state)):
            return [delta(text)] if text else []
        return self._parse(text)

    def close(self) -> list[Part]:
        """Return the parts in the text that was held back; called at the end of the output."""
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
        """Enter the state of the text at `position`, and return the position after its opening.

        Return `None` if the decision needs more text.
        """
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
            # The result of a pull is a message of the server, so it can be any line.
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
            self._notices.clear()  # the CLI prints one notice; a second one is the server's result
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
        """Return the offset up to which `text` is certainly text of the model."""
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
    """Return the usage line that begins with `tail`, up to the numbers that are known."""
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
