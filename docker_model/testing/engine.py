"""The simulated llama.cpp: checks of requests, token counts, embeddings and reranking."""

from __future__ import annotations

import base64
import json
import re
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from docker_model.testing.steps import Reply
from docker_model.testing.templates import Template, template_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from docker_model.testing.models import SimulatedModel

FILE = "/models/blobs/sha256/model.gguf"  # the engine's name of every model is its file
BATCH, PHYSICAL_BATCH = 2048, 512
MESSAGE_TOKENS, ANSWER_TOKENS = 4, 3
SPECIAL_TOKENS = 2  # such as [CLS] and [SEP]
READ_MS, WRITE_MS = 1.0, 10.0  # per token
_TOKEN = re.compile(r"\w+|[^\w\s]")
_KINDS = {400: "invalid_request_error", 500: "server_error", 501: "not_supported_error"}
_SCHEMA_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_PARSER = "Unable to generate parser for this template. Automatic parser generation failed: "


class RunnerError(Exception):
    """A refusal by the runner.

    Attributes:
        reply: The refusal as a reply.
    """

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.reply = Reply(status, f"{message}\n")


class EngineError(RunnerError):
    """A refusal by the engine."""

    def __init__(
        self, message: str, status: int = 400, *, kind: str | None = None, **fields: int
    ) -> None:
        super().__init__(message)
        error = {"code": status, "message": message, "type": kind or _KINDS[status], **fields}
        self.reply = Reply(status, {"error": error})


def _too_long(message: str, count: int, size: int) -> EngineError:
    kind = "exceed_context_size_error"
    return EngineError(message, kind=kind, n_prompt_tokens=count, n_ctx=size)


def tokens(text: str) -> list[str]:
    """Return the tokens of a text: its words and punctuation marks."""
    return _TOKEN.findall(text)


# --- Chats ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class ChatPrompt:
    """The prompt of a chat, as its template renders the conversation.

    Attributes:
        tokens: The tokens of the prompt.
    """

    tokens: list[str]

    def check_length(self, size: int | None) -> None:
        """Refuse a prompt that leaves no room for an answer in a context of this size."""
        count = len(self.tokens)
        if size is not None and count >= size:
            msg = f"request ({count} tokens) exceeds the available context size ({size} tokens)"
            raise _too_long(msg, count, size)

    def timings(self, answered: int) -> dict[str, float]:
        """Return the object `timings` of a reply with this number of tokens."""
        count = len(self.tokens)
        return {
            "cache_n": 0,
            "prompt_n": count,
            "prompt_ms": count * READ_MS,
            "predicted_n": answered,
            "predicted_ms": answered * WRITE_MS,
            "predicted_per_second": 1000 / WRITE_MS,
        }

    def progress(self) -> Iterable[dict[str, float]]:
        """Yield the object `prompt_progress` after each batch of the prompt."""
        total = len(self.tokens)
        for start in range(0, total, BATCH):
            done = min(start + BATCH, total)
            yield {"total": total, "cache": 0, "processed": done, "time_ms": done * READ_MS}


def read_chat(
    body: Mapping[str, Any], model: SimulatedModel, template: str | Template
) -> ChatPrompt:
    """Return the prompt of a chat; `template` is for models without their own.

    Raises:
        EngineError: If llama.cpp would refuse the chat.
    """
    template = template_named(model.template or template)
    for error in _complaints(body, model, template):
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


def _prepared(messages: Sequence[dict[str, Any]], template: Template) -> list[dict[str, Any]]:
    """Return the messages in the form that llama.cpp passes to the template."""
    roles = {"developer": "system"}
    messages = [{**turn, "role": roles.get(turn["role"], turn["role"])} for turn in messages]
    if not template.system and messages and messages[0]["role"] == "system":
        first, *messages = messages
        if messages:
            text = f"{_text(first)}\n{_text(messages[0])}"
            messages = [{**messages[0], "content": text}, *messages[1:]]
    return messages


