"""What is typed for `chat`: on a terminal with completion, and a history that outlives it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VARIABLE = "DOCKER_MODEL_HISTORY"
_MOST = 1000  # lines that are kept when a conversation begins


class TypedLines:
    """Lines of standard input.

    Args:
        words: What Tab completes at the start of a line.
        warn: Called with a text if the history cannot be kept.

    Attributes:
        on_terminal: Whether standard input is a terminal.
    """

    def __init__(self, words: Sequence[str], warn: Callable[[str], object]) -> None:
        self.on_terminal = sys.stdin.isatty()
        self._words = words
        self._warn = warn
        self._file: Path | None = None  # which keeps the history
        self._last = ""

    def read(self, prompt: str) -> str:
        """Return the next line; the prompt is shown on a terminal alone."""
        line = input(prompt if self.on_terminal else "")
        if line.strip() and line != self._last:
            self._keep(line)
            self._last = line
        return line

    def prepare(self) -> None:
        """Give a terminal completion and a history, where Python has readline."""
        # Windows has no readline: its console has a history of its own, which is not kept.
        if sys.platform == "win32" or not self.on_terminal:
            return
        try:
            import readline  # noqa: PLC0415  only a terminal needs it
        except ModuleNotFoundError:
            return

        def complete(text: str, state: int) -> str | None:
            completions = [f"{word} " for word in self._words if word.startswith(text)]
            return completions[state] if text.startswith("/") and state < len(completions) else None

        readline.set_completer_delims(" ")
        readline.set_completer(complete)
        libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
        for line in self._earlier():
            readline.add_history(line)

    def _earlier(self) -> list[str]:
        """Return the lines of earlier conversations, and shorten their file."""
        try:
            self._file = history_file()
            if self._file is None or not self._file.exists():
                return []
            text = self._file.read_text("utf-8", errors="replace").replace("\0", "")
            lines = [line for line in text.split("\n") if line]
            if len(lines) > _MOST:
                lines = lines[-_MOST:]
                self._file.write_text("\n".join([*lines, ""]), "utf-8")
        except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
            self._give_up(error)
            return []
        return lines

    def _keep(self, line: str) -> None:
        """Add a line to the file at once, as a closed window ends the program."""
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            with os.fdopen(os.open(self._file, flags, 0o600), "ab") as file:
                file.write(f"{line}\n".encode("utf-8", "replace"))
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._file = None
        why = getattr(error, "strerror", None) or error
        self._warn(
            f"what you type is not kept for the next conversation: {why}\n"
            f"Hint: set {VARIABLE} to a file that can be written, or to nothing to keep none"
        )


def history_file() -> Path | None:
    """Return the file of the user's that keeps what was typed; `None` if none is wanted.

    Raises:
        RuntimeError: If the user has no home directory.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named).expanduser() if named else None
    if sys.platform == "darwin":
        state = Path.home() / "Library" / "Application Support"
    else:
        state = Path(os.environ.get("XDG_STATE_HOME", ""))
        if not state.is_absolute():  # then it is to be ignored, its specification says
            state = Path.home() / ".local" / "state"
    return state / "docker-model-llm" / "chat-history"
