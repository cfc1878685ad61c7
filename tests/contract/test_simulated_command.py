"""The simulated `docker` means to this package what the recorded one meant."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from docker_model._docker_cli import listing
from docker_model._docker_cli.failures import name_failure
from docker_model._docker_cli.output_parser import SEPARATOR, SEPARATOR_TO_V0_1_40
from tests.contract.replaying import Replay, replay
from tests.support.transcripts import NEWEST, Ending, Transcript, load
from tests.unit.docker_cli.output_parsing import MODEL, output_of, parse

# The versions that are simulated; a case is played as the first of these that has it.
VERSIONS = (NEWEST, "v0.1.40")
# Shell patterns of the cases in which the command is called as this package calls it.
CALLED = (
    "absent-plugin-*", "broken-plugin*", "configure*", "df*", "inspect*", "list-json*", "pipe-*",
    "ps*", "pull*", "rm*", "run-*", "signal-*", "status-json*", "tag", "unload*", "version*",
)  # fmt: skip
# Shell patterns of other cases, and why.
OUT_OF_SCOPE = {
    "*-no-args": "no call of this package's",
    "*-filter-*": "no call of this package's",
    "*-openai*": "no call of this package's",
    "absent-plugin-bare": "no call of this package's",
    "absent-plugin-detach": "a letter in place of a flag's name",
    "absent-plugin-help": "a text for people",
    "absent-plugin-info": "no command of this package's",
    "configure-bad-value": "a value that this package never sends",
    "df-empty": "the recorder's runner had no engine",
    "inspect-dots": "a model name that this package refuses",
    "inspect-short@v0.1.40": "a name that v0.1.40 does not take",
    "ps@v0.1.40": "v0.1.40 does not tell whether a model is being loaded",
    "pull-*@v0.1.40": "v0.1.40 takes no warning and no pull that ends early",
    "pull-html": "a reply that no runner gives",
    "run-*debug*": "no call of this package's",
    "run-arg-empty@v0.1.40": "a prompt that this package refuses",
    "run-backend*": "no call of this package's",
    "run-color-maybe": "a value that this package never sends",
    "run-color-yes-code": "no call of this package's",
    "run-dashdash-model-with-dash": "a model name that this package refuses",
    "run-detach*@v0.1.40": "a letter in place of a flag's name",
    "run-echo-argv-and-empty-pipe@v0.1.40": "a prompt in two ways",
    "run-echo-argv-closed-stdin": "no call of this package's",
    "run-file-*": "compared by the tests of the guard",
    "run-help-in-prompt": "a text for people",
    "run-host-without-scheme@v0.1.40": "an address that no caller writes",
    "run-http-412@v1.2.6": "a hint of the command that is repeated",
    "run-ignore-*": "no call of this package's",
    "run-json-reply": "a reply that no runner gives to a request for a stream",
    "run-missing-pull-*@v0.1.40": "v0.1.40 takes no warning and no pull that ends early",
    "run-missing-stdin-empty@v0.1.40": "a prompt that this package refuses",
    "run-name-*@v0.1.40": "a name that v0.1.40 does not take",
    "run-name-empty": "a model name that this package refuses",
    "run-stdin-devnull-no-prompt@v0.1.40": "a prompt that this package refuses",
    "run-stdin-empty@v0.1.40": "a prompt that this package refuses",
    "run-tool-*": "the command knows no tools",
    "run-unknown-short-flag": "no call of this package's",
    "run-websearch*": "no call of this package's",
    "status-json-no-engine-no-install@v0.1.40": "v0.1.40 asks the runner all the same",
    "signal-term-docker-3x*": "signals that this package never sends",
}
# What matters of these is the request, not only the output.
WITH_REQUESTS = ("run-echo-*", "run-detach*", "run-missing-*")


def played_version(transcript: Transcript) -> str | None:
    """The version that plays this case, if one does."""
    return next((version for version in VERSIONS if version in transcript.versions), None)


def in_scope(transcript: Transcript) -> bool:
    version = played_version(transcript)
    names = (f"{transcript.case}@{version}", transcript.case)
    is_called = any(fnmatchcase(transcript.case, pattern) for pattern in CALLED)
    is_other = any(fnmatchcase(name, pattern) for pattern in OUT_OF_SCOPE for name in names)
    return version is not None and is_called and not is_other


def cases() -> list[Transcript]:
    return [transcript for transcript in load() if in_scope(transcript)]


@pytest.mark.parametrize("transcript", cases(), ids=lambda t: f"{t.case}@{played_version(t)}")
def test_it_means_what_was_recorded(transcript, tmp_path):
    this, ending = replay(transcript, played_version(transcript), tmp_path)
    recorded = [understood(this, each) for each in transcript.endings]
    if transcript.did_not_end:
        assert ending is None
        assert bytes(this.stdout) == this.fill_bytes(transcript.ending.stdout)
    else:
        assert understood(this, ending) in recorded
    if any(fnmatchcase(transcript.case, pattern) for pattern in WITH_REQUESTS):
        assert sent_requests(this) == expected_requests(this)


def test_the_whole_newest_version_is_covered():
    """No case disappears from the comparison unnoticed."""
    assert len([t for t in cases() if NEWEST in t.versions]) >= 210


READERS = {
    "configure": listing.parse_configurations,
    "df": listing.parse_disk_usage,
    "inspect": listing.parse_model,
    "list": listing.parse_models,
    "ps": listing.parse_running,
    "search": listing.parse_search,
    "status": listing.parse_status,
    "version": listing.parse_version,
}


def understood(this: Replay, ending: Ending) -> tuple[object, ...]:
    """What this package reads out of an ending: its output, or its error."""
    _, command, *words = [word for word in this.transcript.argv if word != "docker"]
    old = played_version(this.transcript) != NEWEST
    model = next((word for word in words if "/" in word), MODEL)
    end = (ending.exit_code, ending.signal)
    if command == "run":
        separator = SEPARATOR_TO_V0_1_40 if old else SEPARATOR
        read = output_of(parse(this.fill_bytes(ending.stdout), model=model, separator=separator))
    elif command == "pull":
        read = listing.PullOutput(model).feed(ending.stdout)
    elif command in READERS and ending.exit_code == 0 and ending.stdout:
        read = READERS[command](this.fill(ending.stdout.decode()))
    else:
        read = None
    if not ending.exit_code:
        return (*end, read)
    error = name_failure(
        command=command,
        model=model,
        exit_code=ending.exit_code,
        stderr=ending.stderr.decode(),
    )
    return (*end, read, type(error), error.message, error.hint)


def sent_requests(this: Replay) -> list[tuple[str, str, object]]:
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