def from_messages_api(body: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a request of the Messages API, which counts tokens, to the body of a chat."""
    messages = [part for message in body["messages"] for part in _from_blocks(message)]
    if body.get("system"):
        messages.insert(0, {"role": "system", "content": body["system"]})
    tools = [
        {"name": tool["name"], "description": tool.get("description", "")}
        | {"parameters": tool.get("input_schema", {})}
        for tool in body.get("tools") or ()
    ]
    return {
        "messages": messages,
        "tools": [{"type": "function", "function": tool} for tool in tools],
        "chat_template_kwargs": body.get("chat_template_kwargs"),
    }


def _from_blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    if not isinstance(message["content"], list):
        return [message]
    content: list[Any] = []
    calls: list[Any] = []
    results: list[dict[str, Any]] = []
    for block in message["content"]:
        match block["type"]:
            case "tool_result":
                result = {"tool_call_id": block["tool_use_id"], "content": _text(block)}
                results.append({"role": "tool", **result})
            case "tool_use":
                arguments = json.dumps(block["input"], ensure_ascii=False)
                function = {"name": block["name"], "arguments": arguments}
                calls.append({"id": block["id"], "type": "function", "function": function})
            case "image":
                content.append({"type": "image_url"})
            case _:
                content.append(block)
    called = {"tool_calls": calls} if calls else {}
    turn = {"role": message["role"], "content": content or "", **called}
    return [turn, *results] if content or calls else results


# --- Checks of a chat -----------------------------------------------------------------------------


def _complaints(
    body: Mapping[str, Any], model: SimulatedModel, template: Template
) -> Iterator[EngineError]:
    messages = body.get("messages")
    if not isinstance(messages, list):
        yield EngineError("Expected 'messages' to be an array")
        return
    for message in messages:
        yield from _of_message(message, model)
        for call in message.get("tool_calls") or ():
            yield from _of_text(call, "id")
            if template.tools:
                yield from _of_arguments(call["function"]["arguments"])
    roles = [message["role"] for message in messages]
    if roles[-2:] == ["assistant"] * 2:
        yield EngineError("Cannot have 2 or more assistant messages at the end of the list.")
    if roles[-1:] == ["assistant"] and messages[-1].get("tool_calls"):
        yield EngineError("Cannot continue an assistant message that contains tool calls.")
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        yield EngineError(f"Invalid tool_choice: {choice}")
    response_format = body.get("response_format") or {}
    if response_format.get("type") not in (None, "", "text", "json_object", "json_schema"):
        yield EngineError('response_format type must be one of "text" or "json_object"')
    schema = (response_format.get("json_schema") or response_format).get("schema") or {}
    if isinstance(schema.get("type"), str) and schema["type"] not in _SCHEMA_TYPES:
        yield EngineError(f"{_PARSER}JSON schema error: unrecognized type {schema['type']}")


def _of_message(message: Mapping[str, Any], model: SimulatedModel) -> Iterator[EngineError]:
    content = message.get("content")
    if not message.keys() & {"content", "tool_calls"}:
        yield EngineError("Message must contain either 'content' or 'tool_calls'!")
    for key in ("role", "reasoning_content", "name", "tool_call_id"):
        yield from _of_text(message, key)
    supported = {"text": True, "image_url": model.vision, "input_audio": model.audio}
    for part in content if isinstance(content, list) else ():
        if part["type"] not in supported:
            yield EngineError("unsupported content[].type")
        elif not supported[part["type"]]:
            kind = "image" if part["type"] == "image_url" else "audio"
            hint = "hint: if this is unexpected, you may need to provide the mmproj"
            yield EngineError(f"{kind} input is not supported - {hint}", 500)


def _of_text(mapping: Mapping[str, Any], key: str) -> Iterator[EngineError]:
    if not isinstance(mapping.get(key, ""), str):
        kind = "null" if mapping[key] is None else type(mapping[key]).__name__
        why = f"[json.exception.type_error.302] type must be string, but is {kind}"
        yield EngineError(f"Failed to parse messages: {why}", 500)


def _of_arguments(arguments: Any) -> Iterator[EngineError]:
    try:
        json.loads(arguments) if isinstance(arguments, str) else None
    except ValueError as error:
        why = f"[json.exception.parse_error.101] {error}"
        yield EngineError(f"Failed to parse tool call arguments as JSON: {why}", 500)


# --- Embeddings and reranking ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings of a loaded embedding model or reranker.

    Attributes:
        pooling: The pooling.
        batch: The physical batch size, in tokens.
        context: The context size, in tokens.
    """

    pooling: str
    batch: int
    context: int

    @classmethod
    def of(cls, model: SimulatedModel, mode: str, config: Mapping[str, Any]) -> Limits:
        """Return the limits of a model in a mode, with the configuration of that mode."""
        words = " ".join(config.get("runtime-flags") or ()).replace("=", " ").split()
        flags = dict(pairwise(words))
        pooling = "rank" if mode == "reranking" else model.own_pooling
        batch = flags.get("--ubatch-size") or flags.get("-ub") or PHYSICAL_BATCH
        size = config.get("context-size") or model.context_size or model.trained_context
        context = min(int(size), model.trained_context)
        return cls(flags.get("--pooling") or pooling, int(batch), context)

    def count(self, text: str) -> int:
        """Return the number of tokens of a text, or refuse a text that is too long."""
        count = len(tokens(text)) + SPECIAL_TOKENS
        start = f"input ({count} tokens) is"
        if count > self.batch:
            hint = f"increase the physical batch size (current batch size: {self.batch})"
            msg = f"{start} too large to process. {hint}"
            raise EngineError(msg, 500)
        if count > self.context:
            msg = f"{start} larger than the max context size ({self.context} tokens). skipping"
            raise _too_long(msg, count, self.context)
        return count


def embeddings(
    body: Mapping[str, Any], limits: Limits, embed: Callable[[str], Sequence[float]]
) -> dict[str, Any]:
    """Return the reply with the vectors of texts, or refuse the request."""
    if limits.pooling == "none":
        msg = "Pooling type 'none' is not OAI compatible. Please use a different pooling type"
        raise EngineError(msg)
    texts = body.get("input")
    if not texts and texts != "":
        msg = '"input" must be provided, and must not be empty'
        raise EngineError(msg)
    texts = [texts] if isinstance(texts, str) else texts
    counts = [limits.count(text) for text in texts]
    data: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        vector = [float(number) for number in embed(text)]
        if limits.pooling == "rank":  # a reranker computes only scores
            vector = [0.0] * len(vector)
        item = {"object": "embedding", "index": index, "embedding": vector}
        if body.get("encoding_format") == "base64":
            packed = struct.pack(f"<{len(vector)}f", *vector)
            item["embedding"] = base64.b64encode(packed).decode()
        data.append(item)
    return {"object": "list", "model": FILE, "data": data, "usage": _usage(counts)}


def _usage(counts: Sequence[int]) -> dict[str, int]:
    return {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}


def rank(
    body: Mapping[str, Any], limits: Limits, score: Callable[[str, str], float]
) -> dict[str, Any]:
    """Return the reply with the scores of documents, best first, or refuse the request."""
    if limits.pooling != "rank":
        msg = "This server does not support reranking. Start it with `--reranking`"
        raise EngineError(msg, 501)
    query, documents = body.get("query"), body.get("documents")
    if not (isinstance(query, str) and documents and isinstance(documents, list)):
        msg = '"query" must be a string, and "documents" a non-empty string array'
        raise EngineError(msg)
    usage = _usage([limits.count(f"{query} {document}") for document in documents])
    scores = [float(score(query, document)) for document in documents]
    results = [{"index": index, "relevance_score": value} for index, value in enumerate(scores)]
    results.sort(key=lambda result: -result["relevance_score"])
    results = results[: body.get("top_n", len(results))]
    return {"model": FILE, "object": "list", "usage": usage, "results": results}


def shared_words(query: str, document: str) -> float:
    """Return the default score: -5 if the document has no word of the query, 5 if it has all."""
    words = {word.lower() for word in tokens(query)}
    shared = words & {word.lower() for word in tokens(document)}
    return 10 * len(shared) / (len(words) or 1) - 5
