"""LangChain messages as OpenAI's message objects for HTTP, and as one prompt for the CLI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from docker_model.http.messages import first_media, prepare
from langchain_docker_model.errors import InvalidRequestError, UnsupportedParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["HTTP_HINT", "flattened", "media_in", "to_openai", "to_prompt"]

_ROLES: dict[type[BaseMessage], str] = {
    SystemMessage: "system",
    HumanMessage: "user",
    AIMessage: "assistant",
    ToolMessage: "tool",
    FunctionMessage: "function",
}
_CALLS, _MEDIA = "tool calls and their results", "images or audio"
HTTP_HINT = (
    "use the runner's HTTP API: leave out transport='cli', enable the runner's TCP port, "
    "or set its address with base_url="
)


def to_openai(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Convert a conversation to OpenAI's objects, in a form that all chat templates accept.

    Raises:
        InvalidRequestError: If there is no message, or a user or system message has content
            that the API does not support.
    """
    return prepare([_convert(message) for message in messages])


def media_in(messages: Sequence[BaseMessage]) -> str | None:
    """Return the type of the first content that is not text; `None` if there is only text."""
    return first_media([_convert(message) for message in messages])


def _convert(message: BaseMessage) -> dict[str, Any]:
    converted: dict[str, Any] = {
        "role": _role(message),
        "content": message.content,
        "name": message.name,
    }
    if isinstance(message, ToolMessage):
        converted["tool_call_id"] = message.tool_call_id
    if isinstance(message, AIMessage):
        extra = message.additional_kwargs
        converted["tool_calls"] = [*message.tool_calls, *message.invalid_tool_calls]
        for name in ("reasoning_content", "reasoning", "function_call", "refusal"):
            converted[name] = extra.get(name)
    return converted


def _role(message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return message.role
    for kind, role in _ROLES.items():
        if isinstance(message, kind):
            return role
    msg = f"a {type(message).__name__} cannot be sent to a model"
    raise InvalidRequestError(msg, hint="send system, human, AI, tool and chat messages")


def to_prompt(messages: Sequence[BaseMessage]) -> str:
    """Write a conversation as one prompt, because `docker model run` has no roles.

    The system message is the first part. If there is only one human message, it follows
    unchanged. In a longer conversation, each turn has a name in front, and the prompt ends with
    the name of the assistant. Blank lines separate the parts:

        Be brief.

        User: Hello.

        Assistant: Hello. How can I help?

        User: Which day is it?

        Assistant:

    The runner then puts the prompt into the model's chat template, as one user message.

    Raises:
        InvalidRequestError: If there is no message, or a message that no model accepts.
        UnsupportedParameterError: If there are tool calls, images or audio, which the CLI
            cannot send.
    """
    return flattened(to_openai(messages))


def flattened(turns: Sequence[Mapping[str, Any]]) -> str:
    """Write OpenAI's messages as one prompt.

    Raises:
        UnsupportedParameterError: If there are tool calls, images or audio.
    """
    for turn in turns:
        if turn["role"] == "tool" or "tool_calls" in turn:
            raise _unsendable(_CALLS)
        if not isinstance(turn["content"], str):
            raise _unsendable(_MEDIA)
    system = [turn["content"] for turn in turns if turn["role"] == "system"]
    others = [turn for turn in turns if turn["role"] != "system"]
    if len(others) == 1 and others[0]["role"] == "user":
        return "\n\n".join([*system, others[0]["content"]])
    named = [f"{_name(turn)}: {turn['content']}" for turn in others]
    return "\n\n".join([*system, *named, "Assistant:"])


def _name(turn: Mapping[str, Any]) -> str:
    return turn.get("name") or str(turn["role"]).capitalize()


def _unsendable(what: str) -> UnsupportedParameterError:
    return UnsupportedParameterError(f"`docker model run` cannot send {what}", hint=HTTP_HINT)
