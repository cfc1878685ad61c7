"""`DockerModelEmbeddings`: an embedding model of Docker Model Runner for LangChain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from langchain_core.embeddings import Embeddings
from pydantic import Field

from docker_model.http.bodies import texts_of
from docker_model.http.instructions import instructions_for
from langchain_docker_model._http import HttpSettings
from langchain_docker_model.errors import as_langchain_errors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from docker_model.http.instructions import Instructions

__all__ = ["DockerModelEmbeddings"]

_REPORTED = 256  # texts between two calls of `on_embedded`


class DockerModelEmbeddings(HttpSettings, Embeddings):
    """An embedding model of Docker Model Runner, over the runner's HTTP API.

    Texts are sent as texts, never as token ids, which only the model's own tokenizer could
    give. What the model's card wants before queries and texts is put there, for the common
    families. A model that makes no embeddings raises an error that names the command to
    configure it with; `auto_configure=True` configures it.

    Setup:
        ```bash
        docker model pull ai/mxbai-embed-large
        pip install "docker-model-llm[langchain]"
        ```

    Instantiate and embed:
        ```python
        from langchain_docker_model import DockerModelEmbeddings

        embeddings = DockerModelEmbeddings(model="ai/mxbai-embed-large")
        vector = embeddings.embed_query("What is a container?")
        vectors = embeddings.embed_documents(["A container is a process.", "A pod is a group."])
        ```

    Async:
        ```python
        await embeddings.aembed_query("What is a container?")
        ```

    In a vector store:
        ```python
        from langchain_core.vectorstores import InMemoryVectorStore

        store = InMemoryVectorStore.from_texts(["A container is a process."], embeddings)
        store.similarity_search("What is a container?", k=1)
        ```

    In a cache, so that a job that was interrupted keeps what was done:
        ```python
        from langchain_classic.embeddings import CacheBackedEmbeddings
        from langchain_core.stores import InMemoryByteStore

        cached = CacheBackedEmbeddings.from_bytes_store(
            embeddings,
            InMemoryByteStore(),
            namespace=embeddings.cache_namespace,
            batch_size=256,
            key_encoder="sha256",
        )
        ```
    """

    dimensions: int | None = Field(default=None, ge=1)
    """The length of the vectors, for models that have a choice; no other length is returned."""

    query_instruction: str | None = None
    """Put before queries; `None` uses the model card's prefix where known, `""` puts nothing."""

    text_instruction: str | None = None
    """Put before texts; `None` uses the model card's prefix where known, `""` puts nothing."""

    truncate: bool = False
    """Cut texts that are longer than the model takes, by exact count, in place of an error."""

    on_embedded: Callable[[int, int], object] | None = Field(default=None, repr=False, exclude=True)
    """Called during long jobs, with the number of texts embedded so far and of all texts."""

    @property
    def cache_namespace(self) -> str:
        """A name for a cache: different for each model, instruction and number of dimensions."""
        words = self._instructions
        parts = [self.model, words.query, words.text, self.dimensions]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
        return f"{self.model}-{digest}"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each text."""
        return self._embed(texts, self._instructions.text)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each text."""
        return await self._aembed(texts, self._instructions.text)

    def embed_query(self, text: str) -> list[float]:
        """Return the query's vector."""
        return self._embed([text], self._instructions.query)[0]

    async def aembed_query(self, text: str) -> list[float]:
        """Return the query's vector."""
        return (await self._aembed([text], self._instructions.query))[0]

    def warm_up(self) -> None:
        """Load the model, so that the first vectors come soon."""
        self._embed(["Hi"], "")

    async def awarm_up(self) -> None:
        """Load the model, so that the first vectors come soon."""
        await self._aembed(["Hi"], "")

    @property
    def _instructions(self) -> Instructions:
        return instructions_for(self.model, self.query_instruction, self.text_instruction)

    def _embed(self, texts: Iterable[str], instruction: str) -> list[list[float]]:
        vectors: list[list[float]] = []
        with as_langchain_errors():
            sent = [instruction + text for text in texts_of(texts)]
            client = self._client()
            if sent and self.auto_configure:
                client.configure_once(self.model, mode="embedding")
            for part in self._parts(sent):
                vectors += client.embed(
                    self.model, part, dimensions=self.dimensions, truncate=self.truncate
                )
                self._report(len(vectors), len(sent))
        return vectors

    async def _aembed(self, texts: Iterable[str], instruction: str) -> list[list[float]]:
        vectors: list[list[float]] = []
        with as_langchain_errors():
            sent = [instruction + text for text in texts_of(texts)]
            client = self._client()
            if sent and self.auto_configure:
                await client.aconfigure_once(self.model, mode="embedding")
            for part in self._parts(sent):
                vectors += await client.aembed(
                    self.model, part, dimensions=self.dimensions, truncate=self.truncate
                )
                self._report(len(vectors), len(sent))
        return vectors

    def _parts(self, texts: list[str]) -> list[list[str]]:
        size = len(texts) if self.on_embedded is None else _REPORTED
        return [texts[start : start + size] for start in range(0, len(texts), size or 1)]

    def _report(self, done: int, total: int) -> None:
        if self.on_embedded is not None:
            self.on_embedded(done, total)
