"""What the components that speak HTTP alone share: their settings, and management."""

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
    """Settings of a component that speaks HTTP alone."""

    # The error of a refused setting would otherwise show the others, `env` among them.
    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    transport: Literal["http"] | None = None
    """HTTP is the only one: `"cli"` is refused, since `docker model` has no such command."""

    base_url: str | None = None
    """The runner's address; `None`: it is found."""

    api_key: str | None = Field(default=None, repr=False, exclude=True)
    """Sent only to an address that you have named; never shown or put into `to_dict`."""

    headers: Mapping[str, str] | None = Field(default=None, repr=False, exclude=True)
    """HTTP headers, sent only to an address that you have named; never shown."""

    timeout: Timeouts | float | None = Timeouts()
    """Seconds for each phase of a request; a plain number is for all of it."""

    max_retries: int = 2
    """Further attempts where nothing was received and the next may succeed."""

    max_concurrency: int = 8
    """Requests at once in this process, over all models of the same runner."""

    when_full: Literal["error", "unload"] = "error"
    """What to do when the runner has no room: raise, or unload the longest idle model."""

    command: str | Sequence[str] | None = None
    """The command in place of `docker model`, which is asked for the address of the API."""

    env: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Environment variables laid over the caller's; never shown or put into `to_dict`."""

    auto_configure: bool = False
    """Put the model into the mode that it needs, once, before the first request."""

    if not TYPE_CHECKING:  # type checkers make the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            # Not a validator: pydantic would turn this error into its own.
            if settings.get("transport") == "cli":
                msg = "`docker model` has no command for embeddings and reranking"
                raise UnsupportedParameterError(msg, hint="leave transport out, or make it 'http'")
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
        """Return the models that can be used without a pull."""
        return self._client().list_models()

    async def alist_models(self) -> list[ModelInfo]:
        """Return the models that can be used without a pull."""
        return await self._client().alist_models()

    def close(self) -> None:
        """Do nothing: no process and no connection belongs to this object."""

    async def aclose(self) -> None:
        """Do nothing: no process and no connection belongs to this object."""

    def _client(self) -> Client:
        return client_of(self.__dict__)
