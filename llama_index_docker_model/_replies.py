"""What the runner's API says, whole or piece by piece, as an `Answer`."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llama_index_docker_model._responses import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ReplyReader", "answer_of"]

# Told by the engine beside the answer, and of use to some.
_REMARKS = ("usage", "timings")


def answer_of(reply: Mapping[str, Any], model: str) -> Answer:
    """The answer in a whole reply."""
    choice = reply["choices"][0]
    message = choice["message"]
    reasoning = message.get("reasoning_content") or ""
    raw = {"model": model, "finish_reason": choice.get("finish_reason")}
    return Answer(
        raw={**raw, **_remarks(reply, choice), **({"reasoning": reasoning} if reasoning else {})},
        text=message.get("content") or "",
        reasoning=reasoning,
        tool_calls=tuple(_with_id(call) for call in message.get("tool_calls") or ()),
    )


class ReplyReader:
    """Puts a stream's chunks together.

    Args:
        model: The name that answers tell.
        check: Is shown the whole answer; may raise.

    Attributes:
        answer: All so far.
    """

    def __init__(self, model: str, check: Callable[[Answer], None]) -> None:
        self._check = check
        self.answer = Answer.start(model)
        self._raw = dict(self.answer.raw)
        self._logprobs: list[Any] = []
        self._calls: dict[int, dict[str, Any]] = {}

    def feed(self, chunk: Mapping[str, Any]) -> Answer | None:
        """Take a chunk; `None` when it adds nothing to the answer."""
        self._raw |= {name: chunk[name] for name in _REMARKS if chunk.get(name)}
        if not chunk.get("choices"):
            return None  # the counts of tokens come by themselves
        choice = chunk["choices"][0]
        self._raw["finish_reason"] = choice.get("finish_reason") or self._raw["finish_reason"]
        self._logprobs += (choice.get("logprobs") or {}).get("content") or ()
        delta = choice.get("delta") or {}
        text, thinking = delta.get("content") or "", delta.get("reasoning_content") or ""
        for call in delta.get("tool_calls") or ():
            self._add(call)
        if not (text or thinking or delta.get("tool_calls")):
            return None
        self.answer = replace(
            self.answer,
            text=self.answer.text + text,
            delta=text,
            reasoning=self.answer.reasoning + thinking,
            thinking_delta=thinking,
            tool_calls=tuple(self._calls.values()),
        )
        return self.answer

    def close(self) -> Answer | None:
        """The end: what is known only now; `None` when it was cancelled."""
        if self._raw["finish_reason"] is None:
            return None
        raw = dict(self._raw)
        if self.answer.reasoning:
            raw["reasoning"] = self.answer.reasoning
        if self._logprobs:
            raw["logprobs"] = {"content": self._logprobs}
        self.answer = replace(self.answer, raw=raw, delta="", thinking_delta="")
        self._check(self.answer)
        return self.answer

    def _add(self, piece: Mapping[str, Any]) -> None:
        """Add a piece of a call; a new object each time, since answers hold the old ones."""
        index = piece.get("index", 0)
        function = piece.get("function") or {}
        before = self._calls.get(index)
        if before is None:
            self._calls[index] = _with_id(piece)
            return
        name = before["function"]["name"] + (function.get("name") or "")
        arguments = before["function"]["arguments"] + (function.get("arguments") or "")
        self._calls[index] = {**before, "function": {"name": name, "arguments": arguments}}


def _with_id(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call as OpenAI has it; not every engine gives it an id, and results need one."""
    function = call.get("function") or {}
    return {
        "id": call.get("id") or f"call_{uuid.uuid4().hex}",
        "type": "function",
        "function": {
            "name": function.get("name") or "",
            "arguments": function.get("arguments") or "",
        },
    }


def _remarks(reply: Mapping[str, Any], choice: Mapping[str, Any]) -> dict[str, Any]:
    remarks = {name: reply[name] for name in _REMARKS if reply.get(name)}
    return remarks | ({"logprobs": choice["logprobs"]} if choice.get("logprobs") else {})
