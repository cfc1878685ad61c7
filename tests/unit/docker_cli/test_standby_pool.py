"""Standby processes answer, are replaced, and end without a request if they are not used."""

import asyncio
import gc
import os
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from docker_model import DockerModel, ModelNotFoundError
from docker_model._docker_cli import standby_pool
from docker_model._docker_cli.run import was_killed
from docker_model._runtime import io_thread, tasks
from docker_model._runtime.child import Exit
from docker_model.testing import Hang, Stderr, Text
from langchain_docker_model import DockerModelLLM as LangChainLLM
from llama_index_docker_model import DockerModelLLM as LlamaIndexLLM
from tests.support.platforms import WINDOWS, posix

pytestmark = pytest.mark.usefixtures("idle")


@pytest.fixture
def idle(monkeypatch):
    """Start standby processes without pauses, independently of the number of processors."""
    monkeypatch.setattr(standby_pool, "_GAP", 0.0)
    monkeypatch.setattr(standby_pool, "BACK_OFF", 0.05)


def parked():
    """Return the process ids of the children that wait for a prompt."""

    async def ask():
        return [child.pid for child in io_thread.current().children]

    return tasks.run_blocking(ask())


def kill(pid):
    """Kill a standby process; on POSIX, with its whole process group."""
    if WINDOWS:
        os.kill(pid, signal.SIGTERM)  # ends the process immediately
    else:
        os.killpg(pid, signal.SIGKILL)


def wait_until(true, seconds=60):
    """Wait for a state of the I/O thread, which sends no notification."""

    async def poll():
        async with asyncio.timeout(seconds):
            while not true():
                await asyncio.sleep(0.005)

    asyncio.run(poll())


@pytest.fixture
def model(docker):
    model = DockerModel("ai/smollm2", standby=2)
    yield model
    model.close()
    docker.wait_all_gone()


def test_a_standby_process_answers_and_is_replaced(docker, model):
    model.warm_up()
    before = parked()
    assert len(before) == 2
    assert model.generate("hi").text == "You said: hi"
    wait_until(lambda: len(parked()) == 2)
    assert len(set(before) & set(parked())) == 1
    assert docker.prompts == ["hi"]


@pytest.mark.simulated
def test_warming_up_with_an_old_cli_starts_standby_without_color(simulate):
    docker = simulate(version="v0.1.40")
    model = DockerModel("ai/smollm2", standby=2)
    model.warm_up()
    assert len(parked()) == 2
    assert [model.generate("x").text for _ in range(2)] == ["You said: x"] * 2
    model.close()
    argvs = [call.argv for call in docker.calls]
    assert argvs.count(("model", "run", "--color", "no", "--help")) == 1
    assert sum("--color" in argv for argv in argvs) == 1


def test_each_standby_process_answers_exactly_one_prompt(docker, model):
    model.warm_up()
    got = [model.generate(str(i)).text for i in range(8)]
    assert got == [f"You said: {i}" for i in range(8)]
    assert docker.prompts == [str(i) for i in range(8)]


def test_constructing_a_model_starts_no_process(docker, model):
    assert parked() == []
    assert docker.calls == []


def test_the_first_call_fills_the_standby(docker, model):
    model.generate("x")
    wait_until(lambda: len(parked()) == 2)


def test_close_ends_the_standby_without_a_request(docker, model):
    model.warm_up()
    requests = len(docker.requests)
    model.close()
    docker.wait_all_gone()
    assert len(docker.requests) == requests
    assert model.generate("again").text == "You said: again"
    wait_until(lambda: len(parked()) == 2)


def test_a_run_that_ends_after_close_does_not_refill_the_standby(simulate):
    docker = simulate({"ai/smollm2": [Text("some"), Hang()]})
    model = DockerModel("ai/smollm2", standby=1)
    stream = model.stream("x")
    next(stream)
    wait_until(lambda: len(parked()) == 2)
    model.close()
    wait_until(lambda: len(parked()) == 1)
    stream.close()
    docker.wait_all_gone()
    wait_until(lambda: parked() == [])


def test_a_stream_that_starts_after_close_does_not_refill_the_standby(docker):
    model = DockerModel("ai/smollm2", standby=1)
    stream = model.stream("x")
    model.close()
    assert "".join(stream) == "You said: x"
    docker.wait_all_gone()
    wait_until(lambda: parked() == [])


def test_collecting_a_model_ends_its_standby(docker):
    model = DockerModel("ai/smollm2", standby=2)
    model.warm_up()
    del model
    gc.collect()
    docker.wait_all_gone()
    wait_until(lambda: parked() == [])


def test_equal_models_share_the_standby_until_the_last_one_closes(docker):
    first, second = (DockerModel("ai/smollm2", standby=2) for _ in range(2))
    first.warm_up()
    second.warm_up()
    assert len(parked()) == 2
    first.close()
    assert len(parked()) == 2
    second.close()
    docker.wait_all_gone()


def test_unpickling_a_model_starts_no_process(docker, model):
    model.warm_up()
    copy = pickle.loads(pickle.dumps(model))
    assert copy == model
    copy.close()
    assert len(parked()) == 2


def test_killed_standby_processes_are_replaced_by_a_new_start(docker, model):
    model.warm_up()
    for pid in parked():
        kill(pid)
    assert model.generate("x").text == "You said: x"
    assert docker.prompts == ["x"]


