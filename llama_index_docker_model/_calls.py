"""The four ways to call, as decorators: from what is asked to core's answers and events.

Core's own decorators emit the events. A public method that called another would emit them
twice; so each of LlamaIndex's eight only says what is to be asked (a `Question`), and the
asking is done here, once for each way.

Nothing here is a `functools.wraps`: core takes a function's `__wrapped__` for its own mark,
"decorated already", and would emit nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback

from llama_index_docker_model._responses import chat_response, completion_response
from llama_index_docker_model._streams import (
    OwnedAsyncChunks,
    OwnedChunks,
    achunks_of,
    chunks_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

    from llama_index_docker_model._questions import Question, Stoppable
    from llama_index_docker_model._responses import Answer

__all__ = ["chats", "completions"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Function = TypeVar("_Function", bound="Callable[..., Any]")


@dataclass(frozen=True, slots=True)
class Calls(Generic[_R]):
    """Completions or chats.

    Attributes:
        events: Core's decorator that emits their events.
        respond: How an answer is put into their responses.
    """

    events: Callable[[], Any]
    respond: Callable[[Answer], _R]

    def answer(self, ask: Callable[_P, Question]) -> Callable[_P, _R]:
        """Make a method that gives the whole answer."""

        def body(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            return self.respond(ask(*args, **kwargs).ask())

        return _named(self._observed(body), ask)

    def aanswer(self, ask: Callable[_P, Question]) -> Callable[_P, Coroutine[Any, Any, _R]]:
        """Make a coroutine method that gives the whole answer."""

        async def body(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            return self.respond(await ask(*args, **kwargs).aask())

        return _named(self._observed(body), ask)

    def stream(self, ask: Callable[_P, Question]) -> Callable[_P, Generator[_R, None, None]]:
        """Make a method that gives a generator of responses."""

        def method(*args: _P.args, **kwargs: _P.kwargs) -> Generator[_R, None, None]:
            stream: Stoppable
            inner: Generator[_R, None, None]

            def body(*args: _P.args, **kwargs: _P.kwargs) -> Generator[_R, None, None]:
                nonlocal stream, inner
                question = ask(*args, **kwargs)
                stream, events = question.stream()
                inner = chunks_of(events, question.reader(), self.respond)
                return inner

            outer = self._observed(body)(*args, **kwargs)
            return OwnedChunks(stream, inner, outer)

        return _named(method, ask)

    def astream(
        self, ask: Callable[_P, Question]
    ) -> Callable[_P, Coroutine[Any, Any, AsyncGenerator[_R, None]]]:
        """Make a coroutine method that gives an async generator of responses."""

        async def method(*args: _P.args, **kwargs: _P.kwargs) -> AsyncGenerator[_R, None]:
            stream: Stoppable
            inner: AsyncGenerator[_R, None]

            async def body(*args: _P.args, **kwargs: _P.kwargs) -> AsyncGenerator[_R, None]:
                nonlocal stream, inner
                question = ask(*args, **kwargs)
                stream, events = question.astream()
                inner = achunks_of(events, question.reader(), self.respond)
                return inner

            outer = await self._observed(body)(*args, **kwargs)
            return OwnedAsyncChunks(stream, inner, outer)

        return _named(method, ask)

    def _observed(self, body: _Function) -> _Function:
        observed: _Function = self.events()(body)
        return observed


completions = Calls(llm_completion_callback, completion_response)
chats = Calls(llm_chat_callback, chat_response)


def _named(function: _Function, method: Callable[..., Any]) -> _Function:
    """Give `function` the name and the words of `method`."""
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(function, attribute, getattr(method, attribute))
    return function
