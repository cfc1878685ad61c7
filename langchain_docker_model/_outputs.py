"""What `docker_model` says, in LangChain's words."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from langchain_core.outputs import Generation, GenerationChunk, LLMResult

from docker_model.types import Completion, ReasoningDelta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docker_model.types import Event


def chunk_of(event: Event) -> GenerationChunk:
    """A chunk for each event; the end of the answer has no text but says how it ended.

    Core adds chunks up, and so joins strings and sums numbers: what is constant stands in
    the last chunk alone, and the reasoning, already given in pieces, does not stand there.
    """
    if isinstance(event, Completion):
        return GenerationChunk(text="", generation_info=_ending(event))
    if isinstance(event, ReasoningDelta):
        return GenerationChunk(text="", generation_info={"reasoning": event.text})
    return GenerationChunk(text=event.text)


def result_of(completions: Sequence[Completion]) -> LLMResult:
    """One generation for each prompt; `llm_output` holds the sum of the known usage."""
    llm_output: dict[str, Any] = {"model_name": completions[0].model} if completions else {}
    usages = [asdict(one.usage) for one in completions if one.usage]
    if usages:
        llm_output["token_usage"] = {key: sum(one[key] for one in usages) for key in usages[0]}
    return LLMResult(
        generations=[[_generation_of(completion)] for completion in completions],
        llm_output=llm_output,
    )


def _generation_of(completion: Completion) -> Generation:
    info = _ending(completion)
    if completion.reasoning:
        info["reasoning"] = completion.reasoning
    return Generation(text=completion.text, generation_info=info)


def _ending(completion: Completion) -> dict[str, Any]:
    info: dict[str, Any] = {
        "finish_reason": completion.finish_reason,
        "model_name": completion.model,
    }
    if completion.usage:
        info["usage"] = asdict(completion.usage)
    return info
