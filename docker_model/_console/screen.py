"""Output of the console: plain text, or colors and bars on a terminal with rich.

Everything works without rich (the extra `cli` brings it), and what goes into a pipe or a
file is the same with and without.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import textwrap
from typing import TYPE_CHECKING, Literal, Protocol, TextIO
from unicodedata import east_asian_width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from docker_model.types import PullProgress

Style = Literal["", "dim", "bold", "green", "red", "yellow"]

# A model may say anything, escape sequences that rewrite the screen included.
_CONTROLS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
_CONTROLS |= dict.fromkeys(range(0x7F, 0xA0), 0xFFFD)
_STEP = 10  # per cent between two lines of progress


class Screen:
    """Standard output or standard error, as plain text.

    Attributes:
        terminal: Whether it is a terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.terminal = stream.isatty()
        self._begun = False  # the last line has begun, and not ended
        self._passing = 0  # characters that the next ones overwrite

    def write(self, text: str, style: Style = "") -> None:
        """Write `text` at once, as it is; made harmless on a terminal."""
        self._clear_passing()
        self._write(harmless(text) if self.terminal else text, style)
        self.stream.flush()
        self._begun = not text.endswith("\n") if text else self._begun

    @property
    def width(self) -> int:
        """The columns of the terminal."""
        return shutil.get_terminal_size().columns

    def line(self, text: str = "", style: Style = "") -> None:
        """Write a line."""
        self.write(f"{text}\n", style)

    def paragraph(self, text: str, style: Style = "", indent: int = 0) -> None:
        """Write lines of text, wrapped on a terminal.

        Args:
            text: Lines.
            style: How they look.
            indent: By how much the lines after the first are indented.
        """
        for line in text.split("\n"):
            wrapped = line
            if self.terminal and len(line) > self.width:
                wrapped = textwrap.fill(
                    line,
                    self.width,
                    subsequent_indent=" " * indent,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            self.line(wrapped, style)

    def passing(self, text: str) -> None:
        """Show on a terminal what is waited for; what is written next overwrites it.

        Args:
            text: A short text: it is cut to one line, the only one that can be overwritten.
        """
        if self.terminal:
            self._clear_passing()
            text = text[: self.width - len("^C") - 1]
            self._passing = len(text) + len("^C")  # first: the next may be Ctrl-C
            self._write(text, "dim")
            self.stream.flush()

    def end_line(self) -> None:
        """End the last line, if it has begun."""
        self._clear_passing()
        if self._begun:
            self.line()

    def markdown(self) -> Writer:
        """Return what writes a text in Markdown that comes in pieces; plain without rich."""
        return Wrapped(self)

    def _clear_passing(self) -> None:
        if self._passing:
            self.stream.write(f"\r{'':{self._passing}}\r")
            self.stream.flush()
            self._passing = 0

    def _write(self, text: str, _style: Style) -> None:
        self.stream.write(text)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Callable[[PullProgress], None]]:
        """Return what shows the progress of a pull: a line for each tenth."""
        shown = -_STEP

        def show(step: PullProgress) -> None:
            nonlocal shown
            if step.current is not None and step.total:
                percent = 100 * step.current // step.total
                if percent < shown + _STEP:
                    return
                shown = percent
            self.line(step.status)

        yield show


def screen(stream: TextIO) -> Screen:
    """Return the best screen for a stream."""
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        # ModuleNotFoundError: without rich, a terminal gets plain text too.
        with contextlib.suppress(ModuleNotFoundError):
            from docker_model._console.colors import ColorScreen  # noqa: PLC0415  rich is optional

            return ColorScreen(stream)
    return Screen(stream)


def harmless(text: str) -> str:
    """Return a text with its control characters made visible."""
    return text.translate(_CONTROLS)


class Writer(Protocol):
    """Writes a text that comes in pieces."""

    def write(self, text: str, style: Style = "", /) -> None:
        """Write a piece."""

    def end(self) -> None:
        """Write what is held back."""


class Wrapped:
    """Writes text that comes in pieces, with the lines wrapped between words on a terminal.

    Lines of code blocks and tables stay as they are.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._column = 0
        self._line = ""  # what the line began with, to tell code and tables
        self._word = ""  # held back until it is whole
        self._style: Style = ""
        self._code = False

    def write(self, text: str, style: Style = "") -> None:
        """Write a piece."""
        if not self._screen.terminal:
            self._screen.write(text, style)
            return
        if style != self._style:
            self.end()
            self._style = style
        out = [self._take(part) for part in re.split(r"(\s)", text) if part]
        if any(out):
            self._screen.write("".join(out), style)

    def end(self) -> None:
        """Write what is held back."""
        if rest := self._flush():
            self._screen.write(rest, self._style)

    def _take(self, part: str) -> str:
        if not part.isspace():
            self._word += part
            return ""
        word = self._flush()
        if part == "\n":
            if self._line.lstrip().startswith("```"):
                self._code = not self._code
            self._column, self._line = 0, ""
            return word + part
        self._column += _columns(part)
        self._line += part if len(self._line) < _BEGINNING else ""
        return word + part

    def _flush(self) -> str:
        word, self._word = self._word, ""
        if not word:
            return ""
        break_before = ""
        too_long = self._column + _columns(word) > self._screen.width
        if too_long and self._column and not self._code and not _is_laid_out(self._line):
            break_before, self._column, self._line = "\n", 0, ""
        self._column += _columns(word)
        self._line += word if len(self._line) < _BEGINNING else ""
        return break_before + word


_BEGINNING = 8  # characters of a line that tell what it is


def _is_laid_out(line: str) -> bool:
    """Whether a line is code or a row of a table."""
    return line.startswith(("    ", "\t", "|"))


def _columns(text: str) -> int:
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)


def table(
    columns: Mapping[str, Sequence[str]], out: Screen, less_wanted: Sequence[str] = ()
) -> None:
    """Write a table.

    Args:
        columns: The cells of each column, by its head.
        out: Where to.
        less_wanted: The columns that a terminal too narrow for all can do without, in this
            order; empty ones go first.
    """
    shown = dict(columns)
    widths = {head: max(map(len, (head, *cells))) for head, cells in shown.items()}
    for head in sorted(less_wanted, key=lambda name: any(columns[name])) if out.terminal else ():
        if sum(widths.values()) + 2 * len(widths) - 2 <= out.width:
            break
        del widths[head], shown[head]
    for number, row in enumerate((shown, *zip(*shown.values(), strict=True))):
        cells = (cell.ljust(width) for cell, width in zip(row, widths.values(), strict=True))
        out.line("  ".join(cells).rstrip(), "" if number else "bold")
