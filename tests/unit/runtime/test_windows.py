"""Process trees on Windows: jobs, overlapped pipes, and handles that are not inherited."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from docker_model._runtime import Child, Stream, io_thread, tasks
from docker_model._runtime.stream import HIGH_WATER
from tests.support.platforms import open_descriptors, windows
from tests.support.playing import player, run

pytestmark = windows
ENV = dict(os.environ)


def test_an_exit_code_of_32_bits_is_kept():
    assert tasks.run_blocking(run(player(["exit", -1]), env=ENV)).exit_code == 0xFFFFFFFF


def test_the_exit_code_of_a_closed_job_is_unknown():
    async def ended():
        child = await Child.start(player(["sleep", 60]), env=ENV, on_stdout=print)
        child.end()
        return await child.ended

    end = tasks.run_blocking(ended())
    assert (end.code, end.signal) == (None, None)


def test_a_grandchild_is_killed_with_the_job(liveness):
    grandchild = player(["here"], ["sleep", 60])
    code = f"import subprocess; subprocess.run({grandchild!r})"

    async def start():
        argv = [sys.executable, "-c", code]
        return await Child.start(argv, env=liveness.env, on_stdout=print)

    async def end(child):
        child.end()
        await child.ended

    child = tasks.run_blocking(start())
    connection = liveness.accept()
    assert connection.recv(1) == b"!"
    tasks.run_blocking(end(child))
    assert connection.recv(1) == b""


@pytest.mark.parametrize("ending", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_the_system_ends_all_children_of_a_process_that_dies(ending, liveness):
    code = textwrap.dedent(
        f"""
        import os, sys
        from docker_model._runtime import Child, tasks
        async def start():
            await Child.start({player(["here"], ["sleep", 60])!r}, env=dict(os.environ),
                on_stdout=print)
        tasks.run_blocking(start())
        sys.stdin.read()
        {ending}
        """
    )
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env=liveness.env) as process:
        connection = liveness.accept()
        assert connection.recv(1) == b"!"
        process.stdin.close()
        process.wait(60)
    assert connection.recv(1) == b""


def test_half_a_prompt_is_never_sent(liveness):
    async def start():
        argv = player(["here"], ["sleep", 60], ["read"], ["here"])
        child = await Child.start(argv, env=liveness.env, on_stdout=print)
        child.write(b"y" * 10_000_000)
        return child

    async def end(child):
        child.end()
        return await child.ended

    child = tasks.run_blocking(start())
    connection = liveness.accept()
    assert connection.recv(1) == b"!"
    assert not tasks.run_blocking(end(child)).delivered
    assert connection.recv(1) == b""


def test_other_processes_inherit_no_pipe():
    """A process that held a copy of stdin would keep the child waiting for the end of input."""

    async def finish(child):
        child.write(b"x")
        return (await child.ended).code

    async def start():
        return await Child.start(player(["read"]), env=ENV, on_stdout=print)

    child = tasks.run_blocking(start())
    with subprocess.Popen(player(["read"]), stdin=subprocess.PIPE, close_fds=False) as stranger:
        assert tasks.run_blocking(finish(child)) == 0
        stranger.stdin.close()


def test_a_slow_consumer_pauses_the_process():
    size = 5 * HIGH_WATER

    async def produce(sink):
        argv = player(["write", 1, "x" * 1024, size // 1024])
        child = await Child.start(argv, env=ENV, on_stdout=lambda data: sink.put(data, len(data)))
        sink.on_full, sink.on_drained = child.pause, child.resume
        await asyncio.shield(child.ended)

    stream = Stream(produce)
    total = len(stream.next())

    async def full():
        while not stream._sink.full:
            await asyncio.sleep(0.001)
        return stream._sink._put - stream._sink.taken

    assert tasks.run_blocking(full()) <= HIGH_WATER + 2 * 65536
    assert total + sum(map(len, iter(stream.next, None))) == size


def test_twelve_processes_at_once_leave_no_handle():
    async def all_of():
        runs = [run(player(["read"], ["write", 1, "ok"]), env=ENV, stdin=b"x") for _ in range(12)]
        return [ran.stdout for ran in await asyncio.gather(*runs)]

    assert tasks.run_blocking(all_of()) == [b"ok"] * 12
    before = open_descriptors()
    assert tasks.run_blocking(all_of()) == [b"ok"] * 12
    assert open_descriptors() <= before + 3


def test_an_invalid_program_raises(tmp_path):
    program = tmp_path / "garbage.exe"
    program.write_bytes(b"\0garbage")
    for name in (program, tmp_path / "nothing.exe"):
        with pytest.raises(OSError):
            tasks.run_blocking(run([str(name)], env=ENV))
    assert not io_thread.current().children


def test_the_io_loop_leaves_ctrl_c_to_the_callers_loop():
    code = textwrap.dedent(
        """
        import asyncio, signal
        from docker_model._runtime import io_thread
        async def main():
            before = signal.set_wakeup_fd(-1)
            signal.set_wakeup_fd(before)
            io_thread.current()
            assert signal.set_wakeup_fd(before) == before
        asyncio.run(main())
        """
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_blocked_consumer_can_be_interrupted():
    """Before Python 3.14 a lock wait cannot be interrupted: the consumer waits in slices."""
    begun = threading.Event()

    async def produce(sink):
        begun.set()
        await asyncio.sleep(3600)

    def interrupt():
        begun.wait()
        import _thread  # noqa: PLC0415

        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        Stream(produce).next()
