"""Embed texts, on the I/O thread."""

from __future__ import annotations

import asyncio
import base64
import math
import re
import sys
from array import array
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from docker_model.errors import (
    ContextLengthError,
    DockerModelError,
    GenerationError,
    InvalidRequestError,
    UnsupportedParameterError,
)
from docker_model.http import bodies, failures
from docker_model.http.events import parse_reply
from docker_model.http.management import HttpManagement
from docker_model.http.replies import failure_of
from docker_model.http.request import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docker_model.http.request import RequestOptions

PATH = "/embeddings"
AT_ONCE = 4  # parallel requests: the number of slots of llama.cpp
_TRIES = 8  # attempts to find the longest part of a text that fits
_NUMBERS = frozenset({int, float})


async def embed(
    options: RequestOptions,
    model: str,
    texts: Sequence[str],
    dimensions: int | None,
    *,
    truncate: bool,
) -> list[list[float]]:
    """Return the vectors of texts, in the order of the texts.

    Args:
        options: The settings of requests.
        model: The model name.
        texts: The texts to embed.
        dimensions: The required length of the vectors; `None` for any length.
        truncate: Whether to truncate texts that are too long, instead of raising an error.

    Raises:
        ContextLengthError: If a text is too long; the message contains its index.
        InvalidRequestError: If the model is a reranker.
        DockerModelError: If a request failed, or the vectors are invalid.
    """
    job = _Job(options, model, dimensions, truncate)
    parts = await job.run(list(bodies.batches(texts, chars=bodies.EMBEDDED_CHARS)))
    vectors = [vector for part in parts for vector in part]
    if vectors and not any(vectors[0]):
        await _refuse_reranker(options, model)
    sizes = {len(vector) for vector in vectors}
    if len(sizes) > 1:
        raise _unusable(model, "of different lengths")
    if dimensions is not None and sizes and sizes != {dimensions}:
        msg = f"the engine ignores dimensions={dimensions}: it returned {sizes.pop()} dimensions"
        hint = "omit dimensions=, or truncate and normalize the vectors yourself"
        raise UnsupportedParameterError(msg, hint=hint)
    return vectors


async def _refuse_reranker(options: RequestOptions, model: str) -> None:
    """Reject a reranker, whose vectors are zeros, because it computes only scores.

    A server that cannot describe the model is not a Docker Model Runner, and its zeros are valid.
    """
    try:
        known = await HttpManagement(options).inspect(model)
    except DockerModelError:
        return
    if "reranking" in known.capabilities:
        msg = f"{model!r} is a reranker, which has no embeddings"
        hint = "use an embedding model such as ai/mxbai-embed-large; this model is for rerank()"
        raise InvalidRequestError(msg, hint=hint)


