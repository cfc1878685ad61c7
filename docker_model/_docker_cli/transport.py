"""`docker model run` as a transport: a prompt's way from the queue to its answer."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from docker_model._docker_cli import failures, management
from docker_model._docker_cli.presence import REMEMBERED, REMEMBERED_BY_STANDBY, Presence
from docker_model._docker_cli.prompt_guard import guard, may_name_files
from docker_model._docker_cli.run import Answer, Run, RunCommand, check_end, was_killed
from docker_model._docker_cli.standby_pool import StandbyLease, StandbyPool
from docker_model._runtime import io_thread
from docker_model._runtime.limiter import Limiter
from docker_model._runtime.tasks import SingleFlight
from docker_model._runtime.timeouts import PhaseTimeout, timeout_scope
from docker_model.errors import (
    ModelNotFoundError,
    ResourceError,
    UnsupportedParameterError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker_model._docker_cli.command_spec import CommandSpec, Program
    from docker_model._docker_cli.plugin_file import PluginFile
    from docker_model._docker_cli.standby_pool import StandbyOwner
    from docker_model._docker_cli.workdir import Workdir
    from docker_model._runtime import Child, Exit
    from docker_model._transport.protocol import Receiver, Request
    from docker_model.options import FileReferences, PullPolicy
    from docker_model.types import Completion, PullProgress


class _Shared:
    """What all runs of this process share; on the I/O thread alone."""

    def __init__(self) -> None:
        self.presence = Presence()
        self.once = SingleFlight()
        # Programs older than v0.1.41 do not know --color. An updated plugin is another one.
        self._colorless: set[PluginFile | Program] = set()
        self._pools: dict[tuple[CommandSpec, str, Workdir], StandbyPool] = {}

    async def run_command(self, spec: CommandSpec, model: str) -> RunCommand:
        program = await spec.program()
        color = (program.plugin or program) not in self._colorless
        return RunCommand(program, model, color)

    def do_without_color(self, command: RunCommand) -> None:
        """The program does not know the flag, and what is parked with it is dead."""
        self._colorless.add(command.program.plugin or command.program)
        for pool in self._pools.values():
            pool.retain(lambda parked: parked.program != command.program)

    def pool(self, spec: CommandSpec, model: str, cwd: Workdir, owner: StandbyOwner) -> StandbyPool:
        pool = self._pools.get((spec, model, cwd))
        if pool is None:
            pool = StandbyPool(partial(self.run_command, spec, model), cwd)
            self._pools[spec, model, cwd] = pool
        pool.hold(owner)
        return pool

    def release(self, owner: StandbyOwner) -> None:
        """End what is parked for `owner` alone."""
        owner.open = False
        for key, pool in list(self._pools.items()):
            if pool.release(owner):
                del self._pools[key]


def release(owner: StandbyOwner) -> None:
    """Let go of a model's standby; from any thread or finalizer, never waits."""
    thread = io_thread.started()
    if thread is not None:
        thread.post(lambda: thread.local(_Shared).release(owner))


class Slot:
    """One of `max_concurrency` places, held until the last child started in it has ended.

    Attributes:
        child: That child.
        answer: What it has said.
        cold: A parked run has failed it; the next is to be a fresh one.
    """

    def __init__(self, slot: asyncio.Semaphore) -> None:
        self._slot = slot
        self.cold = False
        self.child: Child | None = None
        self.answer: Answer | None = None

    def partial(self) -> str:
        return "" if self.answer is None else self.answer.text

    async def enter(self) -> None:
        await self._slot.acquire()

    def leave(self) -> None:
        if self.child is None or self.child.ended.done():
            self._slot.release()
        else:
            self.child.ended.add_done_callback(lambda _: self._slot.release())


class _TryAgain(Exception):  # noqa: N818  no error: nothing was handed over, and something was learned
    """The next attempt will do."""


