"""Cancellation of a call at any moment."""

import asyncio
import contextlib
import threading
import time

import pytest

from docker_model import DockerModel
from docker_model.testing import Downloaded, Hang, Text
from tests.support import other_loop

DISCONNECT_TIMEOUT = 60  # seconds until the runner must have seen the client disconnect
MODEL = DockerModel("ai/smollm2")


@contextlib.contextmanager
def immediately(simulate):
    simulate(script=[Hang()])
    yield MODEL, lambda: None


@contextlib.contextmanager
def queued(simulate):
    docker = simulate(script=[Text("some", 4), Hang()])
    model = DockerModel("ai/smollm2", max_concurrency=1)
    with model.stream("first") as first:
        next(first)
        yield model, lambda: None
        assert docker.prompts == ["first"]
        assert docker.gone == []


@contextlib.contextmanager
def starting(simulate):
    docker = simulate(startup=[Hang()])

    def ready():
        while not docker.calls:
            time.sleep(0.001)

    yield MODEL, ready


@contextlib.contextmanager
def before_output(simulate):
    docker = simulate(script=[Hang()])
    yield MODEL, docker.wait_prompts
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)


@contextlib.contextmanager
def pulling(simulate):
    begun = threading.Event()
    simulate(["ai/other"], pullable={"ai/smollm2": [Downloaded(1, 2), Hang()]})
    yield (
        DockerModel("ai/smollm2", pull="missing", on_progress=lambda _: begun.set()),
        lambda: begun.wait(60),
    )


MOMENTS = [
    immediately,
    queued,
    pytest.param(starting, marks=pytest.mark.simulated),
    before_output,
    pulling,
]


def cancelled_sync(model, ready):
    stream = model.stream("hi")
    thread = threading.Thread(target=lambda: (ready(), stream.cancel()))
    thread.start()
    assert list(stream) == []
    assert stream.completion is None
    thread.join()


def cancelled_task(run, ask):
    def cancelled(model, ready):
        async def main():
            loop = asyncio.get_running_loop()
            task = loop.create_task(ask(model))
            thread = threading.Thread(
                target=lambda: (ready(), loop.call_soon_threadsafe(task.cancel))
            )
            thread.start()
            with pytest.raises(asyncio.CancelledError):
                await task
            thread.join()

        run(main())

    return cancelled


async def first_piece(model):
    return await anext(model.astream("hi"))


CANCELLATIONS = {
    "a stream from another thread": cancelled_sync,
    "asyncio agenerate": cancelled_task(asyncio.run, lambda model: model.agenerate("hi")),
    "uvloop agenerate": cancelled_task(other_loop.run, lambda model: model.agenerate("hi")),
    "asyncio astream": cancelled_task(asyncio.run, first_piece),
    "uvloop astream": cancelled_task(other_loop.run, first_piece),
}


@pytest.mark.parametrize("mode", CANCELLATIONS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_cancelling_at_any_moment_ends_the_call(mode, moment, simulate):
    with moment(simulate) as (model, ready):
        CANCELLATIONS[mode](model, ready)


def test_cancelling_a_stream_before_it_starts_starts_no_process(docker):
    stream = MODEL.stream("hi")
    stream.cancel()
    assert list(stream) == []
    assert (docker.calls, docker.requests) == ([], [])


def test_cancelling_after_the_end_changes_nothing(simulate):
    simulate()
    stream = MODEL.stream("hi")
    pieces = list(stream)
    completion = stream.completion
    stream.cancel()
    assert (completion.text, stream.completion) == ("".join(pieces), completion)
    assert list(stream) == []


def test_cancelling_while_reading_is_paused_ends_the_child(simulate):
    """The consumer is slow, so the pipe is full and the child is blocked in its write."""
    docker = simulate(script=[Text("x" * 30_000_000, 10_000)])
    stream = MODEL.stream("hi")
    next(stream)
    while not stream._stream._sink.full:
        time.sleep(0.001)
    stream.cancel()
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
    docker.wait_all_gone()
