"""Embeddings, on the I/O thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docker_model.errors import GenerationError, UnsupportedParameterError
from docker_model.http import failures
from docker_model.http.events import parse_object
from docker_model.http.request import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docker_model.http.request import RequestOptions

PATH = "/embeddings"


async def embed(
    caller: RequestOptions, model: str, batches: Sequence[tuple[int, bytes]], dimensions: int | None
) -> list[list[float]]:
    """The vectors of all batches, one request after the other.

    The engine works on the texts of one batch at the same time by itself.

    Raises:
        DockerModelError: See `docker_model.errors`.
    """
    vectors: list[list[float]] = []
    for count, body in batches:
        reply = parse_object(await HttpRequest(caller, model, PATH, body).whole())
        if reply.get("error"):
            raise failures.name_event(reply["error"], model, "")
        vectors += _vectors(reply, count, model)
    sizes = {len(vector) for vector in vectors}
    if len(sizes) > 1:
        raise _unusable(model, "of different lengths")
    if dimensions is not None and sizes and sizes != {dimensions}:
        msg = f"the engine ignores dimensions: it gave {sizes.pop()} of them, not {dimensions}"
        hint = "leave dimensions= out, or shorten and normalize the vectors yourself"
        raise UnsupportedParameterError(msg, hint=hint)
    return vectors


def _vectors(reply: dict[str, Any], count: int, model: str) -> list[list[float]]:
    """The vectors of one reply, in the order of its texts."""
    data = reply.get("data")
    items = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    by_index: dict[Any, Any] = {item.get("index"): item.get("embedding") for item in items}
    if sorted(by_index, key=str) != sorted(range(count), key=str):
        raise _unusable(model, f"not one for each of {count} texts")
    vectors = [by_index[index] for index in range(count)]
    for vector in vectors:
        if not isinstance(vector, list) or not vector:
            raise _unusable(model, "none")
        if not all(isinstance(number, (int, float)) for number in vector):
            raise _unusable(model, "with values that are no numbers")
    return vectors


def _unusable(model: str, what: str) -> GenerationError:
    msg = f"the vectors that came back from {model!r} are {what}"
    hint = "is it an embedding model? " + failures.POOLING_HINT.format(model=model)
    return GenerationError(msg, hint=hint)
