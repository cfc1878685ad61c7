"""`DockerModelEmbedding`: an embedding model of Docker Model Runner for LlamaIndex."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field

from docker_model._setting_names import name_model
from docker_model.http.instructions import instructions_for
from llama_index_docker_model._http_component import HttpComponent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker_model.http.instructions import Instructions

__all__ = ["DockerModelEmbedding"]


class DockerModelEmbedding(HttpComponent, BaseEmbedding):
    """An embedding model of Docker Model Runner, over the runner's HTTP API.

    The API is found by itself. What the model's card wants before queries and texts is put
    there, for the common families. A model that makes no embeddings raises an error that names
    the command to configure it with; `auto_configure=True` configures it.

    LlamaIndex's `embeddings_cache` looks texts up by themselves: do not share one between
    models or instructions, whose vectors it would mix.

    Example:
        ```python
        from llama_index_docker_model import DockerModelEmbedding

        embedding = DockerModelEmbedding(model_name="ai/mxbai-embed-large")
        embedding.get_text_embedding("What is a container?")
        ```

    Many texts, with a progress bar:
        ```python
        embedding.get_text_embedding_batch(["one", "two", "three"], show_progress=True)
        ```
    """

    model_name: str
    """The model's name, such as `ai/mxbai-embed-large`; `model` is taken, too."""

    embed_batch_size: int = Field(default=128, gt=0, le=2048)
    """Texts that LlamaIndex hands over at once; they are sent in requests that fit the engine."""

    num_workers: int | None = 4
    """Batches at once in `aget_text_embedding_batch`: as many as the runner's engine has slots."""

    dimensions: int | None = Field(default=None, ge=1)
    """The length of the vectors, for models that have a choice; no other length is returned."""

    truncate: bool = False
    """Cut texts that are longer than the model takes, in place of an error."""

    query_instruction: str | None = None
    """Put before queries; `None` uses the model card's prefix where known, `""` puts nothing."""

    text_instruction: str | None = None
    """Put before texts; `None` uses the model card's prefix where known, `""` puts nothing."""

    if not TYPE_CHECKING:  # type checkers make the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            super().__init__(**name_model(settings, "model_name"))

    @classmethod
    def _read_env(cls, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        return name_model(super()._read_env(name, name_model(settings, "model")), "model_name")

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which `to_dict` writes this class."""
        return "DockerModelEmbedding"

    def warm_up(self) -> None:
        """Load the model, so that the first vectors come soon."""
        self._embed(["Hi"])

    async def awarm_up(self) -> None:
        """Load the model, so that the first vectors come soon."""
        await self._embed_async(["Hi"])

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embed([self._instructions.query + query])[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return (await self._embed_async([self._instructions.query + query]))[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        instruction = self._instructions.text
        return self._embed([instruction + text for text in texts])

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        instruction = self._instructions.text
        return await self._embed_async([instruction + text for text in texts])

    @property
    def _instructions(self) -> Instructions:
        return instructions_for(self.model_name, self.query_instruction, self.text_instruction)

    def _embed(self, texts: list[str]) -> list[list[float]]:
        client = self._client()
        if self.auto_configure:
            client.configure_once(self.model_name, mode="embedding")
        return client.embed(
            self.model_name, texts, dimensions=self.dimensions, truncate=self.truncate
        )

    async def _embed_async(self, texts: list[str]) -> list[list[float]]:
        client = self._client()
        if self.auto_configure:
            await client.aconfigure_once(self.model_name, mode="embedding")
        return await client.aembed(
            self.model_name, texts, dimensions=self.dimensions, truncate=self.truncate
        )
