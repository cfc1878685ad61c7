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

# The engine's default context size, for models without a packaged or configured one.
_ENGINE_CONTEXT = 4096
# Room for the tokens of the chat template: SmolLM2's adds 30, with its own system message.
_TEMPLATE_TOKENS = 64


class DockerModelLLM(FromEnv, ChecksValues, FunctionCallingLLM):
    """A local model of Docker Model Runner, over the CLI or the HTTP API.

    The settings are those of `docker_model.DockerModel`, with the same defaults. A call also
    accepts most of them, which then override the model's own, such as
    `llm.complete(prompt, max_chars=200)`. Settings that a call does not accept are an error.

    By default, the class uses `docker model run`. It uses the runner's HTTP API instead if a
    feature requires it: a parameter such as `temperature`, tools
    (`is_function_calling_model=True`), a `response_format`, images, an address or an API key.
    The class finds the API without configuration. Settings that the transport does not support
    are an error.

    Constructing a model starts no process and sends no request. A model can be pickled and used
    from any thread and event loop. The errors are in `docker_model.errors`. Closing a stream
    early stops the model. Over the CLI, `messages_to_prompt` converts a chat to one prompt.
    Answers contain the reasoning as a `ThinkingBlock`. As elsewhere in LlamaIndex, `predict` and
    `stream` use `system_prompt`; `complete` and `chat` do not.

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

    # Otherwise a validation error would show all settings, including `env`.
    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    model: str
    """The model's name, exactly as `docker model run` accepts it."""

    stop: str | Sequence[str] | None = ()
    """Stop sequences: the earliest match ends the answer and is not part of it."""

    max_chars: int | None = None
    """CLI only: maximum length of the answer in characters (`finish_reason="length"`)."""

    timeout: Timeouts | float | None = Timeouts()
    """Seconds for each phase of a call; a plain number limits the whole call."""

    max_concurrency: int = 8
    """Maximum concurrent runs in this process, shared by models with the same command and `env`."""

    pull: PullPolicy = "never"
    """What to do if the model is missing: `"never"` raises an error, `"missing"` pulls it first."""

    on_progress: Callable[[Progress], object] | None = Field(default=None, repr=False, exclude=True)
    """Function called with the `Progress` of each call, such as `print`; it must not block."""

    file_references: FileReferences = "escape"
    """What to do if the prompt names local files, which the CLI would read and send."""

    standby: int = 0
    """CLI only: number of started `docker model run` processes that wait for a prompt."""

    command: str | Sequence[str] | None = None
    """The command to run instead of `docker model`, such as `("docker", "-c", "gpu", "model")`."""

    env: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Extra environment variables; never shown, traced or part of `to_dict`."""

    transport: Literal["cli", "http"] | None = None
    """`"cli"`, `"http"`, or `None`: the CLI, unless a setting or a message requires HTTP."""

    base_url: str | None = None
    """Address of the HTTP API; by default the class finds the runner."""

    api_key: str | None = Field(default=None, repr=False, exclude=True)
    """API key; sent only to an address that you set, never shown, traced or part of `to_dict`."""

    headers: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """HTTP headers; sent only to an address that you set, never shown or traced."""

    max_retries: int = 2
    """HTTP only: how often to retry a request if no part of an answer was received."""

    temperature: float | None = None
    """HTTP: randomness of the answer; 0 always selects the most likely token."""

    max_tokens: int | None = None
    """HTTP: maximum length of the answer in tokens, including the reasoning."""

    top_p: float | None = None
    """HTTP: sample only from the most likely tokens that together have this probability."""

    top_k: int | None = None
    """HTTP: sample only from this number of most likely tokens."""

    min_p: float | None = None
    """HTTP: sample only from tokens with at least this probability, relative to the most likely."""

    seed: int | None = None
    """HTTP: seed for sampling; the same request repeats the answer, if the engine supports it."""

    repeat_penalty: float | None = None
    """HTTP: values above 1 make repetitions less likely."""

    presence_penalty: float | None = None
    """HTTP: values above 0 make tokens that already occurred less likely."""

    frequency_penalty: float | None = None
    """HTTP: values above 0 make tokens less likely each time they occur."""

    reasoning_effort: str | None = None
    """HTTP: level of reasoning, for models that support levels, such as `"low"`."""

    chat_template_kwargs: dict[str, Any] | None = None
    """HTTP: variables for the model's chat template, such as `{"enable_thinking": False}`."""

    response_format: dict[str, Any] | None = None
    """HTTP: OpenAI's object with a JSON schema that the engine enforces."""

    extra_body: dict[str, Any] | None = None
    """HTTP: other parameters of the engine, added to the request unchanged."""

    tool_calling: Literal["auto", "native", "schema"] = "auto"
    """How tools are called: by the engine, or by a JSON schema, which works with any model.

    `"auto"` uses the engine if the model's chat template shows the tools and the request has no
    requirement that the engine does not enforce. Over the CLI, `"schema"` only describes tools
    and schemas in the prompt, and an invalid answer is an error.
    """

    thinking: bool | Literal["low", "medium", "high"] | int | None = None
    """HTTP: whether the model thinks, at which level, or for how many tokens."""

    context_size: int | None = None
    """HTTP: context size in tokens, configured once before the first call."""

    keep_alive: float | timedelta | str | None = None
    """HTTP: time an idle model stays loaded: seconds, a `timedelta`, `"5m"`, or `"-1"` (always)."""

    overflow: Literal["error", "trim"] = "error"
    """HTTP: what to do if a chat is too long: raise an error, or remove the oldest turns."""

    when_full: Literal["error", "unload"] = "error"
    """HTTP: if the runner is out of memory, raise an error, or unload the longest idle model."""

    context_window: int | None = Field(default=None, gt=0)
    """Maximum tokens of prompt and answer together; LlamaIndex packs prompts to fit.

    `None` uses `context_size`, or the model's own context size if it is known from `warm_up`, a
    call or `docker_model.inspect_model`, or 4096.
    """

    num_output: int | None = Field(default=None, gt=0)
    """Tokens that LlamaIndex leaves free when it packs a prompt.

    `None` leaves room for the answer, and for the tokens of the chat template, which LlamaIndex
    does not count. The room for the answer is `max_tokens`, at most half of the window. Without
    `max_tokens` it is 256, at most a quarter. The template has 64 tokens, at most an eighth.
    """

    is_chat_model: bool = True
    """Whether LlamaIndex uses its chat prompts; these models have a chat template."""

    is_function_calling_model: bool | None = None
    """Whether LlamaIndex sends tools; `None`: only over HTTP. `True` selects HTTP.

    Over the CLI, use the text-based `ReActAgent`.
    """

    if not TYPE_CHECKING:  # type checkers derive the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            # Not in a validator, where pydantic would turn these errors into a `ValidationError`.
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
        """The properties that LlamaIndex reads before each call, without a process or a request."""
        over_http = transport_of(self.__dict__) == "http"
        supports_tools = over_http or by_prompt(self.__dict__)
        window = self.context_window or self.context_size or self._known_window(over_http)
        answer = min(DEFAULT_NUM_OUTPUTS, window // 4)
        if self.max_tokens is not None and self.max_tokens > 0:
            answer = min(self.max_tokens, window // 2)
        return LLMMetadata(
            context_window=window,
            num_output=self.num_output or answer + min(_TEMPLATE_TOKENS, window // 8),
            is_chat_model=self.is_chat_model,
            is_function_calling_model=supports_tools
            and self.is_function_calling_model is not False,
            model_name=self.model,
        )

    def _known_window(self, over_http: bool) -> int:
        """Return the model's context size if this process knows it, else the engine's default."""
        info = known_model(
            self.model,
            command=self.command,
            env=self.env,
            transport=None if over_http else "cli",
            base_url=self.base_url,
        )
        return (info.context_size if info else None) or _ENGINE_CONTEXT

    def to_payload(self) -> dict[str, Any]:
        """Return the fields for observability tools, including `model`, which tracers expect."""
        return {
            "class_name": self.class_name(),
            **self.metadata.model_dump(),
            "model": self.model,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, and warn about functions that core removes from it."""
        # Core also removes them from the live object, so the state is taken from a copy.
        state: dict[str, Any] = super(DockerModelLLM, self.model_copy()).__getstate__()
        lost = sorted(self.__dict__.keys() - state["__dict__"].keys() - {"callback_manager"})
        if lost:
            warnings.warn(
                f"{', '.join(lost)} cannot be pickled, so the copy will not have it: "
                "use functions and classes that are defined at the top level of a module",
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
        """List the models that can be used without a pull."""
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
        """List the models that can be used without a pull."""
        return await docker_model.alist_models(
            command=command, env=env, transport=transport, base_url=base_url
        )

    def warm_up(self) -> None:
        """Load the model, start the standby processes, and learn the model's context size."""
        merged = self._merged({})
        if merged.transport == "http":
            client = merged.client()
            client.configure_once(self.model, **merged.configuration())
            client.preload_model(self.model)
        else:
            merged.docker_model(self).warm_up()

    async def awarm_up(self) -> None:
        """Load the model, start the standby processes, and learn the model's context size."""
        merged = self._merged({})
        if merged.transport == "http":
            client = merged.client()
            await client.aconfigure_once(self.model, **merged.configuration())
            await client.apreload_model(self.model)
        else:
            await merged.docker_model(self).awarm_up()

    def close(self) -> None:
        """Stop the standby processes; the model stays usable."""
        # Not `_merged`, which raises an error for invalid fields that were assigned later.
        MergedSettings(self.__dict__, "cli").docker_model(self).close()

    async def aclose(self) -> None:
        """Stop the standby processes; the model stays usable."""
        self.close()

    # --- Tokens ---

    @property
    def tokenizer(self) -> ModelTokenizer:
        """The model's own tokenizer, for LlamaIndex's helpers that accept one.

        Examples are `PromptHelper(tokenizer=llm.tokenizer)`, `Settings.tokenizer = llm.tokenizer`
        and `Memory.from_defaults(tokenizer_fn=llm.tokenizer)`. Each new text is one request to
        the runner.
        """
        return ModelTokenizer(self._counting_client(), self.model)

    def get_num_tokens(self, text: str) -> int:
        """Count the tokens of a text, without those of the chat template.

        Raises:
            UnsupportedParameterError: If `transport` is `"cli"`, which cannot count.
        """
        return self.tokenizer.count(text)

    def get_num_tokens_from_messages(
        self, messages: Sequence[ChatMessage], tools: Sequence[BaseTool] | None = None
    ) -> int:
        """Count the tokens of a chat and its tools exactly as the engine does.

        Raises:
            UnsupportedParameterError: If `transport` is `"cli"`, which cannot count.
        """
        client = self._counting_client()
        return client.count_tokens(self.model, openai_messages(messages), ToolList(tools))

    def _counting_client(self) -> Client:
        if self.transport == "cli":
            msg = "`docker model` has no command that counts tokens"
            hint = "leave out transport='cli': the HTTP API can count them"
            raise UnsupportedParameterError(msg, hint=hint)
        return client_of(self.__dict__)

    # --- LlamaIndex's eight methods; `_methods` runs the backend and emits the events ---

    @completion_methods.whole
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Backend:
        """Answer a prompt.

        Args:
            prompt: The prompt.
            formatted: Whether `completion_to_prompt` was already applied to the prompt.
            kwargs: Settings for this call, such as `stop` or, over HTTP, `temperature`.

        Returns:
            A `CompletionResponse`. Its `raw` has `model`, `finish_reason` and, if known,
            `reasoning` and `usage`.

        Raises:
            DockerModelError: If the call fails; `docker_model.errors` has a class per cause.
        """
        return self._completion(prompt, kwargs, formatted=formatted)

    @completion_methods.whole_async
    def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Backend:
        """Answer a prompt, awaited; cancelling the call stops the model."""
        return self._completion(prompt, kwargs, formatted=formatted)

    @completion_methods.stream
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Backend:
        """Stream the answer to a prompt.

        Returns:
            A generator of `CompletionResponse`: `delta` is the new text, `text` all text so far.
            The reasoning is streamed first, as `additional_kwargs["thinking_delta"]`. `usage` is
            in the `raw` of the last response. The model starts on the first iteration.
        """
        return self._completion(prompt, kwargs, formatted=formatted)

    @completion_methods.stream_async
    def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Backend:
        """Stream the answer to a prompt: await the call, then use `async for`."""
        return self._completion(prompt, kwargs, formatted=formatted)

    @chat_methods.whole
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Backend:
        """Answer a chat.

        Args:
            messages: The messages of the chat; images and other media require HTTP.
            kwargs: Settings for this call, such as `stop` or, over HTTP, `temperature`.

        Returns:
            A `ChatResponse`. Its message contains the reasoning, if there is any, and the text.

        Raises:
            InvalidRequestError: If the transport cannot send a block, or the chat is empty.
            DockerModelError: If the call fails; `docker_model.errors` has a class per cause.
        """
        return self._chat(messages, kwargs)

    @chat_methods.whole_async
    def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Backend:
        """Answer a chat, awaited; cancelling the call stops the model."""
        return self._chat(messages, kwargs)

    @chat_methods.stream
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Backend:
        """Stream the answer to a chat as `ChatResponse` objects, as `stream_complete` does."""
        return self._chat(messages, kwargs)

    @chat_methods.stream_async
    def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Backend:
        """Stream the answer to a chat: await the call, then use `async for`."""
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

    def _prepare_chat_with_tools(  # noqa: PLR0917  core's signature
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
        """Return the tool calls in an answer, or in the part of a stream received so far.

        A tool must not run with invalid arguments. Agents pass `error_on_no_tool_call=False`. In
        that case, an invalid call gets a name that no tool has: the agent reports this to the
        model, which can try again.

        Args:
            response: The answer; in a stream, arguments can be incomplete.
            error_on_no_tool_call: Whether an answer without valid calls is an error.
            kwargs: Other arguments from core; ignored.

        Raises:
            ValueError: If there are no calls.
            GenerationError: If a call names an unknown tool, or its arguments are invalid.
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
        """Let the model select a tool, and call it.

        Over the CLI this is one step of a ReAct agent. Core converts every error of that step to
        the text of an answer.
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
        """Let the model select a tool, and call it, awaited."""
        kwargs = for_one_step(kwargs, native=self.metadata.is_function_calling_model)
        return await super().apredict_and_call(tools, user_msg, chat_history, *args, **kwargs)

    # --- Structured output; over HTTP the engine enforces the schema, with any model ---

    def structured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> BaseModel:
        """Answer with an `output_cls` object, over HTTP; the engine enforces its schema.

        If the answer does not validate, the model is asked once more, with the errors. This also
        works over the CLI with `tool_calling="schema"`, where the schema is not enforced.
        `pydantic_program_mode="function"` uses the class as a tool instead.

        Raises:
            GenerationError: If the answer was cut off, or if it is invalid over the CLI.
            ValueError: If the second answer is also invalid.
        """
        if not self._uses_schema(llm_kwargs):
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
        """Answer with an `output_cls` object, awaited."""
        if not self._uses_schema(llm_kwargs):
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
        """Stream growing `output_cls` objects; the last one is complete and valid.

        The earlier objects have a class from core, in which every field can be `None`.
        """
        if not self._uses_schema(llm_kwargs):
            return super().stream_structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
        return ObjectRequest.of(self, output_cls, prompt, llm_kwargs, prompt_args).stream()

    async def astream_structured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[BaseModel, None]:
        """Stream growing objects: await the call, then use `async for`."""
        if not self._uses_schema(llm_kwargs):
            return await super().astream_structured_predict(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
        return ObjectRequest.of(self, output_cls, prompt, llm_kwargs, prompt_args).stream_async()

    def _uses_schema(self, call: Mapping[str, Any] | None) -> bool:
        enforces = self._merged(call or {}).enforces_schema
        return enforces and self.pydantic_program_mode is not PydanticProgramMode.FUNCTION
