"""`docker model run`: one prompt and one answer, printed as the plugin prints it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from docker_model.testing.command.manage import is_there, need_arguments, pull, refuse
from docker_model.testing.command.process import Canceled, CommandError, play
from docker_model.testing.command.prompt import rewrite
from docker_model.testing.command.session import (
    BOLD_NEXT,
    ENABLE,
    NOT_RUNNING,
    OK,
    UNAVAILABLE,
    CutError,
    QueryError,
    UnavailableError,
    parse_json,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from docker_model.testing.command import Flags
    from docker_model.testing.command.session import Reply, Session

CHAT = "/engines/v1/chat/completions"
LONGEST_LINE = 64 * 1024  # of Go's bufio.Scanner, the line's end included
MARK = b": simulated "
_NOT_UTF_8 = dict.fromkeys(range(0xDC80, 0xDD00), "\ufffd")


def run(session: Session, flags: Flags) -> None:
    """Do it, in the order of the real one."""
    need_arguments(session, len(flags.words), "at least ", "run MODEL [PROMPT]", exact=False)
    color = flags.text("color", "no")
    if color not in ("auto", "yes", "no"):
        refuse(f'--color must be one of: auto, yes, no (got "{color}")')
    model, *words = flags.words
    prompt = " ".join(words)
    if not (flags.on("detach") or session.process.device):
        text = session.process.read_stdin().decode("utf-8", "surrogateescape")
        prompt = f"{prompt}\n\n{text}" if prompt else text
    session.need_engine()
    if is_there(session, model) is None:
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


def _preload(session: Session, model: str) -> None:
    body = {"model": model, "messages": [], "stream": False}
    try:
        reply = session.request("POST", CHAT, body, headers={"X-Preload-Only": "true"})
    except QueryError as error:
        refuse(f"Failed to load model: {error}")
    text = reply.read()
    if reply.status != OK:
        refuse(f"Failed to load model: preload failed: status={reply.status} body={text}")


class Chat:
    """One prompt and its answer."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._process = session.process
        self._state = ""
        self._usage: dict[str, int] | None = None

    def run(self, model: str, content: Any) -> None:
        """Ask, and print the answer up to its last newline."""
        messages = [{"role": "user", "content": content}]
        body = {"model": model, "messages": messages, "stream": True}
        reply = self._session.request("POST", CHAT, body, cancel=True)
        if reply.status != OK:
            text = reply.read()
            if reply.status == UNAVAILABLE:
                raise UnavailableError
            refuse(f"error response: status={reply.status} body={text}")
        self._read(reply)
        if self._usage and not self._session.old:
            keys = ("prompt_tokens", "completion_tokens", "total_tokens")
            text = "\n\nToken usage: {} prompt + {} completion = {} total"
            self._process.out(text.format(*(self._usage.get(key, 0) for key in keys)))

    def _read(self, reply: Reply) -> None:
        failed = "error reading response stream: "
        lines = _lines(reply)
        whole = not (reply.content_type.startswith("text/event-stream") or self._session.old)
        started = self._session.old
        try:
            for line in lines:
                if line == b"data: [DONE]":
                    return
                if whole and not started and line.startswith(b"{"):
                    self._whole(b"\n".join([line, *lines]).decode("utf-8", "replace"))
                    return
                if line.startswith(b"data: "):
                    self._event(line[6:].decode("utf-8", "replace"))
                elif line.startswith(MARK):
                    play(json.loads(line[len(MARK) :]), self._process)
                elif line and not started and not line.startswith((b":", b"{", b"data:")):
                    # Before the stream, a line is about the installation of a backend.
                    self._process.err(line.decode("utf-8", "replace") + "\n")
                    continue
                started = started or bool(line)
            if whole and not started:
                refuse("error parsing response: unexpected end of JSON input")
        except CutError:
            refuse(f"{failed}unexpected EOF")
        except Canceled:
            refuse(f"{failed}context canceled")
        finally:
            lines.close()

    def _whole(self, text: str) -> None:
        reply = parse_json(text, "error parsing response")
        for choice in reply.get("choices", ())[:1]:
            self._process.out(choice["message"].get("content") or "")
        self._usage = reply.get("usage") or self._usage

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
        self._process.out(before + text)


def _lines(reply: Reply) -> Generator[bytes, None, None]:
    """Yield the body's lines without their ends, as they arrive."""
    buffer = b""
    for data in reply.chunks():
        *lines, buffer = (buffer + data).split(b"\n")
        for line in [*lines, *([buffer] if len(buffer) >= LONGEST_LINE else [])]:
            if len(line) >= LONGEST_LINE:
                refuse("error reading response stream: bufio.Scanner: token too long")
            yield line.removesuffix(b"\r")
    if buffer:
        yield buffer.rstrip(b"\r")
