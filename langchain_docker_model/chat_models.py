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

        The model's name is all that the class needs: the runner's HTTP API is found without
        configuration. Where no API is found, the class asks through `docker model run`, which
        has no roles (the conversation is written as one prompt) and no parameters, tools,
        schemas or images: those raise `UnsupportedParameterError` there. Only
        `tool_calling="schema"` describes tools and schemas in the prompt.

    Key init args of completions:
        * model: The model's name, such as `ai/smollm2`.
        * temperature, max_tokens, top_p, seed, stop, …: The API's parameters, by the API's names.
        * tool_calling: `"auto"`, `"native"` or `"schema"`: how tool calls are made.
        * thinking: Whether, or how much, a reasoning model thinks.
        * overflow: `"error"` or `"trim"`: what to do with a conversation that is too long.

    Key init args of the client:
        * base_url, api_key, headers: An address of your own; by default the runner is found.
        * timeout, max_retries, max_concurrency: Limits of a call.
        * pull: `"missing"` pulls a missing model first.

    The parameters and `model`, `timeout`, `thinking`, `tool_calling`, `overflow` and
    `extra_body` may also be given to a call, where they take the place of the model's own.
    Constructing a model starts nothing; it pickles, and works from any thread and event loop.
    Errors are `docker_model`'s and LangChain's at once: see `langchain_docker_model.errors`.

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

        Leaving the loop ends the model's work. Adding the chunks up gives the whole message.

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

        With `tool_calling="auto"`, models whose chat template shows no tools call tools, too:
        their calls are drawn by a schema. A call whose arguments are no JSON object is in
        `invalid_tool_calls`, and no tool runs on it.

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
        What a reasoning model thinks is a reasoning block of `content_blocks`, and never part
        of the text:

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
        `usage_metadata` has the counts of each answer, streamed ones included.
        `get_num_tokens_from_messages` counts exactly what the engine will count:

        ```python
        chat.get_num_tokens_from_messages(messages, tools=[add])
        ```

    Response metadata:
        `response_metadata` has `model_name`, `finish_reason`, the engine's `timings`, and,
        where there were tools, `tool_calling`; where turns were left out, `trimmed`.
    """

    # A refused setting's error would otherwise show the others, the key among them.
    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    model: str
    """The model's name, such as `ai/smollm2`."""

    # --- How it answers: the API's parameters, by the API's names ---

    temperature: float | None = None
    """How freely the next token is chosen: 0 always takes the likeliest."""

    max_tokens: int | None = None
    """The longest answer, in tokens; a longer one ends with `finish_reason="length"`."""

    top_p: float | None = None
    """Choose among the likeliest tokens that add up to this probability."""

    stop: str | Sequence[str] | None = None
    """Stop sequences: the first match ends the answer and is not part of it."""

    seed: int | None = None
    """Seed of the random choices; with the same prompt it repeats the answer, if the engine can."""

    top_k: int | None = None
    """Choose among this many of the likeliest tokens."""

    min_p: float | None = None
    """Choose among tokens at least this likely, relative to the likeliest."""

    repeat_penalty: float | None = None
    """Make tokens less likely that were used already; 1 has no effect."""

    presence_penalty: float | None = None
    """Make tokens less likely that were used already."""

    frequency_penalty: float | None = None
    """Make tokens less likely the more often they were used."""

    logit_bias: dict[str, float] | None = None
    """Make tokens, by their ids, more or less likely."""

    logprobs: bool | None = None
    """Whether to tell how likely each token was: `response_metadata["logprobs"]`."""

    top_logprobs: int | None = None
    """How many of the likeliest alternatives to tell for each token."""

    n: int | None = None
    """The number of answers to a prompt; only `generate` takes more than one."""

    response_format: Schema | None = None
    """The shape of the answer: a schema, or what the API takes, as in `with_structured_output`."""

    thinking: Thinking = None
    """Whether a reasoning model thinks: a switch, a level, or a budget in tokens.

    `True`, `False`, `"low"`, `"medium"`, `"high"`, or a number of tokens. `None` leaves it to the
    model. Levels and budgets have an effect where the engine and the chat template know them.
    """

    reasoning_effort: str | None = None
    """The API's own parameter for `thinking` in levels."""

    chat_template_kwargs: dict[str, Any] | None = None
    """Variables of the model's chat template, such as `{"enable_thinking": False}`."""

    extra_body: dict[str, Any] | None = None
    """Other parameters that the engine knows, added to the request as they are."""

    # --- What this package does around a request ---

    tool_calling: Literal["auto", "native", "schema"] = "auto"
    """How tool calls are made.

    `"native"`: by the engine and the model's chat template. `"schema"`: drawn from the model by
    a JSON schema, which works on any model and enforces `tool_choice`; over the CLI, by the
    prompt alone, and a wrong answer is an error. `"auto"`: native where the chat template shows
    the tools, else by a schema; not over the CLI.
    """

    overflow: Literal["error", "trim"] = "error"
    """What to do with a conversation that is longer than the model's context.

    `"error"` raises `ContextLengthError` before anything is sent. `"trim"` leaves out the oldest
    turns, never the system message, and never a tool call without its result; the number of
    messages left out is in `response_metadata["trimmed"]`.
    """

    show_schema: bool = True
    """Whether the schema of a structured answer is shown to the model, and not only enforced."""

    context_size: int | None = None
    """The context size in tokens that the runner is configured for before the first request.

    Configured once for each process and model. Warns if that changes what others use.
    """

    keep_alive: float | timedelta | str | None = None
    """How long an idle model stays loaded: seconds, a `timedelta`, or `"5m"`; `"-1"`: always.

    Configured as `context_size` is.
    """

    when_full: WhenFull = "error"
    """What to do when the runner has no memory left to load the model.

    `"unload"` unloads the model that was idle for longest, unless it is kept for ever, and tries
    once more; `response_metadata["docker_model"]` says so.
    """

    # --- Where and how the model is asked ---

    transport: TransportName | None = None
    """`"http"`, `"cli"`, or `None`: HTTP where the API is found, and the CLI otherwise.

    A named address that does not answer (`base_url`, or a variable such as `MODEL_RUNNER_URL`
    that the CLI does not know) is an error: the CLI might ask another runner.
    """

    base_url: str | None = None
    """The API's address; by default the runner is found."""

    api_key: SecretStr | str | None = None
    """Sent as a bearer token, and only to an address that you have named."""

    headers: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Sent along, and only to an address that you have named; never shown or traced."""

    timeout: Timeouts | float | None = Timeouts()
    """Seconds for each phase of a call; a plain number is for the whole call."""

    max_retries: int = 2
    """How often a request is tried again over HTTP when nothing of an answer came."""

    streaming: bool = False
    """Whether `invoke` streams behind the scenes; an explicit `False` turns all streaming off."""

    command: str | Sequence[str] | None = None
    """The command in place of `docker model`, such as `("docker", "-c", "gpu", "model")`."""

    env: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Environment variables laid over the caller's; never shown, traced or part of a cache key."""

    max_concurrency: int = 8
    """Requests, or runs of the CLI, at once in this process; the rest wait."""

    pull: PullPolicy = "never"
    """What to do about a missing model: `"never"` raises, `"missing"` pulls it first."""

    on_progress: Callable[[Progress], object] | None = Field(default=None, repr=False, exclude=True)
    """Called with the `Progress` of each call, such as `print`; it must not block."""

    file_references: FileReferences = "escape"
    """Over the CLI: what to do about local files that the prompt names; HTTP sends none."""

    standby: int = 0
    """Over the CLI: how many started `docker model run` processes wait for a prompt."""

    _own_profile: bool = PrivateAttr(default=False)

    if not TYPE_CHECKING:  # type checkers make the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            # Not a validator: pydantic would turn this error into its own.
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
        """Load the model, so that the first answer comes soon; `profile` then has its window."""
        with as_langchain_errors():
            self._backend(self._request(None, {})).warm_up()
        self._learn()

    async def awarm_up(self) -> None:
        """Load the model, so that the first answer comes soon; `profile` then has its window."""
        with as_langchain_errors():
            await (await self._abackend(self._request(None, {}))).awarm_up()
        self._learn()

    def close(self) -> None:
        """End the processes in standby; the model stays usable."""
        with as_langchain_errors():
            self._docker_model(self._request(None, {})).close()

    async def aclose(self) -> None:
        """End the processes in standby; the model stays usable."""
        self.close()

    # --- Tokens ---

    def get_num_tokens(self, text: str) -> int:
        """Count the tokens of `text` as a prompt, exactly as the engine does.

        The chat template is included: the count is what `usage_metadata` says of
        `invoke(text)`. With `custom_get_token_ids`, that function counts.

        Raises:
            UnsupportedParameterError: If no HTTP API is found, which alone can count.
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
            UnsupportedParameterError: If no HTTP API is found, which alone can count.
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
        self._learn()
        return count

    def get_token_ids(self, text: str) -> list[int]:
        """Return the tokens of `text`, by `custom_get_token_ids`.

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
                No tools are no error.
            tool_choice: `"auto"`, `"none"`, `"any"` (or `"required"`, or `True`) for at least
                one call, or the name of the tool to call, as text or in a dictionary. It is
                enforced, unless `tool_calling` is `"native"`: engines do not enforce it, and a
                warning tells when no call came.
            strict: Whether the arguments are to match exactly, where the engine asks.
            **kwargs: Settings of the calls, such as `parallel_tool_calls`.
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
        """Return a model that answers with objects of `schema`.

        Args:
            schema: A pydantic model (2 or 1), whose instances come back; or a `TypedDict`, a
                JSON schema or an OpenAI tool, for dictionaries.
            method: `"json_schema"`: the engine enforces the schema, on any model; the model
                also sees it, unless `show_schema` is off. `"function_calling"`: the schema is a
                tool. `"json_mode"`: JSON; the prompt must say which, since not every engine
                knows a schema for it.
            include_raw: Return `{"raw": …, "parsed": …, "parsing_error": …}`, and raise nothing
                for an answer that does not parse.
            strict: As in `bind_tools`.
            **kwargs: Settings of the calls.

        Raises:
            InvalidRequestError: If there is no such method, or no schema where one is needed.
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

    def _learn(self) -> None:
        """Complete the profile by what the process has learned of the model."""
        if self._own_profile and self.profile and "max_input_tokens" not in self.profile:
            self.profile.update(self._known_profile())

    def _known_profile(self) -> ModelProfile:
        known = known_model(
            self.model,
            command=self.command,
            env=self.env,
            transport=self.transport,
            base_url=self.base_url,
        )
        return known_profile_of(known)

    # --- What core asks of a chat model ---

    @property
    def _llm_type(self) -> str:
        return PROVIDER

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """The settings that change the answer: the cache key, and part of every trace.

        The stop sequences are not under `stop`, which core overwrites with a call's own.
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
        for output in llm_outputs:  # `None` for an answer that came from the cache
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
        self._learn()
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
        self._learn()
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
        self._learn()

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
        self._learn()

    # --- The backend, made anew for every call: a kept one would miss assignments ---

    def _request(self, stop: list[str] | None, given: Mapping[str, Any]) -> RequestSettings:
        return _request.merge(vars(self), stop, given)

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
        request.check_usable_by_cli(self._of_http(request), cause)
        return CliBackend(self._docker_model(request), request)

    def _of_http(self, request: RequestSettings) -> dict[str, Any]:
        """Return those settings that are not at their defaults and that the CLI cannot use."""
        settings = {
            "thinking": request.thinking,
            "context_size": self.context_size,
            "keep_alive": self.keep_alive,
        }
        used = {name: value for name, value in settings.items() if value is not None}
        if request.chat_settings["overflow"] == "trim":
            used["overflow"] = "trim"
        return used

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
