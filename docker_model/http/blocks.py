"""Convert content blocks of all providers to the form of the runner's API, without I/O.

A history can contain messages of many models: OpenAI's two APIs, Anthropic, Gemini, Bedrock, and
the standard blocks of the frameworks. Text, images and audio become OpenAI's content parts. Tool
calls, their results and reasoning are separated from them. A block that only its provider
understands, such as the result of a server-side tool, is removed from an assistant message. In a
user message it is an error, so that no user content is lost silently.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from docker_model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Content", "ToolCall", "ToolResult", "read_arguments", "read_content"]

_MEDIA_HINT = (
    "the runner accepts text, images (image, image_url) and audio (audio, input_audio); "
    "remove other blocks from the messages"
)
_TEXTS = frozenset({"text", "input_text", "output_text", "text-plain", "plaintext"})
_IMAGES = frozenset({"image", "image_url", "input_image"})
_AUDIO = frozenset({"audio", "input_audio"})
_FILES = frozenset({"file", "media"})  # their MIME type determines the kind
_THOUGHTS = frozenset({"reasoning", "reasoning_content", "thinking", "thought"})
_CALLS = frozenset(
    {
        "custom_tool_call",
        "function",
        "function_call",
        "invalid_tool_call",
        "tool_call",
        "tool_call_chunk",
        "tool_use",
    }
)
_RESULTS = frozenset(
    {"custom_tool_call_output", "function_call_output", "function_response", "tool_result"}
)
# Markers for a provider's cache, without content to send.
_MARKS = frozenset({"cache", "cache_point", "cachePoint"})
# Gemini's and Bedrock's parts have no type; their key determines the kind.
_KEYS = {
    "functionCall": "function_call",
    "function_call": "function_call",
    "functionResponse": "function_response",
    "function_response": "function_response",
    "inlineData": "media",
    "inline_data": "media",
    "toolUse": "tool_use",
    "toolResult": "tool_result",
    "reasoningContent": "reasoning_content",
    "image_url": "image_url",
    "input_audio": "input_audio",
    "image": "image",
    "cachePoint": "cachePoint",
    "text": "text",
}


@dataclass(slots=True)
class ToolCall:
    """A tool call in the history.

    Attributes:
        id: The original id; empty if missing.
        name: The name of the tool; empty if missing.
        arguments: The arguments; `None` if they are not a JSON object.
        raw: The arguments as text.
        result: The result of the call, if known.
    """

    id: str
    name: str
    arguments: dict[str, Any] | None
    raw: str
    result: ToolResult | None = None


@dataclass(slots=True)
class ToolResult:
    """A tool result in the history.

    Attributes:
        id: The original id of the call; empty if missing.
        name: The name of the tool; empty if missing.
        parts: OpenAI's content parts.
    """

    id: str
    name: str
    parts: list[dict[str, Any]]


@dataclass(slots=True)
class Content:
    """The content of a message, by kind.

    Attributes:
        parts: OpenAI's content parts: text, images, audio.
        thoughts: The reasoning.
        calls: The tool calls.
        results: The tool results in a user message.
    """

    parts: list[dict[str, Any]] = field(default_factory=list)
    thoughts: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    results: list[ToolResult] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Return the text of all text parts."""
        return "".join(part["text"] for part in self.parts if part["type"] == "text")

    def add_text(self, text: str, joint: str) -> None:
        """Append text; if the last part is text, append it to this part."""
        if not text:
            return
        if self.parts and self.parts[-1]["type"] == "text":
            self.parts[-1]["text"] += joint + text
        else:
            self.parts.append({"type": "text", "text": text})


def read_content(content: object, role: str) -> Content:
    """Parse the content of a message.

    Args:
        content: Text, a list of texts and blocks, or `None`.
        role: `"system"`, `"user"`, `"assistant"`, `"tool"`, or a custom role.

    Raises:
        InvalidRequestError: If a user or system message has content that the API does not support.
    """
    held = Content()
    if isinstance(content, (str, dict)):
        content = [content]
    elif content is None:
        content = []
    elif not isinstance(content, (list, tuple)):
        if role not in ("assistant", "tool"):
            msg = f"the content of a {role} message is {type(content).__name__}, which is not text"
            raise InvalidRequestError(msg, hint="pass a str, or a list of content blocks")
        content = [str(content)]
    # Providers can split an assistant's text into blocks at any position.
    joint = "" if role == "assistant" else "\n"
    apart = False
    for item in content:
        block = {"type": "text", "text": item} if isinstance(item, str) else item
        before = len(held.parts), len(held.parts and held.parts[-1].get("text", ""))
        _read_block(held, block, role, "\n" if apart else joint)
        after = len(held.parts), len(held.parts and held.parts[-1].get("text", ""))
        apart = role == "assistant" and before == after and (apart or bool(held.parts))
    return held


