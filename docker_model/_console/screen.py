"""Where the console's words go: plain text, or colours and bars on a terminal with rich.

Everything works without rich (the extra `cli` brings it), and what goes into a pipe or a
file is the same with and without.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from docker_model.types import PullProgress

Style = Literal["", "dim", "bold", "green", "red", "yellow"]

# A model may say anything, escape sequences that rewrite the screen included.
_CONTROLS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
_CONTROLS |= dict.fromkeys(range(0x7F, 0xA0), 0xFFFD)
_STEP = 10  # per cent between two lines of progress


class Screen:
    """Standard output or standard error, as plain text.

    Attributes:
        terminal: Whether somebody looks at it.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.terminal = stream.isatty()
        self._begun = False  # something stands in the last line, and its end does not
        self._passing = 0  # characters that the next ones take the place of

    def write(self, text: str, style: Style = "") -> None:
        """Write `text` at once, as it is; made harmless on a terminal."""
        if self._passing:
            self.stream.write(f"\r{'':{self._passing}}\r")
            self._passing = 0
        self._write(text.translate(_CONTROLS) if self.terminal else text, style)
        self.stream.flush()
        self._begun = not text.endswith("\n") if text else self._begun

    def line(self, text: str = "", style: Style = "") -> None:
        """Write a line."""
        self.write(f"{text}\n", style)

    def passing(self, text: str) -> None:
        """Show a terminal what is waited for; what is written next takes its place.

        Args:
            text: Short, since only within one line it can be taken back.
        """
        if self.terminal:
            self._passing = len(text) + len("^C")  # first: the next may be Ctrl-C
            self._write(text, "dim")
            self.stream.flush()

    def end_line(self) -> None:
        """Have what follows begin a line."""
        if self._begun:
            self.line()

    def _write(self, text: str, style: Style) -> None:  # noqa: ARG002  for those with colours
        self.stream.write(text)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Callable[[PullProgress], None]]:
        """Give what shows a pull's progress: here, a line for each tenth."""
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
    """The best there is for `stream`."""
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        # ModuleNotFoundError: without rich, a terminal gets plain text too.
        with contextlib.suppress(ModuleNotFoundError):
            from docker_model._console.colors import ColorScreen  # noqa: PLC0415  rich is optional

            return ColorScreen(stream)
    return Screen(stream)
