"""What llama.cpp does with a request: refuses it in its own words, counts, embeds, ranks."""

from __future__ import annotations

import base64
import json
import random
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from docker_model.testing.templates import Template, template_named

if TYPE_CHECKING:
    from docker_model.testing.models import SimulatedModel

FILE = "/models/blobs/sha256/model.gguf"  # the engine calls a model by its file
BATCH, PHYSICAL_BATCH = 2048, 512
MESSAGE_TOKENS, ANSWER_TOKENS = 4, 3
SPECIAL_TOKENS = 2  # [CLS] and [SEP], or their like
READ_MS, WRITE_MS = 1.0, 10.0  # for a token
_TOKEN = re.compile(r"\w+|[^\w\s]")
_KINDS = {400: "invalid_request_error", 500: "server_error", 501: "not_supported_error"}
_MEDIA = {
    "image_url": "image",
    "input_audio": "audio",
    "input_video": "video",
    "video_url": "video",
}
_SCHEMA_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_PARSER = "Unable to generate parser for this template. Automatic parser generation failed: "


class EngineError(Exception):
    """A refusal.

    Attributes:
        status: The HTTP status.
        error: The object under `error` in the reply.
    """

    def __init__(
        self, message: str, status: int = 400, *, kind: str | None = None, **more: int
    ) -> None:
        super().__init__(message)
        self.status = status
        kind = kind or _KINDS[status]
        self.error = {"code": status, "message": message, "type": kind, **more}


def _too_long(message: str, count: int, size: int) -> EngineError:
    kind = "exceed_context_size_error"
    return EngineError(message, kind=kind, n_prompt_tokens=count, n_ctx=size)


Complaints: TypeAlias = Iterator[EngineError]


def tokens(text: str) -> list[str]:
    """Return the tokens of a text: its words and signs."""
    return _TOKEN.findall(text)


# --- Chats ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class ChatPrompt:
    """What the model reads: the conversation in the form of its template.

    Attributes:
        tokens: All of it.
        cached: How many of them the engine knew from the request before.
    """

    tokens: list[str]
    cached: int = 0

    def check_length(self, size: int | None) -> None:
        """Refuse a prompt that leaves no room for an answer in a context of this size."""
        count = len(self.tokens)
        if size is not None and count >= size:
            msg = f"request ({count} tokens) exceeds the available context size ({size} tokens)"
            msg += ", try increasing it"
            raise _too_long(msg, count, size)

    def remember(self, before: Sequence[str]) -> None:
        """Set `cached` by what the engine has read before."""
        pairs = zip(self.tokens, before, strict=False)
        differ = (at for at, (mine, old) in enumerate(pairs) if mine != old)
        equal = next(differ, min(len(self.tokens), len(before)))
        self.cached = min(equal, len(self.tokens) - 1)

    def timings(self, answered: int) -> dict[str, float]:
        """Return the object `timings` of a reply with so many tokens."""
        read = len(self.tokens) - self.cached
        return {
            "cache_n": self.cached,
            "prompt_n": read,
            "prompt_ms": read * READ_MS,
            "prompt_per_token_ms": READ_MS,
            "prompt_per_second": 1000 / READ_MS,
            "predicted_n": answered,
            "predicted_ms": answered * WRITE_MS,
            "predicted_per_token_ms": WRITE_MS,
            "predicted_per_second": 1000 / WRITE_MS,
        }

    def progress(self) -> Iterable[dict[str, float]]:
        """Yield the object `prompt_progress` after each batch of the prompt."""
        total = len(self.tokens)
        for start in range(self.cached, total, BATCH):
            done = min(start + BATCH, total)
            spent = (done - self.cached) * READ_MS
            yield {"total": total, "cache": self.cached, "processed": done, "time_ms": spent}


