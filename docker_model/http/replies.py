"""Parse replies and streams of all engines, without I/O.

Engines stream tool calls in different ways: names are repeated, split or late; indices are
correct, all zero, missing or interleaved; ids are late or missing; arguments are text, an object
or missing. `StreamReader` parses all these streams, and `read_reply` parses complete replies. No
call is split, merged with another call or lost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from docker_model._transport.failure_table import LOGS_HINT
from docker_model.errors import EmptyAnswerError, GenerationError
from docker_model.http import failures
from docker_model.http.blocks import read_arguments, read_content
from docker_model.http.thoughts import ThoughtSplitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from docker_model.errors import DockerModelError

__all__ = [
    "Answer",
    "CallDelta",
    "ChunkNormalizer",
    "Delta",
    "StreamReader",
    "ToolCall",
    "ending_of",
    "failure_of",
    "read_arguments",
    "read_reply",
    "require_text",
    "words_of",
]

_ENDINGS = {
    "content_filter": "content_filter",
    "end_turn": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "function_call": "tool_calls",
    "length": "length",
    "max_length": "length",
    "max_tokens": "length",
    "stop": "stop",
    "stop_sequence": "stop",
    "tool_call": "tool_calls",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call.

    Attributes:
        id: The id; never empty, and unique in the answer.
        name: The name of the tool.
        arguments: The arguments; `None` if they are not a JSON object. The tool must not run then.
        raw: The arguments as text, as the model generated them.
        error: Why `arguments` is `None`; otherwise empty.
    """

    id: str
    name: str
    arguments: dict[str, Any] | None
    raw: str
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether the arguments are a JSON object."""
        return self.arguments is not None

    def to_openai(self) -> dict[str, Any]:
        """Return the call in OpenAI's form; invalid arguments are the text of the model."""
        text = self.raw
        if self.arguments is not None:
            text = json.dumps(self.arguments, ensure_ascii=False)
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": text},
        }


@dataclass(frozen=True, slots=True)
class CallDelta:
    """The part of a call in one chunk.

    Attributes:
        index: The index of the call, from 0; it does not change.
        id: The id of the call, in its first delta; otherwise empty.
        name: The name of the tool, in one delta; otherwise empty.
        arguments: Text to append to the arguments.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""

    def to_openai(self) -> dict[str, Any]:
        """Return the delta in OpenAI's form."""
        function = {"arguments": self.arguments}
        if self.name:
            function = {"name": self.name, **function}
        piece = {"index": self.index, "function": function}
        return {**piece, "id": self.id, "type": "function"} if self.id else piece


