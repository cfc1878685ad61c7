"""Answer chats with tool calls by schema, overflow handling and repair of replies.

`resolve` creates the request to send; `answer` and `stream` send it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from docker_model._runtime import io_thread
from docker_model._transport.log import LOG
from docker_model.errors import (
    ContextLengthError,
    DockerModelError,
    InvalidRequestError,
    ModelNotFoundError,
)
from docker_model.http import bodies, chats, fitting, management, observation, tokens
from docker_model.http.chat_request import repaired

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from docker_model._runtime import Sink
    from docker_model.http.chat_request import Conversation, Resolved
    from docker_model.http.request import RequestOptions

__all__ = ["answer", "count_tokens", "resolve", "stream"]

_SMALL = 1024  # tokens; the smallest context size to expect


async def answer(options: RequestOptions, conversation: Conversation) -> dict[str, Any]:
    """Return the complete reply. If it does not pass the check, request it once more.

    Raises:
        DockerModelError: If the request failed, or the engine aborted the answer.
    """
    reply = await _answer_once(options, conversation)
    again = repaired(conversation, reply)
    if again is None:
        return reply
    LOG.info("repeating the request to %r: its reply failed the check", conversation.model)
    return await _answer_once(options, again)


async def _answer_once(options: RequestOptions, conversation: Conversation) -> dict[str, Any]:
    model = conversation.model
    resolved = await resolve(options, conversation)
    plain = bodies.is_plain(resolved.parameters)
    attempt = chats.assembled if plain else chats.whole
    progress = options.on_progress is not None
    requests = resolved.requests(model, stream=plain, progress=progress)
    return resolved.reply(
        await chats.first_accepted(requests, lambda body: attempt(options, model, body))
    )


async def stream(
    options: RequestOptions,
    conversation: Conversation,
    resolved: Resolved | None,
    sink: Sink[dict[str, Any]],
) -> None:
    """Put each chunk of the reply into `sink`.

    Args:
        options: The settings of requests.
        conversation: The chat.
        resolved: The result of `Conversation.resolved`.
        sink: Receives the chunks.

    Raises:
        DockerModelError: If the request failed, or the engine aborted the answer.
    """
    model = conversation.model
    if resolved is None:
        resolved = await resolve(options, conversation)
    translate = resolved.chunks()
    progress = options.on_progress is not None
    await chats.first_accepted(
        resolved.requests(model, stream=True, progress=progress),
        lambda body: chats.stream(options, model, body, sink, translate),
    )


async def resolve(options: RequestOptions, conversation: Conversation) -> Resolved:
    """Choose the method of tool calling, and fit the conversation into the context.

    Raises:
        ContextLengthError: If the conversation is too long and is not or cannot be trimmed.
    """
    by_schema = conversation.by_schema
    if by_schema is None:
        by_schema = not await _shows_tools(options, conversation)
    left_out = 0
    if conversation.overflow is not None:
        fitted = await _fitted(options, conversation, by_schema=by_schema)
        conversation = replace(conversation, messages=fitted.messages)
        left_out = fitted.left_out
    return conversation.sent(by_schema=by_schema, left_out=left_out)


async def count_tokens(options: RequestOptions, conversation: Conversation) -> int:
    """Count the tokens of a conversation in the form in which it is sent.

    Raises:
        DockerModelError: If the runner or the engine rejects the conversation.
    """
    sent = await resolve(options, replace(conversation, overflow=None))
    tools = sent.parameters.get("tools")
    return await tokens.count_tokens(
        options, conversation.model, sent.messages, tools, sent.parameters
    )


# --- Tool calling ---------------------------------------------------------------------------------


class _Decisions:
    """Whether the chat template of a model includes tools, by runner and model."""

    def __init__(self) -> None:
        self.shows_tools: dict[tuple[object, str], bool] = {}


async def _shows_tools(options: RequestOptions, conversation: Conversation) -> bool:
    """Whether the model's chat template includes tools, checked once per runner and model."""
    decided = io_thread.current().local(_Decisions).shows_tools
    key = (options.place, conversation.model)
    if key not in decided:
        count = partial(tokens.count_tokens, options, conversation.model)
        try:
            supported = await observation.shows_tools(count, conversation.parameters["tools"][0])
        except ModelNotFoundError:
            raise
        except DockerModelError as error:
            LOG.info(
                "cannot detect tool support of %r: %s", conversation.model, type(error).__name__
            )
            return True
        decided[key] = supported
        LOG.info(
            "tool calls of %r are %s",
            conversation.model,
            "native" if supported else "generated by a schema: its chat template has no tools",
        )
    return decided[key]


# --- Overflow -------------------------------------------------------------------------------------


async def _fitted(
    options: RequestOptions, conversation: Conversation, *, by_schema: bool
) -> fitting.Fitted:
    whole = fitting.Fitted(conversation.messages, 0)
    tools = conversation.parameters.get("tools")
    extra = json.dumps(tools, ensure_ascii=False, default=str) * 2 if tools else ""
    most = fitting.at_most_tokens(conversation.messages, extra)
    known = management.known_model(options.place, conversation.model)
    window = known.context_size if known is not None else None
    max_tokens = _max_tokens(conversation.parameters)
    if most is not None and most + (max_tokens or 0) < (window or _SMALL) * 3 // 4:
        return whole
    if window is None:
        window = await _window(options, conversation.model)
    if window is None:
        return whole

    async def count(messages: Sequence[Mapping[str, Any]]) -> int:
        shorter = replace(conversation, messages=list(map(dict, messages)))
        written, parameters = shorter.written(by_schema=by_schema)
        return await tokens.count_tokens(
            options, conversation.model, written, parameters.get("tools"), parameters
        )

    if conversation.overflow == "trim":
        return await fitting.fit(conversation.messages, count, window=window, max_tokens=max_tokens)
    try:
        counted = await count(conversation.messages)
    except InvalidRequestError as error:
        # Counting supports fewer messages than answering, such as no images in a tool result.
        LOG.info("cannot count tokens for %r: %s", conversation.model, type(error).__name__)
        return whole
    if counted >= window:
        msg = f"the conversation has {counted} tokens, but the model's context has {window}"
        hint = 'send shorter messages, or set overflow="trim" to remove the oldest turns'
        raise ContextLengthError(msg, hint=hint, prompt_tokens=counted, context_size=window)
    return whole


def _max_tokens(parameters: Mapping[str, Any]) -> int | None:
    for name in ("max_tokens", "max_completion_tokens"):
        value = parameters.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return None


async def _window(options: RequestOptions, model: str) -> int | None:
    """Return the model's context size, or `None` if the server does not report it."""
    try:
        return (await management.HttpManagement(options).inspect(model)).context_size
    except ModelNotFoundError:
        return None  # the chat request raises this error, or pulls the model
    except DockerModelError as error:
        LOG.debug("the context size of %r is unknown: %s", model, type(error).__name__)
        return None
