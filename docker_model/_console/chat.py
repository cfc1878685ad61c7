"""The subcommand `chat`, a conversation in the terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker_model._console.ask import Limits, progress_line, reply, report, show
from docker_model._console.screen import screen
from docker_model._console.typed_lines import TypedLines
from docker_model.errors import DockerModelError, InvalidRequestError
from docker_model.http import Client

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from docker_model._console.screen import Screen

_HELP = """\
/system TEXT   set the system message; without TEXT, show it
/model NAME    continue with another model
/clear         start a new conversation
/tokens        show the number of tokens and the context size
/save FILE     save the conversation to a JSON file
/help          show this list
/bye           exit; Ctrl-D does the same
A \\ at the end of a line continues it on the next line; \"\"\" begins and ends several lines."""
_QUOTES = '"""'


def chat(options: argparse.Namespace, out: Screen) -> int:
    """Run `chat`."""
    return Chat(options, out).run()


class Chat:
    """A conversation.

    Args:
        options: The model, the runner, and the limits of an answer.
        out: The screen for the answers.
    """

    def __init__(self, options: argparse.Namespace, out: Screen) -> None:
        self._options = options
        self._out = out
        self._errors = screen(sys.stderr)
        self._messages: list[dict[str, Any]] = []
        self._commands: dict[str, Callable[[str], object]] = {
            "/system": self._system,
            "/model": self._model,
            "/clear": self._clear,
            "/tokens": self._tokens,
            "/save": self._save,
            "/help": lambda _: out.line(_HELP),
        }
        words = (*self._commands, "/bye")
        self._typed = TypedLines(words, lambda text: self._errors.paragraph(text, "yellow"))

    def run(self) -> int:
        """Read lines and answer them until the end of input; return the exit code."""
        self._out.show_temporarily(f"{self._options.model} …")
        self._model(self._options.model)  # raises now if there is no such model
        if self._typed.on_terminal:
            self._typed.prepare()
            self._out.line("/help lists the commands, Ctrl-D exits", "dim")
        while True:
            try:
                text = self._read()
            except KeyboardInterrupt:
                self._out.line()
                continue  # and drop the unfinished line
            except EOFError:
                self._out.end_line()
                return 0
            if text.strip() == "/bye":
                return 0
            try:
                self._handle(text)
            except DockerModelError as error:
                self._out.end_line()
                self._errors.paragraph(str(error), "red")
            except KeyboardInterrupt:
                self._out.line("(interrupted)", "dim")

    def _handle(self, text: str) -> None:
        word, _, argument = text.strip().partition(" ")
        if word in self._commands:
            self._commands[word](argument.strip())
        elif word.startswith("/"):
            msg = f"there is no command {word}"
            raise InvalidRequestError(msg, hint="/help lists the commands")
        elif text.strip():
            self._answer(text)

    def _answer(self, text: str) -> None:
        """Print the answer. Add it to the conversation, even if it was interrupted."""
        history = self._history()
        limits = Limits.of(self._options)
        on_progress = progress_line(self._options.model, self._out)
        stream = reply(self._options, limits, text, before=history, on_progress=on_progress)
        pieces: list[str] = []
        try:
            with stream:
                completion = show(stream, self._out, pieces.append, markdown=True)
        except KeyboardInterrupt:
            self._out.line()
            self._out.line("(interrupted)", "dim")
        else:
            report(completion)
        self._messages.append({"role": "user", "content": text})
        self._messages.append({"role": "assistant", "content": "".join(pieces)})

    def _history(self) -> list[dict[str, Any]]:
        text = self._options.system
        system = [] if text is None else [{"role": "system", "content": text}]
        return [*system, *self._messages]

    def _read(self) -> str:
        line = self._typed.read("> ")
        lines = []
        if line.startswith(_QUOTES):
            line = line.removeprefix(_QUOTES)
            while _QUOTES not in line:
                lines.append(line)
                line = self._typed.read(". ")
            lines.append(line.partition(_QUOTES)[0])
            return "\n".join(lines)
        while line.endswith("\\"):
            lines.append(line.removesuffix("\\"))
            line = self._typed.read(". ")
        return "\n".join([*lines, line])

    def _system(self, text: str) -> None:
        if text:
            self._options.system = text
        self._out.line(self._options.system or "(none)", "dim")

    def _model(self, name: str) -> None:
        if name:
            self._client().inspect_model(name)  # raises if there is no such model
            self._options.model = name
        self._out.line(self._options.model, "dim")

    def _clear(self, _: str) -> None:
        self._messages.clear()
        self._out.line("(a new conversation)", "dim")

    def _tokens(self, _: str) -> None:
        client, model = self._client(), self._options.model
        messages = self._history()
        count = client.count_tokens(model, messages) if messages else 0
        size = client.inspect_model(model).context_size
        self._out.line(f"{count} tokens{f' of {size}' if size else ''}", "dim")

    def _save(self, name: str) -> None:
        if not name:
            msg = "/save needs the name of a file"
            raise InvalidRequestError(msg, hint="write, for example, /save chat.json")
        content = {"model": self._options.model, "messages": self._history()}
        try:
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            Path(name).write_text(text, encoding="utf-8")
        except OSError as error:
            msg = f"{name!r} cannot be written: {error.strerror}"
            raise InvalidRequestError(msg, hint="choose another name or directory") from None
        self._out.line(f"saved to {name}", "dim")

    def _client(self) -> Client:
        return Client(base_url=self._options.base_url)
