"""Answer questions about a folder of documents with LlamaIndex, and name the sources.

    docker model pull ai/smollm2
    docker model pull ai/all-minilm
    pip install llama-index-vector-stores-chroma llama-index-vector-stores-qdrant pypdf
    python examples/rag/llama_index_rag.py "Which ship has an elevator?"

`--store qdrant` stores the vectors in Qdrant's local mode instead of Chroma.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from folder import (
    CHUNK_TOKENS,
    FOUND,
    KEPT,
    PROMPT,
    STORE,
    filling,
    model,
    read_folder,
    reranker,
    token_counter,
)
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle

from llama_index_docker_model import DockerModelEmbedding, DockerModelLLM, DockerModelRerank

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from llama_index.core.vector_stores.types import BasePydanticVectorStore


def split() -> list[BaseNode]:
    """Split the documents into passages of limited length, if possible at sentences."""
    count = token_counter()
    splitter = SentenceSplitter(
        chunk_size=CHUNK_TOKENS,
        chunk_overlap=0,
        paragraph_separator="\n\n",
        tokenizer=lambda text: list(range(count(text))),
    )
    # The metadata have the name of the file, which is neither embedded nor shown to the model.
    documents = [
        Document(
            text=text,
            metadata={"source": name},
            excluded_embed_metadata_keys=["source"],
            excluded_llm_metadata_keys=["source"],
        )
        for name, text in read_folder().items()
    ]
    return splitter.get_nodes_from_documents(documents)


@contextmanager
def open_index(kind: str, folder: Path) -> Iterator[VectorStoreIndex]:
    """Open an index over a vector store on disk, and embed the documents if it is new."""
    place = folder / f"llama-index-{kind}"
    with ExitStack() as stack:
        with filling(place) as is_new:
            store = chroma(place) if kind == "chroma" else qdrant(place, stack)
            index = VectorStoreIndex.from_vector_store(
                store, embed_model=DockerModelEmbedding(**model("embedding"))
            )
            if is_new:
                index.insert_nodes(split())
        yield index


def chroma(place: Path) -> BasePydanticVectorStore:
    """Open Chroma on disk."""
    import chromadb  # noqa: PLC0415  only one store is required
    from llama_index.vector_stores.chroma import ChromaVectorStore  # noqa: PLC0415

    collection = chromadb.PersistentClient(str(place)).get_or_create_collection(
        "documents", metadata={"hnsw:space": "cosine"}
    )
    return ChromaVectorStore(chroma_collection=collection)


def qdrant(place: Path, stack: ExitStack) -> BasePydanticVectorStore:
    """Open Qdrant's local mode, which locks its folder until the stack is closed."""
    from llama_index.vector_stores.qdrant import QdrantVectorStore  # noqa: PLC0415
    from qdrant_client import QdrantClient  # noqa: PLC0415

    client = QdrantClient(path=str(place))
    stack.callback(client.close)
    return QdrantVectorStore("documents", client=client)


class Rag:
    """Finds passages and generates answers from them."""

    def __init__(self, index: VectorStoreIndex) -> None:
        """Use an index, and a reranker if one is available."""
        self.index = index
        settings = reranker()
        self.rerank = DockerModelRerank(**settings, top_n=KEPT) if settings else None
        self.llm = DockerModelLLM(**model("chat"), temperature=0, max_tokens=120)

    async def find(self, question: str, count: int = KEPT) -> list[NodeWithScore]:
        """Return the passages for a question, best first."""
        # The stores on disk have no async client, so only the model is awaited.
        query = QueryBundle(question)
        query.embedding = await self.index._embed_model.aget_query_embedding(question)  # noqa: SLF001
        nodes = self.index.as_retriever(similarity_top_k=max(FOUND, count)).retrieve(query)
        if self.rerank:
            rerank = self.rerank.model_copy(update={"top_n": count})
            nodes = await rerank.apostprocess_nodes(nodes, query)
        return nodes[:count]

    async def answer(self, question: str, passages: list[NodeWithScore]) -> AsyncIterator[str]:
        """Yield the pieces of the answer."""
        texts = "\n\n".join(passage.get_content() for passage in passages)
        prompt = PROMPT.format(passages=texts, question=question)
        async for chunk in await self.llm.astream_complete(prompt):
            yield chunk.delta or ""


@contextmanager
def open_rag(kind: str = "chroma", folder: Path = STORE) -> Iterator[Rag]:
    """Open the store and create a `Rag`, for this file, `evaluate.py` and `web.py`."""
    with open_index(kind, folder) as index:
        yield Rag(index)


if __name__ == "__main__":
    from ask import main

    main(open_rag)
