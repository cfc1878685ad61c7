"""LangChain's messages as the runner's API takes them.

Pure functions. What the API has no form for is refused by name, never dropped in silence.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_docker_model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Blocks that an answer's other fields say again: `tool_calls` holds the calls.
_CALLS = frozenset({"invalid_tool_call", "tool_call", "tool_call_chunk", "tool_use"})
_THOUGHTS = frozenset({"reasoning", "thinking"})  # their text has the same name
_MEDIA_HINT = "the runner takes text, images (image, image_url) and audio (audio, input_audio)"


def to_runner(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Translate a conversation.

    System messages in a row become one: many chat templates refuse the second.

    Raises:
        InvalidRequestError: There is no message, or something in one that the API has no
            form for.
    """
    if not messages:
        msg = "there is no message to answer"
        raise InvalidRequestError(msg, hint="pass at least one")
    translated: list[dict[str, Any]] = []
    for message in messages:
        new = _translate(message)
        last = translated[-1] if translated else {}
        if new["role"] == last.get("role") == "system":
            last["content"] = f"{last['content']}\n\n{new['content']}"
        else:
            translated.append(new)
    return translated


def reasoning_of(message: AIMessage) -> str:
    """What the model thought before it gave this answer; empty when nothing is known."""
    kept = message.additional_kwargs.get("reasoning_content")
    if isinstance(kept, str):
        return kept
    return "".join(
        block.get(block["type"], "") for block in _blocks(message) if block.get("type") in _THOUGHTS
    )


def text_of(message: BaseMessage, joint: str = "\n") -> str:
    """A message that holds nothing but text.

    Raises:
        InvalidRequestError: It holds something else.
    """
    parts = list(_parts(message))
    for part in parts:
        if part["type"] != "text":
            raise _unknown_block(part["type"], message, hint="only text can stand here")
    return joint.join(part["text"] for part in parts)


def _translate(message: BaseMessage) -> dict[str, Any]:
    match message:
        case SystemMessage():
            return _named(message, {"role": "system", "content": text_of(message)})
        case HumanMessage():
            return _named(message, {"role": "user", "content": _content(message)})
        case AIMessage():
            return _named(message, _answer(message))
        case ToolMessage():
            return {
                "role": "tool",
                "tool_call_id": message.tool_call_id,
                "content": _content(message),
            }
        case ChatMessage():
            return _named(message, {"role": message.role, "content": _content(message)})
    msg = f"a {type(message).__name__} cannot be sent to a model"
    raise InvalidRequestError(msg, hint="send system, human, AI, tool and chat messages")


def _named(message: BaseMessage, translated: dict[str, Any]) -> dict[str, Any]:
    return {**translated, "name": message.name} if message.name else translated


def _answer(message: AIMessage) -> dict[str, Any]:
    translated: dict[str, Any] = {"role": "assistant", "content": text_of(message, joint="")}
    reasoning = reasoning_of(message)
    if reasoning:
        # Some templates want the thoughts between a tool's call and its result; the others
        # leave them out by themselves.
        translated["reasoning_content"] = reasoning
    calls = [
        # The model reads its own words again: no escapes for what is no ASCII.
        (call["id"], call["name"], json.dumps(call["args"], ensure_ascii=False))
        for call in message.tool_calls
    ] + [(call["id"], call["name"], call["args"]) for call in message.invalid_tool_calls]
    if calls:
        translated["tool_calls"] = [
            {"type": "function", "id": number, "function": {"name": name, "arguments": arguments}}
            for number, name, arguments in calls
        ]
    return translated


def _content(message: BaseMessage) -> str | list[dict[str, Any]]:
    """Text as a string, since not every template takes parts; else the parts."""
    parts = list(_parts(message))
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _parts(message: BaseMessage) -> Iterator[dict[str, Any]]:
    for block in _blocks(message):
        kind = block.get("type")
        if kind == "text":
            yield {"type": "text", "text": block["text"]}
        elif kind in ("image_url", "image"):
            yield {"type": "image_url", "image_url": _image(block, message)}
        elif kind in ("input_audio", "audio"):
            yield {"type": "input_audio", "input_audio": _audio(block, message)}
        elif not (isinstance(message, AIMessage) and (kind in _CALLS or kind in _THOUGHTS)):
            raise _unknown_block(kind, message, hint=_MEDIA_HINT)


def _blocks(message: BaseMessage) -> Iterator[Mapping[str, Any]]:
    content = [message.content] if isinstance(message.content, str) else message.content
    for block in content:
        yield {"type": "text", "text": block} if isinstance(block, str) else block


def _image(block: Mapping[str, Any], message: BaseMessage) -> dict[str, Any]:
    image = block.get("image_url")
    if isinstance(image, str):
        return {"url": image}
    if isinstance(image, dict):
        return image
    if "url" in block:
        return {"url": block["url"]}
    kind, data = _media(block)
    if data is None:
        raise _incomplete(block, message, "url, or base64 with mime_type")
    return {"url": f"data:{kind};base64,{data}"}


def _audio(block: Mapping[str, Any], message: BaseMessage) -> dict[str, Any]:
    if "input_audio" in block:
        return dict(block["input_audio"])
    kind, data = _media(block)
    if data is None:
        raise _incomplete(block, message, "base64 with mime_type")
    form = kind.rpartition("/")[2]
    return {"data": data, "format": {"mpeg": "mp3", "x-wav": "wav"}.get(form, form)}


def _media(block: Mapping[str, Any]) -> tuple[str, str | None]:
    """The type and the data of a block, in any of its three forms; no data without a type."""
    source = block.get("source")  # Anthropic's
    if isinstance(source, dict):
        return source.get("media_type", ""), source.get("media_type") and source.get("data")
    data = block.get("base64") or (block.get("source_type") == "base64" and block.get("data"))
    kind = block.get("mime_type", "")
    return kind, (data or None) if kind else None


def _unknown_block(kind: object, message: BaseMessage, *, hint: str) -> InvalidRequestError:
    msg = f"a {message.type} message has a content block of type {kind!r}, which cannot be sent"
    return InvalidRequestError(msg, hint=hint)


def _incomplete(block: Mapping[str, Any], message: BaseMessage, needed: str) -> InvalidRequestError:
    msg = f"a {message.type} message has a content block of type {block['type']!r} without data"
    return InvalidRequestError(msg, hint=f"it needs {needed}")
