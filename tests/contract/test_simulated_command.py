"""This package reads the same from the simulated `docker` as from the recorded real one."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from docker_model._docker_cli import listing
from docker_model._docker_cli.failures import name_failure
from docker_model._docker_cli.output_parser import SEPARATOR, SEPARATOR_TO_V0_1_40
from tests.contract.replaying import Replay, needs_posix, replay
from tests.support.platforms import posix
from tests.support.transcripts import NEWEST, Ending, Transcript, load
from tests.unit.docker_cli.output_parsing import MODEL, output_of, parse

# The simulated versions; a case is replayed with the first of these that has the case.
VERSIONS = (NEWEST, "v0.1.40")
# Shell patterns of the cases in which the command is called as this package calls it.
CALLED = (
    "absent-plugin-*", "broken-plugin*", "configure*", "df*", "inspect*", "list-json*", "pipe-*",
    "ps*", "pull*", "rm*", "run-*", "signal-*", "status-json*", "tag", "unload*", "version*",
)  # fmt: skip
# Shell patterns of cases that are not compared, with the reason.
OUT_OF_SCOPE = {
    "*-no-args": "this package does not make this call",
    "*-filter-*": "this package does not make this call",
    "*-openai*": "this package does not make this call",
    "absent-plugin-bare": "this package does not make this call",
    "absent-plugin-detach": "a short flag, which this package never sends",
    "absent-plugin-help": "a help text, which this package does not read",
    "absent-plugin-info": "this package does not use this command",
    "configure-bad-value": "a value that this package never sends",
    "df-empty": "the runner of the recorder had no engine",
    "inspect-dots": "a model name that this package refuses",
    "inspect-short@v0.1.40": "a name that v0.1.40 does not accept",
    "ps@v0.1.40": "v0.1.40 does not report whether a model is being loaded",
    "pull-cut": "the simulated command does not repeat a pull that failed",
    "pull-*@v0.1.40": "v0.1.40 does not support warnings or incomplete pulls",
    "pull-html": "a reply that no runner sends",
    "list-json-no-engine": "this package always sets MODEL_RUNNER_NO_AUTO_INSTALL",
    "run-*debug*": "this package does not make this call",
    "run-arg-empty@v0.1.40": "a prompt that this package refuses",
    "run-backend*": "this package does not make this call",
    "run-color-maybe": "a value that this package never sends",
    "run-color-yes-code": "this package does not make this call",
    "run-dashdash-model-with-dash": "a model name that this package refuses",
    "run-detach*@v0.1.40": "a short flag, which this package never sends",
    "run-echo-argv-and-empty-pipe@v0.1.40": "a prompt both as argument and on stdin",
    "run-echo-argv-closed-stdin": "this package does not make this call",
    "run-file-*": "compared by the tests of the guard",
    "run-help-in-prompt": "a help text, which this package does not read",
    "run-host-without-scheme@v0.1.40": "an address that this package never passes",
    "run-http-412@v1.2.6": "the command repeats a hint",
    "run-ignore-*": "this package does not make this call",
    "run-line-over-64k": "the simulated command has no limit for a line",
    "run-json-reply": "a reply that no runner sends to a request for a stream",
    "run-missing-pull-*@v0.1.40": "v0.1.40 does not support warnings or incomplete pulls",
    "run-missing-stdin-empty@v0.1.40": "a prompt that this package refuses",
    "run-no-engine": "this package always sets MODEL_RUNNER_NO_AUTO_INSTALL",
    "run-name-*@v0.1.40": "a name that v0.1.40 does not accept",
    "run-name-empty": "a model name that this package refuses",
    "run-stdin-devnull-no-prompt@v0.1.40": "a prompt that this package refuses",
    "run-stdin-empty@v0.1.40": "a prompt that this package refuses",
    "run-tool-*": "the command does not support tools",
    "run-unknown-short-flag": "this package does not make this call",
    "run-websearch*": "this package does not make this call",
    "status-json-no-engine-no-install@v0.1.40": "v0.1.40 sends a request to the runner anyway",
    "signal-term-docker-3x*": "signals that this package never sends",
}
# Cases in which the requests are compared, not only the output.
WITH_REQUESTS = ("run-echo-*", "run-detach*", "run-missing-*")


def played_version(transcript: Transcript) -> str | None:
    """Return the version with which a case is replayed, or `None`."""
    return next((version for version in VERSIONS if version in transcript.versions), None)


def in_scope(transcript: Transcript) -> bool:
    version = played_version(transcript)
    names = (f"{transcript.case}@{version}", transcript.case)
    is_called = any(fnmatchcase(transcript.case, pattern) for pattern in CALLED)
    is_other = any(fnmatchcase(name, pattern) for pattern in OUT_OF_SCOPE for name in names)
    return version is not None and is_called and not is_other


def cases() -> list[Transcript]:
    return [transcript for transcript in load() if in_scope(transcript)]


def parameter(transcript: Transcript) -> object:
    marks = posix if needs_posix(transcript) else ()
    name = f"{transcript.case}@{played_version(transcript)}"
    return pytest.param(transcript, marks=marks, id=name)


@pytest.mark.parametrize("transcript", [parameter(transcript) for transcript in cases()])
def test_the_simulated_command_gives_a_recorded_result(transcript, tmp_path):
    played, ending = replay(transcript, played_version(transcript), tmp_path)
    recorded_results = [result_of(played, recorded) for recorded in transcript.endings]
    if transcript.did_not_end:
        assert ending is None
        assert bytes(played.stdout) == played.fill_bytes(transcript.ending.stdout)
    else:
        assert result_of(played, ending) in recorded_results
    if any(fnmatchcase(transcript.case, pattern) for pattern in WITH_REQUESTS):
        assert sent_requests(played) == expected_requests(played)


def test_the_comparison_covers_the_whole_newest_version():
    """A pattern that excludes too many cases must fail this test."""
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


def result_of(played: Replay, ending: Ending) -> tuple[object, ...]:
    """Return what this package reads from an ending: the parsed output, or the error."""
    _, command, *words = [word for word in played.transcript.argv if word != "docker"]
    old = played_version(played.transcript) != NEWEST
    model = next((word for word in words if "/" in word), MODEL)
    end = (ending.exit_code, ending.signal)
    if command == "run":
        separator = SEPARATOR_TO_V0_1_40 if old else SEPARATOR
        read = output_of(parse(played.fill_bytes(ending.stdout), model=model, separator=separator))
    elif command == "pull":
        read = listing.PullOutput(model).feed(ending.stdout)
    elif command in READERS and ending.exit_code == 0 and ending.stdout:
        read = READERS[command](played.fill(ending.stdout.decode()))
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


def sent_requests(played: Replay) -> list[tuple[str, str, object]]:
    return [(r.method, r.path, r.body) for r in played.docker.requests if not is_preload(r.headers)]


def expected_requests(played: Replay) -> list[tuple[str, str, object]]:
    return [
        (r["method"], r["path"], played.fill_all(r["body"]))
        for r in played.transcript.requests
        if not is_preload(r["headers"])
    ]


def is_preload(headers: dict[str, str]) -> bool:
    """Tell whether a request is the background preload, which is not always sent in time."""
    return "x-preload-only" in {name.lower() for name in headers}
