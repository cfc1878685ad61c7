"""`ChatDockerModel`: a local model of Docker Model Runner as a LangChain chat model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence  # noqa: TC003  pydantic reads them
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, get_args

from langchain_core.language_models import BaseChatModel
from pydantic import ConfigDict, Field, model_validator

import docker_model
from docker_model._version import __version__
from docker_model.client import standby_model_for
from docker_model.http.client import Client
from docker_model.http.tools import choice_of
from docker_model.options import FileReferences, PullPolicy, Timeouts, TransportName
from docker_model.types import PullProgress  # noqa: TC001  pydantic reads it
from langchain_docker_model import _request, _settings
from langchain_docker_model._backend import CliBackend, HttpBackend
from langchain_docker_model._messages import HTTP_HINT
from langchain_docker_model._replies import PROVIDER
from langchain_docker_model._settings import ApiKey, TimeoutSetting  # noqa: TC001  pydantic
from langchain_docker_model._structured import (
    Method,
    Schema,
    parser_of,
    response_format,
    tool_of,
    with_raw,
    without_typed_dict,
)
from langchain_docker_model.errors import (
    InvalidRequestError,
    UnsupportedParameterError,
    as_langchain_errors,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from typing import Self

    from langchain_core.callbacks import (
        AsyncCallbackManagerForLLMRun,
        CallbackManagerForLLMRun,
    )
    from langchain_core.language_models.base import LangSmithParams, LanguageModelInput
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

    from langchain_docker_model._backend import Backend
    from langchain_docker_model._request import RequestSettings

__all__ = ["ChatDockerModel"]


class ChatDockerModel(_settings.FromEnv, _settings.TraceRepr, BaseChatModel):
    """A local model of Docker Model Runner as a chat model.

    It asks the runner's HTTP API, which it finds by itself: the model's name is all it needs.
    Where no API is found it asks through `docker model run`, which has no roles (the
    conversation is written out as one prompt) and no
    parameters, tools, schemas or images: those raise `UnsupportedParameterError` there.

    Constructing one starts nothing; it pickles, and works from any thread and event loop.
    Errors are `docker_model`'s and LangChain's at once: see `langchain_docker_model.errors`.
    The parameters and `model`, `timeout` and `extra_body` may also be given to a call
    (`chat.invoke(messages, temperature=0)`), where they take the place of the model's own.

    Example:
        ```python
        from langchain_docker_model import ChatDockerModel

        chat = ChatDockerModel(model="ai/smollm2", temperature=0)
        chat.invoke([("system", "Be brief."), ("human", "What is a container?")])
        ```
    """

    # A refused setting's error would otherwise show the others, the key among them.
    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    model: str
    """The model's name, such as `ai/smollm2`."""

    # --- How it answers: the API's parameters, by the API's names ---

    temperature: float | None = None
    """How freely the next token is chosen; 0 is not at all."""

    max_tokens: int | None = None
    """The longest answer, in tokens (`finish_reason="length"`)."""

    top_p: float | None = None
    """Choose among the likeliest tokens that make up this share."""

    stop: str | Sequence[str] | None = None
    """Stop sequences: the first match ends the answer and is not part of it."""

    seed: int | None = None
    """The same number and prompt give the same answer, as far as the engine can."""

    top_k: int | None = None
    """Choose among this many of the likeliest tokens."""

    min_p: float | None = None
    """Choose among tokens at least this likely, relative to the likeliest."""

    repeat_penalty: float | None = None
    """Makes tokens that were used less likely; 1 is not at all."""

    presence_penalty: float | None = None
    """Makes tokens that were used less likely."""

    frequency_penalty: float | None = None
    """Makes tokens less likely the more often they were used."""

    logit_bias: dict[str, float] | None = None
    """Makes tokens, by their ids, more or less likely."""

    logprobs: bool | None = None
    """Whether to tell how likely each token was: `response_metadata["logprobs"]`."""

    top_logprobs: int | None = None
    """And this many of the likeliest alternatives."""

    n: int | None = None
    """Answers to a prompt; more than one with `generate` alone."""

    response_format: Schema | None = None
    """The shape of the answer: a schema, or what the API takes. See `with_structured_output`."""

    reasoning_effort: str | None = None
    """How much a reasoning model is to think, where its chat template has a say in it."""

    chat_template_kwargs: dict[str, Any] | None = None
    """Variables of the model's chat template, such as `{"enable_thinking": False}`."""

    extra_body: dict[str, Any] | None = None
    """What else the engine knows, added to the request as it is."""

    # --- Where and how it is asked ---

    transport: TransportName | None = None
    """The way to the model; `None`: HTTP where the API is found, and the CLI otherwise.

    A named address that does not answer (`base_url`, or a variable such as `MODEL_RUNNER_URL`
    that the CLI does not know) is an error: the CLI might ask another runner.
    """

    base_url: str | None = None
    """The API's address; by default it is looked for."""

    api_key: ApiKey = None
    """Sent as a bearer token, and only to an address that you have named."""

    headers: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Sent along, and only to an address that you have named; never shown or traced."""

    timeout: TimeoutSetting = Timeouts()
    """Seconds for each phase of a call; a plain number is for the whole call."""

    max_retries: int = 2
    """How often a request is tried again over HTTP when nothing of an answer came."""

    streaming: bool = False
    """Whether `invoke` streams behind the scenes; set to `False` it keeps all from streaming."""

    command: str | Sequence[str] | None = None
    """The command in place of `docker model`, such as `("docker", "-c", "gpu", "model")`."""

    env: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Environment variables laid over the caller's; never shown, traced or part of a cache key."""

    max_concurrency: int = 8
    """Requests, or runs of the CLI, at once in this process; the rest wait."""

    pull: PullPolicy = "never"
    """What to do about a missing model: `"never"` raises, `"missing"` pulls it first."""

    on_progress: Callable[[PullProgress], object] | None = Field(
        default=None, repr=False, exclude=True
    )
    """Called with the steps of a pull."""

    file_references: FileReferences = "escape"
    """Over the CLI: what to do about local files that the prompt names. HTTP sends none."""

    standby: int = 0
    """Over the CLI: started `docker model run` processes that are kept waiting for a prompt."""

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
            request = self._request(None, {})
            self._docker_model(request)
            self._http_backend(request)
        return self

    @model_validator(mode="after")
    def _set_chat_docker_model_version(self) -> Self:
        self._add_version("docker-model-llm", __version__)
        return self

    # --- Tools and structure ---

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """A model that may call these tools.

        Args:
            tools: Functions, LangChain's tools, pydantic models, or the API's dictionaries.
                None at all is no error.
            tool_choice: `"auto"`, `"none"`, `"any"` (or `"required"`, or `True`): one must be
                called; the name of the tool that must be, as text or in a dictionary. The
                runner does not enforce it: a warning tells when no call came.
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
        """A model that answers with objects of `schema`.

        Args:
            schema: A pydantic model (2 or 1), whose instances it then gives; a `TypedDict`, a
                JSON schema or an OpenAI tool, for dictionaries.
            method: `"json_schema"`: the engine holds the answer to the schema, whatever the
                model. It does not show it to the model: say in the prompt what is wanted.
                `"function_calling"`: the schema is a tool. `"json_mode"`: any JSON; the prompt
                must say which.
            include_raw: Give `{"raw": …, "parsed": …, "parsing_error": …}` and raise nothing
                for an answer that does not parse.
            strict: As in `bind_tools`.
            **kwargs: Settings of the calls.

        Raises:
            InvalidRequestError: No such method, or no schema where one is needed.
        """
        if method not in get_args(Method):
            msg = f"method must be one of {', '.join(map(repr, get_args(Method)))}, not {method!r}"
            raise InvalidRequestError(msg)
        if schema is None and method != "json_mode":
            msg = f"method {method!r} needs a schema"
            raise InvalidRequestError(msg, hint="pass one, or use method='json_mode'")
        shown = {
            "kwargs": {"method": method, "strict": strict},
            "schema": without_typed_dict(schema),
        }
        tool = None
        if method == "function_calling":
            assert schema is not None
            tool = tool_of(schema)
            llm = self.bind_tools(
                [tool],
                tool_choice=tool["function"]["name"],
                strict=strict,
                ls_structured_output_format=shown,
                **kwargs,
            )
        else:
            wanted = (
                response_format(schema, strict=strict)
                if schema is not None and method == "json_schema"
                else {"type": "json_object"}
            )
            llm = self.bind(response_format=wanted, ls_structured_output_format=shown, **kwargs)
        parser = parser_of(schema, tool)
        return with_raw(llm, parser) if include_raw else llm | parser

    def get_token_ids(self, text: str) -> list[int]:
        """Return the tokens of `text`, by `custom_get_token_ids`.

        Raises:
            NotImplementedError: If `custom_get_token_ids` is not set.
        """
        return _settings.token_ids(self.custom_get_token_ids, text)

    # --- What core asks of a chat model ---

    @property
    def _llm_type(self) -> str:
        return PROVIDER

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What changes the answer: the cache key, and part of every trace.

        The stop sequences are not under `stop`, which core overwrites with a call's own.
        """
        parameters = {name: getattr(self, name) for name in _request.PARAMETERS}
        return {
            "model": self.model,
            "stop_sequences": _request.stops_of(self.stop),
            **{name: value for name, value in parameters.items() if value is not None},
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
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002  core's signature
        **kwargs: Any,
    ) -> ChatResult:
        with as_langchain_errors():
            return self._backend(self._request(stop, kwargs)).generate(messages)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002  core's signature
        **kwargs: Any,
    ) -> ChatResult:
        with as_langchain_errors():
            backend = await self._abackend(self._request(stop, kwargs))
            return await backend.agenerate(messages)

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
        )
        return HttpBackend(client, request)

    def _cli_backend(self, request: RequestSettings, cause: Exception | None = None) -> CliBackend:
        _settings.refuse_address(vars(self))
        if request.parameters:
            msg = f"`docker model run` cannot use {', '.join(sorted(request.parameters))}"
            raise UnsupportedParameterError(msg, hint=HTTP_HINT) from cause
        return CliBackend(self._docker_model(request))

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
