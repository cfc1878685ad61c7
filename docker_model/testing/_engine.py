"""The simulated engine: what llama.cpp counts and refuses, embeddings, and reranking."""

from __future__ import annotations

import base64
import json
import re
import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from docker_model.testing.models import POOLING
from docker_model.testing.steps import Reply
from docker_model.testing.templates import Template, template_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from docker_model.testing.models import StoredModel

FILE = "/models/blobs/sha256/model.gguf"  # the engine's name of every model is its file
PHYSICAL_BATCH = 512
MESSAGE_TOKENS, ANSWER_TOKENS = 4, 3
SPECIAL_TOKENS = 2  # such as [CLS] and [SEP]
_TOKEN = re.compile(r"\w+|[^\w\s]")
_KINDS = {400: "invalid_request_error", 500: "server_error", 501: "not_supported_error"}
_PARSER = "Unable to generate parser for this template. Automatic parser generation failed: "


class EngineError(Exception):
    """A refusal by the engine; `reply` is what the client receives."""

    def __init__(self, message: str, status: int = 400, **fields: object) -> None:
        super().__init__(message)
        error = {"code": status, "message": message, "type": _KINDS[status], **fields}
        self.reply = Reply(status, {"error": error})


def count_tokens(value: object) -> int:
    """Return the number of words and punctuation marks of a text, or of a value as JSON."""
    return len(_TOKEN.findall(value if isinstance(value, str) else json.dumps(value)))


def count_chat(body: Mapping[str, Any], model: StoredModel, template: str | Template) -> int:
    """Return the tokens of a chat, or refuse it. `template` is for models without their own."""
    template = template_named(model.model.template or template)
    for error in _complaints(body, model, template):
        raise error
    messages = _prepared(body["messages"], template)
    for complaint, refuses in template.rules:
        if refuses(messages):
            msg = f"{_PARSER}{template.source[:40]}...\n^\nError: Jinja Exception: {complaint}"
            raise EngineError(msg)
    shown: list[Any] = [body["tools"]] if template.tools and body.get("tools") else []
    shown += [_text(message) for message in messages]
    shown += [message["tool_calls"] for message in messages if message.get("tool_calls")]
    variables = body.get("chat_template_kwargs") or {}
    if variables.get("enable_thinking") is False and "enable_thinking" in template.source:
        shown.append("<>")  # no thoughts
    return ANSWER_TOKENS + MESSAGE_TOKENS * len(messages) + sum(map(count_tokens, shown))


def check_chat(count: int, model: StoredModel, config: Mapping[str, Any]) -> None:
    """Refuse a model that does not chat, and a prompt that leaves no room for an answer."""
    if model.model.kind != "chat":
        msg = "the current context does not support logits computation. skipping"
        raise EngineError(msg, 500)
    size = model.context_size(config)
    if size is not None and count >= size:
        msg = f"request ({count} tokens) exceeds the available context size ({size} tokens)"
        fields: dict[str, Any] = {"n_prompt_tokens": count, "n_ctx": size}
        raise EngineError(msg, type="exceed_context_size_error", **fields)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    parts = [{"text": content}] if isinstance(content, str) else content
    return "\n".join(part.get("text", "<image>") for part in parts)


def _prepared(messages: Sequence[dict[str, Any]], template: Template) -> list[dict[str, Any]]:
    """Return the messages in the form that llama.cpp passes to the template."""
    roles = {"developer": "system"}
    messages = [{**turn, "role": roles.get(turn["role"], turn["role"])} for turn in messages]
    if not template.system and len(messages) > 1 and messages[0]["role"] == "system":
        system, first, *messages = messages
        messages = [{**first, "content": f"{_text(system)}\n{_text(first)}"}, *messages]
    return messages


