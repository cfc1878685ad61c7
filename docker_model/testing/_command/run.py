"""The commands `docker model run`, with one prompt and one answer, and `docker model pull`."""

from __future__ import annotations

import contextlib
import json
import re
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker_model.testing._command.session import (
    NOT_FOUND,
    NOT_RUNNING,
    OK,
    UNAVAILABLE,
    CommandError,
    RunnerReply,
    parse_json,
    refuse,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker_model.testing._command.session import Session

CHAT = "/engines/v1/chat/completions"
KILO = 1000
_IMAGE = re.compile(r"\.(jpe?g|png|webp)$", re.IGNORECASE)
_REFERENCE = re.compile(r"""@["']?([^\s@"']+)["']?""")
_PATH = re.compile(r"""(?:[a-zA-Z]:[/\\]|/|\./)[^\s"']+""")


def run(session: Session, flags: Mapping[str, str], model: str, *words: str) -> None:
    """Run `docker model run MODEL [PROMPT]`, with the steps in the order of the real command."""
    detached = "detach" in flags
    typed = "" if detached else session.process.read_stdin()
    prompt = "\n\n".join(filter(None, (" ".join(words), typed)))
    try:
        session.ask_json("GET", f"/models/{model}", "Failed to inspect model")
    except CommandError as error:
        if error.status != NOT_FOUND:
            raise
        session.process.out(f"Unable to find model '{model}' locally. Pulling from the server.\n")
        pull(session, model)
    if detached:
        body = {"model": model, "messages": [], "stream": False}
        reply = session.request("POST", CHAT, body, preload=True)
        reply.check("Failed to load model: preload failed")
    elif prompt:
        try:
            _answer(session, model, prompt)
        except CommandError as error:
            refuse(f"Failed to generate a response: {error}")
        session.process.out("\n")
    else:
        refuse("inappropriate ioctl for device")


def _answer(session: Session, model: str, prompt: str) -> None:
    content = prompt if session.old else with_files(prompt, session.process.call.cwd)
    messages = [{"role": "user", "content": content}]
    body = {"model": model, "messages": messages, "stream": True}
    printer = _Printer(session)
    reply = RunnerReply(session.process, printer.take, cancel=True)
    session.request("POST", CHAT, body, reply=reply)
    if reply.status == UNAVAILABLE:
        refuse(NOT_RUNNING)
    if reply.status != OK:
        refuse(f"error response: status={reply.status} body={reply.text}")
    if reply.close_connection and not printer.is_done:
        refuse("error reading response stream: unexpected EOF")
    printer.end()


def with_files(prompt: str, directory: str) -> str | list[dict[str, Any]]:
    """Return the content of the CLI's message: it includes text files and extracts images.

    Only paths without blanks are recognized. The tests of the prompt guard have the exact rules.
    """

    def include(match: re.Match[str]) -> str:
        try:
            data = Path(directory, match[1]).read_bytes()
        except (OSError, ValueError):
            return match[0]
        return match[0] if _IMAGE.search(match[1]) else data.decode("utf-8", "replace")

    text = _REFERENCE.sub(include, prompt)
    parts: list[dict[str, Any]] = []
    for name in filter(_IMAGE.search, _PATH.findall(text)):
        try:
            data = b64encode(Path(directory, name).read_bytes()).decode()
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            refuse(f'failed to process images: couldn\'t process image "{name}"')
        text = text.replace(name, "")
        kind = name.rpartition(".")[2].lower().replace("jpg", "jpeg")
        url = f"data:image/{kind};base64,{data}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    text = text.strip()
    return [*parts, *([{"type": "text", "text": text}] if text else [])] if parts else text


class _Printer:
    """Prints the events of a streamed answer."""

    def __init__(self, session: Session) -> None:
        self.is_done = False  # whether the last event was received
        self._process, self._old = session.process, session.old
        self._incomplete = b""
        self._has_begun = session.old
        self._state = ""
        self._usage: dict[str, int] | None = None

    def take(self, data: bytes) -> None:
        """Add a piece of the stream, and print the events that are complete."""
        *lines, self._incomplete = (self._incomplete + data).split(b"\n")
        for line in lines:
            self.is_done = self.is_done or line.rstrip(b"\r") == b"data: [DONE]"
            text = line.decode("utf-8", "replace")
            if line.startswith(b"data: ") and not self.is_done:
                self._event(parse_json(text[6:], "error parsing stream response"))
            elif line and not self._has_begun and not line.startswith((b":", b"data:")):
                # Lines before the stream report the installation of a backend.
                self._process.err(text + "\n")
                continue
            self._has_begun = self._has_begun or bool(line)

    def end(self) -> None:
        """Print the last incomplete line and the token usage."""
        self.take(b"\n")
        if self._usage and not self._old:
            keys = ("prompt_tokens", "completion_tokens", "total_tokens")
            text = "\n\nToken usage: {} prompt + {} completion = {} total"
            self._process.out(text.format(*(self._usage.get(key, 0) for key in keys)))

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
        self._process.out(before + text)


def pull(session: Session, model: str) -> None:
    """Pull a model and print the progress in the format for pipes.

    A signal to `docker` does not cancel a pull.
    """
    body = {"from": model}
    token = session.env.get("HF_TOKEN")
    if token and model.lower().startswith(("hf.co/", "huggingface.co/")):
        body["bearer-token"] = token
    progress = _PullProgress(session)
    reply = RunnerReply(session.process, progress.take)
    session.request("POST", "/models/create", body, reply=reply)
    if reply.close_connection:
        refuse("Failed to pull model: unexpected EOF")
    if reply.status == UNAVAILABLE:
        refuse(f"Failed to pull model: {NOT_RUNNING}")
    reply.check(f"Failed to pull model: pulling {model} failed")
    progress.take(b"\n")
    session.process.out(f"{progress.message}\n")


def size(number: float) -> str:
    """Return a number of bytes with a unit, such as `1.50MB`."""
    units = ["GB", "MB", "kB", "B"]
    while number >= KILO and len(units) > 1:
        number /= KILO
        units.pop()
    return f"{number:.2f}{units[-1]}"


class _PullProgress:
    """Prints the progress of a pull."""

    def __init__(self, session: Session) -> None:
        self.message = ""  # the last line of a successful pull
        self._process = session.process
        self._layers: dict[str, int] = {}
        self._incomplete = b""

    def take(self, data: bytes) -> None:
        """Add a piece of the reply, and print the lines that are complete."""
        *lines, self._incomplete = (self._incomplete + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):  # ignore lines that are not JSON
                self._step(json.loads(line))

    def _step(self, step: dict[str, Any]) -> None:
        message = str(step.get("message", ""))
        match step.get("type"):
            case "progress":
                layer = step["layer"]
                self._layers[layer.get("id", "")] = layer["current"]
                done, total = sum(self._layers.values()), step["total"]
                self._process.out(f"Downloaded {size(done)} of {size(total)}\n")
            case "success":
                self.message = message
            case "error":
                refuse(f"Failed to pull model: {message}")
            case "warning":
                self._process.err(f"Warning: {message}\n")
