"""The subcommand `ask`: one answer, as it comes."""

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
_ALL = 100  # per cent
_ANSWERING = ("first_token", "speed")
_THOUGHT = "the model only thought, and its answer is empty"
_THOUGHT_HINT = "raise --max-tokens or --max-chars, or ask again with less to think about"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The options that bound an answer.

    Attributes:
        max_chars: Where the answer is cut.
        timeout: Seconds for the whole answer.
        sampling: The sampling parameters.
    """

    max_chars: int | None
    timeout: Timeouts
    sampling: dict[str, Any]

    @classmethod
    def of(cls, options: argparse.Namespace) -> Bounds:
        """Read the options.

        Raises:
            InvalidRequestError: If one of them cannot be used.
        """
        check_count("max_chars", options.max_chars, least=0)
        given = {name: getattr(options, name) for name in ("temperature", "seed", "max_tokens")}
        sampling = {name: value for name, value in given.items() if value is not None}
        check_sampling(sampling)
        return cls(options.max_chars or None, Timeouts.of(options.timeout), sampling)


def ask(options: argparse.Namespace, out: Screen) -> int:
    """Run `ask`."""
    with _stream(options, _prompt(options.prompt), out) as stream:
        if options.json:
            completion = _whole(stream)
            out.line(json.dumps(plain(completion), indent=2, ensure_ascii=False))
        else:
            completion = show(stream, out)
    return report(completion)


def waiting(model: str, out: Screen) -> Callable[[Progress], object] | None:
    """Return what shows on a terminal what is waited for, in a line that the answer overwrites."""
    if not out.terminal:
        return None

    def show_progress(progress: Progress) -> None:
        if progress.stage not in _ANSWERING and progress.percent != _ALL:
            percent = "" if progress.percent is None else f" {progress.percent} %"
            out.passing(f"{model}: {progress.status}{percent} …")

    return show_progress


def show(
    stream: TextStream,
    out: Screen,
    keep: Callable[[str], object] = str,
    *,
    markdown: bool = False,
) -> Completion:
    """Print an answer as it comes; on a terminal with the reasoning.

    Args:
        stream: The answer.
        out: Where to.
        keep: Called with each piece of the answer's text.
        markdown: Whether the answer is Markdown to be laid out, where rich is installed.
    """
    thoughts = Wrapped(out)
    shown = out.markdown() if markdown else Wrapped(out)
    thinking = False
    try:
        for event in stream.events():
            if isinstance(event, ReasoningDelta) and out.terminal:
                thoughts.write(event.text, "dim")
                thinking = True
            elif isinstance(event, TextDelta):
                if thinking:
                    thoughts.end()
                    out.write("\n\n")
                shown.write(event.text)
                keep(event.text)
                thinking = False
    finally:  # Ctrl-C leaves what has come
        (thoughts if thinking else shown).end()
    out.end_line()
    assert stream.completion is not None
    return stream.completion


def report(completion: Completion) -> int:
    """Say on standard error what is wrong with an answer, and return the exit code."""
    if not completion.text.strip() and completion.reasoning:
        raise EmptyAnswerError(_THOUGHT, hint=_THOUGHT_HINT)
    if completion.finish_reason == "length":
        screen(sys.stderr).line(
            "(cut off at a limit: --max-chars, --max-tokens, or the model's context)", "dim"
        )
    return 0


def _whole(stream: TextStream) -> Completion:
    for _ in stream.events():
        pass
    assert stream.completion is not None
    return stream.completion


def _stream(options: argparse.Namespace, prompt: str, out: Screen) -> TextStream:
    bounds = Bounds.of(options)
    on_progress = waiting(options.model, out)
    model = DockerModel(
        options.model,
        max_chars=bounds.max_chars,
        timeout=bounds.timeout,
        transport=options.transport,
        base_url=options.base_url,
        on_progress=on_progress,
        **bounds.sampling,
    )
    if options.system is None and not options.image:
        return model.stream(prompt)
    if options.transport == "cli":
        msg = "`docker model run` has no way to honor --system and --image"
        raise UnsupportedParameterError(msg, hint="leave --transport cli out")
    before = [] if options.system is None else [{"role": "system", "content": options.system}]
    images = [_image(name) for name in options.image]
    return reply(options, bounds, prompt, before=before, images=images, on_progress=on_progress)


def reply(
    options: argparse.Namespace,
    bounds: Bounds,
    prompt: str,
    *,
    before: Sequence[Mapping[str, Any]],
    images: Sequence[str] = (),
    on_progress: Callable[[Progress], object] | None = None,
) -> TextStream:
    """Return the answer to a prompt over HTTP, which alone has roles and images.

    Args:
        options: Name the model and the runner.
        bounds: Bound the answer.
        prompt: The prompt.
        before: The messages before the prompt.
        images: The addresses of images that belong to it.
        on_progress: Called with the stages of the call.
    """
    client = Client(base_url=options.base_url, timeout=bounds.timeout, on_progress=on_progress)
    backend = HttpBackend(client, bounds.sampling, tuple(before), tuple(images))
    return Engine(backend, options.model, (), bounds.max_chars, bounds.timeout).stream(prompt, None)


def _image(name: str) -> str:
    """Return a file as a data URL; a URL stays as it is."""
    if name.startswith(("http://", "https://", "data:")):
        return name
    kind = mimetypes.guess_type(name)[0] or ""
    if not kind.startswith("image/"):
        msg = f"{name!r} has no name of an image"
        raise InvalidRequestError(msg, hint="such as photo.png or photo.jpg")
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        msg = f"the image {name!r} cannot be read: {error.strerror}"
        raise InvalidRequestError(msg, hint="check its name, and whether you may read it") from None
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _prompt(words: Sequence[str]) -> str:
    """Return the prompt of the words given, with standard input where `-` stands."""
    if not words:
        return _standard_input()
    if STDIN not in words:
        return " ".join(words)
    place = list(words).index(STDIN)
    parts = (" ".join(words[:place]), _standard_input(), " ".join(words[place + 1 :]))
    return "\n\n".join(filter(None, parts))


def _standard_input() -> str:
    if sys.stdin.isatty():
        screen(sys.stderr).line("Prompt, ended by Ctrl-D:", "dim")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        msg = "the prompt on standard input is not UTF-8"
        raise InvalidRequestError(msg, hint="convert it, as by `iconv -t UTF-8`") from None
