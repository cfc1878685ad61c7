"""Answers of both transports as LlamaIndex's responses."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

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
    from docker_model.http.replies import ToolCall
    from docker_model.types import Event

__all__ = ["AnswerState", "chat_response", "completion_response"]

# The first releases of core 0.14 do not have these classes.
_HAS_THINKING = hasattr(types, "ThinkingBlock")
_HAS_TOOL_CALLS = hasattr(types, "ToolCallBlock")


@dataclass(frozen=True, slots=True)
class AnswerState:
    """An answer, or the part of it received so far.

    Attributes:
        raw: The response's `raw`. Token counters read `usage` from it. If `usage` is `None`, they
            use other sources, so a key without a value is left out.
        text: The answer so far.
        reasoning: The reasoning so far.
        delta: The text that the last event added; `None` if the answer was not streamed.
        thinking_delta: The reasoning that the last event added.
        calls: The tool calls so far.
    """

    raw: dict[str, Any]
    text: str = ""
    reasoning: str = ""
    delta: str | None = None
    thinking_delta: str = ""
    calls: tuple[ToolCall, ...] = ()

    @classmethod
    def of(cls, completion: Completion) -> AnswerState:
        """Return the state of a whole answer from the CLI."""
        return cls(_raw(completion), completion.text, completion.reasoning)

    @classmethod
    def start(cls, model: str) -> AnswerState:
        """Return the state at the start of a stream."""
        return cls({"model": model, "finish_reason": None}, delta="")

    def after(self, event: Event) -> AnswerState:
        """Return the state after an event from the CLI."""
        if isinstance(event, Completion):
            return replace(self, raw=_raw(event), delta="", thinking_delta="")
        if isinstance(event, ReasoningDelta):
            reasoning = self.reasoning + event.text
            return replace(self, reasoning=reasoning, delta="", thinking_delta=event.text)
        return replace(self, text=self.text + event.text, delta=event.text, thinking_delta="")


def completion_response(state: AnswerState) -> CompletionResponse:
    """Return the response of `complete`; the reasoning is in `raw`, because it has no blocks."""
    return CompletionResponse(
        text=state.text,
        delta=state.delta,
        raw=dict(state.raw),
        additional_kwargs=_thinking(state),
    )


def chat_response(state: AnswerState) -> ChatResponse:
    """Return the response of `chat` with a new message, because chat engines modify the message.

    Core prints a message's `additional_kwargs` into the next prompt. So they are empty except for
    tool calls, which core's programs read from there.
    """
    blocks: list[Any] = [TextBlock(text=state.text)]
    if state.reasoning and _HAS_THINKING:
        blocks.insert(0, types.ThinkingBlock(content=state.reasoning))
    calls = [call.to_openai() for call in state.calls]
    if _HAS_TOOL_CALLS:
        blocks += [
            types.ToolCallBlock(
                tool_call_id=call["id"],
                tool_name=call["function"]["name"],
                tool_kwargs=call["function"]["arguments"],
            )
            for call in calls
        ]
    return ChatResponse(
        message=ChatMessage(
            role=MessageRole.ASSISTANT,
            blocks=blocks,
            additional_kwargs={"tool_calls": calls} if calls else {},
        ),
        delta=state.delta,
        raw=dict(state.raw),
        additional_kwargs=_thinking(state),
    )


def _thinking(state: AnswerState) -> dict[str, Any]:
    return {"thinking_delta": state.thinking_delta} if state.thinking_delta else {}


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
