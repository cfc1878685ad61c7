"""Leaving a running call, in any manner, ends the child and disconnects from the runner."""

import asyncio
import contextlib
import gc
import threading

import pytest

from docker_model import DockerModel
from docker_model._runtime import child
from docker_model.testing import Hang, IgnoreSignals, Text
from tests.support import other_loop
from tests.support.platforms import posix_only
from tests.support.playing import kill_runs

DISCONNECT_TIMEOUT = 60  # seconds until the runner must have seen the client disconnect
MODEL = DockerModel("ai/smollm2")
LOOPS = pytest.mark.parametrize("run", [asyncio.run, other_loop.run])


class OwnError(Exception):
    pass


def fail():
    raise OwnError


async def exhaust(stream):
    async for _ in stream:
        pass


@pytest.fixture
def docker(simulate):
    """Simulate a model whose answer never ends."""
    return simulate(script=[Text("some", 4), Hang()])


# -- from a synchronous loop, without another thread or task ---------------------------------


def leave_with_block():
    with MODEL.stream("hi") as stream:
        next(stream)


def close_stream():
    stream = MODEL.stream("hi")
    next(stream)
    stream.close()
    stream.close()
    assert list(stream) == []
    return stream


def cancel_stream():
    stream = MODEL.stream("hi")
    next(stream)
    stream.cancel()
    assert next(stream, None) is None
    return stream


def break_out_of_stream():
    for _ in MODEL.stream("hi"):
        break


def break_out_of_events():
    for _ in MODEL.stream("hi").events():
        break


def fail_in_loop():
    with contextlib.suppress(OwnError):
        for _ in MODEL.stream("hi"):
            fail()


def fail_in_with_block_and_keep_the_error():
    try:
        with MODEL.stream("hi") as stream:
            for _ in stream:
                fail()
    except OwnError as error:
        return error


def fail_in_loop_and_keep_the_error():
    try:
        for _ in MODEL.stream("hi"):
            fail()
    except OwnError as error:
        return error


def drop_stream():
    stream = MODEL.stream("hi")
    next(stream)
    del stream


def drop_generator_around_stream():
    pieces = (piece for piece in MODEL.stream("hi"))
    next(pieces)
    del pieces


def drop_stream_in_cycle():
    stream = MODEL.stream("hi")
    next(stream)
    stream.itself = stream
    del stream
    gc.collect()


def drop_stream_in_another_thread():
    holder = [MODEL.stream("hi")]
    next(holder[0])
    thread = threading.Thread(target=holder.clear)
    thread.start()
    thread.join()


SYNC_CANCELLATIONS = [
    leave_with_block,
    close_stream,
    cancel_stream,
    break_out_of_stream,
    break_out_of_events,
    fail_in_loop,
    fail_in_with_block_and_keep_the_error,
    fail_in_loop_and_keep_the_error,
    drop_stream,
    drop_generator_around_stream,
    drop_stream_in_cycle,
    drop_stream_in_another_thread,
]


@pytest.mark.parametrize("cancellation", SYNC_CANCELLATIONS)
def test_leaving_a_sync_stream_ends_the_child(cancellation, docker):
    kept = cancellation()
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
    docker.wait_all_gone()
    del kept


@pytest.mark.parametrize("cancellation", [drop_stream, break_out_of_stream, cancel_stream])
def test_leaving_a_sync_stream_inside_a_running_loop_ends_the_child(cancellation, docker):
    async def main():
        kept = cancellation()
        docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
        return kept

    asyncio.run(main())
    docker.wait_all_gone()


async def leave_async_with_block():
    async with MODEL.astream("hi") as stream:
        await anext(stream)


async def aclose_stream():
    stream = MODEL.astream("hi")
    await anext(stream)
    await stream.aclose()
    assert [piece async for piece in stream] == []
    return stream


async def cancel_async_stream():
    stream = MODEL.astream("hi")
    await anext(stream)
    stream.cancel()
    assert await anext(stream, None) is None
    return stream


