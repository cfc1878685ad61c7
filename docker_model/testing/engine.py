"""What llama.cpp does with a request: refuses it in its own words, counts, embeds, ranks."""

from __future__ import annotations

import base64
import json
import random
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docker_model.testing.templates import Template, template_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from docker_model.testing.models import SimulatedModel

FILE = "/models/blobs/sha256/model.gguf"  # the engine calls a model by its file
BATCH = 2048
PHYSICAL_BATCH = 512
SPECIAL_TOKENS = 2  # [CLS] and [SEP], or their like
MESSAGE_TOKENS = 4
ANSWER_TOKENS = 3
READ_MS, WRITE_MS = 1.0, 10.0  # for a token
_TOKEN = re.compile(r"\w+|[^\w\s]")
MEDIA = {"image_url": "image", "input_audio": "audio", "input_video": "video", "video_url": "video"}
KINDS = {400: "invalid_request_error", 500: "server_error", 501: "not_supported_error"}


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
        kind = kind or KINDS[status]
        self.error = {"code": status, "message": message, "type": kind, **more}


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
        context_size: The context size in force, if one is enforced.
    """

    tokens: list[str]
    cached: int = 0
    context_size: int | None = None

    def check_length(self) -> None:
        """Refuse a prompt that does not leave room for an answer.

        Raises:
            EngineError: If it is too long.
        """
        count, size = len(self.tokens), self.context_size
        if size is not None and count >= size:
            message = (
                f"request ({count} tokens) exceeds the available context size ({size} tokens), "
                "try increasing it"
            )
            raise EngineError(
                message, kind="exceed_context_size_error", n_prompt_tokens=count, n_ctx=size
            )

    def remember(self, before: Sequence[str]) -> None:
        """Set `cached` by what the engine has read before."""
        equal = 0
        for mine, old in zip(self.tokens, before, strict=False):
            if mine != old:
                break
            equal += 1
        self.cached = min(equal, len(self.tokens) - 1)


def read_chat(
    body: Mapping[str, Any], model: SimulatedModel, template: str | Template
) -> ChatPrompt:
    """Check a chat as llama.cpp does, and return what the model reads.

    Args:
        body: The request's body.
        model: The model that is asked.
        template: The chat template of models that name none.

    Raises:
        EngineError: If the engine refuses it.
    """
    template = template_named(model.template or template)
    tools = body.get("tools")
    _check_options(body)
    messages = _checked_messages(body, vision=model.vision)
    try:
        for tool in tools if isinstance(tools, list) else ():
            _check_tool(tool)
    except EngineError as error:
        shown = json.dumps(tools, indent=2)
        msg = f"Failed to parse tools: {error}; tools = {shown}"
        raise EngineError(msg, 500) from None
    messages = _prepared(messages, template)
    complaint = template.complaint(messages)
    if complaint is not None:
        raise _template_error(complaint, template)
    words = [word for message in messages for word in _message_tokens(message)]
    if template.tools and tools:
        words = tokens(json.dumps(tools)) + words
    return ChatPrompt([*words, *["<answer>"] * ANSWER_TOKENS])


def _message_tokens(message: Mapping[str, Any]) -> list[str]:
    calls = message.get("tool_calls")
    text = tokens(_text(message)) + (tokens(json.dumps(calls)) if calls else [])
    return [f"<{message['role']}>"] * MESSAGE_TOKENS + text


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "<image>") for part in content)


def _check_options(body: Mapping[str, Any]) -> None:
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        msg = f"Invalid tool_choice: {choice}"
        raise EngineError(msg)
    kind = (body.get("response_format") or {}).get("type")
    if kind not in (None, "", "text", "json_object", "json_schema"):
        msg = f'response_format type must be one of "text" or "json_object", but got: {kind}'
        raise EngineError(msg)
    thinking = (body.get("chat_template_kwargs") or {}).get("enable_thinking")
    if isinstance(thinking, str):
        msg = 'invalid type for "enable_thinking" (expected boolean, got string)'
        raise EngineError(msg)
    if body.get("logprobs") and body.get("tools") and body.get("stream"):
        msg = "logprobs is not supported with tools + stream"
        raise EngineError(msg)
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        msg = "top_logprobs requires logprobs to be set to true"
        raise EngineError(msg)


def _checked_messages(body: Mapping[str, Any], *, vision: bool) -> list[dict[str, Any]]:
    if "messages" not in body:
        msg = "'messages' is required"
        raise EngineError(msg)
    messages = body["messages"]
    if not isinstance(messages, list):
        msg = "Expected 'messages' to be an array"
        raise EngineError(msg)
    for message in messages:
        _check_content(message if isinstance(message, dict) else {}, vision=vision)
    try:
        for message in messages:
            _check_message(message)
    except EngineError as error:
        msg = f"Failed to parse messages: {error}"
        raise EngineError(msg, 500) from None
    return messages


def _check_content(message: Mapping[str, Any], *, vision: bool) -> None:
    if "content" not in message:
        if message.get("role") != "assistant":
            msg = "All non-assistant messages must contain 'content'"
            raise EngineError(msg)
        if "tool_calls" not in message:
            msg = "Assistant message must contain either 'content' or 'tool_calls'!"
            raise EngineError(msg)
    content = message.get("content")
    if content is not None and not isinstance(content, str | list):
        msg = "Expected 'content' to be a string or an array"
        raise EngineError(msg)
    for part in content if isinstance(content, list) else ():
        kind = part.get("type", "") if isinstance(part, dict) else ""
        if kind in MEDIA and not (vision and kind == "image_url"):
            msg = (
                f"{MEDIA[kind]} input is not supported - "
                "hint: if this is unexpected, you may need to provide the mmproj"
            )
            raise EngineError(msg, 500)
        if kind != "text" and kind not in MEDIA:
            msg = "unsupported content[].type"
            raise EngineError(msg)


def _check_message(message: Any) -> None:
    if not isinstance(message, dict):
        msg = f"Expected 'message' to be an object, got {json.dumps(message)}"
        raise EngineError(msg)
    if "role" not in message:
        msg = f"Missing 'role' in message: {json.dumps(message)}"
        raise EngineError(msg)
    for call in message.get("tool_calls") or ():
        _check_call(call)
    for key in ("role", "reasoning_content", "name", "tool_call_id"):
        _check_string(message, key)


def _check_call(call: dict[str, Any]) -> None:
    shown = json.dumps(call)
    if "type" not in call:
        msg = f"Missing tool call type: {shown}"
        raise EngineError(msg)
    if call["type"] != "function":
        msg = f"Unsupported tool call type: {shown}"
        raise EngineError(msg)
    function = call.get("function")
    if not isinstance(function, dict):
        msg = f"Missing tool call function: {shown}"
        raise EngineError(msg)
    if "name" not in function:
        msg = f"Missing tool call name: {shown}"
        raise EngineError(msg)
    _check_string(function, "name")
    if "arguments" not in function:
        msg = "[json.exception.out_of_range.403] key 'arguments' not found"
        raise EngineError(msg)
    _check_string(call, "id")


def _check_string(mapping: Mapping[str, Any], key: str) -> None:
    """Refuse what stands under a key, is there, and is no text: JSON's `null` too."""
    if key in mapping and not isinstance(mapping[key], str):
        msg = f"[json.exception.type_error.302] type must be string, but is {_kind(mapping[key])}"
        raise EngineError(msg)


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "boolean", dict: "object", list: "array"}
    return names.get(type(value), "number")


