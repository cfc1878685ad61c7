"""Commands that cannot be started, and unusual states of this process."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest

from docker_model import (
    Completion,
    DockerModel,
    DockerNotFoundError,
    GenerationError,
    GenerationTimeoutError,
    InvalidRequestError,
    Timeouts,
)
from docker_model._docker_cli import workdir
from tests.faults.fault_list import check_end, error
from tests.support.modes import MODES, generate, stream
from tests.support.platforms import WINDOWS, posix, posix_only
from tests.support.playing import player

pytestmark = pytest.mark.simulated
modes = pytest.mark.parametrize("mode", MODES)
needs_sigchld = posix_only("other code can reap a child")


def generate_and_stream(mode, model, prompt="hi"):
    pieces, end = stream(mode, model, prompt)
    assert "".join(pieces) == (end.text if isinstance(end, Completion) else "")
    return end, generate(mode, model, prompt)


# -- the command -----------------------------------------------------------------------------


def nothing(path):
    return path, "no program"


def not_executable(path):
    path.write_text("#!/bin/sh\n")
    return path, "not executable"


def directory(path):
    path.mkdir()
    return path, "no program"


def garbage(path):
    path.write_bytes(b"\x7fELF\0garbage")
    path.chmod(0o755)
    return path, "not a program for this machine"


def no_interpreter(path):
    path.write_text("#!/nonexistent/sh\n")
    path.chmod(0o755)
    return path, "the interpreter of"


NO_PROGRAMS = [
    nothing,
    directory,
    garbage,
    pytest.param(not_executable, marks=posix_only("permission to execute")),
    pytest.param(no_interpreter, marks=posix_only("scripts with an interpreter")),
]


@modes
@pytest.mark.parametrize("make", NO_PROGRAMS)
def test_a_file_that_is_not_a_program_is_not_found(make, mode, tmp_path):
    program, words = make(tmp_path / ("docker.exe" if WINDOWS else "docker"))
    for end in generate_and_stream(
        mode, DockerModel("ai/smollm2", command=(str(program), "model"))
    ):
        assert type(end) is DockerNotFoundError
        assert repr(str(program)) in end.message
        assert words in end.message
        assert end.hint


@posix_only("ETXTBSY")
@modes
def test_a_program_that_is_still_being_written_is_not_found(mode, tmp_path):
    program = tmp_path / "docker"
    program.write_bytes(Path(sys.executable).resolve().read_bytes()[:4096])
    program.chmod(0o755)
    with program.open("ab"):
        for end in generate_and_stream(
            mode, DockerModel("ai/smollm2", command=(str(program), "model"))
        ):
            check_end(error(DockerNotFoundError, errno=errno.ETXTBSY), end)


@posix
@modes
def test_a_start_that_hangs_times_out_and_its_late_child_is_killed(mode, monkeypatch):
    """A dead network file system has this effect."""
    go_on, late = threading.Event(), []

    class Hanging(subprocess.Popen):
        def __init__(self, *args, **settings):
            go_on.wait(60)
            super().__init__(*args, **settings)
            late.append(self)

    monkeypatch.setattr(subprocess, "Popen", Hanging)
    model = DockerModel(
        "ai/smollm2", command=player(["sleep", 60]), timeout=Timeouts(first_output=0.1)
    )
    check_end(error(GenerationTimeoutError, phase="first_output"), generate(mode, model, "hi"))
    assert late == []
    go_on.set()
    while not late or late[0].returncode is None:
        time.sleep(0.001)
    assert late[0].returncode == -signal.SIGKILL


@posix_only("a limit for the size of an environment")
@modes
def test_an_environment_that_is_too_large_is_refused(mode, docker):
    model = DockerModel("ai/smollm2", env={"BIG": "x" * 3_000_000})
    for end in generate_and_stream(mode, model):
        assert type(end) is InvalidRequestError
        assert "too long" in str(end)


SURROGATE = pytest.param("a\ud800b", marks=posix_only("arguments without lone surrogates"))


@pytest.mark.parametrize("word", ["a\0b", SURROGATE, 1])
def test_invalid_arguments_and_variables_are_refused(word):
    for settings in ({"command": ("docker", word)}, {"env": {"A": word}}, {"env": {word: "a"}}):
        with pytest.raises(InvalidRequestError):
            DockerModel("ai/smollm2", **settings)


@posix_only("removing a working directory that is in use")
@modes
def test_a_deleted_working_directory_is_an_error_if_it_is_needed(
    mode, liveness, tmp_path, monkeypatch
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    settings = {"command": player(["write", 1, "ok"]), "env": liveness.env}
    for policy in ("allow", "refuse"):
        with pytest.raises(InvalidRequestError, match="directory"):
            DockerModel("ai/smollm2", file_references=policy, **settings).generate("hi")
    for end in generate_and_stream(mode, DockerModel("ai/smollm2", **settings)):
        check_end("ok", end)


@modes
def test_a_run_needs_no_temporary_directory(mode, docker, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    monkeypatch.setattr(workdir, "_directories", {})
    for end in generate_and_stream(mode, DockerModel("ai/smollm2")):
        assert end.text == "You said: hi"
    assert {call.cwd for call in docker.calls if "run" in call.argv} == {
        str(Path(os.sep).resolve())
    }


# -- this process ----------------------------------------------------------------------------


@pytest.fixture
def sigchld_ignored():
    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, previous)


@needs_sigchld
@modes
def test_a_failure_is_never_a_success_when_sigchld_is_ignored(mode, liveness, sigchld_ignored):
    model = DockerModel(
        "ai/smollm2", command=player(["write", 1, "some"], ["exit", 7]), env=liveness.env
    )
    for end in (stream(mode, model, "hi")[1], generate(mode, model, "hi")):
        check_end(error(GenerationError, exit_code=None, signal=None), end)
        assert "SIGCHLD" in end.hint


@needs_sigchld
@modes
def test_a_failure_is_never_a_success_when_other_code_reaps_the_child(mode, liveness):
    over = threading.Event()

    def reap_everything():
        while not over.is_set():
            try:  # without blocking: the helper processes of other tests never end
                reaped, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                reaped = 0
            if not reaped:
                time.sleep(0.0001)

    thread = threading.Thread(target=reap_everything)
    thread.start()
    try:
        model = DockerModel("ai/smollm2", command=player(["exit", 7]), env=liveness.env)
        for end in generate_and_stream(mode, model):
            assert type(end) is GenerationError
            assert end.exit_code in (None, 7)  # depends on which thread reaps first
    finally:
        over.set()
        thread.join()


@modes
def test_a_change_of_the_wall_clock_has_no_effect(mode, docker, monkeypatch):
    def jumps():
        raise AssertionError

    model = DockerModel("ai/smollm2")
    monkeypatch.setattr(time, "time", jumps)
    end = generate(mode, model, "hi")
    monkeypatch.undo()
    assert end.text == "You said: hi"


ODD = textwrap.dedent(
    """
    import asyncio, sys
    from docker_model import DockerModel
    model = DockerModel("ai/smollm2")
    prompt = "na\\u00efve \\u6771\\u4eac"
    texts = [
        model.generate(prompt).text,
        "".join(model.stream(prompt)),
        asyncio.run(model.agenerate(prompt)).text,
    ]
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write("|".join(texts))
    """
)


@posix_only("a shell that closes standard streams")
@pytest.mark.parametrize("closed", ["", "<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_call_works_in_the_c_locale_with_closed_standard_streams(closed, docker, tmp_path):
    """A pipe to the child may then be descriptor 0, 1 or 2."""
    report = tmp_path / "report"
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LANG": ""}
    line = f'exec "$0" -c "$1" "$2" {closed}'
    subprocess.run(
        ["/bin/sh", "-c", line, sys.executable, ODD, str(report)],
        env={**os.environ, **env},
        check=True,
        timeout=60,
    )
    assert report.read_text("utf-8") == "|".join(["You said: naïve 東京"] * 3)


# -- from outside ----------------------------------------------------------------------------


def test_a_writing_child_ends_when_its_owner_is_killed(liveness):
    """Killed code cannot clean up: the closed pipe ends the child."""
    code = f"""
from docker_model import DockerModel
for _ in DockerModel("ai/smollm2", command={player(["drip", 1, "x" * 9999, 0.01])!r}).stream("hi"):
    print("!", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], env=liveness.env, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.read(1) == b"!"
        process.kill()
    liveness.wait_all_dead(1)
