"""Cancellation of LangChain chains, with a handler that keeps each exception alive.

Leaving a chain ends the run immediately: the runner sees the client disconnect within a second.
Three cases depend on core and are not tested here:

- core reads the stream of a synchronous `prompt | llm | parser` to its end;
- core does not cancel the tasks of `RunnableParallel`;
- core drop an object between a chain's error and the model's stream (a parser, a piece that has
  just arrived) without closing it, so it lives as long as the error that the handler keeps.
"""

import asyncio
import contextlib
import gc
import threading

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel

from docker_model.testing import Hang, Text
from langchain_docker_model import DockerModelLLM

DISCONNECT_TIMEOUT = 60  # seconds until the runner must have seen the client disconnect


class Keeper(BaseCallbackHandler):
    """A handler that stores its arguments, as tracers do until they have sent them."""

    def __init__(self):
        self.kept = []

    def keep(self, *args, **settings):
        self.kept.append((args, settings))

    on_llm_start = on_llm_new_token = on_llm_end = keep
    on_chain_start = on_chain_end = keep

    def on_llm_error(self, error, **settings):
        self.keep(error, error.__traceback__, **settings)

    on_chain_error = on_llm_error


@pytest.fixture
def keeper():
    return Keeper()


@pytest.fixture
def docker(simulate):
    """Simulate a model whose answer never ends."""
    return simulate(script=[Text("some", 4), Hang()])


@pytest.fixture(params=["callbacks of call", "callbacks of model"])
def config(request, keeper):
    return {"callbacks": [keeper]} if request.param == "callbacks of call" else {}


@pytest.fixture
def llm(config, keeper):
    callbacks = None if config else [keeper]
    return DockerModelLLM(model="ai/smollm2", callbacks=callbacks)


PROMPT = PromptTemplate.from_template("{x}")
CHAINS = {
    "llm": lambda llm: llm,
    "prompt": lambda llm: PROMPT | llm,
    "bound": lambda llm: PROMPT | llm.bind(stop=["no such"]),
    "fallbacks": lambda llm: PROMPT | llm.with_fallbacks([llm]),
}
ASYNC_CHAINS = CHAINS | {
    "retry": lambda llm: PROMPT | llm.with_retry(stop_after_attempt=2),
    "nested": lambda llm: RunnableLambda(lambda _: {"x": "hi"}) | PROMPT | llm,
}
CALLS = ASYNC_CHAINS | {
    "parser": lambda llm: PROMPT | llm | StrOutputParser(),
    "parallel": lambda llm: PROMPT | RunnableParallel(a=llm, b=llm),
}


def input_of(name):
    return "hi" if name == "llm" else {"x": "hi"}


def break_out(stream):
    for _ in stream:
        break


def close(stream):
    next(stream)
    stream.close()
    return stream


def drop(stream):
    next(stream)


def fail_in_loop(stream):
    with contextlib.suppress(ZeroDivisionError):
        for _ in stream:
            raise ZeroDivisionError


def drop_in_cycle(stream):
    cycle = [stream]
    next(stream)
    cycle.append(cycle)
    del cycle, stream


@pytest.mark.parametrize("cancellation", [break_out, close, drop, fail_in_loop, drop_in_cycle])
@pytest.mark.parametrize("name", CHAINS)
def test_leaving_a_sync_chain_ends_the_child(name, cancellation, llm, config, docker):
    kept = cancellation(CHAINS[name](llm).stream(input_of(name), config))
    if cancellation is drop_in_cycle:
        gc.collect()
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
    docker.wait_all_gone(DISCONNECT_TIMEOUT)
    del kept


def test_an_error_thrown_into_a_chain_ends_the_child(llm, config, docker):
    stream = llm.stream("hi", config)
    next(stream)
    with pytest.raises(ZeroDivisionError):
        stream.throw(ZeroDivisionError())
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)


def test_dropping_a_chain_in_another_thread_ends_the_child(llm, config, docker):
    holder = [llm.stream("hi", config)]
    next(holder[0])
    thread = threading.Thread(target=holder.clear)
    thread.start()
    thread.join()
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)


async def break_out_async(stream):
    async for _ in stream:
        break


async def close_async(stream):
    async with contextlib.aclosing(stream):
        await anext(stream)
    return stream


async def throw_async(stream):
    await anext(stream)
    with pytest.raises(ZeroDivisionError):
        await stream.athrow(ZeroDivisionError())
    return stream


async def exceed_timeout(stream):
    now = asyncio.get_running_loop().time
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(None) as limit:
            async for _ in stream:  # the model sends no further piece
                limit.reschedule(now() + 0.05)


async def cancel_task(stream):
    async def read():
        async for _ in stream:
            begun.set()

    begun = asyncio.Event()
    task = asyncio.create_task(read())
    await begun.wait()
    await asyncio.sleep(0.05)  # the task waits for a piece that is never sent
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "cancellation", [break_out_async, close_async, throw_async, exceed_timeout, cancel_task]
)
@pytest.mark.parametrize("name", ASYNC_CHAINS)
def test_leaving_an_async_chain_ends_the_child(name, cancellation, llm, config, docker):
    async def main():
        kept = await cancellation(ASYNC_CHAINS[name](llm).astream(input_of(name), config))
        gc.collect()
        await asyncio.to_thread(docker.wait_gone, timeout=DISCONNECT_TIMEOUT)
        await asyncio.to_thread(docker.wait_all_gone, DISCONNECT_TIMEOUT)
        return kept

    asyncio.run(main())


@pytest.mark.parametrize("name", CALLS)
def test_cancelling_the_task_of_a_call_ends_the_child(name, llm, config, keeper, docker):
    chain = CALLS[name](llm)

    async def main():
        call = chain.ainvoke(input_of(name), config)
        task = asyncio.create_task(call)
        await asyncio.to_thread(docker.wait_prompts)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(docker.wait_all_gone, DISCONNECT_TIMEOUT)

    asyncio.run(main())
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
    assert keeper.kept
