"""Settings and management methods of components that support only HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from llama_index.core.bridge.pydantic import ConfigDict, Field, model_validator

from docker_model.env import FromEnv
from docker_model.errors import UnsupportedParameterError
from docker_model.options import Timeouts
from llama_index_docker_model._settings import ChecksValues, check_names, client_of

if TYPE_CHECKING:
    from typing import Self

    from docker_model.http.client import Client
    from docker_model.types import ModelInfo

__all__ = ["HttpComponent"]


class HttpComponent(FromEnv, ChecksValues):
    """Settings of a component that supports only HTTP."""

    # Otherwise a validation error would show all settings, including `env`.
    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    transport: Literal["http"] | None = None
    """Only HTTP: `"cli"` is an error, because `docker model` has no command for this."""

    base_url: str | None = None
    """Address of the HTTP API; by default the class finds the runner."""

    api_key: str | None = Field(default=None, repr=False, exclude=True)
    """API key; sent only to an address that you set, never shown or part of `to_dict`."""

    headers: Mapping[str, str] | None = Field(default=None, repr=False, exclude=True)
    """HTTP headers; sent only to an address that you set, never shown."""

    timeout: Timeouts | float | None = Timeouts()
    """Seconds for each phase of a request; a plain number limits the whole request."""

    max_retries: int = 2
    """How often to retry a request if no response was received."""

    max_concurrency: int = 8
    """Maximum number of concurrent requests in this process, for all models of the same runner."""

    when_full: Literal["error", "unload"] = "error"
    """If the runner is out of memory, raise an error, or unload the longest idle model."""

    command: str | Sequence[str] | None = None
    """The command to run instead of `docker model`, to find the address of the API."""

    env: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Extra environment variables; never shown or part of `to_dict`."""

    auto_configure: bool = False
    """Whether to set the mode that the model needs, once, before the first request."""

    if not TYPE_CHECKING:  # type checkers derive the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            # Not in a validator, where pydantic would turn this error into a `ValidationError`.
            if settings.get("transport") == "cli":
                msg = "`docker model` has no command for embeddings and reranking"
                hint = "leave transport out, or set it to 'http'"
                raise UnsupportedParameterError(msg, hint=hint)
            super().__init__(**settings)

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, settings: dict[str, Any]) -> dict[str, Any]:
        return check_names(cls, settings)

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        self._client()
        return self

    def list_models(self) -> list[ModelInfo]:
        """List the models that can be used without a pull."""
        return self._client().list_models()

    async def alist_models(self) -> list[ModelInfo]:
        """List the models that can be used without a pull."""
        return await self._client().alist_models()

    def close(self) -> None:
        """Do nothing, because this object owns no process and no connection."""

    async def aclose(self) -> None:
        """Do nothing, because this object owns no process and no connection."""

    def _client(self) -> Client:
        return client_of(self.__dict__)
