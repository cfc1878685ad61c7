"""A request that `docker model run` answers: its slot, its timeouts and its runs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from docker_model._docker_cli import failures, management
from docker_model._docker_cli.run import Answer, Run, check_end, was_killed
from docker_model._docker_cli.shared_state import SharedState
from docker_model._docker_cli.standby_pool import StandbyLease
from docker_model._runtime import io_thread
from docker_model._runtime.limiter import Limiter
from docker_model._runtime.timeouts import PhaseTimeout, timeout_scope
from docker_model._transport.failures import PATIENCE, model_not_found
from docker_model._transport.stages import Stages
from docker_model.errors import ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker_model._docker_cli.command_spec import CommandSpec
    from docker_model._docker_cli.standby_pool import StandbyOwner, StandbyProcess
    from docker_model._docker_cli.workdir import Workdir
    from docker_model._runtime import Child, Exit
    from docker_model._transport.protocol import Receiver, Request
    from docker_model.options import PullPolicy
    from docker_model.types import Completion, Progress, RunningModel


FIRST_LOOK = 1.0  # seconds without output before progress reports whether the model loads
REMEMBERED = 5.0  # seconds for which a check that found the model is valid
REMEMBERED_BY_STANDBY = 60.0  # the same with standby, where a check would be the slowest step


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The settings of runs.

    Attributes:
        spec: The command and the environment of every child.
        cwd: Returns the working directory of a run.
        max_concurrency: The maximum number of simultaneous runs with the same spec and limit.
        pull: The policy for a missing model.
        on_progress: Called with the stages of a call, including pulls, on the I/O thread.
        owner: The model's owner object in the standby pool; `None` without standby.
    """

    spec: CommandSpec
    cwd: Workdir
    max_concurrency: int
    pull: PullPolicy
    on_progress: Callable[[Progress], object] | None = None
    owner: StandbyOwner | None = None

    @property
    def remembered(self) -> float:
        """The seconds for which a check that found the model is valid."""
        return REMEMBERED if self.owner is None else REMEMBERED_BY_STANDBY


class _RetryError(Exception):
    """Nothing was delivered yet, and the next run can succeed."""


class CliRequest:
    """A request to a model, answered by one or more runs of the command, on the I/O thread.

    Args:
        options: The settings of the runs.
        request: The request, with a prompt that is safe to send.
        receiver: Receives the pieces of the answer.
    """

    def __init__(self, options: RunOptions, request: Request, receiver: Receiver) -> None:
        self._options = options
        self._request = request
        self._receiver = receiver
        self._shared = io_thread.current().local(SharedState)
        self._stages = Stages(request.model, options.on_progress)
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._child: Child | None = None  # the child of the last run
        self._answer: Answer | None = None  # the answer of this child so far
        self._standby_failed = False

    async def completion(self) -> Completion:
        """Return the answer; the receiver receives its pieces as they arrive.

        Raises:
            DockerModelError: If the run fails.
        """
        options, timeouts = self._options, self._request.timeouts
        async with timeout_scope("total", timeouts.total, self._partial, cap="max_chars"):
            limiter = io_thread.current().local(Limiter)
            slot = limiter.slots(options.spec, options.max_concurrency)
            if slot.locked():
                self._stages.queue()
            async with timeout_scope("queue", timeouts.queue):
                await slot.acquire()
            try:
                return await self._pull_if_missing()
            finally:
                self._leave(slot)

    def _leave(self, slot: asyncio.Semaphore) -> None:
        """Release the slot when the child has ended."""
        if self._child is None or self._child.ended.done():
            slot.release()
        else:
            self._child.ended.add_done_callback(lambda _: slot.release())

    async def _pull_if_missing(self) -> Completion:
        """Answer the request; if the model is missing and may be pulled, pull it and retry."""
        options, model = self._options, self._request.model
        try:
            return await self._attempts()
        except ModelNotFoundError:
            if options.pull == "never":
                raise
        await management.pull(options.spec, model, options.on_progress)
        return await self._attempts()

    async def _attempts(self) -> Completion:
        """Run the command, and retry as long as no part of an answer has been delivered."""
        while True:
            try:
                return await self._attempt()
            except _RetryError:
                pass

    async def _attempt(self) -> Completion:
        """Answer the prompt with one run."""
        options, request = self._options, self._request
        started = self._clock()
        pool = self._shared.pool(options.spec, request.model, options.cwd, options.owner)
        with StandbyLease(pool) as standby:
            parked = None if self._standby_failed else standby.take()
            try:
                async with PhaseTimeout(
                    "first_output", request.timeouts.first_output, self._partial
                ) as phase:
                    run = await self._start(parked, phase, standby.refill)
                    # The run waits for its prompt, so the check for the model runs meanwhile.
                    await self._shared.require_model(
                        options.spec, request.model, options.remembered
                    )
                    sent = self._clock()
                    run.child.write(request.prompt.encode())
                    async with self._stages.watch_loading(self._running, FIRST_LOOK):
                        end = await run.result()
            finally:
                if self._child is not None:
                    self._child.end()
        self._check(run, end, parked=parked is not None)
        # The successful run proves that the model is present.
        self._shared.presence.remember(options.spec, request.model, sent, options.remembered)
        completion = run.answer.completion(started)
        self._stages.speed(completion.usage)
        return completion

    async def _start(
        self,
        parked: StandbyProcess | None,
        phase: PhaseTimeout,
        on_first_output: Callable[[], object],
    ) -> Run:
        """Use the standby process, or start a new process."""
        options, request = self._options, self._request
        if parked is None:
            command = await self._shared.run_command(options.spec, request.model)
        else:
            command = parked.command
        self._answer = answer = Answer(
            request, self._receiver, self._began, command.separator, self._stages.first_token
        )
        run = Run(command, request, self._receiver, answer, phase, on_first_output=on_first_output)
        if parked is None:
            self._child = await run.start(options.cwd)
        else:
            self._child = run.take_over(parked.child)
        return run

    def _check(self, run: Run, end: Exit | None, *, parked: bool) -> None:
        """Raise the error of a failed run."""
        options, model, answer = self._options, self._request.model, run.answer
        if answer.vanished:
            self._shared.presence.forget(options.spec, model)
            raise model_not_found(model)
        if end is None:
            return
        answer.end_of_output()
        if answer.empty and parked and was_killed(end):
            self._standby_failed = True
            raise _RetryError
        if failures.is_unknown_flag(end.stderr, "--color"):
            self._shared.disable_color(run.command)
            raise _RetryError
        check_end(end, answer, model)

    def _partial(self) -> str:
        return "" if self._answer is None else self._answer.text

    async def _running(self) -> list[RunningModel]:
        commands = management.ManagementCommands(self._options.spec, PATIENCE)
        return await commands.list_running()