async def break_out_of_async_stream():
    async for _ in MODEL.astream("hi"):
        break


async def break_out_of_async_events():
    async for _ in MODEL.astream("hi").events():
        break


async def fail_in_async_with_block_and_keep_the_error():
    try:
        async with MODEL.astream("hi") as stream:
            async for _ in stream:
                fail()
    except OwnError as error:
        return error


async def drop_async_stream():
    stream = MODEL.astream("hi")
    await anext(stream)
    del stream


async def drop_async_generator_around_stream():
    pieces = (piece async for piece in MODEL.astream("hi"))
    await anext(pieces)
    del pieces


async def drop_async_stream_in_cycle():
    stream = MODEL.astream("hi")
    await anext(stream)
    stream.itself = stream
    del stream
    gc.collect()


async def exceed_asyncio_timeout():
    stream = MODEL.astream("hi")
    await anext(stream)
    limit = asyncio.timeout(0.01)
    with pytest.raises(TimeoutError):
        async with limit:
            await exhaust(stream)


async def exceed_wait_for():
    stream = MODEL.astream("hi")
    await anext(stream)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(exhaust(stream), 0.01)


async def cancel_task():
    stream = MODEL.astream("hi")

    async def read():
        async for _ in stream:
            begun.set()

    begun = asyncio.Event()
    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return stream


async def fail_in_other_task_of_group():
    stream = MODEL.astream("hi")
    await anext(stream)

    async def fail_soon():
        await asyncio.sleep(0.01)
        fail()

    with contextlib.suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(exhaust(stream))
            tasks.create_task(fail_soon())


async def cancel_gather():
    streams = [MODEL.astream("hi") for _ in range(2)]
    await asyncio.gather(*map(anext, streams))
    waiting = asyncio.gather(*map(exhaust, streams))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def end_the_loop():
    stream = MODEL.astream("hi")
    await anext(stream)
    asyncio.get_running_loop().kept = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)


ASYNC_CANCELLATIONS = [
    leave_async_with_block,
    aclose_stream,
    cancel_async_stream,
    break_out_of_async_stream,
    break_out_of_async_events,
    fail_in_async_with_block_and_keep_the_error,
    drop_async_stream,
    drop_async_generator_around_stream,
    drop_async_stream_in_cycle,
    exceed_asyncio_timeout,
    exceed_wait_for,
    cancel_task,
    fail_in_other_task_of_group,
    cancel_gather,
    end_the_loop,
]


@LOOPS
@pytest.mark.parametrize("cancellation", ASYNC_CANCELLATIONS)
def test_leaving_an_async_stream_ends_the_child(cancellation, run, docker):
    async def main():
        kept = await cancellation()
        if cancellation is not end_the_loop:
            await asyncio.to_thread(docker.wait_gone, timeout=DISCONNECT_TIMEOUT)
        return kept

    kept = run(main())
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
    docker.wait_all_gone()
    del kept


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, other_loop.new_event_loop])
def test_closing_the_loop_of_a_stream_ends_the_child(new_loop, docker):
    loop = new_loop()
    stream = MODEL.astream("hi")
    loop.run_until_complete(anext(stream))
    loop.close()
    del stream
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
    docker.wait_all_gone()


@posix_only("a child can ignore signals, but not the end of its job")
@pytest.mark.simulated
@LOOPS
def test_a_caller_does_not_wait_for_a_child_that_ignores_signals(run, simulate, monkeypatch):
    monkeypatch.setattr(child, "TERM_TO_KILL_TIMEOUT", 600)
    docker = simulate(script=[IgnoreSignals(), Text("some", 4), Hang()])

    async def main():
        stream = MODEL.astream("hi")
        await anext(stream)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(stream)
        assert docker.alive == 1

    run(main())
    kill_runs(docker)
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
    docker.wait_all_gone(DISCONNECT_TIMEOUT)
