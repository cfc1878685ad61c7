"""Request bodies as JSON; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from docker_model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# A batch is one request: engines take it apart again, and the runner takes 10 MiB at most.
BATCH = 64
BATCH_CHARS = 200_000
# Short texts are embedded faster together, long ones slower: 439 tokens took 132 ms alone, and
# 227 ms each in a batch of 32.
EMBEDDED_CHARS = 3_000


def chat(
    model: str,
    messages: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
    *,
    stream: bool,
    progress: bool = False,
) -> bytes:
    """Write a request for an answer.

    Args:
        model: The model's name.
        messages: OpenAI's message objects, as `docker_model.http.messages` prepares them.
        parameters: What else to send; `None` is left out, `extra_body` taken apart.
        stream: Whether the answer comes in pieces; then with the token counts at its end,
            which llama.cpp and vLLM send only when asked.
        progress: Whether llama.cpp says how much of the prompt it has read; only in a stream.

    Raises:
        InvalidRequestError: If it cannot be written as JSON.
    """
    extra = parameters.get("extra_body") or {}
    body: dict[str, Any] = {"model": model, "messages": list(messages)}
    body |= {
        name: value
        for name, value in parameters.items()
        if value is not None and name != "extra_body"
    }
    body |= extra
    if stream and progress:
        body.setdefault("return_progress", True)
    if stream:
        body["stream_options"] = {"include_usage": True, **(body.get("stream_options") or {})}
    body["stream"] = stream
    return encode(body)


# What asks for more than one text, or for more than text. Engines' parsers of tool calls are
# surer of themselves when they have the whole answer.
_ENTANGLED = frozenset({"tools", "functions", "n", "logprobs", "modalities", "audio"})


def is_plain(parameters: Mapping[str, Any]) -> bool:
    """Tell whether a request asks for one text alone, which is easily joined from pieces."""
    given = {**parameters, **(parameters.get("extra_body") or {})}
    return not any(given.get(name) for name in _ENTANGLED)


def embeddings(model: str, texts: Sequence[str], dimensions: int | None) -> bytes:
    """Write a request for embeddings, which come as base64 where the engine can write it."""
    extra = {} if dimensions is None else {"dimensions": dimensions}
    return encode({"model": model, "input": texts, "encoding_format": "base64", **extra})


def texts_of(texts: Iterable[str]) -> list[str]:
    """Check the texts to embed, and return them as a list.

    Raises:
        InvalidRequestError: If it is not an iterable of texts, or one of them is empty.
    """
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        msg = "texts must be an iterable of str"
        raise InvalidRequestError(msg, hint="such as embed(model, ['one', 'two'])")
    listed = list(texts)
    for index, text in enumerate(listed):
        if not isinstance(text, str):
            msg = f"texts[{index}] must be a str, not {type(text).__name__}"
            raise InvalidRequestError(msg, hint="embed text; other objects need a form as text")
        if not text.strip():
            msg = f"texts[{index}] is empty: an empty text has no embedding"
            raise InvalidRequestError(msg, hint="leave empty texts out")
    return listed


def batches(texts: Iterable[str], *, chars: int = BATCH_CHARS) -> Iterator[list[str]]:
    """Yield the texts in batches that an engine takes in one request.

    Args:
        texts: The texts.
        chars: Characters of a batch that has more than one text.
    """
    batch: list[str] = []
    length = 0
    for text in texts:
        if batch and (len(batch) == BATCH or length + len(text) > chars):
            yield batch
            batch, length = [], 0
        batch.append(text)
        length += len(text)
    if batch:
        yield batch


def encode(body: Mapping[str, Any]) -> bytes:
    """Write JSON in UTF-8.

    Raises:
        InvalidRequestError: If a value has no form in JSON, or a text holds a lone surrogate.
    """
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        msg = "a text holds a lone surrogate, which is no character"
        raise InvalidRequestError(
            msg, hint="text.encode(errors='replace').decode() replaces it"
        ) from None
    except (TypeError, ValueError) as error:
        msg = f"the request cannot be written as JSON: {error}"
        raise InvalidRequestError(msg, hint="pass str, numbers, bool, lists and dicts") from None