def read_chat(
    body: Mapping[str, Any], model: SimulatedModel, template: str | Template
) -> ChatPrompt:
    """Check a chat as llama.cpp does, and return what the model reads.

    Args:
        body: The request's body.
        model: The model that is asked.
        template: The chat template of models that name none.

    Raises:
        EngineError: If llama.cpp refuses it.
    """
    template = template_named(model.template or template)
    for check in (_check_form, _check_media, _check_messages, _check_options):
        for error in check(body, model):
            raise error
    messages = _prepared(body["messages"], template)
    complaint = template.complaint(messages)
    if complaint is not None:
        msg = f"{_PARSER}{template.source[:40]}...\n^\nError: Jinja Exception: {complaint}"
        raise EngineError(msg)
    tools = body.get("tools") or []
    words = tokens(json.dumps(tools)) if template.tools and tools else []
    for message in messages:
        calls = message.get("tool_calls")
        words += [f"<{message['role']}>"] * MESSAGE_TOKENS + tokens(_text(message))
        words += tokens(json.dumps(calls)) if calls else []
    variables = body.get("chat_template_kwargs") or {}
    if variables.get("enable_thinking") is False and "enable_thinking" in template.source:
        words += ["<think>", "</think>"]
    return ChatPrompt([*words, *["<answer>"] * ANSWER_TOKENS])


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "<image>") for part in content)


def _parts(message: Any) -> list[Any]:
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, list) else []


def _check_form(body: Mapping[str, Any], _model: SimulatedModel) -> Complaints:
    messages = body.get("messages")
    if not isinstance(messages, list):
        yield EngineError("Expected 'messages' to be an array")
        return
    for message in (each for each in messages if isinstance(each, dict)):
        if "content" not in message and message.get("role") != "assistant":
            yield EngineError("All non-assistant messages must contain 'content'")
        if not message.keys() & {"content", "tool_calls"}:
            yield EngineError("Assistant message must contain either 'content' or 'tool_calls'!")
        if not isinstance(message.get("content"), str | list | None):
            yield EngineError("Expected 'content' to be a string or an array")
        for part in _parts(message):
            if not (isinstance(part, dict) and part.get("type") in ("text", *_MEDIA)):
                yield EngineError("unsupported content[].type")
    roles = [message.get("role") for message in messages if isinstance(message, dict)]
    if roles[-2:] == ["assistant"] * 2:
        yield EngineError("Cannot have 2 or more assistant messages at the end of the list.")
    if roles[-1:] == ["assistant"] and messages[-1].get("tool_calls"):
        yield EngineError("Cannot continue an assistant message that contains tool calls.")


def _check_media(body: Mapping[str, Any], model: SimulatedModel) -> Complaints:
    taken = {"text": True, "image": model.vision, "audio": model.audio}
    for part in (part for message in body["messages"] for part in _parts(message)):
        kind = _MEDIA.get(part["type"], "text")
        if not taken.get(kind):
            hint = "hint: if this is unexpected, you may need to provide the mmproj"
            yield EngineError(f"{kind} input is not supported - {hint}", 500)


def _check_messages(body: Mapping[str, Any], _model: SimulatedModel) -> Complaints:
    failed = "Failed to parse messages: "
    for message in body["messages"]:
        if not (isinstance(message, dict) and "role" in message):
            yield EngineError(f"{failed}Missing 'role' in message: {_dump(message)}", 500)
        for call in message.get("tool_calls") or ():
            yield from _check_function(f"{failed}Missing tool call", call, "arguments")
            yield from _check_text(failed, call, "id")
        for key in ("role", "reasoning_content", "name", "tool_call_id"):
            yield from _check_text(failed, message, key)
    for tool in body.get("tools") or ():
        yield from _check_function("Failed to parse tools: Missing tool", tool)


def _check_function(missing: str, value: Any, *keys: str) -> Complaints:
    function = value.get("function") if isinstance(value, dict) else None
    if not (function and value.get("type") == "function"):
        what = "function" if isinstance(value, dict) and "type" in value else "type"
        yield EngineError(f"{missing} {what}: {_dump(value)}", 500)
    for key in ("name", *keys):
        if key not in (function or ()):
            yield EngineError(f"{missing} {key}: {_dump(value)}", 500)


def _check_text(failed: str, mapping: Mapping[str, Any], key: str) -> Complaints:
    if not isinstance(mapping.get(key, ""), str):
        kind = "null" if mapping[key] is None else type(mapping[key]).__name__
        why = f"[json.exception.type_error.302] type must be string, but is {kind}"
        yield EngineError(failed + why, 500)


