"""The simulated `docker` says and does what the real one was recorded to say and do."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest

from tests.support.transcripts import NEWEST, Ending, Transcript, load
from tests.unit.testing.replaying import Replay, replay

# Shell patterns of cases that are not simulated, and why.
OUT_OF_SCOPE = {
    "pty-*": "terminals",
    "help*": "help texts are for people",
    "run-help-in-prompt": "help texts are for people",
    "unknown-subcommand": "help texts are for people",
    "unknown-subcommand-args": "help texts are for people",
    "absent-plugin-help": "help texts are for people",
    "list-table*": "tables for people",
    "list-two-args@v0.*": "tables for people",
    "list-two-args@cli-*": "tables for people",
    "df*": "no command of this package's",
    "show*": "no command of this package's",
    "rm*": "no command of this package's",
    "tag": "no command of this package's",
    "requests": "no command of this package's",
    "absent-plugin-info": "no command of this package's",
    "docker-info-plugins": "no command of this package's",
    "list-openaiurl": "a rare flag",
    "inspect-openai": "the recorder's runner sent no `dmr`",
    "list-openai*@cli-*": "the recorder's runner sent no `dmr`",
    "list-openai": "the recorder's runner sent no `dmr`",
    "run-color-yes-code": "a rare flag",
    "configure-bad-value@v0.1.40": "a usage line for people",
    "configure-keep-alive@v0.1.40": "a rare flag",
    "*-503@v0.1.40": "names an older menu of Docker Desktop in its hint",
    "bare*": "the plugin run by itself",
    "dmr-*": "the standalone program",
    "metadata": "the plugin run by itself",
    "malformed-config": "Docker's own configuration; Stderr in `startup` says the same",
    "context-store-warning": "Docker's own configuration; Stdout in `startup` says the same",
    "inspect-dots": "a model name that this package refuses",
    "run-name-empty": "a model name that this package refuses",
    "inspect-503@cli-v0.1.46": "the recorder's fixed reply was for another path",
    "run-inspect-*@cli-v0.1.46": "the recorder's fixed reply was for another path",
    "run-detach-missing@cli-v0.1.46": "the recorder's model had another name",
    "*@v0.1.27": "it has no prompt on stdin",
}
# What matters of these is the request, not only the output.
WITH_REQUESTS = ("run-echo-*", "run-file-*", "run-openaiurl*", "run-detach*", "run-missing-*")


def newest(transcript: Transcript) -> str:
    """The newest of its versions that has a number."""
    return [version for version in transcript.versions if version != "head"][-1]


def cases() -> list[Transcript]:
    return [
        transcript
        for transcript in load()
        if transcript.versions != ("head",)
        and not any(
            fnmatchcase(f"{transcript.case}@{newest(transcript)}", pattern)
            or fnmatchcase(transcript.case, pattern)
            for pattern in OUT_OF_SCOPE
        )
    ]


@pytest.mark.parametrize("transcript", cases(), ids=lambda t: f"{t.case}@{newest(t)}")
def test_it_says_and_does_what_was_recorded(transcript, tmp_path):
    this, ending = replay(transcript, newest(transcript), tmp_path)
    recorded = [comparable(this, each) for each in transcript.endings]
    if transcript.did_not_end:
        assert ending is None
        assert bytes(this.stdout) == recorded[0].stdout
    else:
        assert comparable(this, ending, filled=False) in recorded
    if any(fnmatchcase(transcript.case, pattern) for pattern in WITH_REQUESTS):
        assert asked(this) == expected_requests(this)


def test_the_whole_newest_version_is_covered():
    """No case disappears from the comparison unnoticed."""
    assert len([t for t in cases() if NEWEST in t.versions]) >= 320


def comparable(this: Replay, ending: Ending, *, filled: bool = True) -> Ending:
    stdout, stderr = ending.stdout, ending.stderr
    if filled:
        stdout, stderr = this.fill_bytes(stdout), this.fill_bytes(stderr)
    # Older versions print a Go map there, in an order that is another one each time.
    if this.transcript.any_order or this.transcript.case == "status":
        stdout = b"".join(sorted(stdout.splitlines(keepends=True)))
    stderr = re.sub(rb"127\.0\.0\.1:(\d+|PORT)->", b"CLIENT->", stderr)
    return Ending(stdout, stderr, ending.exit_code, ending.signal)


def asked(this: Replay) -> list[tuple[str, str, object]]:
    return [(r.method, r.path, r.body) for r in this.docker.requests if not preload(r.headers)]


def expected_requests(this: Replay) -> list[tuple[str, str, object]]:
    return [
        (r["method"], r["path"], this.fill_all(r["body"]))
        for r in this.transcript.requests
        if not preload(r["headers"])
    ]


def preload(headers: dict[str, str]) -> bool:
    """Whether this is the background preload, which may or may not get out in time."""
    return "x-preload-only" in {name.lower() for name in headers}
