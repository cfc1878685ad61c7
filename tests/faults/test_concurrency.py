"""Concurrency and limits: queues, many calls at once, large answers, exhausted resources."""

import asyncio
import collections
import contextlib
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from docker_model import DockerModel, GenerationTimeoutError, Timeouts
from docker_model._runtime import child
from docker_model.testing import Hang, IgnoreSignals, Text
from tests.support.modes import MODES, generate
from tests.support.patience import patiently
from tests.support.platforms import posix_only
from tests.support.playing import kill_runs, player

CALLS = 1000

# Starts in two milliseconds, records its prompt, and prints it.
SHELL = """
for word; do [ "$word" = inspect ] && exit; done
prompt=$(cat)
[ "$prompt" = hold ] && { printf held; exec sleep 60; }
echo "$prompt" >> "$RECORD"
printf %s "$prompt"
"""


@pytest.fixture
def record(tmp_path):
    return tmp_path / "record"


def shell_model(record, **settings):
    command = ("/bin/sh", "-c", SHELL, "model")
    return DockerModel("ai/smollm2", command=command, env={"RECORD": str(record)}, **settings)


async def occupy(model, count):
    """Start streams that occupy this number of slots."""
    streams = [model.astream("hold") for _ in range(count)]
    assert await asyncio.gather(*map(anext, streams)) == ["held"] * count
    return streams


async def check_all_slots_are_free(model):
    streams = await occupy(model, model.max_concurrency)
    late = DockerModel(**{**vars(model), "timeout": Timeouts(queue=0.2)})
    with pytest.raises(GenerationTimeoutError) as caught:
        await late.agenerate("one too many")
    assert caught.value.phase == "queue"
    for stream in streams:
        stream.cancel()


async def run_all(model, seed):
    """Start a thousand calls, and cancel half of them in the queue and while others end."""
    chance = random.Random(seed)
    holders = await occupy(model, model.max_concurrency)
    tasks = [asyncio.create_task(model.agenerate(str(number))) for number in range(CALLS)]
    await asyncio.sleep(0)  # each has started
    doomed = chance.sample(range(CALLS), CALLS // 2)
    queued = [tasks[number] for number in doomed[::2]]
    for task in queued:
        task.cancel()
    await asyncio.wait(queued)  # a holder that ends earlier would let one of them start
    later = iter(doomed[1::2])

    def cancel_another(_):
        if (number := next(later, None)) is not None:
            tasks[number].cancel()

    for number in set(range(CALLS)) - set(doomed):
        tasks[number].add_done_callback(cancel_another)
    for holder in holders:
        holder.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    for number in set(range(CALLS)) - set(doomed):
        assert answers[number].text == str(number)
    return doomed


@posix_only("a shell, which starts fast enough")
@pytest.mark.parametrize("limit", [1, 8])
def test_a_queue_keeps_its_order_and_loses_no_slot(limit, record):
    model = shell_model(record, max_concurrency=limit)

    async def main():
        doomed = await run_all(model, limit)
        await check_all_slots_are_free(model)
        return doomed

    doomed = asyncio.run(main())
    ran = [int(line) for line in record.read_text().split()]
    assert set(range(CALLS)) - set(doomed) <= set(ran)
    assert len(set(ran)) == len(ran)
    assert not set(ran) & set(doomed[::2])  # cancelled in the queue: they never started
    if limit == 1:
        assert ran == sorted(ran)


def answer_when_all_arrived(count):
    """Return a script that answers only when this number of calls is active at the same time."""
    barrier = threading.Barrier(count, timeout=60)

    def answer(prompt):
        barrier.wait()
        return [Text(f"{prompt} of {count}", 2)]

    return answer


def test_sixty_four_concurrent_streams_all_complete(simulate):
    docker = simulate(script=answer_when_all_arrived(64))
    model = DockerModel("ai/smollm2", max_concurrency=64)

    async def answer(number):
        return "".join([piece async for piece in model.astream(str(number))])

    async def main():
        return await asyncio.gather(*map(answer, range(64)))

    assert asyncio.run(main()) == [f"{number} of 64" for number in range(64)]
    docker.wait_all_gone()


def test_thirty_two_threads_all_get_answers(simulate):
    docker = simulate(script=answer_when_all_arrived(32))
    model = DockerModel("ai/smollm2", max_concurrency=32)
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(lambda number: model.generate(str(number)).text, range(32)))
    assert answers == [f"{number} of 32" for number in range(32)]
    docker.wait_all_gone()


