"""Failures of a `DockerModel` call before or during its answer: missing model, faults, limits."""

import asyncio
import os
import pickle
import time

import pytest

from docker_model import (
    DockerModel,
    EmptyAnswerError,
    GenerationError,
    GenerationTimeoutError,
    ModelNotFoundError,
    RunnerUnavailableError,
    Timeouts,
    status,
)
from docker_model._docker_cli.command_spec import CommandSpec
from docker_model._docker_cli.shared_state import SharedState
from docker_model._runtime import io_thread, tasks
from docker_model.testing import (
    CloseStdout,
    Cut,
    Downloaded,
    Exit,
    Grandchild,
    Hang,
    Kill,
    Pulled,
    Reasoning,
    Sleep,
    Stderr,
    Text,
)
from tests.support.patience import patiently
from tests.support.platforms import WINDOWS

MODEL = DockerModel("ai/smollm2")


# -- faults --------------------------------------------------------------------------------


def test_a_missing_model_is_not_pulled_by_default(simulate):
    docker = simulate(pullable=["ai/other"])
    with pytest.raises(ModelNotFoundError, match="docker model pull ai/other"):
        DockerModel("ai/other").generate("x")
    assert not [request for request in docker.requests if request.path == "/models/create"]
    assert docker.prompts == []


def test_pull_missing_pulls_in_a_separate_process(simulate):
    docker = simulate(pullable=["ai/other"])
    steps = []
    model = DockerModel("ai/other", pull="missing", on_progress=steps.append)
    assert model.generate("x").text == "You said: x"
    assert steps
    assert {step.model for step in steps} == {"ai/other"}
    assert docker.prompts == ["x"]


@pytest.mark.parametrize("transport", ["cli", "http"])
async def test_concurrent_calls_share_a_pull(simulate, transport):
    docker = simulate(pullable={"ai/other": [Downloaded(1, 2), Sleep(0.5), Pulled()]})
    steps = []
    model = DockerModel("ai/other", transport=transport, pull="missing", on_progress=steps.append)
    answers = await asyncio.gather(*map(model.agenerate, "abcd"))
    assert [answer.text for answer in answers] == [f"You said: {prompt}" for prompt in "abcd"]
    assert [request.path for request in docker.requests].count("/models/create") == 1
    assert [step.stage for step in steps].count("pull") == 2


@pytest.mark.parametrize("transport", ["cli", "http"])
async def test_a_shared_pull_continues_when_one_caller_leaves(simulate, transport):
    simulate(pullable={"ai/other": [Downloaded(1, 2), Sleep(0.5), Pulled()]})
    reported = asyncio.Event()
    loop = asyncio.get_running_loop()
    model = DockerModel(
        "ai/other",
        transport=transport,
        pull="missing",
        on_progress=lambda _: loop.call_soon_threadsafe(reported.set),
    )
    leaving, staying = (asyncio.create_task(model.agenerate(prompt)) for prompt in "ab")
    await reported.wait()
    leaving.cancel()
    assert (await staying).text == "You said: b"
    assert leaving.cancelled()


def test_a_model_that_vanishes_is_reported_and_the_run_ended(simulate):
    docker = simulate(["ai/smollm2"], pullable={"ai/other": [Hang()]})
    model = DockerModel("ai/other")

    async def pretend():
        shared = io_thread.current().local(SharedState)
        now = asyncio.get_running_loop().time()
        shared.presence.remember(CommandSpec.of(None, None), "ai/other", now, 60)

    tasks.run_blocking(pretend())
    with pytest.raises(ModelNotFoundError):
        model.generate("x")
    docker.wait_all_gone()


def looks(docker):
    return len([r for r in docker.requests if r.method == "GET" and "/models/" in r.path])


def test_the_presence_of_a_model_is_checked_once(docker):
    for _ in range(3):
        MODEL.generate("x")
    assert looks(docker) == 3 + 1  # each run checks the model once more


def test_concurrent_first_calls_check_the_model_once(docker):
    async def main():
        await asyncio.gather(*(MODEL.agenerate(str(i)) for i in range(6)))

    asyncio.run(main())
    assert looks(docker) == 6 + 1


def test_empty_output_with_exit_code_zero_is_an_error(simulate):
    simulate({"ai/smollm2": []})
    with pytest.raises(EmptyAnswerError):
        MODEL.generate("x")


def test_reasoning_alone_is_a_completion(simulate):
    simulate({"ai/smollm2": [Reasoning("only")]})
    got = MODEL.generate("x")
    assert (got.text, got.reasoning) == ("", "only")


