"""Convert conversations to a form that every engine and chat template accepts, without I/O.

Chat templates have different rules. Some reject two consecutive messages of one role, a system
message that is not the first, a tool result without a name, or a tool call without a result.
`prepare` converts a conversation to a form that satisfies all these rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from docker_model.errors import InvalidRequestError
from docker_model.http.blocks import ToolCall, ToolResult, read_call, read_content

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["as_text", "first_media", "plainer_forms", "prepare", "with_short_ids"]

_ROLES = {
    "ai": "assistant",
    "chatbot": "assistant",
    "developer": "system",
    "function": "tool",
    "human": "user",
    "model": "assistant",
}
_READ = frozenset(
    {
        "content",
        "function_call",
        "name",
        "reasoning",
        "reasoning_content",
        "refusal",
        "role",
        "tool_call_id",
        "tool_calls",
    }
)
# Fields of a server's answer that are not part of a request.
_REPLY_ONLY = frozenset(
    {"annotations", "audio", "created", "id", "index", "object", "parsed", "status", "type"}
)
_GREETING = "Hello."  # the user's turn before an assistant message at the beginning
_ASSENT = "OK."  # the assistant's turn between a tool result and the next user message
_UNREADABLE = "unreadable_arguments"
_NOT_CALLED = (
    "Error: the arguments of this call are not a JSON object, so the tool was not run. "
    "Call it again with a JSON object."
)
_NO_RESULT = "Error: the tool was not run, or gave no result."


@dataclass(slots=True)
class _Turn:
    role: str
    parts: list[dict[str, Any]] = field(default_factory=list)
    thoughts: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    result: ToolResult | None = None
    name: str = ""
    extras: dict[str, Any] = field(default_factory=dict)


def prepare(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Convert a conversation to a form that every engine and chat template accepts.

    Idempotent: a prepared conversation does not change.

    Args:
        messages: OpenAI's message objects. Their `content` can contain blocks of any provider or
            framework, and their `tool_calls` can have LangChain's form.

    Raises:
        InvalidRequestError: If there is no message to answer, or if a user or system message has
            content that the API does not support.
    """
    turns = _match(_merge(turn for message in messages for turn in _read(message)))
    turns = _merge(turn for turn in turns if turn.calls or not _is_blank(turn.parts))
    turns = _alternate(_system_first(turns))
    if not turns:
        msg = "there is no message to answer"
        raise InvalidRequestError(msg, hint='pass a message with text: {"role": "user", …}')
    return _write(turns)


