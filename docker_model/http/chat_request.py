"""A chat as the caller requests it, and as it is sent, without I/O.

`Conversation.of` reads the settings of this package from the parameters of a request.
`Conversation.sent` creates the request to send. `repaired` creates the request that shows the
model an error in its reply.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from docker_model.errors import InvalidRequestError
from docker_model.http import bodies, tool_schema
from docker_model.http.messages import plainer_forms, prepare
from docker_model.http.replies import read_reply
from docker_model.http.tools import choice_of, tool_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from docker_model.http.replies import Answer

__all__ = ["Conversation", "Resolved", "asked_again", "correction", "repaired"]

_TOOL_CALLING = ("auto", "native", "schema")
_CHOICES = ("tool_choice", "parallel_tool_calls")
_OVERFLOW = (None, "error", "trim")


@dataclass(frozen=True, slots=True)
class Conversation:
    """A chat as the caller requests it.

    Attributes:
        model: The model name.
        messages: The prepared messages.
        parameters: The parameters of the request.
        tool_calling: `"native"`, `"schema"` or `"auto"`.
        overflow: `"error"`, `"trim"`, or `None` for the engine's behavior.
        show_schema: Whether the system message shows the schema of the answer.
        check: Returns the error in an answer, as text for the model; empty if it is correct.
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
        """Create a conversation from the arguments of a request.

        Raises:
            InvalidRequestError: If the messages or a setting are invalid.
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
                raise InvalidRequestError(msg, hint=f"for example {name}={choices[1]!r}")
        if sent.get("tools"):
            choice_of(sent.get("tool_choice"), sent["tools"])  # validates the name of the tool
        return cls(model, prepare(messages), sent, tool_calling, overflow, show_schema, check)

    @property
    def has_tools(self) -> bool:
        """Whether the request has tools."""
        return bool(self.parameters.get("tools"))

    @property
    def tool_choice(self) -> str | dict[str, Any] | None:
        """The tool choice in the form of the API."""
        return choice_of(self.parameters.get("tool_choice"), self.parameters.get("tools") or ())

    @property
    def by_schema(self) -> bool | None:
        """Whether a schema enforces tool calls; `None` if it depends on the model's template."""
        if not self.has_tools or self.tool_calling == "native":
            return False
        if self.tool_calling == "schema":
            return True
        if self.tool_choice == "required" or isinstance(self.tool_choice, dict):
            return True  # the engine does not enforce required native calls
        if tool_schema.response_schema(self.parameters.get("response_format")) is not None:
            return True  # with a response schema, the engine would ignore native tools
        return None

    def resolved(self) -> Resolved | None:
        """Return the request to send; `None` if it depends on data from the runner."""
        if self.by_schema is None or self.overflow is not None:
            return None
        return self.sent(by_schema=self.by_schema)

    def sent(self, *, by_schema: bool, left_out: int = 0) -> Resolved:
        """Return the request to send.

        Args:
            by_schema: Whether a schema enforces tool calls.
            left_out: The number of removed messages.
        """
        notes: dict[str, Any] = {}
        if self.has_tools:
            notes["tool_calling"] = "schema" if by_schema else "native"
        if left_out:
            notes["trimmed"] = left_out
        messages, parameters = self.written(by_schema=by_schema)
        draws_calls = by_schema and self.tool_choice != "none"
        return Resolved(messages, parameters, draws_calls, notes)

    def written(self, *, by_schema: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return the messages and the parameters to send."""
        messages, parameters = self.messages, dict(self.parameters)
        if by_schema:
            messages, parameters = tool_schema.plan(messages, parameters)
            if self.tool_choice != "none":
                return messages, parameters
        elif self.has_tools:
            choice, parallel = (parameters.pop(name, None) for name in _CHOICES)
            parameters |= tool_parameters(parameters["tools"], choice, parallel=parallel)
        schema = tool_schema.response_schema(parameters.get("response_format"))
        if schema is None:
            return messages, parameters
        messages = tool_schema.ending_in_a_question(messages)
        if schema in ({}, {"type": "object"}):  # has no content to show or enforce
            return messages, parameters
        name = parameters["response_format"].get("json_schema", {}).get("name", "answer")
        parameters["response_format"] = tool_schema.as_response_format(
            tool_schema.grammar_schema(schema), name
        )
        if self.show_schema:
            messages = tool_schema.with_system_text(messages, tool_schema.show_schema(schema))
        return messages, parameters


@dataclass(frozen=True, slots=True)
class Resolved:
    """A request to send, and the conversion of its reply.

    Attributes:
        messages: The messages to send.
        parameters: The parameters to send.
        by_schema: Whether the reply follows the schema of a tool call.
        notes: Keys to add to the reply, such as `tool_calling`.
    """

    messages: list[dict[str, Any]]
    parameters: dict[str, Any]
    by_schema: bool
    notes: dict[str, Any]

    def requests(self, model: str, *, stream: bool, progress: bool = False) -> Iterable[bytes]:
        """Return the request in increasingly simple forms; only the first is encoded eagerly.

        Args:
            model: The model name.
            stream: Whether the answer is streamed.
            progress: Whether the engine reports the progress of processing the prompt.

        Raises:
            InvalidRequestError: If the request cannot be encoded as JSON.
        """
        first = bodies.chat(model, self.messages, self.parameters, stream=stream, progress=progress)
        plainer = (
            bodies.chat(model, messages, self.parameters, stream=stream, progress=progress)
            for messages in plainer_forms(self.messages)
        )
        return chain([first], plainer)

    def reply(self, reply: dict[str, Any]) -> dict[str, Any]:
        """Return a complete reply in OpenAI's form."""
        translated = tool_schema.ReplyTranslator().reply(reply) if self.by_schema else reply
        return {**translated, **self.notes}

    def chunks(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """Return a function that converts the chunks of one stream to OpenAI's form."""
        translate = tool_schema.ReplyTranslator().chunk if self.by_schema else dict
        return lambda chunk: {**translate(chunk), **self.notes}


def repaired(conversation: Conversation, reply: Mapping[str, Any]) -> Conversation | None:
    """Return a conversation that shows the model the error in its reply; `None` if correct."""
    if conversation.check is None:
        return None
    answer = read_reply(reply, model=conversation.model)[0]
    problem = conversation.check(answer)
    return asked_again(conversation, answer, problem) if problem else None


def asked_again(conversation: Conversation, answer: Answer, problem: str) -> Conversation:
    """Return a conversation that shows the model an answer and the error in it."""
    request = correction(problem)
    wrong: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.calls:
        wrong["tool_calls"] = [call.to_openai() for call in answer.calls]
        results = [
            {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": request}
            for call in answer.calls
        ]
        turns = [wrong, *results]
    else:
        turns = [wrong, {"role": "user", "content": request}]
    return replace(conversation, messages=prepare([*conversation.messages, *turns]), check=None)


def correction(problem: str) -> str:
    """Return a text that asks the model for another answer, without a problem of its last one."""
    return f"{problem}\nReply again, and correct this."
