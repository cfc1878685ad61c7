"""The subcommand `check`, which checks every step from Docker to an answer."""

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
from docker_model.errors import DockerModelError, DockerNotFoundError
from docker_model.http import Client
from docker_model.types import Completion

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from docker_model._console.screen import Screen, Style
    from docker_model.http.discovery import Endpoint
    from docker_model.types import ModelInfo, Status

_PROMPT = "Say hello in one short sentence."
_MAX_CHARS = 300  # of an answer, because a small model may not stop by itself
_SHOWN_CHARS = 60  # of an answer in the report
_SHOWN_MODELS = 4  # in the report
_LOG_TIMEOUT = 5.0  # seconds; the log is read from its beginning
_MIN_DURATION = 0.1  # seconds of a stream for a measurement of its speed
_STYLES: dict[str, Style] = {"ok": "green", "failed": "red", "skipped": "dim", "note": "yellow"}
_GPU = re.compile(r"\b(cuda|rocm|metal|vulkan|musa|cann|sycl)\b", re.IGNORECASE)
# Lines of the runner's log. The runner looks for GPUs at its start, before it loads a model.
_GPU_LOGGED = re.compile(
    r"gpuSupport=(?P<found>true|false)|no usable GPU found"
    r"|offloaded (?P<layers>\d+)/(?P<all>\d+) layers to GPU"
)


