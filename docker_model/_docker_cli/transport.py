"""`docker model run` as a transport: a prompt's way from the queue to its answer."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from docker_model.cli import asking, command, failures
from docker_model.cli.answer import Answer
from docker_model.cli.output import SEPARATOR, SEPARATOR_TO_V0_1_40
from docker_model.cli.phases import Phase, limit
from docker_model.cli.presence import REMEMBERED, REMEMBERED_BY_STANDBY, Presence
from docker_model.cli.prompt import guard, may_name_files
from docker_model.cli.run import Run, check_end, was_killed
from docker_model.cli.standby import Shelf, Turn
from docker_model.errors import (
    ModelNotFoundError,
    ResourceError,
    UnsupportedParameterError,
)
from docker_model.process import io
from docker_model.process.once import Once

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker_model.cli.launch import Launch
    from docker_model.cli.standby import Holder
    from docker_model.cli.workdir import Workdir
    from docker_model.options import FileReferences, PullPolicy
    from docker_model.process import Child, Exit
    from docker_model.transport import Receiver, Request
    from docker_model.types import Completion, PullProgress


class _Shared:
    """What all runs of this process share; on the I/O thread alone."""

    def __init__(self) -> None:
        self.presence = Presence()
        self.once = Once()
        self.slots: WeakValueDictionary[tuple[Launch, int], asyncio.Semaphore] = (
            WeakValueDictionary()
        )
        self._colorless: set[Launch] = set()  # CLIs older than v0.1.41 do not know --color
        self._shelves: dict[tuple[Launch, str, Workdir], Shelf] = {}

    def slot(self, launch: Launch, limit: int) -> asyncio.Semaphore:
        semaphore = self.slots.get((launch, limit))
        if semaphore is None:
            self.slots[launch, limit] = semaphore = asyncio.Semaphore(limit)  # a fair one
        return semaphore

    def argv(self, launch: Launch, model: str) -> list[str]:
        return command.run_argv(launch.prefix, model, color=launch not in self._colorless)

    def separator(self, launch: Launch) -> str:
        """What ends the reasoning; CLIs without --color have another."""
        return SEPARATOR_TO_V0_1_40 if launch in self._colorless else SEPARATOR

    def do_without_color(self, launch: Launch) -> None:
        """This CLI does not know the flag, and what is parked with it is dead."""
        self._colorless.add(launch)
        for key in [key for key in self._shelves if key[0] == launch]:
            self._shelves.pop(key).clear()

    def shelf(self, launch: Launch, model: str, cwd: Workdir, holder: Holder) -> Shelf:
        shelf = self._shelves.get((launch, model, cwd))
        if shelf is None:
            shelf = Shelf(launch, self.argv(launch, model), cwd)
            self._shelves[launch, model, cwd] = shelf
        shelf.hold(holder)
        return shelf

    def release(self, holder: Holder) -> None:
        """End what is parked for `holder` alone."""
        holder.open = False
        for key, shelf in list(self._shelves.items()):
            if shelf.release(holder):
                del self._shelves[key]


def release(holder: Holder) -> None:
    """Let go of a model's standby; from any thread or finalizer, never waits."""
    thread = io.started()
    if thread is not None:
        thread.post(lambda: thread.local(_Shared).release(holder))


