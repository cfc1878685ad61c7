"""Input lines for `chat`, on a terminal with completion and a persistent history."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VARIABLE = "DOCKER_MODEL_HISTORY"
_MAX_LINES = 1000  # of the history file when a conversation begins


class TypedLines:
    """Lines of standard input.

    Args:
        words: The words that Tab completes at the start of a line.
        warn: Called with a message if the history cannot be saved.

    Attributes:
        on_terminal: Whether standard input is a terminal.
    """

    def __init__(self, words: Sequence[str], warn: Callable[[str], object]) -> None:
        self.on_terminal = sys.stdin.isatty()
        self._words = words
        self._warn = warn
        self._file: Path | None = None  # the history file
        self._last = ""

    def read(self, prompt: str) -> str:
        """Return the next line. Only a terminal shows the prompt."""
        line = input(prompt if self.on_terminal else "")
        if line.strip() and line != self._last:
            self._save(line)
            self._last = line
        return line

    def prepare(self) -> None:
        """Set up completion and history on a terminal, if Python has readline."""
        # Windows has no readline. Its console has its own history, which is not persistent.
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
        for line in self._load():
            readline.add_history(line)

    def _load(self) -> list[str]:
        """Return the lines of the history file, and shorten the file."""
        try:
            self._file = history_file()
            if self._file is None or not self._file.exists():
                return []
            text = self._file.read_text("utf-8", errors="replace").replace("\0", "")
            lines = [line for line in text.split("\n") if line]
            if len(lines) > _MAX_LINES:
                lines = lines[-_MAX_LINES:]
                self._file.write_text("\n".join([*lines, ""]), "utf-8")
        except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
            self._give_up(error)
            return []
        return lines

    def _save(self, line: str) -> None:
        """Append a line to the file immediately, because a closed window ends the program."""
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
            f"the input history is not saved: {why}\n"
            f"Hint: set {VARIABLE} to a writable file, or to an empty value for no history"
        )


def history_file() -> Path | None:
    """Return the path of the user's history file, or `None` if the history is turned off.

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
        if not state.is_absolute():  # the specification says to ignore a relative path
            state = Path.home() / ".local" / "state"
    return state / "docker-model-llm" / "chat-history"
