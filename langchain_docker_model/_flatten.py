"""A conversation as one prompt, since the CLI has no roles.

The template, in full: system messages come first, as they are. A lone human message follows
them as it is. A longer conversation is written with a name before each turn, and ends with
the name of the one whose turn it is; blank lines stand between the parts:

    Be brief.

    User: Hello.

    Assistant: Hello. How can I help?

    User: Which day is it?

    Assistant:

The runner then puts all of it into the model's own chat template, as one message of a user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from langchain_docker_model._messages import text_of, to_runner
from langchain_docker_model.errors import UnsupportedParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

_USER, _ASSISTANT = "User", "Assistant"
HTTP_HINT = (
    "the runner's HTTP API can: leave transport='cli' out, enable the runner's TCP port, "
    "or name its address with base_url="
)


def flatten(messages: Sequence[BaseMessage]) -> str:
    """One prompt for `docker model run`.

    Raises:
        InvalidRequestError: There is no message, or something that no model takes.
        UnsupportedParameterError: Tools, images or audio, for which the CLI has no way.
    """
    for translated in to_runner(messages):
        what = _beyond(translated)
        if what:
            msg = f"`docker model run` has no way to send {what}"
            raise UnsupportedParameterError(msg, hint=HTTP_HINT)
    system = [text_of(one) for one in messages if isinstance(one, SystemMessage)]
    turns = [one for one in messages if not isinstance(one, SystemMessage)]
    if len(turns) == 1 and isinstance(turns[0], HumanMessage):
        return "\n\n".join([*system, text_of(turns[0])])
    named = [f"{_name(turn)}: {text_of(turn)}" for turn in turns]
    return "\n\n".join([*system, *named, f"{_ASSISTANT}:"])


def _name(message: BaseMessage) -> str:
    if isinstance(message, AIMessage):
        return _ASSISTANT
    if isinstance(message, HumanMessage):
        return message.name or _USER
    return str(getattr(message, "role", _USER)).capitalize()


def _beyond(translated: dict[str, object]) -> str:
    if translated["role"] == "tool" or "tool_calls" in translated:
        return "tool calls and their results"
    return "images or audio" if isinstance(translated["content"], list) else ""