def first_media(messages: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the type of the first content part that is not text, or `None`.

    Raises:
        InvalidRequestError: If a message has content that the API does not support.
    """
    for message in messages:
        for turn in _read(message):
            for part in turn.parts:
                if part["type"] != "text":
                    return str(part["type"])
    return None


# -- reading ----------------------------------------------------------------------------------


def _read(message: Mapping[str, Any]) -> Iterator[_Turn]:
    role = message.get("role") if isinstance(message, Mapping) else None
    if not isinstance(role, str) or not role:
        msg = f"a message must be a dict with a role, not {message!r:.50}"
        raise InvalidRequestError(msg, hint='for example {"role": "user", "content": "Hello"}')
    role = _ROLES.get(role, role)
    content = read_content(message.get("content"), role)
    name = message.get("name") or ""
    if role == "tool":
        number = message.get("tool_call_id")
        number = number if isinstance(number, str) else ""
        yield _Turn(role, result=ToolResult(number, name, content.parts))
        return
    for result in content.results:  # Anthropic and Gemini put results into the user's message
        yield _Turn("tool", result=result)
    extras = {
        key: value
        for key, value in message.items()
        if value is not None and key not in _READ and key not in _REPLY_ONLY
    }
    turn = _Turn(role, content.parts, name=name, extras=extras)
    if role == "assistant":
        if not content.parts:
            content.add_text(message.get("refusal") or "", "")
        thoughts = message.get("reasoning_content") or message.get("reasoning")
        turn.thoughts = thoughts if isinstance(thoughts, str) else content.thoughts
        turn.calls = list(_calls(message, content.calls))
    yield turn


def _calls(message: Mapping[str, Any], in_blocks: Sequence[ToolCall]) -> Iterator[ToolCall]:
    """Yield the calls of a message; many frameworks store them twice, as field and as blocks."""
    fields = [read_call(call) for call in message.get("tool_calls") or () if isinstance(call, dict)]
    if not fields and isinstance(message.get("function_call"), dict):
        fields = [read_call({"function": message["function_call"]})]
    yield from fields
    ids = {call.id for call in fields}
    names = {call.name for call in fields}
    for call in in_blocks:
        if call.id not in ids if call.id else call.name not in names:
            yield call


# -- calls and their results ------------------------------------------------------------------


def _match(turns: Iterable[_Turn]) -> list[_Turn]:
    """Assign each result to its call.

    A result without a call becomes text of the user. This happens in a truncated history.
    """
    matched: list[_Turn] = []
    latest: list[ToolCall] = []
    everything: list[ToolCall] = []
    for turn in turns:
        if turn.result is None:
            matched.append(turn)
            if turn.calls:
                latest = turn.calls
                everything += turn.calls
            continue
        call = _call_of(turn.result, latest) or _call_of(turn.result, everything, by_id=True)
        if call is None:
            name = f" {turn.result.name}" if turn.result.name else ""
            label = {"type": "text", "text": f"Result of the tool{name}:"}
            parts = turn.result.parts or [{"type": "text", "text": "(nothing)"}]
            matched.append(_Turn("user", _joined([label], parts, " ")))
        elif call.result is None:
            call.result = turn.result
        else:
            call.result.parts = _joined(call.result.parts, turn.result.parts, "\n\n")
    return matched


def _call_of(
    result: ToolResult, calls: Sequence[ToolCall], *, by_id: bool = False
) -> ToolCall | None:
    """Find the call of a result by id or name, or use the next call without a result."""
    same = [call for call in reversed(calls) if result.id and call.id == result.id]
    if same:
        waiting = [call for call in reversed(same) if call.result is None]
        return waiting[0] if waiting else same[0]
    if by_id:
        return None
    # An id that does not match any call can only belong to a call without an id.
    waiting = [call for call in calls if call.result is None and not (call.id and result.id)]
    named = [call for call in waiting if result.name and call.name == result.name]
    return next(iter(named or waiting), None)


# -- the order of turns -----------------------------------------------------------------------


def _merge(turns: Iterable[_Turn]) -> list[_Turn]:
    """Join consecutive turns of one role."""
    merged: list[_Turn] = []
    for turn in turns:
        last = merged[-1] if merged else None
        if last is None or last.role != turn.role or turn.result is not None:
            merged.append(turn)
            continue
        if last.calls and any(call.result for call in last.calls):
            merged.append(turn)  # the results are between the two turns
            continue
        last.parts = _joined(last.parts, turn.parts, "\n\n")
        last.calls = [*last.calls, *turn.calls]
        last.thoughts = "\n\n".join(filter(None, (last.thoughts, turn.thoughts)))
        last.name = last.name if last.name == turn.name else ""
        last.extras = {**last.extras, **turn.extras}
    return merged


def _is_blank(parts: Sequence[Mapping[str, Any]]) -> bool:
    return all(part["type"] == "text" and not part["text"].strip() for part in parts)


def _joined(
    first: Sequence[dict[str, Any]], two: Sequence[dict[str, Any]], joint: str
) -> list[dict[str, Any]]:
    if first and two and first[-1]["type"] == two[0]["type"] == "text":
        text = f"{first[-1]['text']}{joint}{two[0]['text']}"
        return [*first[:-1], {"type": "text", "text": text}, *two[1:]]
    return [*first, *two]


def _system_first(turns: Sequence[_Turn]) -> list[_Turn]:
    """Join all system messages into one at the beginning."""
    system: list[dict[str, Any]] = []
    for turn in turns:
        if turn.role == "system":
            system = _joined(system, turn.parts, "\n\n")
    others = _merge(turn for turn in turns if turn.role != "system")
    if not system:
        return others
    # Templates require a user message, so a system message without others becomes one.
    return [_Turn("system" if others else "user", system), *others]


def _alternate(turns: Sequence[_Turn]) -> list[_Turn]:
    """Add turns so that the user is first, and the assistant is between a result and the user."""
    ordered: list[_Turn] = []
    for turn in turns:
        before = ordered[-1] if ordered else None
        if turn.role == "assistant" and (before is None or before.role == "system"):
            ordered.append(_Turn("user", [{"type": "text", "text": _GREETING}]))
        if turn.role == "user" and before is not None and before.calls:
            ordered.append(_Turn("assistant", [{"type": "text", "text": _ASSENT}]))
        ordered.append(turn)
    return ordered


# -- writing ----------------------------------------------------------------------------------


def _write(turns: Sequence[_Turn]) -> list[dict[str, Any]]:
    last_question = max((n for n, turn in enumerate(turns) if turn.role == "user"), default=-1)
    taken = {call.id for turn in turns for call in turn.calls if call.id}
    used: set[str] = set()
    written: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        message = {**turn.extras, "role": turn.role, "content": _content(turn.parts)}
        if turn.name:
            message["name"] = turn.name
        # Reasoning is sent with its tool call, but not with a finished answer.
        if turn.thoughts and (turn.calls or number > last_question):
            message["reasoning_content"] = turn.thoughts
        # One call per message: Llama's templates reject more, and gpt-oss's ignores the others.
        for call in turn.calls:
            call_id = _unique(call.id, taken, used)
            written += [{**message, "tool_calls": [_call(call, call_id)]}, _result(call, call_id)]
            message = {"role": turn.role, "content": ""}
        if not turn.calls:
            written.append(message)
    return written


def _unique(given: str, taken: set[str], used: set[str]) -> str:
    """Return a unique id: the given id, or a new id of nine letters and digits for Mistral."""
    new, number = given, len(used)
    while not new or new in used:
        number += 1
        new = f"call{number:05d}"
        if new in taken:
            new = ""
    used.add(new)
    return new


def _name(call: ToolCall) -> str:
    return call.name or (call.result.name if call.result else "") or "unknown"


def _call(call: ToolCall, call_id: str) -> dict[str, Any]:
    arguments = {_UNREADABLE: call.raw} if call.arguments is None else call.arguments
    # No escapes for non-ASCII text, so that the model reads the text that it generated.
    text = json.dumps(arguments, ensure_ascii=False)
    return {
        "type": "function",
        "id": call_id,
        "function": {"name": _name(call), "arguments": text},
    }


def _result(call: ToolCall, call_id: str) -> dict[str, Any]:
    content: str | list[dict[str, Any]]
    if call.result is not None:
        content = _content(call.result.parts)
    else:
        content = _NOT_CALLED if call.arguments is None else _NO_RESULT
    return {"role": "tool", "tool_call_id": call_id, "name": _name(call), "content": content}


def _content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return parts that are all text as a string, because many templates require a string."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


# -- forms for stricter templates -------------------------------------------------------------


def plainer_forms(messages: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield simpler forms of a prepared conversation, for templates that reject it."""
    if any("tool_calls" in message for message in messages):
        yield with_short_ids(messages)
    if any("tool_calls" in message or message["role"] == "system" for message in messages):
        yield as_text(messages)


def with_short_ids(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Replace the ids in a prepared conversation with nine letters and digits, for Mistral."""
    shortened = []
    number = 0
    for message in messages:
        new = dict(message)
        if calls := new.get("tool_calls"):
            number += 1
            new["tool_calls"] = [{**call, "id": f"call{number:05d}"} for call in calls]
        elif new["role"] == "tool":
            new["tool_call_id"] = f"call{number:05d}"
        shortened.append(new)
    return shortened


def as_text(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Convert a prepared conversation for templates without tools and system messages.

    Calls become text of the assistant, results become text of the user, and the system message
    is inserted before the first user message.
    """
    return prepare(_spelled_out(message) for message in messages)


def _spelled_out(message: Mapping[str, Any]) -> dict[str, Any]:
    role, content = message["role"], message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    if role == "tool":
        parts = _joined([{"type": "text", "text": "<tool_response>"}], parts, "\n")
        parts = _joined(parts, [{"type": "text", "text": "</tool_response>"}], "\n")
    for call in message.get("tool_calls") or ():
        function = call["function"]
        spelled = {"name": function["name"], "arguments": json.loads(function["arguments"])}
        text = f"<tool_call>\n{json.dumps(spelled, ensure_ascii=False)}\n</tool_call>"
        joint = "\n" if content else ""
        parts = _joined(parts, [{"type": "text", "text": text}], joint)
    return {"role": "assistant" if role == "assistant" else "user", "content": parts}