@pytest.mark.parametrize(
    ("end", "killed"),
    [
        (Exit(None, 9, ""), True),
        (Exit(255, None, ""), True),
        (Exit(1, None, "context canceled"), True),
        (Exit(15, None, "", delivered=False), True),  # on Windows
        (Exit(15, None, ""), False),
        (Exit(1, None, "the model is too large"), False),
    ],
)
def test_a_run_is_repeated_only_if_another_process_ended_it(end, killed):
    assert was_killed(end) is killed


def test_a_standby_process_that_dies_while_it_is_taken_is_replaced(docker, model):
    model.warm_up()
    pids = parked()
    blocked, go_on = threading.Event(), threading.Event()

    def block():
        blocked.set()
        go_on.wait(60)

    io_thread.current().post(block)
    assert blocked.wait(60)
    with ThreadPoolExecutor(1) as executor:
        stream = model.stream("x")
        answer = executor.submit(lambda: "".join(stream))
        while not stream._stream._sink.waiters:
            time.sleep(0.001)
        for pid in pids:  # their exit is noticed after the call
            kill(pid)
        go_on.set()
        assert answer.result(60) == "You said: x"
    assert docker.prompts == ["x"]


@posix
def test_a_stopped_standby_process_is_ended_by_close(docker, model):
    model.warm_up()
    for pid in parked():
        os.killpg(pid, signal.SIGSTOP)
    model.close()
    docker.wait_all_gone()


@posix
def test_stopped_standby_processes_are_not_used(docker, model):
    """The time when a stopped process continues is unknown."""
    model.warm_up()
    stopped = parked()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)  # with all its threads
    assert model.generate("x").text == "You said: x"
    wait_until(lambda: not set(stopped) & set(parked()))


def test_old_standby_processes_are_not_used(docker, model, monkeypatch):
    model.warm_up()
    before = parked()
    monkeypatch.setattr(standby_pool, "MAX_AGE", 0.0)
    assert model.generate("x").text == "You said: x"
    monkeypatch.undo()
    wait_until(lambda: not set(before) & set(parked()))


@pytest.mark.simulated
def test_standby_processes_with_output_are_not_used(simulate):
    docker = simulate(startup=[Stderr("a warning\n")])
    model = DockerModel("ai/smollm2", standby=1)
    model.warm_up()
    assert model.generate("x").text == "You said: x"
    model.close()
    docker.wait_all_gone()


def test_a_missing_model_is_not_pulled_by_standby(simulate):
    docker = simulate(pullable=["ai/other"])
    model = DockerModel("ai/other", standby=1)
    with pytest.raises(ModelNotFoundError):
        model.generate("x")
    model.close()
    docker.wait_all_gone()
    assert not [request for request in docker.requests if request.path == "/models/create"]


def test_cancelling_during_the_hand_over_sends_no_half_prompt(simulate):
    docker = simulate()
    model = DockerModel("ai/smollm2", standby=1)
    model.warm_up()
    stream = model.stream("x" * 10_000_000)
    threading.Timer(0.02, stream.cancel).start()
    list(stream)
    model.close()
    docker.wait_all_gone()
    assert all(len(prompt) == 10_000_000 for prompt in docker.prompts)


def test_concurrent_calls_are_answered_from_standby(docker):
    model = DockerModel("ai/smollm2", standby=6, max_concurrency=6)
    model.warm_up()

    async def main():
        return await asyncio.gather(*(model.agenerate(str(i)) for i in range(12)))

    assert [completion.text for completion in asyncio.run(main())] == [
        f"You said: {i}" for i in range(12)
    ]
    model.close()
    docker.wait_all_gone()
    assert sorted(docker.prompts, key=int) == [str(i) for i in range(12)]


@pytest.mark.parametrize("adapter", [LangChainLLM, LlamaIndexLLM])
def test_a_standby_that_is_disabled_ends(docker, adapter):
    llm = adapter(model="ai/smollm2", standby=1)
    llm.warm_up()
    assert len(parked()) == 1
    llm.standby = 0
    llm.close()
    docker.wait_all_gone()


@pytest.mark.parametrize("transport", [None, "cli"])
def test_closing_a_model_that_switched_to_http_ends_its_standby(docker, transport):
    """Processes started for the CLI end, although the fields of the model have changed."""
    llm = LlamaIndexLLM(model="ai/smollm2", standby=1, transport=transport)
    llm.warm_up()
    assert len(parked()) == 1
    llm.temperature = 0.5
    llm.close()
    docker.wait_all_gone()


@pytest.mark.parametrize("adapter", [LangChainLLM, LlamaIndexLLM])
def test_the_adapters_keep_the_standby_between_calls(docker, adapter):
    llm = adapter(model="ai/smollm2", standby=1)
    llm.warm_up()
    before = parked()
    assert len(before) == 1
    ask = llm.invoke if adapter is LangChainLLM else llm.complete
    assert str(ask("hi")) == "You said: hi"
    wait_until(lambda: len(parked()) == 1 and parked() != before)
    llm.close()
    docker.wait_all_gone()
    llm.warm_up()
    del llm, ask
    gc.collect()
    docker.wait_all_gone()
