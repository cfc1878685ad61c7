"""`Stream`: one producer on the I/O thread, one consumer in any thread or loop."""

import asyncio
import gc
import os
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest

from docker_model._runtime import Child, Sink, Stream, io_thread, tasks
from docker_model._runtime.stream import HIGH_WATER
from tests.support import other_loop
from tests.support.playing import player

ENV = dict(os.environ)


def chunks(*steps):
    async def produce(sink):
        child = await Child.start(
            player(*steps), env=ENV, on_stdout=lambda data: sink.put(data, len(data))
        )
        sink.on_full, sink.on_drained = child.pause, child.resume
        child.write(b"")
        try:
            await asyncio.shield(child.ended)
        finally:
            child.end()

    return Stream(produce)


def counting(n, gone):
    async def produce(sink):
        try:
            for i in range(n):
                sink.put(i + 1, 1)
                await asyncio.sleep(0)
            await asyncio.sleep(3600)
        finally:
            gone.set()

    return Stream(produce)


async def collect(stream):
    got = []
    while (item := await stream.anext()) is not None:
        got.append(item)
    return got


def collect_sync(stream):
    return list(iter(stream.next, None))


def test_items_arrive_in_order_and_then_the_end():
    assert b"".join(collect_sync(chunks(["write", 1, "ab"], ["write", 1, "cd"]))) == b"abcd"


@pytest.mark.parametrize("run", [asyncio.run, other_loop.run])
def test_items_arrive_in_any_loop(run):
    async def main():
        return b"".join(await collect(chunks(["write", 1, "ab"], ["write", 1, "cd"])))

    assert run(main()) == b"abcd"


def test_one_stream_may_move_between_loops_and_threads():
    gone = threading.Event()
    stream = counting(4, gone)
    got = [stream.next(), asyncio.run(stream.anext()), other_loop.run(stream.anext())]
    thread = threading.Thread(target=lambda: got.append(stream.next()))
    thread.start()
    thread.join()
    stream.cancel()
    assert got == [1, 2, 3, 4]
    assert gone.wait(60)


def ending_with(waited, consumed):
    """Return a stream whose producer blocks its thread after the last item until `consumed`."""

    async def produce(sink):
        sink.put("first")
        sink.put("last", last=True)
        waited.append(consumed.wait(60))

    return Stream(produce)


def test_a_sync_consumer_does_not_wait_for_the_producers_end():
    waited, consumed = [], threading.Event()
    stream = ending_with(waited, consumed)
    assert [stream.next() for _ in range(4)] == ["first", "last", None, None]
    consumed.set()
    tasks.run_blocking(asyncio.sleep(0))
    assert waited == [True]


@pytest.mark.parametrize("run", [asyncio.run, other_loop.run])
def test_an_async_consumer_does_not_wait_for_the_producers_end(run):
    waited, consumed = [], threading.Event()

    async def main():
        got = await collect(ending_with(waited, consumed))
        consumed.set()
        return got

    assert run(main()) == ["first", "last"]
    tasks.run_blocking(asyncio.sleep(0))
    assert waited == [True]


def test_cancelling_after_the_last_item_does_not_cancel_the_producer():
    over = threading.Event()

    async def produce(sink):
        sink.put("last", last=True)
        await asyncio.sleep(0)  # a cancelled task would end here
        over.set()

    stream = Stream(produce)
    assert stream.next() == "last"
    stream.cancel()
    assert stream.next() is None
    del stream
    assert over.wait(60)