@dataclass(frozen=True, slots=True)
class Delta:
    """The part of an answer in one chunk; false if it is empty.

    Attributes:
        text: Text to append.
        reasoning: Reasoning to append.
        calls: The parts of tool calls.
        logprobs: OpenAI's object with the logprobs of the chunk's tokens.
        choice: The index of the answer.
        others: The deltas of other answers, if `n` requested several answers.
    """

    text: str = ""
    reasoning: str = ""
    calls: tuple[CallDelta, ...] = ()
    logprobs: Any = None
    choice: int = 0
    others: tuple[Delta, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.text or self.reasoning or self.calls or self.logprobs or self.others)


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete or partial answer.

    Attributes:
        text: The text.
        reasoning: The reasoning.
        calls: The tool calls.
        finish_reason: `"stop"`, `"length"`, `"tool_calls"` or `"content_filter"`; `None` while
            the answer is incomplete.
        logprobs: OpenAI's object with the logprobs.
        index: The index of the answer, if `n` requested several answers.
    """

    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    logprobs: Any = None
    index: int = 0

    @property
    def only_thought(self) -> bool:
        """Whether the answer has reasoning, but neither text nor a tool call."""
        return bool(self.reasoning.strip() and not self.text.strip() and not self.calls)


def require_text(answer: Answer, model: str) -> None:
    """Raise an error if an answer has neither text nor tool calls.

    Raises:
        EmptyAnswerError: If the answer only has reasoning, or is empty.
    """
    if answer.text.strip() or answer.calls:
        return
    if answer.only_thought:
        cut = answer.finish_reason == "length"
        what = "reached its token limit while reasoning" if cut else "generated only reasoning"
        msg = f"{model!r} {what}: the answer has no text"
        hint = "raise max_tokens or the context size, or disable thinking: thinking=False"
    elif answer.finish_reason == "length":
        msg = f"the answer of {model!r} reached its token limit before it had any text"
        hint = "raise max_tokens or the model's context size"
    else:
        msg = f"{model!r} ended its answer without any output"
        hint = f"try again, or rephrase the prompt; {LOGS_HINT}"
    raise EmptyAnswerError(msg, hint=hint)


def read_reply(
    reply: Mapping[str, Any],
    *,
    thoughts_in_text: bool = False,
    tools: Sequence[str] = (),
    model: str = "",
) -> tuple[Answer, ...]:
    """Parse a complete reply, and return an answer for each choice.

    Args:
        reply: OpenAI's object.
        thoughts_in_text: As for `StreamReader`.
        tools: As for `StreamReader`.
        model: As for `StreamReader`.

    Raises:
        DockerModelError: If the reply contains an error, or an answer that the engine aborted.
    """
    reader = StreamReader(thoughts_in_text=thoughts_in_text, tools=tools, model=model)
    reader.feed(reply)
    reader.close()
    return reader.answers


class StreamReader:
    """Parses the chunks of a stream.

    Args:
        thoughts_in_text: Whether `<think>…</think>` in the text is reasoning, even without the
            opening tag. Text that is possibly reasoning is held back until it is certain.
        tools: The names of the tools in the request, if known. They distinguish a name in pieces
            from a repeated name.
        model: The model name, for errors.

    Attributes:
        usage: The token counts; `None` if the engine has sent none.
        timings: llama.cpp's timings; `None` if the engine has sent none.
    """

    def __init__(
        self, *, thoughts_in_text: bool = False, tools: Sequence[str] = (), model: str = ""
    ) -> None:
        self.usage: dict[str, Any] | None = None
        self.timings: dict[str, Any] | None = None
        self._model = model
        self._thoughts_in_text = thoughts_in_text
        self._tools = frozenset(tools)
        self._choices: dict[int, _Choice] = {}

    @property
    def answer(self) -> Answer:
        """The first answer so far."""
        return self.answers[0] if self._choices else Answer()

    @property
    def answers(self) -> tuple[Answer, ...]:
        """All answers so far, by index."""
        return tuple(self._choices[index].answer for index in sorted(self._choices))

    def feed(self, chunk: Mapping[str, Any]) -> Delta:
        """Process a chunk or a complete reply.

        Raises:
            DockerModelError: If the chunk contains an error, or if the engine aborted the answer.
        """
        if failure := failure_of(chunk, self._model, self._partial):
            raise failure
        for name in ("usage", "timings"):
            if isinstance(chunk.get(name), dict):
                setattr(self, name, chunk[name])
        deltas = []
        for place, choice in enumerate(chunk.get("choices") or ()):
            index = choice.get("index")
            index = index if isinstance(index, int) else place
            if index not in self._choices:
                self._choices[index] = _Choice(index, self._tools, split=self._thoughts_in_text)
            deltas.append(self._choices[index].feed(choice))
        return _merged(deltas)

    def _partial(self) -> str:
        return self._choices[0].text if 0 in self._choices else ""

    def close(self) -> Delta:
        """End the stream, and return the parts that were held back."""
        return _merged([choice.close() for choice in self._choices.values()])


def failure_of(
    chunk: Mapping[str, Any], model: str, partial: Callable[[], str]
) -> DockerModelError | None:
    """Return the error in a chunk or a reply, or `None`.

    Args:
        chunk: A chunk, or a complete reply.
        model: The model name.
        partial: Returns the text of the answer so far.
    """
    error = _error_in(chunk)
    if error is not None:
        return failures.name_event(error, model, partial())
    for choice in chunk.get("choices") or ():
        if choice.get("error"):
            return failures.name_event(choice["error"], model, partial())
        reason = choice.get("finish_reason")
        if reason and ending_of(choice) is None:
            message = choice.get("delta") or choice.get("message") or {}
            text = partial() + read_content(message.get("content"), "assistant").text
            msg = f"the engine aborted the answer of {model!r} with finish reason {str(reason)!r}"
            return GenerationError(msg, hint=LOGS_HINT, partial=text)
    return None


def _error_in(chunk: Mapping[str, Any]) -> Any:
    """Return the error in a chunk, in any form that servers use, or `None`."""
    if chunk.get("error"):
        return chunk["error"]
    if chunk.get("object") == "error" or chunk.get("type") == "error":
        return {key: value for key, value in chunk.items() if key != "object"}
    if chunk.get("choices") or "data" in chunk or "usage" in chunk:
        return None
    for key in ("detail", "message", "error_message"):
        if chunk.get(key) and isinstance(chunk[key], (str, list, dict)):
            return {"message": chunk[key], "code": chunk.get("code", chunk.get("status"))}
    return None


def ending_of(choice: Mapping[str, Any]) -> str | None:
    """Return OpenAI's finish reason of a choice; `None` if it has not ended, or failed."""
    reason = choice.get("finish_reason")
    return _ENDINGS.get(reason.lower()) if isinstance(reason, str) else None


