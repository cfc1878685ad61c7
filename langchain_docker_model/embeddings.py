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

_BATCH_SIZE = 256  # texts between two calls of `on_embedded`


class DockerModelEmbeddings(HttpSettings, Embeddings):
    """An embedding model of Docker Model Runner, over the runner's HTTP API.

    Texts are sent as texts and never as token ids, which need the model's own tokenizer. For
    the common model families, the prefixes from the model card are added to queries and texts.
    If the model is not in embedding mode, the error names the command that configures it;
    `auto_configure=True` configures it automatically.

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

    In a cache, so that an interrupted job keeps its vectors:
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
    """Length of the vectors, for models that support several; other lengths are an error."""

    query_instruction: str | None = None
    """Prefix for queries; `None` uses the model card's prefix if known, `""` adds none."""

    text_instruction: str | None = None
    """Prefix for texts; `None` uses the model card's prefix if known, `""` adds none."""

    truncate: bool = False
    """Cut texts that are too long for the model, by exact token count, instead of an error."""

    on_embedded: Callable[[int, int], object] | None = Field(default=None, repr=False, exclude=True)
    """Function called during long jobs with two numbers: texts embedded so far, and all texts."""

    @property
    def cache_namespace(self) -> str:
        """A cache namespace, distinct for each model, pair of instructions and `dimensions`."""
        instructions = self._instructions
        key = [self.model, instructions.query, instructions.text, self.dimensions]
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]
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
        """Load the model, to make the first request faster."""
        self._embed(["Hi"], "")

    async def awarm_up(self) -> None:
        """Load the model, to make the first request faster."""
        await self._aembed(["Hi"], "")

    @property
    def _instructions(self) -> Instructions:
        return instructions_for(self.model, self.query_instruction, self.text_instruction)

    def _embed(self, texts: Iterable[str], instruction: str) -> list[list[float]]:
        vectors: list[list[float]] = []
        with as_langchain_errors():
            prefixed = [instruction + text for text in texts_of(texts)]
            client = self._client()
            if prefixed and self.auto_configure:
                client.configure_once(self.model, mode="embedding")
            for batch in self._batches(prefixed):
                vectors += client.embed(
                    self.model, batch, dimensions=self.dimensions, truncate=self.truncate
                )
                self._report(len(vectors), len(prefixed))
        return vectors

    async def _aembed(self, texts: Iterable[str], instruction: str) -> list[list[float]]:
        vectors: list[list[float]] = []
        with as_langchain_errors():
            prefixed = [instruction + text for text in texts_of(texts)]
            client = self._client()
            if prefixed and self.auto_configure:
                await client.aconfigure_once(self.model, mode="embedding")
            for batch in self._batches(prefixed):
                vectors += await client.aembed(
                    self.model, batch, dimensions=self.dimensions, truncate=self.truncate
                )
                self._report(len(vectors), len(prefixed))
        return vectors

    def _batches(self, texts: list[str]) -> list[list[str]]:
        size = len(texts) if self.on_embedded is None else _BATCH_SIZE
        return [texts[start : start + size] for start in range(0, len(texts), size or 1)]

    def _report(self, done: int, total: int) -> None:
        if self.on_embedded is not None:
            self.on_embedded(done, total)
