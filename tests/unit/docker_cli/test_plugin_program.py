"""Starting the plugin's file without `docker`, and the cases that keep `docker` in front."""

import asyncio
import os
import pickle
import signal
import threading
import time

import pytest

from docker_model import (
    DockerModel,
    DockerNotFoundError,
    GenerationError,
    GenerationTimeoutError,
    Timeouts,
    list_models,
    pull_model,
    status,
)
from docker_model._docker_cli import command_spec, standby_pool
from docker_model._docker_cli.command_spec import CommandSpec
from docker_model._runtime import io_thread, tasks
from docker_model.testing import Hang, Reasoning, Text
from tests.support.platforms import posix_only
from tests.support.simulated_plugin import environment_of, install_plugin, write_program
from tests.support.terminal import console

pytestmark = [pytest.mark.simulated, posix_only("the simulated plugin is a shell script")]
METADATA = "docker-cli-plugin-metadata"
RUN = "model run --color no -- ai/smollm2"
INSPECT = "model inspect ai/smollm2"


class Installed:
    """A simulated plugin, found by the environment of this process."""

    def __init__(self, docker, folder):
        self.docker = docker
        self.config = folder / "config"
        self.bin = folder / "bin"
        self.log = folder / "log"
        self.file = self.config / "cli-plugins" / "docker-model"
        self.env = environment_of(self.config, self.bin)
        self.update()

    def update(self, docker=None, **settings):
        install_plugin(docker or self.docker, self.config, log=self.log, **settings)
        os.environ.update(self.env)  # another simulation may have changed it

    @property
    def starts(self):
        """Return the arguments of each start of the plugin's file, in order."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def program(self):
        spec = tasks.run_blocking(CommandSpec.of(None, None).program())
        return spec.argv, spec.reason


@pytest.fixture
def installed(simulate, tmp_path):
    return Installed(simulate(), tmp_path)


def parked():
    async def pids():
        return [child.pid for child in io_thread.current().children]

    return tasks.run_blocking(pids())


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


# -- without docker --------------------------------------------------------------------------


def test_every_command_starts_only_the_plugin(simulate, tmp_path):
    installed = Installed(simulate(pullable=["ai/other"]), tmp_path)
    model = DockerModel("ai/smollm2", standby=1)
    assert model.generate("a").text == "You said: a"
    assert "".join(DockerModel("ai/smollm2").stream("b")) == "You said: b"
    assert [info.name for info in list_models()] == ["ai/smollm2"]
    assert pull_model("ai/other").name == "ai/other"
    model.warm_up()
    model.close()
    installed.docker.wait_all_gone()
    calls = [" ".join(call.argv) for call in installed.docker.calls]
    assert installed.starts[0] == METADATA
    assert installed.starts.count(METADATA) == 1
    assert sorted(installed.starts[1:]) == sorted(calls)
    assert {RUN, INSPECT, "model list --json", "model pull ai/other"} <= set(calls)


def test_the_plugin_gets_the_path_of_docker(installed, monkeypatch):
    """`docker` passes its path too; the socket of an outer `docker` is not inherited."""
    variable = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND"
    monkeypatch.setenv(variable, "outer")
    monkeypatch.setenv("DOCKER_CLI_PLUGIN_SOCKET", "@docker_cli_outer")
    DockerModel("ai/smollm2").generate("x")
    for call in installed.docker.calls:
        assert call.env[variable] == str(installed.bin / "docker")
        assert "DOCKER_CLI_PLUGIN_SOCKET" not in call.env


def test_status_and_check_report_the_file(installed):
    assert status().command == (str(installed.file), "model")
    line, *_ = console("check").stdout.splitlines()
    assert line == f"ok      docker  {installed.file} model (without docker in front)"


def test_a_missing_docker_is_reported_by_check_and_the_plugin_works(installed, monkeypatch):
    (installed.bin / "docker").unlink()
    monkeypatch.setenv("PATH", str(installed.bin))
    assert DockerModel("ai/smollm2").generate("x").text == "You said: x"
    assert installed.docker.calls[0].env["DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND"] == "docker"
    line, *_ = console("check").stdout.splitlines()
    assert line == f"ok      docker  {installed.file} model (there is no docker on PATH)"


def test_a_missing_docker_without_a_plugin_is_an_error(installed, monkeypatch):
    installed.file.unlink()
    (installed.bin / "docker").unlink()
    monkeypatch.setenv("PATH", str(installed.bin))
    with pytest.raises(DockerNotFoundError, match="no program 'docker'") as caught:
        DockerModel("ai/smollm2").generate("x")
    assert caught.value.hint
    assert status().command == ()  # the runner answers over HTTP


# -- once per file ---------------------------------------------------------------------------


def test_concurrent_calls_read_the_metadata_once(installed):
    model = DockerModel("ai/smollm2")

    async def main():
        return await asyncio.gather(*(model.agenerate(str(i)) for i in range(16)))

    assert [answer.text for answer in asyncio.run(main())] == [f"You said: {i}" for i in range(16)]
    assert installed.starts.count(METADATA) == 1


def test_a_changed_file_is_read_again(installed):
    model = DockerModel("ai/smollm2")
    model.generate("a")
    os.utime(installed.file)
    model.generate("b")
    model.generate("c")
    assert installed.starts.count(METADATA) == 2


def test_an_update_between_two_calls_is_noticed(simulate, tmp_path):
    """Facts about the old file, such as a missing flag, are not used for the new one."""
    script = [Reasoning("hm"), Text("yes")]
    installed = Installed(simulate(script=script, version="v0.1.40"), tmp_path)
    model = DockerModel("ai/smollm2")
    for _ in range(2):
        answer = model.generate("x")
        assert (answer.reasoning, answer.text) == ("hm", "yes")
    assert installed.starts[-1] == "model run -- ai/smollm2"
    installed.update(simulate(script=script, version="v1.2.6"))
    answer = model.generate("x")
    assert (answer.reasoning, answer.text) == ("hm", "yes")
    assert RUN in installed.starts[-2:]


def test_an_update_of_the_plugin_with_standby_loses_no_answer(installed, monkeypatch):
    monkeypatch.setattr(standby_pool, "_GAP", 0.0)
    model = DockerModel("ai/smollm2", standby=2)
    model.warm_up()
    before = parked()
    assert len(before) == 2
    installed.docker.wait_calls(4)
    installed.update(before="export NEW=1")
    assert model.generate("x").text == "You said: x"
    wait_until(lambda: len(parked()) == 2 and not set(parked()) & set(before))
    assert model.generate("y").text == "You said: y"
    model.close()
    installed.docker.wait_all_gone()
    old, *_, new = [call for call in installed.docker.calls if call.argv[1] == "run"]
    assert "NEW" not in old.env
    assert new.env["NEW"] == "1"
    assert installed.docker.prompts == ["x", "y"]


def test_standby_processes_of_a_removed_plugin_still_answer(installed):
    model = DockerModel("ai/smollm2", standby=1)
    model.warm_up()
    installed.docker.wait_calls(4)
    installed.file.unlink()
    assert model.generate("x").text == "You said: x"
    model.close()
    installed.docker.wait_all_gone()


# -- with docker in front --------------------------------------------------------------------


def front(installed):
    """Make `docker` a script that runs."""
    words = " ".join(f"'{word}'" for word in installed.docker.command[:-1])
    write_program(installed.bin / "docker", f'#!/bin/sh\nexec {words} "$@"\n')


def test_a_docker_that_is_a_script_stays_in_front(installed):
    front(installed)
    assert DockerModel("ai/smollm2").generate("x").text == "You said: x"
    assert installed.starts == []
    command = (str(installed.bin / "docker"), "model")
    assert status().command == command
    line, *_ = console("check").stdout.splitlines()
    assert line == (
        f"ok      docker  {' '.join(command)} (docker in front: {command[0]} is a script)"
    )


@pytest.mark.parametrize("by", ["command", "variable"])
def test_a_configured_command_takes_precedence_over_the_plugin_file(installed, monkeypatch, by):
    front(installed)
    if by == "variable":
        monkeypatch.setenv("DOCKER_MODEL_COMMAND", "docker model")
    command = "docker model" if by == "command" else None
    assert DockerModel("ai/smollm2", command=command).generate("x").text == "You said: x"
    assert status(command=command).command == (str(installed.bin / "docker"), "model")
    assert installed.starts == []


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"SchemaVersion": "2.0.0"}, "the plugin's SchemaVersion is '2.0.0'"),
        ({"SchemaVersion": None}, "the plugin's SchemaVersion is None"),
        ({"Vendor": ""}, "the plugin's metadata has no Vendor"),
        ({"before": "exit 1"}, "the plugin file failed to print its metadata"),
        ({"before": "kill -9 $$"}, "the plugin file failed to print its metadata"),
        ({"before": "echo Usage: docker-model"}, "the plugin file prints no metadata"),
        ({"before": "yes | head -c 1000000; exit"}, "the plugin file prints no metadata"),
    ],
)
def test_a_plugin_that_docker_would_refuse_is_left_to_docker(installed, settings, reason):
    installed.update(**settings)
    for _ in range(2):
        argv, why = installed.program()
        assert argv == (str(installed.bin / "docker"), "model")
        assert why == f"docker in front: {reason}"
    assert installed.starts == [METADATA]
    installed.update()
    assert installed.program()[0] == (str(installed.file), "model")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\x7fELF garbage", "cannot be started: Exec format error"),
        (b"#!/nonexistent/sh\n", "cannot be started: No such file or directory"),
    ],
)
def test_a_plugin_that_cannot_be_started_is_left_to_docker(installed, text, reason):
    write_program(installed.file, text)
    assert installed.program()[1] == f"docker in front: {installed.file} {reason}"


def test_a_plugin_that_is_not_executable_is_left_to_docker(installed):
    installed.file.chmod(0o644)
    assert installed.program()[1] == f"docker in front: {installed.file} is not executable"
    installed.file.chmod(0o755)
    assert installed.program()[0] == (str(installed.file), "model")


@pytest.mark.parametrize("text", ["{", '{"aliases": {"builder": "image"}}'])
def test_a_configuration_with_aliases_or_errors_is_left_to_docker(installed, text):
    (installed.config / "config.json").write_text(text)
    assert "config.json" in installed.program()[1]
    assert installed.starts == []
    (installed.config / "config.json").unlink()
    assert installed.program()[0] == (str(installed.file), "model")


# -- time and threads ------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
def test_files_are_checked_in_the_worker_thread(installed, monkeypatch, asynchronous):
    threads = []

    def find(env):
        threads.append(threading.current_thread().name)
        return find_plugin(env)

    find_plugin = command_spec.find_plugin
    monkeypatch.setattr(command_spec, "find_plugin", find)
    model = DockerModel("ai/smollm2")
    assert threads == []
    if asynchronous:
        asyncio.run(model.agenerate("x"))
    else:
        model.generate("x")
    assert set(threads) == {"docker-model-worker"}


def test_metadata_that_never_arrives_times_out_and_leaves_no_process(installed):
    installed.update(before="exec sleep 60")
    model = DockerModel("ai/smollm2", timeout=Timeouts(first_output=0.2))
    with pytest.raises(GenerationTimeoutError) as caught:
        model.generate("x")
    assert caught.value.phase == "first_output"
    wait_until(lambda: parked() == [])
    installed.update()
    assert DockerModel("ai/smollm2").generate("x").text == "You said: x"


def test_repr_of_a_program_shows_no_environment(installed, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    program = tasks.run_blocking(CommandSpec.of(None, None).program())
    assert "hf_secret" not in f"{program!r}{program.reason}"
    assert pickle.loads(pickle.dumps(program)) == program


# -- ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL", "SIGSEGV"])
def test_a_killed_plugin_is_reported_with_its_signal(simulate, tmp_path, name):
    """With `docker` in front, only exit code 255 or 1 is known."""
    Installed(simulate({"ai/smollm2": [Text("some"), Hang()]}), tmp_path)
    stream = DockerModel("ai/smollm2").stream("x")
    assert next(stream) == "some"
    (pid,) = parked()
    os.kill(pid, getattr(signal, name))
    with pytest.raises(GenerationError) as caught:
        next(stream)
    error = caught.value
    assert (error.signal, error.exit_code, error.partial) == (signal.Signals[name], None, "some")
    assert name in error.message
    assert error.hint


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_killed_standby_plugin_is_replaced_by_a_new_start(installed, name):
    model = DockerModel("ai/smollm2", standby=1)
    model.warm_up()
    (pid,) = parked()
    os.kill(pid, getattr(signal, name))
    assert model.generate("x").text == "You said: x"
    assert installed.docker.prompts == ["x"]
    model.close()


def test_cancelling_ends_the_only_process(simulate, tmp_path):
    docker = simulate({"ai/smollm2": [Text("some"), Hang()]})
    Installed(docker, tmp_path)
    stream = DockerModel("ai/smollm2").stream("x")
    assert next(stream) == "some"
    stream.cancel()
    docker.wait_all_gone()
    docker.wait_gone()
    assert list(stream) == []
    assert stream.completion is None