def _merged(deltas: Sequence[Delta]) -> Delta:
    """Return the delta of the first answer, which contains the deltas of the others."""
    others = tuple(delta for delta in deltas if delta.choice and delta)
    first = next((delta for delta in deltas if not delta.choice), Delta())
    if not others:
        return first
    return Delta(first.text, first.reasoning, first.calls, first.logprobs, 0, others)


class ChunkNormalizer:
    """Converts the chunks of a stream to OpenAI's form.

    Text, reasoning and calls are in OpenAI's fields, and calls are assembled as in
    `StreamReader`. The text is not stored.
    """

    def __init__(self) -> None:
        self._calls: dict[int, _Calls] = {}

    def feed(self, chunk: dict[str, Any]) -> dict[str, Any]:
        """Return the chunk in OpenAI's form."""
        choices = chunk.get("choices")
        if not choices or (all(map(_is_openais, choices)) and not self._calls):
            return chunk
        return {**chunk, "choices": [self._normal(choice, n) for n, choice in enumerate(choices)]}

    def close(self) -> dict[str, Any] | None:
        """End the stream, and return a chunk with held back parts of calls, if any."""
        choices = [
            {
                "index": index,
                "delta": {"tool_calls": [delta.to_openai() for delta in deltas]},
                "finish_reason": None,
            }
            for index, calls in self._calls.items()
            if (deltas := calls.feed((), final=True))
        ]
        return {"object": "chat.completion.chunk", "choices": choices} if choices else None

    def _normal(self, choice: dict[str, Any], place: int) -> dict[str, Any]:
        message = dict(choice.get("delta") or choice.get("message") or {})
        text, reasoning = words_of(message, legacy=choice.get("text"))
        if text or message.get("content") is not None:
            message["content"] = text
        if reasoning:
            message["reasoning_content"] = reasoning
        pieces = _pieces(message)
        message.pop("tool_calls", None)
        message.pop("function_call", None)
        calls = self._calls.setdefault(choice.get("index", place), _Calls(frozenset()))
        if deltas := calls.feed(pieces, final=bool(choice.get("finish_reason"))):
            message["tool_calls"] = [delta.to_openai() for delta in deltas]
        normal = {key: value for key, value in choice.items() if key not in ("message", "text")}
        return {**normal, "delta": message}


def _is_openais(choice: Mapping[str, Any]) -> bool:
    message = choice.get("delta")
    if not isinstance(message, dict) or message.get("tool_calls") or message.get("function_call"):
        return False
    return isinstance(message.get("content") or "", str) and not message.get("refusal")


