"""The one fixture that all suites share: a simulated `docker`, or the real one.

With DOCKER_MODEL_COMMAND in the environment (such as `docker model`), the same tests run that
command in front of the same scripted runner; those that script the process itself are skipped.
"""

import os
import signal
from contextlib import ExitStack

import pytest

from docker_model._runtime import io_thread, tasks
from docker_model.testing import SimulatedDocker

# A background shell ignores SIGINT, which every child would inherit: Ctrl-C is tested here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REAL_COMMAND = os.environ.get("DOCKER_MODEL_COMMAND")


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "simulated: scripts the process itself, which only the simulation can do"
    )


def pytest_collection_modifyitems(items):
    if REAL_COMMAND:
        skip = pytest.mark.skip(reason="only the simulation can script the process itself")
        for item in items:
            if item.get_closest_marker("simulated"):
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def environment():
    """Give back the environment: monkeypatch, undone last, may restore what a simulation set."""
    before = dict(os.environ)
    yield
    if dict(os.environ) != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def simulate(monkeypatch):
    """Make a `SimulatedDocker`, open until the test ends, after which nothing may be alive."""
    with ExitStack() as stack:

        def make(*args, **settings):
            docker = stack.enter_context(SimulatedDocker(*args, **settings))
            if REAL_COMMAND:
                monkeypatch.setenv("DOCKER_MODEL_COMMAND", REAL_COMMAND)
            return docker

        yield make
        wait_for_children()


def wait_for_children():
    """Wait until every child of the I/O thread has been reaped."""

    async def all_ended():
        # A start that is under way, as a closed model's standby may leave one, is a child after it.
        await io_thread.current().run_in_worker(lambda: None, lambda _: None)
        for child in list(io_thread.current().children):
            await child.ended

    tasks.run_blocking(all_ended())


@pytest.fixture
def docker(simulate):
    """A simulated `docker` that echoes: `You said: ` and the prompt."""
    return simulate()