def _check_options(body: Mapping[str, Any], _model: SimulatedModel) -> Complaints:
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        yield EngineError(f"Invalid tool_choice: {choice}")
    if isinstance((body.get("chat_template_kwargs") or {}).get("enable_thinking"), str):
        yield EngineError('invalid type for "enable_thinking" (expected boolean, got string)')
    wanted = body.get("response_format") or {}
    if wanted.get("type") not in (None, "", "text", "json_object", "json_schema"):
        yield EngineError('response_format type must be one of "text" or "json_object"')
    kind = ((wanted.get("json_schema") or wanted).get("schema") or {}).get("type")
    if isinstance(kind, str) and kind not in _SCHEMA_TYPES:
        yield EngineError(f"{_PARSER}JSON schema error at #: unrecognized type {kind}")
    last = body["messages"][-1] if body["messages"] else {}
    if wanted.get("type", "").startswith("json_") and last.get("role") == "assistant":
        begun = _text(last).strip()  # which the reply goes on from
        if begun and not begun.startswith("{"):
            yield EngineError("Failed to initialize samplers: std::exception")
    if body.get("logprobs") and body.get("tools") and body.get("stream"):
        yield EngineError("logprobs is not supported with tools + stream")
    for key in ("max_tokens", "temperature", "top_p", "n"):
        if not isinstance(body.get(key), int | float | None):
            yield EngineError(f"Field '{key}': type must be number")


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _prepared(messages: Sequence[dict[str, Any]], template: Template) -> list[dict[str, Any]]:
    """Return the messages as llama.cpp hands them to the template."""
    roles = {"developer": "system"}
    messages = [{**each, "role": roles.get(each["role"], each["role"])} for each in messages]
    if not template.system and messages and messages[0]["role"] == "system":
        first, *messages = messages
        if messages:
            text = f"{_text(first)}\n{_text(messages[0])}"
            messages = [{**messages[0], "content": text}, *messages[1:]]
    for message in messages if template.tools else ():
        for call in message.get("tool_calls") or ():
            arguments = call["function"]["arguments"]
            try:
                json.loads(arguments) if isinstance(arguments, str) else None
            except ValueError as error:
                why = f"[json.exception.parse_error.101] {error}"
                msg = f"Failed to parse tool call arguments as JSON: {why}"
                raise EngineError(msg, 500) from None
    return messages


