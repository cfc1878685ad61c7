"""Remove the oldest turns of a conversation that is too long for the model's context.

Messages are removed in blocks, not one by one. The beginning of the prompt then stays the same
for several calls, so that the engine can use its prompt cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docker_model.errors import ContextLengthError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

__all__ = ["Fitted", "at_most_tokens", "fit", "room_for_answer"]

_BLOCKS = 3  # the number of blocks in a full context
_CHARACTERS_A_TOKEN = 4  # approximately; only determines where a block ends
_TEMPLATE_TOKENS = 16  # an upper bound for the tokens that a chat template adds to a message


@dataclass(frozen=True, slots=True)
class Fitted:
    """A conversation that fits the context.

    Attributes:
        messages: The remaining messages.
        left_out: The number of removed messages.
    """

    messages: list[dict[str, Any]]
    left_out: int


def room_for_answer(window: int, max_tokens: int | None) -> int:
    """Return the tokens to reserve for the answer: `max_tokens`, or a quarter of the context."""
    return min(max_tokens or window // 4, window - 1)


def at_most_tokens(messages: Sequence[Mapping[str, Any]], extra: str = "") -> int | None:
    """Return an upper bound for the tokens of a conversation, without a request.

    A token has at least one byte. `None` if the size is unknown, for example for images.
    """
    size = _bytes(extra)
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            if any(part.get("type") != "text" for part in content):
                return None
            content = "".join(part["text"] for part in content)
        parts = content, message.get("tool_calls"), message.get("reasoning_content")
        size += sum(map(_bytes, parts)) + _TEMPLATE_TOKENS
    return size


def _bytes(value: object) -> int:
    return len(str(value or "").encode(errors="surrogatepass"))  # surrogates fail when sent


async def fit(
    messages: Sequence[Mapping[str, Any]],
    count: Callable[[Sequence[Mapping[str, Any]]], Awaitable[int]],
    *,
    window: int,
    max_tokens: int | None,
) -> Fitted:
    """Remove the oldest turns until the other messages and an answer fit the context.

    The system message, the last turn of the user, and the latest round of calls and results are
    always kept. A call is never separated from its result.

    Args:
        messages: The result of `docker_model.http.messages.prepare`.
        count: Counts the tokens of messages.
        window: The model's context size in tokens.
        max_tokens: The longest answer in tokens; `None` reserves a quarter of the context.

    Raises:
        ContextLengthError: If the messages that must be kept do not fit.
    """
    budget = window - room_for_answer(window, max_tokens)
    cuts = _cuts(messages, budget // _BLOCKS * _CHARACTERS_A_TOKEN)
    tokens = await count(messages)
    if tokens <= budget:
        return Fitted([dict(message) for message in messages], 0)
    # Binary search for the longest conversation that fits.
    low, high = 0, len(cuts)
    while low < high:
        middle = (low + high) // 2
        tokens = await count(cuts[middle])
        if tokens <= budget:
            high = middle
        else:
            low = middle + 1
    if low == len(cuts):
        tokens = await count(cuts[-1]) if cuts else tokens
        msg = f"the conversation has {tokens} tokens even without its older turns"
        hint = f"the context has {window} tokens: send shorter messages, or lower max_tokens"
        raise ContextLengthError(msg, hint=hint, prompt_tokens=tokens, context_size=window)
    return Fitted(cuts[low], len(messages) - len(cuts[low]))


def _cuts(messages: Sequence[Mapping[str, Any]], block: int) -> list[list[dict[str, Any]]]:
    """Return the remaining messages after each possible cut, the longest list first.

    Cuts are between blocks of turns, before the last turn, and between blocks of its rounds.
    """
    head = [dict(message) for message in messages if message["role"] == "system"][:1]
    rest = [dict(message) for message in messages[len(head) :]]
    users = [index for index, message in enumerate(rest) if message["role"] == "user"]
    if not users:
        return []
    last = users[-1]
    turns = [0, *users[1:]]
    cuts = [[*head, *rest[index:]] for index in _between_blocks(rest, turns, block)]
    if last:
        cuts.append([*head, *rest[last:]])
    rounds = [
        index
        for index, message in enumerate(rest)
        if index > last and message["role"] == "assistant" and message.get("tool_calls")
    ]
    cuts += [[*head, rest[last], *rest[index:]] for index in _between_blocks(rest, rounds, block)]
    if len(rounds) > 1:
        cuts.append([*head, rest[last], *rest[rounds[-1] :]])
    return cuts


def _between_blocks(
    messages: Sequence[Mapping[str, Any]], indexes: Sequence[int], block: int
) -> list[int]:
    """Return the inner `indexes` that divide the messages into blocks.

    A block has as many turns as fit into `block` characters, or a single longer turn.
    """
    ends: list[int] = []
    size = 0
    for begin, index, end in zip(indexes, indexes[1:], indexes[2:], strict=False):
        size += sum(map(_size, messages[begin:index]))
        if size + sum(map(_size, messages[index:end])) > block:
            ends.append(index)
            size = 0
    return ends


def _size(message: Mapping[str, Any]) -> int:
    size = len(str(message.get("content") or "")) + len(str(message.get("tool_calls") or ""))
    return size + _TEMPLATE_TOKENS * _CHARACTERS_A_TOKEN  # includes the text of the template