def _read_block(held: Content, block: object, role: str, joint: str) -> None:
    kind, block = _kind_of(block)
    if kind in _MARKS:
        return
    if kind in _TEXTS and not block.get("thought"):
        held.add_text(_text(block.get("text")), joint)
    elif role == "assistant":
        _read_answer(held, kind, block, joint)
    elif kind in _RESULTS and role == "user":
        held.results.append(_result(kind, block))
    elif role == "tool":
        _read_output(held, kind, block)
    elif kind in _IMAGES and role != "system":
        held.parts.append({"type": "image_url", "image_url": _image(kind, block, role)})
    elif kind in _AUDIO and role != "system":
        held.parts.append({"type": "input_audio", "input_audio": _audio(kind, block, role)})
    elif text := _document(kind, block):
        held.add_text(text, joint)
    else:
        raise _unknown(kind, role)


def _read_answer(held: Content, kind: str, block: Mapping[str, Any], joint: str) -> None:
    if kind in _CALLS:
        held.calls.append(read_call(block))
    elif kind in _THOUGHTS or kind in _TEXTS:
        held.thoughts += _thought(block)
    elif kind == "refusal":
        held.add_text(_text(block.get("refusal")), joint)


def _read_output(held: Content, kind: str, block: Mapping[str, Any]) -> None:
    """Parse a block of a tool's output: images remain images, other blocks become text."""
    if kind in _IMAGES and (image := _image_or_none(block)):
        held.parts.append({"type": "image_url", "image_url": image})
    else:
        held.add_text(_document(kind, block) or _dump(block), "\n")


def _kind_of(block: object) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(block, dict):
        return "text", {"text": str(block)}
    kind = block.get("type")
    if kind == "non_standard" and isinstance(block.get("value"), dict):
        return _kind_of(block["value"])
    if not isinstance(kind, str):
        known = (known for key, known in _KEYS.items() if key in block)
        kind = next(known, ", ".join(map(str, block)) or "empty")
    if kind in _FILES:
        medium = _media(block)[0].partition("/")[0]
        kind = medium if medium in ("image", "audio") else kind
    return kind, block


# -- calls and results ------------------------------------------------------------------------


def read_call(block: Mapping[str, Any]) -> ToolCall:
    """Parse a tool call in any form: a block, or an item of `tool_calls`."""
    inner: Any = block
    for key in ("function", "function_call", "functionCall", "toolUse", "custom"):
        if isinstance(block.get(key), dict):
            inner = block[key]
            break
    value = next(
        (inner[key] for key in ("arguments", "args", "input", "parameters") if key in inner), None
    )
    arguments, raw = read_arguments(value)
    # OpenAI's Responses API has an id of the item in addition to the id of the call.
    numbers = (block.get("call_id"), block.get("id"), inner.get("toolUseId"), inner.get("id"))
    return ToolCall(_first(*numbers), _first(inner.get("name"), block.get("name")), arguments, raw)


def _result(kind: str, block: Mapping[str, Any]) -> ToolResult:
    inner: Any = block
    for key in ("functionResponse", "function_response", "toolResult"):
        if isinstance(block.get(key), dict):
            inner = block[key]
            break
    keys = ("content", "output", "response")
    output = next((inner[key] for key in keys if inner.get(key) is not None), "")
    number = _first(
        block.get("tool_use_id"), block.get("call_id"), inner.get("toolUseId"), inner.get("id")
    )
    if kind == "function_response" and isinstance(output, dict):
        output = _dump(output)
    return ToolResult(number, _first(inner.get("name")), read_content(output, "tool").parts)


