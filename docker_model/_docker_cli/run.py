"""A `docker model run` process that answers one prompt, and the result of its exit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from docker_model._docker_cli import failures
from docker_model._docker_cli.command import run_arguments
from docker_model._docker_cli.output_parser import (
    SEPARATOR,
    SEPARATOR_TO_V0_1_40,
    Chatter,
    OutputParser,
    PullNotice,
)
from docker_model._transport.collector import Collector
from docker_model.errors import GenerationError
from docker_model.types import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker_model._docker_cli.command_spec import Program
    from docker_model._docker_cli.output_parser import Part
    from docker_model._runtime import Child, Exit
    from docker_model._runtime.timeouts import PhaseTimeout
    from docker_model._transport.protocol import Receiver, Request


@dataclass(frozen=True, slots=True)
class RunCommand:
    """A `docker model run` command that can be started.

    Attributes:
        program: The program that runs `docker model` commands.
        model: A valid model name.
        color: Whether the program supports `--color`.
    """

    program: Program
    model: str
    color: bool

    @property
    def separator(self) -> str:
        """The text between the reasoning and the answer in the output."""
        return SEPARATOR if self.color else SEPARATOR_TO_V0_1_40

    async def start(self, cwd: Callable[[], str], on_stdout: Callable[[bytes], object]) -> Child:
        """Start the run, which then waits for its prompt.

        Raises:
            DockerModelError: If the run cannot be started.
        """
        arguments = run_arguments(self.model, color=self.color)
        return await self.program.start(arguments, cwd=cwd, on_stdout=on_stdout)


class Answer(Collector):
    """The answer of one run.

    Attributes:
        vanished: Whether the CLI has printed that the model is missing.
    """

    def __init__(
        self,
        request: Request,
        receiver: Receiver,
        began: float,
        separator: str = SEPARATOR,
        on_first_output: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(request, receiver, began)
        self.vanished = False
        self._on_first_output = on_first_output
        self._parser = OutputParser(request.model, separator=separator)

    def feed(self, data: bytes) -> None:
        """Process a chunk of stdout."""
        for part in self._parser.feed(data):
            self._sort(part)

    def end_of_output(self) -> None:
        """Process the text that the parser held back; called at the end of stdout."""
        for part in self._parser.close():
            self._sort(part)
        self.end()

    def _sort(self, part: Part) -> None:
        if self.vanished or isinstance(part, Chatter):
            return
        if isinstance(part, PullNotice):
            self.vanished = not self.over
        else:
            if self.first_output is None and not isinstance(part, Usage):
                self._on_first_output()
            self.take(part)


class Run:
    """Connects a child with its answer, the receiver and the timeouts, on the I/O thread.

    A run first waits for its prompt on stdin, so it can start before the prompt is ready to be
    sent.

    Args:
        command: The command of the run.
        request: The request to answer.
        receiver: Receives the pieces, and can pause reading.
        answer: Collects the output.
        phase: The timeouts, in the phase `first_output`.
        on_first_output: Called once, after the first output of the model.
    """

    def __init__(
        self,
        command: RunCommand,
        request: Request,
        receiver: Receiver,
        answer: Answer,
        phase: PhaseTimeout,
        *,
        on_first_output: Callable[[], object],
    ) -> None:
        self.command = command
        self.answer = answer
        self._request = request
        self._receiver = receiver
        self._phase = phase
        self._on_first_output = on_first_output
        self._paused = False
        # The exit of the run; `None` if its remaining output is irrelevant and it is being ended.
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[Exit | None] = self._loop.create_future()
        self.child: Child

    async def start(self, cwd: Callable[[], str]) -> Child:
        """Start the child.

        Raises:
            DockerModelError: If the child cannot be started.
        """
        return self._adopt(await self.command.start(cwd, self._on_stdout))

    def take_over(self, child: Child) -> Child:
        """Use a child that is already running."""
        child.hand_over(self._on_stdout)
        return self._adopt(child)

    def _adopt(self, child: Child) -> Child:
        self.child = child
        self._receiver.on_full = self._pause
        self._receiver.on_drained = self._resume
        child.ended.add_done_callback(self._on_end)
        return child

    async def result(self) -> Exit | None:
        """Await the end; `None` if the answer was truncated or the model is missing."""
        return await self._done

    def _on_stdout(self, data: bytes) -> None:
        answer = self.answer
        silent = answer.first_output is None
        try:
            answer.feed(data)
        except BaseException as error:  # noqa: BLE001  from `on_progress`; raised to the caller
            if not self._done.done():
                self._done.set_exception(error)
            return
        if silent and answer.first_output is not None:
            # Deferred, because the caller was woken up and waits for this thread to yield.
            self._loop.call_soon(self._on_first_output)
        if answer.over or answer.vanished:
            self._settle(None)
        elif answer.first_output is not None and not self._paused:
            self._phase.switch_to("idle", self._request.timeouts.idle)

    def _on_end(self, ended: asyncio.Future[Exit]) -> None:
        error = ended.exception()
        if error is None:
            self._settle(ended.result())
        elif not self._done.done():
            self._done.set_exception(error)

    def _settle(self, end: Exit | None) -> None:
        if not self._done.done():
            self._done.set_result(end)

    def _pause(self) -> None:
        self._paused = True
        self.child.pause()
        self._phase.suspend(suspended=True)

    def _resume(self) -> None:
        self._paused = False
        self.child.resume()
        self._phase.suspend(suspended=False)


def check_end(end: Exit, answer: Answer, model: str) -> None:
    """Raise an error if a run failed.

    Exit code 0 does not prove success: the CLI ignores errors inside the stream, and then exits
    with code 0 and no output.

    Raises:
        DockerModelError: If the run failed, or produced no output.
    """
    if end.lingered:
        msg = "the command closed its output but did not exit, so it was killed"
        hint = "update the Docker Model Runner plugin, then try again"
        raise GenerationError(msg, hint=hint, stderr=end.stderr, partial=answer.text)
    if end.code != 0 or answer.empty:
        raise failures.name_failure(
            command="run",
            model=model,
            exit_code=end.code,
            signal=end.signal,
            stderr=end.stderr,
            partial=answer.text,
        )


def was_killed(end: Exit) -> bool:
    """Whether another process ended a run.

    With `docker` in front of the plugin, there is a race: usually the signal kills the plugin,
    but it can also report that `docker` closed its socket. A run that did not read its prompt also
    counts, on every system. On Windows, where a killed process can have any exit code, that is
    the only sign.
    """
    return (
        end.signal is not None
        or not end.delivered
        or end.code in failures.SIGNALED_PLUGIN_EXITS
        or (end.code == 1 and "context canceled" in end.stderr)
    )
