"""`DockerModelLLM`: a local model of Docker Model Runner as a LlamaIndex LLM."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

from llama_index.core.bridge.pydantic import ConfigDict, Field, model_validator
from llama_index.core.constants import DEFAULT_NUM_OUTPUTS
from llama_index.core.llms import ChatMessage, LLMMetadata, MessageRole
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.types import PydanticProgramMode

import docker_model
from docker_model.env import FromEnv
from docker_model.errors import UnsupportedParameterError
from docker_model.management import known_model
from docker_model.options import FileReferences, PullPolicy, Timeouts
from docker_model.types import ModelInfo, Progress
from llama_index_docker_model._backends import CliBackend, HttpBackend, cli_backend
from llama_index_docker_model._messages import needs_http, openai_messages
from llama_index_docker_model._methods import chat_methods, completion_methods
from llama_index_docker_model._settings import (
    ChecksValues,
    MergedSettings,
    by_prompt,
    check_names,
    client_of,
    names_for_http,
    refuse_over_cli,
    transport_of,
)
from llama_index_docker_model._structured import ObjectRequest
from llama_index_docker_model._tokens import ModelTokenizer
from llama_index_docker_model._tools import (
    ToolList,
    chat_with_tools,
    first_call_only,
    for_one_step,
    selections,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping
    from typing import Self

    from llama_index.core.base.llms.types import ChatResponse
    from llama_index.core.bridge.pydantic import BaseModel
    from llama_index.core.chat_engine.types import AgentChatResponse
    from llama_index.core.llms.llm import ToolSelection
    from llama_index.core.prompts import PromptTemplate
    from llama_index.core.tools import BaseTool

    from docker_model.http.client import Client
    from llama_index_docker_model._backends import Backend

__all__ = ["DockerModelLLM"]

# The engine's own size, for a model that was neither packaged nor configured with one.
_ENGINE_CONTEXT = 4096
# More than chat templates add to one message: SmolLM2's adds 30, with its own system message.
_TEMPLATE_TOKENS = 64


class DockerModelLLM(FromEnv, ChecksValues, FunctionCallingLLM):
    """A local model of Docker Model Runner, over its command or its HTTP API.

    The settings are those of `docker_model.DockerModel`, with its defaults. All but `env` and
    `on_progress` may also be given to a single call (`llm.complete(prompt, max_chars=200)`),
    where they take the place of the model's own.

    The model is asked through `docker model run`, unless there is something that only the
    runner's HTTP API can do: a parameter such as `temperature`, tools
    (`is_function_calling_model=True`), a `response_format`, images, an address or a key. The
    API is then found by itself. What the `transport` cannot honor raises an error.

    Constructing a model starts nothing. It pickles, and works from any thread and event loop.
    Errors are those of `docker_model.errors`. Leaving a stream early ends the model's work.

    Over the CLI a chat becomes one prompt by `messages_to_prompt`. Answers carry the reasoning
    as a `ThinkingBlock`. As in all of LlamaIndex, `system_prompt` is used by `predict` and
    `stream`, not by `complete` and `chat`.

    Setup:
        ```bash
        docker model pull ai/smollm2
        pip install "docker-model-llm[llama-index]"
        ```

    Complete, stream, and await:
        ```python
        from llama_index_docker_model import DockerModelLLM

        llm = DockerModelLLM(model="ai/smollm2", max_chars=2000)
        print(llm.complete("What is Docker Model Runner?"))

        for chunk in llm.stream_complete("Explain containers."):
            print(chunk.delta, end="", flush=True)

        print(await llm.acomplete("What is a container?"))
        ```

    Chat, with parameters of the API:
        ```python
        from llama_index.core.llms import ChatMessage

        chat = DockerModelLLM(model="ai/smollm2", temperature=0.2, max_tokens=200)
        print(chat.chat([ChatMessage("Hello!", role="user")]).message.content)
        ```

    Objects, on any model:
        ```python
        from llama_index.core.prompts import PromptTemplate
        from pydantic import BaseModel


        class City(BaseModel):
            name: str


        city = chat.structured_predict(City, PromptTemplate("Name a city."))
        ```

    Tools, on any model:
        ```python
        from llama_index.core.agent.workflow import FunctionAgent


        def add(a: int, b: int) -> int:
            '''Add two numbers.'''
            return a + b


        agent = FunctionAgent(tools=[add], llm=chat)
        print(await agent.run("What is 2 + 2?"))
        ```
    """

    # The error of a refused setting would otherwise show the others, `env` among them.
    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    model: str
    """The model's name, exactly as `docker model run` takes it."""

    stop: str | Sequence[str] | None = ()
    """Stop sequences: the earliest match ends the answer and is not part of it."""

    max_chars: int | None = None
    """Ends the answer after so many characters (`finish_reason` is then `"length"`)."""

    timeout: Timeouts | float | None = Timeouts()
    """Seconds for each phase of a call; a plain number is for the whole call."""

    max_concurrency: int = 8
    """Runs at once in this process, over all models with the same command and `env`."""

    pull: PullPolicy = "never"
    """What to do about a missing model: `"never"` raises, `"missing"` pulls it first."""

    on_progress: Callable[[Progress], object] | None = Field(default=None, repr=False, exclude=True)
    """Called with the `Progress` of each call, such as `print`; it must not block."""

    file_references: FileReferences = "escape"
    """What to do about local files that the prompt names, and that the CLI would send along."""

    standby: int = 0
    """Started `docker model run` processes that are kept waiting for a prompt."""

    command: str | Sequence[str] | None = None
    """The command in place of `docker model`, such as `("docker", "-c", "gpu", "model")`."""

    env: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Environment variables laid over the caller's; never shown, traced or put into `to_dict`."""

    transport: Literal["cli", "http"] | None = None
    """How the model is asked; `None`: over the CLI, unless only HTTP can do what is asked."""

    base_url: str | None = None
    """The runner's address for HTTP; `None`: it is found."""

    api_key: str | None = Field(default=None, repr=False, exclude=True)
    """Sent only to an address that you have named; never shown, traced or put into `to_dict`."""

    headers: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """HTTP headers, sent only to an address that you have named; never shown or traced."""

    max_retries: int = 2
    """HTTP: further attempts where nothing was received and the next may succeed."""

    temperature: float | None = None
    """HTTP: how much the choice of words varies; `None` leaves it to the engine."""

    max_tokens: int | None = None
    """HTTP: ends the answer after so many tokens, reasoning included."""

    top_p: float | None = None
    """HTTP: chooses among the likeliest tokens that have this probability together."""

    top_k: int | None = None
    """HTTP: chooses among so many of the likeliest tokens."""

    min_p: float | None = None
    """HTTP: leaves out tokens below this part of the likeliest token's probability."""

    seed: int | None = None
    """HTTP: makes the same request give the same answer, where the engine can."""

    repeat_penalty: float | None = None
    """HTTP: above 1, makes repetitions less likely."""

    presence_penalty: float | None = None
    """HTTP: above 0, makes tokens less likely that have occurred."""

    frequency_penalty: float | None = None
    """HTTP: above 0, makes tokens less likely the more often they have occurred."""

    reasoning_effort: str | None = None
    """HTTP: how much a model with levels of reasoning thinks, such as `"low"`."""

    chat_template_kwargs: dict[str, Any] | None = None
    """HTTP: variables for the model's chat template, such as `{"enable_thinking": False}`."""

    response_format: dict[str, Any] | None = None
    """HTTP: OpenAI's object with the JSON schema that the answer is held to."""

    extra_body: dict[str, Any] | None = None
    """HTTP: other parameters that the engine knows, sent as they are."""

    tool_calling: Literal["auto", "native", "schema"] = "auto"
    """How tools are called: by the engine, or by a JSON schema, which any model can.

    `"auto"` lets the engine do it where the model's chat template shows the tools, and nothing
    is demanded that the engine does not enforce. Over the CLI, `"schema"` describes tools and
    schemas in the prompt alone; a wrong answer is an error.
    """

    thinking: bool | Literal["low", "medium", "high"] | int | None = None
    """HTTP: whether the model thinks, at which level, or for how many tokens."""

    context_size: int | None = None
    """HTTP: the window that the model is configured with, once, before the first call."""

    keep_alive: float | timedelta | str | None = None
    """HTTP: how long the model stays loaded: seconds, or Docker's words; `"-1"` is for good."""

    overflow: Literal["error", "trim"] = "error"
    """HTTP: what to do about a chat that is too long: raise, or leave out the oldest turns."""

    when_full: Literal["error", "unload"] = "error"
    """HTTP: what to do when the runner has no room: raise, or unload the longest idle model."""

    context_window: int | None = Field(default=None, gt=0)
    """Tokens that prompt and answer may have together; LlamaIndex packs prompts to fit.

    `None` is `context_size`, else the model's own window once it is known, by `warm_up`, a call
    or `docker_model.inspect_model`, and 4096 before.
    """

    num_output: int | None = Field(default=None, gt=0)
    """Tokens that LlamaIndex leaves free when it packs a prompt.

    `None` is room for the answer and for what the chat template adds, which LlamaIndex does not
    count. The answer's is `max_tokens`, up to half the window, else 256, up to a quarter of it.
    The template's is 64, up to an eighth of the window.
    """

    is_chat_model: bool = True
    """Whether LlamaIndex words its prompts as chats; every model here has a chat template."""

    is_function_calling_model: bool | None = None
    """Whether LlamaIndex sends tools; `None`: over HTTP it does.

    Over the CLI, agents take their text form, `ReActAgent`. `True` makes HTTP the transport.
    """

    if not TYPE_CHECKING:  # type checkers make the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            # Not a validator: pydantic would turn these errors into its own.
            refuse_over_cli(settings)
            super().__init__(**settings)
            merged = self._merged({})
            if merged.transport == "http":
                merged.refuse_over_http()

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, settings: dict[str, Any]) -> dict[str, Any]:
        return check_names(cls, settings)

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        merged = MergedSettings(self.__dict__, "cli")
        merged.docker_model(self)
        merged.client()
        return self

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which `to_dict` writes this class."""
        return "DockerModelLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex asks before each call: no process and no request is started."""
        over_http = transport_of(self.__dict__) == "http"
        takes_tools = over_http or by_prompt(self.__dict__)
        window = self.context_window or self.context_size or self._known_window(over_http)
        answer = min(DEFAULT_NUM_OUTPUTS, window // 4)
        if self.max_tokens is not None and self.max_tokens > 0:
            answer = min(self.max_tokens, window // 2)
        return LLMMetadata(
            context_window=window,
            num_output=self.num_output or answer + min(_TEMPLATE_TOKENS, window // 8),
            is_chat_model=self.is_chat_model,
            is_function_calling_model=takes_tools and self.is_function_calling_model is not False,
            model_name=self.model,
        )

    def _known_window(self, over_http: bool) -> int:
        """Return the window that this process has learned of, else the engine's own."""
        info = known_model(
            self.model,
            command=self.command,
            env=self.env,
            transport=None if over_http else "cli",
            base_url=self.base_url,
        )
        return (info.context_size if info else None) or _ENGINE_CONTEXT

    def to_payload(self) -> dict[str, Any]:
        """Return what observability sees, with `model`, which tracers look for."""
        return {
            "class_name": self.class_name(),
            **self.metadata.model_dump(),
            "model": self.model,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, and warn about functions that core drops from it."""
        # Core drops them from the live object too, whose dictionary is the state: hence a copy.
        state: dict[str, Any] = super(DockerModelLLM, self.model_copy()).__getstate__()
        lost = sorted(self.__dict__.keys() - state["__dict__"].keys() - {"callback_manager"})
        if lost:
            warnings.warn(
                f"{', '.join(lost)} cannot be pickled, and the copy will be without: "
                "use functions and classes from a module's top level",
                stacklevel=2,
            )
        return state

    # --- Management ---

    @staticmethod
    def list_models(
        *,
        command: str | Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        transport: Literal["cli", "http"] | None = None,
        base_url: str | None = None,
    ) -> list[ModelInfo]:
        """Return the models that can be used without a pull."""
        return docker_model.list_models(
            command=command, env=env, transport=transport, base_url=base_url
        )

    @staticmethod
    async def alist_models(
        *,
        command: str | Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        transport: Literal["cli", "http"] | None = None,
        base_url: str | None = None,
    ) -> list[ModelInfo]:
        """Return the models that can be used without a pull."""
        return await docker_model.alist_models(
            command=command, env=env, transport=transport, base_url=base_url
        )

    def warm_up(self) -> None:
        """Load the model and fill the standby, and learn the model's window."""
        merged = self._merged({})
        if merged.transport == "http":
            client = merged.client()
            client.configure_once(self.model, **merged.configuration())
            client.preload_model(self.model)
        else:
            merged.docker_model(self).warm_up()

    async def awarm_up(self) -> None:
        """Load the model and fill the standby, and learn the model's window."""
        merged = self._merged({})
        if merged.transport == "http":
            client = merged.client()
            await client.aconfigure_once(self.model, **merged.configuration())
            await client.apreload_model(self.model)
        else:
            await merged.docker_model(self).awarm_up()

    def close(self) -> None:
        """End the processes in standby; the model stays usable."""
        # Not `_merged`, which refuses fields that were assigned since the processes started.
        MergedSettings(self.__dict__, "cli").docker_model(self).close()

    async def aclose(self) -> None:
        """End the processes in standby; the model stays usable."""
        self.close()

    # --- Tokens ---

    @property
    def tokenizer(self) -> ModelTokenizer:
        """The model's own tokenizer, for LlamaIndex's helpers that take one.

        Such as `PromptHelper(tokenizer=llm.tokenizer)`, `Settings.tokenizer = llm.tokenizer` or
        `Memory.from_defaults(tokenizer_fn=llm.tokenizer)`. Each new text is one request to the
        runner.
        """
        return ModelTokenizer(self._counting_client(), self.model)

    def get_num_tokens(self, text: str) -> int:
        """Count the tokens of a text, without the chat template around it.

        Raises:
            UnsupportedParameterError: If `transport` is `"cli"`, which cannot count.
        """
        return self.tokenizer.count(text)

    def get_num_tokens_from_messages(
        self, messages: Sequence[ChatMessage], tools: Sequence[BaseTool] | None = None
    ) -> int:
        """Count the tokens of a chat as the engine does, with its chat template and the tools.

        Raises:
            UnsupportedParameterError: If `transport` is `"cli"`, which cannot count.
        """
        client = self._counting_client()
        return client.count_tokens(self.model, openai_messages(messages), ToolList(tools))

    def _counting_client(self) -> Client:
        if self.transport == "cli":
            msg = "`docker model` has no command that counts tokens"
            raise UnsupportedParameterError(msg, hint="leave out transport='cli': HTTP counts them")
        return client_of(self.__dict__)

    # --- LlamaIndex's eight methods. `_methods` runs the backend and emits the events. ---

    @completion_methods.whole
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Backend:
        """Answer a prompt.

        Args:
            prompt: The prompt.
            formatted: Whether `completion_to_prompt` has been applied to it.
            kwargs: Settings for this call, such as `stop` or, over HTTP, `temperature`.

        Returns:
            A `CompletionResponse`; its `raw` has `model`, `finish_reason` and, where there is
            any, `reasoning` and `usage`.

        Raises:
            DockerModelError: If the model gives no answer; `docker_model.errors` has a class
                for each cause.
        """
        return self._completion(prompt, kwargs, formatted=formatted)

    @completion_methods.whole_async
    def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Backend:
        """Answer a prompt, awaited; cancelling the call ends the model's work."""
        return self._completion(prompt, kwargs, formatted=formatted)

    @completion_methods.stream
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Backend:
        """Answer a prompt piece by piece.

        Returns:
            A generator of `CompletionResponse`: `delta` is what is new, `text` all so far.
            Reasoning comes first, as `additional_kwargs["thinking_delta"]`; `usage` comes in
            the `raw` of the last. The model starts when the first is asked for.
        """
        return self._completion(prompt, kwargs, formatted=formatted)

    @completion_methods.stream_async
    def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Backend:
        """Answer a prompt piece by piece, for `async for` over the awaited result."""
        return self._completion(prompt, kwargs, formatted=formatted)

    @chat_methods.whole
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Backend:
        """Answer a chat.

        Args:
            messages: The chat so far; blocks that are not text go over HTTP.
            kwargs: Settings for this call, such as `stop` or, over HTTP, `temperature`.

        Returns:
            A `ChatResponse` whose message holds the reasoning, where there is any, and the text.

        Raises:
            InvalidRequestError: If the transport cannot send a block, or there is no text at all.
            DockerModelError: If the model gives no answer; `docker_model.errors` has a class
                for each cause.
        """
        return self._chat(messages, kwargs)

    @chat_methods.whole_async
    def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Backend:
        """Answer a chat, awaited; cancelling the call ends the model's work."""
        return self._chat(messages, kwargs)

    @chat_methods.stream
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Backend:
        """Answer a chat piece by piece: a generator of `ChatResponse` as for `stream_complete`."""
        return self._chat(messages, kwargs)

    @chat_methods.stream_async
    def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Backend:
        """Answer a chat piece by piece, for `async for` over the awaited result."""
        return self._chat(messages, kwargs)

    def _completion(self, prompt: str, call: Mapping[str, Any], *, formatted: bool) -> Backend:
        if self.completion_to_prompt is not None and not formatted:
            prompt = self.completion_to_prompt(prompt)
        merged = self._merged(call)
        if not names_for_http(merged.values) and merged.transport == "cli":
            return CliBackend(merged.docker_model(self), prompt)
        return self._backend([ChatMessage(prompt, role=MessageRole.USER)], merged)

    def _chat(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> Backend:
        return self._backend(messages, self._merged(call))

    def _backend(self, messages: Sequence[ChatMessage], merged: MergedSettings) -> Backend:
        if merged.transport == "http" or (self.transport is None and needs_http(messages)):
            return HttpBackend.of(messages, merged)
        return cli_backend(merged.docker_model(self), messages, merged, self.messages_to_prompt)

    def _merged(self, call: Mapping[str, Any]) -> MergedSettings:
        return MergedSettings.of(self.__dict__, call)

    # --- Tools ---

    def _prepare_chat_with_tools(  # noqa: PLR0917  core's
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        return chat_with_tools(
            tools,
            user_msg,
            chat_history,
            parallel=allow_parallel_tool_calls,
            required=tool_required,
            settings=kwargs,
        )

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence[BaseTool],
        allow_parallel_tool_calls: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        return response if allow_parallel_tool_calls else first_call_only(response)

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: bool = True,
        **kwargs: Any,
    ) -> list[ToolSelection]:
        """Return the tool calls in an answer, or in a stream so far.

        A call whose arguments the tool does not take must never run it. With
        `error_on_no_tool_call=False`, as agents ask, it therefore gets a name that no tool
        has: the agent reports that to the model, which can try again.

        Args:
            response: The answer; within a stream, arguments may be incomplete.
            error_on_no_tool_call: Whether an answer without valid calls is an error.
            kwargs: Core's; ignored.

        Raises:
            ValueError: If there are no calls.
            GenerationError: If there is no such tool, or its arguments are not valid.
        """
        return selections(response, strict=error_on_no_tool_call)

    def predict_and_call(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> AgentChatResponse:
        """Let the model pick a tool and call it.

        Over the CLI this is a step of a ReAct agent, and core turns every error of that step
        into the text of an answer.
        """
        kwargs = for_one_step(kwargs, native=self.metadata.is_function_calling_model)
        return super().predict_and_call(tools, user_msg, chat_history, *args, **kwargs)

    async def apredict_and_call(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> AgentChatResponse:
        """Let the model pick a tool and call it, awaited."""
        kwargs = for_one_step(kwargs, native=self.metadata.is_function_calling_model)
        return await super().apredict_and_call(tools, user_msg, chat_history, *args, **kwargs)

    # --- Objects. Over HTTP the engine holds the answer to the schema, with any model. ---

    def structured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> BaseModel:
        """Answer with an object of `output_cls`; its schema is shown to the model, and enforced.

        An answer that does not match the class is shown to the model once, with the errors. Over
        the CLI, where nothing enforces the schema, `tool_calling="schema"` does that too.
        `pydantic_program_mode="function"` makes a tool of the class instead.

        Raises:
            GenerationError: If the answer was cut off, or over the CLI is no such object.
            ValueError: If the second answer does not match the class either.
        """
        if not self._takes_schema(llm_kwargs):
            result = super().structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return cast("BaseModel", result)
        return ObjectRequest.of(self, output_cls, prompt, llm_kwargs, prompt_args).predict()

    async def astructured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> BaseModel:
        """Answer with an object of `output_cls`, awaited."""
        if not self._takes_schema(llm_kwargs):
            result = await super().astructured_predict(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
            return cast("BaseModel", result)
        request = ObjectRequest.of(self, output_cls, prompt, llm_kwargs, prompt_args)
        return await request.predict_async()

    def stream_structured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[BaseModel, None, None]:
        """Answer with an object of `output_cls` that grows; the last one is whole and valid.

        The objects before it are of a class of core's in which every field may be `None`.
        """
        if not self._takes_schema(llm_kwargs):
            return super().stream_structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
        return ObjectRequest.of(self, output_cls, prompt, llm_kwargs, prompt_args).stream()

    async def astream_structured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[BaseModel, None]:
        """Answer with an object that grows, for `async for` over the awaited result."""
        if not self._takes_schema(llm_kwargs):
            return await super().astream_structured_predict(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
        return ObjectRequest.of(self, output_cls, prompt, llm_kwargs, prompt_args).stream_async()

    def _takes_schema(self, call: Mapping[str, Any] | None) -> bool:
        takes = self._merged(call or {}).enforces_schema
        return takes and self.pydantic_program_mode is not PydanticProgramMode.FUNCTION
