"""Answer conversations, on the I/O thread."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from docker_model._transport.spool import Spool
from docker_model.errors import InvalidRequestError
from docker_model.http import bodies, failures
from docker_model.http.events import parse_reply
from docker_model.http.replies import ChunkNormalizer, StreamReader, read_reply
from docker_model.http.request import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from docker_model._runtime import Sink
    from docker_model.errors import DockerModelError
    from docker_model.http.replies import Answer
    from docker_model.http.request import RequestOptions

PATH = "/chat/completions"
_CAP = "max_tokens"


_T = TypeVar("_T")


async def first_accepted(
    requests: Iterable[bytes], attempt: Callable[[bytes], Awaitable[_T]]
) -> _T:
    """Send the first form of a conversation that the model's chat template accepts.

    Args:
        requests: The request in increasingly simple forms.
        attempt: Sends a request.

    Raises:
        DockerModelError: If the request failed. If the template rejects all forms, this is the
            error for the first form.
    """
    complaint: DockerModelError | None = None
    for request in requests:
        try:
            return await attempt(request)
        except InvalidRequestError as error:
            if not failures.is_complaint(error):
                raise
            complaint = complaint or error
    assert complaint is not None
    raise complaint


async def whole(options: RequestOptions, model: str, body: bytes) -> dict[str, Any]:
    """Return a reply that is not streamed.

    Raises:
        DockerModelError: If the request failed, or the engine aborted the answer.
    """
    request = HttpRequest(options, model, PATH, body, cap=_CAP)
    reply = parse_reply(await request.whole())
    request.report_speed(reply)
    answers = read_reply(reply, model=model)
    choices = reply.get("choices")
    if not choices or not all(choice.get("message") for choice in choices):
        raise failures.no_choices(model)
    by_index = {answer.index: answer for answer in answers}
    messages = [
        {**choice, "message": _message(choice["message"], by_index[choice.get("index", place)])}
        for place, choice in enumerate(choices)
    ]
    return options.noted({**reply, "model": model, "choices": messages})


async def assembled(options: RequestOptions, model: str, body: bytes) -> dict[str, Any]:
    """Return a complete reply, assembled from a stream.

    Raises:
        DockerModelError: If the request failed, or the engine aborted the answer.
    """
    reply: dict[str, Any] = {}
    reader = StreamReader(model=model)

    def take(chunk: dict[str, Any], _: int) -> bool:
        reply.update(chunk)
        reader.feed(chunk)
        return False

    def text() -> str:
        return reader.answer.text

    request = HttpRequest(options, model, PATH, body, partial=text, cap=_CAP)
    await request.stream(NullBackpressure(), take)
    reader.close()
    answer = reader.answer
    choice = {
        "index": 0,
        "message": _message({"role": "assistant"}, answer),
        "finish_reason": answer.finish_reason,
    }
    reply |= {"object": "chat.completion", "model": model, "choices": [choice]}
    return options.noted(reply)


def _message(message: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """Return a message in OpenAI's form."""
    normal = {"role": "assistant", **message, "content": answer.text or None}
    normal.pop("function_call", None)
    if answer.reasoning:
        normal["reasoning_content"] = answer.reasoning
    if answer.calls:
        normal["tool_calls"] = [call.to_openai() for call in answer.calls]
    return normal


class NullBackpressure:
    """A consumer that never pauses reading."""

    on_full: Callable[[], object]
    on_drained: Callable[[], object]


async def stream(
    options: RequestOptions,
    model: str,
    body: bytes,
    sink: Sink[dict[str, Any]],
    translate: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> None:
    """Put each chunk into `sink`, converted to OpenAI's form and then with `translate`.

    Raises:
        DockerModelError: If the request failed, or the engine aborted the answer.
    """
    text = Spool()
    normalizer = ChunkNormalizer()

    def take(chunk: dict[str, Any], size: int) -> bool:
        chunk = translate(normalizer.feed(chunk))
        for choice in (chunk.get("choices") or ())[:1]:
            text.add((choice.get("delta") or {}).get("content") or "")
        chunk = {**chunk, "model": model}
        ends = any(choice.get("finish_reason") for choice in chunk.get("choices") or ())
        sink.put(options.noted(chunk) if ends else chunk, size)
        return False

    await HttpRequest(options, model, PATH, body, partial=text.read, cap=_CAP).stream(sink, take)
    if (rest := normalizer.close()) is not None:  # a call in a stream without a finish reason
        sink.put({**translate(rest), "model": model}, 0)


async def preload(options: RequestOptions, model: str, path: str = PATH) -> None:
    """Load a model in the mode of a path, and wait until it is loaded.

    Runners before v1.0.15 ignore the header. They also load the model, and then reject the request
    because it has no messages.

    Raises:
        DockerModelError: If the request failed.
    """
    body = bodies.encode({"model": model, "messages": []})
    headers = {"X-Preload-Only": "true"}
    with contextlib.suppress(InvalidRequestError):
        await HttpRequest(options, model, path, body, headers=headers).whole()
