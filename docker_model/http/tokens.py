"""Count the tokens of a conversation with the engine, on the I/O thread."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any

from docker_model.errors import (
    ContextLengthError,
    GenerationError,
    RunnerUnavailableError,
    UnsupportedParameterError,
)
from docker_model.http import bodies, chats, failures
from docker_model.http.events import parse_object
from docker_model.http.messages import plainer_forms, prepare
from docker_model.http.request import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from docker_model.http.request import RequestOptions

PATH = "/messages/count_tokens"
_DATA_URL = re.compile(r"data:(?P<kind>[^;,]*);base64,(?P<data>.*)", re.DOTALL)
# Parameters that change the prompt and that both APIs pass to the chat template.
_KEPT = ("chat_template_kwargs",)


async def count_tokens(
    options: RequestOptions,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> int:
    """Count the tokens of a conversation, including the chat template.

    If the engine cannot count tokens, it generates an answer of one token, and the count is in
    `usage`.

    Raises:
        DockerModelError: If the runner or the engine rejects the conversation.
    """
    extra = {name: value for name, value in (parameters or {}).items() if value is not None}
    try:
        return await counted(options, model, messages, tools, extra)
    except (RunnerUnavailableError, UnsupportedParameterError):  # the path is unknown
        return await _by_an_answer(options, model, messages, {**extra, "tools": tools})


async def counted(
    options: RequestOptions,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> int:
    """Count the tokens of a conversation with an engine that can count.

    Raises:
        DockerModelError: If the engine cannot count, or rejects the conversation.
    """
    prepared = prepare(messages)
    requests = (
        bodies.encode(to_messages_api(model, form, tools, parameters or {}))
        for form in chain([prepared], plainer_forms(prepared))
    )

    async def attempt(body: bytes) -> bytes:
        return await HttpRequest(options, model, PATH, body).whole()

    reply = parse_object(await chats.first_accepted(requests, attempt))
    if reply.get("error"):
        raise failures.name_event(reply["error"], model, "")
    return _number(reply.get("input_tokens"), model)


async def _by_an_answer(
    options: RequestOptions,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
) -> int:
    shortest = {**parameters, "max_tokens": 1}
    prepared = prepare(messages)
    requests = (
        bodies.chat(model, form, shortest, stream=False)
        for form in chain([prepared], plainer_forms(prepared))
    )
    try:
        reply = await chats.first_accepted(requests, lambda body: chats.whole(options, model, body))
    except ContextLengthError as error:
        if error.prompt_tokens is None:
            raise
        return error.prompt_tokens
    usage = reply.get("usage")
    return _number(usage.get("prompt_tokens") if isinstance(usage, dict) else None, model)


def _number(count: object, model: str) -> int:
    if isinstance(count, int) and not isinstance(count, bool):
        return count
    msg = f"the engine of {model!r} did not return the number of tokens"
    raise GenerationError(msg, hint="update Docker Model Runner, or the engine")


def to_messages_api(
    model: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the body of a request to count OpenAI's message objects.

    The path belongs to Anthropic's API. llama.cpp accepts OpenAI's messages if their content is a
    string. Lists of blocks and tools must have Anthropic's form.
    """
    body: dict[str, Any] = {"model": model, "messages": [_message(item) for item in messages]}
    if tools:
        body["tools"] = [_tool(tool) for tool in tools]
    body |= {name: parameters[name] for name in _KEPT if name in parameters}
    return body


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    texts = [block.get("text") for block in content if block.get("type") == "text"]
    other_fields = message.keys() - {"role", "content"}
    if len(texts) == len(content) and (message["role"] != "user" or other_fields):
        # In a message with blocks, the engine would ignore OpenAI's other fields.
        return {**message, "content": "\n".join(map(str, texts))}
    return {**message, "content": [_block(block) for block in content]}


def _block(block: Mapping[str, Any]) -> Mapping[str, Any]:
    if block.get("type") != "image_url":
        return block
    image = block.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    match = _DATA_URL.fullmatch(str(url))
    source = (
        {"type": "base64", "media_type": match["kind"], "data": match["data"]}
        if match
        else {"type": "url", "url": url}
    )
    return {"type": "image", "source": source}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function", tool)
    return {
        "name": function.get("name", ""),
        "description": function.get("description") or "",
        "input_schema": function.get("parameters") or {},
    }
