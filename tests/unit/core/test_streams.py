"""Each method to leave a `DockerModel` stream early ends the run and the iteration."""

import asyncio
import gc
import threading

import pytest

from docker_model import DockerModel
from docker_model.testing import Hang, Text
from tests.support import other_loop

MODEL = DockerModel("ai/smollm2")


def endless(simulate):
    return simulate({"ai/smollm2": [Text("some"), Hang()]})


def test_breaking_out_of_a_stream_ends_the_run(simulate):
    docker = endless(simulate)
    for _ in MODEL.stream("x"):
        break
    docker.wait_gone()


def test_closing_a_stream_ends_the_iteration_without_an_error(simulate):
    docker = endless(simulate)
    stream = MODEL.stream("x")
    next(stream)
    stream.close()
    assert list(stream) == []
    assert stream.completion is None
    docker.wait_gone()


def test_closing_a_stream_before_its_first_piece_starts_no_process(docker):
    cancelled, closed, left = (MODEL.stream("x") for _ in range(3))
    cancelled.cancel()
    closed.close()
    with left:
        pass
    assert [list(stream) for stream in (cancelled, closed, left)] == [[], [], []]
    assert (left.completion, docker.calls, docker.requests) == (None, [], [])


def test_a_finished_stream_stays_finished(docker):
    stream = MODEL.stream("x")
    assert "".join(stream) == "You said: x"
    stream.cancel()
    assert (list(stream), list(stream.events())) == ([], [])
    assert stream.completion.text == "You said: x"


def test_cancelling_from_another_thread_unblocks_the_reader(simulate):
    docker = endless(simulate)
    stream = MODEL.stream("x")
    next(stream)
    threading.Timer(0.1, stream.cancel).start()
    assert list(stream) == []
    docker.wait_gone()


def test_collecting_a_dropped_stream_ends_the_run(simulate):
    docker = endless(simulate)
    stream = MODEL.stream("x")
    next(stream)
    stream.cycle = stream
    del stream
    gc.collect()
    docker.wait_gone()


@pytest.mark.parametrize("run", [asyncio.run, other_loop.run])
def test_cancelling_the_task_ends_the_run(simulate, run):
    docker = endless(simulate)

    async def main():
        task = asyncio.create_task(MODEL.agenerate("x"))
        await asyncio.to_thread(docker.wait_prompts)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async for _ in MODEL.astream("x"):
            break
        async with MODEL.astream("x") as stream:
            await anext(stream)

    run(main())
    docker.wait_gone(3)
