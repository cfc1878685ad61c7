"""`DockerModelRerank`: a reranker of Docker Model Runner as a LangChain document compressor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.documents import Document
from langchain_core.documents.compressor import BaseDocumentCompressor
from pydantic import Field

from langchain_docker_model._http import HttpSettings
from langchain_docker_model.errors import as_langchain_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.callbacks import Callbacks

    from docker_model.types import Ranked

__all__ = ["DockerModelRerank"]


class DockerModelRerank(HttpSettings, BaseDocumentCompressor):
    """A reranker of Docker Model Runner, over the runner's HTTP API.

    A reranker reads the query and each document together and returns a score for the pair. The
    result is the best `top_n` documents, best first. Each is a copy with its score in
    `metadata["relevance_score"]`; documents with equal scores keep their order. If the model's
    metadata shows that it is not a reranker, the error names two rerankers.

    Setup:
        ```bash
        docker model pull ai/qwen3-reranker
        pip install "docker-model-llm[langchain]"
        ```

    Instantiate and rerank:
        ```python
        from langchain_core.documents import Document
        from langchain_docker_model import DockerModelRerank

        rerank = DockerModelRerank(model="ai/qwen3-reranker", top_n=1)
        documents = [Document("Oslo is in Norway."), Document("Paris is in France.")]
        best = rerank.compress_documents(documents, "capital of France")
        print(best[0].page_content, best[0].metadata["relevance_score"])
        ```

    Async:
        ```python
        await rerank.acompress_documents(documents, "capital of France")
        ```

    In a retriever:
        ```python
        from langchain_classic.retrievers import ContextualCompressionRetriever

        retriever = ContextualCompressionRetriever(
            base_compressor=rerank,
            base_retriever=vector_store.as_retriever(search_kwargs={"k": 20}),
        )
        ```
    """

    top_n: int | None = Field(default=3, ge=1)
    """Number of documents to return; `None` returns all."""

    force: bool = False
    """Also use a model that is not a reranker; its scores might be meaningless."""

    normalize: bool = False
    """Map the scores to values between 0 and 1 by the logistic function; the order stays."""

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
    ) -> Sequence[Document]:
        """Return the best documents, best first.

        Args:
            documents: The documents from a retriever.
            query: The query of the retriever.
            callbacks: Ignored: LangChain has no event for compressors.
        """
        if not documents:
            return []
        with as_langchain_errors():
            client = self._client()
            if self.auto_configure:
                client.configure_once(self.model, mode="reranking")
            ranked = client.rerank(
                self.model, query, _texts(documents), top_n=self.top_n, force=self.force
            )
        return self._best(documents, ranked)

    async def acompress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
    ) -> Sequence[Document]:
        """Return the best documents, best first.

        Args:
            documents: The documents from a retriever.
            query: The query of the retriever.
            callbacks: Ignored: LangChain has no event for compressors.
        """
        if not documents:
            return []
        with as_langchain_errors():
            client = self._client()
            if self.auto_configure:
                await client.aconfigure_once(self.model, mode="reranking")
            ranked = await client.arerank(
                self.model, query, _texts(documents), top_n=self.top_n, force=self.force
            )
        return self._best(documents, ranked)

    def warm_up(self) -> None:
        """Load the model, to make the first request faster."""
        self.compress_documents([Document("Hi")], "Hi")

    async def awarm_up(self) -> None:
        """Load the model, to make the first request faster."""
        await self.acompress_documents([Document("Hi")], "Hi")

    def _best(self, documents: Sequence[Document], ranked: Sequence[Ranked]) -> list[Document]:
        """Return copies of the ranked documents with their scores."""
        best = []
        for item in ranked:
            document = documents[item.index]
            score = item.normalized_score if self.normalize else item.score
            metadata = {**document.metadata, "relevance_score": score}
            best.append(document.model_copy(update={"metadata": metadata}))
        return best


def _texts(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]
