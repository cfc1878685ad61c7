"""A chat in the words of the runner's API: roles, tools' calls and results, images."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ImageBlock, MessageRole

from docker_model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.base.llms.types import ChatMessage

__all__ = ["needs_http", "to_runner"]

# The chat templates of local models know these four.
_ROLES = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}
# Reasoning is not sent back to a model, and a cache mark holds nothing to send.
_NOT_SENT = frozenset({"thinking", "cache"})


def needs_http(messages: Sequence[ChatMessage]) -> bool:
    """Whether there is something in the chat that is no text and that the API has a word for."""
    return any(
        block.block_type in ("image", "tool_call") for one in messages for block in one.blocks
    )


def to_runner(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Say a chat in the API's words.

    Raises:
        InvalidRequestError: There is nothing in it, or a block that the API has no word for.
    """
    said = [_message(one) for one in messages]
    if not any(_says_something(one) for one in said):
        msg = "the chat is empty: there is no text in it"
        raise InvalidRequestError(msg, hint="pass at least one message with text")
    return said


def _message(message: ChatMessage) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for block in message.blocks:
        if block.block_type == "text":
            parts.append({"type": "text", "text": block.text})
        elif block.block_type == "image":
            parts.append(_image(block))
        elif block.block_type == "tool_call":
            calls.append(_call(block))
        elif block.block_type not in _NOT_SENT:
            msg = f"the runner's API takes text and images, and the chat holds: {block.block_type}"
            raise InvalidRequestError(msg, hint="leave these blocks out of the messages")
    said: dict[str, Any] = {"role": _ROLES[message.role], "content": _content(parts)}
    if said["role"] == "assistant":
        # Older releases of core have no blocks for calls.
        calls = calls or list(message.additional_kwargs.get("tool_calls") or ())
        if calls:
            said["tool_calls"] = calls
    elif said["role"] == "tool":
        said["tool_call_id"] = message.additional_kwargs.get("tool_call_id", "")
    return said


def _content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Plain text where it can be: many chat templates take nothing else."""
    if any(part["type"] != "text" for part in parts):
        return parts
    return "\n".join(part["text"] for part in parts)


def _image(block: ImageBlock) -> dict[str, Any]:
    if block.url is not None:
        url = str(block.url)
    else:
        data = block.resolve_image(as_base64=True).read().decode("ascii")
        url = f"data:{block.image_mimetype or 'image/png'};base64,{data}"
    detail = {"detail": block.detail} if block.detail else {}
    return {"type": "image_url", "image_url": {"url": url, **detail}}


def _call(block: Any) -> dict[str, Any]:
    arguments = block.tool_kwargs
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    function = {"name": block.tool_name, "arguments": arguments}
    return {"id": block.tool_call_id or "", "type": "function", "function": function}


def _says_something(said: dict[str, Any]) -> bool:
    content = said["content"]
    return bool("tool_calls" in said or (content.strip() if isinstance(content, str) else content))
