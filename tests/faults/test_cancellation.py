"""Leaving a running call, in any manner, ends the child and disconnects from the runner."""

import asyncio
import contextlib
import gc
import threading
import time

import pytest

from docker_model import DockerModel
from docker_model._runtime.child import TERM_TO_KILL_TIMEOUT
from docker_model.testing import Hang, IgnoreSignals, Text
from tests.support import other_loop

DISCONNECT_TIMEOUT = 1.0  # seconds until the runner has seen the client disconnect
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


def leaves_with():
    with MODEL.stream("hi") as stream:
        next(stream)


def closes_stream():
    stream = MODEL.stream("hi")
    next(stream)
    stream.close()
    stream.close()
    assert list(stream) == []
    return stream


def cancels_stream():
    stream = MODEL.stream("hi")
    next(stream)
    stream.cancel()
    assert next(stream, None) is None
    return stream


def breaks_out():
    for _ in MODEL.stream("hi"):
        break


def breaks_out_of_events():
    for _ in MODEL.stream("hi").events():
        break


def fails():
    with contextlib.suppress(OwnError):
        for _ in MODEL.stream("hi"):
            fail()


def fails_and_keeps_the_error():
    try:
        with MODEL.stream("hi") as stream:
            for _ in stream:
                fail()
    except OwnError as error:
        return error


def fails_without_with_and_keeps_the_error():
    try:
        for _ in MODEL.stream("hi"):
            fail()
    except OwnError as error:
        return error


def drops():
    stream = MODEL.stream("hi")
    next(stream)
    del stream


def drops_a_generator_over_it():
    pieces = (piece for piece in MODEL.stream("hi"))
    next(pieces)
    del pieces


def leaves_a_cycle():
    stream = MODEL.stream("hi")
    next(stream)
    stream.itself = stream
    del stream
    gc.collect()


def drops_in_another_thread():
    holder = [MODEL.stream("hi")]
    next(holder[0])
    thread = threading.Thread(target=holder.clear)
    thread.start()
    thread.join()


SYNC_CANCELLATIONS = [
    leaves_with,
    closes_stream,
    cancels_stream,
    breaks_out,
    breaks_out_of_events,
    fails,
    fails_and_keeps_the_error,
    fails_without_with_and_keeps_the_error,
    drops,
    drops_a_generator_over_it,
    leaves_a_cycle,
    drops_in_another_thread,
]


@pytest.mark.parametrize("cancellation", SYNC_CANCELLATIONS)
def test_leaving_a_sync_stream_ends_the_child(cancellation, docker):
    kept = cancellation()
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
    docker.wait_all_gone()
    del kept


@pytest.mark.parametrize("cancellation", [drops, breaks_out, cancels_stream])
def test_leaving_a_sync_stream_inside_a_running_loop_ends_the_child(cancellation, docker):
    async def main():
        kept = cancellation()
        docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
        return kept

    asyncio.run(main())
    docker.wait_all_gone()


async def aleaves_with():
    async with MODEL.astream("hi") as stream:
        await anext(stream)


async def acloses_stream():
    stream = MODEL.astream("hi")
    await anext(stream)
    await stream.aclose()
    assert [piece async for piece in stream] == []
    return stream


async def acancels_stream():
    stream = MODEL.astream("hi")
    await anext(stream)
    stream.cancel()
    assert await anext(stream, None) is None
    return stream


async def abreaks_out():
    async for _ in MODEL.astream("hi"):
        break


async def abreaks_out_of_events():
    async for _ in MODEL.astream("hi").events():
        break


async def afails_and_keeps_the_error():
    try:
        async with MODEL.astream("hi") as stream:
            async for _ in stream:
                fail()
    except OwnError as error:
        return error


async def adrops():
    stream = MODEL.astream("hi")
    await anext(stream)
    del stream


async def adrops_a_generator_over_it():
    pieces = (piece async for piece in MODEL.astream("hi"))
    await anext(pieces)
    del pieces


async def aleaves_a_cycle():
    stream = MODEL.astream("hi")
    await anext(stream)
    stream.itself = stream
    del stream
    gc.collect()


async def times_out():
    stream = MODEL.astream("hi")
    await anext(stream)
    limit = asyncio.timeout(0.01)
    with pytest.raises(TimeoutError):
        async with limit:
            await exhaust(stream)


async def is_waited_for():
    stream = MODEL.astream("hi")
    await anext(stream)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(exhaust(stream), 0.01)


async def is_a_cancelled_task():
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


async def is_a_sibling_of_a_failing_task():
    stream = MODEL.astream("hi")
    await anext(stream)

    async def fail_soon():
        await asyncio.sleep(0.01)
        fail()

    with contextlib.suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(exhaust(stream))
            tasks.create_task(fail_soon())


async def is_gathered_and_cancelled():
    streams = [MODEL.astream("hi") for _ in range(2)]
    await asyncio.gather(*map(anext, streams))
    waiting = asyncio.gather(*map(exhaust, streams))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def ends_its_loop():
    stream = MODEL.astream("hi")
    await anext(stream)
    asyncio.get_running_loop().kept = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)


ASYNC_CANCELLATIONS = [
    aleaves_with,
    acloses_stream,
    acancels_stream,
    abreaks_out,
    abreaks_out_of_events,
    afails_and_keeps_the_error,
    adrops,
    adrops_a_generator_over_it,
    aleaves_a_cycle,
    times_out,
    is_waited_for,
    is_a_cancelled_task,
    is_a_sibling_of_a_failing_task,
    is_gathered_and_cancelled,
    ends_its_loop,
]


@LOOPS
@pytest.mark.parametrize("cancellation", ASYNC_CANCELLATIONS)
def test_leaving_an_async_stream_ends_the_child(cancellation, run, docker):
    async def main():
        kept = await cancellation()
        if cancellation is not ends_its_loop:
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


@pytest.mark.simulated
@LOOPS
def test_a_child_that_ignores_signals_is_killed_after_a_quarter_of_a_second(run, simulate):
    docker = simulate(script=[IgnoreSignals(), Text("some", 4), Hang()])

    async def main():
        stream = MODEL.astream("hi")
        await anext(stream)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(stream)
        assert time.monotonic() - began < TERM_TO_KILL_TIMEOUT  # the caller does not wait for it

    run(main())
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
    docker.wait_all_gone(DISCONNECT_TIMEOUT)
