"""`docker model run`: one prompt and one answer, printed as the plugin prints it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from docker_model.testing.command.cli import (
    CutError,
    QueryError,
    Unavailable,
    json_error,
    next_steps,
    not_running,
    refuse_arguments,
)
from docker_model.testing.command.manage import is_there, pull
from docker_model.testing.command.process import Canceled, CommandError, play
from docker_model.testing.command.prompt import PromptError, rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker_model.testing.command.cli import Flags, HttpReply, Session

LINE = "run MODEL [PROMPT]"
FLAGS = "debug color= d:detach openaiurl= websearch"
OLD_FLAGS = "debug backend= ignore-runtime-memory-check"
CHAT = "/engines/v1/chat/completions"
OK = 200
LONGEST_LINE = 64 * 1024  # of Go's bufio.Scanner, the line's end included
MAX_TOOL_ROUNDS = 10
MARK = b": simulated "
_NOT_UTF_8 = dict.fromkeys(range(0xDC80, 0xDD00), "\ufffd")


class ChatError(Exception):
    """The answer ended too early; the text is the CLI's own."""


def run(session: Session, flags: Flags) -> None:
    """Do it, in the order of the real one.

    Raises:
        CommandError: If it fails.
    """
    color = flags.text("color", "no")
    if not flags.words:
        need = "at least 1 argument." if session.old else "at least 1 argument(s)."
        refuse_arguments("run", LINE, need)
    if color not in ("auto", "yes", "no"):
        msg = f'--color must be one of: auto, yes, no (got "{color}")'
        raise CommandError(msg)
    model, *words = flags.words
    prompt = " ".join(words)
    if not (flags.on("detach") or session.process.device):
        text = session.process.read_stdin().decode("utf-8", "surrogateescape")
        prompt = f"{prompt}\n\n{text}" if prompt else text
    if flags.on("debug"):
        shown = f" with prompt {prompt}" if prompt else ""
        session.process.out(f"Running model {model}{shown}\n")
    if flags.text("openaiurl"):
        if flags.on("detach"):
            msg = "--detach flag cannot be used with --openaiurl flag"
            raise CommandError(msg)
        session.redirect(flags.text("openaiurl").rstrip("/"))
        _ask(session, "/chat/completions", model, prompt, rewritten=False)
        return
    session.need_engine()
    if not is_there(session, model):
        session.process.out(f"Unable to find model '{model}' locally. Pulling from the server.\n")
        pull(session, model)
    if flags.on("detach"):
        _preload(session, model)
        if flags.on("debug"):
            session.process.out(f"Model {model} loaded successfully\n")
        return
    _ask(session, CHAT, model, prompt, rewritten=not session.old)


def _ask(session: Session, path: str, model: str, prompt: str, *, rewritten: bool) -> None:
    if not prompt:
        _interactive(session)
        return
    content: Any = prompt.translate(_NOT_UTF_8)  # as Go sends bytes that are not UTF-8
    try:
        if rewritten:
            content = rewrite(content, session.process.call.cwd)
        Chat(session).run(path, model, content)
    except Unavailable:
        raise not_running(hint=not session.old) from None
    except (ChatError, QueryError, PromptError) as error:
        text = str(error)
        if "vLLM binary not found" in text and not session.old:
            step = "docker model reinstall-runner --backend vllm --gpu cuda"
            step = f"It looks like you're trying to use a model for vLLM → {step}"
            msg = f"{text}\n{next_steps(step)}"
        else:
            msg = f"Failed to generate a response: {text}"
        raise CommandError(msg) from None
    session.process.out("\n")


def _interactive(session: Session) -> None:
    # There is no terminal: readline gives up, which old versions took for the end of a chat.
    if not session.old:
        msg = "inappropriate ioctl for device"
        raise CommandError(msg)
    banner = "Interactive chat mode started. Type '/bye' to exit.\n"
    session.process.out(banner + "> \nChat session ended.\n")


def _preload(session: Session, model: str) -> None:
    body = {"model": model, "messages": [], "stream": False}
    headers = {"X-Preload-Only": "true"}
    try:
        reply = session.request("POST", CHAT, body, headers=headers, accept_503=True)
    except QueryError as error:
        msg = f"Failed to load model: {error}"
        raise CommandError(msg) from None
    text = reply.read()
    reply.close()
    if reply.status != OK:
        msg = f"Failed to load model: preload failed: status={reply.status} body={text}"
        raise CommandError(msg)


