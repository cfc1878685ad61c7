"""Collect the parts of an answer, and build the `Completion`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from docker_model._transport.spool import Spool, completion
from docker_model._transport.stop_sequences import Cutter
from docker_model.types import ReasoningDelta, TextDelta, Timings, Usage

if TYPE_CHECKING:
    from docker_model._transport.protocol import Receiver, Request
    from docker_model.types import Completion


# Reasoning has a separate limit: twice `max_chars`, but at least this number.
LEAST_REASONING = 10_000  # characters


class Collector:
    """Collects the parts of an answer of any transport, on the I/O thread.

    Args:
        request: The request.
        receiver: Receives the pieces.
        began: The time of the call, on the loop's clock.

    Attributes:
        over: Whether a stop sequence or `max_chars` has ended the answer before the model did.
        first_output: The time of the model's first output, on the loop's clock.
        full: Whether the context size or the reasoning limit ended the answer.
    """

    def __init__(self, request: Request, receiver: Receiver, began: float) -> None:
        self.over = False
        self.full = False
        self.first_output: float | None = None
        self._request = request
        self._receiver = receiver
        self._began = began
        self._clock = asyncio.get_running_loop().time
        self._cutter = Cutter(request.stop, request.max_chars)
        self._text = Spool()
        self._reasoning: list[str] = []
        cap = request.max_chars
        self._reasoning_left = None if cap is None else max(2 * cap, LEAST_REASONING)
        self._usage: Usage | None = None

    def take(self, part: TextDelta | ReasoningDelta | Usage) -> None:
        """Process the next part; ignore it if the answer is over."""
        if self.over:
            return
        if isinstance(part, Usage):
            self._usage = part
            return
        if self.first_output is None:
            self.first_output = self._clock()
        if isinstance(part, TextDelta):
            text = self._cutter.feed(part.text)
            if text is part.text:
                self._give(part)
            elif text:
                self._give(TextDelta(text))
            self.over = self._cutter.finish_reason is not None
        else:
            self._think(part)

    def _think(self, part: ReasoningDelta) -> None:
        if self._reasoning_left is not None:
            if len(part.text) > self._reasoning_left:
                part = ReasoningDelta(part.text[: self._reasoning_left])
                self.over = self.full = True
            self._reasoning_left -= len(part.text)
        if part.text:
            self._reasoning.append(part.text)
            self._receiver.put(part, len(part.text))

    def end(self) -> None:
        """Pass on the text that was held back as a possible stop; called after the last part."""
        if not self.over and (text := self._cutter.flush()):
            self._give(TextDelta(text))

    def _give(self, piece: TextDelta) -> None:
        self._text.add(piece.text)
        self._receiver.put(piece, len(piece.text))

    @property
    def text(self) -> str:
        """The text of the answer so far."""
        return self._text.read()

    @property
    def empty(self) -> bool:
        """Whether the model has produced no output."""
        return not (self._text or self._reasoning or self.over)

    def completion(self, started: float) -> Completion:
        """Return the finished answer of a call that left the queue at `started`."""
        first = self.first_output
        return completion(
            self._text,
            reasoning="".join(self._reasoning),
            usage=self._usage,
            finish_reason=self._cutter.finish_reason or ("length" if self.full else "stop"),
            model=self._request.model,
            timings=Timings(
                queued=started - self._began,
                first_output=None if first is None else first - self._began,
                total=self._clock() - self._began,
            ),
        )
