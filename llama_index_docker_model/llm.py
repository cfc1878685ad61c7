"""`DockerModelLLM`: a local model behind `docker model run` as a LlamaIndex LLM."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.bridge.pydantic import ConfigDict, Field, model_validator
from llama_index.core.constants import DEFAULT_NUM_OUTPUTS
from llama_index.core.llms import LLM, ChatMessage, LLMMetadata

import docker_model
from docker_model.errors import UnsupportedParameterError
from docker_model.types import FileReferences, PullPolicy, PullProgress, Timeouts
from llama_index_docker_model._calls import Question, chats, completions
from llama_index_docker_model._prompts import chat_prompt
from llama_index_docker_model._settings import SETTINGS, check_call, refuse_unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from llama_index.core.chat_engine.types import AgentChatResponse
    from llama_index.core.tools import BaseTool

    from docker_model import DockerModel
    from docker_model.types import ModelInfo

__all__ = ["DockerModelLLM"]

# What the runner's engine takes for a model that was neither packaged nor configured with a size.
_ENGINE_CONTEXT = 4096


class DockerModelLLM(LLM):
    """A local model of Docker Model Runner, reached through the `docker model` command.

    The settings are `docker_model.DockerModel`'s, with its defaults. All but `env` and
    `on_progress` may also be given to a single call (`llm.complete(prompt, max_chars=200)`),
    where they take the place of the model's own. What the CLI has no way to honour, such as
    `temperature`, is refused with an error and never ignored.

    Constructing one starts nothing; it pickles, and works from any thread and event loop.
    Errors are `docker_model.errors`', and reach the caller as they are. Leaving a stream
    early, however it is left, ends the model's work at once.

    A chat becomes one prompt by `messages_to_prompt`, since the CLI sends a single turn of
    the user's; its answers carry the reasoning as a `ThinkingBlock`. As in all of LlamaIndex,
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

    # A refused setting's error would otherwise show the others, `env` among them.
    model_config = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True
    )

    model: str
    """The model's name exactly as `docker model run` takes it."""

    stop: str | Sequence[str] = ()
    """Stop sequences: the earliest match ends the answer and is not part of it."""

    max_chars: int | None = None
    """Ends the answer after so many characters (`finish_reason` is then `"length"`)."""

    timeout: Timeouts | float | None = Timeouts()
    """Seconds for each phase of a call; a plain number is for the whole call."""

    max_concurrency: int = 8
    """Runs at once in this process, over all models with the same command and `env`."""

    pull: PullPolicy = "never"
    """What to do about a missing model: `"never"` raises, `"missing"` pulls it first."""

    on_progress: Callable[[PullProgress], object] | None = Field(
        default=None, repr=False, exclude=True
    )
    """Called with the steps of a pull."""

    file_references: FileReferences = "escape"
    """What to do about local files that the prompt names, and that the CLI would send along."""

    standby: int = 0
    """Started `docker model run` processes that are kept waiting for a prompt."""

    command: str | Sequence[str] | None = None
    """The command in place of `docker model`, such as `("docker", "-c", "gpu", "model")`."""

    env: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Environment variables laid over the caller's; never shown, traced or put into `to_dict`."""

    context_window: int = Field(default=_ENGINE_CONTEXT, gt=0)
    """Tokens that prompt and answer may have together; LlamaIndex packs prompts to fit.

    The default is the engine's own. `docker_model.inspect_model(name).context_size` is the size
    that a model was packaged with, `docker model configure --context-size` sets another.
    """

    num_output: int = DEFAULT_NUM_OUTPUTS
    """Tokens that LlamaIndex leaves for the answer when it packs a prompt."""

    is_chat_model: bool = True
    """Whether LlamaIndex words its prompts as chats; every model here has a chat template."""

    is_function_calling_model: bool = False
    """`False`: the CLI sends no tools. Agents take their text form, `ReActAgent`."""

    if not TYPE_CHECKING:  # type checkers make the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            # Not a validator: pydantic would turn this error into its own.
            refuse_unsupported(settings)
            if settings.get("is_function_calling_model"):
                msg = "`docker model run` has no way to send tools to a model"
                hint = "leave is_function_calling_model out; ReActAgent works without"
                raise UnsupportedParameterError(msg, hint=hint)
            super().__init__(**settings)

    @model_validator(mode="after")
    def _check_docker_model_settings(self) -> Self:
        self._docker_model({})
        return self

    @classmethod
    def class_name(cls) -> str:
        """The name under which `to_dict` writes this class."""
        return "DockerModelLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex asks before each call; from the fields alone, starts nothing."""
        return LLMMetadata(
            context_window=self.context_window,
            num_output=self.num_output,
            is_chat_model=self.is_chat_model,
            is_function_calling_model=self.is_function_calling_model,
            model_name=self.model,
        )

    def to_payload(self) -> dict[str, Any]:
        """What observability sees; tracers look for `model`, which core leaves out."""
        return {
            "class_name": self.class_name(),
            **self.metadata.model_dump(),
            "model": self.model,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Pickle, and tell of the functions that core drops from the state.

        The other end would use the defaults in their place, and answer differently. Core
        drops them from the live object too, whose own dictionary it takes for the state;
        so it gets a copy.
        """
        state: dict[str, Any] = super(DockerModelLLM, self.model_copy()).__getstate__()
        lost = sorted(self.__dict__.keys() - state["__dict__"].keys() - {"callback_manager"})
        if lost:
            warnings.warn(
                f"{', '.join(lost)} cannot be pickled, and the copy will be without: "
                "use functions and classes from a module's top level",
                stacklevel=2,
            )
        return state

    # --- The models behind the command ---

    @staticmethod
    def list_models(
        *, command: str | Sequence[str] | None = None, env: Mapping[str, str] | None = None
    ) -> list[ModelInfo]:
        """The models that can be used without a pull."""
        return docker_model.list_models(command=command, env=env)

    @staticmethod
    async def alist_models(
        *, command: str | Sequence[str] | None = None, env: Mapping[str, str] | None = None
    ) -> list[ModelInfo]:
        """The models that can be used without a pull."""
        return await docker_model.alist_models(command=command, env=env)

    def warm_up(self) -> None:
        """Load the model and fill the standby, so that the first answer comes soon."""
        self._docker_model({}).warm_up()

    async def awarm_up(self) -> None:
        """Load the model and fill the standby, so that the first answer comes soon."""
        await self._docker_model({}).awarm_up()

    def close(self) -> None:
        """End the processes in standby; the model stays usable."""
        self._docker_model({}).close()

    async def aclose(self) -> None:
        """End the processes in standby; the model stays usable."""
        await self._docker_model({}).aclose()

    # --- The eight ways to ask. Each says what; `_calls` asks, and emits the events. ---

    @completions.answer
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Question:  # noqa: FBT001, FBT002  core's
        """Answer a prompt.

        Args:
            prompt: What the model is to read.
            formatted: Whether `completion_to_prompt` has been applied to it.
            kwargs: Settings for this call, such as `stop`.

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
            messages: The chat so far: text alone.
            kwargs: Settings for this call, such as `stop`.

        Returns:
            A `ChatResponse` whose message holds the reasoning, where there is any, and the text.

        Raises:
            InvalidRequestError: Images and other blocks that are not text, or no text at all.
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

    # --- Tools, by text ---

    def predict_and_call(
        self,
        tools: list[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: FBT001, FBT002  core's
        **kwargs: Any,
    ) -> AgentChatResponse:
        """Let the model pick a tool and call it, through a step of a ReAct agent.

        Core turns every error of that step into the text of an answer.
        """
        kwargs = _with_react_defaults(kwargs)
        return super().predict_and_call(tools, user_msg, chat_history, verbose, **kwargs)

    async def apredict_and_call(
        self,
        tools: list[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: FBT001, FBT002  core's
        **kwargs: Any,
    ) -> AgentChatResponse:
        """The same, awaited."""
        kwargs = _with_react_defaults(kwargs)
        return await super().apredict_and_call(tools, user_msg, chat_history, verbose, **kwargs)

    # --- From core's words to `docker_model`'s ---

    def _completion(self, prompt: str, settings: Mapping[str, Any], *, formatted: bool) -> Question:
        if self.completion_to_prompt is not None and not formatted:
            prompt = self.completion_to_prompt(prompt)
        return Question(self._docker_model(settings), prompt)

    def _chat(self, messages: Sequence[ChatMessage], settings: Mapping[str, Any]) -> Question:
        prompt = chat_prompt(messages, self.messages_to_prompt)
        return Question(self._docker_model(settings), prompt)

    def _docker_model(self, settings: Mapping[str, Any]) -> DockerModel:
        """Make the model from the fields, which are assignable; it costs microseconds."""
        check_call(settings)
        own = {name: getattr(self, name) for name in SETTINGS}
        return docker_model.DockerModel(**{**own, **settings})


def _with_react_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Core passes on `None` for a formatter or parser that is not given, and then refuses it."""
    from llama_index.core.agent.react import ReActChatFormatter, ReActOutputParser  # noqa: PLC0415  slow: the agents' whole package

    return {
        "react_chat_formatter": ReActChatFormatter(),
        "output_parser": ReActOutputParser(),
        **settings,
    }
