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

    The class finds the API without configuration. For the common model families, the prefixes
    from the model card are added to queries and texts. If the model is not in embedding mode,
    the error names the command that configures it; `auto_configure=True` configures it
    automatically.

    LlamaIndex's `embeddings_cache` uses only the text as its key. Do not share a cache between
    models or instructions, because it would mix their vectors.

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
    """The model's name, such as `ai/mxbai-embed-large`; also accepted as `model`."""

    embed_batch_size: int = Field(default=128, gt=0, le=2048)
    """Texts per batch of LlamaIndex; a batch is sent in requests that fit the engine's limits."""

    num_workers: int | None = 4
    """Concurrent batches in `aget_text_embedding_batch`; the default is the engine's slots."""

    dimensions: int | None = Field(default=None, ge=1)
    """Length of the vectors, for models that support several; other lengths are an error."""

    truncate: bool = False
    """Cut texts that are too long for the model, instead of an error."""

    query_instruction: str | None = None
    """Prefix for queries; `None` uses the model card's prefix if known, `""` adds none."""

    text_instruction: str | None = None
    """Prefix for texts; `None` uses the model card's prefix if known, `""` adds none."""

    if not TYPE_CHECKING:  # type checkers derive the constructor's signature from the fields

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
        """Load the model, to make the first request faster."""
        self._embed(["Hi"])

    async def awarm_up(self) -> None:
        """Load the model, to make the first request faster."""
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