@dataclass(frozen=True, slots=True)
class CliTransport:
    """Answers requests through `docker model run`.

    Attributes:
        spec: Command and environment of every child.
        file_references: See `docker_model._docker_cli.prompt_guard.guard`.
        cwd: Gives the working directory of a run.
        max_concurrency: Runs at once among all with the same spec and limit.
        pull: What happens when the model is missing.
        on_progress: Told of a pull's progress, on the I/O thread.
        owner: The model's standby, if it wants any.
    """

    spec: CommandSpec
    file_references: FileReferences
    cwd: Workdir
    max_concurrency: int
    pull: PullPolicy
    on_progress: Callable[[PullProgress], object] | None = None
    owner: StandbyOwner | None = None

    def prepare(self, request: Request) -> Request:
        """Keep the CLI from reading the local files that the prompt names."""
        if not self.needs_file_check(request):
            return request
        try:
            prompt = guard(request.prompt, self.file_references, cwd=self.cwd())
        except OSError as error:
            # Without a look there is no telling what the prompt names, so it is not sent.
            msg = f"the prompt cannot be searched for local files: {error.strerror}"
            raise ResourceError(msg, hint="close files, or raise `ulimit -n`") from error
        return replace(request, prompt=prompt)

    def needs_file_check(self, request: Request) -> bool:
        """See `docker_model._transport.protocol.Transport`."""
        return self.file_references != "allow" and may_name_files(request.prompt)

    async def generate(self, request: Request, receiver: Receiver) -> Completion:
        """See `docker_model._transport.protocol.Transport`."""
        began = asyncio.get_running_loop().time()
        shared = io_thread.current().local(_Shared)
        limiter = io_thread.current().local(Limiter)
        slot = Slot(limiter.slots(self.spec, self.max_concurrency))
        async with timeout_scope("total", request.timeouts.total, slot.partial, cap="max_chars"):
            async with timeout_scope("queue", request.timeouts.queue):
                await slot.enter()
            pulled = False
            try:
                while True:
                    try:
                        return await self._attempt(request, receiver, began, shared, slot)
                    except _TryAgain:
                        pass
                    except ModelNotFoundError:
                        if self.pull == "never" or pulled:
                            raise
                        await self._pull(shared, request.model)
                        pulled = True
            finally:
                slot.leave()

    async def _attempt(
        self,
        request: Request,
        receiver: Receiver,
        began: float,
        shared: _Shared,
        slot: Slot,
    ) -> Completion:
        now = asyncio.get_running_loop().time
        started = sent = now()
        present = self.spec, request.model
        known = shared.presence.known(present)
        prompt = request.prompt.encode()
        with StandbyLease(self._pool(shared, request.model)) as standby:
            parked = None if slot.cold else standby.take()
            try:
                if parked is not None:
                    slot.child = parked.child
                    if known:  # all that follows is done while the command is at its work
                        parked.child.write(prompt)
                async with PhaseTimeout(
                    "first_output", request.timeouts.first_output, slot.partial
                ) as phase:
                    if parked is not None:
                        command = parked.command
                    else:
                        command = await shared.run_command(self.spec, request.model)
                    slot.answer = answer = Answer(request, receiver, began, command.separator)
                    run = Run(request, receiver, answer, phase, standby.refill)
                    if parked is not None:
                        run.take_over(parked.child)
                    else:
                        slot.child = await run.start(command, self.cwd)
                    if not known:
                        asked = now()
                        await shared.once.do(
                            present, lambda: management.inspect(self.spec, request.model)
                        )
                        shared.presence.remember(present, asked, self._memory)
                    if not known or parked is None:
                        sent = now()
                        run.child.write(prompt)
                    end = await run.result()
            finally:
                if slot.child is not None:
                    slot.child.end()
        if answer.vanished:
            shared.presence.forget(present)
            raise failures.model_not_found(request.model)
        if end is not None:
            answer.end_of_output()
            self._check_end(end, answer, command, shared, slot, parked=parked is not None)
        shared.presence.remember(present, sent, self._memory)  # the run itself has looked
        return answer.completion(started)

    def _check_end(
        self,
        end: Exit,
        answer: Answer,
        command: RunCommand,
        shared: _Shared,
        slot: Slot,
        *,
        parked: bool,
    ) -> None:
        if answer.empty and parked and was_killed(end):
            slot.cold = True
            raise _TryAgain
        if failures.is_unknown_flag(end.stderr, "--color"):
            shared.do_without_color(command)
            raise _TryAgain
        check_end(end, answer, command.model)

    async def _pull(self, shared: _Shared, model: str) -> None:
        """Pull `model`, once for all who want it at this time and would be told by one function."""
        key = ("pull", self.spec, model, id(self.on_progress))
        await shared.once.do(key, lambda: management.pull(self.spec, model, self.on_progress))

    def _pool(self, shared: _Shared, model: str) -> StandbyPool | None:
        if self.owner is None:
            return None
        return shared.pool(self.spec, model, self.cwd, self.owner)

    @property
    def _memory(self) -> float:
        return REMEMBERED if self.owner is None else REMEMBERED_BY_STANDBY

    async def warm_up(self, model: str) -> None:
        """Have `model` loaded, so that the next answer need not wait for it.

        Raises:
            DockerModelError: See `docker_model.errors`.
        """
        shared = io_thread.current().local(_Shared)
        asked = asyncio.get_running_loop().time()
        try:
            await management.inspect(self.spec, model)
        except ModelNotFoundError:
            if self.pull == "never":
                raise
            await self._pull(shared, model)
        shared.presence.remember((self.spec, model), asked, self._memory)
        with contextlib.suppress(UnsupportedParameterError):  # an old CLI loads at the first run
            await management.preload(self.spec, model)
        pool = self._pool(shared, model)
        if pool is not None:
            await pool.fill()
