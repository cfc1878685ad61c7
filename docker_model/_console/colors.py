"""Output with colors, progress bars and rendered Markdown, by rich."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from docker_model._console.screen import Screen, harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from docker_model._console.screen import Style, Writer
    from docker_model.types import PullProgress


class ColorScreen(Screen):
    """A terminal with styles. rich respects `NO_COLOR`."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._console = Console(file=stream)

    def _write(self, text: str, style: Style) -> None:
        if style:
            self._console.out(text, style=style, end="", highlight=False)
        else:
            self.stream.write(text)  # unchanged, because rich would expand tabs

    def markdown(self) -> Writer:
        """Return a writer that renders Markdown from pieces of text."""
        return _MarkdownBlocks(self, self._console)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Callable[[PullProgress], None]]:
        """Return a callback that shows the progress of a pull in a temporary bar."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task("", total=None)

            def show(step: PullProgress) -> None:
                bars.update(task, description=step.model, completed=step.current, total=step.total)

            yield show


_REFRESH_INTERVAL = 0.1  # seconds between two renderings of the unfinished block


class _MarkdownBlocks:
    """Renders Markdown block by block, and renders the unfinished block repeatedly.

    The whole answer cannot be rendered repeatedly, because it can be longer than the screen.
    """

    def __init__(self, screen: Screen, console: Console) -> None:
        self._screen = screen
        self._console = console
        self._block = ""  # the unfinished block
        self._live: Live | None = None
        self._drawn = 0.0
        self._first = True

    def write(self, text: str, _style: Style = "") -> None:
        if self._live is None and not self._block:
            self._screen.write("")  # removes the temporary line
        self._block += harmless(text)
        while (end := _end_of_block(self._block)) is not None:
            self._print(self._block[:end])
            self._block = self._block[end:].lstrip("\n")
        if self._block.strip():
            self._draw()

    def end(self) -> None:
        block, self._block = self._block, ""
        self._print(block)

    def _draw(self) -> None:
        now = time.monotonic()
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        elif now - self._drawn < _REFRESH_INTERVAL:
            return
        self._drawn = now
        self._live.update(_markdown(self._block), refresh=True)

    def _print(self, block: str) -> None:
        if self._live is not None:
            self._live.update("")
            self._live.stop()
            self._live = None
        if block.strip():
            if not self._first:
                self._console.print()
            self._first = False
            self._console.print(_markdown(block))


def _markdown(text: str) -> Markdown:
    # Show the address of a link, because the model chose both the text and the address.
    return Markdown(text, code_theme="ansi_dark", hyperlinks=False)


def _end_of_block(text: str) -> int | None:
    """Return the index of the first blank line that ends a block, outside of fences, or `None`."""
    fence = ""
    index = 0
    for line in text.splitlines(keepends=True):
        stripped = line.strip()
        if fence:
            fence = "" if stripped == fence else fence
        elif stripped.startswith(("```", "~~~")):
            fence = stripped[:3]
        elif not stripped and line.endswith("\n") and text[:index].strip():
            return index
        index += len(line)
    return None
