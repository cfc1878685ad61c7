"""Leaving a call, in any manner, ends its processes, checked with the kernel.

Each test runs without a callback handler and with core's `LlamaDebugHandler`, which stores every
exception, and with it core's generators.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading

import pytest
from llama_index.core.agent.workflow import ReActAgent
from llama_index.core.async_utils import asyncio_run
from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import PromptTemplate
from workflows.errors import WorkflowCancelledByUser

from docker_model import GenerationTimeoutError
from docker_model.testing import Hang, SimulatedDocker, Text
from llama_index_docker_model import DockerModelLLM
from tests.support.llama_index_modes import MODES, STREAMS, agents_of_core
from tests.support.platforms import needs_ctrl_c

GONE = 30  # seconds that a process may take to end, on a busy machine

SYNC = [mode for mode in STREAMS if not mode.is_async]
ASYNC = [mode for mode in STREAMS if mode.is_async]
AWAITED = [mode for mode in MODES if mode.is_async]
sync_streams = pytest.mark.parametrize("mode", SYNC, ids=repr)
async_streams = pytest.mark.parametrize("mode", ASYNC, ids=repr)


@pytest.fixture
def docker():
    """Simulate a model whose answer never ends."""
    with SimulatedDocker(script=[Text("once upon a time "), Hang()]) as simulated:
        yield simulated


@pytest.fixture(params=["no handler", "LlamaDebugHandler"])
def llm(request, debug):
    handlers = [debug] if request.param == "LlamaDebugHandler" else []
    return DockerModelLLM(model="ai/smollm2", callback_manager=CallbackManager(handlers))


# --- Sync ---


@sync_streams
def test_a_stream_read_to_its_end_leaves_no_process(mode, llm):
    with SimulatedDocker() as docker:
        assert list(mode.begin(llm))
        docker.wait_all_gone(GONE)


@sync_streams
def test_breaking_out_of_a_loop_ends_the_child(mode, llm, docker):
    for _ in mode.begin(llm):
        break
    docker.wait_all_gone(GONE)


@sync_streams
def test_closing_a_stream_ends_the_child(mode, llm, docker):
    stream = mode.begin(llm)
    next(stream)
    assert docker.alive == 1
    stream.close()
    docker.wait_all_gone(GONE)
    assert list(stream) == []


@sync_streams
def test_dropping_a_stream_ends_the_child(mode, llm, docker):
    stream = mode.begin(llm)
    next(stream)
    del stream
    docker.wait_all_gone(GONE)


@sync_streams
def test_collecting_a_reference_cycle_ends_the_child(mode, llm, docker):
    cycle = [mode.begin(llm)]
    next(cycle[0])
    cycle.append(cycle)
    del cycle
    gc.collect()
    docker.wait_all_gone(GONE)


@sync_streams
def test_an_error_in_the_loop_ends_the_child(mode, llm, docker):
    def loop():
        for _ in mode.begin(llm):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()
    docker.wait_all_gone(GONE)


@sync_streams
def test_an_error_thrown_into_the_stream_ends_the_child(mode, llm, docker):
    stream = mode.begin(llm)
    next(stream)
    with pytest.raises(ZeroDivisionError):
        stream.throw(ZeroDivisionError())
    docker.wait_all_gone(GONE)


@sync_streams
def test_a_stream_that_is_never_iterated_starts_no_process(mode, llm, docker):
    mode.begin(llm)
    assert docker.calls == []


@sync_streams
def test_dropping_a_stream_in_another_thread_ends_the_child(mode, llm, docker):
    holder = [mode.begin(llm)]

    def read():
        next(holder[0])
        holder.clear()

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    docker.wait_all_gone(GONE)


@sync_streams
def test_closing_a_stream_while_another_thread_waits_ends_the_child(mode, llm, docker):
    """A Python generator would raise `generator already executing`."""
    stream = mode.begin(llm)
    next(stream)
    remaining = []
    thread = threading.Thread(target=lambda: remaining.extend(stream))
    thread.start()
    stream.close()
    thread.join(60)
    assert not thread.is_alive()
    docker.wait_all_gone(GONE)
    assert "".join(response.delta for response in remaining) in "once upon a time "


@needs_ctrl_c
def test_ctrl_c_ends_the_child(docker):
    """In a separate process, whose main thread receives the signal."""
    code = """
