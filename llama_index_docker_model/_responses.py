"""What `docker_model` says, in LlamaIndex's words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from llama_index.core.base.llms import types
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    TextBlock,
)

from docker_model.types import Completion, ReasoningDelta

if TYPE_CHECKING:
    from docker_model.types import Event

# The first releases of core 0.14 had none.
_HAS_THINKING = hasattr(types, "ThinkingBlock")
_HAS_TOOL_CALLS = hasattr(types, "ToolCallBlock")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, whole or as far as it has come.

    Attributes:
        raw: What the response's `raw` shall be. Token counters look for `usage` there and
            take a `None` as an invitation to look elsewhere, so a key that has nothing to
            say is left out.
        text: All of the answer so far.
        reasoning: All of the reasoning so far.
        delta: What the last event added to the text; `None` when it is no stream.
        thinking_delta: What the last event added to the reasoning.
        tool_calls: The calls of tools so far, as OpenAI writes them.
    """

    raw: dict[str, Any]
    text: str = ""
    reasoning: str = ""
    delta: str | None = None
    thinking_delta: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, completion: Completion) -> Self:
        """The answer to a call that is no stream."""
        return cls(_raw(completion), completion.text, completion.reasoning)

    @classmethod
    def start(cls, model: str) -> Self:
        """The beginning of a stream."""
        return cls({"model": model, "finish_reason": None}, delta="")

    def after(self, event: Event) -> Self:
        """The answer once `event` has come."""
        if isinstance(event, Completion):
            return replace(self, raw=_raw(event), delta="", thinking_delta="")
        if isinstance(event, ReasoningDelta):
            reasoning = self.reasoning + event.text
            return replace(self, reasoning=reasoning, delta="", thinking_delta=event.text)
        return replace(self, text=self.text + event.text, delta=event.text, thinking_delta="")


def completion_response(answer: Answer) -> CompletionResponse:
    """What `complete` gives: its reasoning is in `raw`, for it has no blocks."""
    return CompletionResponse(
        text=answer.text,
        delta=answer.delta,
        raw=dict(answer.raw),
        additional_kwargs=_thinking(answer),
    )


def chat_response(answer: Answer) -> ChatResponse:
    """What `chat` gives: a new message each time, for chat engines rewrite the last one.

    What stands in the message's own `additional_kwargs` would be printed into the next
    turn's prompt; hence there is nothing, but for the calls of tools: core looks for them
    there when it makes objects of a stream.
    """
    blocks: list[Any] = [TextBlock(text=answer.text)]
    if answer.reasoning and _HAS_THINKING:
        blocks.insert(0, types.ThinkingBlock(content=answer.reasoning))
    if _HAS_TOOL_CALLS:
        blocks += [
            types.ToolCallBlock(
                tool_call_id=call["id"],
                tool_name=call["function"]["name"],
                tool_kwargs=call["function"]["arguments"],
            )
            for call in answer.tool_calls
        ]
    calls = {"tool_calls": list(answer.tool_calls)} if answer.tool_calls else {}
    return ChatResponse(
        message=ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=calls),
        delta=answer.delta,
        raw=dict(answer.raw),
        additional_kwargs=_thinking(answer),
    )


def _thinking(answer: Answer) -> dict[str, Any]:
    return {"thinking_delta": answer.thinking_delta} if answer.thinking_delta else {}


def _raw(completion: Completion) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "model": completion.model,
        "finish_reason": completion.finish_reason,
    }
    if completion.reasoning:
        raw["reasoning"] = completion.reasoning
    if completion.usage:
        raw["usage"] = asdict(completion.usage)
    return raw
