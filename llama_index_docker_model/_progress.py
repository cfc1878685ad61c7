"""The progress of a call as LlamaIndex's instrumentation events."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING

from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.event_handlers import NullEventHandler
from llama_index.core.instrumentation.events import BaseEvent

from docker_model.progress import AsyncProgressRelay, ProgressRelay
from docker_model.types import Stage  # noqa: TC001  pydantic reads it

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from docker_model.types import Progress
    from llama_index_docker_model._backends import Backend

__all__ = ["DockerModelProgressEvent", "reporting", "reporting_async"]

_dispatcher = get_dispatcher(__name__)


class DockerModelProgressEvent(BaseEvent):
    """A step of a call, such as a pull or the loading of the model, or the speed of the answer.

    The fields are those of `docker_model.Progress`. The event is sent only if the dispatcher or
    one of its parents has an event handler when the call starts.
    """

    model: str
    status: str
    current: int | None = None
    total: int | None = None
    stage: Stage = "pull"
    tokens_per_second: float | None = None

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which the event is logged."""
        return "DockerModelProgressEvent"


def reporting(backend: Backend) -> tuple[Backend, AbstractContextManager[object]]:
    """Return a backend that sends events if there is a handler, and a context for the call."""
    if not _has_handler():
        return backend, nullcontext()
    relay = ProgressRelay(_send, backend.on_progress)
    return backend.reporting(relay), relay


def reporting_async(backend: Backend) -> tuple[Backend, AbstractAsyncContextManager[object]]:
    """Return a backend that sends events if there is a handler, and a context for the call."""
    if not _has_handler():
        return backend, nullcontext()

    async def send(progress: Progress) -> None:
        _send(progress)

    relay = AsyncProgressRelay(send, backend.on_progress)
    return backend.reporting(relay), relay


def _send(progress: Progress) -> None:
    _dispatcher.event(DockerModelProgressEvent(**asdict(progress)))


def _has_handler() -> bool:
    """Tell whether an event would reach a handler."""
    dispatcher = _dispatcher
    while all(isinstance(handler, NullEventHandler) for handler in dispatcher.event_handlers):
        if not dispatcher.propagate:
            return False
        dispatcher = dispatcher.parent
    return True
