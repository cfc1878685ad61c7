"""Embeddings, on the I/O thread."""

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

from docker_model.errors import ContextLengthError, GenerationError, UnsupportedParameterError
from docker_model.http import bodies, failures
from docker_model.http.events import parse_reply
from docker_model.http.replies import failure_of
from docker_model.http.request import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docker_model.http.request import RequestOptions

PATH = "/embeddings"
AT_ONCE = 4  # requests, since llama.cpp has as many slots
_TRIES = 8  # to find out how much of a text fits
_NUMBERS = frozenset({int, float})


async def embed(
    options: RequestOptions,
    model: str,
    texts: Sequence[str],
    dimensions: int | None,
    *,
    truncate: bool,
) -> list[list[float]]:
    """Return the vectors of texts, in their order.

    Args:
        options: How requests are made.
        model: The model's name.
        texts: What to embed.
        dimensions: How long the vectors must be; `None` for any length.
        truncate: Whether texts that are too long are cut, or an error.

    Raises:
        ContextLengthError: If a text is too long; names it.
        DockerModelError: If a request failed, or the vectors cannot be used.
    """
    job = _Job(options, model, dimensions, truncate)
    parts = await job.run(list(bodies.batches(texts, chars=bodies.EMBEDDED_CHARS)))
    vectors = [vector for part in parts for vector in part]
    sizes = {len(vector) for vector in vectors}
    if len(sizes) > 1:
        raise _unusable(model, "of different lengths")
    if dimensions is not None and sizes and sizes != {dimensions}:
        msg = f"the engine ignores dimensions: it gave {sizes.pop()} of them, not {dimensions}"
        hint = "leave dimensions= out, or shorten and normalize the vectors yourself"
        raise UnsupportedParameterError(msg, hint=hint)
    return vectors


@dataclass(frozen=True, slots=True)
class _Job:
    options: RequestOptions
    model: str
    dimensions: int | None
    truncate: bool

    async def run(self, batches: Sequence[list[str]]) -> list[list[list[float]]]:
        """Embed batches, a few at once; the first that fails ends the others."""
        written = [
            (batch, self._body(batch)) for batch in batches
        ]  # raises before anything is sent
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
            if len(texts) > 1:  # find the text that is too long
                half = len(texts) // 2
                left = await self._batch(texts[:half], first)
                return left + await self._batch(texts[half:], first + half)
            if self.truncate:
                return [await self._truncated(texts[0], first, error)]
            raise self._too_long(first, error) from error
        return _vectors(reply, len(texts), self.model, first)

    async def _truncated(self, text: str, index: int, error: ContextLengthError) -> list[float]:
        """Embed as much of the beginning of a text as the engine takes.

        The engine counts: an error says how many tokens were too many, and a reply how many
        there were.
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
            f"texts[{index}] is longer than {self.model!r} takes",
            hint=f"{error.hint}; truncate=True cuts texts that are too long",
            detail=error.detail,
            prompt_tokens=error.prompt_tokens,
            context_size=error.context_size,
        )


def _limit(error: ContextLengthError) -> int | None:
    """Return how many tokens the engine takes, as far as its error says so."""
    match = re.search(r"batch size: (\d+)", error.detail)
    return int(match[1]) if match else error.context_size


def _vectors(reply: dict[str, Any], count: int, model: str, before: int) -> list[list[float]]:
    """Return the vectors of one reply, in the order of its texts.

    Args:
        reply: What came.
        count: How many texts were sent.
        model: The model's name.
        before: How many texts were sent in former requests.
    """
    data = reply.get("data")
    items = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    if all(item.get("index") is None for item in items):
        items = [{**item, "index": index} for index, item in enumerate(items)]
    by_index: dict[Any, Any] = {item.get("index"): item.get("embedding") for item in items}
    if len(items) != count or sorted(by_index, key=str) != sorted(range(count), key=str):
        raise _unusable(model, f"not one for each of {count} texts")
    return [_vector(by_index[index], model, index + before) for index in range(count)]


def _vector(given: Any, model: str, index: int) -> list[float]:
    """Return a vector of finite numbers: decoded, if it came as base64."""
    if isinstance(given, str):
        try:
            numbers = array("f", base64.b64decode(given, validate=True))
        except ValueError:
            raise _unusable(model, f"not readable for texts[{index}]") from None
        if sys.byteorder == "big":
            numbers.byteswap()
        given = numbers.tolist()
    if not isinstance(given, list) or not given:
        raise _unusable(model, f"none for texts[{index}]")
    # In the speed of C; the sum of what is finite is finite, too.
    if set(map(type, given)) <= _NUMBERS and math.isfinite(sum(given)):
        return given
    for number in given:
        # NaN, which JSON has no word for, comes as null from some engines.
        if type(number) not in _NUMBERS:
            raise _unusable(model, f"not made of numbers for texts[{index}]: {number!r}")
        if not math.isfinite(number):
            raise _unusable(model, f"not made of finite numbers for texts[{index}]: {number}")
    return given


def _unusable(model: str, what: str) -> GenerationError:
    msg = f"the vectors that came back from {model!r} are {what}"
    hint = "is it an embedding model? " + failures.POOLING_HINT.format(model=model)
    return GenerationError(msg, hint=hint)
