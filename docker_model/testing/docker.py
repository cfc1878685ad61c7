"""`SimulatedDocker`: a simulation of Docker Model Runner for tests and demos."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Literal, Self, TypeAlias, get_args

from docker_model.testing import steps
from docker_model.testing._engine import shared_words
from docker_model.testing._runner import FixedReply, Runner, Scenario, normalized_route
from docker_model.testing._session import version_numbers
from docker_model.testing.models import SimulatedModel, normalize, template_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from docker_model.testing.models import Described, Template
    from docker_model.testing.records import Call, Request
    from docker_model.testing.steps import Script

Broken: TypeAlias = Literal["no-docker", "no-plugin", "no-engine", "refused", "runner-off"]

PROGRAM = Path(__file__).with_name("_start.py")
OLDEST = (0, 1, 40)
# No process listens on this port, so the kernel refuses connections immediately.
REFUSED = "http://127.0.0.1:1"


class SimulatedDocker:
    """A simulated `docker model` command and runner, with models that a test scripts.

    The command is a real program. It has the processes, exit codes and signals of `docker model`
    and prints its output format. A test therefore runs all code between yours and the model, and
    the simulation records every prompt and request::

        from docker_model import DockerModel
        from docker_model.testing import SimulatedDocker

        with SimulatedDocker(models={"ai/smollm2": "Hello."}) as docker:
            assert DockerModel("ai/smollm2").generate("Hi").text == "Hello."
            assert docker.prompts == ["Hi"]

    Inside the `with` block, `os.environ` directs all calls in this process to the simulation.
    `with` blocks can be nested. To use two simulations side by side, call `open()` and pass
    `command=docker.command, env=docker.env` to the code under test.

    The real `docker model` can use the simulated runner too. Set
    `DOCKER_MODEL_COMMAND="docker model"` inside the `with` block to test the real command with
    the same scripts. Steps that act on the command's process have no effect then.
    """

    def __init__(
        self,
        models: Mapping[str, Script] | Iterable[Described] | SimulatedModel | None = (
            "ai/smollm2",
        ),
        *,
        script: Script = steps.you_said,
        pullable: Mapping[str, Sequence[steps.PullStep]] | Iterable[str] = (),
        startup: Sequence[steps.ProcessStep] = (),
        replies: Mapping[str, FixedReply] | None = None,
        embed: Callable[[str], Sequence[float]] = steps.letter_counts,
        score: Callable[[str, str], float] = shared_words,
        template: str | Template = "chatml",
        version: str = "v1.2.6",
    ) -> None:
        """Configure the simulation without starting it.

        Args:
            models: The models in the store: a name, a `SimulatedModel`, a list of names,
                `SimulatedModel`s or JSON objects as the runner sends them, or a mapping of
                names to scripts. `None`: the store contains every model that is requested.
            script: The script of models without their own. Default: `You said: ` and the prompt.
            pullable: The models that can be pulled: a name, several names, or a mapping of
                names to the steps of the pull.
            startup: Steps that every command runs before it reads its stdin.
            replies: Replies by method and path, such as `{"GET /models": Reply(500)}`, or functions
                that take the `Request` and return a `Reply`. `"*"` matches every other request.
            embed: Returns the vector of a text. Default: a unit vector of letter counts.
            score: Returns a reranker's score of a document for a query. Default: the share of
                the query's words that the document contains.
            template: The default chat template, or its name. `"chatml"` accepts every conversation
                and shows tools to the model.
            version: The version of the plugin, `v0.1.40` or newer.

        Raises:
            TypeError: If a script, a step or a reply has the wrong type.
            ValueError: If the version is too old, or a key of `replies` is not a method and path.
        """
        if version_numbers(version) < OLDEST:
            msg = f"the simulated plugin must be v0.1.40 or newer, not {version}"
            raise ValueError(msg)
        listed: list[tuple[Described, Script | None]]
        if isinstance(models, Mapping):
            listed = [(name, steps.checked_script(own)) for name, own in models.items()]
        elif isinstance(models, str | SimulatedModel):
            listed = [(models, None)]
        else:
            listed = [(model, None) for model in models or ()]
        names = [pullable] if isinstance(pullable, str) else pullable
        pulls = names if isinstance(names, Mapping) else dict.fromkeys(names, steps.PULL)
        self._scenario = Scenario(
            models=listed,
            any_model=models is None,
            template=template_named(template),
            script=steps.checked_script(script),
            pullable={
                normalize(name): [steps.checked(step, steps.PullStep) for step in pull]
                for name, pull in pulls.items()
            },
            replies={
                normalized_route(route): steps.checked(reply, steps.Reply | Callable)
                for route, reply in (replies or {}).items()
            },
            embed=embed,
            score=score,
            startup=[steps.checked(step, steps.ProcessStep) for step in startup],
            version=version,
        )
        self._broken: Broken | None = None
        self._runner: Runner | None = None
        self._is_open = False
        self._saved: dict[str, str | None] = {}

    @classmethod
    def broken(cls, how: Broken) -> Self:
        """Simulate a machine on which Docker Model Runner does not work.

        Args:
            how: `"no-docker"` (there is no `docker` command), `"no-plugin"` (`docker` has no
                `model` plugin), `"no-engine"` (the Docker daemon does not answer), `"refused"`
                (no server listens at `MODEL_RUNNER_HOST`) or `"runner-off"` (HTTP 503).
        """
        if how not in get_args(Broken):
            msg = f"{how!r} is not one of {', '.join(get_args(Broken))}"
            raise ValueError(msg)
        simulated = cls()
        simulated._broken = how
        simulated._scenario.plugin = how != "no-plugin"
        if how == "runner-off":
            simulated._scenario.replies = {"*": steps.Reply(503)}
        return simulated

    def open(self) -> Self:
        """Start the runner without changing `os.environ`."""
        if self._is_open:
            msg = "this simulation is already open"
            raise RuntimeError(msg)
        self._is_open = True
        self._runner = Runner(self._scenario)
        return self

    def close(self) -> None:
        """Stop the runner and all commands. Raise the exception of a script function again."""
        if not self._is_open:
            return
        self._is_open = False
        self._last_runner.close()
        if self._last_runner.errors:
            raise self._last_runner.errors[0]

    def __enter__(self) -> Self:
        self.open()
        self._saved = {name: os.environ.get(name) for name in self.env}
        os.environ.update(self.env)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        for name, value in self._saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        try:
            self.close()
        except Exception as failure:
            # The test's own error, which this failure usually caused, takes precedence.
            if error is None:
                raise
            cause = "".join(format_exception(failure, chain=False))
            error.add_note(f"A script of the simulated docker had failed before:\n{cause}")

    @property
    def _last_runner(self) -> Runner:
        # Available after close() too, so that a test can read the records.
        if self._runner is None:
            msg = "the simulation is not open; use a `with` block or call open()"
            raise RuntimeError(msg)
        return self._runner

    @property
    def command(self) -> tuple[str, ...]:
        """The argv prefix that replaces `docker model`."""
        if self._broken == "no-docker":
            return (str(PROGRAM.with_name("no-such-docker")), "model")
        address = self._last_runner.command_address
        # Without site-packages and PYTHON… variables (-I -S) Python starts in half the time.
        return (sys.executable, "-I", "-S", str(PROGRAM), address, "model")

    @property
    def url(self) -> str:
        """The HTTP address of the simulated runner."""
        return f"http://{self._last_runner.address}"

    @property
    def env(self) -> dict[str, str]:
        """The variables that select it, `DOCKER_MODEL_COMMAND` and `MODEL_RUNNER_HOST`."""
        windows = sys.platform == "win32"
        join = subprocess.list2cmdline if windows else shlex.join
        command = {"DOCKER_MODEL_COMMAND": join(self.command)}
        if self._broken == "no-engine":
            socket = "npipe:////./pipe/none" if windows else "unix:///nonexistent/docker.sock"
            return {**command, "MODEL_RUNNER_HOST": "", "DOCKER_HOST": socket}
        return {**command, "MODEL_RUNNER_HOST": REFUSED if self._broken == "refused" else self.url}

    @property
    def calls(self) -> list[Call]:
        """The last 10,000 starts of the command, in order."""
        with self._last_runner.changed:
            return list(self._last_runner.calls)

    @property
    def requests(self) -> list[Request]:
        """The last 10,000 requests to the runner, in order."""
        with self._last_runner.changed:
            return list(self._last_runner.requests)

    @property
    def prompts(self) -> list[str]:
        """The prompts that a model received, in order."""
        return [request.prompt for request in self.requests if request.prompt is not None]

    @property
    def gone(self) -> list[str]:
        """The prompts of requests that the client closed before the answer was complete."""
        return [r.prompt for r in self.requests if r.prompt is not None and r.client_gone]

    @property
    def alive(self) -> int:
        """The number of commands that still have a process, including grandchildren.

        The count is exact: every process holds a connection, which the kernel closes at its end.
        """
        with self._last_runner.changed:
            return len(self._last_runner.alive)

    def wait_all_gone(self, timeout: float = 10.0) -> None:
        """Wait until all processes of all commands have ended.

        Like each `wait_…` method, this raises `TimeoutError` after `timeout` seconds. The message
        has the pids of the processes that are alive.
        """
        self._wait(lambda runner: not runner.alive, timeout, "commands still run")

    def wait_calls(self, count: int = 1, timeout: float = 10.0) -> None:
        """Wait until `count` commands have started both processes since `open()`."""
        self._wait(lambda runner: runner.plugins >= count, timeout, "commands were not started")

    def wait_prompts(self, count: int = 1, timeout: float = 10.0) -> None:
        """Wait until models have received `count` prompts since `open()`."""
        self._wait(lambda runner: runner.prompts >= count, timeout, "prompts are missing")

    def wait_gone(self, count: int = 1, timeout: float = 10.0) -> None:
        """Wait until clients have disconnected during `count` answers since `open()`."""
        self._wait(lambda runner: runner.gone >= count, timeout, "clients are still connected")

    def _wait(self, condition: Callable[[Runner], bool], timeout: float, problem: str) -> None:
        runner = self._last_runner
        with runner.changed:
            if not runner.changed.wait_for(lambda: condition(runner), timeout):
                pids = [call.pid for call in runner.alive]
                msg = f"after {timeout} s {problem}; processes alive: {pids}"
                raise TimeoutError(msg)