def from_messages_api(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a chat for one of the Messages API, which counts tokens."""
    system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
    given = [_from_blocks(message) for message in body.get("messages") or ()]
    tools = [
        {
            "name": tool.get("name", ""),
            "description": tool.get("description", ""),
            "parameters": tool.get("input_schema", {}),
        }
        for tool in body.get("tools") or ()
    ]
    return {
        "messages": [*system, *(message for messages in given for message in messages)],
        "tools": [{"type": "function", "function": tool} for tool in tools],
        "chat_template_kwargs": body.get("chat_template_kwargs"),
    }


def _from_blocks(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    blocks = message.get("content")
    if not isinstance(blocks, list):
        yield message
        return
    texts = [
        {"type": "image_url", "image_url": block["source"]} if block["type"] == "image" else block
        for block in blocks
        if block["type"] in ("text", "image")
    ]
    calls = [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": _dump(block["input"])},
        }
        for block in blocks
        if block["type"] == "tool_use"
    ]
    if texts or calls:
        called = {"tool_calls": calls} if calls else {}
        yield {"role": message["role"], "content": texts or "", **called}
    for block in blocks:
        if block["type"] == "tool_result":
            content = block.get("content") or ""
            if isinstance(content, list):
                content = "".join(part.get("text", "") for part in content)
            yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": content}


# --- Embeddings and reranking ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """What a runner was started with, as far as it decides over texts.

    Attributes:
        pooling: The pooling.
        batch: The physical batch size.
        context: The most tokens that the model takes.
    """

    pooling: str
    batch: int
    context: int

    @classmethod
    def of(cls, model: SimulatedModel, mode: str, config: Mapping[str, Any]) -> Limits:
        """Return the limits of a model that runs in a mode, under that mode's configuration."""
        flags = list(config.get("runtime-flags") or ())
        pairs = [flag.partition("=") for flag in flags]
        values = {
            name: value if equals else after
            for (name, equals, value), after in zip(pairs, [*flags[1:], ""], strict=False)
        }
        own = "rank" if mode == "reranking" else model.own_pooling
        batch = values.get("--ubatch-size") or values.get("-ub") or PHYSICAL_BATCH
        size = config.get("context-size") or model.context_size or model.trained_context
        context = min(int(size), model.trained_context)
        return cls(values.get("--pooling") or own, int(batch), context)

    def count(self, text: str) -> int:
        """Return the tokens of a text."""
        count = len(tokens(text)) + SPECIAL_TOKENS
        what = f"input ({count} tokens) is"
        if count > self.batch:
            how = f"increase the physical batch size (current batch size: {self.batch})"
            msg = f"{what} too large to process. {how}"
            raise EngineError(msg, 500)
        if count > self.context:
            msg = f"{what} larger than the max context size ({self.context} tokens). skipping"
            raise _too_long(msg, count, self.context)
        return count


def embeddings(
    body: Mapping[str, Any], limits: Limits, embed: Callable[[str], Sequence[float]]
) -> dict[str, Any]:
    """Return the vectors of texts."""
    kind = body.get("encoding_format", "float")
    if limits.pooling == "none":
        msg = "Pooling type 'none' is not OAI compatible. Please use a different pooling type"
        raise EngineError(msg)
    if kind not in ("float", "base64"):
        msg = "The format to return the embeddings in. Can be either float or base64"
        raise EngineError(msg)
    texts = _inputs(body)
    counts = [limits.count(text) for text in texts]
    data: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        vector = [float(number) for number in embed(text)]
        item = {"object": "embedding", "index": index, "embedding": vector}
        if kind == "base64":
            packed = struct.pack(f"<{len(vector)}f", *vector)
            item |= {"embedding": base64.b64encode(packed).decode(), "encoding_format": kind}
        data.append(item)
    return {"object": "list", "model": FILE, "data": data, "usage": _usage(counts)}


def _usage(counts: Sequence[int]) -> dict[str, int]:
    return {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}


def _inputs(body: Mapping[str, Any]) -> list[str]:
    if "input" not in body and "content" not in body:
        msg = '"input" or "content" must be provided'
        raise EngineError(msg)
    given = body.get("input", body.get("content"))
    numbers = isinstance(given, list) and given and isinstance(given[0], int)
    entries = given if isinstance(given, list) and not numbers else [given]
    if not entries:
        msg = '"input" must not be empty'
        raise EngineError(msg)
    if not all(isinstance(entry, str | list) for entry in entries):
        msg = '"prompt" elements must be a string, a list of tokens, a JSON object containing '
        msg += "a prompt string, or a list of mixed strings & tokens."
        raise EngineError(msg, 500)
    # Token ids are of whatever vocabulary.
    return [each if isinstance(each, str) else " ".join(map(str, each)) for each in entries]


def rank(
    body: Mapping[str, Any], limits: Limits, score: Callable[[str, str], float] | None
) -> dict[str, Any]:
    """Return documents by their relevance for a query.

    Args:
        body: The request's body.
        limits: What the runner was started with.
        score: Gives the score of a document for a query; `None` for a model that is no
            reranker: the engine answers it with scores that mean nothing.
    """
    query = body.get("query", "")
    documents = body.get("documents") or body.get("texts")
    if limits.pooling != "rank":
        msg = "This server does not support reranking. Start it with `--reranking`"
        raise EngineError(msg, 501)
    if "query" not in body or not isinstance(query, str):
        msg = f'"query" must be {"a string" if "query" in body else "provided"}'
        raise EngineError(msg)
    if not (isinstance(documents, list) and documents):
        msg = '"documents" must be a non-empty string array'
        raise EngineError(msg)
    usage = _usage([limits.count(f"{query} {document}") for document in documents])
    score = score or (lambda _query, _document: random.uniform(-5, 5))  # noqa: S311 - no secret
    scores = [float(score(query, document)) for document in documents]
    results = [{"index": at, "relevance_score": value} for at, value in enumerate(scores)]
    results.sort(key=lambda result: -result["relevance_score"])
    kept = results[: body.get("top_n", len(results))]
    return {"model": FILE, "object": "list", "usage": usage, "results": kept}


def shared_words(query: str, document: str) -> float:
    """Return the default score: from -5, without a word of the query, to 5, with all of them."""
    words = {word.lower() for word in tokens(query)}
    found = words & {word.lower() for word in tokens(document)}
    return 10 * len(found) / (len(words) or 1) - 5
