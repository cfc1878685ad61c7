"""One prompt from a chat: the CLI sends a single turn of the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llama_index.core.base.llms.generic_utils import (
    messages_to_prompt as generic_messages_to_prompt,
)

from docker_model.errors import InvalidRequestError, UnsupportedParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llama_index.core.base.llms.types import ChatMessage

# Reasoning is not sent back to a model, and a cache mark holds nothing to send.
_FLATTENED = frozenset({"text", "thinking", "cache"})


def chat_prompt(
    messages: Sequence[ChatMessage],
    messages_to_prompt: Callable[[Sequence[ChatMessage]], str] | None,
) -> str:
    """Flatten `messages`, by core's own function if there is no other.

    Raises:
        InvalidRequestError: No message, or none with text.
        UnsupportedParameterError: A block that is not text: core's own `messages_to_prompt`
            would drop it without a word.
    """
    blocks = [block for message in messages for block in message.blocks]
    refused = sorted({block.block_type for block in blocks} - _FLATTENED)
    if refused:
        msg = f"`docker model run` takes text alone, and the chat holds: {', '.join(refused)}"
        hint = "leave these blocks out of the messages, or ask over HTTP, transport='http'"
        raise UnsupportedParameterError(msg, hint=hint)
    if not any(block.block_type == "text" and block.text.strip() for block in blocks):
        msg = "the chat is empty: there is no text in it"
        raise InvalidRequestError(msg, hint="pass at least one message with text")
    return (messages_to_prompt or generic_messages_to_prompt)(messages)
