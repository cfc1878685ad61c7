"""Read a folder of Markdown and PDF files, and count tokens with the embedding model."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pypdf import PdfReader

from docker_model import DockerModel, list_models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
DOCUMENTS = HERE / "documents"
# Data derived from the documents, which can be deleted at any time.
STORE = Path(os.environ.get("RAG_STORE") or HERE / "store")
DEFAULTS = {"chat": "ai/smollm2", "embedding": "ai/all-minilm"}
CHUNK_TOKENS = 64  # a paragraph or two; all-minilm reads 512 at most
FOUND, KEPT = 8, 3  # passages from the store, and passages in the prompt

PROMPT = """\
{passages}

Answer in one short sentence, with what stands above alone. Question: {question}"""


def read_folder(folder: Path = DOCUMENTS) -> dict[str, str]:
    """Return the text of each file, with blank lines between paragraphs."""
    return {
        path.name: read_pdf(path) if path.suffix == ".pdf" else path.read_text("utf-8")
        for path in sorted(folder.iterdir())
        if path.suffix in {".md", ".pdf"}
    }


def read_pdf(path: Path) -> str:
    """Return the text of a PDF file, with paragraphs according to its layout."""
    pages = (page.extract_text(extraction_mode="layout") for page in PdfReader(path).pages)
    paragraphs = "\n\n".join(pages).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def model(name: str) -> dict[str, Any]:
    """Return the settings of a model from Compose's variables, or the defaults.

    Compose sets `CHAT_MODEL` and `CHAT_URL` for a model that `compose.yaml` calls `chat`. Without
    a URL, the classes find the runner.
    """
    prefix = name.upper()
    return {
        "model": os.environ.get(f"{prefix}_MODEL") or DEFAULTS[name],
        "base_url": os.environ.get(f"{prefix}_URL") or None,
    }


def reranker() -> dict[str, Any] | None:
    """Return the settings of a reranker from Compose, or of the first pulled one, or `None`."""
    if "RERANKER_MODEL" in os.environ:
        return model("reranker")
    names = (info.name for info in list_models() if "reranking" in info.capabilities)
    name = next(names, None)
    return {"model": name} if name else None


def token_counter() -> Callable[[str], int]:
    """Return a function that counts the tokens of a text with the embedding model's tokenizer.

    A count is an HTTP request of a few milliseconds. The engine's count includes the tokens of a
    message frame, which are the same for all texts.
    """
    embedding_model = DockerModel(**model("embedding"), transport="http")
    frame = embedding_model.count_tokens("a") - 1

    @lru_cache(maxsize=10_000)
    def count(text: str) -> int:
        return embedding_model.count_tokens(text) - frame if text.strip() else 0

    return count


@contextmanager
def filling(store: Path) -> Iterator[bool]:
    """Yield whether a store on disk must be filled. Delete an incomplete store before."""
    complete = store / "complete"
    is_new = not complete.exists()
    if is_new:
        shutil.rmtree(store, ignore_errors=True)
    yield is_new
    complete.touch()
