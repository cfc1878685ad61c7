"""Event loops and threads: one object serves all of them."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from llama_index.core.async_utils import asyncio_run

import docker_model
from docker_model.testing import Cut, Fail, Hang, SimulatedDocker, Sleep, Text
from llama_index_docker_model import DockerModelLLM
from tests.support import other_loop
from tests.support.llama_index_modes import MODES

AWAITED = [mode for mode in MODES if mode.is_async]
awaited = pytest.mark.parametrize("mode", AWAITED, ids=repr)


@awaited
async def test_a_call_does_not_block_the_loop(mode, llm):
    """The model ends its answer only after the loop has run another task."""
    ran = threading.Event()

    def speak(prompt):
        yield "one "
        assert ran.wait(60)
        yield "two"

    async def run_when_asked(docker):
        while not docker.prompts:
            await asyncio.sleep(0.005)
        ran.set()

    with SimulatedDocker(script=speak) as docker:
        other = asyncio.create_task(run_when_asked(docker))
        await mode(llm)
        await other


@awaited
async def test_five_calls_run_concurrently(mode, llm):
    """The model answers only after all five calls have arrived."""
    together = threading.Barrier(5)

    def speak(prompt):
        together.wait(30)
        yield f"You said: {prompt}"

    with SimulatedDocker(script=speak):
        answers = await asyncio.gather(*(mode(llm, f"no. {n}") for n in range(5)))
    assert [f"no. {n}" in mode.text_of(responses[-1]) for n, responses in enumerate(answers)] == [
        True
    ] * 5


async def test_concurrent_calls_are_limited(docker):
    llm = DockerModelLLM(model="ai/smollm2", max_concurrency=2)
    most = running = 0
    lock, pair = threading.Lock(), threading.Barrier(2)

    def speak(prompt):
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        yield "one"
        pair.wait(60)
        yield Sleep(0.05)
        with lock:
            running -= 1

    with SimulatedDocker(script=speak):
        await asyncio.gather(*(llm.acomplete("hi") for _ in range(6)))
    assert most == 2


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, other_loop.new_event_loop])
def test_one_object_serves_several_loops_in_turn(new_loop, mode, llm, docker):
    for _ in range(2):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            responses = runner.run(mode(llm, "hi"))
        assert "You said: " in mode.text_of(responses[-1])


def test_one_object_serves_several_threads(llm, docker):
    with ThreadPoolExecutor(6) as pool:
        texts = list(pool.map(lambda n: llm.complete(f"no. {n}").text, range(12)))
    assert texts == [f"You said: no. {n}" for n in range(12)]


@awaited
async def test_core_can_run_a_coroutine_from_sync_code_inside_a_loop(mode, llm, docker):
    responses = asyncio_run(mode(llm, "hi"))
    assert "You said: " in mode.text_of(responses[-1])


LONG = docker_model.Timeouts(total=0.2)
FAILURES = {
    "InvalidRequestError": ([], {"prompt": " "}),
    "UnsupportedParameterError": ([], {"num_ctx": 1}),
    "FileReferenceError": ([], {"prompt": "look at @/etc/hostname", "file_references": "refuse"}),
    "ModelNotFoundError": ([], {"model": "ai/nowhere"}),
    "ModelLoadError": ([Fail.out_of_memory()], {}),
    "ContextLengthError": ([Fail.context_too_long()], {}),
    "GenerationError": ([Text("so far"), Cut()], {}),
    "EmptyAnswerError": ([], {}),
    "GenerationTimeoutError": ([Hang()], {"timeout": LONG}),
    "DockerNotFoundError": ([], {"command": "/nonexistent/docker model"}),
}
BROKEN = {
    "PluginNotFoundError": "no-plugin",
    "RunnerUnavailableError": "refused",
    "DockerNotFoundError": "no-docker",
}


@pytest.mark.parametrize("name", FAILURES)
@awaited
async def test_an_error_passes_through_core_unchanged(name, mode, llm):
    """Core's `asyncio_run` replaces any `RuntimeError`, with a note about nested loops."""
    script, settings = FAILURES[name]
    with SimulatedDocker(script=script), pytest.raises(docker_model.DockerModelError) as caught:
        asyncio_run(mode(llm, **settings))
    assert type(caught.value).__name__ == name
    assert not isinstance(caught.value, RuntimeError)


@pytest.mark.parametrize("name", BROKEN)
async def test_an_error_of_the_system_passes_through_core_unchanged(name, mode, llm):
    with SimulatedDocker.broken(BROKEN[name]):
        with pytest.raises(getattr(docker_model, name)) as caught:
            await mode(llm)
        assert caught.value.hint in str(caught.value)
