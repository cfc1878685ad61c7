"""`docker model run` as a transport: a request waits for its slot, and a run answers it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from docker_model._docker_cli import failures, management
from docker_model._docker_cli.prompt_guard import guard, may_name_files
from docker_model._docker_cli.run import Answer, Run, RunCommand, check_end, was_killed
from docker_model._docker_cli.standby_pool import StandbyLease, StandbyPool
from docker_model._runtime import io_thread
from docker_model._runtime.limiter import Limiter
from docker_model._runtime.tasks import SingleFlight
from docker_model._runtime.timeouts import PhaseTimeout, timeout_scope
from docker_model._transport.failures import PATIENCE, explain, model_not_found
from docker_model._transport.stages import Stages
from docker_model.errors import (
    DockerModelError,
    ModelNotFoundError,
    ResourceError,
    UnsupportedParameterError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from docker_model._docker_cli.command_spec import CommandSpec, Program
    from docker_model._docker_cli.plugin_file import PluginFile
    from docker_model._docker_cli.standby_pool import StandbyOwner
    from docker_model._docker_cli.workdir import Workdir
    from docker_model._runtime import Child, Exit
    from docker_model._transport.protocol import Receiver, Request
    from docker_model.options import FileReferences, PullPolicy
    from docker_model.types import Completion, Progress, RunningModel


FIRST_LOOK = 1.0  # seconds without output, until a listener learns whether the model loads
REMEMBERED = 5.0  # seconds for which a model that was found counts as present
REMEMBERED_BY_STANDBY = 60.0  # the same with standby, where a check would be the longest step

_logger = logging.getLogger("docker_model")


class _Presence:
    """Remembers which models were found. A model that was not found is looked for again."""

    def __init__(self) -> None:
        self._until: dict[Hashable, float] = {}

    def known(self, key: Hashable) -> bool:
        """Whether the model still counts as present."""
        return self._until.get(key, 0.0) > asyncio.get_running_loop().time()

    def remember(self, key: Hashable, since: float, seconds: float) -> None:
        """Remember a model that was found at `since`, on the loop's clock."""
        self._until[key] = max(since + seconds, self._until.get(key, 0.0))

    def forget(self, key: Hashable) -> None:
        """Forget a model that was found to be missing."""
        self._until.pop(key, None)


class _Shared:
    """What all runs of this process share; on the I/O thread alone."""

    def __init__(self) -> None:
        self.presence = _Presence()
        self.single_flight = SingleFlight()
        # Programs older than v0.1.41 do not know --color. An updated plugin is another one.
        self._colorless: set[PluginFile | Program] = set()
        self._pools: dict[tuple[CommandSpec, str, Workdir], StandbyPool] = {}

    async def run_command(self, spec: CommandSpec, model: str) -> RunCommand:
        """Return the command that runs `model`, with the flags that its program knows."""
        program = await spec.program()
        color = (program.plugin or program) not in self._colorless
        return RunCommand(program, model, color)

    async def ask_for_color(self, spec: CommandSpec, model: str) -> None:
        """Ask an old program whether it knows `--color`, before standby processes start."""
        command = await self.run_command(spec, model)
        if command.color and not await management.knows_color(spec):
            self.do_without_color(command)

    def do_without_color(self, command: RunCommand) -> None:
        """Leave `--color` out from now on; standby processes that were given it have failed."""
        _logger.info("%s does not know --color, and is started without it", command.program.argv[0])
        self._colorless.add(command.program.plugin or command.program)
        for pool in self._pools.values():
            pool.retain(lambda parked: parked.program != command.program)

    def pool(self, spec: CommandSpec, model: str, cwd: Workdir, owner: StandbyOwner) -> StandbyPool:
        """Return the standby pool of a model, which `owner` wants filled."""
        pool = self._pools.get((spec, model, cwd))
        if pool is None:
            pool = StandbyPool(partial(self.run_command, spec, model), cwd)
            self._pools[spec, model, cwd] = pool
        pool.hold(owner)
        return pool

    def release(self, owner: StandbyOwner) -> None:
        """Kill the standby processes that no other owner wants."""
        owner.open = False
        for key, pool in list(self._pools.items()):
            if pool.release(owner):
                del self._pools[key]


