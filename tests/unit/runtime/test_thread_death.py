"""When the I/O thread ends unexpectedly, consumers get an error; the next call starts a thread."""

import asyncio
import ctypes
import inspect
import os
import pickle
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from docker_model import GenerationError
from docker_model._runtime import Stream, io_thread, tasks
from tests.support.platforms import WINDOWS
from tests.support.playing import player, run

ENV = dict(os.environ)


@pytest.fixture(autouse=True)
def _new_thread():
    """End the thread of earlier tests: a broken loop cannot close the connections they left."""
    thread = io_thread.started()
    if thread is not None:
        thread.post(sys.exit)
        thread.thread.join(60)


def raise_in_a_callback(thread):
    thread.post(sys.exit)


def stop_the_loop(thread):
    thread.post(thread.loop.stop)


def break_the_selector(thread):
    def broken(_):
        raise OSError(9, "Bad file descriptor")

    (thread.loop.proactor if WINDOWS else thread.loop._selector).select = broken
    thread.post(int)


def raise_in_the_thread(thread):
    identifier = ctypes.c_ulong(thread.thread.ident)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(identifier, ctypes.py_object(SystemExit))
    thread.post(int)


@pytest.fixture(
    params=[
        raise_in_a_callback,
        stop_the_loop,
        break_the_selector,
        pytest.param(
            raise_in_the_thread,
            marks=pytest.mark.skipif(
                sys.gettrace() is not None,
                reason="traced, as for coverage, Python 3.11 raises no such exception and spins",
            ),
        ),
    ],
    ids=lambda kill: kill.__name__,
)
def strike(request, caplog):
    """Yield a function that ends the thread soon; the thread must log that it ended."""
    yield lambda: request.param(io_thread.current())
    assert [record.getMessage().partition(": ")[0] for record in caplog.get_records("call")] == [
        "the I/O thread ended unexpectedly"
    ]


@pytest.fixture
def kill(strike):
    def kill():
        thread = io_thread.current().thread
        strike()
        thread.join(60)
        assert not thread.is_alive()

    return kill


def waiting_stream(begun):
    async def produce(sink):
        sink.put("first")
        sink.put("second")
        begun.set()
        await asyncio.sleep(3600)

    return Stream(produce)


def check_next_call():
    assert tasks.run_blocking(run(player(["write", 1, "new"]), env=ENV)).stdout == b"new"
    assert [thread.name for thread in threading.enumerate()].count("docker-model-io") == 1


def check_error(error):
    assert "I/O thread ended unexpectedly" in str(error)
    assert error.hint
    assert error.__cause__ is not None
    assert pickle.loads(pickle.dumps(error)).message == error.message


def test_a_blocked_consumer_gets_an_error_and_the_next_call_a_new_thread(kill):
    begun = threading.Event()
    stream = waiting_stream(begun)

    def consume():
        assert [stream.next(), stream.next()] == ["first", "second"]
        with pytest.raises(GenerationError) as caught:
            stream.next()
        return caught.value

    with ThreadPoolExecutor(1) as executor:
        consumer = executor.submit(consume)
        assert begun.wait(60)
        kill()
        check_error(consumer.result(60))
    check_next_call()


def test_an_awaiting_consumer_gets_an_error(kill):
    begun = threading.Event()
    stream = waiting_stream(begun)

    async def main():
        assert [await stream.anext(), await stream.anext()] == ["first", "second"]
        waiting = asyncio.ensure_future(stream.anext())
        assert await asyncio.to_thread(begun.wait, 10)  # the producer has sent its last piece
        await asyncio.to_thread(kill)
        with pytest.raises(GenerationError) as caught:
            await asyncio.wait_for(waiting, 60)
        check_error(caught.value)
        assert await tasks.run_async(asyncio.sleep(0, "new")) == "new"

    asyncio.run(main())


def test_a_consumer_gets_the_items_that_arrived_before_the_error(kill):
    begun = threading.Event()
    stream = waiting_stream(begun)
    assert stream.next() == "first"
    assert begun.wait(60)
    kill()
    assert stream.next() == "second"
    with pytest.raises(GenerationError):
        stream.next()
    stream.cancel()
    assert stream.next() is None


def test_a_call_that_has_not_started_gets_an_error_and_its_coroutine_is_closed(strike):
    blocked, go_on = threading.Event(), threading.Event()
    coroutine = asyncio.sleep(0)
    io_thread.current().post(lambda: (blocked.set(), go_on.wait(60)))
    assert blocked.wait(60)
    strike()
    with ThreadPoolExecutor(1) as executor:
        caller = executor.submit(tasks.run_blocking, coroutine)
        while not io_thread.current().sinks:
            time.sleep(0.001)
        go_on.set()
        check_error(caller.exception(10))
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    check_next_call()


def test_the_children_are_killed_when_the_thread_ends(kill, liveness):
    with ThreadPoolExecutor(1) as executor:
        call = run(player(["here"], ["sleep", 60]), env=liveness.env)
        caller = executor.submit(tasks.run_blocking, call)
        connection = liveness.accept()
        assert connection.recv(1) == b"!"
        kill()
        assert connection.recv(1) == b""
        check_error(caller.exception(10))
    check_next_call()


def test_a_process_that_is_being_started_is_killed_when_the_thread_ends(kill, liveness):
    begun, go_on = threading.Event(), threading.Event()

    def command():
        begun.set()
        go_on.wait(60)
        return player(["here"], ["sleep", 60])

    with ThreadPoolExecutor(1) as executor:
        caller = executor.submit(tasks.run_blocking, run(command, env=liveness.env))
        assert begun.wait(60)
        kill()
        check_error(caller.exception(10))
        go_on.set()
    while any(thread.name == "docker-model-worker" for thread in threading.enumerate()):
        time.sleep(0.001)
    check_next_call()
