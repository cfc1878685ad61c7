"""`docker model run`: one prompt and one answer, printed as the plugin prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docker_model.testing.command.manage import find, pull
from docker_model.testing.command.process import Canceled, CommandError
from docker_model.testing.command.prompt import rewrite
from docker_model.testing.command.session import (
    BOLD_NEXT,
    ENABLE,
    NOT_RUNNING,
    OK,
    UNAVAILABLE,
    UnavailableError,
    parse_json,
    refuse,
)

if TYPE_CHECKING:
    from docker_model.testing.command import Flags
    from docker_model.testing.command.session import Session

CHAT = "/engines/v1/chat/completions"
LONGEST_LINE = 64 * 1024  # of Go's bufio.Scanner, the line's end included
_NOT_UTF_8 = dict.fromkeys(range(0xDC80, 0xDD00), "\ufffd")


def run(session: Session, flags: Flags) -> None:
    """Do it, in the order of the real one."""
    color = flags.text("color", "no")
    if color not in ("auto", "yes", "no"):
        refuse(f'--color must be one of: auto, yes, no (got "{color}")')
    model, *words = flags.words
    prompt = " ".join(words)
    if not (flags.on("detach") or session.process.device):
        text = session.process.read_stdin().decode("utf-8", "surrogateescape")
        prompt = f"{prompt}\n\n{text}" if prompt else text
    session.need_engine()
    if find(session, model) is None:
        session.process.out(f"Unable to find model '{model}' locally. Pulling from the server.\n")
        pull(session, model)
    if flags.on("detach"):
        _preload(session, model)
    elif prompt:
        _ask(session, model, prompt.translate(_NOT_UTF_8))  # as Go sends what is not UTF-8
    elif session.old:
        # There is no terminal: readline gives up, which old versions took for the end of a chat.
        banner = "Interactive chat mode started. Type '/bye' to exit.\n"
        session.process.out(banner + "> \nChat session ended.\n")
    else:
        refuse("inappropriate ioctl for device")


def _preload(session: Session, model: str) -> None:
    body = {"model": model, "messages": [], "stream": False}
    failed = "Failed to load model: preload failed"
    reply = session.request("POST", CHAT, body, headers={"x-preload-only": "true"})
    if reply.status != OK:
        refuse(f"{failed}: status={reply.status} body={reply.text}")


def _ask(session: Session, model: str, prompt: str) -> None:
    try:
        content = prompt if session.old else rewrite(prompt, session.process.call.cwd)
        Chat(session).run(model, content)
    except UnavailableError:
        refuse(NOT_RUNNING if session.old else f"{NOT_RUNNING}\n{ENABLE}")
    except CommandError as error:
        text = f"Failed to generate a response: {error}"
        if "vLLM binary not found" in text and not session.old:
            step = "docker model reinstall-runner --backend vllm --gpu cuda"
            step = f"It looks like you're trying to use a model for vLLM → {step}"
            text = f"{error}\n{BOLD_NEXT}    {step}"
        refuse(text)
    session.process.out("\n")


class Chat:
    """One prompt and its answer."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._rest = b""
        self._has_begun = session.old
        self._is_done = False
        self._state = ""
        self._usage: dict[str, int] | None = None

    def run(self, model: str, content: Any) -> None:
        """Ask, and print the answer up to its last newline."""
        messages = [{"role": "user", "content": content}]
        body = {"model": model, "messages": messages, "stream": True}
        failed = "error reading response stream: "
        try:
            reply = self._session.request("POST", CHAT, body, take=self._take, cancel=True)
        except Canceled:
            refuse(f"{failed}context canceled")
        if reply.status == UNAVAILABLE:
            raise UnavailableError
        if reply.status != OK:
            refuse(f"error response: status={reply.status} body={reply.text}")
        if reply.close_connection and not self._is_done:
            refuse(f"{failed}unexpected EOF")
        self._take(b"\n")
        if self._usage and not self._session.old:
            keys = ("prompt_tokens", "completion_tokens", "total_tokens")
            text = "\n\nToken usage: {} prompt + {} completion = {} total"
            self._session.process.out(text.format(*(self._usage.get(key, 0) for key in keys)))

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in [*lines, self._rest]:
            if len(line) >= LONGEST_LINE:
                refuse("error reading response stream: bufio.Scanner: token too long")
        for line in lines:
            self._is_done = self._is_done or line.rstrip(b"\r") == b"data: [DONE]"
            text = line.decode("utf-8", "replace")
            if line.startswith(b"data: ") and not self._is_done:
                self._event(text[6:])
            elif line and not self._has_begun and not line.startswith((b":", b"data:")):
                # Before the stream, a line is about the installation of a backend.
                self._session.process.err(text + "\n")
                continue
            self._has_begun = self._has_begun or bool(line)

    def _event(self, text: str) -> None:
        event = parse_json(text, "error parsing stream response")
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
            between = "\n\n" if self._session.old else "\n\n--\n\n"
            before = {"reasoning": between, "content": "\n\n"}.get(self._state, "")
            before += "Thinking:\n" if state == "reasoning" else ""
        self._state = state
        self._session.process.out(before + text)
