"""Separate reasoning in the text, such as `<think>…</think>`, from the answer, without I/O."""

from __future__ import annotations

import re

__all__ = ["ThoughtSplitter", "split_thoughts"]

_NAMES = ("think", "thinking", "thought", "reasoning")
_TAGS = [*(f"<{name}>" for name in _NAMES), "[THINK]"]
_OPENING = re.compile("|".join(map(re.escape, _TAGS)))
_CLOSING = re.compile("|".join(re.escape(f"{tag[0]}/{tag[1:]}") for tag in _TAGS))
_LONGEST = max(map(len, _TAGS)) + 1
_JSON = ("{", "[")


class ThoughtSplitter:
    """Splits a streamed text into reasoning and answer, however the text is divided into pieces.

    Chat templates often put the opening tag into the prompt, so that the text begins with the
    reasoning. Text that does not begin like JSON is therefore held back until a closing tag or
    the end.
    """

    def __init__(self) -> None:
        self._held = ""
        self._step = self._at_start
        self._thoughts: list[str] = []

    def feed(self, text: str) -> tuple[str, str]:
        """Process a piece of text; return the reasoning and the answer that are certain."""
        self._held += text
        while self._step != self._in_answer and self._step():
            pass
        thoughts, self._thoughts = "".join(self._thoughts), []
        answer = ""
        if self._step == self._in_answer:
            answer, self._held = self._held, ""
        return thoughts, answer

    def close(self) -> tuple[str, str]:
        """End the text; return the text that was held back as reasoning or as answer."""
        held, self._held = self._held, ""
        return (held, "") if self._step == self._in_thoughts else ("", held)

    # Each step returns whether to continue with the text that is held back.

    def _at_start(self) -> bool:
        begun = self._held.lstrip()
        if opening := _OPENING.match(begun):
            self._held = begun[opening.end() :]
            self._step = self._in_thoughts
        elif not _may_become_a_tag(begun) and begun.startswith(_JSON):
            self._step = self._in_answer
        else:
            return self._ends_thoughts()
        return True

    def _in_thoughts(self) -> bool:
        if self._ends_thoughts():
            return True
        certain = max(0, len(self._held) - _LONGEST)
        self._thoughts.append(self._held[:certain])
        self._held = self._held[certain:]
        return False

    def _after_thoughts(self) -> bool:
        self._held = self._held.lstrip()
        if opening := _OPENING.match(self._held):
            self._held = self._held[opening.end() :]
            self._step = self._in_thoughts
        elif _may_become_a_tag(self._held):
            return False
        else:
            self._step = self._in_answer
        return True

    def _in_answer(self) -> bool:
        return False

    def _ends_thoughts(self) -> bool:
        closing = _CLOSING.search(self._held)
        if closing is None:
            return False
        self._thoughts.append(self._held[: closing.start()])
        self._held = self._held[closing.end() :]
        self._step = self._after_thoughts
        return True


def _may_become_a_tag(text: str) -> bool:
    return any(tag.startswith(text) for tag in _TAGS)  # also true for the empty string


def split_thoughts(text: str) -> tuple[str, str]:
    """Split a complete text into reasoning and answer."""
    splitter = ThoughtSplitter()
    thoughts, answer = splitter.feed(text)
    more_thoughts, more_answer = splitter.close()
    return thoughts + more_thoughts, answer + more_answer