def test_a_cut_stream_raises_with_the_partial_answer(simulate):
    simulate({"ai/smollm2": [Text("partial"), Sleep(0.05), Cut()]})
    stream = MODEL.stream("x")
    pieces = []
    with pytest.raises(GenerationError) as caught:
        pieces.extend(iter(stream))
    assert caught.value.partial == "partial"
    assert caught.value.exit_code == 1
    assert "unexpected EOF" in caught.value.stderr
    assert stream.completion is None


@pytest.mark.simulated
def test_a_killed_command_raises_its_signal(simulate):
    simulate({"ai/smollm2": [Text("part"), Sleep(0.05), Kill()]})
    with pytest.raises(GenerationError) as caught:
        MODEL.generate("x")
    assert caught.value.signal == (None if WINDOWS else 9)
    assert caught.value.partial == "part"


@pytest.mark.simulated
def test_an_error_contains_stderr_and_the_exit_code(simulate):
    simulate({"ai/smollm2": [Stderr("odd\n"), Exit(7)]})
    with pytest.raises(GenerationError) as caught:
        MODEL.generate("x")
    assert (caught.value.exit_code, caught.value.stderr) == (7, "odd")


@pytest.mark.simulated
def test_a_grandchild_that_holds_the_pipe_does_not_block_the_caller(simulate):
    simulate({"ai/smollm2": [Grandchild(detached=True), Text("all")]})
    assert MODEL.generate("x").text == "all"


@pytest.mark.simulated
def test_closing_stdout_without_an_exit_is_an_error(simulate):
    simulate({"ai/smollm2": [Text("all"), CloseStdout(), Hang()]})
    with pytest.raises(GenerationError, match="did not exit") as caught:
        MODEL.generate("x")
    assert caught.value.partial == "all"


def test_a_stopped_runner_is_named_and_the_output_of_the_command_is_kept(docker):
    off = DockerModel("ai/smollm2", env={"MODEL_RUNNER_HOST": "http://127.0.0.1:1"})
    with pytest.raises(RunnerUnavailableError) as caught:
        off.generate("x")
    assert "connection refused" in pickle.loads(pickle.dumps(caught.value)).detail
    assert "connection refused" not in str(caught.value)


@pytest.mark.parametrize("where", [{"DOCKER_HOST": "nonsense://"}, {"DOCKER_CONTEXT": "nosuch"}])
def test_a_wrong_docker_host_or_context_is_an_unavailable_runner(docker, where):
    if os.environ["DOCKER_MODEL_COMMAND"] == docker.env["DOCKER_MODEL_COMMAND"]:
        pytest.skip("the simulation reads no contexts")
    elsewhere = {"MODEL_RUNNER_HOST": "", **where}
    with pytest.raises(RunnerUnavailableError, match="docker context ls"):
        DockerModel("ai/smollm2", env=elsewhere).generate("x")
    assert "docker context ls" in status(env=elsewhere).problem


# -- limits --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "script", "phase"),
    [
        (Timeouts(first_output=0.5), [Hang()], "first_output"),
        (Timeouts(idle=0.3), [Text("some"), Hang()], "idle"),
        (Timeouts(total=0.5), [Text("some"), Hang()], "total"),
    ],
)
def test_each_phase_times_out_with_the_text_so_far(simulate, limits, script, phase):
    docker = simulate({"ai/smollm2": script})
    pieces = []  # empty if a slow machine needs all of `total` for the start
    with pytest.raises(GenerationTimeoutError) as caught:
        pieces.extend(iter(DockerModel("ai/smollm2", timeout=limits).stream("x")))
    assert (caught.value.phase, caught.value.partial) == (phase, "".join(pieces))
    assert pieces or phase != "idle"
    docker.wait_all_gone()


def test_the_queue_times_out_and_keeps_its_order(simulate):
    docker = simulate(script=lambda prompt: [Text(prompt), Hang()])
    model = DockerModel("ai/smollm2", max_concurrency=1)
    first = model.stream("first")
    next(first)
    with pytest.raises(GenerationTimeoutError) as caught:
        DockerModel("ai/smollm2", max_concurrency=1, timeout=Timeouts(queue=0.2)).generate("x")
    assert caught.value.phase == "queue"

    async def main():
        waiting = [asyncio.create_task(anext(model.astream(str(i)))) for i in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        for task in waiting:
            await task

    asyncio.run(main())
    assert docker.prompts == ["first", "0", "1", "2"]


def test_a_slow_consumer_causes_no_idle_timeout(simulate):
    simulate({"ai/smollm2": [Text("x" * 4_000_000)]})

    def check(scale):
        model = DockerModel("ai/smollm2", timeout=Timeouts(idle=0.4 * scale))
        total = 0
        for i, piece in enumerate(model.stream("x")):
            if i == 0:
                time.sleep(0.6 * scale)  # longer than `idle`, with the pipe full
            total += len(piece)
        assert total == 4_000_000

    patiently(check)
