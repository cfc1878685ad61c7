"""Recorded output of the real `docker model`, version by version.

`tests/data/collect_transcripts.py` creates the records, `tests/data/transcripts.jsonl.gz`. The
CLI of each record is real: the plugin of that version with Docker CLI 28.2.2 on Linux. The runner
was scripted, as `scene` shows. Some texts are placeholders with another length than the original:
`RUNNER` and `REFUSED` (host:port), `PORT`, `<DIR>` (the working directory), `<HOME>`,
`<DOCKER_CONFIG>`, `<EMPTY_CONFIG>`.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data" / "transcripts.jsonl.gz"
NEWEST = "v1.2.6"


@dataclass(frozen=True, slots=True)
class Ending:
    """The whole output, and the exit code or the signal's name."""

    stdout: bytes
    stderr: bytes
    exit_code: int | None
    signal: str | None


@dataclass(frozen=True, slots=True)
class Transcript:
    """One call and its result.

    Attributes:
        case: The name, such as `run-think`; the part before the first `-` is the command.
        versions: The versions with exactly this behavior, oldest first.
        note: The subject of the case; may be empty.
        argv: The arguments, beginning with `docker`, `docker-model` (the plugin file) or `dmr`.
        stdin: The text written to stdin; `None` if there was none.
        stdin_kind: `devnull`, `pipe`, `file`, `closed` or `pty`.
        stdin_closed: Whether the pipe was closed after the text.
        env: Relevant variables other than PATH, HOME, LANG=C.UTF-8 and DOCKER_CONFIG.
        files: The files of the working directory (`~/…`: the home directory): text, `{"b64"}`,
            `{"text", "mode"}` or `{"plugin": true}`.
        pty: The streams that were one terminal.
        ignored: Signals that the parent ignored when it started the CLI.
        actions: Actions on the processes: `when` (`stdout` contains; `request` path
            seen; `after_ms` since the start; `then_ms` since the last action), `do`, `to`.
        scene: The script of the runner.
        requests: The requests of the newest of `versions`.
        endings: Every ending that occurred, most frequent first; several if a race decides.
        any_order: Whether the order of the lines of stdout can differ.
        did_not_end: Whether the process had to be killed; stdout is the output until then.
    """

    case: str
    versions: tuple[str, ...]
    note: str
    argv: tuple[str, ...]
    stdin: bytes | None
    stdin_kind: str
    stdin_closed: bool
    env: dict[str, str]
    files: dict[str, Any]
    pty: tuple[str, ...]
    ignored: tuple[str, ...]
    actions: tuple[dict[str, Any], ...]
    scene: dict[str, Any]
    requests: tuple[dict[str, Any], ...]
    endings: tuple[Ending, ...]
    any_order: bool
    did_not_end: bool

    @property
    def ending(self) -> Ending:
        """Return the most frequent ending."""
        return self.endings[0]

    def __str__(self) -> str:
        return f"{self.case}@{self.versions[-1]}"


def load(pattern: str = "*", *, version: str | None = None) -> tuple[Transcript, ...]:
    """Return the records whose case matches a shell pattern, of one version or of all."""
    return tuple(
        transcript
        for transcript in _all_transcripts()
        if fnmatchcase(transcript.case, pattern)
        and (version is None or version in transcript.versions)
    )


@cache
def _all_transcripts() -> tuple[Transcript, ...]:
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        return tuple(_transcript(json.loads(line)) for line in lines)


def _transcript(record: dict[str, Any]) -> Transcript:
    return Transcript(
        case=record["case"],
        versions=tuple(record["versions"]),
        note=record.get("note", ""),
        argv=tuple(record["argv"]),
        stdin=None if record["stdin"] is None else _bytes(record["stdin"]),
        stdin_kind=record["stdin_kind"],
        stdin_closed=record["stdin_closed"],
        env=record["env"],
        files=record.get("files", {}),
        pty=tuple(record.get("pty", ())),
        ignored=tuple(record.get("ignored", ())),
        actions=tuple(record.get("actions", ())),
        scene=record["scene"],
        requests=tuple(record.get("requests", ())),
        endings=tuple(
            Ending(
                _bytes(ending["stdout_all"]),
                _bytes(ending["stderr_all"]),
                ending["exit_code"],
                ending["signal"],
            )
            for ending in record.get("variants", (record,))
        ),
        any_order=record.get("any_order", False),
        did_not_end="did_not_end" in record,
    )


def _bytes(text: str | dict[str, Any]) -> bytes:
    if isinstance(text, str):
        return text.encode()
    if "b64" in text:
        return base64.b64decode(text["b64"])
    repeated: str = text["repeat"] * text["times"]
    return repeated.encode()
