"""The subcommand `ask`, which prints one answer while it is generated."""

from __future__ import annotations

import base64
import json
import mimetypes
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker_model._console.models import plain
from docker_model._console.screen import Wrapped, screen
from docker_model._engine import Engine, HttpBackend
from docker_model.client import DockerModel
from docker_model.errors import (
    EmptyAnswerError,
    InvalidRequestError,
    UnsupportedParameterError,
)
from docker_model.http import Client
from docker_model.options import Timeouts, check_count, check_sampling
from docker_model.types import Completion, ReasoningDelta, TextDelta

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from docker_model._console.screen import Screen
    from docker_model.streams import TextStream
    from docker_model.types import Progress

STDIN = "-"
_COMPLETE = 100  # percent
_ANSWERING = ("first_token", "speed")
_ONLY_REASONING = "the model returned only reasoning, and its answer is empty"
_ONLY_REASONING_HINT = "raise --max-tokens or --max-chars, or simplify the prompt"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits and sampling parameters of an answer.

    Attributes:
        max_chars: The most characters of an answer.
        timeout: The time limit of the whole answer.
        sampling: The sampling parameters.
    """

    max_chars: int | None
    timeout: Timeouts
    sampling: dict[str, Any]

    @classmethod
    def of(cls, options: argparse.Namespace) -> Limits:
        """Read the limits from the command line options.

        Raises:
            InvalidRequestError: If an option has an invalid value.
        """
        check_count("max_chars", options.max_chars, least=0)
        sampling = {
            name: getattr(options, name)
            for name in ("temperature", "seed", "max_tokens")
            if getattr(options, name) is not None
        }
        check_sampling(sampling)
        return cls(options.max_chars or None, Timeouts.of(options.timeout), sampling)


def ask(options: argparse.Namespace, out: Screen) -> int:
    """Run `ask`."""
    with _stream(options, _prompt(options.prompt), out) as stream:
        if options.json:
            completion = _read_all(stream)
            out.line(json.dumps(plain(completion), indent=2, ensure_ascii=False))
        else:
            completion = show(stream, out)
    return report(completion)


def progress_line(model: str, out: Screen) -> Callable[[Progress], object] | None:
    """Return an `on_progress` that shows steps in a temporary line; `None` without a terminal."""
    if not out.terminal:
        return None

    def show_progress(progress: Progress) -> None:
        if progress.stage not in _ANSWERING and progress.percent != _COMPLETE:
            percent = "" if progress.percent is None else f" {progress.percent} %"
            out.show_temporarily(f"{model}: {progress.status}{percent} …")

    return show_progress


def show(
    stream: TextStream,
    out: Screen,
    keep: Callable[[str], object] = lambda _text: None,
    *,
    markdown: bool = False,
) -> Completion:
    """Print an answer while it is generated. A terminal also shows the reasoning.

    Args:
        stream: The answer.
        out: The screen to write to.
        keep: Called with each piece of the answer's text.
        markdown: Whether to render the answer as Markdown, if rich is installed.
    """
    reasoning = Wrapped(out)
    answer = out.markdown() if markdown else Wrapped(out)
    is_reasoning = False
    try:
        for event in stream.events():
            if isinstance(event, ReasoningDelta) and out.terminal:
                reasoning.write(event.text, "dim")
                is_reasoning = True
            elif isinstance(event, TextDelta):
                if is_reasoning:
                    reasoning.end()
                    out.write("\n\n")
                answer.write(event.text)
                keep(event.text)
                is_reasoning = False
    finally:  # after Ctrl-C too, so that the received text is visible
        (reasoning if is_reasoning else answer).end()
    out.end_line()
    assert stream.completion is not None
    return stream.completion


def report(completion: Completion) -> int:
    """Report a truncated answer on standard error, and return the exit code.

    Raises:
        EmptyAnswerError: If the model returned only reasoning.
    """
    if not completion.text.strip() and completion.reasoning:
        raise EmptyAnswerError(_ONLY_REASONING, hint=_ONLY_REASONING_HINT)
    if completion.finish_reason == "length":
        screen(sys.stderr).line(
            "(cut off at a limit: --max-chars, --max-tokens, or the model's context)", "dim"
        )
    return 0


def _read_all(stream: TextStream) -> Completion:
    for _ in stream.events():
        pass
    assert stream.completion is not None
    return stream.completion


def _stream(options: argparse.Namespace, prompt: str, out: Screen) -> TextStream:
    limits = Limits.of(options)
    on_progress = progress_line(options.model, out)
    model = DockerModel(
        options.model,
        max_chars=limits.max_chars,
        timeout=limits.timeout,
        transport=options.transport,
        base_url=options.base_url,
        on_progress=on_progress,
        **limits.sampling,
    )
    if options.system is None and not options.image:
        return model.stream(prompt)
    if options.transport == "cli":
        msg = "`docker model run` does not support --system and --image"
        raise UnsupportedParameterError(msg, hint="remove --transport cli")
    messages = [] if options.system is None else [{"role": "system", "content": options.system}]
    images = [_image(name) for name in options.image]
    return reply(options, limits, prompt, before=messages, images=images, on_progress=on_progress)


def reply(
    options: argparse.Namespace,
    limits: Limits,
    prompt: str,
    *,
    before: Sequence[Mapping[str, Any]],
    images: Sequence[str] = (),
    on_progress: Callable[[Progress], object] | None = None,
) -> TextStream:
    """Return the answer to a prompt over HTTP. Only HTTP supports roles and images.

    Args:
        options: The options with the model and the runner.
        limits: The limits of the answer.
        prompt: The prompt.
        before: The messages before the prompt.
        images: The URLs of the prompt's images.
        on_progress: Called with the stages of the call.
    """
    client = Client(base_url=options.base_url, timeout=limits.timeout, on_progress=on_progress)
    backend = HttpBackend(client, limits.sampling, tuple(before), tuple(images))
    return Engine(backend, options.model, (), limits.max_chars, limits.timeout).stream(prompt, None)


def _image(name: str) -> str:
    """Return the data URL of an image file. Return a URL unchanged."""
    if name.startswith(("http://", "https://", "data:")):
        return name
    kind = mimetypes.guess_type(name)[0] or ""
    if not kind.startswith("image/"):
        msg = f"{name!r} does not have the extension of an image file"
        raise InvalidRequestError(msg, hint="use a name such as photo.png or photo.jpg")
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        msg = f"the image {name!r} cannot be read: {error.strerror}"
        raise InvalidRequestError(msg, hint="check its name and permissions") from None
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _prompt(words: Sequence[str]) -> str:
    """Return the prompt from the words, with standard input in place of `-`."""
    if not words:
        return _standard_input()
    if STDIN not in words:
        return " ".join(words)
    index = list(words).index(STDIN)
    parts = (" ".join(words[:index]), _standard_input(), " ".join(words[index + 1 :]))
    return "\n\n".join(filter(None, parts))


def _standard_input() -> str:
    if sys.stdin.isatty():
        screen(sys.stderr).line("Enter the prompt, then press Ctrl-D:", "dim")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        msg = "the prompt on standard input is not UTF-8"
        raise InvalidRequestError(msg, hint="convert it, such as with `iconv -t UTF-8`") from None
