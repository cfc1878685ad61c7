"""Counting tokens as the engine does, for LlamaIndex's helpers that take a tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docker_model.http.client import Client

__all__ = ["ModelTokenizer"]

_REMEMBERED = 4096  # texts


@dataclass(frozen=True, slots=True)
class ModelTokenizer:
    """Counts the tokens of texts, without the chat template around them.

    LlamaIndex takes the length of what a tokenizer returns, and nothing else. The API counts
    whole chats, so the template's own tokens are subtracted.

    Attributes:
        client: The client that asks the engine.
        model: The model's name.
    """

    client: Client
    model: str
    _counts: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def __call__(self, text: str) -> list[int]:
        """Return a list as long as the text has tokens."""
        return [0] * self.count(text)

    def count(self, text: str) -> int:
        """Count the tokens of a text; each new text is one request."""
        if not text:
            return 0
        # Both counts of a letter are of the template and one token or two.
        template = 2 * self._chat("a") - self._chat("a a")
        return self._chat(text) - template

    def _chat(self, text: str) -> int:
        if (count := self._counts.get(text)) is None:
            count = self.client.count_tokens(self.model, [{"role": "user", "content": text}])
            with self._lock:
                if len(self._counts) >= _REMEMBERED:
                    self._counts.clear()
                self._counts[text] = count
        return count

    def __reduce__(self) -> tuple[type[ModelTokenizer], tuple[Client, str]]:
        """Pickle without what is remembered."""
        return ModelTokenizer, (self.client, self.model)
