"""The progress of a call as LangChain's custom events."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, CallbackManager
from langchain_core.callbacks.manager import ahandle_event, handle_event
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.config import ensure_config

from docker_model.progress import AsyncProgressRelay, ProgressRelay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from typing import Protocol, Self

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.callbacks.manager import BaseRunManager
    from langchain_core.language_models.base import LanguageModelInput
    from langchain_core.messages import AIMessageChunk, BaseMessage
    from langchain_core.outputs import ChatResult
    from langchain_core.runnables import RunnableConfig

    from docker_model.types import Progress

    Report = Callable[[Progress], object]

    class _Settings(Protocol):
        @property
        def standby(self) -> int: ...

        @property
        def on_progress(self) -> Report | None: ...


__all__ = ["PROGRESS_EVENT", "Run", "SendsProgress", "relayed_progress", "relayed_progress_async"]

PROGRESS_EVENT = "docker_model_progress"


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a model, and the callback handlers that receive its custom events."""

    handlers: list[BaseCallbackHandler]
    id: UUID
    tags: Sequence[str] | None
    metadata: dict[str, Any] | None

    @classmethod
    def of(cls, manager: BaseRunManager | None) -> Run | None:
        """Return the run of a callback manager; `None` if no handler receives custom events."""
        handlers = (
            [handler for handler in manager.handlers if _receives_events(handler)]
            if manager
            else []
        )
        if manager is None or not handlers:
            return None
        return cls(handlers, manager.run_id, manager.tags, manager.metadata)

    def event(self, progress: Progress) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments for `handle_event`."""
        named = {"run_id": self.id, "tags": self.tags, "metadata": self.metadata}
        event = ("on_custom_event", "ignore_custom_event", PROGRESS_EVENT, asdict(progress))
        return (self.handlers, *event), named

    def send(self, progress: Progress) -> None:
        """Send a custom event to the handlers."""
        args, kwargs = self.event(progress)
        handle_event(*args, **kwargs)

    async def asend(self, progress: Progress) -> None:
        """Send a custom event to the handlers, awaited."""
        args, kwargs = self.event(progress)
        await ahandle_event(*args, **kwargs)


def _receives_events(handler: BaseCallbackHandler) -> bool:
    defaults = (BaseCallbackHandler.on_custom_event, AsyncCallbackHandler.on_custom_event)
    return not handler.ignore_custom_event and type(handler).on_custom_event not in defaults


@contextmanager
def relayed_progress(model: _Settings, run: Run | None) -> Iterator[Report | None]:
    """Yield an `on_progress` function that also sends custom events to the handlers of a run.

    With standby, yield the model's own `on_progress`. Standby processes belong to one model object
    with one `on_progress`, and a call that uses them has no wait to report.
    """
    if run is None or model.standby:
        yield model.on_progress
        return
    with ProgressRelay(run.send, model.on_progress) as relay:
        yield relay


@asynccontextmanager
async def relayed_progress_async(model: _Settings, run: Run | None) -> AsyncIterator[Report | None]:
    """Yield an `on_progress` function as `relayed_progress` does, for an event loop."""
    if run is None or model.standby:
        yield model.on_progress
        return
    async with AsyncProgressRelay(run.asend, model.on_progress) as relay:
        yield relay


class SendsProgress(BaseChatModel):
    """A chat model that sends its progress as custom events.

    Core passes the run manager only to `_generate`, not to `_stream`. So this class overrides the
    methods that know the run.
    """

    if TYPE_CHECKING:  # fields of the subclass
        standby: int
        on_progress: Report | None

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Yield pieces of the answer as they arrive."""
        config, run = self._run_of(config)
        if run is None:
            return super().stream(input, config, stop=stop, **kwargs)
        return self._relayed_stream(run, input, config, stop=stop, **kwargs)

    def _relayed_stream(self, run: Run, *args: Any, **kwargs: Any) -> Iterator[AIMessageChunk]:
        with relayed_progress(self, run) as report:
            chat = self._reporting(report)
            yield from super(SendsProgress, chat).stream(*args, **kwargs)

    def _reporting(self, report: Report | None) -> Self:
        if report is self.on_progress:
            return self
        return self.model_copy(update={"on_progress": report})

    def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Yield pieces of the answer as they arrive."""
        config, run = self._run_of(config)
        if run is None:
            return super().astream(input, config, stop=stop, **kwargs)
        return self._relayed_astream(run, input, config, stop=stop, **kwargs)

    async def _relayed_astream(
        self, run: Run, *args: Any, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        async with relayed_progress_async(self, run) as report:
            chat = self._reporting(report)
            stream: Any = super(SendsProgress, chat).astream(*args, **kwargs)  # a generator
            async with aclosing(stream) as chunks:
                async for chunk in chunks:
                    yield chunk

    def _run_of(self, config: RunnableConfig | None) -> tuple[RunnableConfig | None, Run | None]:
        """Return the run of a stream, and a configuration that sets its run id."""
        full = ensure_config(config)
        manager = CallbackManager.configure(full.get("callbacks"), self.callbacks)
        handlers = [handler for handler in manager.handlers if _receives_events(handler)]
        if not handlers:
            return config, None
        run_id = full["run_id"] = full.get("run_id") or uuid4()
        return full, Run(handlers, run_id, full.get("tags"), full.get("metadata"))

    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with relayed_progress(self, Run.of(run_manager)) as report:
            chat = self._reporting(report)
            return super(SendsProgress, chat)._generate_with_cache(
                messages, stop, run_manager, **kwargs
            )

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        async with relayed_progress_async(self, Run.of(run_manager)) as report:
            chat = self._reporting(report)
            return await super(SendsProgress, chat)._agenerate_with_cache(
                messages, stop, run_manager, **kwargs
            )
