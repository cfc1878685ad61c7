"""Leaving out the oldest turns of a conversation that is too long for the model's window.

Messages are left out in blocks and not one by one: the beginning of the prompt then stays the
same for several calls, so that the engine's prompt cache hits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docker_model.errors import ContextLengthError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

__all__ = ["Fitted", "at_most_tokens", "fit", "room_for_answer"]

_BLOCKS = 3  # blocks that a full window is divided into
_CHARACTERS_A_TOKEN = 4  # about; only decides where a block ends
_TEMPLATE_TOKENS = 16  # more than a chat template adds to a message


@dataclass(frozen=True, slots=True)
class Fitted:
    """A conversation that fits.

    Attributes:
        messages: What is left.
        left_out: The number of messages that were left out.
    """

    messages: list[dict[str, Any]]
    left_out: int


def room_for_answer(window: int, max_tokens: int | None) -> int:
    """Return the tokens to keep free for the answer: what is asked for, or a quarter."""
    return min(max_tokens or window // 4, window - 1)


def at_most_tokens(messages: Sequence[Mapping[str, Any]], extra: str = "") -> int | None:
    """Return a number of tokens that a conversation cannot exceed, without asking anybody.

    A token holds at least one byte. `None` where that says nothing: images and the like.
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
    return len(str(value or "").encode(errors="surrogatepass"))  # refused when it is sent


async def fit(
    messages: Sequence[Mapping[str, Any]],
    count: Callable[[Sequence[Mapping[str, Any]]], Awaitable[int]],
    *,
    window: int,
    max_tokens: int | None,
) -> Fitted:
    """Leave out the oldest turns until the rest and an answer fit the window.

    The system message, the last turn of the user and the newest round of calls and results
    stay. A call is never left without its result.

    Args:
        messages: What `docker_model.http.messages.prepare` returns.
        count: Counts the tokens of messages.
        window: The model's context size in tokens.
        max_tokens: The longest answer in tokens; `None` keeps a quarter of the window free.

    Raises:
        ContextLengthError: If what must stay does not fit.
    """
    budget = window - room_for_answer(window, max_tokens)
    cuts = _cuts(messages, budget // _BLOCKS * _CHARACTERS_A_TOKEN)
    tokens = await count(messages)
    if tokens <= budget:
        return Fitted([dict(message) for message in messages], 0)
    # The first cut that is enough; the more is left out, the fewer tokens there are.
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
        hint = f"the model has a window of {window} tokens: send less, or lower max_tokens"
        raise ContextLengthError(msg, hint=hint, prompt_tokens=tokens, context_size=window)
    return Fitted(cuts[low], len(messages) - len(cuts[low]))


def _cuts(messages: Sequence[Mapping[str, Any]], block: int) -> list[list[dict[str, Any]]]:
    """Return what is left after each cut, the longest first.

    Cuts lie between blocks of turns, before the last turn, and between blocks of its rounds.
    """
    head = [dict(each) for each in messages if each["role"] == "system"][:1]
    rest = [dict(each) for each in messages[len(head) :]]
    users = [place for place, each in enumerate(rest) if each["role"] == "user"]
    if not users:
        return []
    last = users[-1]
    turns = [0, *users[1:]]
    cuts = [[*head, *rest[place:]] for place in _between_blocks(rest, turns, block)]
    if last:
        cuts.append([*head, *rest[last:]])
    rounds = [
        place
        for place, each in enumerate(rest)
        if place > last and each["role"] == "assistant" and each.get("tool_calls")
    ]
    cuts += [[*head, rest[last], *rest[place:]] for place in _between_blocks(rest, rounds, block)]
    if len(rounds) > 1:
        cuts.append([*head, rest[last], *rest[rounds[-1] :]])
    return cuts


def _between_blocks(
    messages: Sequence[Mapping[str, Any]], places: Sequence[int], block: int
) -> list[int]:
    """Return those of the inner `places` that divide the messages into blocks.

    A block is as many turns as it has room for, or a single one that is larger.
    """
    ends: list[int] = []
    size = 0
    for begin, place, end in zip(places, places[1:], places[2:], strict=False):
        size += sum(map(_size, messages[begin:place]))
        if size + sum(map(_size, messages[place:end])) > block:
            ends.append(place)
            size = 0
    return ends


def _size(message: Mapping[str, Any]) -> int:
    size = len(str(message.get("content") or "")) + len(str(message.get("tool_calls") or ""))
    return size + _TEMPLATE_TOKENS * _CHARACTERS_A_TOKEN  # short messages are mostly template
