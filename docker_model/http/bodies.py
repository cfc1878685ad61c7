"""Create request bodies as JSON, without I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from docker_model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BATCH = 64  # the maximum number of texts in a batch, which is one request
# Batches make embeddings of short texts faster, but of long texts slower: 439 tokens took 132 ms
# alone, and 227 ms each in a batch of 32.
EMBEDDED_CHARS = 3_000
# A reply of a reranker has all scores, and a large reranker without a GPU takes several seconds for
# each long document. Many of them in one request would exceed `first_output`.
RANKED_CHARS = 10_000


def chat(
    model: str,
    messages: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
    *,
    stream: bool,
    progress: bool = False,
) -> bytes:
    """Return the body of a request for an answer.

    Args:
        model: The model name.
        messages: OpenAI's message objects, prepared by `docker_model.http.messages`.
        parameters: The other fields. `None` is omitted, and `extra_body` is merged into the body.
        stream: Whether the answer is streamed. A stream ends with token counts, which llama.cpp
            and vLLM send only on request.
        progress: Whether llama.cpp reports the progress of processing the prompt; only in a
            stream.

    Raises:
        InvalidRequestError: If the body cannot be encoded as JSON.
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


# Parameters that request several texts, or more than text. Engines parse tool calls more
# reliably in a complete answer.
_ENTANGLED = frozenset({"tools", "functions", "n", "logprobs", "modalities", "audio"})


def is_plain(parameters: Mapping[str, Any]) -> bool:
    """Whether a request is for a single text, which can be assembled from a stream."""
    settings = {**parameters, **(parameters.get("extra_body") or {})}
    return not any(settings.get(name) for name in _ENTANGLED)


def embeddings(model: str, texts: Sequence[str], dimensions: int | None) -> bytes:
    """Return the body of a request for embeddings, in base64 if the engine supports it."""
    extra = {} if dimensions is None else {"dimensions": dimensions}
    return encode({"model": model, "input": texts, "encoding_format": "base64", **extra})


def texts_of(texts: Iterable[str]) -> list[str]:
    """Validate the texts to embed, and return them as a list.

    Raises:
        InvalidRequestError: If the argument is not an iterable of strings, or a text is empty.
    """
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        msg = "texts must be an iterable of str"
        raise InvalidRequestError(msg, hint="for example embed(model, ['one', 'two'])")
    listed = list(texts)
    for index, text in enumerate(listed):
        if not isinstance(text, str):
            msg = f"texts[{index}] must be a str, not {type(text).__name__}"
            raise InvalidRequestError(msg, hint="convert other objects to text first")
        if not text.strip():
            msg = f"texts[{index}] is empty: an empty text has no embedding"
            raise InvalidRequestError(msg, hint="remove empty texts")
    return listed


def batches(texts: Iterable[str], *, chars: int) -> Iterator[list[str]]:
    """Yield the texts in batches, one for each request.

    Args:
        texts: The texts.
        chars: The maximum number of characters in a batch with more than one text.
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
    """Encode a body as JSON in UTF-8.

    Raises:
        InvalidRequestError: If JSON cannot represent a value, or a text has a lone surrogate.
    """
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        msg = "a text contains a lone surrogate, which is not a character"
        raise InvalidRequestError(
            msg, hint="text.encode(errors='replace').decode() replaces it"
        ) from None
    except (TypeError, ValueError) as error:
        msg = f"the request cannot be encoded as JSON: {error}"
        raise InvalidRequestError(msg, hint="pass str, numbers, bool, lists and dicts") from None
