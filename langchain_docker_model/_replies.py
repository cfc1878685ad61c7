"""Replies of the runner and of `docker model run` as LangChain's results, without I/O."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import count
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.json import parse_partial_json

from docker_model.http.replies import Answer, StreamReader, read_reply, require_text
from docker_model.http.tools import is_whole
from docker_model.types import Completion, ReasoningDelta

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_core.messages.tool import ToolCallChunk

    from docker_model.http.replies import CallDelta, Delta, ToolCall
    from docker_model.types import Event
    from langchain_docker_model._request import RequestSettings

__all__ = [
    "PROVIDER",
    "REPLACED",
    "ChunkReader",
    "check_answered",
    "chunk_of_event",
    "chunks_of",
    "read_completion",
    "read_whole",
    "replaced",
]

# Not "openai": core would then read the message as one of OpenAI, which has no reasoning.
PROVIDER = "docker_model"
# In `response_metadata`: the length of an answer that a second answer replaces.
REPLACED = "replaced_characters"


# --- Whole answers ---


def read_whole(reply: Mapping[str, Any], settings: RequestSettings) -> tuple[ChatResult, bool]:
    """Return one generation per choice of a whole reply, and whether any choice calls a tool.

    Raises:
        EmptyAnswerError: If an answer contains only reasoning.
    """
    answers = read_reply(
        reply,
        thoughts_in_text=settings.wants_json,
        tools=settings.tool_names,
        model=settings.model,
    )
    usage = reply.get("usage")
    constant = {"model_name": settings.model, "model_provider": PROVIDER, **_metadata(reply)}
    generations = []
    for number, answer in enumerate(_with_json_as_text(answer, settings) for answer in answers):
        _check_answered(answer, settings)
        message = _message(answer, constant)
        if usage and not number:
            message.usage_metadata = usage_of(usage)
        generations.append(ChatGeneration(message=message, generation_info=_ending(answer)))
    output = {"model_name": settings.model, **({"token_usage": usage} if usage else {})}
    called = any(answer.calls for answer in answers)
    return ChatResult(generations=generations, llm_output=output), called


def _metadata(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a reply or chunk that describe the answer, such as `timings`."""
    return {name: reply[name] for name in _METADATA if reply.get(name)}


_METADATA = ("timings", "tool_calling", "trimmed", "docker_model")


def _message(answer: Answer, constant: Mapping[str, Any]) -> AIMessage:
    return AIMessage(
        content=answer.text,
        additional_kwargs=_reasoning_kwargs(answer.reasoning),
        tool_calls=[
            tool_call(name=call.name, args=call.arguments, id=call.id)
            for call in answer.calls
            if call.arguments is not None
        ],
        invalid_tool_calls=[
            invalid_tool_call(name=call.name, args=call.raw, id=call.id, error=call.error)
            for call in answer.calls
            if call.arguments is None
        ],
        response_metadata={**constant, **_ending(answer)},
    )


def _with_json_as_text(answer: Answer, settings: RequestSettings) -> Answer:
    """Use the reasoning as the answer if it is only JSON, which some engines misplace there."""
    if settings.wants_json and answer.only_thought and is_whole(answer.reasoning):
        return replace(answer, text=answer.reasoning.strip(), reasoning="")
    return answer


def _check_answered(answer: Answer, settings: RequestSettings) -> None:
    # A stop sequence can end an answer before its first character.
    if answer.only_thought and not (settings.stop and answer.finish_reason == "stop"):
        require_text(answer, settings.model)


def _ending(answer: Answer) -> dict[str, Any]:
    ending = {"finish_reason": answer.finish_reason}
    return {**ending, "logprobs": answer.logprobs} if answer.logprobs else ending


def _reasoning_kwargs(reasoning: str) -> dict[str, Any]:
    return {"reasoning_content": reasoning} if reasoning else {}


# --- Streamed answers ---


