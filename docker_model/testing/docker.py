"""`SimulatedDocker`: Docker Model Runner for tests and demos, without Docker."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

from docker_model.testing.command.session import rank
from docker_model.testing.engine import shared_words
from docker_model.testing.models import SimulatedModel, normalize
from docker_model.testing.runner import FixedReply, Runner, Scenario, routes
from docker_model.testing.steps import (
    PULL,
    ProcessStep,
    PullStep,
    Reply,
    checked,
    checked_script,
    letters,
    you_said,
)
from docker_model.testing.templates import template_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from docker_model.testing.models import Described
    from docker_model.testing.records import Call, Memory, Request
    from docker_model.testing.steps import Script
    from docker_model.testing.templates import Template

Broken: TypeAlias = Literal["no-docker", "no-plugin", "no-engine", "refused", "runner-off"]

PROGRAM = Path(__file__).with_name("program.py")
OLDEST = "v0.1.40"
# A port that nobody listens at: the kernel refuses it at once.
REFUSED = "http://127.0.0.1:1"


class SimulatedDocker:
    """A `docker` with the plugin `docker model`, a runner behind it, and models that you write.

    The command is a real program with two processes, exit codes and signals as the real one
    has them, and its output means the same to this package. So everything between your code
    and the model is tested, and what your code sends is on record::

        from docker_model import DockerModel
        from docker_model.testing import SimulatedDocker

        with SimulatedDocker(models={"ai/smollm2": "Hello."}) as docker:
            assert DockerModel("ai/smollm2").generate("Hi").text == "Hello."
            assert docker.prompts == ["Hi"]

    While it is open, `os.environ` sends everything in this process to it; without `with`,
    give `command=docker.command, env=docker.env` to what you test after `open()`: the way to
    have two side by side, as there is one environment. In `with` blocks simulations nest.

    The runner speaks HTTP, and the real `docker model` talks to it as well: with
    `DOCKER_MODEL_COMMAND="docker model"` set again inside of the `with` block, the same
    scripts test the real command (but for the steps that only a simulated one can do).

    Attributes:
        command: What stands for `docker model`, as an argv prefix.
        env: The variables that lead to it, `DOCKER_MODEL_COMMAND` and `MODEL_RUNNER_HOST`.
        url: The simulated runner's HTTP address, for any client of it.
    """

    def __init__(
        self,
        models: Mapping[str, Script] | Iterable[Described] | SimulatedModel | None = (
            "ai/smollm2",
        ),
        *,
        script: Script = you_said,
        pullable: Mapping[str, Sequence[PullStep]] | Iterable[str] = (),
        startup: Sequence[ProcessStep] = (),
        replies: Mapping[str, FixedReply] | None = None,
        embed: Callable[[str], Sequence[float]] = letters,
        score: Callable[[str, str], float] = shared_words,
        template: str | Template = "chatml",
        version: str = "v1.2.6",
        retry_wait: float = 1.0,
    ) -> None:
        """Describe it; nothing starts yet.

        Args:
            models: What is in the store: names, or names with their scripts, or a
                `SimulatedModel` each, or the JSON objects that the runner would send; a single
                one is a list of one. `None`: whatever is asked for.
            script: What the other models say, see `docker_model.testing.steps`. Default:
                `You said: ` and the prompt.
            pullable: Models that a pull brings, one or several, or their pulls' steps by name.
            startup: Steps that every command does before it reads its stdin.
            replies: Answers of the runner by method and path, such as
                `{"GET /models": Reply(500)}`, or functions of the `Request` that return them;
                `"*"` is everything else.
            embed: Gives the vector of a text. Default: how often each of some letters is in
                it, of length 1.
            score: Gives a reranker's score of a document for a query. Default: by the words of
                the query that are in it.
            template: The chat template of models that name none, by its name in
                `docker_model.testing.TEMPLATES` or as a `Template`. The default takes every
                conversation that llama.cpp itself takes, and shows the model its tools.
            version: The plugin's, from `v0.1.40` on; `p1.0.7` is a plugin of the time when
                they had numbers of their own.
            retry_wait: Seconds before the first of a pull's four retries; each waits twice
                as long as the one before. The real CLI has 1.

        Raises:
            TypeError: If something else stands for a script, a step or a reply.
            ValueError: If the version is too old, or a reply is for no method and path.
        """
        if rank(version) < rank(OLDEST):
            msg = f"the simulated docker is not older than {OLDEST}, which {version} is"
            raise ValueError(msg)
        single = isinstance(models, str | SimulatedModel)
        listed: list[Any] = [models] if single else list(models or ())  # type: ignore[arg-type]
        scripts = dict(models) if isinstance(models, Mapping) else {}
        given = [each for each in listed if isinstance(each, SimulatedModel) and each.script]
        scripts |= {model.name: model.script for model in given}
        names = [pullable] if isinstance(pullable, str) else pullable
        pulls = names if isinstance(names, Mapping) else dict.fromkeys(names, PULL)
        self._scenario = Scenario(
            models=listed,
            any_model=models is None,
            template=template_named(template),
            scripts={normalize(name): checked_script(each) for name, each in scripts.items()},
            script=checked_script(script),
            pullable={
                normalize(name): [checked(step, PullStep) for step in steps]
                for name, steps in pulls.items()
            },
            replies=routes(replies or {}),
            embed=embed,
            score=score,
            startup=[checked(step, ProcessStep) for step in startup],
            version=version,
            retry_wait=retry_wait,
        )
        self._broken: Broken | None = None
        self._runner: Runner | None = None
        self._is_open = False
        self._saved: dict[str, str | None] = {}

    @classmethod
    def broken(cls, how: Broken) -> Self:
        """Simulate a machine where something is missing.

        Args:
            how: `"no-docker"` (no such command), `"no-plugin"` (`docker` without `model`),
                `"no-engine"` (the Docker daemon does not answer), `"refused"` (nothing
                listens at `MODEL_RUNNER_HOST`) or `"runner-off"` (it says 503, as Docker
                Desktop does when the feature is switched off).

        Raises:
            ValueError: If it is something else.
        """
        if how not in get_args(Broken):
            msg = f"{how!r} is none of {', '.join(get_args(Broken))}"
            raise ValueError(msg)
        simulated = cls()
        simulated._broken = how
        simulated._scenario.plugin = how != "no-plugin"
        if how == "runner-off":
            simulated._scenario.replies = {"*": Reply(503)}
        return simulated

    def open(self) -> Self:
        """Start the runner, without a change to `os.environ`."""
        if self._is_open:
            msg = "this simulation is open already"
            raise RuntimeError(msg)
        self._is_open = True
        self._runner = Runner(self._scenario)
        return self

    def close(self) -> None:
        """End the runner and every command that still runs.

        Raises:
            Exception: If a script function raised it.
        """
        if not self._is_open:
            return
        self._is_open = False
        self._last_runner.close()
        if self._memory.errors:
            raise self._memory.errors[0]

    def __enter__(self) -> Self:
        self.open()
        self._saved = {name: os.environ.get(name) for name in self.env}
        os.environ.update(self.env)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name, value in self._saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        try:
            self.close()
        except Exception as failure:
            # What the test raised, mostly because of this one, stays what it raises.
            if error is None:
                raise
            cause = "".join(format_exception(failure, chain=False))
            error.add_note(f"In the simulated docker, before that:\n{cause}")

    @property
    def _last_runner(self) -> Runner:
        # Kept after the end, so that a test can look at the records then.
        if self._runner is None:
            msg = "the simulation was not opened: use it in a `with` block, or call open()"
            raise RuntimeError(msg)
        return self._runner

    @property
    def _memory(self) -> Memory:
        return self._last_runner.memory

    @property
    def command(self) -> tuple[str, ...]:
        """What stands for `docker model`, as an argv prefix."""
        if self._broken == "no-docker":
            return (str(PROGRAM.with_name("no-such-docker")), "model")
        address = self._last_runner.command_address
        # -I -S: without site-packages and PYTHON… variables it starts in half the time.
        return (sys.executable, "-I", "-S", str(PROGRAM), address, "model")

    @property
    def url(self) -> str:
        """The simulated runner's HTTP address, for any client of it."""
        return f"http://{self._last_runner.address}"

    @property
    def env(self) -> dict[str, str]:
        """The variables that lead to it."""
        windows = sys.platform == "win32"
        join = subprocess.list2cmdline if windows else shlex.join
        command = {"DOCKER_MODEL_COMMAND": join(self.command)}
        if self._broken == "no-engine":
            gone = "npipe:////./pipe/none" if windows else "unix:///nonexistent/docker.sock"
            return {**command, "MODEL_RUNNER_HOST": "", "DOCKER_HOST": gone}
        return {**command, "MODEL_RUNNER_HOST": REFUSED if self._broken == "refused" else self.url}

    @property
    def calls(self) -> list[Call]:
        """Every start of the command, in order; the last 10,000."""
        memory = self._memory
        with memory.changed:
            return list(memory.calls)

    @property
    def requests(self) -> list[Request]:
        """Everything that the runner was asked, in order; the last 10,000, or 64 MiB."""
        memory = self._memory
        with memory.changed:
            return list(memory.requests)

    @property
    def prompts(self) -> list[str]:
        """The prompts that reached a model, as they reached it, in order."""
        return [request.prompt for request in self.requests if request.prompt is not None]

    @property
    def gone(self) -> list[str]:
        """The prompts whose client went away before the answer was complete."""
        return [r.prompt for r in self.requests if r.prompt is not None and r.client_gone]

    @property
    def alive(self) -> int:
        """How many commands still have a process, grandchildren included.

        It is the kernel that says so: each of them holds an end of a connection.
        """
        memory = self._memory
        with memory.changed:
            return len(memory.alive)

    def wait_all_gone(self, timeout: float = 10.0) -> None:
        """Wait until no process of any command is left.

        Raises:
            TimeoutError: If some are left after so many seconds; it says which.
        """
        self._wait(lambda memory: not memory.alive, timeout, "commands still run")

    def wait_calls(self, count: int = 1, timeout: float = 10.0) -> None:
        """Wait until so many commands run since it was opened: both their processes are there.

        Raises:
            TimeoutError: If there were less after so many seconds.
        """
        self._wait(lambda memory: memory.plugins >= count, timeout, "commands were not started")

    def wait_prompts(self, count: int = 1, timeout: float = 10.0) -> None:
        """Wait until so many prompts have reached a model since it was opened.

        Raises:
            TimeoutError: If there were less after so many seconds.
        """
        self._wait(lambda memory: memory.prompts >= count, timeout, "prompts have not come")

    def wait_gone(self, count: int = 1, timeout: float = 10.0) -> None:
        """Wait until so many clients have left in the middle of an answer since it was opened.

        Raises:
            TimeoutError: If there were less after so many seconds.
        """
        self._wait(lambda memory: memory.gone >= count, timeout, "clients are still there")

    def _wait(self, happened: Callable[[Memory], bool], timeout: float, otherwise: str) -> None:
        memory = self._memory
        with memory.changed:
            if not memory.changed.wait_for(lambda: happened(memory), timeout):
                pids = [call.pid for call in memory.alive]
                msg = f"after {timeout} s {otherwise}; processes alive: {pids}"
                raise TimeoutError(msg)
