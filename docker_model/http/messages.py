"""A conversation as any engine and any chat template takes it; pure.

Chat templates differ in what they refuse: two messages of one role in a row, a system message
that is not the first, a tool's result without its name, a call without its result. `prepare`
makes of a conversation a form that all of them take, so that the caller need not know the template.
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
# What servers say about an answer, and do not want to hear again.
_REMARKS = frozenset(
    {"annotations", "audio", "created", "id", "index", "object", "parsed", "status", "type"}
)
_GREETING = "Hello."  # the user's turn before an assistant that speaks first
_ASSENT = "OK."  # the assistant's turn between a tool's result and the user's next words
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
    """Return a conversation in a form that any engine and chat template takes.

    What comes out may be put in again, and stays as it is.

    Args:
        messages: OpenAI's message objects. Their `content` may hold blocks of any provider or
            framework, and their `tool_calls` may be LangChain's.

    Raises:
        InvalidRequestError: If there is nothing to answer, or the user or the system says
            something that the API has no form for.
    """
    turns = _match(_merge(turn for message in messages for turn in _read(message)))
    turns = _merge(turn for turn in turns if turn.calls or not _is_blank(turn.parts))
    turns = _alternate(_system_first(turns))
    if not turns:
        msg = "there is no message to answer"
        raise InvalidRequestError(msg, hint='pass at least one with text: {"role": "user", …}')
    return _write(turns)


def first_media(messages: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the type of the first content part that is not text; `None` if all is text.

    Raises:
        InvalidRequestError: If a message has something that the API has no form for.
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
        raise InvalidRequestError(msg, hint='such as {"role": "user", "content": "Hello"}')
    role = _ROLES.get(role, role)
    content = read_content(message.get("content"), role)
    name = message.get("name") or ""
    if role == "tool":
        number = message.get("tool_call_id")
        number = number if isinstance(number, str) else ""
        yield _Turn(role, result=ToolResult(number, name, content.parts))
        return
    for result in content.results:  # Anthropic's and Gemini's stand in the user's message
        yield _Turn("tool", result=result)
    extras = {
        key: value
        for key, value in message.items()
        if value is not None and key not in _READ and key not in _REMARKS
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
    """Yield the calls of a message, which many frameworks hold twice: as a field and as blocks."""
    given = [read_call(call) for call in message.get("tool_calls") or () if isinstance(call, dict)]
    if not given and isinstance(message.get("function_call"), dict):
        given = [read_call({"function": message["function_call"]})]
    yield from given
    numbers = {call.id for call in given}
    names = {call.name for call in given}
    for call in in_blocks:
        if call.id not in numbers if call.id else call.name not in names:
            yield call


# -- calls and their results ------------------------------------------------------------------


def _match(turns: Iterable[_Turn]) -> list[_Turn]:
    """Hand each result to its call.

    A result without a call becomes the user's text: it may be all that is left of a history
    that was cut.
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
    """Find the call of a result: by its id, by its name, or the next call without a result."""
    same = [call for call in reversed(calls) if result.id and call.id == result.id]
    if same:
        waiting = [call for call in reversed(same) if call.result is None]
        return waiting[0] if waiting else same[0]
    if by_id:
        return None
    # An id that no call has can only belong to a call without an id.
    waiting = [call for call in calls if call.result is None and not (call.id and result.id)]
    named = [call for call in waiting if result.name and call.name == result.name]
    return next(iter(named or waiting), None)


# -- the order of turns -----------------------------------------------------------------------


def _merge(turns: Iterable[_Turn]) -> list[_Turn]:
    """Join neighbors of one role."""
    merged: list[_Turn] = []
    for turn in turns:
        last = merged[-1] if merged else None
        if last is None or last.role != turn.role or turn.result is not None:
            merged.append(turn)
            continue
        if last.calls and any(call.result for call in last.calls):
            merged.append(turn)  # the results stand between the two
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
    # Templates look for a question of the user, which instructions alone are then.
    return [_Turn("system" if others else "user", system), *others]


def _alternate(turns: Sequence[_Turn]) -> list[_Turn]:
    """Let the user speak first, and the assistant speak between a result and the user."""
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
        # Thoughts belong to the call that they led to; those of a finished answer are done with.
        if turn.thoughts and (turn.calls or number > last_question):
            message["reasoning_content"] = turn.thoughts
        # One call a message: Llama's templates refuse more, and gpt-oss's shows the first alone.
        for call in turn.calls:
            call_id = _unique(call.id, taken, used)
            written += [{**message, "tool_calls": [_call(call, call_id)]}, _result(call, call_id)]
            message = {"role": turn.role, "content": ""}
        if not turn.calls:
            written.append(message)
    return written


def _unique(given: str, taken: set[str], used: set[str]) -> str:
    """Return the given id, or a new one of nine letters and digits, as Mistral's must be."""
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
    # The model reads its own words again: no escapes for what is not ASCII.
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
    """Return text alone as a string, since many templates take nothing else."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


# -- forms for templates that are stricter yet ------------------------------------------------


def plainer_forms(messages: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield a prepared conversation in plainer forms, for templates that refuse it as it is."""
    if any("tool_calls" in message for message in messages):
        yield with_short_ids(messages)
    if any("tool_calls" in message or message["role"] == "system" for message in messages):
        yield as_text(messages)


def with_short_ids(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give a prepared conversation ids of nine letters and digits, as Mistral's must be."""
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
    """Write a prepared conversation for templates without tools and system messages.

    Calls become the assistant's text, results the user's, and instructions stand before the
    first question.
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
