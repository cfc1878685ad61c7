"""Signals to `docker` or to its plugin from outside; also with the real programs."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from docker_model import DockerModel, DockerModelError, GenerationTimeoutError, Timeouts
from docker_model.testing import Hang, Text
from tests.conftest import REAL_COMMAND
from tests.faults.fault_list import check_end, error
from tests.support.modes import MODES, call
from tests.support.platforms import posix

pytestmark = [pytest.mark.front, posix]
MODEL = DockerModel("ai/smollm2", timeout=Timeouts(idle=60))
SOME = [Text("some", 4), Hang()]


def children(pid):
    """Return the live children of a process, those of all its threads."""
    pids = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            pids += map(int, (task / "children").read_text().split())
    return pids


def pair():
    """Return the only running `docker` of this process and its plugin."""
    for docker in children(os.getpid()):
        for plugin in children(docker):
            return docker, plugin
    raise AssertionError


def error_after(mode, model, strike):
    """Return the error of a stream after `strike(docker, plugin)` in its middle."""
    pieces = []

    def sync():
        for piece in model.stream("hi"):
            pieces.append(piece)
            strike(*pair())

    async def asynchronous():
        async for piece in model.astream("hi"):
            pieces.append(piece)
            strike(*pair())

    with pytest.raises(DockerModelError) as caught:
        call(mode, sync, asynchronous)
    assert "".join(pieces) == caught.value.partial
    return caught.value


modes = pytest.mark.parametrize("mode", MODES)


@modes
@pytest.mark.parametrize("name", ["SIGKILL", "SIGHUP"])
def test_killing_only_docker_is_an_error(mode, name, simulate):
    docker, number = simulate(script=SOME), getattr(signal, name)
    end = error_after(mode, MODEL, lambda docker, _: os.kill(docker, number))
    check_end(error(signal=number, exit_code=None, partial="some"), end)
    docker.wait_all_gone()
    docker.wait_gone()


@modes
def test_sigterm_to_docker_alone_is_an_error(mode, simulate):
    docker = simulate(script=SOME)
    end = error_after(mode, MODEL, lambda docker, _: os.kill(docker, signal.SIGTERM))
    if REAL_COMMAND and isinstance(end, GenerationTimeoutError):
        docker.wait_gone()
        pytest.skip("this version goes on after one SIGTERM to `docker`, as all before v0.1.45")
    check_end(error(signal=None, exit_code=1, partial="some"), end)
    docker.wait_gone()


@modes
def test_killing_only_the_plugin_is_an_error(mode, simulate):
    docker = simulate(script=SOME)
    end = error_after(mode, MODEL, lambda _, plugin: os.kill(plugin, signal.SIGKILL))
    check_end(error(signal=None, exit_code=255, partial="some"), end)
    docker.wait_gone()


@modes
def test_stopping_both_processes_ends_in_a_timeout(mode, simulate):
    docker = simulate(script=SOME)
    model = DockerModel("ai/smollm2", timeout=Timeouts(idle=0.3))
    end = error_after(mode, model, lambda docker, _: os.killpg(docker, signal.SIGSTOP))
    check_end(error(GenerationTimeoutError, phase="idle", partial="some"), end)
    docker.wait_gone()