def test_a_slow_consumer_pauses_the_reading_and_loses_nothing():
    size = 5 * HIGH_WATER
    stream = chunks(["write", 1, "x" * 1024, size // 1024])
    total = len(stream.next())

    async def waiting():
        sink = stream._sink
        while not sink.full:
            await asyncio.sleep(0.001)
        return sink._put - sink.taken

    assert tasks.run_blocking(waiting()) <= HIGH_WATER + 65536
    total += sum(map(len, collect_sync(stream)))
    assert total == size


def test_the_producers_error_is_raised_once_after_the_items_before_it():
    async def produce(sink):
        sink.put(1)
        msg = "boom"
        raise LookupError(msg)

    stream = Stream(produce)
    assert stream.next() == 1
    with pytest.raises(LookupError, match="boom"):
        stream.next()
    assert stream.next() is None


def test_cancelling_from_another_thread_unblocks_the_consumer():
    gone = threading.Event()
    stream = counting(1, gone)
    assert stream.next() == 1
    threading.Timer(0.05, stream.cancel).start()
    assert stream.next() is None
    assert gone.wait(60)
    stream.cancel()
    assert stream.next() is None


def test_cancelling_before_the_producers_first_step_unblocks_the_consumer():
    blocked, go_on = threading.Event(), threading.Event()

    def block():
        blocked.set()
        go_on.wait(60)

    async def produce(sink):
        raise AssertionError

    stream = Stream(produce)
    io_thread.current().post(block)
    assert blocked.wait(60)
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(stream.next)
        while not stream._sink.waiters:
            time.sleep(0.001)
        stream.cancel()  # start and cancel now run in the same iteration of the loop
        go_on.set()
        assert waiting.result(60) is None


def test_cancelling_before_the_start_starts_no_producer():
    gone = threading.Event()
    stream = counting(1, gone)
    stream.cancel()
    assert stream.next() is None
    assert not gone.is_set()


def test_cancelling_during_the_start_starts_no_producer(monkeypatch):
    """Another thread cancels when the I/O thread is known, and the stream does not have it yet."""
    gone, ended = threading.Event(), []

    async def produce(sink):
        gone.set()

    stream = Stream(produce, lambda: ended.append(None))
    thread = io_thread.current()

    def cancelled_meanwhile():
        stream.cancel()
        return thread

    with monkeypatch.context() as patched:
        patched.setattr(io_thread, "current", cancelled_meanwhile)
        assert stream.next() is None
    tasks.run_blocking(asyncio.sleep(0))
    assert not gone.is_set()
    assert len(ended) == 1
    assert stream._sink not in thread.sinks


def test_a_consumer_that_waits_again_during_a_wake_up_is_woken():
    """Without the interpreter's lock it may do so at any moment of the wake-up."""
    called = []

    class Waiters(deque):
        def popleft(self):
            if not called:
                self.append(lambda: called.append("again"))
            return super().popleft()

    sink = Sink()
    sink.waiters = Waiters([lambda: called.append("before")])
    sink.put(1)
    assert called == ["before", "again"]


@pytest.mark.parametrize("consume", [collect_sync, lambda stream: asyncio.run(collect(stream))])
def test_a_consumer_as_fast_as_its_producer_misses_no_item(consume):
    async def produce(sink):
        for i in range(20_000):
            sink.put(i)
            if not i % 3:
                await asyncio.sleep(0)

    assert consume(Stream(produce)) == list(range(20_000))


def test_dropping_a_stream_cancels_its_producer():
    gone = threading.Event()
    stream = counting(1, gone)
    stream.next()
    del stream
    assert gone.wait(60)


def test_collecting_a_reference_cycle_cancels_the_producer():
    gone = threading.Event()
    stream = counting(1, gone)
    stream.next()
    stream.itself = stream
    del stream
    gc.collect()
    assert gone.wait(60)


@pytest.mark.parametrize("run", [asyncio.run, other_loop.run])
def test_cancelling_a_wait_cancels_the_producer(run):
    gone = threading.Event()
    stream = counting(0, gone)

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await stream.anext()

    run(main())
    assert gone.wait(60)


def test_closing_the_loop_of_a_waiting_consumer_cancels_the_producer():
    gone = threading.Event()
    go_on = threading.Event()

    async def produce(sink):
        try:
            while not go_on.is_set():
                await asyncio.sleep(0.001)
            sink.put(1)
            await asyncio.sleep(3600)
        finally:
            gone.set()

    stream = Stream(produce)
    loop = asyncio.new_event_loop()
    task = loop.create_task(stream.anext())
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    go_on.set()
    assert gone.wait(60)
    task._log_destroy_pending = False
    task.get_coro().close()


def test_closing_a_loop_that_did_not_wait_keeps_the_producer():
    """The scheduled wake-up may still run, although the item arrived without it."""
    second = threading.Event()

    async def produce(sink):
        await asyncio.sleep(0)
        sink.put(1)
        while not second.is_set():
            await asyncio.sleep(0.001)
        sink.put(2)
        await asyncio.sleep(0)  # a cancelled producer would end here
        sink.put(3)

    stream = Stream(produce)

    def item_comes_before_the_wait():
        while not stream._sink.items:
            time.sleep(0.001)
        return asyncio.Future(loop=loop)

    loop = asyncio.new_event_loop()
    loop.create_future = item_comes_before_the_wait
    assert loop.run_until_complete(stream.anext()) == 1
    loop.close()
    second.set()
    while not stream._sink.closed:
        time.sleep(0.001)
    assert collect_sync(stream) == [2, 3]


def test_a_sync_call_on_the_io_thread_is_refused():
    async def on_the_thread():
        tasks.run_blocking(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="wait for itself"):
        tasks.run_blocking(on_the_thread())


def test_an_interrupted_call_returns_and_cancels_its_coroutine():
    gone = threading.Event()

    async def work():
        try:
            await asyncio.sleep(3600)
        finally:
            gone.set()

    async def main():
        async with asyncio.timeout(0.05):
            await tasks.run_async(work())

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert gone.wait(60)
