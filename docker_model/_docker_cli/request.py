"""One request to `docker model run`: its slot, its timeouts and its runs."""

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


FIRST_LOOK = 1.0  # seconds without output, until a listener learns whether the model loads
REMEMBERED = 5.0  # seconds for which a model that was found counts as present
REMEMBERED_BY_STANDBY = 60.0  # the same with standby, where a check would be the longest step


@dataclass(frozen=True, slots=True)
class RunOptions:
    """A user's settings for runs.

    Attributes:
        spec: The command and the environment of every child.
        cwd: Returns the working directory of a run.
        max_concurrency: How many runs with the same spec and limit there may be at once.
        pull: What happens when the model is missing.
        on_progress: Called with the stages of a call, pulls included, on the I/O thread.
        owner: The model's claim to standby, if it wants any.
    """

    spec: CommandSpec
    cwd: Workdir
    max_concurrency: int
    pull: PullPolicy
    on_progress: Callable[[Progress], object] | None = None
    owner: StandbyOwner | None = None

    @property
    def remembered(self) -> float:
        """The seconds for which a model that was found counts as present."""
        return REMEMBERED if self.owner is None else REMEMBERED_BY_STANDBY


class _RetryError(Exception):
    """Nothing was delivered yet, and the next run can succeed."""


class CliRequest:
    """One request to a model, answered by runs of the command; on the I/O thread.

    Args:
        options: The settings of the user.
        request: The model, and a prompt that may be sent as it is.
        receiver: Where the pieces of the answer go.
    """

    def __init__(self, options: RunOptions, request: Request, receiver: Receiver) -> None:
        self._options = options
        self._request = request
        self._receiver = receiver
        self._shared = io_thread.current().local(SharedState)
        self._stages = Stages(request.model, options.on_progress)
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._child: Child | None = None  # the last one
        self._answer: Answer | None = None  # of that child, so far
        self._standby_failed = False

    async def completion(self) -> Completion:
        """Return the answer, whose pieces the receiver gets as they come.

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
        """Free the slot, as soon as the child has ended."""
        if self._child is None or self._child.ended.done():
            slot.release()
        else:
            self._child.ended.add_done_callback(lambda _: slot.release())

    async def _pull_if_missing(self) -> Completion:
        """Answer; if the model is missing and the settings allow it, pull it and try again."""
        options, model = self._options, self._request.model
        try:
            return await self._attempts()
        except ModelNotFoundError:
            if options.pull == "never":
                raise
        await self._shared.pull(options.spec, model, options.on_progress)
        return await self._attempts()

    async def _attempts(self) -> Completion:
        """Run until there is an answer; run again only if nothing of an answer has arrived."""
        while True:
            try:
                return await self._attempt()
            except _RetryError:
                pass

    async def _attempt(self) -> Completion:
        """Have one run answer the prompt."""
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
                    # A run waits for its prompt, so the model is looked for while it starts.
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
        # The run itself has found the model.
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
        """Take a standby process, or start one."""
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
        """Raise what the end of a run stands for, unless it gave an answer."""
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
            self._shared.do_without_color(run.command)
            raise _RetryError
        check_end(end, answer, model)

    def _partial(self) -> str:
        return "" if self._answer is None else self._answer.text

    async def _running(self) -> list[RunningModel]:
        commands = management.ManagementCommands(self._options.spec, PATIENCE)
        return await commands.list_running()
