"""A terminal with colors and progress bars, by rich."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from docker_model._console.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from docker_model._console.screen import Style
    from docker_model.types import PullProgress


class ColorScreen(Screen):
    """A screen with styles. rich honors `NO_COLOR`."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._console = Console(file=stream)

    def _write(self, text: str, style: Style) -> None:
        if style:
            self._console.out(text, style=style, end="", highlight=False)
        else:
            self.stream.write(text)  # byte for byte: rich would expand tabs

    @contextlib.contextmanager
    def progress(self) -> Iterator[Callable[[PullProgress], None]]:
        """Return what shows the progress of a pull: a bar, which is gone afterwards."""
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
