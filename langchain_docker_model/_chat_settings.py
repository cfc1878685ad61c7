"""The settings of `ChatDockerModel`, and the way to the model that follows from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence  # noqa: TC003  pydantic reads them
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from pydantic import ConfigDict, Field, SecretStr, model_validator

import docker_model
from docker_model._version import __version__
from docker_model.http.client import Client
from docker_model.options import FileReferences, PullPolicy, Timeouts, TransportName
from docker_model.types import PullProgress  # noqa: TC001  pydantic reads it
from langchain_docker_model import _request, _unsupported
from langchain_docker_model._environment import FromEnv
from langchain_docker_model._flatten import HTTP_HINT
from langchain_docker_model._replies import PROVIDER
from langchain_docker_model._shown import Shown
from langchain_docker_model._structured import Schema  # noqa: TC001  pydantic reads it
from langchain_docker_model._ways import OverCli, OverHttp
from langchain_docker_model.errors import UnsupportedParameterError, as_langchain_errors

if TYPE_CHECKING:
    from typing import Self

    from langchain_core.language_models.base import LangSmithParams

    from langchain_docker_model._request import Call
    from langchain_docker_model._ways import Way


class ChatSettings(FromEnv, Shown, BaseChatModel):
    """What there is to set, what of it identifies a model, and how the model is reached."""

    # A refused setting's error would otherwise show the others, the key among them.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

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

    api_key: SecretStr | None = None
    """Sent as a bearer token, and only to an address that you have named."""

    headers: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Sent along, and only to an address that you have named; never shown or traced."""

    timeout: Timeouts | float | None = Timeouts()
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
            _unsupported.refuse_address(settings)
            super().__init__(**settings)

    @model_validator(mode="after")
    def _check_chat_docker_model_settings(self) -> Self:
        with as_langchain_errors():
            call = self._call(None, {})
            self._docker_model(call)
            self._over_http(call)
        return self

    @model_validator(mode="after")
    def _set_chat_docker_model_version(self) -> Self:
        self._add_version("docker-model-llm", __version__)
        return self

    # --- What core asks of a model's settings ---

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

    # --- The way to the model, made anew for every call: a kept one would miss assignments ---

    def _call(self, stop: list[str] | None, given: Mapping[str, Any]) -> Call:
        return _request.call_of(vars(self), stop, given)

    def _way(self, call: Call) -> Way:
        if self.transport == "cli":
            return self._over_cli(call)
        way = self._over_http(call)
        if self._may_fall_back:
            try:
                way.client.endpoint()
            except docker_model.RunnerUnavailableError as error:
                if way.client.uses_address_unknown_to_cli:
                    raise
                return self._over_cli(call, error)
        return way

    async def _away(self, call: Call) -> Way:
        if self.transport == "cli":
            return self._over_cli(call)
        way = self._over_http(call)
        if self._may_fall_back:
            try:
                await way.client.aendpoint()
            except docker_model.RunnerUnavailableError as error:
                if way.client.uses_address_unknown_to_cli:
                    raise
                return self._over_cli(call, error)
        return way

    @property
    def _may_fall_back(self) -> bool:
        return self.transport is None and self.base_url is None

    def _over_http(self, call: Call) -> OverHttp:
        client = Client(
            base_url=self.base_url,
            api_key=self.api_key.get_secret_value() if self.api_key else None,
            headers=self.headers,
            command=self.command,
            env=self.env,
            timeout=call.timeout,
            max_retries=self.max_retries,
            max_concurrency=self.max_concurrency,
            pull=self.pull,
            on_progress=self.on_progress,
        )
        return OverHttp(client, call)

    def _over_cli(self, call: Call, cause: Exception | None = None) -> OverCli:
        _unsupported.refuse_address(vars(self))
        if call.parameters:
            msg = f"`docker model run` has no way to honour {', '.join(sorted(call.parameters))}"
            raise UnsupportedParameterError(msg, hint=HTTP_HINT) from cause
        return OverCli(self._docker_model(call))

    def _docker_model(self, call: Call) -> docker_model.DockerModel:
        return docker_model.DockerModel(
            call.model,
            stop=call.stop,
            timeout=call.timeout,
            max_concurrency=self.max_concurrency,
            pull=self.pull,
            on_progress=self.on_progress,
            file_references=self.file_references,
            standby=self.standby,
            command=self.command,
            env=self.env,
        )
