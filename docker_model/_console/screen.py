"""Output as plain text, or with colors and progress bars on a terminal with rich.

rich is optional; the extra `cli` installs it. The output to a pipe or a file does not depend
on it.
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

# A model's text can contain escape sequences that change the terminal.
_CONTROLS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
_CONTROLS |= dict.fromkeys(range(0x7F, 0xA0), 0xFFFD)
_STEP = 10  # percent between two lines of progress


class Screen:
    """Standard output or standard error, as plain text.

    Attributes:
        terminal: Whether it is a terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.terminal = stream.isatty()
        self._in_line = False  # the last line has no newline yet
        self._temporary = 0  # characters of the temporary line

    def write(self, text: str, style: Style = "") -> None:
        """Write and flush a text. A terminal shows control characters as symbols."""
        self._clear_temporary()
        self._write(harmless(text) if self.terminal else text, style)
        self.stream.flush()
        self._in_line = not text.endswith("\n") if text else self._in_line

    @property
    def width(self) -> int:
        """The width of the terminal in columns."""
        return shutil.get_terminal_size().columns

    def line(self, text: str = "", style: Style = "") -> None:
        """Write a line."""
        self.write(f"{text}\n", style)

    def paragraph(self, text: str, style: Style = "", indent: int = 0) -> None:
        """Write lines of text, wrapped on a terminal.

        Args:
            text: The lines.
            style: The style of the lines.
            indent: The indentation of continuation lines.
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

    def show_temporarily(self, text: str) -> None:
        """Show a text on a terminal until the next output overwrites it.

        Args:
            text: A short text, cut to one line, because only one line can be overwritten.
        """
        if self.terminal:
            self._clear_temporary()
            text = text[: self.width - len("^C") - 1]
            # Set before the text is written, because Ctrl-C can interrupt at any time.
            self._temporary = len(text) + len("^C")
            self._write(text, "dim")
            self.stream.flush()

    def end_line(self) -> None:
        """Write a newline if the last line has none."""
        self._clear_temporary()
        if self._in_line:
            self.line()

    def markdown(self) -> Writer:
        """Return a writer of Markdown in pieces. Without rich, it writes plain text."""
        return Wrapped(self)

    def _clear_temporary(self) -> None:
        if self._temporary:
            self.stream.write(f"\r{'':{self._temporary}}\r")
            self.stream.flush()
            self._temporary = 0

    def _write(self, text: str, _style: Style) -> None:
        self.stream.write(text)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Callable[[PullProgress], None]]:
        """Return a callback that prints a line for every 10 percent of a pull."""
        printed = -_STEP

        def show(step: PullProgress) -> None:
            nonlocal printed
            if step.current is not None and step.total:
                percent = 100 * step.current // step.total
                if percent < printed + _STEP:
                    return
                printed = percent
            self.line(step.status)

        yield show


def screen(stream: TextIO) -> Screen:
    """Return the best screen for a stream."""
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        # Without rich (ModuleNotFoundError), the output is plain text.
        with contextlib.suppress(ModuleNotFoundError):
            from docker_model._console.colors import ColorScreen  # noqa: PLC0415  rich is optional

            return ColorScreen(stream)
    return Screen(stream)


def harmless(text: str) -> str:
    """Return a text with its control characters replaced by visible symbols."""
    return text.translate(_CONTROLS)


class Writer(Protocol):
    """A writer of a text in pieces."""

    def write(self, text: str, style: Style = "", /) -> None:
        """Write a piece."""

    def end(self) -> None:
        """Write the text that the writer still holds back."""


class Wrapped:
    """Writes a text in pieces, and wraps its lines between words on a terminal.

    Lines of code blocks and tables are not wrapped.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._column = 0
        self._line = ""  # the beginning of the line, which shows whether it is code or a table
        self._word = ""  # held back until it is complete
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
        """Write the word that is held back."""
        if word := self._flush():
            self._screen.write(word, self._style)

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
        self._line += part if len(self._line) < _LINE_START else ""
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
        self._line += word if len(self._line) < _LINE_START else ""
        return break_before + word


_LINE_START = 8  # characters that show whether a line is code or a table


def _is_laid_out(line: str) -> bool:
    """Return whether a line is code or a row of a table."""
    return line.startswith(("    ", "\t", "|"))


def _columns(text: str) -> int:
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)


def table(columns: Mapping[str, Sequence[str]], out: Screen, optional: Sequence[str] = ()) -> None:
    """Write a table.

    Args:
        columns: The cells of each column by its heading.
        out: The screen to write to.
        optional: The columns that a narrow terminal omits, in this order, empty ones first.
    """
    shown = dict(columns)
    widths = {head: max(map(len, (head, *cells))) for head, cells in shown.items()}
    for head in sorted(optional, key=lambda name: any(columns[name])) if out.terminal else ():
        if sum(widths.values()) + 2 * len(widths) - 2 <= out.width:
            break
        del widths[head], shown[head]
    for number, row in enumerate((shown, *zip(*shown.values(), strict=True))):
        cells = (cell.ljust(width) for cell, width in zip(row, widths.values(), strict=True))
        out.line("  ".join(cells).rstrip(), "" if number else "bold")