def read_arguments(arguments: object) -> tuple[dict[str, Any] | None, str]:
    """Parse the arguments of a call in all forms that engines use.

    Control characters in strings are accepted, because small models generate them. An object
    encoded in a JSON string is decoded twice. Empty arguments are `{}`.

    Returns:
        The arguments, or `None` if they are not a JSON object, and their text.
    """
    if arguments is None:
        return {}, ""
    raw = arguments if isinstance(arguments, str) else _dump(arguments)
    decoded = arguments
    for _ in range(2):
        if not isinstance(decoded, str):
            break
        if not decoded.strip():
            return {}, raw
        try:
            decoded = json.loads(decoded, strict=False, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return None, raw
    if decoded is None:
        return {}, raw
    if not isinstance(decoded, dict):
        return None, raw
    return _without_halves(decoded), raw


def _refuse(name: str) -> None:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _without_halves(value: dict[str, Any]) -> dict[str, Any]:
    """Replace halves of surrogate pairs, which UTF-8 cannot encode."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        mended: dict[str, Any] = json.loads(whole)
        return mended
    return value


# -- text and thoughts ------------------------------------------------------------------------


def _thought(block: Mapping[str, Any]) -> str:
    for key in ("reasoning", "thinking", "reasoningContent", "reasoning_content", "text"):
        value = block.get(key)
        if isinstance(value, dict):  # Bedrock's
            value = value.get("text") or (value.get("reasoningText") or {}).get("text")
        if isinstance(value, list):  # Mistral's
            value = "".join(_text(part.get("text")) for part in value if isinstance(part, dict))
        if isinstance(value, str) and value:
            return value
    for key in ("content", "summary"):  # OpenAI's Responses API
        parts = block.get(key)
        if isinstance(parts, list) and parts:
            return "\n".join(_text(part.get("text")) for part in parts if isinstance(part, dict))
    return ""


def _document(kind: str, block: Mapping[str, Any]) -> str:
    """Return the text of a document that only contains text; empty for other blocks."""
    source = block.get("source")
    if kind == "document" and isinstance(source, dict) and source.get("type") == "text":
        return _text(source.get("data"))
    return ""


def _text(value: object) -> str:
    if isinstance(value, dict):  # OpenAI's older Assistants API
        value = value.get("value")
    return value if isinstance(value, str) else "" if value is None else str(value)


def _first(*values: object) -> str:
    return next((value for value in values if isinstance(value, str) and value), "")


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


# -- images and audio -------------------------------------------------------------------------


def _image(kind: str, block: Mapping[str, Any], role: str) -> dict[str, Any]:
    image = _image_or_none(block)
    if image is None:
        raise _incomplete(kind, role, "url, or base64 with mime_type")
    return image


def _image_or_none(block: Mapping[str, Any]) -> dict[str, Any] | None:
    image = block.get("image_url")
    if isinstance(image, str) and image:
        return {"url": image, **_detail(block)}
    if isinstance(image, dict) and isinstance(image.get("url"), str):
        return {key: value for key, value in image.items() if value is not None}
    url = block.get("url")
    source = block.get("source")
    if isinstance(source, dict) and source.get("type") == "url":
        url = source.get("url")
    if isinstance(url, str) and url:
        return {"url": url, **_detail(block)}
    kind, data = _media(block)
    return {"url": f"data:{kind};base64,{data}", **_detail(block)} if data else None


def _detail(block: Mapping[str, Any]) -> dict[str, Any]:
    return {"detail": block["detail"]} if isinstance(block.get("detail"), str) else {}


def _audio(kind: str, block: Mapping[str, Any], role: str) -> dict[str, Any]:
    audio = block.get("input_audio")
    if isinstance(audio, dict):
        return dict(audio)
    mime_type, data = _media(block)
    if not data:
        raise _incomplete(kind, role, "base64 with mime_type")
    form = mime_type.rpartition("/")[2]
    return {"data": data, "format": {"mpeg": "mp3", "x-wav": "wav"}.get(form, form)}


def _media(block: Mapping[str, Any]) -> tuple[str, str]:
    """Return the MIME type and base64 data of a block; both are empty if one is missing."""
    for kind, content in _media_forms(block):
        data = base64.b64encode(content).decode() if isinstance(content, bytes) else content
        if isinstance(kind, str) and kind and isinstance(data, str) and data:
            return kind, data
    return "", ""


def _media_forms(block: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    source = block.get("source")
    if isinstance(source, dict):  # Anthropic's
        yield source.get("media_type"), source.get("data")
    for key in ("inlineData", "inline_data"):  # Gemini's
        inner = block.get(key)
        if isinstance(inner, dict):
            yield inner.get("mimeType", inner.get("mime_type")), inner.get("data")
    inner = block.get("image")
    if isinstance(inner, dict) and isinstance(inner.get("source"), dict):  # Bedrock's
        yield f"image/{inner.get('format') or 'png'}", inner["source"].get("bytes")
    yield block.get("mime_type"), block.get("base64")
    if block.get("source_type") == "base64" or block.get("type") == "media":
        yield block.get("mime_type"), block.get("data")


def _unknown(kind: str, role: str) -> InvalidRequestError:
    msg = f"a {role} message has a content block of type {kind!r}, which cannot be sent"
    return InvalidRequestError(msg, hint=_MEDIA_HINT)


def _incomplete(kind: str, role: str, needed: str) -> InvalidRequestError:
    msg = f"a {role} message has a content block of type {kind!r} without data"
    return InvalidRequestError(msg, hint=f"the block must have {needed}")