class Chat:
    """One prompt and its answer."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._process = session.process
        self._state = ""
        self._usage: dict[str, int] | None = None
        self._finish = ""
        self._calls: dict[int, dict[str, Any]] = {}

    def run(self, path: str, model: str, content: Any) -> None:
        """Ask, and print the answer up to its last newline.

        Args:
            path: `/engines/v1/chat/completions`, or what `--openaiurl` makes of it.
            model: The model's name.
            content: The prompt: text, or a list of parts when there are images.

        Raises:
            ChatError: If the answer ends too early.
            QueryError: If the request did not get through.
            Unavailable: If the reply is HTTP 503.
        """
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        for rounds in range(1, MAX_TOOL_ROUNDS + 1):
            self._state, self._finish, self._calls = "", "", {}
            body = {"model": model, "messages": messages, "stream": True}
            reply = self._session.request("POST", path, body, cancel=True)
            if reply.status != OK:
                msg = f"error response: status={reply.status} body={reply.read()}"
                raise ChatError(msg)
            self._read(reply)
            if self._finish != "tool_calls" or not self._calls:
                break
            if rounds == MAX_TOOL_ROUNDS:
                msg = f"tool call loop exceeded {MAX_TOOL_ROUNDS} iterations"
                raise ChatError(msg)
            messages += self._tool_messages()
        if self._usage and not self._session.old:
            keys = ("prompt_tokens", "completion_tokens", "total_tokens")
            numbers = [self._usage.get(key, 0) for key in keys]
            text = "\n\nToken usage: {} prompt + {} completion = {} total"
            self._process.out(text.format(*numbers))

    def _tool_messages(self) -> list[dict[str, Any]]:
        # Without --websearch the plugin knows no tool, and the model hears so.
        calls = [self._calls[index] for index in sorted(self._calls)]
        answers = [
            {
                "role": "tool",
                "content": f"unknown tool: {call['function']['name']}",
                "tool_call_id": call["id"],
            }
            for call in calls
        ]
        return [{"role": "assistant", "tool_calls": calls}, *answers]

    def _read(self, reply: HttpReply) -> None:
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
                elif line and not started and not line.startswith((b":", b"{")):
                    # Before the stream, a line is about the installation of a backend.
                    self._process.err(line.decode("utf-8", "replace") + "\n")
                    continue
                started = started or bool(line)
            if whole and not started:
                msg = "error parsing response: unexpected end of JSON input"
                raise ChatError(msg)
        except CutError:
            msg = "error reading response stream: unexpected EOF"
            raise ChatError(msg) from None
        except Canceled:
            msg = "error reading response stream: context canceled"
            raise ChatError(msg) from None
        finally:
            reply.close()

    def _whole(self, text: str) -> None:
        try:
            reply = json.loads(text)
        except ValueError as error:
            msg = f"error parsing response: {json_error(text, error)}"
            raise ChatError(msg) from None
        for choice in reply.get("choices", ())[:1]:
            self._process.out(choice["message"].get("content") or "")
        self._usage = reply.get("usage") or self._usage

    def _event(self, text: str) -> None:
        try:
            event = json.loads(text)
        except ValueError as error:
            msg = f"error parsing stream response: {json_error(text, error)}"
            raise ChatError(msg) from None
        self._usage = event.get("usage") or self._usage
        for choice in (event.get("choices") or ())[:1]:
            self._finish = choice.get("finish_reason") or self._finish
            delta = choice.get("delta") or {}
            if not self._session.old:
                self._gather(delta.get("tool_calls") or ())
            self._print("reasoning", delta.get("reasoning_content") or "")
            self._print("content", delta.get("content") or "")

    def _gather(self, parts: Any) -> None:
        for part in parts:
            index = part.get("index", 0)
            empty = {"id": "", "type": "function", "index": index}
            call = self._calls.setdefault(
                index, {**empty, "function": {"name": "", "arguments": ""}}
            )
            call["id"] = part.get("id") or call["id"]
            function = part.get("function") or {}
            call["function"]["name"] = function.get("name") or call["function"]["name"]
            call["function"]["arguments"] += function.get("arguments") or ""

    def _print(self, state: str, text: str) -> None:
        if not text:
            return
        before = ""
        if state != self._state:
            after_reasoning = "\n\n" if self._session.old else "\n\n--\n\n"
            before = {"reasoning": after_reasoning, "content": "\n\n"}.get(self._state, "")
            before += "Thinking:\n" if state == "reasoning" else ""
        self._state = state
        self._process.out(before + text)


def _lines(reply: HttpReply) -> Iterator[bytes]:
    """Yield the body's lines without their ends, as they arrive."""
    buffer = b""
    for data in reply.chunks():
        buffer += data
        *lines, buffer = buffer.split(b"\n")
        for line in [*lines, *([buffer] if len(buffer) >= LONGEST_LINE else [])]:
            if len(line) >= LONGEST_LINE:
                msg = "error reading response stream: bufio.Scanner: token too long"
                raise ChatError(msg)
            yield line.removesuffix(b"\r")
    if buffer:
        yield buffer.rstrip(b"\r")
