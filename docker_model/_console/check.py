"""The subcommand `check`: is everything there, from Docker to an answer? A line each."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from docker_model import management
from docker_model._console.models import abilities, runner
from docker_model._docker_cli.command_spec import CommandSpec
from docker_model._runtime import tasks
from docker_model._transport.model_names import same_model
from docker_model.client import DockerModel
from docker_model.errors import DockerModelError
from docker_model.http import Client
from docker_model.types import Completion

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from docker_model._console.screen import Screen, Style
    from docker_model.types import ModelInfo, Status

_PROMPT = "Say hello in one short sentence."
_ENOUGH = 300  # characters of an answer: a small model may ramble
_SHOWN = 60  # characters of an answer in the report
_NAMES = 4  # models named in the report
_LOG_TIMEOUT = 5.0  # seconds; the log is read from its beginning
_LONG_ENOUGH = 0.1  # seconds of a stream that are enough to measure its speed
_STYLES: dict[str, Style] = {"ok": "green", "failed": "red", "skipped": "dim", "note": "yellow"}
_GPU = re.compile(r"\b(cuda|rocm|metal|vulkan|musa|cann|sycl)\b", re.IGNORECASE)
# In the runner's log. It looks for GPUs when it starts, before an engine loads a model.
_GPU_LOGGED = re.compile(
    r"gpuSupport=(?P<found>true|false)|no usable GPU found"
    r"|offloaded (?P<layers>\d+)/(?P<all>\d+) layers to GPU"
)


class _FailedError(Exception):
    """A step failed; says why and what to do next."""

    def __init__(self, why: str, step: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.step = step


def check(options: argparse.Namespace, out: Screen) -> int:
    """Run `check`."""
    return 0 if Check(options).run(out) else 1


class Check:
    """The steps in their order; once one fails, the rest is skipped.

    Args:
        options: The model to ask, the first chat model of the list if `None`; the runner; and
            whether to report details.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._model: str | None = options.model
        self._verbose: bool = options.verbose
        self._runner = runner(options)
        self._over_http = options.transport == "http" or options.base_url is not None
        self._status: Status | None = None
        self._speed = ""

    def run(self, screen: Screen) -> bool:
        """Write the report, and return whether every step succeeded."""
        steps: dict[str, Callable[[], str]] = {
            "docker": self._docker,
            "plugin": self._plugin,
            "runner": self._runner_state,
            "models": self._models,
            "answer": self._answer,
            "stream": self._stream,
            "engine": self._engine,
        }
        if self._over_http:
            del steps["docker"], steps["plugin"]
        well = True
        for name, step in steps.items():
            if not well:
                if self._verbose:
                    _report(screen, "skipped", name, "")
                continue
            screen.passing(f"{'':8}{name:8}…")  # an answer waits until its model is loaded
            try:
                _report(screen, "ok", name, step())
            except (DockerModelError, _FailedError) as error:
                well = False
                why, hint = _reasons(error)
                _report(screen, "failed", name, why)
                if hint:
                    _advise(screen, hint)
        self._api(screen, well=well)
        return well

    def _api(self, screen: Screen, *, well: bool) -> None:
        """Report where the HTTP API is, and how it was found; prompts do without it."""
        screen.passing(f"{'':8}api     …")
        try:
            endpoint = Client(base_url=self._runner["base_url"]).endpoint()
        except DockerModelError as error:
            what, *more = error.message.split("\n")
            if well or self._verbose:
                _report(screen, "note", "api", what)
            else:
                screen.write("")  # takes back what was passing
            if well:
                _advise(screen, error.hint)
            else:
                more = more or [error.hint]
        else:
            steps = [str(step) for step in endpoint.tried]
            what = f"{endpoint.url}, by {endpoint.source}" if endpoint.verified else steps.pop()
            more = steps if len(steps) > 1 or not endpoint.verified else []
            _report(screen, "ok" if endpoint.verified else "note", "api", what)
        if self._verbose:
            for line in more:
                screen.paragraph(f"{'':16}{line.strip()}", "dim", 18)
        elif not well:
            screen.line(f"{'':8}-v tells more, and where the HTTP API was looked for", "dim")

    def _docker(self) -> str:
        program = tasks.run_blocking(CommandSpec.of(None, None).program())
        return f"{' '.join(program.argv)} ({program.reason})"

    def _plugin(self) -> str:
        self._status = status = management.status(transport="cli")
        if status.version is None:
            management.list_models(transport="cli")  # raises the cause, if there is one
            return "docker model, of unknown version"
        return f"docker model {status.version}"

    def _runner_state(self) -> str:
        status = self._status or management.status(**self._runner)
        self._status = status
        if not status.running:
            why, _, hint = status.problem.partition("\nHint: ")
            raise _FailedError(why, hint)
        return ", ".join(filter(None, (status.engine, status.endpoint))) or "running"

    def _models(self) -> str:
        models = management.list_models(**self._runner)
        if self._model is None:
            self._model = _choice(models)
        elif not any(_is(model, self._model) for model in models):
            management.inspect_model(self._model, **self._runner)  # knows more names than the list
        names = [model.name for model in models]
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        return f"{len(names)}: {', '.join(names[:_NAMES])}{more}"

    def _answer(self) -> str:
        completion = self._docker_model().generate(_PROMPT)
        text = " ".join((completion.text or completion.reasoning).split())
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        return f'{self._model} in {completion.timings.total:.2f} s: "{shown}"'

    def _stream(self) -> str:
        pieces = 0
        with self._docker_model().stream(_PROMPT) as stream:
            for event in stream.events():
                pieces += not isinstance(event, Completion)
        assert stream.completion is not None
        timings, usage = stream.completion.timings, stream.completion.usage
        first = timings.first_output or 0.0
        spent = timings.total - first
        if spent >= _LONG_ENOUGH:
            tokens = usage.completion_tokens if usage else pieces  # a piece is mostly a token
            self._speed = f"about {tokens / spent:.0f} tokens per second"
        return f"in {pieces} piece{'s' * (pieces != 1)}, the first after {first:.2f} s"

    def _engine(self) -> str:
        """Return what answered: the engine, its context size, its speed, and a GPU, if any."""
        assert self._model is not None
        model = management.inspect_model(self._model, **self._runner)
        loaded = management.list_running(**self._runner)
        backends = [running.backend for running in loaded if _is(model, running.name)]
        backend = backends[0] if backends else ""
        state = self._status.backends.get(backend, "") if self._status else ""
        context = ""
        if model.context_size:
            most = model.trained_context
            context = f"context {model.context_size}{f' of {most}' if most else ''} tokens"
        # What is logged of GPUs is about llama.cpp.
        used = gpu(state, self._log() if backend in ("", "llama.cpp") else "")
        parts = (backend, context, abilities(model), self._speed, used)
        return ", ".join(filter(None, parts)) or "unknown"

    def _log(self) -> str:
        with contextlib.suppress(DockerModelError):
            client = Client(base_url=self._runner["base_url"], timeout=_LOG_TIMEOUT)
            return client.engine_log(_GPU_LOGGED.pattern)
        return ""

    def _docker_model(self) -> DockerModel:
        assert self._model is not None
        return DockerModel(self._model, max_chars=_ENOUGH, **self._runner)


