"""`DockerModelEmbeddings`: an embedding model of Docker Model Runner for LangChain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field, model_validator

import docker_model
from docker_model.http.client import Client
from docker_model.options import Timeouts
from langchain_docker_model import _settings
from langchain_docker_model._settings import ApiKey, TimeoutSetting
from langchain_docker_model.errors import UnsupportedParameterError, as_langchain_errors

__all__ = ["DockerModelEmbeddings"]


class DockerModelEmbeddings(_settings.FromEnv, BaseModel, Embeddings):
    """An embedding model of Docker Model Runner, asked over the runner's HTTP API.

    The API is found as `ChatDockerModel` finds it. Texts are sent as texts, never as numbers
    of tokens, which only the model's own tokenizer could give. A model that makes no
    embeddings raises an error that names the command to configure it with.

    Example:
        ```python
        from langchain_docker_model import DockerModelEmbeddings

        embeddings = DockerModelEmbeddings(model="ai/mxbai-embed-large")
        embeddings.embed_query("What is a container?")
        ```
    """

    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    model: str
    """The model's name, such as `ai/mxbai-embed-large`."""

    dimensions: int | None = Field(default=None, ge=1)
    """The length of the vectors, for models that have a choice; no other length is returned."""

    transport: Literal["http"] | None = None
    """There is no other: `"cli"` is refused, since `docker model` makes no embeddings."""

    base_url: str | None = None
    """The API's address; by default it is looked for."""

    api_key: ApiKey = None
    """Sent as a bearer token, and only to an address that you have named."""

    headers: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Sent along, and only to an address that you have named; never shown."""

    timeout: TimeoutSetting = Timeouts()
    """Seconds for each phase of a request; a plain number is for all of it."""

    max_retries: int = 2
    """How often a request is tried again when nothing came back."""

    command: str | Sequence[str] | None = None
    """The command in place of `docker model`, which is asked where the API is."""

    env: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Environment variables laid over the caller's; never shown."""

    if not TYPE_CHECKING:  # type checkers make the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            # Not a validator: pydantic would turn this error into its own.
            if settings.get("transport") == "cli":
                msg = "transport='cli' cannot make embeddings"
                raise UnsupportedParameterError(msg, hint="leave transport out, or make it 'http'")
            super().__init__(**settings)

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, settings: Any) -> Any:
        if isinstance(settings, dict):
            _settings.check_names(cls, settings, cls.model_fields)
        return settings

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        with as_langchain_errors():
            docker_model.DockerModel(self.model)  # looks at the name
            self._client()
        return self

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each text."""
        if not texts:
            return []
        with as_langchain_errors():
            return self._client().embed(self.model, texts, dimensions=self.dimensions)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each text."""
        if not texts:
            return []
        with as_langchain_errors():
            return await self._client().aembed(self.model, texts, dimensions=self.dimensions)

    def embed_query(self, text: str) -> list[float]:
        """Return the text's vector."""
        return self.embed_documents([text])[0]

    async def aembed_query(self, text: str) -> list[float]:
        """Return the text's vector."""
        return (await self.aembed_documents([text]))[0]

    def _client(self) -> Client:
        return Client(
            base_url=self.base_url,
            api_key=_settings.secret_text(self.api_key),
            headers=self.headers,
            command=self.command,
            env=self.env,
            timeout=self.timeout,
            max_retries=self.max_retries,
        )