class ChunkReader:
    """Converts the pieces of a stream to LangChain's chunks.

    Core adds chunks together, which joins strings and sums numbers. So constant values (finish
    reason, usage, the model's name, timings) are only in the last chunk.
    """

    def __init__(self, settings: RequestSettings) -> None:
        self._settings = settings
        self._reader = StreamReader(
            thoughts_in_text=settings.wants_json, tools=settings.tool_names, model=settings.model
        )
        self._calls: dict[int, _CallText] = {}
        self._metadata: dict[str, Any] = {}

    @property
    def called(self) -> bool:
        """Whether the answer calls a tool."""
        return bool(self._calls)

    @property
    def answer(self) -> Answer:
        """The answer so far."""
        return _with_json_as_text(self._reader.answer, self._settings)

    @property
    def metadata(self) -> dict[str, Any]:
        """The fields that describe the answer, such as `usage` and `timings`."""
        return {**self._metadata, "usage": self._reader.usage}

    def feed(self, piece: Mapping[str, Any]) -> ChatGenerationChunk | None:
        """Return the chunk for a piece; `None` if the piece adds nothing to the answer."""
        self._metadata |= _metadata(piece)
        delta = self._reader.feed(piece)
        return self._chunk(delta) if delta else None

    def close(self) -> ChatGenerationChunk:
        """Return the last chunk.

        Raises:
            EmptyAnswerError: If the answer contains only reasoning.
        """
        delta = self._reader.close()
        read = self._reader.answer
        answer = _with_json_as_text(read, self._settings)
        _check_answered(answer, self._settings)
        calls = {call.index: self._call(call) for call in delta.calls}
        for index, call in enumerate(answer.calls):
            chunk = calls.setdefault(index, tool_call_chunk(index=index))
            chunk["args"] = (chunk["args"] or "") + self._calls[index].close(call)
        metadata: dict[str, Any] = {
            "model_name": self._settings.model,
            "finish_reason": answer.finish_reason,
            **self._metadata,
        }
        message = AIMessageChunk(
            content=delta.text if answer is read else answer.text,
            additional_kwargs=_reasoning_kwargs(delta.reasoning),
            tool_call_chunks=[call for call in calls.values() if any(map(call.get, _CONTENTS))],
        )
        return _last_chunk(message, metadata, self._reader.usage)

    def _chunk(self, delta: Delta) -> ChatGenerationChunk:
        logprobs = {"logprobs": delta.logprobs} if delta.logprobs else {}
        message = AIMessageChunk(
            content=delta.text,
            additional_kwargs=_reasoning_kwargs(delta.reasoning),
            tool_call_chunks=[self._call(call) for call in delta.calls],
            response_metadata={"model_provider": PROVIDER, **logprobs},
        )
        return ChatGenerationChunk(message=message, generation_info=logprobs or None)

    def _call(self, delta: CallDelta) -> ToolCallChunk:
        text = self._calls.setdefault(delta.index, _CallText()).feed(delta.arguments)
        return tool_call_chunk(
            name=delta.name or None, args=text, id=delta.id or None, index=delta.index
        )


_CONTENTS = ("name", "args", "id")


class _CallText:
    """The arguments of a streamed tool call, as text that core reads correctly.

    Core also parses incomplete and malformed JSON as an object. A tool would then run with
    arguments that the model did not write. So text that does not begin with `{` is held back. If
    the text is not a JSON object in the end, it gets an ending that core cannot parse.
    """

    def __init__(self) -> None:
        self._held = ""
        self._sent = ""

    def feed(self, text: str) -> str:
        """Add text; return the part that can be sent now."""
        if not self._sent:
            self._held += text
            if not self._held.lstrip().startswith("{"):
                return ""
            text, self._held = self._held, ""
        self._sent += text
        return text

    def close(self, call: ToolCall) -> str:
        """Return the last part of the text, when the call is complete."""
        if call.arguments is None:
            return self._held + _unreadable_end(self._sent + self._held)
        return "" if self._sent else json.dumps(call.arguments, ensure_ascii=False)


def _unreadable_end(text: str) -> str:
    """Return an ending for `text` with which core cannot parse an object from it."""
    for brackets in count():
        for quotes in ("", '"', '""'):  # the text can end within a string or after a backslash
            end = quotes + "]" * brackets
            try:
                if not isinstance(parse_partial_json(text + end), dict):
                    return end
            except ValueError:
                return end
    raise AssertionError  # `count` has no end


def chunks_of(reply: Mapping[str, Any], settings: RequestSettings) -> Iterator[ChatGenerationChunk]:
    """Yield the chunks of a whole reply."""
    reader = ChunkReader(settings)
    if chunk := reader.feed(reply):
        yield chunk
    yield reader.close()


