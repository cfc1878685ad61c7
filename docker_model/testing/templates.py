"""Chat templates: the conversations that a model accepts, and the text in its metadata.

llama.cpp renders each conversation with the template in the model's file. A template can refuse a
conversation (`raise_exception`), and only a template with a place for tools shows them to the
model. In the simulation, a template is a list of rules and a text for the metadata.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Messages: TypeAlias = Sequence[Mapping[str, Any]]
Rule: TypeAlias = tuple[str, Callable[[Messages], bool]]
MISTRAL_ID = 9  # characters of a tool call's id


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template.

    Attributes:
        source: The text in the model's metadata. A text with `tools` shows tools to the model.
        rules: Pairs of an error message and a function that tells whether it refuses messages.
        system: Whether the template has a place for a system message. Without one, llama.cpp
            adds the first system message to the beginning of the next message.
    """

    source: str
    rules: tuple[Rule, ...] = ()
    system: bool = True

    @property
    def tools(self) -> bool:
        """Whether the template shows tools to the model."""
        return "tools" in self.source


def _matching(pattern: str) -> Callable[[Messages], bool]:
    """Return a rule that searches for a pattern of roles; `c`: tool calls, `?`: another role."""
    letters = {"system": "s", "user": "u", "assistant": "a", "tool": "t"}

    def matches(messages: Messages) -> bool:
        roles = ["c" if _calls(turn) else letters.get(turn["role"], "?") for turn in messages]
        return re.search(pattern, "".join(roles)) is not None

    return matches


def _calls(message: Mapping[str, Any]) -> Sequence[Any]:
    return message.get("tool_calls") or ()


def _ids_of_other_length(messages: Messages) -> bool:
    ids = [call.get("id") for message in messages for call in _calls(message)]
    ids += [message.get("tool_call_id") for message in messages if message["role"] == "tool"]
    return any(len(ident or "") != MISTRAL_ID for ident in ids)


def _several_calls(messages: Messages) -> bool:
    return any(len(_calls(message)) > 1 for message in messages)


def _nameless_results(messages: Messages) -> bool:
    return any(message["role"] == "tool" and not message.get("name") for message in messages)


_CHATML = "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}"
_TOOLS = "{% for tool in tools %}{{ tool | tojson }}{% endfor %}" + _CHATML
_THINK = "{% if enable_thinking is false %}<think></think>{% endif %}"
_OTHER_ROLES, _LATE_SYSTEM = _matching(r"\?"), _matching(r".s")
_TURNS = "onversation roles must alternate user/assistant/user/assistant/..."
_ONE_SYSTEM = "Only user and assistant roles are supported, with an optional system message!"
_QWEN3_5 = (
    ("No user query found in messages.", _matching(r"^[^u]*$")),
    ("System message must be at the beginning.", _LATE_SYSTEM),
    ("Unexpected message role.", _OTHER_ROLES),
)
_MISTRAL_TURNS = _matching(r"^(?!s?[ct]*(u[ct]*[^uct][ct]*)*(u[ct]*)?$)")
_MISTRAL = (
    (f"After the optional system message, c{_TURNS}", _MISTRAL_TURNS),
    (_ONE_SYSTEM, _OTHER_ROLES),
    (_ONE_SYSTEM, _LATE_SYSTEM),
    ("Tool call IDs should be alphanumeric strings with length 9!", _ids_of_other_length),
)
_FUNCTIONARY = (
    ("Invalid role.", _OTHER_ROLES),
    ("A tool message needs the name of its tool.", _nameless_results),
)
_ORPHANS = ("Message has tool role, but there was no previous tool call!", _matching(r"^[^c]*t"))
TEMPLATES: dict[str, Template] = {
    # Accepts every conversation, as the templates of Qwen 2.5 and Hermes do.
    "chatml": Template(_TOOLS),
    # The same without tools.
    "smollm2": Template(_CHATML),
    "qwen3": Template(_TOOLS + _THINK),
    "qwen3.5": Template(_TOOLS + _THINK, _QWEN3_5),
    "gemma": Template(_CHATML, ((f"C{_TURNS}", _matching(r"^(?!(u[^u])*u?$)")),), system=False),
    "mistral": Template(_TOOLS, _MISTRAL),
    "llama3": Template(
        _TOOLS, (("This model only supports single tool-calls at once!", _several_calls),)
    ),
    "functionary": Template(_TOOLS, _FUNCTIONARY),
    "gpt-oss": Template(_TOOLS + "{{ reasoning_effort }}", (_ORPHANS,)),
}


def template_named(template: str | Template) -> Template:
    """Return the template with this name. Return a `Template` unchanged."""
    if isinstance(template, Template):
        return template
    if template not in TEMPLATES:
        msg = f"there is no template {template!r}; choose one of {', '.join(TEMPLATES)}"
        raise ValueError(msg)
    return TEMPLATES[template]