@posix_only("a child can ignore signals, but not the end of its job")
@pytest.mark.simulated
def test_cancelling_sixty_four_streams_waits_for_no_child(simulate, monkeypatch):
    monkeypatch.setattr(child, "TERM_TO_KILL_TIMEOUT", 600)
    docker = simulate(script=[IgnoreSignals(), Text("some"), Hang()])
    model = DockerModel("ai/smollm2", max_concurrency=64)
    streams = [model.stream(str(number)) for number in range(64)]
    with ThreadPoolExecutor(64) as threads:
        assert list(threads.map(next, streams)) == ["some"] * 64
    for stream in streams:
        stream.cancel()
    assert docker.alive == 64
    kill_runs(docker)
    docker.wait_gone(64)
    docker.wait_all_gone()


# -- large answers ---------------------------------------------------------------------------

MB = 1_000_000
AHEAD = 2 * MB  # data waiting for a consumer: `HIGH_WATER`, a chunk, and two pipes
HELD = 8 * MB  # memory: that data, as bytes and as text, and the last megabyte of the whole

CONSUMER = """
import re, sys
from docker_model import DockerModel

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

stream = DockerModel("ai/smollm2", command=eval(sys.argv[1])).stream("hi")
size = len(next(stream))
before = peak()
for piece in stream:
    size += len(piece)
assert stream.completion.finish_reason == "stop"
print(size, peak() - before)
"""