def replaced(last: ChatGenerationChunk, text: str) -> ChatGenerationChunk:
    """Return the last chunk of an answer that a second answer replaces.

    Core joins the text of both answers, and the parser then removes the first.

    Args:
        last: The last chunk; constant values are only in the last chunk of the second answer.
        text: The text of the first answer.
    """
    last.message.response_metadata = {"model_provider": PROVIDER, REPLACED: len(text)}
    message = last.message
    assert isinstance(message, AIMessageChunk)
    message.chunk_position = None
    return ChatGenerationChunk(message=message)


# --- Answers of the CLI ---


def read_completion(completion: Completion) -> ChatResult:
    """Convert an answer of the CLI.

    Raises:
        EmptyAnswerError: If the answer contains only reasoning.
    """
    check_answered(completion)
    info = _ending_of_run(completion)
    usage = asdict(completion.usage) if completion.usage else None
    message = AIMessage(
        content=completion.text,
        additional_kwargs=_reasoning_kwargs(completion.reasoning),
        usage_metadata=usage_of(usage) if usage else None,
        response_metadata={"model_provider": PROVIDER, **info},
    )
    generation = ChatGeneration(
        message=message, generation_info={"finish_reason": info["finish_reason"]}
    )
    output = {"model_name": completion.model, **({"token_usage": usage} if usage else {})}
    return ChatResult(generations=[generation], llm_output=output)


def chunk_of_event(event: Event) -> ChatGenerationChunk:
    """Return the chunk for an event of a run of the CLI.

    Raises:
        EmptyAnswerError: If the event is the end of an answer that contains only reasoning.
    """
    if isinstance(event, Completion):
        check_answered(event)
        usage = asdict(event.usage) if event.usage else None
        return _last_chunk(AIMessageChunk(content=""), _ending_of_run(event), usage)
    reasoning = event.text if isinstance(event, ReasoningDelta) else ""
    message = AIMessageChunk(
        content="" if reasoning else event.text,
        additional_kwargs=_reasoning_kwargs(reasoning),
        response_metadata={"model_provider": PROVIDER},
    )
    return ChatGenerationChunk(message=message)


def check_answered(completion: Completion) -> None:
    """Raise an error for an answer of the CLI that contains only reasoning.

    Raises:
        EmptyAnswerError: If the answer has no text, and no stop sequence ended it.
    """
    if completion.finish_reason != "stop_sequence":
        answer = Answer(
            text=completion.text,
            reasoning=completion.reasoning,
            finish_reason=completion.finish_reason,
        )
        if answer.only_thought:
            require_text(answer, completion.model)


def _ending_of_run(completion: Completion) -> dict[str, Any]:
    # Over HTTP, an answer that a stop sequence ended has the finish reason "stop".
    reason = "length" if completion.finish_reason == "length" else "stop"
    return {"model_name": completion.model, "finish_reason": reason}


# --- Both ---


def _last_chunk(
    message: AIMessageChunk, metadata: Mapping[str, Any], usage: Mapping[str, Any] | None
) -> ChatGenerationChunk:
    message.usage_metadata = usage_of(usage) if usage else None
    message.response_metadata = {"model_provider": PROVIDER, **metadata}
    message.chunk_position = "last"
    return ChatGenerationChunk(
        message=message, generation_info={"finish_reason": metadata.get("finish_reason")}
    )


def usage_of(counts: Mapping[str, Any]) -> UsageMetadata:
    """Convert token counts to LangChain's form."""
    prompt, completion = counts.get("prompt_tokens") or 0, counts.get("completion_tokens") or 0
    usage = UsageMetadata(
        input_tokens=prompt,
        output_tokens=completion,
        total_tokens=counts.get("total_tokens") or prompt + completion,
    )
    cached = (counts.get("prompt_tokens_details") or {}).get("cached_tokens")
    if cached is not None:
        usage["input_token_details"] = InputTokenDetails(cache_read=cached)
    thought = (counts.get("completion_tokens_details") or {}).get("reasoning_tokens")
    if thought is not None:
        usage["output_token_details"] = OutputTokenDetails(reasoning=thought)
    return usage