def gpu(state: str, log: str) -> str:
    """Tell whether a GPU is used, from the engine's state and its log; empty if unknown.

    Args:
        state: Such as `Running: llama.cpp latest-cuda`, which names the build, not its use.
        log: The last line about GPUs counts.
    """
    named = _GPU.search(state)
    logged = list(_GPU_LOGGED.finditer(log))
    last = logged[-1] if logged else None
    if last is None and named is None:
        return ""
    if last is not None and last["layers"] not in (None, "0"):
        return f"{last['layers']} of {last['all']} layers on a GPU"
    if last is not None and last["found"] != "true":
        return "no GPU"
    return f"GPU by {named[1].upper()}" if named else "GPU"


def _report(screen: Screen, result: str, name: str, what: str) -> None:
    screen.write(f"{result:8}", _STYLES[result])
    screen.line(f"{name:8}{what}".rstrip())


def _advise(screen: Screen, step: str) -> None:
    screen.paragraph(f"{'':8}next: {step}", "yellow", 14)


def _reasons(error: DockerModelError | _FailedError) -> tuple[str, str]:
    if isinstance(error, _FailedError):
        return error.why, error.step
    return error.message, error.hint


def _choice(models: list[ModelInfo]) -> str:
    """Return the first model that can answer, as far as its own data and its name tell."""
    for model in models:
        if not model.capabilities & {"embedding", "reranking"} and "embed" not in model.name:
            return model.name
    why = "there is no model to ask"
    raise _FailedError(why, "`docker model pull ai/smollm2`")


def _is(model: ModelInfo, name: str) -> bool:
    return any(same_model(tag, name) for tag in (*model.tags, model.id or "") if tag)