def release(owner: StandbyOwner) -> None:
    """Give up a model's standby; from any thread or finalizer, never waits."""
    thread = io_thread.started()
    if thread is not None:
        thread.post(lambda: thread.local(_Shared).release(owner))


class _Slot:
    """One of `max_concurrency` slots, held until the last child that was started in it has ended.

    Attributes:
        stages: Reports the stages of the call.
        child: The last child.
        answer: The answer of that child so far.
        cold: Whether a standby process has failed, so that the next run must be a new process.
    """

    def __init__(self, semaphore: asyncio.Semaphore, stages: Stages) -> None:
        self._semaphore = semaphore
        self.stages = stages
        self.cold = False
        self.child: Child | None = None
        self.answer: Answer | None = None

    def partial(self) -> str:
        """Return the text so far."""
        return "" if self.answer is None else self.answer.text

    async def enter(self) -> None:
        """Wait until the slot is free."""
        await self._semaphore.acquire()

    def leave(self) -> None:
        """Free the slot, as soon as the child has ended."""
        if self.child is None or self.child.ended.done():
            self._semaphore.release()
        else:
            self.child.ended.add_done_callback(lambda _: self._semaphore.release())


class _RetryError(Exception):
    """Nothing was delivered yet, and the next attempt can succeed."""