def _check_tool(tool: Any) -> None:
    shown = json.dumps(tool)
    if not isinstance(tool, dict) or "type" not in tool:
        msg = f"Missing tool type: {shown}"
        raise EngineError(msg)
    if tool["type"] != "function":
        msg = f"Unsupported tool type: {shown}"
        raise EngineError(msg)
    if not isinstance(tool.get("function"), dict):
        msg = f"Missing tool function: {shown}"
        raise EngineError(msg)
    if "name" not in tool["function"]:
        msg = "[json.exception.out_of_range.403] key 'name' not found"
        raise EngineError(msg)


def _prepared(messages: list[dict[str, Any]], template: Template) -> list[dict[str, Any]]:
    """Return the messages as llama.cpp hands them to the template.

    Raises:
        EngineError: If the arguments of a tool call are no JSON.
    """
    messages = [
        {**message, "role": "system" if message["role"] == "developer" else message["role"]}
        for message in messages
    ]
    if not template.system and messages and messages[0]["role"] == "system":
        first, *messages = messages
        if messages:
            text = f"{_text(first)}\n{_text(messages[0])}"
            messages = [{**messages[0], "content": text}, *messages[1:]]
    for message in messages:
        for call in message.get("tool_calls") or ():
            arguments = call["function"]["arguments"]
            try:
                json.loads(arguments) if isinstance(arguments, str) else None
            except ValueError as error:
                msg = f"Failed to parse tool call arguments as JSON: {_parse_error(error)}"
                raise EngineError(msg, 500) from None
    return messages