from llama_index_docker_model import DockerModelLLM
llm = DockerModelLLM(model="ai/smollm2")
for call in llm.complete, llm.stream_complete:
    try:
        for _ in call("hi"):
            pass
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        for prompts in (1, 2):
            docker.wait_prompts(prompts, 60)
            os.kill(process.pid, signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            docker.wait_gone(prompts, GONE)
        assert process.communicate(timeout=60) == ("", None)
    assert process.returncode == 0
    docker.wait_all_gone(GONE)


@pytest.mark.parametrize("mode", MODES, ids=repr)
async def test_a_timeout_ends_the_child(mode, llm, docker):
    with pytest.raises(GenerationTimeoutError):
        await mode(llm, timeout=0.3)
    docker.wait_all_gone(GONE)


# --- Async ---


async def all_gone(docker):
    await asyncio.to_thread(docker.wait_all_gone, GONE)


@async_streams
async def test_an_async_stream_read_to_its_end_leaves_no_process(mode, llm):
    with SimulatedDocker() as docker:
        assert [response async for response in await mode.begin(llm)]
        await all_gone(docker)


@async_streams
async def test_breaking_out_of_an_async_loop_ends_the_child(mode, llm, docker):
    async for _ in await mode.begin(llm):
        break
    await all_gone(docker)


@async_streams
async def test_aclosing_a_stream_ends_the_child(mode, llm, docker):
    stream = await mode.begin(llm)
    await anext(stream)
    await stream.aclose()
    await all_gone(docker)
    assert [response async for response in stream] == []


@async_streams
async def test_aclosing_a_stream_while_another_task_waits_ends_the_child(mode, llm, docker):
    stream = await mode.begin(llm)
    await anext(stream)

    async def read():
        return [response async for response in stream]

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    await stream.aclose()
    remaining = await asyncio.wait_for(task, 60)
    assert "".join(response.delta for response in remaining) in "once upon a time "
    await all_gone(docker)


@async_streams
async def test_dropping_an_async_stream_ends_the_child(mode, llm, docker):
    stream = await mode.begin(llm)
    await anext(stream)
    del stream
    await all_gone(docker)


@async_streams
async def test_an_error_in_an_async_loop_ends_the_child(mode, llm, docker):
    async def loop():
        async for _ in await mode.begin(llm):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await loop()
    await all_gone(docker)


@async_streams
async def test_an_error_thrown_into_an_async_stream_ends_the_child(mode, llm, docker):
    stream = await mode.begin(llm)
    await anext(stream)
    with pytest.raises(ZeroDivisionError):
        await stream.athrow(ZeroDivisionError())
    await all_gone(docker)


@async_streams
async def test_an_async_stream_that_is_never_iterated_starts_no_process(mode, llm, docker):
    await mode.begin(llm)
    assert docker.calls == []


@pytest.mark.parametrize("mode", AWAITED, ids=repr)
async def test_cancelling_the_task_ends_the_child(mode, llm, docker):
    task = asyncio.create_task(mode(llm))
    await asyncio.to_thread(docker.wait_prompts)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await all_gone(docker)


@pytest.mark.parametrize("mode", AWAITED, ids=repr)
async def test_asyncio_timeout_ends_the_child(mode, llm, docker):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await mode(llm)
    await all_gone(docker)


@async_streams
async def test_breaking_out_inside_a_nested_asyncio_run_ends_the_child(mode, llm, docker):
    """Core runs sync code inside a loop like this, and never finalizes async generators."""

    async def read():
        async for _ in await mode.begin(llm):
            break

    asyncio_run(read())
    await all_gone(docker)


@async_streams
def test_a_stream_that_outlives_its_loop_ends_its_child(mode, llm, docker):
    async def begin():
        stream = await mode.begin(llm)
        await anext(stream)
        return stream

    stream = asyncio.run(begin())
    del stream
    docker.wait_all_gone(GONE)


@async_streams
def test_cancelling_a_task_of_a_loop_that_then_closes_ends_the_child(mode, llm, docker):
    loop = asyncio.new_event_loop()
    task = loop.create_task(mode(llm))
    loop.run_until_complete(asyncio.to_thread(docker.wait_prompts))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    docker.wait_all_gone(GONE)


# --- Objects of core ---


@agents_of_core
@pytest.mark.parametrize("streaming", [True, False])
async def test_cancelling_the_run_of_an_agent_ends_the_child(streaming, llm, docker):
    agent = ReActAgent(tools=[], llm=llm, streaming=streaming)
    handler = agent.run("hi")
    await asyncio.to_thread(docker.wait_prompts)
    await handler.cancel_run()
    await all_gone(docker)
    with pytest.raises(WorkflowCancelledByUser):
        await handler


def test_leaving_a_token_stream_ends_the_child(llm, docker):
    for _ in llm.stream(PromptTemplate("Tell me about {x}."), x="whales"):
        break
    docker.wait_all_gone(GONE)


# The reader gets the error, and core raises it in the thread as well.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_in_the_thread_of_a_chat_engine_reaches_the_reader(llm):
    with SimulatedDocker(script=[Text("once "), Hang()]) as docker:
        llm.timeout = 0.5
        # Core's default memory has a database, which nothing closes.
        memory = ChatMemoryBuffer.from_defaults(llm=llm)
        engine = SimpleChatEngine.from_defaults(llm=llm, memory=memory)
        response = engine.stream_chat("hi")
        with pytest.raises(GenerationTimeoutError):
            list(response.response_gen)
        docker.wait_all_gone(GONE)
