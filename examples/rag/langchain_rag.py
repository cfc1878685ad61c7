"""Answer questions about a folder of documents with LangChain, and name the sources.

    docker model pull ai/smollm2
    docker model pull ai/all-minilm
    pip install langchain-chroma langchain-qdrant langchain-text-splitters pypdf
    python examples/rag/langchain_rag.py "Which ship has an elevator?"

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
from langchain_core.documents import Document
from langchain_text_splitters import RecursiveCharacterTextSplitter

from langchain_docker_model import ChatDockerModel, DockerModelEmbeddings, DockerModelRerank

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import VectorStore


def split() -> list[Document]:
    """Split the documents into passages of limited length, if possible at paragraphs."""
    splitter = RecursiveCharacterTextSplitter(
        separators=["\n\n", ". ", " "],
        chunk_size=CHUNK_TOKENS,
        chunk_overlap=0,
        length_function=token_counter(),
    )
    documents = [Document(text, metadata={"source": name}) for name, text in read_folder().items()]
    return splitter.split_documents(documents)


@contextmanager
def open_store(kind: str, folder: Path) -> Iterator[VectorStore]:
    """Open a vector store on disk, and embed the documents if it is new."""
    embeddings = DockerModelEmbeddings(**model("embedding"))
    place = folder / f"langchain-{kind}"
    with ExitStack() as stack:
        with filling(place) as is_new:
            if kind == "chroma":
                store = chroma(place, embeddings)
            else:
                store = qdrant(place, embeddings, stack)
            if is_new:
                store.add_documents(split())
        yield store


def chroma(place: Path, embeddings: Embeddings) -> VectorStore:
    """Open Chroma on disk."""
    from langchain_chroma import Chroma  # noqa: PLC0415  only one store is required

    settings = {"hnsw:space": "cosine"}
    return Chroma("documents", embeddings, str(place), collection_metadata=settings)


def qdrant(place: Path, embeddings: Embeddings, stack: ExitStack) -> VectorStore:
    """Open Qdrant's local mode, which locks its folder until the stack is closed."""
    from langchain_qdrant import QdrantVectorStore  # noqa: PLC0415
    from qdrant_client import QdrantClient  # noqa: PLC0415
    from qdrant_client.models import Distance, VectorParams  # noqa: PLC0415

    client = QdrantClient(path=str(place))
    stack.callback(client.close)
    if not client.collection_exists("documents"):
        size = len(embeddings.embed_query("any"))
        client.create_collection("documents", VectorParams(size=size, distance=Distance.COSINE))
    return QdrantVectorStore(client, "documents", embeddings)


class Rag:
    """Finds passages and generates answers from them."""

    def __init__(self, store: VectorStore) -> None:
        """Use a store, and a reranker if one is available."""
        self.store = store
        settings = reranker()
        self.rerank = DockerModelRerank(**settings, top_n=KEPT) if settings else None
        self.chat = ChatDockerModel(**model("chat"), temperature=0, max_tokens=120)

    async def find(self, question: str, count: int = KEPT) -> list[Document]:
        """Return the passages for a question, best first."""
        documents = await self.store.asimilarity_search(question, k=max(FOUND, count))
        if self.rerank:
            rerank = self.rerank.model_copy(update={"top_n": count})
            documents = list(await rerank.acompress_documents(documents, question))
        return documents[:count]

    async def answer(self, question: str, passages: list[Document]) -> AsyncIterator[str]:
        """Yield the pieces of the answer."""
        texts = "\n\n".join(passage.page_content for passage in passages)
        async for chunk in self.chat.astream(PROMPT.format(passages=texts, question=question)):
            yield str(chunk.text)


@contextmanager
def open_rag(kind: str = "chroma", folder: Path = STORE) -> Iterator[Rag]:
    """Open the store and create a `Rag`, for this file, `evaluate.py` and `web.py`."""
    with open_store(kind, folder) as store:
        yield Rag(store)


if __name__ == "__main__":
    from ask import main

    main(open_rag)
