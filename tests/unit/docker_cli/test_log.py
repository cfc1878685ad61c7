"""Log records under `docker_model`: never a prompt, an answer or a variable."""

import logging
import os
import signal

import pytest

from docker_model import DockerModel, pull_model
from docker_model._docker_cli import command_spec, standby_pool
from docker_model._runtime import io_thread, tasks
from docker_model.errors import PullError
from docker_model.testing import Fail, Pulled
from tests.support.platforms import posix_only
from tests.unit.docker_cli.test_plugin_program import Installed, front, parked, wait_until

pytestmark = [pytest.mark.simulated, posix_only("the simulated plugin is a shell script")]


@pytest.fixture
def log(caplog):
    """Yield the messages so far, in a process that has not logged its programs yet."""

    async def forget():  # keeps the connections, which would never be closed otherwise
        io_thread.current()._locals.pop(command_spec._Programs, None)

    tasks.run_blocking(forget())
    caplog.set_level(logging.INFO, logger="docker_model")

    def messages():
        return [record.getMessage() for record in caplog.records if record.name == "docker_model"]

    return messages


def test_the_program_is_logged_once_and_again_when_it_changes(log, simulate, tmp_path):
    installed = Installed(simulate(), tmp_path)
    model = DockerModel("ai/smollm2", env={"HF_TOKEN": "hf_secret"})
    model.generate("a prompt")
    model.generate("a prompt")
    front(installed)
    model.generate("a prompt")
    docker = installed.bin / "docker"
    assert log() == [
        f"docker model is started as {installed.file} model (without docker in front)",
        f"docker model is started as {docker} model (docker in front: {docker} is a script)",
    ]


def test_a_program_without_the_color_flag_is_logged(log, simulate, tmp_path):
    installed = Installed(simulate(version="v0.1.40"), tmp_path)
    for _ in range(2):
        DockerModel("ai/smollm2").generate("x")
    assert log()[1:] == [f"{installed.file} does not support --color, and is started without it"]


def test_a_standby_process_that_died_is_logged(log, simulate, tmp_path, monkeypatch):
    monkeypatch.setattr(standby_pool, "_GAP", 0.0)
    Installed(simulate(), tmp_path)
    model = DockerModel("ai/smollm2", standby=2)
    model.warm_up()
    os.kill(parked()[0], signal.SIGKILL)
    wait_until(lambda: len(parked()) == 1)
    model.generate("x")
    wait_until(lambda: any("before it was used" in message for message in log()))
    model.close()


def test_the_begin_and_the_end_of_a_pull_are_logged(log, simulate, tmp_path):
    docker = simulate(pullable={"ai/good": [Pulled()], "ai/bad": [Fail("disk full")]})
    Installed(docker, tmp_path)
    pull_model("ai/good")
    with pytest.raises(PullError):
        pull_model("ai/bad")
    pulls = [message for message in log() if message.startswith("pull")]
    assert pulls == ["pulling ai/good", "pulled ai/good", "pulling ai/bad"]
