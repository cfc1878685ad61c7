"""`DockerModel`: what each setting and each settled case of the interface means."""

import asyncio
import gc
import pickle
import threading
import time

import pytest
import uvloop

from docker_model import (
    Completion,
    DockerModel,
    EmptyAnswerError,
    FileReferenceError,
    GenerationError,
    GenerationTimeoutError,
    InvalidRequestError,
    ModelNotFoundError,
    ReasoningDelta,
    RunnerUnavailableError,
    TextDelta,
    Timeouts,
    Usage,
)
from docker_model.cli.launch import Launch
from docker_model.cli.transport import _Shared
from docker_model.process import call, io
from docker_model.testing import (
    CloseStdout,
    Cut,
    Exit,
    Grandchild,
    Hang,
    Kill,
    Reasoning,
    SimulatedDocker,
    Sleep,
    Stderr,
    Text,
)
from docker_model.testing import Usage as UsageStep

MODEL = DockerModel("ai/smollm2")
SPLIT = [Text("one two ", 3), Text("ST"), Text("OP"), Text(" three"), Hang()]


# -- the four methods ----------------------------------------------------------------------


def test_generate_gives_everything(simulate):
    docker = simulate({"ai/smollm2": [Reasoning("hm"), Text("Yes."), UsageStep(3, 4)]})
    got = MODEL.generate("Really?")
    assert (got.text, got.reasoning, got.usage) == ("Yes.", "hm", Usage(3, 4, 7))
    assert (got.finish_reason, got.model, str(got)) == ("stop", "ai/smollm2", "Yes.")
    assert 0 <= got.timings.queued <= got.timings.first_output <= got.timings.total
    assert docker.prompts == ["Really?"]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_the_async_methods_give_the_same_in_any_loop(docker, run):
    async def main():
        whole = await MODEL.agenerate("hi")
        return whole.text, "".join([piece async for piece in MODEL.astream("hi")])

    assert run(main()) == ("You said: hi", "You said: hi")


def test_sync_methods_work_inside_a_running_loop(docker):
    async def main():
        return MODEL.generate("hi").text, "".join(MODEL.stream("hi"))

    assert asyncio.run(main()) == ("You said: hi", "You said: hi")


