"""Chat templates: what a model's own template accepts, and what its text tells about the model.

llama.cpp renders each conversation with the template in the model's file. A template may refuse
one (`raise_exception`), and only a template that has a place for tools shows them to the model.
Here a template is a list of rules and a text; the text is what the metadata publishes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Messages: TypeAlias = Sequence[Mapping[str, Any]]
MISTRAL_ID = 9  # characters of a tool call's id
Rule: TypeAlias = tuple[str, Callable[[Messages], bool]]


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template.

    Attributes:
        source: The text in the model's metadata.
        rules: Complaints, each with a function of the messages that tells when it is made.
        tools: Whether the model gets to see tools.
        thinking: Whether the model thinks.
        system: Whether there is a place for a system message. Without one llama.cpp puts
            the first system message in front of the message that follows.
    """

    source: str
    rules: tuple[Rule, ...] = ()
    tools: bool = False
    thinking: bool = False
    system: bool = True

    def complaint(self, messages: Messages) -> str | None:
        """Return what the template says against these messages."""
        return next((complaint for complaint, refuses in self.rules if refuses(messages)), None)


def _roles(messages: Messages) -> str:
    """Return a letter for each message: that of its role, `c` for calls, `?` for other roles."""
    letters = {"system": "s", "user": "u", "assistant": "a", "tool": "t"}
    return "".join("c" if _calls(m) else letters.get(m["role"], "?") for m in messages)


def _matching(pattern: str) -> Callable[[Messages], bool]:
    """Return a function that tells whether a pattern is in the letters of the messages' roles."""
    return lambda messages: re.search(pattern, _roles(messages)) is not None


def _calls(message: Mapping[str, Any]) -> Sequence[Any]:
    return message.get("tool_calls") or ()


def _ids_of_other_length(messages: Messages) -> bool:
    ids = [call.get("id") for message in messages for call in _calls(message)]
    ids += [message.get("tool_call_id") for message in messages if message["role"] == "tool"]
    return any(len(each or "") != MISTRAL_ID for each in ids)


def _several_calls(messages: Messages) -> bool:
    return any(len(_calls(message)) > 1 for message in messages)


def _nameless_results(messages: Messages) -> bool:
    return any(message["role"] == "tool" and not message.get("name") for message in messages)


_OTHER_ROLES = _matching(r"\?")
_LATE_SYSTEM = _matching(r".s")
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_TOOLS = "{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}"
_THINK = (
    "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}"
)
_TURNS = "onversation roles must alternate user/assistant/user/assistant/..."
_ONE_SYSTEM = "Only user and assistant roles are supported, with an optional system message!"

TEMPLATES: dict[str, Template] = {
    # Takes every conversation, as Qwen 2.5's and Hermes' do.
    "chatml": Template(_TOOLS + _CHATML, tools=True),
    # SmolLM2's: as above, but the model never sees a tool.
    "smollm2": Template(_CHATML),
    "qwen3": Template(_TOOLS + _CHATML + _THINK, tools=True, thinking=True),
    "qwen3.5": Template(
        _TOOLS + _CHATML + _THINK,
        (
            ("No user query found in messages.", _matching(r"^[^u]*$")),
            ("System message must be at the beginning.", _LATE_SYSTEM),
            ("Unexpected message role.", _OTHER_ROLES),
        ),
        tools=True,
        thinking=True,
    ),
    "gemma": Template(_CHATML, ((f"C{_TURNS}", _matching(r"^(?!(u[^u])*u?$)")),), system=False),
    "mistral": Template(
        _TOOLS + _CHATML,
        (
            (
                f"After the optional system message, c{_TURNS}",
                _matching(r"^(?!s?[ct]*(u[ct]*[^uct][ct]*)*(u[ct]*)?$)"),
            ),
            (_ONE_SYSTEM, _OTHER_ROLES),
            (_ONE_SYSTEM, _LATE_SYSTEM),
            ("Tool call IDs should be alphanumeric strings with length 9!", _ids_of_other_length),
        ),
        tools=True,
    ),
    "llama3": Template(
        _TOOLS + _CHATML,
        (("This model only supports single tool-calls at once!", _several_calls),),
        tools=True,
    ),
    "functionary": Template(
        _TOOLS + _CHATML,
        (
            ("Invalid role.", _OTHER_ROLES),
            ("A tool message needs the name of its tool.", _nameless_results),
        ),
        tools=True,
    ),
    "gpt-oss": Template(
        _TOOLS + _CHATML + "{{ reasoning_effort }}",
        (("Message has tool role, but there was no previous tool call!", _matching(r"^[^c]*t")),),
        tools=True,
        thinking=True,
    ),
}


def template_named(template: str | Template) -> Template:
    """Return the template of this name, or the template itself.

    Raises:
        ValueError: If there is no template of this name.
    """
    if isinstance(template, Template):
        return template
    if template not in TEMPLATES:
        msg = f"no template is named {template!r}; there are {', '.join(TEMPLATES)}"
        raise ValueError(msg)
    return TEMPLATES[template]
