"""Read a folder of Markdown and PDF files, and count tokens as the embedding model does."""

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
FOUND, KEPT = 8, 3  # passages that the store finds, and those that the model gets to read

PROMPT = """\
{passages}

Answer in one short sentence, with what stands above alone. Question: {question}"""


def read_folder(folder: Path = DOCUMENTS) -> dict[str, str]:
    """Return the text of each file; a blank line is between two paragraphs."""
    return {
        path.name: read_pdf(path) if path.suffix == ".pdf" else path.read_text("utf-8")
        for path in sorted(folder.iterdir())
        if path.suffix in {".md", ".pdf"}
    }


def read_pdf(path: Path) -> str:
    """Return the text of a PDF; its layout shows where a paragraph ends."""
    pages = (page.extract_text(extraction_mode="layout") for page in PdfReader(path).pages)
    paragraphs = "\n\n".join(pages).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def model(name: str) -> dict[str, Any]:
    """Return a model's settings: as Compose sets them, or else the usual ones.

    Compose sets `CHAT_MODEL` and `CHAT_URL` for a model that `compose.yaml` calls `chat`. Without
    a URL the runner is looked for.
    """
    prefix = name.upper()
    return {
        "model": os.environ.get(f"{prefix}_MODEL") or DEFAULTS[name],
        "base_url": os.environ.get(f"{prefix}_URL") or None,
    }


def reranker() -> dict[str, Any] | None:
    """Return a reranker's settings: Compose's, or the first pulled model that is a reranker."""
    if "RERANKER_MODEL" in os.environ:
        return model("reranker")
    names = (info.name for info in list_models() if "reranking" in info.capabilities)
    name = next(names, None)
    return {"model": name} if name else None


def token_counter() -> Callable[[str], int]:
    """Return a function that counts a text's tokens exactly, by the embedding model's tokenizer.

    The model is asked over HTTP, which takes a few milliseconds. Its count includes the frame
    of a message, which is the same for all texts.
    """
    counted = DockerModel(**model("embedding"), transport="http")
    frame = counted.count_tokens("a") - 1

    @lru_cache(maxsize=10_000)
    def count(text: str) -> int:
        return counted.count_tokens(text) - frame if text.strip() else 0

    return count


@contextmanager
def filling(place: Path) -> Iterator[bool]:
    """Give whether a store on disk has to be filled; a store that was filled in part is deleted."""
    complete = place / "complete"
    is_new = not complete.exists()
    if is_new:
        shutil.rmtree(place, ignore_errors=True)
    yield is_new
    complete.touch()
