"""`check`: is everything there, from Docker to an answer? A line each, like a doctor's report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docker_model import management
from docker_model._docker_cli.command_spec import CommandSpec
from docker_model._runtime import tasks
from docker_model._transport.model_names import same_model
from docker_model.client import DockerModel
from docker_model.errors import DockerModelError
from docker_model.http import Client
from docker_model.types import Completion

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker_model._console.screen import Screen, Style
    from docker_model.types import ModelInfo, Status

_PROMPT = "Say hello in one short sentence."
_ENOUGH = 300  # characters of an answer: a small model may ramble
_SHOWN = 60  # characters of an answer in the report
_NAMES = 4  # models named in the report
_STYLES: dict[str, Style] = {"ok": "green", "failed": "red", "skipped": "dim", "note": "yellow"}


class _FailedError(Exception):
    """A step did not hold; says why and what to do next."""

    def __init__(self, why: str, step: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.step = step


class Check:
    """The steps in their order; once one fails, the rest is skipped.

    Args:
        model: What to ask; the first of the list if `None`.
    """

    def __init__(self, model: str | None) -> None:
        self._model = model
        self._status: Status | None = None

    def run(self, screen: Screen) -> bool:
        """Write the report; whether everything holds."""
        steps: dict[str, Callable[[], str]] = {
            "docker": self._docker,
            "plugin": self._plugin,
            "runner": self._runner,
            "models": self._models,
            "answer": self._answer,
            "stream": self._stream,
        }
        well = True
        for name, step in steps.items():
            if not well:
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
                    screen.line(f"{'':8}next: {hint}", "yellow")
        self._api(screen)
        return well

    def _api(self, screen: Screen) -> None:
        """Tell where the HTTP API is, and how that was found out; prompts do without it."""
        screen.passing(f"{'':8}api     …")
        try:
            endpoint = Client().endpoint()
        except DockerModelError as error:
            what, *more = error.message.split("\n")
            _report(screen, "note", "api", what)
            more = more or [error.hint]
        else:
            steps = [str(step) for step in endpoint.tried]
            what = f"{endpoint.url}, by {endpoint.source}" if endpoint.verified else steps.pop()
            more = steps if len(steps) > 1 or not endpoint.verified else []
            _report(screen, "ok" if endpoint.verified else "note", "api", what)
        for line in more:
            screen.line(f"{'':16}{line.strip()}", "dim")

    def _docker(self) -> str:
        program = tasks.run_blocking(CommandSpec.of(None, None).program())
        return f"{' '.join(program.argv)} ({program.reason})"

    def _plugin(self) -> str:
        self._status = status = management.status()
        if status.version is None:
            management.list_models()  # raises what is wrong, the missing plugin first of all
            return "docker model, of unknown version"
        return f"docker model {status.version}"

    def _runner(self) -> str:
        status = self._status
        assert status is not None
        if not status.running:
            why, _, hint = status.problem.partition("\nHint: ")
            raise _FailedError(why, hint)
        return ", ".join(filter(None, (status.engine, status.endpoint))) or "running"

    def _models(self) -> str:
        found = management.list_models()
        if self._model is None:
            self._model = _choice(found)
        elif not any(_is(model, self._model) for model in found):
            management.inspect_model(self._model)  # it knows more names than the list shows
        names = [model.name for model in found]
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
        first = stream.completion.timings.first_output or 0.0
        return f"in {pieces} piece{'s' * (pieces != 1)}, the first after {first:.2f} s"

    def _docker_model(self) -> DockerModel:
        assert self._model is not None
        return DockerModel(self._model, max_chars=_ENOUGH)


def _report(screen: Screen, result: str, name: str, what: str) -> None:
    screen.write(f"{result:8}", _STYLES[result])
    screen.line(f"{name:8}{what}".rstrip())


def _reasons(error: DockerModelError | _FailedError) -> tuple[str, str]:
    if isinstance(error, _FailedError):
        return error.why, error.step
    return error.message, error.hint


def _choice(found: list[ModelInfo]) -> str:
    # A name is all there is to tell an embedding model by, and it gives no answers.
    for model in found:
        if "embed" not in model.name:
            return model.name
    why = "there is no model to ask"
    raise _FailedError(why, "`docker model pull ai/smollm2`")


def _is(model: ModelInfo, name: str) -> bool:
    return any(same_model(tag, name) for tag in (*model.tags, model.id or "") if tag)
