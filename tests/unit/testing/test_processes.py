"""The simulated command is two real processes, and the simulation notices their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from docker_model.testing import (
    CloseStdout,
    Exit,
    Grandchild,
    Hang,
    IgnoreSignals,
    SimulatedDocker,
    Stderr,
    Stdout,
    Text,
)
from tests.support.platforms import open_descriptors, posix, posix_only
from tests.unit.testing.calling import ask, call, finish, start, start_run


@posix
def test_a_command_is_two_processes_in_one_group():
    with SimulatedDocker(script=["some", Hang()]) as docker:
        process = start_run(docker)
        process.stdout.read1(4)
        (started,) = docker.calls
        assert started.pid == process.pid
        assert os.getpgid(started.plugin_pid) == process.pid
        assert docker.alive == 1
        os.killpg(process.pid, signal.SIGTERM)
        assert finish(process) == (255, b"", b"")
        docker.wait_all_gone()
        assert docker.alive == 0
        assert not started.alive


@posix
def test_sigterm_to_docker_alone_is_ignored_while_it_reads_the_prompt():
    with SimulatedDocker() as docker:
        process = start(docker, "run", "ai/smollm2")
        docker.wait_calls()
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        os.killpg(process.pid, signal.SIGKILL)
        finish(process)
        docker.wait_all_gone()


@posix
def test_a_command_is_alive_until_its_grandchild_ends():
    with SimulatedDocker(script=["Yes", Grandchild(detached=True)]) as docker:
        process = start_run(docker)
        process.wait()
        assert docker.alive == 1  # the grandchild keeps the pipes open
        with pytest.raises(TimeoutError, match=str(process.pid)):
            docker.wait_all_gone(0.05)
    # Closing the simulation ended the grandchild.
    assert finish(process) == (0, b"Yes\n", b"")
    assert docker.alive == 0


@posix
def test_a_grandchild_in_the_group_ends_with_the_group():
    with SimulatedDocker(script=["Yes", Grandchild()]) as docker:
        process = start_run(docker)
        process.wait()
        os.killpg(process.pid, signal.SIGTERM)
        docker.wait_all_gone()
        assert finish(process) == (0, b"Yes\n", b"")


@posix
def test_a_script_can_ignore_signals():
    with SimulatedDocker(script=["deaf", IgnoreSignals(), "!", Hang()]) as docker:
        process = start_run(docker)
        output = b""
        while output != b"deaf!":
            output += process.stdout.read1(5)
        os.killpg(process.pid, signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        os.killpg(process.pid, signal.SIGKILL)
        assert finish(process)[0] == -signal.SIGKILL


@posix
def test_a_script_can_close_stdout_before_the_process_ends():
    with SimulatedDocker(script=["some", CloseStdout(), Hang()]) as docker:
        process = start_run(docker)
        assert process.stdout.read() == b"some"
        assert process.poll() is None
        assert docker.alive == 1
        os.killpg(process.pid, signal.SIGKILL)
        finish(process)


def test_startup_steps_run_before_stdin_is_read():
    startup = [Stdout(b"noise\n"), Stderr("WARNING: Error parsing config file\n")]
    with SimulatedDocker(startup=startup) as docker:
        process = start(docker, "run", "ai/smollm2")
        assert process.stdout.readline() == b"noise\n"
        process.stdin.write(b"hi")
        process.stdin.close()
        assert finish(process) == (0, b"You said: hi\n", startup[1].text.encode())


def test_a_startup_step_can_end_the_command():
    with SimulatedDocker(startup=[Exit(7)]) as docker:
        assert call(docker, "version").returncode == 7
        assert docker.requests == []


@posix_only("Windows cannot wait for a pipe and a socket at once")
def test_closing_the_simulation_ends_all_running_commands():
    with SimulatedDocker(script=[Text("x" * 10_000_000), Hang()]) as docker:
        waiting = start(docker, "run", "ai/smollm2")
        blocked = start_run(docker)  # its ten megabytes are not read
        docker.wait_prompts()
        docker.wait_calls(2)
    assert docker.alive == 0
    assert waiting.wait(1) == 1
    assert blocked.wait(1) == 1
    for process in (waiting, blocked):
        finish(process)


def test_killing_the_test_process_ends_all_commands(tmp_path):
    program = tmp_path / "test.py"
    program.write_text(
        "import os, subprocess, sys\n"
        "from docker_model.testing import SimulatedDocker, Hang\n"
        "docker = SimulatedDocker(script=['some', Hang()]).open()\n"
        "run = [*docker.command, 'run', 'ai/smollm2', 'hi']\n"
        "env = os.environ | docker.env\n"  # the environment can name another runner
        "subprocess.Popen(run, stdin=subprocess.DEVNULL, start_new_session=True, env=env)\n"
        "docker.wait_prompts()\n"
        "print('ready', file=sys.stderr)\n"  # the command writes to stdout
        "sys.stdin.read()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        [sys.executable, str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stderr.readline().rstrip() == b"ready"
        assert process.stdout.read(4) == b"some"
        process.kill()
        # The command has stdout open, so this returns only after the command has ended.
        assert process.stdout.read() is not None


def test_a_command_after_the_end_of_its_simulation_fails_with_a_message():
    with SimulatedDocker() as docker:
        command = docker.command
    with pytest.raises(subprocess.CalledProcessError) as error:
        subprocess.check_output([*command, "version"], stderr=subprocess.PIPE, text=True)
    assert error.value.returncode == 1
    assert "has ended" in error.value.stderr


def test_sixty_four_concurrent_commands_all_answer():
    with SimulatedDocker(script=echo_slowly) as docker, ThreadPoolExecutor(64) as pool:
        prompts = [f"prompt {number}" for number in range(64)]
        assert list(pool.map(lambda prompt: ask(docker, prompt), prompts)) == [
            f"{prompt}\n" for prompt in prompts
        ]
        assert sorted(docker.prompts) == sorted(prompts)
        docker.wait_all_gone()


def echo_slowly(prompt):
    return [prompt[:3], prompt[3:]]


def test_a_closed_simulation_leaves_no_thread_and_no_descriptor():
    ask_once()
    # Threads and descriptors of an earlier test can end during this test, hence `<=`.
    threads, open_before = threading.active_count(), open_descriptors()
    for _ in range(3):
        ask_once()
    assert threading.active_count() <= threads
    assert open_descriptors() <= open_before


def ask_once():
    with SimulatedDocker() as docker:
        ask(docker, "hi")
