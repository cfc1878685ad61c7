"""Leaving a call, in any manner, ends the child process, checked with the kernel."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate

from docker_model.testing import Hang, SimulatedDocker, Text
from langchain_docker_model import DockerModelLLM
from tests.support.platforms import needs_ctrl_c


@pytest.fixture
def docker():
    """Simulate a model whose answer never ends."""
    with SimulatedDocker(script=[Text("once upon a time "), Hang()]) as simulated:
        yield simulated


@pytest.fixture
def llm():
    return DockerModelLLM(model="ai/smollm2")


def chain_of(llm):
    return PromptTemplate.from_template("{x}") | llm


def full_chain_of(llm):
    return PromptTemplate.from_template("{x}") | llm | StrOutputParser()


CHAINS = {"llm": lambda llm: llm, "prompt | llm": chain_of}
ASYNC_CHAINS = CHAINS | {"prompt | llm | parser": full_chain_of}


def given(name):
    return "hi" if name == "llm" else {"x": "hi"}


# --- Sync ---


@pytest.mark.parametrize("name", CHAINS)
def test_breaking_out_of_a_stream_ends_the_child(name, llm, docker):
    for _ in CHAINS[name](llm).stream(given(name)):
        break
    docker.wait_all_gone()


def test_closing_a_stream_ends_the_child(llm, docker):
    stream = llm.stream("hi")
    next(stream)
    assert docker.alive == 1
    stream.close()
    docker.wait_all_gone()


def test_an_error_in_the_loop_ends_the_child(llm, docker):
    def loop():
        for _ in llm.stream("hi"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()
    docker.wait_all_gone()


def test_dropping_a_stream_in_another_thread_ends_the_child(llm, docker):
    holder = [llm.stream("hi")]
    next(holder[0])
    thread = threading.Thread(target=holder.clear)
    thread.start()
    thread.join()
    gc.collect()
    docker.wait_all_gone()


def test_a_stream_that_is_never_iterated_starts_no_process(llm, docker):
    llm.stream("hi")
    gc.collect()
    assert docker.alive == 0
    assert docker.prompts == []


INTERRUPTED = {"invoke('hi')": 1, "batch(['hi'] * 3)": 3, "stream('hi')": 1}  # and their prompts


@needs_ctrl_c
def test_ctrl_c_and_the_exit_of_the_interpreter_end_the_child(docker):
    """In a separate process, whose main thread receives the signal."""
    code = """
from langchain_docker_model import DockerModelLLM
llm = DockerModelLLM(model="ai/smollm2")
"""
    for call in INTERRUPTED:
        code += f"""
try:
    for _ in llm.{call}:
        pass
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    code += """
stream = llm.stream("hi")
next(stream)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        prompts = 0
        for count in INTERRUPTED.values():
            prompts += count
            docker.wait_prompts(prompts, 60)
            os.kill(process.pid, signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            docker.wait_gone(prompts, 30)
        assert process.communicate(timeout=60) == ("", None)
    assert process.returncode == 0
    docker.wait_all_gone()


# --- Async ---


async def all_gone(docker):
    await asyncio.to_thread(docker.wait_all_gone)


@pytest.mark.parametrize("name", ASYNC_CHAINS)
async def test_breaking_out_of_an_async_stream_ends_the_child(name, llm, docker):
    async for _ in ASYNC_CHAINS[name](llm).astream(given(name)):
        break
    await all_gone(docker)


@pytest.mark.parametrize("name", ASYNC_CHAINS)
async def test_closing_an_async_stream_ends_the_child(name, llm, docker):
    async with contextlib.aclosing(ASYNC_CHAINS[name](llm).astream(given(name))) as pieces:
        async for _ in pieces:
            break
    await all_gone(docker)


async def test_leaving_an_event_stream_ends_the_child(llm, docker):
    async for event in chain_of(llm).astream_events({"x": "hi"}, version="v2"):
        if event["event"] == "on_llm_stream":
            break
    gc.collect()
    await all_gone(docker)


CALLS = {
    "ainvoke": lambda llm: llm.ainvoke("hi"),
    "abatch": lambda llm: llm.abatch(["hi"] * 3),
    "chain": lambda llm: full_chain_of(llm).ainvoke({"x": "hi"}),
    "astream": lambda llm: exhaust(llm.astream("hi")),
    "chain astream": lambda llm: exhaust(full_chain_of(llm).astream({"x": "hi"})),
}


async def exhaust(pieces):
    async for _ in pieces:
        pass


@pytest.mark.parametrize("name", CALLS)
async def test_cancelling_a_task_ends_the_child(name, llm, docker):
    task = asyncio.create_task(CALLS[name](llm))
    await asyncio.to_thread(docker.wait_prompts, 3 if name == "abatch" else 1, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await all_gone(docker)


@pytest.mark.parametrize("name", CALLS)
async def test_a_timeout_of_the_caller_ends_the_child(name, llm, docker):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await CALLS[name](llm)
    await all_gone(docker)


def test_the_end_of_the_loop_ends_the_child(llm, docker):
    async def leaves_everything_behind():
        pieces = llm.astream("hi")
        await anext(pieces)
        asyncio.get_running_loop().kept = (pieces, asyncio.create_task(llm.ainvoke("hi")))
        await asyncio.to_thread(docker.wait_prompts, 2, 30)

    asyncio.run(leaves_everything_behind())
    docker.wait_all_gone()


# When collected, core's own generator tries to await its callbacks.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_closing_the_loop_without_shutdown_ends_the_child(llm, docker):
    loop = asyncio.new_event_loop()
    pieces = llm.astream("hi")
    loop.run_until_complete(anext(pieces))
    loop.close()
    del pieces
    gc.collect()
    docker.wait_all_gone()
