"""Answers to conversations, on the I/O thread."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from docker_model._transport.spool import Spool
from docker_model.errors import InvalidRequestError
from docker_model.http import bodies, failures
from docker_model.http.events import parse_object
from docker_model.http.request import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker_model._runtime import Sink
    from docker_model.http.request import RequestOptions

PATH = "/chat/completions"
_CAP = "max_tokens"


async def whole(caller: RequestOptions, model: str, body: bytes) -> dict[str, Any]:
    """The whole reply, which came in one piece.

    Raises:
        DockerModelError: See `docker_model.errors`.
    """
    reply = parse_object(await HttpRequest(caller, model, PATH, body, cap=_CAP).whole())
    if reply.get("error"):
        raise failures.name_event(reply["error"], model, "")
    if not reply.get("choices") or not all(choice.get("message") for choice in reply["choices"]):
        raise failures.no_choices(model)
    return {**reply, "model": model}


async def assembled(caller: RequestOptions, model: str, body: bytes) -> dict[str, Any]:
    """The whole reply, which came in pieces.

    Raises:
        DockerModelError: See `docker_model.errors`.
    """
    reply: dict[str, Any] = {}
    said: dict[str, list[str]] = {}
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": None},
        "finish_reason": None,
    }

    def take(chunk: dict[str, Any], _: int) -> bool:
        reply.update(chunk)
        for part in (chunk.get("choices") or ())[:1]:
            for name, value in (part.get("delta") or {}).items():
                if isinstance(value, str) and name != "role":
                    said.setdefault(name, []).append(value)
            choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]
        return False

    def text() -> str:
        return "".join(said.get("content", ()))

    await HttpRequest(caller, model, PATH, body, partial=text, cap=_CAP).stream(
        NullBackpressure(), take
    )
    choice["message"].update((name, "".join(parts)) for name, parts in said.items())
    return {**reply, "object": "chat.completion", "model": model, "choices": [choice]}


class NullBackpressure:
    """Takes everything at once."""

    on_full: Callable[[], object]
    on_drained: Callable[[], object]


async def stream(
    caller: RequestOptions, model: str, body: bytes, sink: Sink[dict[str, Any]]
) -> None:
    """Put each chunk into `sink`.

    Raises:
        DockerModelError: See `docker_model.errors`.
    """
    said = Spool()

    def take(chunk: dict[str, Any], size: int) -> bool:
        for choice in (chunk.get("choices") or ())[:1]:
            said.add((choice.get("delta") or {}).get("content") or "")
        sink.put({**chunk, "model": model}, size)
        return False

    await HttpRequest(caller, model, PATH, body, partial=said.read, cap=_CAP).stream(sink, take)


async def preload(caller: RequestOptions, model: str) -> None:
    """Have a model loaded, and wait until it is.

    Runners before v1.0.15 do not know the header, load the model all the same, and then find
    that there is nothing to answer.

    Raises:
        DockerModelError: See `docker_model.errors`.
    """
    body = bodies.encode({"model": model, "messages": []})
    headers = {"X-Preload-Only": "true"}
    with contextlib.suppress(InvalidRequestError):
        await HttpRequest(caller, model, PATH, body, headers=headers).whole()
