"""Replies of the runner and of `docker model run` as LangChain's results; pure."""

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

# Not "openai": core would then read the message as OpenAI's, whose API has no reasoning.
PROVIDER = "docker_model"
# In `response_metadata`: how many characters belong to an answer that was repaired.
REPLACED = "replaced_characters"


# --- Whole answers ---


def read_whole(reply: Mapping[str, Any], settings: RequestSettings) -> tuple[ChatResult, bool]:
    """Read a whole reply: a generation for each choice, and whether any of them calls a tool.

    Raises:
        EmptyAnswerError: If an answer is nothing but thoughts.
    """
    answers = read_reply(
        reply,
        thoughts_in_text=settings.wants_json,
        tools=settings.tool_names,
        model=settings.model,
    )
    usage = reply.get("usage")
    constant = {"model_name": settings.model, "model_provider": PROVIDER, **_remarks(reply)}
    generations = []
    for number, answer in enumerate(_json_found(answer, settings) for answer in answers):
        _check_answered(answer, settings)
        message = _message(answer, constant)
        if usage and not number:
            message.usage_metadata = usage_of(usage)
        generations.append(ChatGeneration(message=message, generation_info=_ending(answer)))
    output = {"model_name": settings.model, **({"token_usage": usage} if usage else {})}
    called = any(answer.calls for answer in answers)
    return ChatResult(generations=generations, llm_output=output), called