def _parse_error(error: ValueError) -> str:
    at = getattr(error, "pos", 0) + 1
    return (
        f"[json.exception.parse_error.101] parse error at line 1, column {at}: "
        "syntax error while parsing value - invalid literal"
    )


def _template_error(complaint: str, template: Template) -> EngineError:
    source = template.source[:40]
    return EngineError(
        "Unable to generate parser for this template. Automatic parser generation failed: "
        f"\n------------\nWhile executing CallExpression at line 1, column 1 in source:\n"
        f"{source}...\n^\nError: Jinja Exception: {complaint}"
    )


def from_messages_api(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a chat for one of the Messages API, which counts tokens."""
    messages: list[dict[str, Any]] = []
    system = body.get("system")
    if isinstance(system, list):
        system = "".join(part.get("text", "") for part in system)
    if system:
        messages.append({"role": "system", "content": system})
    for message in body.get("messages") or ():
        content = message.get("content")
        messages += _from_blocks(message) if isinstance(content, list) else [message]
    tools = [
        {
            "type": "function",
            "function": {
                "name": tool.get("name", ""),
                "description": tool.get("description", ""),
                "parameters": tool.get("input_schema", {}),
            },
        }
        for tool in body.get("tools") or ()
    ]
    return {"messages": messages, "tools": tools}


def _from_blocks(message: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    blocks = message["content"]
    parts = [block for block in blocks if block.get("type") == "text"]
    calls = [
        {
            "id": block.get("id", ""),
            "type": "function",
            "function": {
                "name": block.get("name", ""),
                "arguments": json.dumps(block.get("input", {})),
            },
        }
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    if parts or calls:
        called = {"tool_calls": calls} if calls else {}
        yield {"role": message.get("role", ""), "content": parts or "", **called}
    for block in blocks:
        if block.get("type") == "tool_result":
            content = block.get("content") or ""
            if isinstance(content, list):
                content = "".join(part.get("text", "") for part in content)
            yield {
                "role": "tool",
                "tool_call_id": block.get("tool_use_id", ""),
                "content": content,
            }


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
        flags = flag_values(config.get("runtime-flags") or ())
        batch = flags.get("--ubatch-size") or flags.get("-ub")
        size = config.get("context-size") or model.context_size or model.trained_context
        return cls(
            flags.get("--pooling") or ("rank" if mode == "reranking" else model.own_pooling),
            int(batch or PHYSICAL_BATCH),
            min(int(size), model.trained_context),
        )

    def count(self, text: str) -> int:
        """Return the tokens of a text.

        Raises:
            EngineError: If it is too long.
        """
        count = len(tokens(text)) + SPECIAL_TOKENS
        if count > self.batch:
            msg = (
                f"input ({count} tokens) is too large to process. increase the physical batch "
                f"size (current batch size: {self.batch})"
            )
            raise EngineError(msg, 500)
        if count > self.context:
            msg = (
                f"input ({count} tokens) is larger than the max context size "
                f"({self.context} tokens). skipping"
            )
            raise EngineError(
                msg,
                kind="exceed_context_size_error",
                n_prompt_tokens=count,
                n_ctx=self.context,
            )
        return count


def flag_values(flags: Sequence[str]) -> dict[str, str]:
    """Return the runtime flags that have a value: `--pooling mean` or `--pooling=mean`."""
    values = {}
    for flag, after in zip(flags, [*flags[1:], ""], strict=False):
        name, equals, value = flag.partition("=")
        values[name] = value if equals else after
    return values


def embeddings(
    body: Mapping[str, Any], limits: Limits, embed: Callable[[str], Sequence[float]]
) -> dict[str, Any]:
    """Return the vectors of texts.

    Raises:
        EngineError: If the engine refuses one of them.
    """
    if limits.pooling == "none":
        msg = "Pooling type 'none' is not OAI compatible. Please use a different pooling type"
        raise EngineError(msg)
    kind = body.get("encoding_format", "float")
    if kind not in ("float", "base64"):
        msg = "The format to return the embeddings in. Can be either float or base64"
        raise EngineError(msg)
    texts = _inputs(body)
    counts = [limits.count(text) for text in texts]
    data = []
    for index, text in enumerate(texts):
        vector = [float(number) for number in embed(text)]
        item = {"object": "embedding", "index": index, "embedding": vector}
        if kind == "base64":
            packed = struct.pack(f"<{len(vector)}f", *vector)
            item |= {"embedding": base64.b64encode(packed).decode(), "encoding_format": kind}
        data.append(item)
    usage = {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}
    return {"object": "list", "model": FILE, "data": data, "usage": usage}


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
    texts = []
    for entry in entries:
        if isinstance(entry, list):  # token ids of whatever vocabulary
            texts.append(" ".join(map(str, entry)))
        elif isinstance(entry, str):
            texts.append(entry)
        else:
            msg = (
                '"prompt" elements must be a string, a list of tokens, a JSON object containing '
                "a prompt string, or a list of mixed strings & tokens."
            )
            raise EngineError(msg, 500)
    return texts


def rank(
    body: Mapping[str, Any],
    limits: Limits,
    score: Callable[[str, str], float] | None,
) -> dict[str, Any]:
    """Return documents by their relevance for a query.

    Args:
        body: The request's body.
        limits: What the runner was started with.
        score: Gives the score of a document for a query; `None` for a model that is no
            reranker: the engine answers it with scores that mean nothing.

    Raises:
        EngineError: If the engine refuses it.
    """
    if limits.pooling != "rank":
        msg = "This server does not support reranking. Start it with `--reranking`"
        raise EngineError(msg, 501)
    if "query" not in body:
        msg = '"query" must be provided'
        raise EngineError(msg)
    query = body["query"]
    if not isinstance(query, str):
        msg = '"query" must be a string'
        raise EngineError(msg)
    documents = body.get("documents") or body.get("texts") or []
    if not (isinstance(documents, list) and documents):
        msg = '"documents" must be a non-empty string array'
        raise EngineError(msg)
    count = sum(limits.count(f"{query} {document}") for document in documents)
    score = score or (lambda _query, _document: random.uniform(-5, 5))  # noqa: S311 - no secret
    results = [
        {"index": index, "relevance_score": float(score(query, document))}
        for index, document in enumerate(documents)
    ]
    results.sort(key=lambda result: -result["relevance_score"])
    usage = {"prompt_tokens": count, "total_tokens": count}
    kept = results[: body.get("top_n", len(results))]
    return {"model": FILE, "object": "list", "usage": usage, "results": kept}


def shared_words(query: str, document: str) -> float:
    """Return the default score: from -5, without a word of the query, to 5, with all of them."""
    words = {word.lower() for word in tokens(query)}
    found = words & {word.lower() for word in tokens(document)}
    return 10 * len(found) / (len(words) or 1) - 5


# --- Times ----------------------------------------------------------------------------------------


def timings(prompt: ChatPrompt, answered: int) -> dict[str, float]:
    """Return the object `timings` of a reply with so many tokens."""
    read = len(prompt.tokens) - prompt.cached
    return {
        "cache_n": prompt.cached,
        "prompt_n": read,
        "prompt_ms": read * READ_MS,
        "prompt_per_token_ms": READ_MS,
        "prompt_per_second": 1000 / READ_MS,
        "predicted_n": answered,
        "predicted_ms": answered * WRITE_MS,
        "predicted_per_token_ms": WRITE_MS,
        "predicted_per_second": 1000 / WRITE_MS,
    }


def progress(prompt: ChatPrompt) -> Iterable[dict[str, float]]:
    """Yield the object `prompt_progress` after each batch of the prompt."""
    total = len(prompt.tokens)
    for start in range(prompt.cached, total, BATCH):
        done = min(start + BATCH, total)
        spent = (done - prompt.cached) * READ_MS
        yield {"total": total, "cache": prompt.cached, "processed": done, "time_ms": spent}
