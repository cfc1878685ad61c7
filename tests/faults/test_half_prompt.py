"""A call that is cancelled while its prompt is written never sends half a prompt."""

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from docker_model import DockerModel, GenerationTimeoutError, Timeouts
from docker_model.testing import Hang
from tests.conftest import wait_for_children
from tests.faults.scripts import Script
from tests.support.patience import patiently
from tests.support.playing import player

BIG = 10_000_000
# Reads nothing for a long time, and reports the end of its input.
SLOW_READER = player(["here"], ["sleep", 60], ["read"], ["here"])


def read_until_closed(connection):
    received = b""
    while data := connection.recv(16):
        received += data
    return received


@pytest.mark.parametrize("cancellation", ["cancel", "timeout", "task"])
def test_cancelling_while_the_prompt_is_written_sends_no_half_prompt(cancellation, liveness):
    model = DockerModel("ai/smollm2", command=SLOW_READER, env=liveness.env)

    def exceed(scale):
        limited = replace(model, timeout=Timeouts(total=0.5 * scale))
        with pytest.raises(GenerationTimeoutError):
            limited.generate("y" * BIG)
        wait_for_children()
        connections = liveness.connected()
        assert len(connections) == 1
        return connections[0]

    async def cancel_task():
        task = asyncio.ensure_future(model.agenerate("y" * BIG))
        connection = await asyncio.to_thread(liveness.accept)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return connection

    if cancellation == "timeout":
        connection = patiently(exceed)
    elif cancellation == "task":
        connection = asyncio.run(cancel_task())
    else:
        stream = model.stream("y" * BIG)
        thread = threading.Thread(target=list, args=(stream,))
        thread.start()
        connection = liveness.accept()
        stream.cancel()
        thread.join()
    assert read_until_closed(connection) in (b"", b"!")


def test_the_exit_of_the_interpreter_sends_no_half_prompt(liveness):
    code = f"""
    model = DockerModel("ai/smollm2", command={SLOW_READER!r})
    threading.Thread(target=model.generate, args=("y" * {BIG},), daemon=True).start()
    sys.stdin.read()
    """
    with Script(code, env=liveness.env) as script:
        connection = liveness.accept()
        assert connection.recv(1) == b"!"
        assert script.end() == (0, "", "")
        assert read_until_closed(connection) == b""


def test_cancelling_at_many_moments_sends_no_half_prompt(simulate):
    """The cancellation is at many moments of the write, also with the real command."""
    docker = simulate(script=lambda prompt: [Hang()] if len(prompt) == BIG else "fine")
    model = DockerModel("ai/smollm2")
    for i in range(25):
        model.generate("is it there?")
        stream = model.stream("y" * BIG)
        thread = threading.Thread(target=list, args=(stream,))
        thread.start()
        time.sleep(i * 0.005)
        stream.cancel()
        thread.join()
    docker.wait_all_gone()
    assert {len(prompt) for prompt in docker.prompts} <= {len("is it there?"), BIG}
