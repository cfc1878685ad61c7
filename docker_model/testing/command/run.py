"""The command `docker model run`, with one prompt and one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docker_model.testing.command.manage import pull
from docker_model.testing.command.process import CommandError
from docker_model.testing.command.prompt import rewrite
from docker_model.testing.command.session import (
    NOT_RUNNING,
    OK,
    UNAVAILABLE,
    NotFoundError,
    parse_json,
    refuse,
)

if TYPE_CHECKING:
    from docker_model.testing.command import Flags
    from docker_model.testing.command.session import Session

CHAT = "/engines/v1/chat/completions"
MAX_LINE = 64 * 1024  # bytes of a line in Go's bufio.Scanner, including its end
_NOT_UTF_8 = dict.fromkeys(range(0xDC80, 0xDD00), "\ufffd")


def run(session: Session, flags: Flags) -> None:
    """Run `docker model run MODEL [PROMPT]`, with the steps in the order of the real command."""
    model, *words = flags.words
    prompt = " ".join(words)
    if not flags.on("detach"):
        text = session.process.read_stdin().decode("utf-8", "surrogateescape")
        prompt = "\n\n".join(filter(None, (prompt, text)))
    try:
        text = session.ask("GET", f"/models/{model}", "Failed to inspect model")
        parse_json(text, "Failed to inspect model")
    except NotFoundError:
        session.process.out(f"Unable to find model '{model}' locally. Pulling from the server.\n")
        pull(session, model)
    if flags.on("detach"):
        body = {"model": model, "messages": [], "stream": False}
        reply = session.request("POST", CHAT, body, preload=True)
        reply.check("Failed to load model: preload failed")
    elif prompt:
        try:
            _answer(session, model, prompt.translate(_NOT_UTF_8))  # Go replaces invalid bytes
        except CommandError as error:
            refuse(f"Failed to generate a response: {error}")
        session.process.out("\n")
    else:
        refuse("inappropriate ioctl for device")


def _answer(session: Session, model: str, prompt: str) -> None:
    content = prompt if session.old else rewrite(prompt, session.process.call.cwd)
    messages = [{"role": "user", "content": content}]
    body = {"model": model, "messages": messages, "stream": True}
    printer = _Printer(session)
    reply = session.request("POST", CHAT, body, take=printer.take, cancel=True)
    if reply.status == UNAVAILABLE:
        refuse(NOT_RUNNING)
    if reply.status != OK:
        refuse(f"error response: status={reply.status} body={reply.text}")
    if reply.close_connection and not printer.is_done:
        refuse("error reading response stream: unexpected EOF")
    printer.end()


class _Printer:
    """Prints the events of a streamed answer.

    Attributes:
        is_done: Whether the last event was received.
    """

    def __init__(self, session: Session) -> None:
        self.is_done = False
        self._out, self._old = session.process.out, session.old
        self._err = session.process.err
        self._incomplete = b""
        self._has_begun = session.old
        self._state = ""
        self._usage: dict[str, int] | None = None

    def take(self, data: bytes) -> None:
        """Add a piece of the stream, and print the events that are complete."""
        *lines, self._incomplete = (self._incomplete + data).split(b"\n")
        for line in [*lines, self._incomplete]:
            if len(line) >= MAX_LINE:
                refuse("error reading response stream: bufio.Scanner: token too long")
        for line in lines:
            self.is_done = self.is_done or line.rstrip(b"\r") == b"data: [DONE]"
            text = line.decode("utf-8", "replace")
            if line.startswith(b"data: ") and not self.is_done:
                self._event(parse_json(text[6:], "error parsing stream response"))
            elif line and not self._has_begun and not line.startswith((b":", b"data:")):
                # Lines before the stream report the installation of a backend.
                self._err(text + "\n")
                continue
            self._has_begun = self._has_begun or bool(line)

    def end(self) -> None:
        """Print the last incomplete line and the token usage."""
        self.take(b"\n")
        if self._usage and not self._old:
            keys = ("prompt_tokens", "completion_tokens", "total_tokens")
            text = "\n\nToken usage: {} prompt + {} completion = {} total"
            self._out(text.format(*(self._usage.get(key, 0) for key in keys)))

    def _event(self, event: dict[str, Any]) -> None:
        self._usage = event.get("usage") or self._usage
        for choice in (event.get("choices") or ())[:1]:
            delta = choice.get("delta") or {}
            self._print("reasoning", delta.get("reasoning_content") or "")
            self._print("content", delta.get("content") or "")

    def _print(self, state: str, text: str) -> None:
        if not text:
            return
        before = ""
        if state != self._state:
            between = "\n\n" if self._old else "\n\n--\n\n"
            before = {"reasoning": between, "content": "\n\n"}.get(self._state, "")
            before += "Thinking:\n" if state == "reasoning" else ""
        self._state = state
        self._out(before + text)