def test_a_child_is_paused_when_a_slow_consumers_buffer_is_full(liveness):
    megabyte = (["write", 1, "x" * 1000, MB // 1000], ["here"])
    model = DockerModel("ai/smollm2", command=player(["read"], *megabyte * 8), env=liveness.env)
    stream = model.stream("hi")
    taken = len(next(stream))
    connection = liveness.accept()
    written = len(connection.recv(1))
    time.sleep(0.5)  # enough to write everything twenty times, on a machine that is not busy
    written += available(connection)
    assert written < 8
    for piece in stream:
        assert written * MB - taken < AHEAD
        taken += len(piece)
        written += available(connection)
    assert taken == 8 * MB


def available(connection):
    """Return the number of bytes that can be read without waiting."""
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        return len(connection.recv(8))
    return 0


def test_a_consumer_that_resumes_after_the_end_starts_no_timer(liveness, caplog):
    """Reading makes room for a run that has already ended, together with its limits."""
    steps = ["read"], ["write", 1, "x" * 10_000, 1000]

    def check(scale):
        limits = Timeouts(idle=0.2, total=1.0 * scale)
        model = DockerModel("ai/smollm2", command=player(*steps), env=liveness.env, timeout=limits)
        stream = model.stream("hi")
        next(stream)
        liveness.wait_all_dead(1)
        with pytest.raises(GenerationTimeoutError, match="total"):
            collections.deque(stream, 0)

    patiently(check)
    time.sleep(0.3)
    assert caplog.messages == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads its peak of memory from /proc")
def test_an_answer_of_a_hundred_megabytes_is_never_held_whole():
    steps = ["read"], ["write", 1, "x" * 50_000, 2000]
    ran = subprocess.run(
        [sys.executable, "-c", CONSUMER, repr(player(*steps))], check=True, stdout=subprocess.PIPE
    )
    got, grown = map(int, ran.stdout.split())
    assert got == 100 * MB
    assert grown < HELD


def test_an_endless_answer_is_capped(liveness):
    steps = ["read"], ["write", 1, "x" * 10_000, 1_000_000]
    model = DockerModel("ai/smollm2", command=player(*steps), env=liveness.env, max_chars=3 * MB)
    got = model.generate("hi")
    assert (len(got.text), got.finish_reason) == (3 * MB, "length")
    liveness.wait_all_dead(1)


@pytest.mark.parametrize("mode", MODES)
def test_a_prompt_of_fifty_megabytes_arrives_whole(mode):
    count = "import sys; 'inspect' in sys.argv or print(len(sys.stdin.buffer.read()))"
    model = DockerModel("ai/smollm2", command=(sys.executable, "-S", "-E", "-c", count))
    assert generate(mode, model, "y" * 50 * MB).text.strip() == str(50 * MB)


# -- exhausted resources ---------------------------------------------------------------------

EXHAUSTED = """
import asyncio, os, resource, threading
from docker_model import DockerModel, ResourceError
from docker_model._runtime import io_thread

ROOT = os.getuid() == 0
COMMAND = "/bin/sh", "-c", "cat > /dev/null; printf ok", "model"
MODEL = DockerModel("ai/smollm2", command=COMMAND)

def open_files():
    return len(os.listdir("/proc/self/fd")) - 1

async def exhaust():
    return [piece async for piece in MODEL.astream("hi")]

WAYS = [
    lambda: MODEL.generate("hi"),
    lambda: list(MODEL.stream("hi")),
    lambda: LOOP.run_until_complete(MODEL.agenerate("hi")),
    lambda: LOOP.run_until_complete(exhaust()),
]
LOOP = asyncio.new_event_loop()

def all_fail():
    for way in WAYS:
        try:
            way()
        except ResourceError as error:
            assert error.hint
        else:
            raise AssertionError("it had enough")

def all_work():
    assert MODEL.generate("hi").text == "ok"
    for way in WAYS:
        assert way()

def with_no_processes(act):
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, hard))
    if ROOT:  # for whom no limit holds
        os.setresuid(65534, 65534, 0)
    act()
    if ROOT:
        os.setresuid(0, 0, 0)
    resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))

import docker_model.streams
import docker_model._engine  # loads all: an import that finds no descriptor is Python's affair
"""

NO_FILES = """
all_work()
before = open_files(), threading.active_count()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
# Two pipes, two more, one for the result of `exec`, one to watch: each of them may fail.
for left in range(7):
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] + left, hard))
    all_fail()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (open_files(), threading.active_count()) == before, left
    assert not io_thread.current().children
all_work()
assert (open_files(), threading.active_count()) == before
"""

NO_FILES_AT_FIRST = """
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
before = open_files()
for left in range(3):
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + left, hard))
    all_fail()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert open_files() == before, left
all_work()
"""

NO_PROCESSES = """
all_work()
before = open_files(), threading.active_count()
with_no_processes(all_fail)
assert (open_files(), threading.active_count()) == before
assert not io_thread.current().children
all_work()
assert (open_files(), threading.active_count()) == before
"""

NO_THREAD_AT_FIRST = """
before = open_files()
with_no_processes(all_fail)
assert (open_files(), threading.active_count()) == (before, 1)
all_work()
"""

NO_SECOND_THREAD = """
io_thread.current()
with_no_processes(all_fail)
assert threading.active_count() == 2
all_work()
"""


SHORTAGES = {
    "no files": NO_FILES,
    "no files at the first call": NO_FILES_AT_FIRST,
    "no processes": NO_PROCESSES,
    "no thread at the first call": NO_THREAD_AT_FIRST,
    "no thread at the first start": NO_SECOND_THREAD,
}


@posix_only("limits for descriptors and processes")
@pytest.mark.parametrize("code", SHORTAGES.values(), ids=SHORTAGES)
def test_a_lack_of_descriptors_is_a_resource_error_and_leaks_nothing(code):
    ran = [sys.executable, "-W", "error", "-c", EXHAUSTED + code + "LOOP.close()\n"]
    subprocess.run(ran, check=True, timeout=60)
