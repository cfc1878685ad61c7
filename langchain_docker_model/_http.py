"""The settings of embeddings and rerankers, which support only HTTP."""

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

    # Otherwise a validation error would show all settings, including the API key.
    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    model: str
    """The model's name, such as `ai/mxbai-embed-large`; also accepted as `model_name`."""

    auto_configure: bool = False
    """Whether to set the mode that the model needs, once, before the first request."""

    when_full: WhenFull = "error"
    """What to do if the runner is out of memory: `"unload"` unloads the longest idle model."""

    transport: Literal["http"] | None = None
    """Only HTTP: `"cli"` is an error, because `docker model` has no command for this."""

    base_url: str | None = None
    """Address of the API; by default the class finds the runner."""

    api_key: SecretStr | str | None = None
    """Bearer token; sent only to an address that you set."""

    headers: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """HTTP headers; sent only to an address that you set, never shown."""

    timeout: Timeouts | float | None = Timeouts()
    """Seconds for each phase of a request; a plain number limits the whole request."""

    max_retries: int = 2
    """How often to retry a request if no response was received."""

    max_concurrency: int = 8
    """Maximum number of concurrent requests in this process; others wait."""

    command: str | Sequence[str] | None = None
    """The command to run instead of `docker model`, to find the address of the API."""

    env: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Extra environment variables; never shown."""

    if not TYPE_CHECKING:  # type checkers derive the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            # Not in a validator, where pydantic would turn this error into a `ValidationError`.
            if settings.get("transport") == "cli":
                msg = "transport='cli' supports neither embeddings nor reranking"
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
        """Do nothing, because this object owns no process and no connection."""

    async def aclose(self) -> None:
        """Do nothing, because this object owns no process and no connection."""

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
