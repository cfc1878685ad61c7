"""Limits of a chat over HTTP, and every method to end one early."""

import asyncio
import gc
import threading
import time

import pytest

from docker_model import GenerationTimeoutError, Timeouts
from docker_model.http import Client
from docker_model.testing import Hang, Sleep, Text
from tests.support.modes import call
from tests.support.patience import patiently
from tests.unit.http.chatting import CLIENT, MESSAGES, MODEL, TOOL, chat, chunks, text


@pytest.mark.parametrize("mode", ["sync", "asyncio"])
@pytest.mark.parametrize(
    ("phase", "script", "end"),
    [
        ("first_output", [Hang()], ("first_output", "")),
        ("idle", [Text("some"), Hang()], ("idle", "some")),
        ("total", [Text("some"), Hang()], ("total", "some")),
    ],
)
def test_each_phase_times_out_with_the_text_so_far(simulate, mode, phase, script, end):
    docker = simulate({MODEL: script})

    def check(scale):
        client = Client(timeout=Timeouts(**{phase: 0.3 * scale}))
        client.endpoint()
        for ask in (chat, chunks):
            with pytest.raises(GenerationTimeoutError) as caught:
                ask(mode, client, MODEL, MESSAGES)
            assert (caught.value.phase, caught.value.partial) == end

    patiently(check)
    docker.wait_gone(2)


def test_the_queue_times_out_and_keeps_its_order(simulate):
    docker = simulate(script=lambda prompt: [Text(prompt), Hang()])
    client = Client(max_concurrency=1)

    def ask(prompt, client=client):
        return client.astream_chat(MODEL, [{"role": "user", "content": prompt}])

    first = client.stream_chat(MODEL, MESSAGES)
    next(first)
    with pytest.raises(GenerationTimeoutError) as caught:
        Client(max_concurrency=1, timeout=Timeouts(queue=0.2)).chat(MODEL, MESSAGES)
    assert caught.value.phase == "queue"

    async def main():
        waiting = [asyncio.create_task(anext(ask(str(i)))) for i in range(3)]
        await asyncio.sleep(0.1)
        first.cancel()
        for task in waiting:
            await task

    asyncio.run(main())
    assert docker.prompts == ["hi", "0", "1", "2"]


def test_a_slow_consumer_causes_no_idle_timeout_and_no_unbounded_buffer(simulate):
    """The model writes until the consumer resumes, or until no buffer can be that large."""
    size, most = 1_000_000, 500
    written, resumed = 0, threading.Event()

    def speak(prompt):
        nonlocal written
        for _ in range(most):
            if resumed.is_set():
                return
            written += 1
            yield Text("x" * size, size)

    simulate(script=speak)

    def check(scale):
        nonlocal written
        written = 0
        resumed.clear()
        client = Client(timeout=Timeouts(idle=0.5 * scale))
        total = 0
        for number, chunk in enumerate(client.stream_chat(MODEL, MESSAGES)):
            if number == 0:
                wait_until_unchanged(lambda: written, 0.8 * scale)  # longer than `idle`
                assert written < most
                resumed.set()
            total += len(text([chunk]))
        assert total == size * written

    patiently(check)


def wait_until_unchanged(count, seconds):
    before = None
    while before != (before := count()):
        time.sleep(seconds)


@pytest.fixture
def endless(simulate):
    return simulate({MODEL: [Text("some"), Hang()]})


def test_breaking_out_of_a_stream_closes_the_request(endless):
    for _ in CLIENT.stream_chat(MODEL, MESSAGES):
        break
    gc.collect()
    endless.wait_gone()


def test_closing_a_stream_ends_the_iteration_without_an_error(endless):
    stream = CLIENT.stream_chat(MODEL, MESSAGES)
    next(stream)
    stream.close()
    assert list(stream) == []
    endless.wait_gone()


def test_leaving_the_with_block_closes_the_request(endless):
    with CLIENT.stream_chat(MODEL, MESSAGES) as stream:
        next(stream)
    endless.wait_gone()


def test_cancelling_from_another_thread_unblocks_the_reader(endless):
    stream = CLIENT.stream_chat(MODEL, MESSAGES)
    next(stream)
    threading.Timer(0.1, stream.cancel).start()
    assert len(list(stream)) <= 1
    endless.wait_gone()


def test_a_stream_that_is_never_iterated_sends_no_request(docker):
    CLIENT.stream_chat(MODEL, MESSAGES).cancel()
    assert docker.requests == []


@pytest.mark.parametrize("mode", ["asyncio", "uvloop"])
def test_cancelling_the_task_closes_the_request(endless, mode):
    async def main():
        for ask in (
            CLIENT.achat(MODEL, MESSAGES),
            CLIENT.achat(MODEL, MESSAGES, tools=[TOOL]),
        ):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await ask
        async for _ in CLIENT.astream_chat(MODEL, MESSAGES):
            break
        async with CLIENT.astream_chat(MODEL, MESSAGES) as stream:
            await anext(stream)
        stream = CLIENT.astream_chat(MODEL, MESSAGES)
        await anext(stream)
        await stream.aclose()
        assert [chunk async for chunk in stream] == []

    call(mode, None, main)
    gc.collect()
    endless.wait_gone(5)


def test_cancelling_before_the_reply_starts_closes_the_request(simulate):
    requested = threading.Event()

    def silent(_):
        requested.set()
        yield Sleep(60)

    docker = simulate({MODEL: silent})

    async def main():
        task = asyncio.create_task(CLIENT.achat(MODEL, MESSAGES))
        await asyncio.to_thread(requested.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    docker.wait_gone()
