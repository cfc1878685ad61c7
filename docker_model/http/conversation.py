"""What is done for a chat besides sending it: tool calls by schema, overflow, repair.

`Conversation.of` reads the settings of this package from a request's parameters, `resolve` makes
the request that is sent, and `answer` and `stream` are the two ways to send it.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from docker_model._runtime import io_thread
from docker_model._transport.log import LOG
from docker_model.errors import (
    ContextLengthError,
    DockerModelError,
    InvalidRequestError,
    ModelNotFoundError,
)
from docker_model.http import bodies, chats, fitting, management, tokens, tool_schema
from docker_model.http.messages import plainer_forms, prepare
from docker_model.http.replies import read_reply
from docker_model.http.tools import choice_of, tool_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from docker_model._runtime import Sink
    from docker_model.http.replies import Answer
    from docker_model.http.request import RequestOptions

__all__ = ["Conversation", "Resolved", "answer", "repaired", "resolve", "stream"]

_TOOL_CALLING = ("auto", "native", "schema")
_CHOICES = ("tool_choice", "parallel_tool_calls")
_OVERFLOW = (None, "error", "trim")
_SMALL = 1024  # tokens that any window has
_PROBE = ({"role": "user", "content": "Hello"},)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A chat as it was asked for.

    Attributes:
        model: The model's name.
        messages: The prepared messages.
        parameters: What is sent beside them.
        tool_calling: `"native"`, `"schema"` or `"auto"`.
        overflow: `"error"`, `"trim"`, or `None` to leave overflow to the engine.
        show_schema: Whether the system message shows the schema of the answer.
        check: Says what is wrong with an answer, for the model; empty if nothing is.
    """

    model: str
    messages: list[dict[str, Any]]
    parameters: dict[str, Any]
    tool_calling: str = "native"
    overflow: str | None = None
    show_schema: bool = True
    check: Callable[[Answer], str] | None = None

    @classmethod
    def of(
        cls, model: str, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
    ) -> Conversation:
        """Read a request.

        Raises:
            InvalidRequestError: If the messages or a setting cannot be used.
        """
        sent = dict(parameters)
        tool_calling = sent.pop("tool_calling", None) or "native"
        overflow = sent.pop("overflow", None)
        show_schema = sent.pop("show_schema", True)
        check = sent.pop("check", None)
        for name, value, choices in (
            ("tool_calling", tool_calling, _TOOL_CALLING),
            ("overflow", overflow, _OVERFLOW),
        ):
            if value not in choices:
                listed = ", ".join(map(repr, choices))
                msg = f"{name} must be one of {listed}, not {value!r}"
                raise InvalidRequestError(msg, hint=f"such as {name}={choices[1]!r}")
        if sent.get("tools"):
            choice_of(sent.get("tool_choice"), sent["tools"])  # names a tool that exists
        return cls(model, prepare(messages), sent, tool_calling, overflow, show_schema, check)

    @property
    def has_tools(self) -> bool:
        """Whether there are tools."""
        return bool(self.parameters.get("tools"))

    def resolved(self) -> Resolved | None:
        """Return the request to send; `None` if that needs to be asked of the runner.

        Raises:
            InvalidRequestError: If the request cannot be written as JSON.
        """
        by_schema = _by_schema_without_asking(self)
        if by_schema is None or self.overflow is not None:
            return None
        return _resolved(self, by_schema=by_schema)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A request to send, and how its reply is read.

    Attributes:
        messages: The messages to send.
        parameters: What is sent beside them.
        by_schema: Whether calls are drawn by a schema.
        notes: Keys to add to the reply, such as `tool_calling`.
    """

    messages: list[dict[str, Any]]
    parameters: dict[str, Any]
    by_schema: bool
    notes: dict[str, Any]

    def requests(self, model: str, *, stream: bool, progress: bool = False) -> Iterable[bytes]:
        """Return the request in forms that are ever plainer; the first is written now.

        Args:
            model: The model's name.
            stream: Whether the answer comes in pieces.
            progress: Whether somebody listens to how much of the prompt is read.

        Raises:
            InvalidRequestError: If the request cannot be written as JSON.
        """
        first = bodies.chat(model, self.messages, self.parameters, stream=stream, progress=progress)
        plainer = (
            bodies.chat(model, messages, self.parameters, stream=stream, progress=progress)
            for messages in plainer_forms(self.messages)
        )
        return chain([first], plainer)

    def reply(self, reply: dict[str, Any]) -> dict[str, Any]:
        """Return a whole reply in OpenAI's form."""
        translated = tool_schema.ReplyTranslator().reply(reply) if self.by_schema else reply
        return {**translated, **self.notes}

    def chunks(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """Return what translates the chunks of one stream into OpenAI's form."""
        translate = tool_schema.ReplyTranslator().chunk if self.by_schema else dict
        return lambda chunk: {**translate(chunk), **self.notes}


async def answer(options: RequestOptions, conversation: Conversation) -> dict[str, Any]:
    """Return the whole reply; a reply that does not pass the check is asked for once more.

    Raises:
        DockerModelError: If the request failed, or the engine gave up.
    """
    reply = await _answer_once(options, conversation)
    again = repaired(conversation, reply)
    return reply if again is None else await _answer_once(options, again)


async def _answer_once(options: RequestOptions, conversation: Conversation) -> dict[str, Any]:
    model = conversation.model
    resolved = await resolve(options, conversation)
    plain = bodies.is_plain(resolved.parameters)
    attempt = chats.assembled if plain else chats.whole
    heard = options.on_progress is not None
    requests = resolved.requests(model, stream=plain, progress=heard)
    return resolved.reply(await chats.ask(requests, lambda body: attempt(options, model, body)))


async def stream(
    options: RequestOptions,
    conversation: Conversation,
    resolved: Resolved | None,
    sink: Sink[dict[str, Any]],
) -> None:
    """Put each chunk of the reply into `sink`.

    Args:
        options: How requests are made.
        conversation: The chat.
        resolved: What `Conversation.resolved` returned.
        sink: Where the chunks go.

    Raises:
        DockerModelError: If the request failed, or the engine gave up.
    """
    model = conversation.model
    if resolved is None:
        resolved = await resolve(options, conversation)
    translate = resolved.chunks()
    heard = options.on_progress is not None
    await chats.ask(
        resolved.requests(model, stream=True, progress=heard),
        lambda body: chats.stream(options, model, body, sink, translate),
    )


async def resolve(options: RequestOptions, conversation: Conversation) -> Resolved:
    """Decide how tools are called, and make the conversation fit.

    Raises:
        ContextLengthError: If the conversation is too long, and may not or cannot be trimmed.
    """
    by_schema = _by_schema_without_asking(conversation)
    if by_schema is None:
        by_schema = not await _shows_tools(options, conversation)
    left_out = 0
    if conversation.overflow is not None:
        fitted = await _fitted(options, conversation, by_schema=by_schema)
        conversation = replace(conversation, messages=fitted.messages)
        left_out = fitted.left_out
    return _resolved(conversation, by_schema=by_schema, left_out=left_out)


async def count_tokens(options: RequestOptions, conversation: Conversation) -> int:
    """Count the tokens of a conversation as it would be sent.

    Raises:
        DockerModelError: If the runner or the engine refuses the conversation.
    """
    sent = await resolve(options, replace(conversation, overflow=None))
    tools = sent.parameters.get("tools")
    return await tokens.count_tokens(
        options, conversation.model, sent.messages, tools, sent.parameters
    )


def _resolved(conversation: Conversation, *, by_schema: bool, left_out: int = 0) -> Resolved:
    notes: dict[str, Any] = {}
    if conversation.has_tools:
        notes["tool_calling"] = "schema" if by_schema else "native"
    if left_out:
        notes["trimmed"] = left_out
    messages, parameters = _written(conversation, by_schema=by_schema)
    return Resolved(messages, parameters, by_schema, notes)


def repaired(conversation: Conversation, reply: Mapping[str, Any]) -> Conversation | None:
    """Return the conversation that shows the model what is wrong with its reply; `None` if fine."""
    if conversation.check is None:
        return None
    answer = read_reply(reply, model=conversation.model)[0]
    problem = conversation.check(answer)
    if not problem:
        return None
    LOG.info("asking %r once more: its reply did not pass the check", conversation.model)
    correction = f"{problem}\nReply again, and correct this."
    wrong: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.calls:
        wrong["tool_calls"] = [call.to_openai() for call in answer.calls]
        results = [
            {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": correction}
            for call in answer.calls
        ]
        more = [wrong, *results]
    else:
        more = [wrong, {"role": "user", "content": correction}]
    return replace(conversation, messages=prepare([*conversation.messages, *more]), check=None)


def _written(
    conversation: Conversation, *, by_schema: bool
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the messages and the parameters to send."""
    messages, parameters = conversation.messages, dict(conversation.parameters)
    if by_schema:
        return tool_schema.plan(messages, parameters)
    if conversation.has_tools:
        choice, parallel = (parameters.pop(name, None) for name in _CHOICES)
        parameters |= tool_parameters(parameters["tools"], choice, parallel=parallel)
    schema = tool_schema.response_schema(parameters.get("response_format"))
    if schema is None or not schema.get("properties", schema.get("$ref", schema.get("anyOf"))):
        return messages, parameters
    name = parameters["response_format"].get("json_schema", {}).get("name", "answer")
    parameters["response_format"] = tool_schema.as_response_format(
        tool_schema.grammar_schema(schema), name
    )
    if conversation.show_schema:
        messages = tool_schema.with_system_text(messages, tool_schema.show_schema(schema))
    return messages, parameters


# --- How tools are called -------------------------------------------------------------------------


class _Decisions:
    """For each runner and model: whether its chat template shows tools."""

    def __init__(self) -> None:
        self.shows_tools: dict[tuple[object, str], bool] = {}


def _by_schema_without_asking(conversation: Conversation) -> bool | None:
    """Whether calls are drawn by a schema; `None` if that depends on the model's template."""
    if not conversation.has_tools or conversation.tool_calling == "native":
        return False
    if conversation.tool_calling == "schema":
        return True
    parameters = conversation.parameters
    choice = choice_of(parameters.get("tool_choice"), parameters["tools"])
    if choice == "required" or isinstance(choice, dict):
        return True  # which the engine does not enforce for native calls
    if tool_schema.response_schema(parameters.get("response_format")) is not None:
        return True  # of tools and a schema, the engine would follow the schema alone
    return None


async def _shows_tools(options: RequestOptions, conversation: Conversation) -> bool:
    """Whether the model's chat template shows tools: then the prompt gets longer by them."""
    decided = io_thread.current().local(_Decisions).shows_tools
    key = (options.place, conversation.model)
    if key not in decided:
        tools = conversation.parameters["tools"][:1]
        try:
            with_tools, without = await asyncio.gather(
                tokens.count_tokens(options, conversation.model, _PROBE, tools),
                tokens.count_tokens(options, conversation.model, _PROBE),
            )
        except ModelNotFoundError:
            raise
        except DockerModelError as error:
            LOG.info(
                "cannot tell whether %r shows tools: %s", conversation.model, type(error).__name__
            )
            return True
        decided[key] = with_tools > without
        LOG.info(
            "tool calls of %r are %s",
            conversation.model,
            "native" if decided[key] else "drawn by a schema: its chat template shows no tools",
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
        written, parameters = _written(
            replace(conversation, messages=list(map(dict, messages))), by_schema=by_schema
        )
        return await tokens.count_tokens(
            options, conversation.model, written, parameters.get("tools"), parameters
        )

    if conversation.overflow == "trim":
        return await fitting.fit(conversation.messages, count, window=window, max_tokens=max_tokens)
    try:
        counted = await count(conversation.messages)
    except InvalidRequestError as error:
        # Counting takes fewer forms than answering, such as no images in a tool's result.
        LOG.info("cannot count tokens for %r: %s", conversation.model, type(error).__name__)
        return whole
    if counted >= window:
        msg = f"the conversation has {counted} tokens, and the model's window is {window}"
        hint = 'send less, or set overflow="trim" to leave out the oldest turns'
        raise ContextLengthError(msg, hint=hint, prompt_tokens=counted, context_size=window)
    return whole


def _max_tokens(parameters: Mapping[str, Any]) -> int | None:
    for name in ("max_tokens", "max_completion_tokens"):
        value = parameters.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return None


async def _window(options: RequestOptions, model: str) -> int | None:
    """Ask for the model's context size; `None` where the server does not tell."""
    try:
        return (await management.HttpManagement(options).inspect(model)).context_size
    except ModelNotFoundError:
        return None  # the request itself says so, or pulls the model
    except DockerModelError as error:
        LOG.debug("the context size of %r is not known: %s", model, type(error).__name__)
        return None