class _FailedError(Exception):
    """A failed step, with the cause and a hint what to do next."""

    def __init__(self, cause: str, hint: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.hint = hint


def check(options: argparse.Namespace, out: Screen) -> int:
    """Run `check`."""
    return 0 if Check(options).run(out) else 1


class Check:
    """The steps of the check. After a failed step, the other steps are skipped.

    Args:
        options: The model to use (`None` for the first local chat model), the runner, and
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
        """Run the steps, print the report, and return whether every step succeeded."""
        steps: dict[str, Callable[[], str]] = {
            "docker": self._docker,
            "plugin": self._plugin,
            "runner": self._runner_state,
            "models": self._models,
            "answer": self._answer,
            "stream": self._stream,
            "engine": self._engine,
        }
        if self._over_http or self._only_http(screen):
            del steps["docker"], steps["plugin"]
        succeeded = True
        for name, step in steps.items():
            if not succeeded:
                if self._verbose:
                    _report(screen, "skipped", name, "")
                continue
            screen.show_temporarily(f"{'':8}{name:8}…")  # a step can wait for a model to load
            try:
                _report(screen, "ok", name, step())
            except (DockerModelError, _FailedError) as error:
                succeeded = False
                _report(screen, "failed", name, _cause(error))
                if error.hint:
                    _advise(screen, error.hint)
        self._api(screen, succeeded=succeeded)
        return succeeded

    def _only_http(self, screen: Screen) -> bool:
        """Report that there is an HTTP API but no command, as in a container, and select HTTP."""
        if self._runner["transport"] is not None:
            return False
        with contextlib.suppress(DockerModelError):
            try:
                self._docker()
            except DockerNotFoundError as error:
                if self._endpoint().verified:
                    _report(screen, "note", "docker", f"{error.message}; checking only HTTP")
                    _advise(screen, error.hint)
                    self._runner["transport"] = "http"
                    return True
        return False

    def _endpoint(self) -> Endpoint:
        return Client(base_url=self._runner["base_url"]).endpoint()

    def _api(self, screen: Screen, *, succeeded: bool) -> None:
        """Report the address of the HTTP API and its source. Simple prompts do not need it."""
        screen.show_temporarily(f"{'':8}api     …")
        try:
            endpoint = self._endpoint()
        except DockerModelError as error:
            summary, *details = error.message.split("\n")
            if succeeded or self._verbose:
                _report(screen, "note", "api", summary)
            else:
                screen.write("")  # removes the temporary line
            if succeeded:
                _advise(screen, error.hint)
            else:
                details = details or [error.hint]
        else:
            attempts = [str(attempt) for attempt in endpoint.tried]
            verified = endpoint.verified
            summary = f"{endpoint.url}, by {endpoint.source}" if verified else attempts.pop()
            details = attempts if len(attempts) > 1 or not verified else []
            _report(screen, "ok" if verified else "note", "api", summary)
        if self._verbose:
            for line in details:
                screen.paragraph(f"{'':16}{line.strip()}", "dim", 18)
        elif not succeeded:
            screen.line(f"{'':8}-v shows details and the search for the HTTP API", "dim")

    def _docker(self) -> str:
        program = tasks.run_blocking(CommandSpec.of(None, None).program())
        return f"{' '.join(program.argv)} ({program.reason})"

    def _plugin(self) -> str:
        self._status = status = management.status(transport="cli")
        if status.version is None:
            management.list_models(transport="cli")  # raises an error that names the cause
            return "docker model, unknown version"
        return f"docker model {status.version}"

    def _runner_state(self) -> str:
        status = self._status or management.status(**self._runner)
        self._status = status
        if not status.running:
            cause, _, hint = status.problem.partition("\nHint: ")
            raise _FailedError(cause, hint)
        return ", ".join(filter(None, (status.engine, status.endpoint))) or "running"

    def _models(self) -> str:
        models = management.list_models(**self._runner)
        if self._model is None:
            self._model = _choice(models)
        elif not any(_is(model, self._model) for model in models):
            # The runner accepts names that the list does not contain, such as an id.
            management.inspect_model(self._model, **self._runner)
        names = [model.name for model in models]
        others = len(names) - _SHOWN_MODELS
        more = f" and {others} more" if others > 0 else ""
        return f"{len(names)}: {', '.join(names[:_SHOWN_MODELS])}{more}"

    def _answer(self) -> str:
        completion = self._docker_model().generate(_PROMPT)
        text = " ".join((completion.text or completion.reasoning).split())
        shown = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
        return f'{self._model} in {completion.timings.total:.2f} s: "{shown}"'

    def _stream(self) -> str:
        pieces = 0
        with self._docker_model().stream(_PROMPT) as stream:
            for event in stream.events():
                pieces += not isinstance(event, Completion)
        assert stream.completion is not None
        timings, usage = stream.completion.timings, stream.completion.usage
        first = timings.first_output or 0.0
        duration = timings.total - first
        if duration >= _MIN_DURATION:
            tokens = usage.completion_tokens if usage else pieces  # a piece is usually a token
            self._speed = f"about {tokens / duration:.0f} tokens per second"
        return f"in {pieces} piece{'s' * (pieces != 1)}, the first after {first:.2f} s"

    def _engine(self) -> str:
        """Return the engine, its context size, capabilities and speed, and its use of a GPU."""
        assert self._model is not None
        model = management.inspect_model(self._model, **self._runner)
        loaded = management.list_running(**self._runner)
        backends = [running.backend for running in loaded if _is(model, running.name)]
        backend = backends[0] if backends else ""
        state = self._status.backends.get(backend, "") if self._status else ""
        context = ""
        if model.context_size:
            trained = model.trained_context
            context = f"context {model.context_size}{f' of {trained}' if trained else ''} tokens"
        # The runner logs the use of GPUs only for llama.cpp.
        gpu_use = gpu(state, self._log() if backend in ("", "llama.cpp") else "")
        parts = (backend, context, abilities(model), self._speed, gpu_use)
        return ", ".join(filter(None, parts)) or "unknown"

    def _log(self) -> str:
        with contextlib.suppress(DockerModelError):
            client = Client(base_url=self._runner["base_url"], timeout=_LOG_TIMEOUT)
            return client.engine_log(_GPU_LOGGED.pattern)
        return ""

    def _docker_model(self) -> DockerModel:
        assert self._model is not None
        return DockerModel(self._model, max_chars=_MAX_CHARS, **self._runner)


def gpu(state: str, log: str) -> str:
    """Describe the use of a GPU; return an empty string if it is unknown.

    Args:
        state: The engine's state, such as `Running: llama.cpp latest-cuda`. It names the build.
        log: The runner's log. The last line about GPUs shows whether one is used.
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


def _report(screen: Screen, result: str, name: str, details: str) -> None:
    screen.write(f"{result:8}", _STYLES[result])
    screen.line(f"{name:8}{details}".rstrip())


def _advise(screen: Screen, hint: str) -> None:
    screen.paragraph(f"{'':8}next: {hint}", "yellow", 14)


def _cause(error: DockerModelError | _FailedError) -> str:
    return error.cause if isinstance(error, _FailedError) else error.message


def _choice(models: list[ModelInfo]) -> str:
    """Return the first chat model, according to the capabilities and names of the models."""
    for model in models:
        if not model.capabilities & {"embedding", "reranking"} and "embed" not in model.name:
            return model.name
    cause = "there is no local chat model"
    raise _FailedError(cause, "`docker model pull ai/smollm2`")


def _is(model: ModelInfo, name: str) -> bool:
    return any(same_model(tag, name) for tag in (*model.tags, model.id or "") if tag)
