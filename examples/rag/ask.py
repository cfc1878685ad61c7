"""The command line of `langchain_rag.py` and `llama_index_rag.py`, for one question."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def source_of(passage: Any) -> tuple[str, str]:
    """Return the file and the text of a passage of either framework."""
    text = passage.page_content if hasattr(passage, "page_content") else passage.get_content()
    return passage.metadata["source"], text


async def ask(rag: Any, question: str) -> None:
    """Print the answer while it is generated, and its sources."""
    passages = await rag.find(question)
    async for piece in rag.answer(question, passages):
        print(piece, end="", flush=True)
    print("\n\nSources:")
    for name, text in map(source_of, passages):
        print(f"  {name}: {text[:70]}…")


def main(open_rag: Callable[[str], Any]) -> None:
    """Parse the command line and answer the question."""
    parser = argparse.ArgumentParser()
    parser.add_argument("question", nargs="?", default="Which ship has an elevator?")
    parser.add_argument("--store", choices=["chroma", "qdrant"], default="chroma")
    options = parser.parse_args()
    with open_rag(options.store) as rag:
        asyncio.run(ask(rag, options.question))
