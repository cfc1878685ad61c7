import asyncio

import pytest

from docker_model._runtime import io_thread, tasks
from tests.support import other_loop
from tests.support.platforms import open_descriptors
from tests.support.playing import Liveness


@pytest.fixture
def liveness():
    it = Liveness()
    yield it
    it.close()


@pytest.fixture(autouse=True)
def nothing_left():
    """Check that each test has reaped its children and closed its descriptors."""

    async def wait_for_children():
        for child in list(io_thread.current().children):
            await child.ended

    io_thread.current()
    other_loop.run(asyncio.sleep(0))  # uvloop keeps two descriptors of its own
    before = open_descriptors()
    yield
    tasks.run_blocking(wait_for_children())
    assert open_descriptors() <= before
