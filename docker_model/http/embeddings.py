"""Embeddings, on the I/O thread."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from docker_model.errors import GenerationError, UnsupportedParameterError
from docker_model.http import failures
from docker_model.http.events import parse_reply
from docker_model.http.replies import failure_of
from docker_model.http.request import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docker_model.http.request import RequestOptions

PATH = "/embeddings"


async def embed(
    options: RequestOptions,
    model: str,
    batches: Sequence[tuple[int, bytes]],
    dimensions: int | None,
) -> list[list[float]]:
    """Return the vectors of all batches, one request after the other.

    The engine works on the texts of one batch at the same time by itself.

    Raises:
        DockerModelError: If the request failed, or the vectors cannot be used.
    """
    vectors: list[list[float]] = []
    for count, body in batches:
        reply = parse_reply(await HttpRequest(options, model, PATH, body).whole())
        if failure := failure_of(reply, model, str):
            raise failure
        vectors += _vectors(reply, count, model, len(vectors))
    sizes = {len(vector) for vector in vectors}
    if len(sizes) > 1:
        raise _unusable(model, "of different lengths")
    if dimensions is not None and sizes and sizes != {dimensions}:
        msg = f"the engine ignores dimensions: it gave {sizes.pop()} of them, not {dimensions}"
        hint = "leave dimensions= out, or shorten and normalize the vectors yourself"
        raise UnsupportedParameterError(msg, hint=hint)
    return vectors


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
    vectors = [by_index[index] for index in range(count)]
    for index, vector in enumerate(vectors, before):
        if not isinstance(vector, list) or not vector:
            raise _unusable(model, f"none for texts[{index}]")
        for number in vector:
            # NaN, which JSON has no word for, comes as null from some engines.
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise _unusable(model, f"not made of numbers for texts[{index}]: {number!r}")
            if not math.isfinite(number):
                raise _unusable(model, f"not made of finite numbers for texts[{index}]: {number}")
    return vectors


def _unusable(model: str, what: str) -> GenerationError:
    msg = f"the vectors that came back from {model!r} are {what}"
    hint = "is it an embedding model? " + failures.POOLING_HINT.format(model=model)
    return GenerationError(msg, hint=hint)