def _remarks(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reply or a chunk says beside the answer."""
    return {name: reply[name] for name in _REMARKS if reply.get(name)}


_REMARKS = ("timings", "tool_calling", "trimmed", "docker_model")


def _message(answer: Answer, constant: Mapping[str, Any]) -> AIMessage:
    return AIMessage(
        content=answer.text,
        additional_kwargs=_thoughts(answer.reasoning),
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


def _json_found(answer: Answer, settings: RequestSettings) -> Answer:
    """Take JSON for the answer that some engines read as thoughts, with no words around it."""
    if settings.wants_json and answer.only_thought and is_whole(answer.reasoning):
        return replace(answer, text=answer.reasoning.strip(), reasoning="")
    return answer


def _check_answered(answer: Answer, settings: RequestSettings) -> None:
    # A stop sequence may have ended an answer at its start.
    if answer.only_thought and not (settings.stop and answer.finish_reason == "stop"):
        require_text(answer, settings.model)


def _ending(answer: Answer) -> dict[str, Any]:
    ending = {"finish_reason": answer.finish_reason}
    return {**ending, "logprobs": answer.logprobs} if answer.logprobs else ending


def _thoughts(reasoning: str) -> dict[str, Any]:
    return {"reasoning_content": reasoning} if reasoning else {}


# --- Streamed answers ---


class ChunkReader:
    """Reads a stream's pieces as LangChain's chunks.

    Core adds chunks up: strings join, numbers sum. So whatever is constant (finish reason,
    usage, the model's name, timings) is given once, in the last chunk.
    """

    def __init__(self, settings: RequestSettings) -> None:
        self._settings = settings
        self._reader = StreamReader(
            thoughts_in_text=settings.wants_json, tools=settings.tool_names, model=settings.model
        )
        self._calls: dict[int, _CallText] = {}
        self._remarks: dict[str, Any] = {}

    @property
    def called(self) -> bool:
        """Whether a tool is called."""
        return bool(self._calls)

    @property
    def answer(self) -> Answer:
        """The answer so far."""
        return _json_found(self._reader.answer, self._settings)

    @property
    def remarks(self) -> dict[str, Any]:
        """What came beside the answer, such as `usage` and `timings`."""
        return {**self._remarks, "usage": self._reader.usage}

    def feed(self, piece: Mapping[str, Any]) -> ChatGenerationChunk | None:
        """Return the chunk for a piece; `None` if the piece adds nothing to the answer."""
        self._remarks |= _remarks(piece)
        delta = self._reader.feed(piece)
        return self._chunk(delta) if delta else None

    def close(self) -> ChatGenerationChunk:
        """Return the last chunk.

        Raises:
            EmptyAnswerError: If the answer is nothing but thoughts.
        """
        delta = self._reader.close()
        read = self._reader.answer
        answer = _json_found(read, self._settings)
        _check_answered(answer, self._settings)
        calls = {call.index: self._call(call) for call in delta.calls}
        for index, call in enumerate(answer.calls):
            chunk = calls.setdefault(index, tool_call_chunk(index=index))
            chunk["args"] = (chunk["args"] or "") + self._calls[index].rest(call)
        metadata: dict[str, Any] = {
            "model_name": self._settings.model,
            "finish_reason": answer.finish_reason,
            **self._remarks,
        }
        message = AIMessageChunk(
            content=delta.text if answer is read else answer.text,
            additional_kwargs=_thoughts(delta.reasoning),
            tool_call_chunks=[call for call in calls.values() if any(map(call.get, _CONTENTS))],
        )
        return _last_chunk(message, metadata, self._reader.usage)

    def _chunk(self, delta: Delta) -> ChatGenerationChunk:
        likely = {"logprobs": delta.logprobs} if delta.logprobs else {}
        message = AIMessageChunk(
            content=delta.text,
            additional_kwargs=_thoughts(delta.reasoning),
            tool_call_chunks=[self._call(call) for call in delta.calls],
            response_metadata={"model_provider": PROVIDER, **likely},
        )
        return ChatGenerationChunk(message=message, generation_info=likely or None)

    def _call(self, delta: CallDelta) -> ToolCallChunk:
        text = self._calls.setdefault(delta.index, _CallText()).feed(delta.arguments)
        return tool_call_chunk(
            name=delta.name or None, args=text, id=delta.id or None, index=delta.index
        )


_CONTENTS = ("name", "args", "id")


class _CallText:
    """The text of a streamed call's arguments, as core may read it.

    Core also reads text that is cut off or malformed as an object, and a tool would run on
    arguments that the model never gave. So text that does not begin as an object is held back,
    and text that turns out to be no object gets an end that core cannot read either.
    """

    def __init__(self) -> None:
        self._held = ""
        self._given = ""

    def feed(self, text: str) -> str:
        """Take some text; return what may be given on."""
        if not self._given:
            self._held += text
            if not self._held.lstrip().startswith("{"):
                return ""
            text, self._held = self._held, ""
        self._given += text
        return text

    def rest(self, call: ToolCall) -> str:
        """Return the end of the text, once the call is whole."""
        if call.arguments is None:
            return self._held + _unreadable_end(self._given + self._held)
        return "" if self._given else json.dumps(call.arguments, ensure_ascii=False)


def _unreadable_end(text: str) -> str:
    """Return what to append to a text, so that core finds no object in it."""
    for brackets in count():
        for quotes in ("", '"', '""'):  # it may end within a string, or after a backslash
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
    """Return the last chunk of an answer that another one follows, and takes the place of.

    Core adds chunks up, so the text of both is joined: the parser leaves out the first one's.

    Args:
        last: The chunk; what is constant comes once, after the second answer.
        text: The text of the answer.
    """
    last.message.response_metadata = {"model_provider": PROVIDER, REPLACED: len(text)}
    message = last.message
    assert isinstance(message, AIMessageChunk)
    message.chunk_position = None
    return ChatGenerationChunk(message=message)


# --- Answers of the CLI ---


def read_completion(completion: Completion) -> ChatResult:
    """Read an answer of the CLI.

    Raises:
        EmptyAnswerError: If the answer is nothing but thoughts.
    """
    check_answered(completion)
    info = _ending_of_run(completion)
    usage = asdict(completion.usage) if completion.usage else None
    message = AIMessage(
        content=completion.text,
        additional_kwargs=_thoughts(completion.reasoning),
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
        EmptyAnswerError: If it is the end of an answer that is nothing but thoughts.
    """
    if isinstance(event, Completion):
        check_answered(event)
        usage = asdict(event.usage) if event.usage else None
        return _last_chunk(AIMessageChunk(content=""), _ending_of_run(event), usage)
    thoughts = event.text if isinstance(event, ReasoningDelta) else ""
    message = AIMessageChunk(
        content="" if thoughts else event.text,
        additional_kwargs=_thoughts(thoughts),
        response_metadata={"model_provider": PROVIDER},
    )
    return ChatGenerationChunk(message=message)


def check_answered(completion: Completion) -> None:
    """Raise for an answer of the CLI that is nothing but thoughts.

    Raises:
        EmptyAnswerError: If it is.
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
    # What a stop sequence ended is "stop" over HTTP.
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
    """Write token counts as LangChain does."""
    read, written = counts.get("prompt_tokens") or 0, counts.get("completion_tokens") or 0
    usage = UsageMetadata(
        input_tokens=read,
        output_tokens=written,
        total_tokens=counts.get("total_tokens") or read + written,
    )
    cached = (counts.get("prompt_tokens_details") or {}).get("cached_tokens")
    if cached is not None:
        usage["input_token_details"] = InputTokenDetails(cache_read=cached)
    thought = (counts.get("completion_tokens_details") or {}).get("reasoning_tokens")
    if thought is not None:
        usage["output_token_details"] = OutputTokenDetails(reasoning=thought)
    return usage