def from_messages_api(body: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a request of the Messages API, which counts tokens, to the body of a chat.

    llama.cpp accepts OpenAI's messages there, but images and tools have Anthropic's form.
    """
    messages = [dict(message) for message in body["messages"]]
    for message in messages:
        if isinstance(message.get("content"), list):
            images = {"image": {"type": "image_url"}}
            message["content"] = [images.get(part["type"], part) for part in message["content"]]
    names = {"name": "name", "description": "description", "input_schema": "parameters"}
    tools = [
        {"type": "function", "function": {names.get(key, key): tool[key] for key in tool}}
        for tool in body.get("tools") or ()
    ]
    return {**body, "messages": messages, "tools": tools}


def _complaints(
    body: Mapping[str, Any], model: StoredModel, template: Template
) -> Iterator[EngineError]:
    messages = body.get("messages")
    if not isinstance(messages, list):
        yield EngineError("Expected 'messages' to be an array")
        return
    for message in messages:
        calls = message.get("tool_calls") or ()
        if not message.keys() & {"content", "tool_calls"}:
            yield EngineError("Message must contain either 'content' or 'tool_calls'!")
        keys = ("role", "reasoning_content", "name", "tool_call_id")
        texts = [message.get(key, "") for key in keys] + [call.get("id", "") for call in calls]
        if not all(isinstance(text, str) for text in texts):
            why = "[json.exception.type_error.302] type must be string, but is null"
            yield EngineError(f"Failed to parse messages: {why}", 500)
        yield from _of_content(message.get("content"), model)
        for call in calls if template.tools else ():
            yield from _of_arguments(call["function"]["arguments"])
    roles = [message["role"] for message in messages]
    if roles[-2:] == ["assistant"] * 2:
        yield EngineError("Cannot have 2 or more assistant messages at the end of the list.")
    if roles[-1:] == ["assistant"] and messages[-1].get("tool_calls"):
        yield EngineError("Cannot continue an assistant message that contains tool calls.")
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        yield EngineError(f"Invalid tool_choice: {choice}")


def _of_content(content: object, model: StoredModel) -> Iterator[EngineError]:
    images = not model.strict or model.model.vision
    accepted = {"text": True, "image_url": images, "input_audio": not model.strict}
    for kind in [part["type"] for part in content] if isinstance(content, list) else ():
        if kind not in accepted:
            yield EngineError("unsupported content[].type")
        elif not accepted[kind]:
            hint = "hint: if this is unexpected, you may need to provide the mmproj"
            name = "image" if kind == "image_url" else "audio"
            yield EngineError(f"{name} input is not supported - {hint}", 500)


def _of_arguments(arguments: object) -> Iterator[EngineError]:
    try:
        json.loads(arguments) if isinstance(arguments, str) else None
    except ValueError as error:
        why = f"[json.exception.parse_error.101] {error}"
        yield EngineError(f"Failed to parse tool call arguments as JSON: {why}", 500)


class Limits:
    """The limits of a model that is loaded for embeddings or reranking."""

    def __init__(self, model: StoredModel, mode: str, config: Mapping[str, Any]) -> None:
        flags = " ".join(config.get("runtime-flags") or ()).replace("=", " ").split()
        values = dict(pairwise(flags))
        pooling = POOLING[model.model.kind] if model.strict else "mean"
        self.pooling = values.get("--pooling", "rank" if mode == "reranking" else pooling)
        batch = int(values.get("--ubatch-size", PHYSICAL_BATCH))
        self._size = min(batch, model.model.trained_context)

    def count(self, texts: Sequence[str]) -> dict[str, int]:
        """Return the usage of texts, or refuse a text that is too long."""
        counts = [count_tokens(text) + SPECIAL_TOKENS for text in texts]
        if max(counts, default=0) > self._size:
            hint = f"increase the physical batch size (current batch size: {self._size})"
            msg = f"input ({max(counts)} tokens) is too large to process. {hint}"
            raise EngineError(msg, 500)
        return {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}


def embeddings(
    body: Mapping[str, Any], limits: Limits, embed: Callable[[str], Sequence[float]]
) -> dict[str, Any]:
    """Return the reply with the vectors of texts, or refuse the request."""
    if limits.pooling == "none":
        msg = "Pooling type 'none' is not OAI compatible. Please use a different pooling type"
        raise EngineError(msg)
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    usage = limits.count(texts)
    data: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        vector: Any = [float(number) for number in embed(text)]
        if limits.pooling == "rank":  # a reranker computes only scores
            vector = [0.0] * len(vector)
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    return {"object": "list", "model": FILE, "data": data, "usage": usage}


def rank(
    body: Mapping[str, Any], limits: Limits, score: Callable[[str, str], float]
) -> dict[str, Any]:
    """Return the reply with the scores of documents, best first, or refuse the request."""
    if limits.pooling != "rank":
        msg = "This server does not support reranking. Start it with `--reranking`"
        raise EngineError(msg, 501)
    query, documents = body["query"], body["documents"]
    usage = limits.count([f"{query} {document}" for document in documents])
    results = [
        {"index": index, "relevance_score": float(score(query, document))}
        for index, document in enumerate(documents)
    ]
    results.sort(key=lambda result: -result["relevance_score"])
    results = results[: body.get("top_n", len(results))]
    return {"model": FILE, "object": "list", "usage": usage, "results": results}


def shared_words(query: str, document: str) -> float:
    """Return the default score: -5 if the document has no word of the query, 5 if it has all."""
    words, others = ({*_TOKEN.findall(text.lower())} for text in (query, document))
    return 10 * len(words & others) / (len(words) or 1) - 5
