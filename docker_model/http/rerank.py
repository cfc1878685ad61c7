"""Rank documents by their relevance to a query, on the I/O thread."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from docker_model.errors import (
    ContextLengthError,
    GenerationError,
    InvalidRequestError,
)
from docker_model.http import bodies, failures
from docker_model.http.events import parse_object
from docker_model.http.management import HttpManagement, known_model
from docker_model.http.request import HttpRequest
from docker_model.options import check_count
from docker_model.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from docker_model.http.request import RequestOptions

PATH = "/rerank"
RERANKERS = ("ai/qwen3-reranker", "hf.co/gpustack/bge-reranker-v2-m3-GGUF")


async def rerank(
    options: RequestOptions,
    model: str,
    query: str,
    documents: Sequence[str],
    *,
    top_n: int | None,
    force: bool,
) -> list[Ranked]:
    """Rank documents, best first; documents with equal scores keep their order.

    Raises:
        InvalidRequestError: If the model is not a reranker.
        ContextLengthError: If a document and the query together are too long; the message
            contains the index of the document.
    """
    if not force:
        await _check_reranker(options, model)
    scores: list[float] = []
    for batch in bodies.batches(documents, chars=bodies.RANKED_CHARS):
        scores += await _scores(options, model, query, batch, len(scores))
    ranked = [Ranked(index, score) for index, score in enumerate(scores)]
    ranked.sort(key=lambda item: -item.score)
    return ranked if top_n is None else ranked[:top_n]


async def _check_reranker(options: RequestOptions, model: str) -> None:
    """Reject a model that is not a reranker, because llama.cpp returns meaningless scores."""
    known = known_model(options.place, model) or await HttpManagement(options).inspect(model)
    if "reranking" in known.capabilities:
        return
    msg = f"{model!r} is not a reranker according to its metadata"
    hint = (
        f"use a model such as {' or '.join(RERANKERS)} (`docker model pull {RERANKERS[0]}`), "
        "or pass force=True if the metadata are wrong"
    )
    raise InvalidRequestError(msg, hint=hint)


async def _scores(
    options: RequestOptions, model: str, query: str, documents: list[str], first: int
) -> list[float]:
    body = bodies.encode({"model": model, "query": query, "documents": documents})
    try:
        reply = parse_object(await HttpRequest(options, model, PATH, body).whole())
        if reply.get("error"):
            raise failures.name_event(reply["error"], model, "")
    except ContextLengthError as error:
        if len(documents) > 1:  # divide the batch to find the document that is too long
            half = len(documents) // 2
            left = await _scores(options, model, query, documents[:half], first)
            return left + await _scores(options, model, query, documents[half:], first + half)
        msg = f"document {first} and the query are longer than {model!r} accepts"
        raise ContextLengthError(
            msg,
            hint="split the document into shorter pieces, or shorten the query",
            detail=error.detail,
            prompt_tokens=error.prompt_tokens,
            context_size=error.context_size,
        ) from error
    return _read(reply, len(documents), model)


def _read(reply: dict[str, Any], count: int, model: str) -> list[float]:
    """Return the score of each document, in the order of the documents."""
    results = reply.get("results")
    scores: dict[object, object] = {}
    for item in results if isinstance(results, list) else ():
        if isinstance(item, dict):
            scores[item.get("index")] = item.get("relevance_score", item.get("score"))
    in_order = [scores.get(index) for index in range(count)]
    if not all(
        isinstance(score, (int, float)) and not isinstance(score, bool) and math.isfinite(score)
        for score in in_order
    ):
        msg = f"the engine of {model!r} did not return one score for each of {count} documents"
        raise GenerationError(msg, hint=f"use a reranker, such as {RERANKERS[0]}")
    return [float(score) for score in in_order]  # type: ignore[arg-type]


def checked(query: str, documents: Iterable[str], top_n: int | None) -> list[str]:
    """Validate the arguments of a call, and return the documents.

    Raises:
        InvalidRequestError: If an argument is invalid.
    """
    if not isinstance(query, str) or not query.strip():
        msg = "the query must be a string that is not blank"
        raise InvalidRequestError(msg, hint='for example rerank(model, "capital of France", texts)')
    if isinstance(documents, str):
        msg = "documents must be several strings, not one string"
        raise InvalidRequestError(msg, hint='for example ["one text", "another text"]')
    check_count("top_n", top_n, least=1, optional=True)
    texts = list(documents)
    for index, document in enumerate(texts):
        if not isinstance(document, str):
            msg = f"document {index} must be a string, not {type(document).__name__}"
            raise InvalidRequestError(msg, hint='for example ["one text", "another text"]')
    return texts
