"""The runner's replies as LangChain's results; pure functions and one small state machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import tool_call, tool_call_chunk
from langchain_core.output_parsers.openai_tools import make_invalid_tool_call, parse_tool_call
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from docker_model.types import Completion, ReasoningDelta

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import InvalidToolCall
    from langchain_core.messages.tool import ToolCall, ToolCallChunk

    from docker_model.types import Event

# Not "openai": core would then read the message as OpenAI's, whose API has no reasoning.
PROVIDER = "docker_model"


def result_of(reply: Mapping[str, Any]) -> ChatResult:
    """A whole reply: a generation for each choice."""
    usage = reply.get("usage")
    constant = {
        "model_name": reply["model"],
        "model_provider": PROVIDER,
        **({"timings": reply["timings"]} if reply.get("timings") else {}),
    }
    generations = [
        _generation(choice, constant, usage if number == 0 else None)
        for number, choice in enumerate(reply["choices"])
    ]
    return ChatResult(
        generations=generations,
        llm_output={
            "model_name": reply["model"],
            **({"token_usage": usage} if usage else {}),
        },
    )


def _generation(
    choice: Mapping[str, Any], constant: dict[str, Any], usage: Mapping[str, Any] | None
) -> ChatGeneration:
    said = choice["message"]
    calls, invalid = _calls(said.get("tool_calls") or ())
    message = AIMessage(
        content=said.get("content") or "",
        additional_kwargs=_thought(said),
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=usage_of(usage) if usage else None,
        response_metadata={**constant, **_ending(choice)},
    )
    return ChatGeneration(message=message, generation_info=_ending(choice))


def _calls(
    raw_calls: Sequence[Mapping[str, Any]],
) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """The calls whose arguments are an object, and those whose are not."""
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for raw in raw_calls:
        function = raw.get("function") or {}
        call = {
            "id": raw.get("id") or _new_id(),
            "function": {
                "name": function.get("name"),
                "arguments": function.get("arguments") or "{}",
            },
        }
        try:
            parsed = cast("dict[str, Any]", parse_tool_call(call, return_id=True))
            arguments = parsed["args"]
            if not isinstance(arguments, dict):
                msg = f"the arguments are no object but {type(arguments).__name__}"
                raise OutputParserException(msg)  # noqa: TRY301  as if it could not be parsed
        except OutputParserException as error:
            invalid.append(make_invalid_tool_call(call, str(error)))
        else:
            calls.append(tool_call(name=parsed["name"], args=arguments, id=parsed["id"]))
    return calls, invalid


class Chunks:
    """Turns a stream's pieces into chunks.

    Core adds chunks up: strings join, numbers sum. So whatever is constant (how it ended,
    usage, the model's name, timings) is kept and given once, in the last chunk.
    """

    def __init__(self, model: str) -> None:
        self._usage: Mapping[str, Any] | None = None
        self._last: dict[str, Any] = {"model_name": model}
        self._calls: set[int] = set()

    @property
    def called(self) -> bool:
        """Whether there was a tool call."""
        return bool(self._calls)

    @property
    def told(self) -> dict[str, Any]:
        """What the runner told beside the answer: `usage`, `timings`."""
        return {**self._last, "usage": self._usage}

    def feed(self, piece: Mapping[str, Any]) -> ChatGenerationChunk | None:
        """The chunk for a piece; `None` for one that says nothing yet."""
        self._usage = piece.get("usage") or self._usage
        if piece.get("timings"):
            self._last["timings"] = piece["timings"]
        if not piece.get("choices"):
            return None
        choice = piece["choices"][0]
        said = choice.get("delta") or {}
        if choice.get("finish_reason"):
            self._last["finish_reason"] = choice["finish_reason"]
        text, thought = said.get("content") or "", _thought(said)
        calls = [self._call(one, number) for number, one in enumerate(said.get("tool_calls") or ())]
        likely = {"logprobs": choice["logprobs"]} if choice.get("logprobs") else {}
        if not (text or thought or calls or likely):
            return None
        message = AIMessageChunk(
            content=text,
            additional_kwargs=thought,
            tool_call_chunks=calls,
            response_metadata={"model_provider": PROVIDER, **likely},
        )
        return ChatGenerationChunk(message=message, generation_info=likely or None)

    def close(self) -> ChatGenerationChunk:
        """The last chunk."""
        return _last_chunk(self._last, self._usage)

    def _call(self, call: Mapping[str, Any], number: int) -> ToolCallChunk:
        function, index = call.get("function") or {}, call.get("index", number)
        first = index not in self._calls
        self._calls.add(index)
        return tool_call_chunk(
            name=function.get("name"),
            args=function.get("arguments"),
            # Names and ids join as strings do: each is given once.
            id=(call.get("id") or _new_id()) if first else None,
            index=index,
        )


def result_of_run(completion: Completion) -> ChatResult:
    """An answer of the CLI."""
    reasoning = completion.reasoning
    info = _ending_of_run(completion)
    message = AIMessage(
        content=completion.text,
        additional_kwargs={"reasoning_content": reasoning} if reasoning else {},
        usage_metadata=usage_of(_counts(completion)) if completion.usage else None,
        response_metadata={"model_provider": PROVIDER, **info},
    )
    generation = ChatGeneration(
        message=message, generation_info={"finish_reason": info["finish_reason"]}
    )
    counts = {"token_usage": _counts(completion)} if completion.usage else {}
    return ChatResult(
        generations=[generation], llm_output={"model_name": completion.model, **counts}
    )


def chunk_of_run(event: Event) -> ChatGenerationChunk:
    """A chunk for each event of a run of the CLI."""
    if isinstance(event, Completion):
        return _last_chunk(_ending_of_run(event), _counts(event) if event.usage else None)
    if isinstance(event, ReasoningDelta):
        message = AIMessageChunk(
            content="",
            additional_kwargs={"reasoning_content": event.text},
            response_metadata={"model_provider": PROVIDER},
        )
    else:
        message = AIMessageChunk(content=event.text, response_metadata={"model_provider": PROVIDER})
    return ChatGenerationChunk(message=message)


def usage_of(counts: Mapping[str, Any]) -> UsageMetadata:
    """Token counts in LangChain's words."""
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


def _last_chunk(
    metadata: Mapping[str, Any], usage: Mapping[str, Any] | None
) -> ChatGenerationChunk:
    message = AIMessageChunk(
        content="",
        usage_metadata=usage_of(usage) if usage else None,
        response_metadata={"model_provider": PROVIDER, **metadata},
        chunk_position="last",
    )
    return ChatGenerationChunk(
        message=message, generation_info={"finish_reason": metadata.get("finish_reason")}
    )


def _thought(said: Mapping[str, Any]) -> dict[str, Any]:
    reasoning = said.get("reasoning_content")
    return {"reasoning_content": reasoning} if reasoning else {}


def _ending(choice: Mapping[str, Any]) -> dict[str, Any]:
    logprobs = choice.get("logprobs")
    ending = {"finish_reason": choice.get("finish_reason")}
    return {**ending, "logprobs": logprobs} if logprobs else ending


def _ending_of_run(completion: Completion) -> dict[str, Any]:
    # What a stop sequence ended is "stop" over HTTP.
    reason = "length" if completion.finish_reason == "length" else "stop"
    return {"model_name": completion.model, "finish_reason": reason}


def _counts(completion: Completion) -> dict[str, Any]:
    usage = completion.usage
    assert usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def _new_id() -> str:
    return f"call_{uuid4().hex}"
