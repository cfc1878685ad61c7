"""Store an answer of any length with bounded memory.

An answer longer than `IN_MEMORY` characters is written to an unnamed temporary file, and
`Completion.text` reads it on first access. If the file cannot be written, the answer stays in
memory.
"""

from __future__ import annotations

import tempfile
import weakref
from typing import TYPE_CHECKING, Any

from docker_model.types import Completion

if TYPE_CHECKING:
    from typing import IO

IN_MEMORY = 1 << 20  # characters


class Spool:
    """A text that grows, first in memory and then in a file."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0  # characters in `_parts`
        self._file: IO[bytes] | None = None
        self._filed = 0  # valid bytes in the file; a failed write can leave more
        self._room = True

    def __bool__(self) -> bool:
        return self._size > 0 or self._file is not None

    @property
    def filed(self) -> bool:
        """Whether a part of the text is in the file."""
        return self._file is not None

    def add(self, text: str) -> None:
        """Add `text` at the end."""
        self._parts.append(text)
        self._size += len(text)
        if self._size > IN_MEMORY and self._room:
            try:
                self._put_away("".join(self._parts).encode())
            except OSError:
                self._room = False
            else:
                self._parts.clear()
                self._size = 0

    def _put_away(self, data: bytes) -> None:
        if self._file is None:
            # A file without a name does not outlive this process, however the process ends.
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  closed by `finalize`
            # In a reference cycle, the file could be finalized before `__del__` closes it.
            weakref.finalize(self, self._file.close)
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        self._filed += len(data)

    def read(self) -> str:
        """Return the whole text."""
        if self._file is not None:
            self._file.seek(0)
            return self._file.read()[: self._filed].decode() + "".join(self._parts)
        return "".join(self._parts)


class SpooledCompletion(Completion):
    """A `Completion` that reads its text from the spool on first access."""

    __slots__ = ("_spool", "_text")

    _spool: Spool
    _text: str | None

    def __init__(self, spool: Spool, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_spool", spool)
        object.__setattr__(self, "_text", None)

    @property
    def text(self) -> str:
        text = self._text
        if text is None:
            text = self._spool.read()
            object.__setattr__(self, "_text", text)
        return text

    def _plain(self) -> Completion:
        return Completion(
            self.text, self.reasoning, self.usage, self.finish_reason, self.model, self.timings
        )

    def __eq__(self, other: object) -> bool:
        other = other._plain() if isinstance(other, SpooledCompletion) else other
        return self._plain() == other

    def __hash__(self) -> int:
        return hash(self._plain())

    def __reduce__(self) -> tuple[Any, ...]:
        return Completion, (
            self.text,
            self.reasoning,
            self.usage,
            self.finish_reason,
            self.model,
            self.timings,
        )


def completion(spool: Spool, **fields: Any) -> Completion:
    """Return a `Completion` with the spool's text."""
    if spool.filed:
        return SpooledCompletion(spool, **fields)
    return Completion(text=spool.read(), **fields)
