"""Helpers that run an `OutputParser` and summarize its parts."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from docker_model._docker_cli.output_parser import SEPARATOR, OutputParser, Part
from docker_model.types import ReasoningDelta, TextDelta, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MODEL = "ai/smollm2"
NOTICE = f"Unable to find model '{MODEL}' locally. Pulling from the server."
STORE_WARNING = "Warning: unable to open context store: mkdir: read-only file system"
USAGE_LINE = "\n\nToken usage: 10 prompt + 5 completion = 15 total"


def joined(parts: Iterable[Part]) -> list[Part]:
    """Join adjacent deltas of the same kind."""
    out: list[Part] = []
    for kind, group in itertools.groupby(parts, type):
        if kind in (TextDelta, ReasoningDelta):
            out.append(kind("".join(part.text for part in group)))
        else:
            out.extend(group)
    return out


def parse(*chunks: bytes | str, model: str = MODEL, separator: str = SEPARATOR) -> list[Part]:
    parser = OutputParser(model, separator=separator)
    parts = [
        part
        for chunk in chunks
        for part in parser.feed(chunk.encode() if isinstance(chunk, str) else chunk)
    ]
    return joined([*parts, *parser.close()])


def single_bytes(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


class Output(NamedTuple):
    text: str = ""
    reasoning: str = ""
    usage: Usage | None = None


def output_of(parts: Iterable[Part]) -> Output:
    parts = list(parts)
    return Output(
        "".join(part.text for part in parts if isinstance(part, TextDelta)),
        "".join(part.text for part in parts if isinstance(part, ReasoningDelta)),
        next((part for part in parts if isinstance(part, Usage)), None),
    )
