"""Answers to conversations, on the I/O thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docker_model.http import failures
from docker_model.http.call import Call
from docker_model.http.events import parse_object
from docker_model.spool import Spool

if TYPE_CHECKING:
    from docker_model.http.call import Caller
    from docker_model.process import Sink

PATH = "/chat/completions"


async def whole(caller: Caller, model: str, body: bytes) -> dict[str, Any]:
    """The whole reply.

    Raises:
        DockerModelError: See `docker_model.errors`.
    """
    reply = parse_object(await Call(caller, model, PATH, body).whole())
    if reply.get("error"):
        raise failures.name_event(reply["error"], model, "")
    return {**reply, "model": model}


async def stream(caller: Caller, model: str, body: bytes, sink: Sink[dict[str, Any]]) -> None:
    """Put each chunk into `sink`.

    Raises:
        DockerModelError: See `docker_model.errors`.
    """
    said = Spool()

    def take(chunk: dict[str, Any], size: int) -> bool:
        for choice in chunk.get("choices") or ()[:1]:
            said.add((choice.get("delta") or {}).get("content") or "")
        sink.put({**chunk, "model": model}, size)
        return False

    await Call(caller, model, PATH, body, partial=said.read).stream(sink, take)


async def preload(caller: Caller, model: str) -> None:
    """Have a model loaded, and wait until it is."""
