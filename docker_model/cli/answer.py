"""What one run says: stdout's bytes become the caller's pieces, the end a `Completion`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from docker_model.cli.output import SEPARATOR, OutputParser, PullNotice
from docker_model.cli.stops import Cutter
from docker_model.spool import Spool, completion
from docker_model.types import ReasoningDelta, TextDelta, Timings, Usage

if TYPE_CHECKING:
    from docker_model.cli.output import Part
    from docker_model.transport import Receiver, Request
    from docker_model.types import Completion


class Answer:
    """Collects one run's answer and hands on its pieces; on the I/O thread.

    Attributes:
        over: True once a stop sequence or `max_chars` has ended it before the run did.
        vanished: True once the CLI has said that the model is missing.
        first_output: When the model first said something, on the loop's clock.
    """

    def __init__(
        self,
        request: Request,
        receiver: Receiver,
        began: float,
        separator: str = SEPARATOR,
    ) -> None:
        self.over = False
        self.vanished = False
        self.first_output: float | None = None
        self._request = request
        self._receiver = receiver
        self._began = began
        self._clock = asyncio.get_running_loop().time
        self._parser = OutputParser(request.model, separator=separator)
        self._cutter = Cutter(request.stop, request.max_chars)
        self._text = Spool()
        self._reasoning: list[str] = []
        self._usage: Usage | None = None

    def feed(self, data: bytes) -> None:
        """Take a chunk of stdout."""
        for part in self._parser.feed(data):
            self._take(part)

    def end_of_output(self) -> None:
        """Take what was held back until it could not become anything else."""
        for part in self._parser.close():
            self._take(part)
        if not self.over:
            self._give(self._cutter.flush())

    def _take(self, part: Part) -> None:
        if self.over or self.vanished:
            return
        if isinstance(part, TextDelta):
            self._note_output()
            self._give(self._cutter.feed(part.text))
            self.over = self._cutter.finish_reason is not None
        elif isinstance(part, ReasoningDelta):
            self._note_output()
            self._reasoning.append(part.text)
            self._receiver.put(part, len(part.text))
        elif isinstance(part, Usage):
            self._usage = part
        elif isinstance(part, PullNotice):
            self.vanished = True

    def _note_output(self) -> None:
        if self.first_output is None:
            self.first_output = self._clock()

    def _give(self, text: str) -> None:
        if text:
            self._text.add(text)
            self._receiver.put(TextDelta(text), len(text))

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._text.read()

    @property
    def empty(self) -> bool:
        """Whether the model said nothing at all."""
        return not (self._text or self._reasoning or self.over)

    def completion(self, started: float) -> Completion:
        """The finished answer of a run that got its place at `started`."""
        first = self.first_output
        return completion(
            self._text,
            reasoning="".join(self._reasoning),
            usage=self._usage,
            finish_reason=self._cutter.finish_reason or "stop",
            model=self._request.model,
            timings=Timings(
                queued=started - self._began,
                first_output=None if first is None else first - self._began,
                total=self._clock() - self._began,
            ),
        )
