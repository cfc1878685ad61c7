"""Chat templates: what a model's own template accepts, and what its text tells about the model.

llama.cpp renders each conversation with the template in the model's file. A template may refuse
one (`raise_exception`), and only a template that has a place for tools shows them to the model.
Here a template is a list of rules and a text; the text is what the metadata publishes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]
Rule: TypeAlias = Callable[[Sequence[Message]], str | None]

CALL_ID_LENGTH = 9


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template.

    Attributes:
        source: The text in the model's metadata.
        rules: Functions of the messages; each returns the template's complaint, or `None`.
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

    def complaint(self, messages: Sequence[Message]) -> str | None:
        """Return what the template says against these messages."""
        found = (rule(messages) for rule in self.rules)
        return next((text for text in found if text), None)


def only_roles(allowed: str, complaint: str) -> Rule:
    """Refuse every role but these, which are separated by blanks."""

    def rule(messages: Sequence[Message]) -> str | None:
        strange = [message for message in messages if message["role"] not in allowed.split()]
        return complaint.format(strange[0]["role"]) if strange else None

    return rule


def system_first(complaint: str) -> Rule:
    """Refuse a system message that is not the first message."""

    def rule(messages: Sequence[Message]) -> str | None:
        return complaint if any(m["role"] == "system" for m in messages[1:]) else None

    return rule


def alternating(complaint: str, *, tools_apart: bool = True) -> Rule:
    """Refuse conversations in which user and assistant do not take turns.

    Args:
        complaint: The template's words.
        tools_apart: Tool calls and results, and a system message at the start, do not count.
    """

    def counts(message: Message) -> bool:
        return not (tools_apart and (message["role"] == "tool" or message.get("tool_calls")))

    def rule(messages: Sequence[Message]) -> str | None:
        start = 1 if tools_apart and messages and messages[0]["role"] == "system" else 0
        turns = [message["role"] == "user" for message in messages[start:] if counts(message)]
        return None if turns == [at % 2 == 0 for at in range(len(turns))] else complaint

    return rule


def call_ids_of_length(length: int, complaint: str) -> Rule:
    """Refuse tool calls and results whose id has another length."""

    def rule(messages: Sequence[Message]) -> str | None:
        ids = [call.get("id") for message in messages for call in message.get("tool_calls") or ()]
        ids += [m.get("tool_call_id") for m in messages if m["role"] == "tool"]
        return None if all(len(each or "") == length for each in ids) else complaint

    return rule


def one_call(complaint: str) -> Rule:
    """Refuse several tool calls in one message."""

    def rule(messages: Sequence[Message]) -> str | None:
        return complaint if any(len(m.get("tool_calls") or ()) > 1 for m in messages) else None

    return rule


def named_results(complaint: str) -> Rule:
    """Refuse tool results without the tool's name."""

    def rule(messages: Sequence[Message]) -> str | None:
        nameless = (m["role"] == "tool" and not m.get("name") for m in messages)
        return complaint if any(nameless) else None

    return rule


def results_after_calls(complaint: str) -> Rule:
    """Refuse a tool result without a tool call before it."""

    def rule(messages: Sequence[Message]) -> str | None:
        called = False
        for message in messages:
            if message["role"] == "tool" and not called:
                return complaint
            called = called or bool(message.get("tool_calls"))
        return None

    return rule


def a_user_message(complaint: str) -> Rule:
    """Refuse conversations in which the user says nothing."""

    def rule(messages: Sequence[Message]) -> str | None:
        return None if any(message["role"] == "user" for message in messages) else complaint

    return rule


_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_TOOLS = "{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}"
_THINK = (
    "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}"
)
_REFUSE = "{{ raise_exception('refused') }}"
_ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."
_NINE = "Tool call IDs should be alphanumeric strings with length 9!"

TEMPLATES: dict[str, Template] = {
    # Takes every conversation, as Qwen 2.5's and Hermes' do.
    "chatml": Template(_TOOLS + _CHATML, tools=True),
    # SmolLM2's: as above, but the model never sees a tool.
    "smollm2": Template(_CHATML),
    "qwen3": Template(_TOOLS + _CHATML + _THINK, tools=True, thinking=True),
    "qwen3.5": Template(
        _TOOLS + _CHATML + _THINK + _REFUSE,
        (
            a_user_message("No user query found in messages."),
            system_first("System message must be at the beginning."),
            only_roles("system user assistant tool", "Unexpected message role."),
        ),
        tools=True,
        thinking=True,
    ),
    "gemma": Template(
        _CHATML + _REFUSE, (alternating(_ALTERNATE, tools_apart=False),), system=False
    ),
    "mistral": Template(
        "[SYSTEM]" + _TOOLS + _CHATML + _REFUSE,
        (
            alternating(
                "After the optional system message, conversation roles must alternate "
                "user/assistant/user/assistant/..."
            ),
            only_roles(
                "system user assistant tool",
                "Only user and assistant roles are supported, "
                "with the exception of an initial optional system message!",
            ),
            call_ids_of_length(CALL_ID_LENGTH, _NINE),
        ),
        tools=True,
    ),
    "llama3": Template(
        _TOOLS + _CHATML + _REFUSE,
        (one_call("This model only supports single tool-calls at once!"),),
        tools=True,
    ),
    "functionary": Template(
        _TOOLS + _CHATML + _REFUSE,
        (
            only_roles("system user assistant tool", "Invalid role {}."),
            named_results("A tool message needs the name of its tool."),
        ),
        tools=True,
    ),
    "gpt-oss": Template(
        _TOOLS + _CHATML + "{{ reasoning_effort }}" + _REFUSE,
        (
            results_after_calls(
                "Message has tool role, but there was no previous assistant message "
                "with a tool call!"
            ),
        ),
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
