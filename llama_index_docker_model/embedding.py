"""`DockerModelEmbedding`: an embedding model of Docker Model Runner for LlamaIndex."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003  pydantic evaluates the fields
from typing import TYPE_CHECKING, Any, Literal

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import ConfigDict, Field, model_validator

from docker_model.env import FromEnv
from docker_model.errors import UnsupportedParameterError
from docker_model.options import Timeouts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from docker_model.http.client import Client

__all__ = ["DockerModelEmbedding"]


class DockerModelEmbedding(FromEnv, BaseEmbedding):
    """An embedding model of Docker Model Runner, asked over the runner's HTTP API.

    The API is found by itself. A batch is one request. Texts are sent as they are, and never
    as numbers of tokens, which only the model's own tokenizer could give. A model that makes
    no embeddings raises an error that names the command to configure it with.

    LlamaIndex's `embeddings_cache` looks texts up by themselves: do not share one between
    models, whose vectors it would mix.

    Example:
        ```python
        from llama_index_docker_model import DockerModelEmbedding

        embedding = DockerModelEmbedding(model_name="ai/mxbai-embed-large")
        embedding.get_text_embedding("What is a container?")
        ```
    """

    model_name: str
    """The model's name, such as `ai/mxbai-embed-large`."""

    num_workers: int | None = 4
    """Batches at once in `aget_text_embedding_batch`: as many as the runner's engine has slots."""

    dimensions: int | None = Field(default=None, ge=1)
    """The length of the vectors, for models that have a choice; no other length is returned."""

    if not TYPE_CHECKING:  # type checkers make the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            if "model" in settings and "model_name" not in settings:
                settings["model_name"] = settings.pop("model")
            super().__init__(**settings)

    @classmethod
    def _read_env(cls, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        words = {"model" if word == "model_name" else word: settings[word] for word in settings}
        completed = super()._read_env(name, words)
        return {"model_name": completed.pop("model"), **completed}

    @classmethod
    def class_name(cls) -> str:
        """The name under which `to_dict` writes this class."""
        return "DockerModelEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embeddings([query])[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return (await self._aget_text_embeddings([query]))[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._client().embed(self.model_name, texts, dimensions=self.dimensions)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await self._client().aembed(self.model_name, texts, dimensions=self.dimensions)
