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
MAX_CHOICES = 4
_TOKEN = re.compile(r"\w+|[^\w\s]")
_KINDS = {400: "invalid_request_error", 500: "server_error", 501: "not_supported_error"}
_MEDIA = {
    "image_url": "image",
    "input_audio": "audio",
    "input_video": "video",
    "video_url": "video",
}
_SCHEMA_TYPES = "object array string integer number boolean null".split()  # noqa: SIM905 - shorter
_PARSER = "Unable to generate parser for this template. Automatic parser generation failed: "

Complaints: TypeAlias = Iterator[str]


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
    """
    template = template_named(model.template or template)
    _raise_first(_form(body))
    if body.get("messages"):
        _raise_first(_media(body["messages"], model), 500)
    _raise_first(_messages(body["messages"]), 500, "Failed to parse messages: ")
    tools = body.get("tools") or []
    shown = f"; tools = {json.dumps(tools, indent=2)}"
    _raise_first(_tools(tools), 500, "Failed to parse tools: ", shown)
    _raise_first(_options(body))
    messages = _prepared(body["messages"], template)
    complaint = template.complaint(messages)
    if complaint is not None:
        where = "\n------------\nWhile executing CallExpression at line 1, column 1 in source:\n"
        msg = f"{_PARSER}{where}{template.source[:40]}...\n^\nError: Jinja Exception: {complaint}"
        raise EngineError(msg)
    words = tokens(json.dumps(tools)) if template.tools and tools else []
    for message in messages:
        calls = message.get("tool_calls")
        words += [f"<{message['role']}>"] * MESSAGE_TOKENS + tokens(_text(message))
        words += tokens(json.dumps(calls)) if calls else []
    variables = body.get("chat_template_kwargs") or {}
    if variables.get("enable_thinking") is False and "enable_thinking" in template.source:
        words += ["<think>", "</think>"]
    return ChatPrompt([*words, *["<answer>"] * ANSWER_TOKENS])


def _raise_first(
    complaints: Complaints, status: int = 400, before: str = "", after: str = ""
) -> None:
    for complaint in complaints:
        raise EngineError(before + complaint + after, status)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "<image>") for part in content)


def _options(body: Mapping[str, Any]) -> Complaints:
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        yield f"Invalid tool_choice: {choice}"
    thinking = (body.get("chat_template_kwargs") or {}).get("enable_thinking")
    if isinstance(thinking, str):
        yield 'invalid type for "enable_thinking" (expected boolean, got string)'
    wanted = body.get("response_format") or {}
    kind = ((wanted.get("json_schema") or wanted).get("schema") or {}).get("type")
    if isinstance(kind, str) and kind not in _SCHEMA_TYPES:
        yield f"{_PARSER}JSON schema error at #: unrecognized type {kind}"
    if body.get("logprobs") and body.get("tools") and body.get("stream"):
        yield "logprobs is not supported with tools + stream"
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        yield "top_logprobs requires logprobs to be set to true"
    for key in ("max_tokens", "temperature", "top_p", "n"):
        for complaint in _types(body, key, "number") if body.get(key) is not None else ():
            yield f"Field '{key}': {complaint}"
    count = body.get("n") or 1 if body.get("n") != 0 else 0
    if not 1 <= count <= MAX_CHOICES:
        yield f"Field 'n': Value must be between 1 <= value <= {MAX_CHOICES}, but got {count}"


def _form(body: Mapping[str, Any]) -> Complaints:
    kind = (body.get("response_format") or {}).get("type")
    if kind not in (None, "", "text", "json_object", "json_schema"):
        yield f'response_format type must be one of "text" or "json_object", but got: {kind}'
    if "messages" not in body:
        yield "'messages' is required"
    elif not isinstance(body["messages"], list):
        yield "Expected 'messages' to be an array"
    else:
        messages = [each if isinstance(each, dict) else {} for each in body["messages"]]
        for message in messages:
            yield from _content(message)
        ends = [message.get("role") == "assistant" for message in messages[-2:]]
        if len(ends) > 1 and all(ends):
            yield "Cannot have 2 or more assistant messages at the end of the list."
        if ends and ends[-1] and messages[-1].get("tool_calls"):
            yield "Cannot continue an assistant message that contains tool calls."


def _content(message: Mapping[str, Any]) -> Complaints:
    if "content" not in message and message.get("role") != "assistant":
        yield "All non-assistant messages must contain 'content'"
    if "content" not in message and "tool_calls" not in message:
        yield "Assistant message must contain either 'content' or 'tool_calls'!"
    content = message.get("content")
    if content is not None and not isinstance(content, str | list):
        yield "Expected 'content' to be a string or an array"
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" and kind not in _MEDIA:
            yield "unsupported content[].type"


def _media(messages: Sequence[Mapping[str, Any]], model: SimulatedModel) -> Complaints:
    taken = {"image": model.vision, "audio": model.audio, "video": False}
    contents = (message.get("content") for message in messages if isinstance(message, dict))
    for part in (part for content in contents if isinstance(content, list) for part in content):
        kind = _MEDIA.get(part["type"], "")
        if not taken.get(kind, True):
            hint = "hint: if this is unexpected, you may need to provide the mmproj"
            yield f"{kind} input is not supported - {hint}"


def _messages(messages: Sequence[Any]) -> Complaints:
    for message in messages:
        if not isinstance(message, dict):
            yield f"Expected 'message' to be an object, got {_dump(message)}"
        elif "role" not in message:
            yield f"Missing 'role' in message: {_dump(message)}"
        for call in message.get("tool_calls") or ():
            yield from _function("tool call", call)
            yield from _types(call["function"], "name")
            if "arguments" not in call["function"]:
                yield "[json.exception.out_of_range.403] key 'arguments' not found"
            yield from _types(call, "id")
        for key in ("role", "reasoning_content", "name", "tool_call_id"):
            yield from _types(message, key)


def _tools(tools: Any) -> Complaints:
    for tool in tools if isinstance(tools, list) else ():
        yield from _function("tool", tool)


def _function(what: str, value: Any) -> Complaints:
    """Complain about a tool, or a call of one."""
    shown = _dump(value)
    if not isinstance(value, dict) or "type" not in value:
        yield f"Missing {what} type: {shown}"
    if value["type"] != "function":
        yield f"Unsupported {what} type: {shown}"
    if not isinstance(value.get("function"), dict):
        yield f"Missing {what} function: {shown}"
    if "name" not in value["function"]:
        lost = "[json.exception.out_of_range.403] key 'name' not found"
        yield lost if what == "tool" else f"Missing {what} name: {shown}"


def _types(mapping: Mapping[str, Any], key: str, wanted: str = "string") -> Complaints:
    """Complain about what stands under a key and is of another type, such as JSON's `null`."""
    value = mapping.get(key, "" if wanted == "string" else 0)
    names = {type(None): "null", bool: "boolean", str: "string", dict: "object", list: "array"}
    kind = names.get(type(value), "number")
    if kind != wanted:
        yield f"[json.exception.type_error.302] type must be {wanted}, but is {kind}"


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
            except json.JSONDecodeError as error:
                where = f"parse error at line {error.lineno}, column {error.colno}"
                why = "syntax error while parsing value - invalid literal"
                if not arguments:
                    why = "attempting to parse an empty input"
                msg = f"[json.exception.parse_error.101] {where}: {why}"
                msg = f"Failed to parse tool call arguments as JSON: {msg}"
                raise EngineError(msg, 500) from None
    return messages


