"""Complete errors with data from the runner, on the I/O thread."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from docker_model._runtime import io_thread
from docker_model._transport.failures import PATIENCE, explain
from docker_model.errors import (
    DockerModelError,
    EmptyAnswerError,
    GenerationError,
    ModelLoadError,
)
from docker_model.http.connections import ConnectFailed, ConnectionLost, Connections
from docker_model.http.management import HttpManagement
from docker_model.options import Timeouts

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from docker_model.http.discovery import DiscoveryInputs
    from docker_model.http.request import RequestOptions

_T = TypeVar("_T")

_TAIL = 16 * 1024  # bytes of the runner's log that are kept
_LINES = 20
_OK = 200
_PAUSE = 300.0  # seconds before a log that took too long is read again
_SECRETS = re.compile(
    r"(?i)(bearer\s+|(?:api[-_]?key|token|password|secret)[\"']?\s*[=:]\s*[\"']?)[^\s\"',}]+"
    r"|\b(?:hf_|sk-|ghp_|dckr_)[\w-]{8,}|(?<=://)[^\s/@]+:[^\s/@]+(?=@)"
)

# The time until which a runner's log is not read again. The runner always sends the whole log,
# and every error would wait for it. Only the I/O thread uses this variable.
_not_before: dict[DiscoveryInputs, float] = {}


async def explained(options: RequestOptions, model: str, work: Awaitable[_T]) -> _T:
    """Await `work`, and complete its error with data from the runner.

    Raises:
        DockerModelError: If `work` raised a `DockerModelError`.
    """
    try:
        return await work
    except DockerModelError as error:
        models = HttpManagement(replace(options, timeouts=Timeouts()))
        await explain(error, model, models)
        if _is_the_engines(error) and (words := await read_log_end(models)):
            error.detail = f"{error.detail}\n\nThe end of the engine's log:\n{words}".strip()
        raise


def _is_the_engines(error: DockerModelError) -> bool:
    if isinstance(error, GenerationError):
        return not isinstance(error, EmptyAnswerError)
    return isinstance(error, ModelLoadError)


async def read_log_end(
    models: HttpManagement, pattern: str = "", patience: float | None = PATIENCE
) -> str:
    """Return the last part of the runner's log, or an empty string if it is not available.

    Args:
        models: The management operations of the runner.
        pattern: A regular expression; only lines that contain a match are returned.
        patience: The time limit for reading the log, in seconds.
    """
    place, now = models.options.place, asyncio.get_running_loop().time
    if now() < _not_before.get(place, 0.0):
        return ""
    try:
        async with asyncio.timeout(patience):
            return await _log(models, re.compile(pattern.encode()))
    except TimeoutError:
        _not_before[place] = now() + _PAUSE
    except (DockerModelError, ConnectFailed, ConnectionLost):
        pass
    return ""


async def _log(management: HttpManagement, pattern: re.Pattern[bytes]) -> str:
    endpoint = await management.endpoint()
    headers = management.options.headers_for(endpoint)
    connections = io_thread.current().local(Connections)
    last: deque[bytes] = deque(maxlen=_LINES)
    rest = b""
    async with connections.send(endpoint.link, "GET", f"{endpoint.root}/logs", headers) as reply:
        if reply.status != _OK or "html" in reply.content_type:
            return ""
        async for piece in reply.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            last.extend(line[-_TAIL:] for line in lines if pattern.search(line))
            rest = rest[-_TAIL:]
    if rest and pattern.search(rest):
        last.append(rest)
    return masked(b"\n".join(last)[-_TAIL:].decode("utf-8", "replace").strip())


def masked(text: str) -> str:
    """Replace everything in a text that looks like a secret with asterisks."""
    return _SECRETS.sub(lambda match: f"{match[1] or ''}***", text)
