"""A tokenizer for LlamaIndex's helpers that counts tokens as the engine does."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docker_model.http.client import Client

__all__ = ["ModelTokenizer"]

_MAX_CACHED_TEXTS = 4096


@dataclass(frozen=True, slots=True)
class ModelTokenizer:
    """Counts the tokens of texts, without those of the chat template.

    LlamaIndex only uses the length of a tokenizer's result. The API counts whole chats, so the
    tokens of the template are subtracted.

    Attributes:
        client: The client that sends the requests.
        model: The model's name.
    """

    client: Client
    model: str
    _counts: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def __call__(self, text: str) -> list[int]:
        """Return a list with one element per token of the text."""
        return [0] * self.count(text)

    def count(self, text: str) -> int:
        """Count the tokens of a text; each new text is one request."""
        if not text:
            return 0
        # "a" is one token and "a a" is two, so the difference leaves the tokens of the template.
        template = 2 * self._count_chat("a") - self._count_chat("a a")
        return self._count_chat(text) - template

    def _count_chat(self, text: str) -> int:
        if (count := self._counts.get(text)) is None:
            count = self.client.count_tokens(self.model, [{"role": "user", "content": text}])
            with self._lock:
                if len(self._counts) >= _MAX_CACHED_TEXTS:
                    self._counts.clear()
                self._counts[text] = count
        return count

    def __reduce__(self) -> tuple[type[ModelTokenizer], tuple[Client, str]]:
        """Pickle the tokenizer without its cached counts."""
        return ModelTokenizer, (self.client, self.model)