def test_one_object_serves_threads_and_loops_one_after_another(docker):
    got = []
    threads = [threading.Thread(target=lambda: got.append(MODEL.generate("t"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    got.extend(asyncio.run(MODEL.agenerate("t")) for _ in range(2))
    for thread in threads:
        thread.join()
    assert [one.text for one in got] == ["You said: t"] * 6


def test_pieces_arrive_as_they_are_said(simulate):
    simulate({"ai/smollm2": [Text("first"), Hang()]})
    with MODEL.stream("x") as stream:
        assert next(stream)
        assert stream.completion is None


def test_events_hold_reasoning_and_end_with_the_completion(simulate):
    simulate({"ai/smollm2": [Reasoning("hm", 9), Sleep(0.05), Text("ok", 9)]})
    stream = MODEL.stream("x")
    *deltas, last = stream.events()
    assert deltas == [ReasoningDelta("hm"), TextDelta("ok")]
    assert isinstance(last, Completion)
    assert stream.completion == last


def test_async_events_need_no_await(simulate):
    simulate({"ai/smollm2": [Text("ok")]})

    async def main():
        return [event async for event in MODEL.astream("x").events()]

    assert asyncio.run(main())[-1].text == "ok"


def test_plain_iteration_leaves_reasoning_to_the_completion(simulate):
    simulate({"ai/smollm2": [Reasoning("hm"), Text("ok")]})
    stream = MODEL.stream("x")
    assert "".join(stream) == "ok"
    assert stream.completion.reasoning == "hm"


def test_the_models_own_white_space_is_kept(simulate):
    simulate({"ai/smollm2": [Text("\n a \n\n")]})
    assert MODEL.generate("x").text == "\n a \n\n"


def test_the_prompt_arrives_byte_for_byte_and_never_in_argv(docker):
    prompt = "--help\r\n-5 plus 3, naïve 東京 👩‍👩‍👧 \x00 end " * 5000
    MODEL.generate(prompt)
    assert docker.prompts == [prompt.strip()]
    assert not any("naïve" in word for call in docker.calls for word in call.argv)


# -- stop and max_chars --------------------------------------------------------------------


def test_a_stop_sequence_is_cut_across_chunks_and_the_runner_sees_the_client_leave(simulate):
    docker = simulate({"ai/smollm2": SPLIT})
    got = MODEL.generate("x", stop="STOP")
    assert (got.text, got.finish_reason) == ("one two ", "stop_sequence")
    docker.wait_gone()


def test_a_calls_stop_takes_the_place_of_the_models(simulate):
    simulate({"ai/smollm2": [Text("one two three")]})
    model = DockerModel("ai/smollm2", stop=["two"])
    assert model.generate("x").text == "one "
    assert model.generate("x", stop=["three"]).text == "one two "
    assert model.generate("x", stop=()).text == "one two three"


def test_an_answer_that_a_stop_ends_at_its_start_is_empty_and_no_error(simulate):
    simulate({"ai/smollm2": [Text("STOP")]})
    assert MODEL.generate("x", stop="STOP").text == ""


def test_max_chars_cuts_only_what_is_longer(simulate):
    simulate({"ai/smollm2": [Text("12345")]})
    short, exact = (DockerModel("ai/smollm2", max_chars=n).generate("x") for n in (3, 5))
    assert (short.text, short.finish_reason) == ("123", "length")
    assert (exact.text, exact.finish_reason) == ("12345", "stop")


# -- trouble -------------------------------------------------------------------------------


def test_a_missing_model_is_never_pulled_unasked(simulate):
    docker = simulate(pullable=["ai/other"])
    with pytest.raises(ModelNotFoundError, match="docker model pull ai/other"):
        DockerModel("ai/other").generate("x")
    assert not [request for request in docker.requests if request.path == "/models/create"]
    assert docker.prompts == []


def test_pull_missing_pulls_apart_from_the_run(simulate):
    docker = simulate(pullable=["ai/other"])
    steps = []
    model = DockerModel("ai/other", pull="missing", on_progress=steps.append)
    assert model.generate("x").text == "You said: x"
    assert steps
    assert {step.model for step in steps} == {"ai/other"}
    assert docker.prompts == ["x"]


def test_a_model_that_vanishes_is_noticed_and_the_run_ended(simulate):
    docker = simulate(["ai/smollm2"], pullable={"ai/other": [Hang()]})
    with simulate(["ai/other"]) if False else SimulatedDocker(["ai/other"]) as first:
        del first
    model = DockerModel("ai/other")

    async def pretend():
        shared = io.current().local(_Shared)
        now = asyncio.get_running_loop().time()
        shared.presence.remember((Launch.of(None, None), "ai/other"), now, 60)

    call.run(pretend())
    with pytest.raises(ModelNotFoundError):
        model.generate("x")
    docker.wait_all_gone()


def looks(docker):
    return len([r for r in docker.requests if r.method == "GET" and "/models/" in r.path])


def test_a_yes_is_remembered_so_that_the_next_call_asks_nothing(docker):
    for _ in range(3):
        MODEL.generate("x")
    assert looks(docker) == 3 + 1  # each run looks for itself


def test_many_first_calls_ask_once(docker):
    async def main():
        await asyncio.gather(*(MODEL.agenerate(str(i)) for i in range(6)))

    asyncio.run(main())
    assert looks(docker) == 6 + 1


def test_nothing_said_is_an_error_although_the_exit_code_is_good(simulate):
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
    assert (caught.value.signal, caught.value.partial) == (9, "part")


@pytest.mark.simulated
def test_stderr_and_exit_code_are_in_the_error(simulate):
    simulate({"ai/smollm2": [Stderr("odd\n"), Exit(7)]})
    with pytest.raises(GenerationError) as caught:
        MODEL.generate("x")
    assert (caught.value.exit_code, caught.value.stderr) == (7, "odd")


@pytest.mark.simulated
def test_a_grandchild_that_holds_the_pipe_does_not_hold_the_caller(simulate):
    simulate({"ai/smollm2": [Grandchild(detached=True), Text("all")]})
    began = time.monotonic()
    assert MODEL.generate("x").text == "all"
    assert time.monotonic() - began < 5


@pytest.mark.simulated
def test_closing_stdout_without_ending_is_an_error(simulate):
    simulate({"ai/smollm2": [Text("all"), CloseStdout(), Hang()]})
    with pytest.raises(GenerationError, match="did not exit") as caught:
        MODEL.generate("x")
    assert caught.value.partial == "all"


@pytest.mark.simulated
def test_a_runner_that_is_off_is_named():
    with SimulatedDocker.broken("refused"), pytest.raises(RunnerUnavailableError):
        MODEL.generate("x")


# -- limits --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "script", "phase", "partial"),
    [
        (Timeouts(first_output=0.5), [Hang()], "first_output", ""),
        (Timeouts(idle=0.3), [Text("some"), Hang()], "idle", "some"),
        (Timeouts(total=0.5), [Text("some"), Hang()], "total", "some"),
    ],
)
def test_each_phase_has_its_limit(simulate, limits, script, phase, partial):
    docker = simulate({"ai/smollm2": script})
    with pytest.raises(GenerationTimeoutError) as caught:
        DockerModel("ai/smollm2", timeout=limits).generate("x")
    assert (caught.value.phase, caught.value.partial) == (phase, partial)
    docker.wait_all_gone()


def test_waiting_for_a_place_has_its_limit_and_places_come_in_order(simulate):
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


def test_a_slow_consumer_is_no_stalled_model(simulate):
    simulate({"ai/smollm2": [Text("x" * 4_000_000)]})
    model = DockerModel("ai/smollm2", timeout=Timeouts(idle=0.3))
    total = 0
    for i, piece in enumerate(model.stream("x")):
        if i == 0:
            time.sleep(0.8)  # longer than `idle`, with the pipe full
        total += len(piece)
    assert total == 4_000_000


# -- ways out ------------------------------------------------------------------------------


def endless(simulate):
    return simulate({"ai/smollm2": [Text("some"), Hang()]})


def test_breaking_out_ends_the_run(simulate):
    docker = endless(simulate)
    for _ in MODEL.stream("x"):
        break
    docker.wait_gone()


def test_closing_leaves_the_iteration_simply_ended(simulate):
    docker = endless(simulate)
    stream = MODEL.stream("x")
    next(stream)
    stream.close()
    assert list(stream) == []
    assert stream.completion is None
    docker.wait_gone()


def test_cancel_from_another_thread_frees_the_reader(simulate):
    docker = endless(simulate)
    stream = MODEL.stream("x")
    next(stream)
    threading.Timer(0.1, stream.cancel).start()
    assert list(stream) == []
    docker.wait_gone()


def test_collecting_a_dropped_stream_ends_the_run(simulate):
    docker = endless(simulate)
    stream = MODEL.stream("x")
    next(stream)
    stream.cycle = stream
    del stream
    gc.collect()
    docker.wait_gone()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_cancelling_the_task_ends_the_run(simulate, run):
    docker = endless(simulate)

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await MODEL.agenerate("x")
        async for _ in MODEL.astream("x"):
            break
        async with MODEL.astream("x") as stream:
            await anext(stream)

    run(main())
    docker.wait_gone(3)


# -- settings ------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["", " \n\t\u2003", "a\ud800b"])
def test_a_prompt_that_cannot_be_sent_is_refused_before_anything_starts(docker, prompt):
    for ask in (MODEL.generate, MODEL.stream, MODEL.astream):
        with pytest.raises(InvalidRequestError):
            ask(prompt)
    assert docker.calls == []


@pytest.mark.parametrize(
    "settings",
    [
        {"model": ""},
        {"model": "-x"},
        {"model": "a\nb"},
        {"model": "a/../b"},
        {"stop": [""]},
        {"stop": [1]},
        {"max_chars": 0},
        {"max_chars": True},
        {"max_concurrency": 0},
        {"standby": -1},
        {"pull": "always"},
        {"file_references": "no"},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"command": ""},
        {"env": {"A=B": "c"}},
    ],
)
def test_a_bad_setting_is_refused(settings):
    with pytest.raises(InvalidRequestError):
        DockerModel(**{"model": "ai/smollm2", **settings})


def test_an_unknown_setting_is_a_type_error():
    with pytest.raises(TypeError):
        DockerModel("ai/smollm2", temperature=0)


def test_a_model_is_a_value_that_hides_its_environment():
    model = DockerModel("ai/smollm2", stop="x", env={"TOKEN": "hunter2"}, timeout=5)
    assert model == DockerModel("ai/smollm2", stop=["x"], env={"TOKEN": "hunter2"}, timeout=5)
    assert hash(model) == hash(pickle.loads(pickle.dumps(model)))
    assert pickle.loads(pickle.dumps(model)) == model
    assert "hunter2" not in repr(model)
    assert model.timeout == Timeouts(total=5)


def test_references_to_local_files_are_defused_refused_or_allowed(docker, tmp_path, monkeypatch):
    (tmp_path / "note.txt").write_text("SECRET")
    prompt = f"read @{tmp_path}/note.txt please"
    MODEL.generate(prompt)
    with pytest.raises(FileReferenceError) as caught:
        DockerModel("ai/smollm2", file_references="refuse").generate(prompt)
    monkeypatch.chdir(tmp_path)
    DockerModel("ai/smollm2", file_references="allow").generate("read @note.txt please")
    assert caught.value.references == (f"{tmp_path}/note.txt",)
    assert docker.prompts == [f"read @ {tmp_path}/note.txt please", "read SECRET please"]


def test_warm_up_loads_the_model(docker):
    MODEL.warm_up()
    asyncio.run(MODEL.awarm_up())
    loads = [r for r in docker.requests if r.method == "POST" and "chat" in r.path]
    assert len(loads) == 2
    assert docker.prompts == []


@pytest.mark.simulated
def test_an_old_cli_without_color_is_driven_all_the_same(simulate):
    docker = simulate({"ai/smollm2": [Reasoning("hm"), Text("Yes.")]}, version="v0.1.40")
    got = [MODEL.generate("x") for _ in range(2)]
    assert [(one.reasoning, one.text) for one in got] == [("hm", "Yes.")] * 2
    assert docker.prompts == ["x", "x"]
