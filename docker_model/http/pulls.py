"""Pull a model over the runner's API."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from docker_model._runtime import io_thread
from docker_model._transport.failure_table import CAUSES, PULL_FAILED
from docker_model._transport.failures import Failure
from docker_model._transport.log import LOG
from docker_model._transport.shared_pulls import SharedPulls
from docker_model.errors import DockerModelError, PullError
from docker_model.http.connections import ConnectFailed, ConnectionLost, Connections
from docker_model.types import PullProgress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from docker_model.http.connections import ConnectionKey, Reply

PATH = "/models/create"
_OK = 200
_WITH_WORDS = replace(PULL_FAILED, message=PULL_FAILED.message + ": {words}")
_CAUSES = tuple(_WITH_WORDS if cause is PULL_FAILED else cause for cause in CAUSES)
# Errors of Hugging Face, which arrive as plain text after the status and the first steps.
_REFUSALS = ("Model not found", "Unauthorized")


async def pull(
    link: ConnectionKey,
    headers: Mapping[str, str],
    model: str,
    on_progress: Callable[[PullProgress], object] | None,
    token: str | None = None,
) -> None:
    """Pull `model`. Calls that wait for the same model share one pull.

    Args:
        link: The connection key of the runner.
        headers: The HTTP headers.
        model: The model name that the caller passed.
        on_progress: Called with each step.
        token: The registry's bearer token, for a private model.

    Raises:
        ModelNotFoundError: If the registry does not have the model.
        PullError: If the pull failed.
    """

    async def work(report: Callable[[PullProgress], object]) -> None:
        await _pull(link, headers, model, report, token)

    shared = io_thread.current().local(SharedPulls)
    await shared.pull((link, model, token), work, on_progress)


async def _pull(
    link: ConnectionKey,
    headers: Mapping[str, str],
    model: str,
    report: Callable[[PullProgress], object],
    token: str | None,
) -> None:
    LOG.info("pulling %s", model)
    progress = PullReader(model)
    headers = {
        **headers,
        "Content-Type": "application/json",
        "Accept": "application/json",  # otherwise the progress is plain text
    }
    url, body = (
        link.address.root + PATH,
        json.dumps({"from": model, **({"bearer-token": token} if token else {})}).encode(),
    )
    request = io_thread.current().local(Connections).send(link, "POST", url, headers, body)
    hint = f"try again: `docker model pull {model}`"
    try:
        async with request as reply:
            if reply.status != _OK:
                text = (await reply.read()).decode("utf-8", "replace").strip()
                words = f"pulling {model} failed with status {reply.status}: {text}"
                raise _failure(model, words)
            async for line in _lines(reply):
                step = progress.read(line)
                if step is not None:
                    report(step)
    except (ConnectFailed, ConnectionLost) as error:
        msg = f"the pull of {model!r} was interrupted: {error}"
        raise PullError(msg, hint=hint) from error
    if not progress.succeeded:
        msg = f"the pull of {model!r} ended early"
        raise PullError(msg, hint=hint)
    LOG.info("pulled %s", model)


async def _lines(reply: Reply) -> AsyncIterator[str]:
    rest = b""
    async for piece in reply.pieces():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")
    yield rest.decode("utf-8", "replace")


class PullReader:
    """Parses the lines of a pull.

    Attributes:
        succeeded: Whether a line has reported success.
    """

    def __init__(self, model: str) -> None:
        self.succeeded = False
        self._model = model
        self._layers: dict[object, int] = {}

    def read(self, line: str) -> PullProgress | None:
        """Return the progress that a line reports, or `None` for other lines.

        Raises:
            PullError: If the line reports that the pull has failed.
        """
        if line.strip() in _REFUSALS:
            raise _failure(self._model, line.strip())
        try:
            step: Any = json.loads(html.unescape(line))  # some versions escape it for HTML
        except ValueError:
            return None
        if not isinstance(step, dict):
            return None
        words = str(step.get("message") or "")
        kind = step.get("type")
        if kind == "error":
            raise _failure(self._model, words)
        if kind == "success":
            self.succeeded = True
        if kind != "progress":
            return PullProgress(self._model, words)
        layer = step.get("layer")
        total = step.get("total")
        if not isinstance(layer, dict) or not isinstance(total, int):
            return PullProgress(self._model, words)
        current = layer.get("current")
        self._layers[layer.get("id")] = current if isinstance(current, int) else 0
        return PullProgress(
            self._model, words or "Downloading", sum(self._layers.values()), total or None
        )


def _failure(model: str, words: str) -> DockerModelError:
    named = Failure("pull", model, f"Failed to pull model: {words}").match(_CAUSES)
    assert named is not None  # the table has a row for all messages of a pull
    return named
