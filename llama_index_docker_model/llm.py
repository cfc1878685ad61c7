"""`DockerModelLLM`: a local model of Docker Model Runner as a LlamaIndex LLM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.llms import ChatMessage, MessageRole

from llama_index_docker_model._calls import chats, completions
from llama_index_docker_model._functions import FunctionCalls
from llama_index_docker_model._messages import needs_http, to_runner
from llama_index_docker_model._prompts import chat_prompt
from llama_index_docker_model._questions import OverCli, OverHttp
from llama_index_docker_model._settings import body_of, check_call, refuse_over_http

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llama_index_docker_model._questions import Question

__all__ = ["DockerModelLLM"]


class DockerModelLLM(FunctionCalls):
    """A local model of Docker Model Runner, by its command or its HTTP API.

    The settings are `docker_model.DockerModel`'s, with its defaults. All but `env` and
    `on_progress` may also be given to a single call (`llm.complete(prompt, max_chars=200)`),
    where they take the place of the model's own.

    It asks through `docker model run` unless there is something that only the runner's HTTP
    API can do: a parameter such as `temperature`, tools (`is_function_calling_model=True`), a
    `response_format`, images, an address or a key. Then it asks that, and finds it by itself.
    What the `transport` cannot honour is refused with an error and never ignored.

    Constructing one starts nothing; it pickles, and works from any thread and event loop.
    Errors are `docker_model.errors`', and reach the caller as they are. Leaving a stream
    early, however it is left, ends the model's work at once.

    Over the CLI a chat becomes one prompt by `messages_to_prompt`, since it sends a single turn
    of the user's. Answers carry the reasoning as a `ThinkingBlock`. As in all of LlamaIndex,
    `system_prompt` is used by `predict` and `stream`, not by `complete` and `chat`.

    Example:
        ```python
        from llama_index_docker_model import DockerModelLLM

        llm = DockerModelLLM(model="ai/smollm2")
        print(llm.complete("What is Docker Model Runner?"))

        for chunk in llm.stream_complete("Explain containers."):
            print(chunk.delta, end="", flush=True)
        ```
    """

    # --- The eight ways to ask. Each says what; `_calls` asks, and emits the events. ---

    @completions.answer
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Question:  # noqa: FBT001, FBT002  core's
        """Answer a prompt.

        Args:
            prompt: What the model is to read.
            formatted: Whether `completion_to_prompt` has been applied to it.
            kwargs: Settings for this call, such as `stop` or, over HTTP, `temperature`.

        Returns:
            A `CompletionResponse`; its `raw` has `model`, `finish_reason` and, where there is
            any, `reasoning` and `usage`.

        Raises:
            DockerModelError: See `docker_model.errors`.
        """
        return self._completion(prompt, kwargs, formatted=formatted)

    @completions.aanswer
    def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Question:  # noqa: FBT001, FBT002  core's
        """The same, awaited; cancelling the call ends the model's work."""
        return self._completion(prompt, kwargs, formatted=formatted)

    @completions.stream
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Question:  # noqa: FBT001, FBT002  core's
        """Answer a prompt piece by piece.

        Returns:
            A generator of `CompletionResponse`: `delta` is what is new, `text` all so far.
            Reasoning comes first, as `additional_kwargs["thinking_delta"]`; `usage` comes in
            the `raw` of the last. The model starts when the first is asked for.
        """
        return self._completion(prompt, kwargs, formatted=formatted)

    @completions.astream
    def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Question:  # noqa: FBT001, FBT002  core's
        """The same for `async for chunk in await llm.astream_complete(prompt)`."""
        return self._completion(prompt, kwargs, formatted=formatted)

    @chats.answer
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Question:
        """Answer a chat.

        Args:
            messages: The chat so far; what is no text goes over HTTP.
            kwargs: Settings for this call, such as `stop` or, over HTTP, `temperature`.

        Returns:
            A `ChatResponse` whose message holds the reasoning, where there is any, and the text.

        Raises:
            InvalidRequestError: Blocks that the transport cannot send, or no text at all.
            DockerModelError: See `docker_model.errors`.
        """
        return self._chat(messages, kwargs)

    @chats.aanswer
    def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Question:
        """The same, awaited; cancelling the call ends the model's work."""
        return self._chat(messages, kwargs)

    @chats.stream
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Question:
        """Answer a chat piece by piece: a generator of `ChatResponse`, see `stream_complete`."""
        return self._chat(messages, kwargs)

    @chats.astream
    def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Question:
        """The same for `async for chunk in await llm.astream_chat(messages)`."""
        return self._chat(messages, kwargs)

    # --- From core's words to `docker_model`'s ---

    def _completion(self, prompt: str, settings: Mapping[str, Any], *, formatted: bool) -> Question:
        if self.completion_to_prompt is not None and not formatted:
            prompt = self.completion_to_prompt(prompt)
        settings = check_call(settings)
        if self._way(settings) == "cli":
            return OverCli(self._docker_model(settings), prompt)
        return self._over_http([ChatMessage(prompt, role=MessageRole.USER)], settings)

    def _chat(self, messages: Sequence[ChatMessage], settings: Mapping[str, Any]) -> Question:
        settings = check_call(settings)
        if self._way(settings) == "http" or (self.transport is None and needs_http(messages)):
            return self._over_http(messages, settings)
        prompt = chat_prompt(messages, self.messages_to_prompt)
        return OverCli(self._docker_model(settings), prompt)

    def _over_http(self, messages: Sequence[ChatMessage], settings: Mapping[str, Any]) -> OverHttp:
        settings = {**self.__dict__, **settings}
        refuse_over_http(settings)
        return OverHttp(
            self._client(settings), settings["model"], to_runner(messages), body_of(settings)
        )
