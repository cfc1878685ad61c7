"""Counting tokens, which wants the user's own tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def token_ids(tokenizer: Callable[[str], list[int]] | None, text: str) -> list[int]:
    """The tokens of `text`.

    Raises:
        NotImplementedError: There is no tokenizer. LangChain's fallback, GPT-2's, is wrong for
            every model here and may be downloaded on the way.
    """
    if tokenizer is None:
        msg = (
            "there is no tokenizer to count tokens with\n"
            "Hint: pass custom_get_token_ids=, or count with "
            "langchain_core.messages.utils.count_tokens_approximately"
        )
        raise NotImplementedError(msg)
    return tokenizer(text)
