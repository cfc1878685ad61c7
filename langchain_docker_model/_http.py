"""The settings of embeddings and rerankers, which speak HTTP alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ConfigDict, Field, SecretStr, model_validator

import docker_model
from docker_model._setting_names import name_model
from docker_model.http.client import Client
from docker_model.options import Timeouts, WhenFull
from langchain_docker_model import _settings
from langchain_docker_model.errors import UnsupportedParameterError, as_langchain_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HttpSettings"]


class HttpSettings(_settings.FromEnv, _settings.ListsModels, _settings.ChecksValues):
    """Settings of the connection to the runner's HTTP API."""

    # The error of a refused setting would otherwise show the others, the key among them.
    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    model: str
    """The model's name, such as `ai/mxbai-embed-large`; `model_name` is taken, too."""

    auto_configure: bool = False
    """Whether to put the model into the mode that it needs, once, before the first request."""

    when_full: WhenFull = "error"
    """What to do when the runner has no memory left: `"unload"` frees the longest idle model's."""

    transport: Literal["http"] | None = None
    """HTTP alone: `"cli"` is refused, since `docker model` has no command for this."""

    base_url: str | None = None
    """The API's address; by default the runner is found."""

    api_key: SecretStr | str | None = None
    """Sent as a bearer token, and only to an address that you have named."""

    headers: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Sent along, and only to an address that you have named; never shown."""

    timeout: Timeouts | float | None = Timeouts()
    """Seconds for each phase of a request; a plain number is for all of it."""

    max_retries: int = 2
    """How often a request is tried again when nothing came back."""

    max_concurrency: int = 8
    """Requests at once in this process; the rest wait."""

    command: str | Sequence[str] | None = None
    """The command in place of `docker model`, which knows the address of the API."""

    env: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Environment variables laid over the caller's; never shown."""

    if not TYPE_CHECKING:  # type checkers make the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            # Not a validator: pydantic would turn this error into its own.
            if settings.get("transport") == "cli":
                msg = "transport='cli' has neither embeddings nor reranking"
                raise UnsupportedParameterError(
                    msg, hint="leave transport out, or set it to 'http'"
                )
            with as_langchain_errors():
                named = name_model(settings, "model")
            super().__init__(**named)

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, settings: Any) -> Any:
        if isinstance(settings, dict):
            _settings.check_names(cls, settings, cls.model_fields)
        return settings

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        with as_langchain_errors():
            docker_model.DockerModel(self.model)  # checks the name
            self._client()
        return self

    @classmethod
    def _read_env(cls, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        with as_langchain_errors():
            return super()._read_env(name, name_model(settings, "model"))

    def close(self) -> None:
        """Do nothing: no process and no connection belongs to this object."""

    async def aclose(self) -> None:
        """Do nothing: no process and no connection belongs to this object."""

    def _client(self) -> Client:
        return Client(
            base_url=self.base_url,
            api_key=_settings.secret_text(self.api_key),
            headers=self.headers,
            command=self.command,
            env=self.env,
            timeout=self.timeout,
            max_retries=self.max_retries,
            max_concurrency=self.max_concurrency,
            when_full=self.when_full,
        )
