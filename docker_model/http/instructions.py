"""The prefixes of embedding models for queries and texts, from their model cards.

Models that were trained with prefixes give worse results without them, and the engine does not
add them. Sources, all on huggingface.co: nomic-ai/nomic-embed-text-v1.5,
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
    """The prefixes for queries and texts.

    Attributes:
        query: The prefix of a query; empty for no prefix.
        text: The prefix of an indexed text; empty for no prefix.
    """

    query: str = ""
    text: str = ""


_PASSAGES = Instructions("Represent this sentence for searching relevant passages: ")
_TASK = "Instruct: Given a web search query, retrieve relevant passages that answer the query\n"
_NONE = Instructions()

# The first pattern that matches the model name determines the prefixes.
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
        ("bge-.*zh", Instructions("为这个句子生成表示以用于检索相关文章：")),  # noqa: RUF001  from the model card
        ("bge-(small|base|large).*en", _PASSAGES),
        (r"\be5-.*instruct", Instructions(f"{_TASK}Query: ")),
        (r"\be5-", Instructions("query: ", "passage: ")),
    )
)


def instructions_for(model: str, query: str | None = None, text: str | None = None) -> Instructions:
    """Return the prefixes for the queries and texts of a model.

    Args:
        model: The model name.
        query: The user's prefix for queries; `None` uses that of the model card, if known.
        text: The user's prefix for texts; `None` uses that of the model card, if known.
    """
    name = model.lower()
    known = next(
        (instructions for pattern, instructions in _BY_NAME if pattern.search(name)), _NONE
    )
    return Instructions(
        known.query if query is None else query, known.text if text is None else text
    )