class _Choice:
    """An answer of a stream."""

    def __init__(self, index: int, tools: frozenset[str], *, split: bool) -> None:
        self._index = index
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._splitter = ThoughtSplitter() if split else None
        self._calls = _Calls(tools)
        self._finish_reason: str | None = None
        self._logprobs: dict[str, Any] = {}
        self._closed = False

    @property
    def text(self) -> str:
        return _joined(self._text)

    @property
    def answer(self) -> Answer:
        calls = self._calls.whole()
        reason = self._finish_reason
        if self._closed:
            reason = reason or "stop"
            if calls and reason == "stop":
                reason = "tool_calls"
        return Answer(
            text=self.text,
            reasoning=_joined(self._reasoning),
            calls=calls,
            finish_reason=reason,
            logprobs=self._logprobs or None,
            index=self._index,
        )

    def feed(self, choice: Mapping[str, Any]) -> Delta:
        message = choice.get("delta") or choice.get("message") or {}
        text, reasoning = words_of(message, legacy=choice.get("text"))
        if self._splitter is not None and text:
            thought, text = self._splitter.feed(text)
            reasoning += thought
        reason = choice.get("finish_reason")
        if reason:
            self._finish_reason = ending_of(choice)
        logprobs = choice.get("logprobs")
        if isinstance(logprobs, dict):
            for name, values in logprobs.items():
                if isinstance(values, list):
                    self._logprobs[name] = [*self._logprobs.get(name, ()), *values]
        calls = self._calls.feed(_pieces(message), final=bool(reason))
        return self._add(text, reasoning, calls, logprobs)

    def close(self) -> Delta:
        self._closed = True
        reasoning, text = self._splitter.close() if self._splitter is not None else ("", "")
        return self._add(text, reasoning, self._calls.feed((), final=True), None)

    def _add(self, text: str, reasoning: str, calls: tuple[CallDelta, ...], logprobs: Any) -> Delta:
        if text:
            self._text.append(text)
        if reasoning:
            self._reasoning.append(reasoning)
        return Delta(text, reasoning, calls, logprobs or None, self._index)


def _joined(parts: list[str]) -> str:
    """Join the parts, and store the text as the only part, because each chunk can request it."""
    parts[:] = ["".join(parts)]
    return parts[0]


def words_of(message: Mapping[str, Any], *, legacy: object = None) -> tuple[str, str]:
    """Return the text and the reasoning of a message or delta.

    Args:
        message: OpenAI's object; its content can consist of parts.
        legacy: The text of a choice in the older completions API.
    """
    thoughts = (
        message.get("reasoning_content") or message.get("reasoning") or message.get("thinking")
    )
    reasoning = thoughts if isinstance(thoughts, str) else ""
    content = message.get("content")
    if isinstance(content, str):
        return content, reasoning
    if content:
        held = read_content(content, "assistant")
        return held.text, reasoning + held.thoughts
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        return refusal, reasoning
    return legacy if isinstance(legacy, str) else "", reasoning