@dataclass(frozen=True, slots=True)
class CliTransport:
    """Answers requests through `docker model run`.

    Attributes:
        spec: The command and the environment of every child.
        file_references: The policy of the prompt guard.
        cwd: Returns the working directory of a run.
        max_concurrency: How many runs with the same spec and limit there may be at once.
        pull: What happens when the model is missing.
        on_progress: Called with the stages of a call, pulls included, on the I/O thread.
        owner: The model's claim to standby, if it wants any.
    """

    spec: CommandSpec
    file_references: FileReferences
    cwd: Workdir
    max_concurrency: int
    pull: PullPolicy
    on_progress: Callable[[Progress], object] | None = None
    owner: StandbyOwner | None = None

    def prepare(self, request: Request) -> Request:
        """Keep the CLI from reading the local files that the prompt names.

        Raises:
            FileReferenceError: If the policy is to refuse such a prompt.
            ResourceError: If the file system cannot be read.
        """
        if not self.needs_file_check(request):
            return request
        try:
            prompt = guard(request.prompt, self.file_references, cwd=self.cwd())
        except OSError as error:
            # What the prompt names is unknown now, so it is not sent.
            msg = f"the prompt cannot be searched for local files: {error.strerror}"
            raise ResourceError(msg, hint="close files, or raise `ulimit -n`") from error
        return replace(request, prompt=prompt)

    def needs_file_check(self, request: Request) -> bool:
        """Whether the prompt may name local files; looks at no file."""
        return self.file_references != "allow" and may_name_files(request.prompt)

    async def generate(self, request: Request, receiver: Receiver) -> Completion:
        """Answer `request`, and put its pieces into `receiver` as they come.

        Raises:
            DockerModelError: If the run fails.
        """
        try:
            return await self._answer(request, receiver)
        except DockerModelError as error:
            await explain(error, request.model, management.ManagementCommands(self.spec, PATIENCE))
            raise

    async def _answer(self, request: Request, receiver: Receiver) -> Completion:
        began = asyncio.get_running_loop().time()
        shared = io_thread.current().local(_Shared)
        limiter = io_thread.current().local(Limiter)
        semaphore = limiter.slots(self.spec, self.max_concurrency)
        slot = _Slot(semaphore, Stages(request.model, self.on_progress))
        if semaphore.locked():
            slot.stages.queue()
        async with timeout_scope("total", request.timeouts.total, slot.partial, cap="max_chars"):
            async with timeout_scope("queue", request.timeouts.queue):
                await slot.enter()
            pulled = False
            try:
                while True:
                    try:
                        return await self._attempt(request, receiver, began, shared, slot)
                    except _RetryError:
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
        slot: _Slot,
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
                    if known:  # the command works while the rest is prepared
                        parked.child.write(prompt)
                async with PhaseTimeout(
                    "first_output", request.timeouts.first_output, slot.partial
                ) as phase:
                    if parked is not None:
                        command = parked.command
                    else:
                        command = await shared.run_command(self.spec, request.model)
                    slot.answer = answer = Answer(
                        request, receiver, began, command.separator, slot.stages.first_token
                    )
                    run = Run(request, receiver, answer, phase, standby.refill)
                    if parked is not None:
                        run.take_over(parked.child)
                    else:
                        slot.child = await run.start(command, self.cwd)
                    # Not `known`: another call may have asked while this one started its run.
                    if not shared.presence.known(present):
                        asked_at = now()
                        await shared.single_flight.do(
                            present, lambda: management.look_for(self.spec, request.model)
                        )
                        shared.presence.remember(present, asked_at, self._memory)
                    if not known or parked is None:
                        sent = now()
                        run.child.write(prompt)
                    async with slot.stages.watch_loading(self._running, FIRST_LOOK):
                        end = await run.result()
            finally:
                if slot.child is not None:
                    slot.child.end()
        if answer.vanished:
            shared.presence.forget(present)
            raise model_not_found(request.model)
        if end is not None:
            answer.end_of_output()
            self._check_end(end, answer, command, shared, slot, parked=parked is not None)
        shared.presence.remember(present, sent, self._memory)  # the run itself has looked
        completion = answer.completion(started)
        slot.stages.speed(completion.usage)
        return completion

    def _check_end(
        self,
        end: Exit,
        answer: Answer,
        command: RunCommand,
        shared: _Shared,
        slot: _Slot,
        *,
        parked: bool,
    ) -> None:
        if answer.empty and parked and was_killed(end):
            slot.cold = True
            raise _RetryError
        if failures.is_unknown_flag(end.stderr, "--color"):
            shared.do_without_color(command)
            raise _RetryError
        check_end(end, answer, command.model)

    async def _running(self) -> list[RunningModel]:
        return await management.ManagementCommands(self.spec, PATIENCE).list_running()

    async def _pull(self, shared: _Shared, model: str) -> None:
        """Pull `model`, once for all callers that wait for it with the same `on_progress`."""
        key = ("pull", self.spec, model, id(self.on_progress))
        await shared.single_flight.do(
            key, lambda: management.pull(self.spec, model, self.on_progress)
        )

    def _pool(self, shared: _Shared, model: str) -> StandbyPool | None:
        if self.owner is None:
            return None
        return shared.pool(self.spec, model, self.cwd, self.owner)

    @property
    def _memory(self) -> float:
        return REMEMBERED if self.owner is None else REMEMBERED_BY_STANDBY

    async def warm_up(self, model: str) -> None:
        """Load `model` and fill the standby, so that the next answer begins sooner.

        Raises:
            DockerModelError: If the model is missing or cannot be loaded.
        """
        try:
            await self._warm_up(model)
        except DockerModelError as error:
            await explain(error, model, management.ManagementCommands(self.spec, PATIENCE))
            raise

    async def _warm_up(self, model: str) -> None:
        shared = io_thread.current().local(_Shared)
        asked_at = asyncio.get_running_loop().time()
        try:
            await management.ManagementCommands(self.spec, timeout=None).inspect(model)
        except ModelNotFoundError:
            if self.pull == "never":
                raise
            await self._pull(shared, model)
        shared.presence.remember((self.spec, model), asked_at, self._memory)
        pool = self._pool(shared, model)
        try:
            await management.preload(self.spec, model)
        except UnsupportedParameterError:  # an old CLI loads at the first run
            if pool is not None:
                await shared.ask_for_color(self.spec, model)
        if pool is not None:
            await pool.fill()
