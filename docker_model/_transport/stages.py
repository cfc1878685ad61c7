"""Report the stages of a call to `on_progress`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from docker_model._transport.model_names import same_model
from docker_model.errors import DockerModelError
from docker_model.types import Progress, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from docker_model.types import RunningModel, Stage

_MAX_DELAY = 5.0  # seconds; the maximum interval between two checks of the loaded models


class Stages:
    """Reports the stages of one call, on the I/O thread.

    After the first token, only the speed is reported, because a terminal then shows the answer.

    Args:
        model: The model name that the caller passed.
        report: Called with each `Progress`; `None` without a listener.
    """

    def __init__(self, model: str, report: Callable[[Progress], object] | None) -> None:
        self._model = model
        self._report = report
        self._last: Stage | None = None
        self._clock = asyncio.get_running_loop().time
        self._first: float | None = None

    @property
    def has_listener(self) -> bool:
        """Whether there is a listener."""
        return self._report is not None

    def queue(self, status: str = "waiting for other calls to end") -> None:
        """Report that the call waits in the queue."""
        self._once("queue", status)

    def load(self) -> None:
        """Report that the runner loads the model."""
        self._once("load", "loading the model")

    def prompt(self, progress: object) -> None:
        """Report how much of the prompt is processed, from llama.cpp's `prompt_progress`."""
        if isinstance(progress, dict):
            done, total = progress.get("processed"), progress.get("total")
            if isinstance(done, int) and isinstance(total, int):
                self._send("prompt", "reading the prompt", current=done, total=total)

    def first_token(self) -> None:
        """Report, once, that the answer begins."""
        if self._report is not None and self._first is None:
            self._send("first_token", "answering")
            self._first = self._clock()

    def speed(self, usage: Usage | Mapping[str, Any] | None, timings: object = None) -> None:
        """Report the generation speed, if it is known.

        Args:
            usage: The token counts of the answer.
            timings: llama.cpp's object `timings`, the preferred source.
        """
        if self._report is None:
            return
        rate = timings.get("predicted_per_second") if isinstance(timings, dict) else None
        if not isinstance(rate, (int, float)) and self._first is not None:
            written = _written(usage)
            spent = self._clock() - self._first
            rate = written / spent if written and spent > 0 else None
        if isinstance(rate, (int, float)):
            words = f"{rate:.1f} tokens per second"
            self._report(Progress(self._model, words, stage="speed", tokens_per_second=rate))

    @contextlib.asynccontextmanager
    async def watch_loading(
        self, running: Callable[[], Awaitable[list[RunningModel]]], delay: float
    ) -> AsyncIterator[Callable[[], object]]:
        """Report `load` or `queue` until the call has output; yield a function that stops it.

        An exception of the listener is raised by this function, or by the exit of the context.

        Args:
            running: Lists the loaded models. Called only if there is a listener.
            delay: Seconds before the first call.
        """
        if self._report is None:
            yield lambda: None
            return
        watch = asyncio.get_running_loop().create_task(self._watch(running, delay))

        def stop() -> None:
            watch.cancel()
            failed = watch.done() and not watch.cancelled() and watch.result()
            if failed:
                raise failed

        try:
            yield stop
            stop()
        finally:
            watch.cancel()
            await asyncio.wait([watch])

    async def _watch(
        self, running: Callable[[], Awaitable[list[RunningModel]]], delay: float
    ) -> BaseException | None:
        """Return an exception of the listener, because a SystemExit would end this thread."""
        try:
            await self._look(running, delay)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  raised again for the caller
            return error
        return None

    async def _look(
        self, running: Callable[[], Awaitable[list[RunningModel]]], delay: float
    ) -> None:
        while True:
            await asyncio.sleep(delay)
            models = []
            with contextlib.suppress(DockerModelError):  # the call itself raises the error
                models = await running()
            own = [model for model in models if same_model(model.name, self._model)]
            if any(model.loading for model in own):
                self.load()
            elif own:
                self._once("prompt", "reading the prompt")  # the next event is the answer
                return
            elif models:
                self.queue("waiting for the runner, which has other models loaded")
            delay = min(2 * delay, _MAX_DELAY)

    def _once(self, stage: Stage, status: str) -> None:
        if self._last != stage:
            self._send(stage, status)

    def _send(
        self, stage: Stage, status: str, current: int | None = None, total: int | None = None
    ) -> None:
        if self._report is not None and self._first is None:
            self._last = stage
            self._report(Progress(self._model, status, current, total, stage))


def _written(usage: Usage | Mapping[str, Any] | None) -> int | None:
    if isinstance(usage, Usage):
        return usage.completion_tokens
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) else None