def _pieces(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the pieces of calls in a message or delta."""
    pieces = message.get("tool_calls")
    if isinstance(pieces, dict):
        pieces = [pieces]
    if pieces:
        return [piece for piece in pieces if isinstance(piece, dict)]
    legacy = message.get("function_call")
    return [{"function": legacy}] if isinstance(legacy, dict) else []


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


# -- calls ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Call:
    """A call that is possibly incomplete."""

    place: int
    index: int | None
    given_id: str = ""
    id: str = ""
    name: str = ""
    arguments: str = ""
    shown_name: str = ""
    shown: bool = False  # whether its id and name were returned
    shown_arguments: int = 0

    @property
    def has_content(self) -> bool:
        return bool(self.given_id or self.name or self.arguments)

    @property
    def complete(self) -> bool:
        text = self.arguments.strip()
        return text.endswith("}") and read_arguments(text)[0] is not None


class _Calls:
    """Assembles tool calls from pieces."""

    def __init__(self, tools: frozenset[str]) -> None:
        self._tools = tools
        self._calls: list[_Call] = []
        self._repeated = ""  # a name after the end of a call, for this call or the next

    def feed(self, pieces: Sequence[Mapping[str, Any]], *, final: bool) -> tuple[CallDelta, ...]:
        if not (pieces or (final and self._calls)):
            return ()
        fresh: set[int] = set()  # the calls with a name in this chunk
        for number, piece in enumerate(pieces):
            self._take(piece, number if len(pieces) > 1 else None, fresh)
        if final:  # drop calls without content; later calls were not returned yet
            self._calls = [call for call in self._calls if call.has_content]
            for place, call in enumerate(self._calls):
                call.place = place
        return tuple(self._show(final=final))

    def whole(self) -> tuple[ToolCall, ...]:
        return tuple(self._whole())

    def _whole(self) -> Iterator[ToolCall]:
        for call in filter(lambda call: call.has_content, self._calls):
            arguments, raw = read_arguments(call.arguments)
            error = "" if arguments is not None else "the arguments are not a JSON object"
            yield ToolCall(self._id(call), call.name, arguments, raw, error)

    def _id(self, call: _Call) -> str:
        """Return the engine's id, or a new id that Mistral's chat template also accepts."""
        if not call.id:
            taken = {call_.id for call_ in self._calls}
            free = call.given_id and call.given_id not in taken
            call.id = call.given_id if free else uuid4().hex[:9]
        return call.id

    def _take(self, piece: Mapping[str, Any], number: int | None, fresh: set[int]) -> None:
        function = piece.get("function")
        function = function if isinstance(function, dict) else piece
        index = piece.get("index")
        if isinstance(index, bool) or not isinstance(index, int):
            index = number
        given_id, name = _string(piece.get("id")), _string(function.get("name"))
        arguments = function.get("arguments", function.get("parameters"))
        if arguments is None:
            arguments = ""
        elif not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        call = self._call_of(index, given_id, name, arguments, fresh)
        if call is None:
            call = _Call(len(self._calls), index, name="" if name else self._repeated)
            self._calls.append(call)
            self._repeated = ""
        elif call.complete and call.name and not arguments.strip():
            self._repeated = name or self._repeated
            name = ""
        call.given_id = call.given_id or given_id
        if name:
            fresh.add(call.place)
            call.name = self._joined_name(call, name)
        if not (call.complete and call.arguments.strip() == arguments.strip()):
            call.arguments += arguments

    def _call_of(
        self, index: int | None, given_id: str, name: str, arguments: str, fresh: set[int]
    ) -> _Call | None:
        """Return the call that a piece belongs to; `None` if it begins a new call."""
        if not self._calls:
            return None
        for call in reversed(self._calls):
            if given_id and call.given_id == given_id:
                # An id at two indices belongs to two calls, if the first call is complete.
                same = index is None or call.index is None or index == call.index
                if same or not (name and call.complete):
                    return call
        at_index = [call for call in self._calls if index is not None and call.index == index]
        last = at_index[-1] if at_index else self._calls[-1]
        if index is not None and not at_index:
            begins = not arguments.strip() or arguments.lstrip().startswith("{")
            if name or given_id or last.complete or (begins and last.index is not None):
                return None
        if given_id and last.given_id:
            return None
        if name and last.place in fresh and name == last.name:
            return None
        if last.complete and arguments.strip():
            return None if name or self._repeated else last
        return None if last.complete and name and last.name and name != last.name else last

    def _joined_name(self, call: _Call, piece: str) -> str:
        """Join a name that is repeated, in pieces, or longer in each piece."""
        if not call.name or piece.startswith(call.name):
            joined = call.name + piece
            return joined if call.name and joined in self._tools else piece
        if call.name in self._tools and call.name.endswith(piece):
            return call.name
        return call.name + piece

    def _show(self, *, final: bool) -> Iterator[CallDelta]:
        for call in self._calls:
            # A name can become longer until its arguments or another call begin.
            if not call.shown:
                begun = call.arguments.strip() or call.place < len(self._calls) - 1
                if not (final or (call.name and begun)):
                    return  # later calls also wait, so that the order is kept
                new_id = self._id(call)
            else:
                new_id = ""
            name = call.name.removeprefix(call.shown_name)
            arguments = call.arguments[call.shown_arguments :]
            call.shown, call.shown_name = True, call.name
            call.shown_arguments = len(call.arguments)
            if new_id or name or arguments:
                yield CallDelta(call.place, new_id, name, arguments)