class _Place:
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
        launch: Command and environment of every child.
        file_references: See `docker_model.cli.prompt.guard`.
        cwd: Gives the working directory of a run.
        max_concurrency: Runs at once among all with the same launch and limit.
        pull: What happens when the model is missing.
        on_progress: Told of a pull's progress, on the I/O thread.
        holder: The model's standby, if it wants any.
    """

    launch: Launch
    file_references: FileReferences
    cwd: Workdir
    max_concurrency: int
    pull: PullPolicy
    on_progress: Callable[[PullProgress], object] | None = None
    holder: Holder | None = None

    def admit(self, request: Request) -> Request:
        """See `docker_model.transport.Transport`: keep the CLI from reading local files."""
        if not self.blocks(request):
            return request
        try:
            prompt = guard(request.prompt, self.file_references, cwd=self.cwd())
        except OSError as error:
            # Without a look there is no telling what the prompt names, so it is not sent.
            msg = f"the prompt cannot be searched for local files: {error.strerror}"
            raise ResourceError(msg, hint="close files, or raise `ulimit -n`") from error
        return replace(request, prompt=prompt)

    def blocks(self, request: Request) -> bool:
        """See `docker_model.transport.Transport`."""
        return self.file_references != "allow" and may_name_files(request.prompt)

    async def generate(self, request: Request, receiver: Receiver) -> Completion:
        """See `docker_model.transport.Transport`."""
        began = asyncio.get_running_loop().time()
        shared = io.current().local(_Shared)
        place = _Place(shared.slot(self.launch, self.max_concurrency))
        async with limit("total", request.timeouts.total, place.partial, cap="max_chars"):
            async with limit("queue", request.timeouts.queue):
                await place.enter()
            pulled = False
            try:
                while True:
                    try:
                        return await self._attempt(request, receiver, began, shared, place)
                    except _TryAgain:
                        pass
                    except ModelNotFoundError:
                        if self.pull == "never" or pulled:
                            raise
                        await self._pull(shared, request.model)
                        pulled = True
            finally:
                place.leave()

    async def _attempt(
        self,
        request: Request,
        receiver: Receiver,
        began: float,
        shared: _Shared,
        place: _Place,
    ) -> Completion:
        now = asyncio.get_running_loop().time
        started = sent = now()
        present = self.launch, request.model
        known = shared.presence.known(present)
        prompt = request.prompt.encode()
        with Turn(self._shelf(shared, request.model)) as standby:
            parked = None if place.cold else standby.take()
            try:
                if parked is not None:
                    place.child = parked
                    if known:  # all that follows is done while the command is at its work
                        parked.write(prompt)
                separator = shared.separator(self.launch)
                place.answer = answer = Answer(request, receiver, began, separator)
                async with Phase(
                    "first_output", request.timeouts.first_output, place.partial
                ) as phase:
                    run = Run(request, receiver, answer, phase, standby.refill)
                    if parked is not None:
                        run.take_over(parked)
                    else:
                        place.child = await run.start(
                            self.launch, shared.argv(self.launch, request.model), self.cwd
                        )
                    if not known:
                        asked = now()
                        await shared.once.do(
                            present, lambda: asking.inspect(self.launch, request.model)
                        )
                        shared.presence.remember(present, asked, self._memory)
                    if not known or parked is None:
                        sent = now()
                        run.child.write(prompt)
                    end = await run.result()
            finally:
                if place.child is not None:
                    place.child.end()
        if answer.vanished:
            shared.presence.forget(present)
            raise failures.model_not_found(request.model)
        if end is not None:
            answer.end_of_output()
            self._check_end(end, answer, request, shared, place, parked=parked is not None)
        shared.presence.remember(present, sent, self._memory)  # the run itself has looked
        return answer.completion(started)

    def _check_end(
        self,
        end: Exit,
        answer: Answer,
        request: Request,
        shared: _Shared,
        place: _Place,
        *,
        parked: bool,
    ) -> None:
        if answer.empty and parked and was_killed(end):
            place.cold = True
            raise _TryAgain
        if failures.is_unknown_flag(end.stderr, "--color"):
            shared.do_without_color(self.launch)
            raise _TryAgain
        check_end(end, answer, request.model)

    async def _pull(self, shared: _Shared, model: str) -> None:
        """Pull `model`, once for all who want it at this time and would be told by one function."""
        key = ("pull", self.launch, model, id(self.on_progress))
        await shared.once.do(key, lambda: asking.pull(self.launch, model, self.on_progress))

    def _shelf(self, shared: _Shared, model: str) -> Shelf | None:
        if self.holder is None:
            return None
        return shared.shelf(self.launch, model, self.cwd, self.holder)

    @property
    def _memory(self) -> float:
        return REMEMBERED if self.holder is None else REMEMBERED_BY_STANDBY

    async def warm_up(self, model: str) -> None:
        """Have `model` loaded, so that the next answer need not wait for it.

        Raises:
            DockerModelError: See `docker_model.errors`.
        """
        shared = io.current().local(_Shared)
        asked = asyncio.get_running_loop().time()
        try:
            await asking.inspect(self.launch, model)
        except ModelNotFoundError:
            if self.pull == "never":
                raise
            await self._pull(shared, model)
        shared.presence.remember((self.launch, model), asked, self._memory)
        with contextlib.suppress(UnsupportedParameterError):  # an old CLI loads at the first run
            await asking.preload(self.launch, model)
        shelf = self._shelf(shared, model)
        if shelf is not None:
            await shelf.fill()
