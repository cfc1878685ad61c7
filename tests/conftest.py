"""The fixture that all suites share: a simulated `docker`, or the real one.

If the environment has DOCKER_MODEL_COMMAND (such as `docker model`), the tests run that command
with the same scripted runner. Tests that script the process itself are skipped.

With DOCKER_MODEL_TEST_PLUGIN=1, the tests run the simulated or real plugin without `docker`, as
`command=None` finds it.
"""

import gc
import os
import re
import signal
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings

from docker_model._runtime import io_thread, tasks
from docker_model.testing import SimulatedDocker
from tests.support.simulated_plugin import environment_of, install_plugin

# A background job ignores SIGINT, and `nohup` ignores SIGHUP; every child would inherit this.
for name, default in {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}.items():
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, default)

# Enough examples for frequent faults; `--hypothesis-profile=thorough` runs more.
ANY_SPEED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("usual", max_examples=40, **ANY_SPEED)
settings.register_profile("thorough", max_examples=1000, **ANY_SPEED)
settings.load_profile("usual")

REAL_COMMAND = os.environ.get("DOCKER_MODEL_COMMAND")
WITHOUT_FRONT = bool(os.environ.get("DOCKER_MODEL_TEST_PLUGIN"))
ALL_SLOW = re.compile(rb"^pytestmark = (\[\s*)?pytest\.mark\.slow", re.MULTILINE)


def pytest_configure(config):
    gc.disable()  # until all tests are collected
    config.addinivalue_line(
        "markers", "simulated: scripts the process itself, which only the simulation can do"
    )
    config.addinivalue_line("markers", "front: is about `docker` in front of its plugin")
    config.addinivalue_line("markers", "vcr: a mark in the standard tests of LangChain")


def pytest_ignore_collect(collection_path, config):
    """Ignore files whose tests are all slow; each worker would import frameworks for seconds."""
    if config.option.markexpr != "not slow":
        return None
    if collection_path.is_dir():
        return collection_path.name == "real" or None
    is_slow = collection_path.suffix == ".py" and ALL_SLOW.search(collection_path.read_bytes())
    return bool(is_slow) or None


def pytest_collection_modifyitems(items):
    if REAL_COMMAND:
        skip = pytest.mark.skip(reason="only the simulation can script the process itself")
        for item in items:
            if item.get_closest_marker("simulated"):
                item.add_marker(skip)
    if WITHOUT_FRONT:
        skip = pytest.mark.skip(reason="there is no `docker` in front of the plugin")
        for item in items:
            if item.get_closest_marker("front"):
                item.add_marker(skip)


def pytest_collection_finish():
    # Saves later garbage collections from scanning the frameworks and all tests.
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def environment():
    """Restore the environment, because `monkeypatch` can restore values of a simulation."""
    before = dict(os.environ)
    yield
    if dict(os.environ) != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def vcr():
    """Stand in for a fixture of pytest-recording; LangChain's test that takes it is skipped."""


@pytest.fixture
def simulate(monkeypatch, tmp_path_factory):
    """Return a function that opens a `SimulatedDocker`; check that no child survives the test."""
    with ExitStack() as stack:

        def make(*args, **settings):
            docker = stack.enter_context(SimulatedDocker(*args, **settings))
            if WITHOUT_FRONT and REAL_COMMAND:
                monkeypatch.setenv("DOCKER_MODEL_COMMAND", "")
            elif WITHOUT_FRONT:
                folder = tmp_path_factory.mktemp("plugin")
                install_plugin(docker, folder)
                for name, value in environment_of(folder, folder / "bin").items():
                    monkeypatch.setenv(name, value)
            elif REAL_COMMAND:
                monkeypatch.setenv("DOCKER_MODEL_COMMAND", REAL_COMMAND)
            return docker

        yield make
        wait_for_children()


def wait_for_children():
    """Wait until every child of the I/O thread has been reaped."""

    async def all_ended():
        # A pending start, such as one for the standby of a closed model, becomes a child later.
        await io_thread.current().run_in_worker(lambda: None, lambda _: None)
        for child in list(io_thread.current().children):
            await child.ended

    tasks.run_blocking(all_ended())


@pytest.fixture
def docker(simulate):
    """Return a simulated `docker` that answers `You said: ` and the prompt."""
    return simulate()
