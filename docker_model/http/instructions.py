"""What embedding models want before queries and texts, by their model cards; pure.

Models that were trained with such words find less without them, and the engine does not add
them. Sources, all on huggingface.co: nomic-ai/nomic-embed-text-v1.5,
mixedbread-ai/mxbai-embed-large-v1, intfloat/e5-base-v2, intfloat/multilingual-e5-large-instruct,
BAAI/bge-base-en-v1.5, BAAI/bge-base-zh-v1.5, BAAI/bge-m3, Qwen/Qwen3-Embedding-0.6B,
Snowflake/snowflake-arctic-embed-m, Snowflake/snowflake-arctic-embed-m-v2.0,
google/embeddinggemma-300m.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Instructions", "instructions_for"]


@dataclass(frozen=True, slots=True)
class Instructions:
    """What is put before queries and texts.

    Attributes:
        query: Put before a query; empty if nothing is.
        text: Put before a text that is to be found; empty if nothing is.
    """

    query: str = ""
    text: str = ""


_PASSAGES = Instructions("Represent this sentence for searching relevant passages: ")
_TASK = "Instruct: Given a web search query, retrieve relevant passages that answer the query\n"
_NONE = Instructions()

# The first pattern that is found in the model's name counts.
_BY_NAME = tuple(
    (re.compile(pattern), instructions)
    for pattern, instructions in (
        ("nomic-embed|modernbert-embed", Instructions("search_query: ", "search_document: ")),
        ("mxbai-embed", _PASSAGES),
        ("snowflake-arctic-embed.*v2|arctic-embed2", Instructions("query: ")),
        ("arctic-embed", _PASSAGES),
        ("embedding-?gemma", Instructions("task: search result | query: ", "title: none | text: ")),
        ("qwen3-embedding", Instructions(f"{_TASK}Query:")),
        ("bge-m3", _NONE),
        ("bge-.*zh", Instructions("为这个句子生成表示以用于检索相关文章：")),  # noqa: RUF001  the card's own
        ("bge-(small|base|large).*en", _PASSAGES),
        (r"\be5-.*instruct", Instructions(f"{_TASK}Query: ")),
        (r"\be5-", Instructions("query: ", "passage: ")),
    )
)


def instructions_for(model: str, query: str | None = None, text: str | None = None) -> Instructions:
    """Return what is put before the queries and the texts of a model.

    Args:
        model: The model's name.
        query: The user's own for queries; `None` takes the model card's, where it is known.
        text: The user's own for texts; `None` takes the model card's.
    """
    name = model.lower()
    known = next(
        (instructions for pattern, instructions in _BY_NAME if pattern.search(name)), _NONE
    )
    return Instructions(
        known.query if query is None else query, known.text if text is None else text
    )
