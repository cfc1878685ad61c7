"""`ChatDockerModel`: a local model of Docker Model Runner as a LangChain chat model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import HumanMessage, convert_to_messages
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, model_validator

import docker_model
from docker_model._version import __version__
from docker_model.client import standby_model_for
from docker_model.http.client import Client
from docker_model.http.thinking import Thinking, check_thinking
from docker_model.http.tools import choice_of
from docker_model.management import known_model
from docker_model.options import FileReferences, PullPolicy, Timeouts, TransportName, WhenFull
from docker_model.types import Progress
from langchain_docker_model import _request, _settings
from langchain_docker_model._backend import CliBackend, HttpBackend
from langchain_docker_model._profile import known_profile_of, profile_of
from langchain_docker_model._progress import SendsProgress
from langchain_docker_model._replies import PROVIDER
from langchain_docker_model._structured import Method, Schema, structured, tool_of
from langchain_docker_model.errors import as_langchain_errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from typing import Self

    from langchain_core.callbacks import (
        AsyncCallbackManagerForLLMRun,
        CallbackManagerForLLMRun,
    )
    from langchain_core.language_models import ModelProfile
    from langchain_core.language_models.base import LangSmithParams, LanguageModelInput
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

    from langchain_docker_model._backend import Backend
    from langchain_docker_model._request import RequestSettings

__all__ = ["ChatDockerModel"]


class ChatDockerModel(_settings.FromEnv, _settings.ListsModels, _settings.TraceRepr, SendsProgress):
    """A local model of Docker Model Runner as a LangChain chat model.

    Setup:
        Enable Docker Model Runner, pull a model, and install the package:

        ```bash
        docker model pull ai/smollm2
        pip install "docker-model-llm[langchain]"
        ```

        Only the model's name is required: the class finds the runner's HTTP API without
        configuration. If it finds no API, it uses `docker model run`. That command has no
        roles, so the conversation is written as one prompt. Parameters, tools, schemas and
        images then raise `UnsupportedParameterError`; with `tool_calling="schema"`, tools and
        schemas are described in the prompt instead.

    Key init args of completions:
        * model: The model's name, such as `ai/smollm2`.
        * temperature, max_tokens, top_p, seed, stop, …: Parameters of the API.
        * tool_calling: `"auto"`, `"native"` or `"schema"`: how tool calls are made.
        * thinking: Whether, or how much, a reasoning model thinks.
        * overflow: `"error"` or `"trim"`: what to do with a conversation that is too long.

    Key init args of the client:
        * base_url, api_key, headers: The API's address; by default the class finds the runner.
        * timeout, max_retries, max_concurrency: Limits for each call.
        * pull: `"missing"` pulls a missing model first.

    A call also accepts the parameters, `model`, `timeout`, `thinking`, `tool_calling`,
    `overflow` and `extra_body`, which then override the model's own. Constructing a model
    starts no process and sends no request. A model can be pickled and used from any thread and
    event loop. Errors are those of `docker_model` and LangChain: `langchain_docker_model.errors`.

    Instantiate:
        ```python
        from langchain_docker_model import ChatDockerModel

        chat = ChatDockerModel(model="ai/smollm2", temperature=0, max_tokens=200)
        ```

    Invoke:
        ```python
        messages = [("system", "Be brief."), ("human", "What is a container?")]
        answer = chat.invoke(messages)
        print(answer.content)
        print(answer.usage_metadata)
        ```

    Stream:
        ```python
        for chunk in chat.stream(messages):
            print(chunk.text, end="", flush=True)
        ```

        Leaving the loop stops the model. The sum of all chunks is the whole message.

    Async:
        ```python
        await chat.ainvoke(messages)

        async for chunk in chat.astream(messages):
            print(chunk.text, end="", flush=True)

        await chat.abatch([messages, messages])
        ```

    Tool calling:
        ```python
        def add(a: int, b: int) -> int:
            \"\"\"Add two numbers.\"\"\"
            return a + b


        answer = chat.bind_tools([add]).invoke("What is 2 plus 3?")
        print(answer.tool_calls)
        ```

        With `tool_calling="auto"`, every model can call tools: if the chat template does not
        show tools, a JSON schema constrains the answer. A call with arguments that are not a
        JSON object is in `invalid_tool_calls`, so no tool runs with it.

    Structured output:
        ```python
        from pydantic import BaseModel


        class City(BaseModel):
            \"\"\"A city.\"\"\"

            name: str
            country: str


        city = chat.with_structured_output(City).invoke("Which city is the capital of Norway?")
        ```

    Reasoning:
        The model's reasoning is a reasoning block in `content_blocks`, never part of the text:

        ```python
        thinker = ChatDockerModel(model="ai/qwen3", thinking=True)
        for block in thinker.invoke("What is 17 times 4?").content_blocks:
            print(block["type"])
        ```

    Image input:
        ```python
        from langchain_core.messages import HumanMessage

        image = {"type": "image", "base64": encoded, "mime_type": "image/png"}
        question = {"type": "text", "text": "What is in this picture?"}
        ChatDockerModel(model="ai/gemma3").invoke([HumanMessage([question, image])])
        ```

    Token usage:
        `usage_metadata` has the token counts of each answer, streamed or not.
        `get_num_tokens_from_messages` counts tokens exactly as the engine does:

        ```python
        chat.get_num_tokens_from_messages(messages, tools=[add])
        ```

    Response metadata:
        `response_metadata` has `model_name`, `finish_reason` and the engine's `timings`. It
        also has `tool_calling` if there were tools, and `trimmed` if messages were removed.
    """

    # Otherwise a validation error would show all settings, including the API key.
    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    model: str
    """The model's name, such as `ai/smollm2`."""

    # --- Parameters of the API, with the API's names ---

    temperature: float | None = None
    """Randomness of the answer; 0 always selects the most likely token."""

    max_tokens: int | None = None
    """Maximum length of the answer in tokens; at the limit, `finish_reason` is `"length"`."""

    top_p: float | None = None
    """Sample only from the most likely tokens that together have this probability."""

    stop: str | Sequence[str] | None = None
    """Stop sequences: the first match ends the answer and is not part of it."""

    seed: int | None = None
    """Seed for sampling: the same request repeats the answer, if the engine supports it."""

    top_k: int | None = None
    """Sample only from this number of most likely tokens."""

    min_p: float | None = None
    """Sample only from tokens with at least this probability, relative to the most likely one."""

    repeat_penalty: float | None = None
    """Make tokens that already occurred less likely; 1 has no effect."""

    presence_penalty: float | None = None
    """Make tokens that already occurred less likely; 0 has no effect."""

    frequency_penalty: float | None = None
    """Make tokens less likely each time they occur; 0 has no effect."""

    logit_bias: dict[str, float] | None = None
    """Make single tokens more or less likely, by token id."""

    logprobs: bool | None = None
    """Whether to return each token's log probability, in `response_metadata["logprobs"]`."""

    top_logprobs: int | None = None
    """Number of the most likely alternatives to return for each token."""

    n: int | None = None
    """Number of answers to a prompt; only `generate` supports more than one."""

    response_format: Schema | None = None
    """Format of the answer: a schema as in `with_structured_output`, or the API's own object."""

    thinking: Thinking = None
    """Whether a reasoning model thinks: a boolean, a level, or a budget in tokens.

    `True`, `False`, `"low"`, `"medium"`, `"high"`, or a number of tokens. `None` uses the model's
    default. Levels and budgets work only if the engine and the chat template support them.
    """

    reasoning_effort: str | None = None
    """The API's own parameter for levels of thinking, such as `"low"`."""

    chat_template_kwargs: dict[str, Any] | None = None
    """Variables of the model's chat template, such as `{"enable_thinking": False}`."""

    extra_body: dict[str, Any] | None = None
    """Other parameters of the engine, added to the request unchanged."""

    # --- Tool calls, context and loading ---

    tool_calling: Literal["auto", "native", "schema"] = "auto"
    """How tool calls are made.

    `"native"`: by the engine and the model's chat template. `"schema"`: a JSON schema constrains
    the answer, which works with any model and enforces `tool_choice`. Over the CLI the prompt
    only describes the tools, and an invalid call is an error. `"auto"`: `"native"` if the chat
    template shows the tools, else `"schema"`; over the CLI, tools are then an error.
    """

    overflow: Literal["error", "trim"] = "error"
    """What to do with a conversation that is longer than the model's context.

    `"error"` raises `ContextLengthError` before anything is sent. `"trim"` removes the oldest
    turns, but never the system message, and never a tool call without its result. The number of
    removed messages is in `response_metadata["trimmed"]`.
    """

    show_schema: bool = True
    """Whether the model also sees the schema of a structured answer, which the engine enforces."""

    context_size: int | None = None
    """Context size in tokens; the runner is configured with it before the first request.

    Configured once for each process and model. Issues a warning if this changes the
    configuration that other users of the runner see.
    """

    keep_alive: float | timedelta | str | None = None
    """How long an idle model stays loaded: seconds, a `timedelta`, `"5m"`, or `"-1"` for always.

    Configured in the same way as `context_size`.
    """

    when_full: WhenFull = "error"
    """What to do when the runner has no memory left to load the model.

    `"unload"` unloads the model that has been idle longest (except models with `keep_alive="-1"`)
    and tries again once; `response_metadata["docker_model"]` then has its name.
    """

    # --- Connection and concurrency ---

    transport: TransportName | None = None
    """`"http"`, `"cli"`, or `None`: HTTP if the API is found, otherwise the CLI.

    An address that you set (`base_url`, or a variable such as `MODEL_RUNNER_URL` that the CLI
    does not know) must answer, otherwise it is an error: the CLI might use another runner.
    """

    base_url: str | None = None
    """Address of the API; by default the class finds the runner."""

    api_key: SecretStr | str | None = None
    """Bearer token; sent only to an address that you set."""

    headers: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """HTTP headers; sent only to an address that you set, never shown or traced."""

    timeout: Timeouts | float | None = Timeouts()
    """Seconds for each phase of a call; a plain number limits the whole call."""

    max_retries: int = 2
    """HTTP only: how often to retry a request if no part of an answer was received."""

    streaming: bool = False
    """Whether `invoke` streams internally; an explicit `False` turns all streaming off."""

    command: str | Sequence[str] | None = None
    """The command to run instead of `docker model`, such as `("docker", "-c", "gpu", "model")`."""

    env: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Extra environment variables; never shown, traced or part of a cache key."""

    max_concurrency: int = 8
    """Maximum number of concurrent requests or CLI runs in this process; others wait."""

    pull: PullPolicy = "never"
    """What to do if the model is missing: `"never"` raises an error, `"missing"` pulls it first."""

    on_progress: Callable[[Progress], object] | None = Field(default=None, repr=False, exclude=True)
    """Function called with the `Progress` of each call, such as `print`; it must not block."""

    file_references: FileReferences = "escape"
    """CLI only: what to do if the prompt names local files; HTTP never sends files."""

    standby: int = 0
    """CLI only: number of started `docker model run` processes that wait for a prompt."""

    _own_profile: bool = PrivateAttr(default=False)

    if not TYPE_CHECKING:  # type checkers derive the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            # Not in a validator, where pydantic would turn this error into a `ValidationError`.
            _settings.refuse_address(settings)
            super().__init__(**settings)

    @model_validator(mode="before")
    @classmethod
    def _check_chat_docker_model_names(cls, settings: Any) -> Any:
        if isinstance(settings, dict):
            _settings.check_names(cls, settings, cls.model_fields)
        return settings

    @model_validator(mode="after")
    def _check_chat_docker_model_settings(self) -> Self:
        with as_langchain_errors():
            check_thinking(self.thinking)
            request = self._request(None, {})
            self._docker_model(request)
            self._http_backend(request)
        return self

    @model_validator(mode="after")
    def _set_chat_docker_model_version(self) -> Self:
        self._add_version("docker-model-llm", __version__)
        return self

    # --- Loading ---

    def warm_up(self) -> None:
        """Load the model, so that the first answer starts sooner, and complete `profile`."""
        with as_langchain_errors():
            self._backend(self._request(None, {})).warm_up()
        self._update_profile()

    async def awarm_up(self) -> None:
        """Load the model, so that the first answer starts sooner, and complete `profile`."""
        with as_langchain_errors():
            await (await self._abackend(self._request(None, {}))).awarm_up()
        self._update_profile()

    def close(self) -> None:
        """Stop the standby processes; the model stays usable."""
        with as_langchain_errors():
            self._docker_model(self._request(None, {})).close()

    async def aclose(self) -> None:
        """Stop the standby processes; the model stays usable."""
        self.close()

    # --- Tokens ---

    def get_num_tokens(self, text: str) -> int:
        """Count the tokens of `text` as a prompt, exactly as the engine does.

        The count includes the chat template, as in the `usage_metadata` of `invoke(text)`. If
        `custom_get_token_ids` is set, that function counts instead.

        Raises:
            UnsupportedParameterError: If no HTTP API is found: the CLI cannot count tokens.
        """
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        return self.get_num_tokens_from_messages([HumanMessage(text)]) if text else 0

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Count the tokens of a conversation, exactly as the engine does.

        Args:
            messages: The conversation.
            tools: Tools as in `bind_tools`.

        Raises:
            UnsupportedParameterError: If no HTTP API is found: the CLI cannot count tokens.
        """
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens_from_messages(messages)
        if not messages:
            return 0
        formatted = [tool_of(tool) for tool in tools or ()]
        with as_langchain_errors():
            count = self._backend(self._request(None, {})).count_tokens(
                convert_to_messages(messages), formatted
            )
        self._update_profile()
        return count

    def get_token_ids(self, text: str) -> list[int]:
        """Return the token ids of `text`, from `custom_get_token_ids`.

        Raises:
            NotImplementedError: If `custom_get_token_ids` is not set.
        """
        return _settings.token_ids(self.custom_get_token_ids, text)

    # --- Tools and structure ---

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return a model that may call these tools.

        Args:
            tools: Functions, LangChain's tools, pydantic models, or the API's dictionaries.
                An empty list is accepted.
            tool_choice: `"auto"`, `"none"`, `"any"` (or `"required"`, or `True`) for at least
                one call, or the name of the tool to call, as text or in a dictionary. The
                choice is enforced, except with `tool_calling="native"`: engines do not enforce
                it, and a warning is issued if the answer has no call.
            strict: OpenAI's `strict`: whether the arguments must match the schema exactly.
            **kwargs: Settings for the calls, such as `parallel_tool_calls`.
        """
        formatted = [tool_of(tool, strict=strict) for tool in tools]
        with as_langchain_errors():
            choice = choice_of(tool_choice, formatted) if formatted else None
        if choice is not None:
            kwargs["tool_choice"] = choice
        return super().bind(tools=formatted, **kwargs)

    def with_structured_output(
        self,
        schema: Schema | None = None,
        *,
        method: Method = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a model that answers with objects that match `schema`.

        Args:
            schema: A pydantic model (2 or 1), to get instances of it; or a `TypedDict`, a JSON
                schema or an OpenAI tool, to get dictionaries.
            method: `"json_schema"`: the engine enforces the schema, with any model; the model
                also sees it, unless `show_schema=False`. `"function_calling"`: the schema is
                sent as a tool. `"json_mode"`: the answer is JSON; describe its fields in the
                prompt, because not every engine supports a schema in this mode.
            include_raw: Return `{"raw": …, "parsed": …, "parsing_error": …}`, and do not raise
                an error if the answer cannot be parsed.
            strict: As in `bind_tools`.
            **kwargs: Settings for the calls.

        Raises:
            InvalidRequestError: If `method` is unknown, or `schema` is missing where required.
        """
        return structured(
            self, schema, method=method, include_raw=include_raw, strict=strict, **kwargs
        )

    # --- The profile ---

    def _resolve_model_profile(self) -> ModelProfile:
        self._own_profile = True
        profile = profile_of(self.transport, self.tool_calling)
        profile.update(self._known_profile())
        return profile

    def _update_profile(self) -> None:
        """Add to the profile what this process has learned about the model."""
        if self._own_profile and self.profile and "max_input_tokens" not in self.profile:
            self.profile.update(self._known_profile())

    def _known_profile(self) -> ModelProfile:
        info = known_model(
            self.model,
            command=self.command,
            env=self.env,
            transport=self.transport,
            base_url=self.base_url,
        )
        return known_profile_of(info)

    # --- Methods that `BaseChatModel` requires ---

    @property
    def _llm_type(self) -> str:
        return PROVIDER

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """The settings that change the answer: the cache key, and part of every trace.

        The key is not `stop`, because core overwrites `stop` with the stop sequences of the call.
        """
        parameters = {name: getattr(self, name) for name in _request.PARAMETERS}
        return {
            "model": self.model,
            "stop_sequences": _request.stops_of(self.stop),
            **{name: value for name, value in parameters.items() if value is not None},
            **{name: getattr(self, name) for name in _request.CHAT_SETTINGS},
            "thinking": self.thinking,
            "extra_body": self.extra_body,
            "transport": self.transport,
            "base_url": self.base_url,
            "command": self.command,
            "file_references": self.file_references,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        stops = stop or _request.stops_of(self.stop) or None
        params = super()._get_ls_params(stop=stops, **kwargs)
        params["ls_provider"] = PROVIDER
        return params

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None]) -> dict[str, Any]:
        usage: dict[str, int] = {}
        for output in llm_outputs:  # `None` for an answer from the cache
            for key, count in ((output or {}).get("token_usage") or {}).items():
                if isinstance(count, int):
                    usage[key] = usage.get(key, 0) + count
        return {"model_name": self.model, **({"token_usage": usage} if usage else {})}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with as_langchain_errors():
            result = self._backend(self._request(stop, kwargs)).generate(messages)
        self._update_profile()
        return result

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with as_langchain_errors():
            backend = await self._abackend(self._request(stop, kwargs))
            result = await backend.agenerate(messages)
        self._update_profile()
        return result

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with as_langchain_errors():
            for chunk in self._backend(self._request(stop, kwargs)).stream(messages):
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
        self._update_profile()

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk]:
        with as_langchain_errors():
            backend = await self._abackend(self._request(stop, kwargs))
            async with aclosing(backend.astream(messages)) as chunks:
                async for chunk in chunks:
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
        self._update_profile()

    # --- The backend, created for each call because fields can change between calls ---

    def _request(self, stop: list[str] | None, kwargs: Mapping[str, Any]) -> RequestSettings:
        return _request.merge(vars(self), stop, kwargs)

    def _backend(self, request: RequestSettings) -> Backend:
        if self.transport == "cli":
            return self._cli_backend(request)
        backend = self._http_backend(request)
        if self._may_fall_back:
            try:
                backend.client.endpoint()
            except docker_model.RunnerUnavailableError as error:
                if backend.client.uses_address_unknown_to_cli:
                    raise
                return self._cli_backend(request, error)
        return backend

    async def _abackend(self, request: RequestSettings) -> Backend:
        if self.transport == "cli":
            return self._cli_backend(request)
        backend = self._http_backend(request)
        if self._may_fall_back:
            try:
                await backend.client.aendpoint()
            except docker_model.RunnerUnavailableError as error:
                if backend.client.uses_address_unknown_to_cli:
                    raise
                return self._cli_backend(request, error)
        return backend

    @property
    def _may_fall_back(self) -> bool:
        return self.transport is None and self.base_url is None

    def _http_backend(self, request: RequestSettings) -> HttpBackend:
        client = Client(
            base_url=self.base_url,
            api_key=_settings.secret_text(self.api_key),
            headers=self.headers,
            command=self.command,
            env=self.env,
            timeout=request.timeout,
            max_retries=self.max_retries,
            max_concurrency=self.max_concurrency,
            pull=self.pull,
            on_progress=self.on_progress,
            when_full=self.when_full,
        )
        configuration = {"context_size": self.context_size, "keep_alive": self.keep_alive}
        return HttpBackend(client, request, configuration)

    def _cli_backend(self, request: RequestSettings, cause: Exception | None = None) -> CliBackend:
        _settings.refuse_address(vars(self))
        request.check_usable_by_cli(self._http_only_settings(request), cause)
        if cause is not None:
            _request.log_fallback(request.model, cause)
        return CliBackend(self._docker_model(request), request)

    def _http_only_settings(self, request: RequestSettings) -> dict[str, Any]:
        """Return the settings that differ from their defaults and that the CLI cannot use."""
        overflow = request.chat_settings["overflow"]
        settings = {
            "thinking": request.thinking,
            "context_size": self.context_size,
            "keep_alive": self.keep_alive,
            "overflow": None if overflow == "error" else overflow,
        }
        return {name: value for name, value in settings.items() if value is not None}

    def _docker_model(self, request: RequestSettings) -> docker_model.DockerModel:
        model = docker_model.DockerModel(
            request.model,
            stop=request.stop,
            timeout=request.timeout,
            max_concurrency=self.max_concurrency,
            pull=self.pull,
            on_progress=self.on_progress,
            file_references=self.file_references,
            standby=self.standby,
            command=self.command,
            env=self.env,
        )
        return standby_model_for(self, model)