@dataclass(frozen=True, slots=True)
class _Job:
    options: RequestOptions
    model: str
    dimensions: int | None
    truncate: bool

    async def run(self, batches: Sequence[list[str]]) -> list[list[list[float]]]:
        """Embed batches, several in parallel; the first failure cancels the others."""
        written = [
            (batch, self._body(batch)) for batch in batches
        ]  # raises errors of invalid texts before the first request
        gate = asyncio.Semaphore(AT_ONCE)

        async def part(first: int, batch: list[str], body: bytes) -> list[list[float]]:
            async with gate:
                return await self._batch(batch, first, body)

        starts = accumulate((len(batch) for batch in batches), initial=0)
        tasks = [
            asyncio.ensure_future(part(first, batch, body))
            for first, (batch, body) in zip(starts, written, strict=False)
        ]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _batch(
        self, texts: list[str], first: int, body: bytes | None = None
    ) -> list[list[float]]:
        try:
            reply = await self._ask(body or self._body(texts))
        except ContextLengthError as error:
            if len(texts) > 1:  # divide the batch to find the text that is too long
                half = len(texts) // 2
                left = await self._batch(texts[:half], first)
                return left + await self._batch(texts[half:], first + half)
            if self.truncate:
                return [await self._truncated(texts[0], first, error)]
            raise self._too_long(first, error) from error
        return _vectors(reply, len(texts), self.model, first)

    async def _truncated(self, text: str, index: int, error: ContextLengthError) -> list[float]:
        """Embed the longest prefix of a text that the engine accepts.

        Errors and replies of the engine contain token counts, from which the next attempt
        estimates the length.
        """
        limit = _limit(error)
        if limit is None or not error.prompt_tokens:
            raise self._too_long(index, error) from error
        vector: list[float] | None = None
        fits, too_long = 0, len(text)
        size = len(text) * limit // error.prompt_tokens
        for _ in range(_TRIES):
            size = max(fits + 1, min(size, too_long - 1))
            if size >= too_long:
                break
            try:
                reply = await self._ask(self._body([text[:size]]))
            except ContextLengthError as again:
                too_long = size
                size = size * limit // max(again.prompt_tokens or 0, limit + 1)
                continue
            [vector] = _vectors(reply, 1, self.model, index)
            fits = size
            tokens = (reply.get("usage") or {}).get("prompt_tokens")
            if not tokens or tokens >= limit:
                break
            size += max(1, (limit - tokens) * size // tokens)
        if vector is None:
            raise self._too_long(index, error) from error
        return vector

    async def _ask(self, body: bytes) -> dict[str, Any]:
        reply = parse_reply(await HttpRequest(self.options, self.model, PATH, body).whole())
        if failure := failure_of(reply, self.model, str):
            raise failure
        return reply

    def _body(self, texts: list[str]) -> bytes:
        return bodies.embeddings(self.model, texts, self.dimensions)

    def _too_long(self, index: int, error: ContextLengthError) -> ContextLengthError:
        return ContextLengthError(
            f"texts[{index}] is longer than {self.model!r} accepts",
            hint=f"{error.hint}; or pass truncate=True to truncate texts that are too long",
            detail=error.detail,
            prompt_tokens=error.prompt_tokens,
            context_size=error.context_size,
        )


def _limit(error: ContextLengthError) -> int | None:
    """Return the engine's limit in tokens, if its error contains the limit."""
    match = re.search(r"batch size: (\d+)", error.detail)
    return int(match[1]) if match else error.context_size


def _vectors(reply: dict[str, Any], count: int, model: str, before: int) -> list[list[float]]:
    """Return the vectors of a reply, in the order of its texts.

    Args:
        reply: The reply.
        count: The number of texts in the request.
        model: The model name.
        before: The number of texts in earlier requests.
    """
    data = reply.get("data")
    items = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    if all(item.get("index") is None for item in items):
        items = [{**item, "index": index} for index, item in enumerate(items)]
    by_index: dict[Any, Any] = {item.get("index"): item.get("embedding") for item in items}
    if len(items) != count or sorted(by_index, key=str) != sorted(range(count), key=str):
        raise _unusable(model, f"not one vector for each of {count} texts")
    return [_vector(by_index[index], model, index + before) for index in range(count)]


def _vector(embedding: Any, model: str, index: int) -> list[float]:
    """Return a vector of finite numbers; decode base64."""
    encoded = isinstance(embedding, str)
    if encoded:
        try:
            numbers = array("f", base64.b64decode(embedding, validate=True))
        except ValueError:
            raise _unusable(model, f"not readable for texts[{index}]") from None
        if sys.byteorder == "big":
            numbers.byteswap()
        embedding = numbers.tolist()
    if not isinstance(embedding, list) or not embedding:
        raise _unusable(model, f"missing for texts[{index}]")
    # A fast check in C: the sum of finite numbers is finite.
    if (encoded or set(map(type, embedding)) <= _NUMBERS) and math.isfinite(sum(embedding)):
        return embedding
    for number in embedding:
        # Some engines send NaN as null, because JSON has no NaN.
        if type(number) not in _NUMBERS:
            raise _unusable(model, f"not made of numbers for texts[{index}]: {number!r}")
        if not math.isfinite(number):
            raise _unusable(model, f"not made of finite numbers for texts[{index}]: {number}")
    return embedding


def _unusable(model: str, what: str) -> GenerationError:
    msg = f"the vectors of {model!r} are {what}"
    hint = "use an embedding model, or " + failures.POOLING_HINT.format(model=model)
    return GenerationError(msg, hint=hint)
