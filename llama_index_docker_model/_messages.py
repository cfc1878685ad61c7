"""LlamaIndex chats as OpenAI's message objects for HTTP, and as one prompt for the CLI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.generic_utils import (
    messages_to_prompt as generic_messages_to_prompt,
)
from llama_index.core.base.llms.types import MessageRole

from docker_model.errors import InvalidRequestError, UnsupportedParameterError
from docker_model.http.messages import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from llama_index.core.base.llms.types import ChatMessage

__all__ = [
    "NOT_AN_OBJECT",
    "chat_prompt",
    "needs_http",
    "not_run",
    "openai_messages",
    "text_and_calls",
]

NOT_AN_OBJECT = "The arguments are not a JSON object."

_NOT_RUN = re.compile(r"\(not run: (.*)\) not found\.", re.DOTALL)


def not_run(name: str, problem: str) -> str:
    """Return a name that no tool has, so that an agent reports the problem to the model."""
    return f"{name} (not run: {problem})"


# Text, and blocks that `messages_to_prompt` can ignore: reasoning and marks of a provider's cache.
_FLATTENED = frozenset({"text", "thinking", "cache"})


def needs_http(messages: Sequence[ChatMessage]) -> bool:
    """Tell whether a chat contains blocks that the CLI cannot send."""
    return bool(_types(messages) - _FLATTENED)


def chat_prompt(
    messages: Sequence[ChatMessage],
    messages_to_prompt: Callable[[Sequence[ChatMessage]], str] | None,
) -> str:
    """Convert a chat to one prompt, because the CLI sends a single user message.

    Args:
        messages: The chat.
        messages_to_prompt: The user's function; `None` for core's.

    Raises:
        InvalidRequestError: If no message has text.
        UnsupportedParameterError: If a block is not text. Core's function would ignore it
            silently.
    """
    _refuse(messages, _FLATTENED)
    blocks = [block for message in messages for block in message.blocks]
    if not any(block.block_type == "text" and block.text.strip() for block in blocks):
        raise _empty()
    return (messages_to_prompt or generic_messages_to_prompt)(messages)


def text_and_calls(messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
    """Check that a chat contains only text and tool calls, and return it.

    Raises:
        UnsupportedParameterError: If a block is neither text nor a tool call.
    """
    _refuse(messages, _FLATTENED | {"tool_call"})
    return messages


def openai_messages(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Convert a chat to OpenAI's message objects, in a form that all chat templates accept.

    Raises:
        InvalidRequestError: If no message has content, or a user message has content that the
            API does not support.
    """
    converted = [_message(message) for message in messages]
    if not any(_has_content(message) for message in converted):
        raise _empty()
    return prepare(converted)


def _types(messages: Sequence[ChatMessage]) -> set[str]:
    return {block.block_type for message in messages for block in message.blocks}


def _refuse(messages: Sequence[ChatMessage], supported: frozenset[str]) -> None:
    if refused := sorted(_types(messages) - supported):
        msg = f"`docker model run` sends only text, but the chat contains: {', '.join(refused)}"
        hint = "leave these blocks out of the messages, or use HTTP: transport='http'"
        raise UnsupportedParameterError(msg, hint=hint)


def _empty() -> InvalidRequestError:
    hint = "pass at least one message with text"
    return InvalidRequestError("the chat is empty: it contains no text", hint=hint)


def _has_content(message: Mapping[str, Any]) -> bool:
    parts = message["content"]
    return bool(message["tool_calls"]) or any(
        part["type"] != "text" or part["text"].strip() for part in parts
    )


def _message(message: ChatMessage) -> dict[str, Any]:
    extras = message.additional_kwargs
    content = [part for block in message.blocks for part in _parts(block)]
    is_result = message.role in (MessageRole.TOOL, MessageRole.FUNCTION)
    if is_result and (match := _NOT_RUN.search(message.content or "")):
        # The agent's own message would say that the tool does not exist.
        text = f"Error: the tool was not run. {match[1]} Call it again with valid arguments."
        content = [{"type": "text", "text": text}]
    return {
        "role": message.role.value,
        "content": content,
        "tool_calls": [_plain(call) for call in extras.get("tool_calls") or ()],
        "function_call": _plain(extras.get("function_call")),
        "reasoning_content": extras.get("reasoning_content"),
        "name": extras.get("name"),
        "tool_call_id": extras.get("tool_call_id"),
    }


def _plain(call: Any) -> Any:
    """Return a call as a dictionary; some integrations store objects of their client."""
    return call.model_dump() if hasattr(call, "model_dump") else call


def _parts(block: Any) -> Iterator[dict[str, Any]]:
    """Yield the content parts of a block."""
    kind = block.block_type
    if kind == "text":
        yield {"type": "text", "text": block.text}
    elif kind == "thinking":
        yield {"type": "thinking", "thinking": block.content or ""}
    elif kind == "tool_call":
        yield {
            "type": "tool_call",
            "id": block.tool_call_id,
            "name": block.tool_name,
            "args": block.tool_kwargs,
        }
    elif kind == "image":
        yield _image(block)
    elif kind == "audio":
        audio = {"data": _base64(block.resolve_audio), "format": block.format or "wav"}
        yield {"type": "input_audio", "input_audio": audio}
    elif kind == "document":
        yield _document(block)
    elif kind == "citable":
        for inner in block.content:
            yield from _parts(inner)
    elif kind == "citation":
        yield from _parts(block.cited_content)
    else:
        yield {"type": kind}


def _image(block: Any) -> dict[str, Any]:
    if block.url is not None:
        url = str(block.url)
    else:
        url = f"data:{block.image_mimetype or 'image/png'};base64,{_base64(block.resolve_image)}"
    detail = {"detail": block.detail} if block.detail else {}
    return {"type": "image_url", "image_url": {"url": url, **detail}}


def _document(block: Any) -> dict[str, Any]:
    """Return a document's text; the API does not support other documents."""
    if not (block.document_mimetype or "").startswith("text/"):
        return {"type": "document"}
    text = block.resolve_document().read().decode("utf-8", "replace")
    return {"type": "text", "text": text}


def _base64(resolve: Callable[..., Any]) -> str:
    data: bytes = resolve(as_base64=True).read()
    return data.decode("ascii")