def from_messages_api(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a chat for one of the Messages API, which counts tokens."""
    system = body.get("system")
    if isinstance(system, list):
        system = "".join(part.get("text", "") for part in system)
    messages = [{"role": "system", "content": system}] if system else []
    given = body.get("messages")
    for message in given if isinstance(given, list) else ():
        blocks = message.get("content")
        messages += _from_blocks(message, blocks) if isinstance(blocks, list) else [message]
    tools = [
        {
            "name": tool.get("name", ""),
            "description": tool.get("description", ""),
            "parameters": tool.get("input_schema", {}),
        }
        for tool in body.get("tools") or ()
    ]
    return {
        "messages": messages,
        "tools": [{"type": "function", "function": tool} for tool in tools],
        "chat_template_kwargs": body.get("chat_template_kwargs"),
    }


def _from_blocks(
    message: Mapping[str, Any], blocks: Sequence[Mapping[str, Any]]
) -> Iterable[dict[str, Any]]:
    parts = [
        {"type": "image_url", "image_url": block.get("source")} if kind == "image" else block
        for block in blocks
        if (kind := block.get("type")) in ("text", "image")
    ]
    functions = [
        (each.get("id", ""), {"name": each.get("name", ""), "arguments": _dump(each.get("input"))})
        for each in blocks
        if each.get("type") == "tool_use"
    ]
    calls = [{"id": key, "type": "function", "function": each} for key, each in functions]
    if parts or calls:
        called = {"tool_calls": calls} if calls else {}
        yield {"role": message.get("role", ""), "content": parts or "", **called}
    for block in blocks:
        if block.get("type") == "tool_result":
            content = block.get("content") or ""
            if isinstance(content, list):
                content = "".join(part.get("text", "") for part in content)
            key = block.get("tool_use_id", "")
            yield {"role": "tool", "tool_call_id": key, "content": content}


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
