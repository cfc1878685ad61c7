"""`DockerModel`: each setting, and each decided case of the interface."""

import asyncio
import copy
import dataclasses
import pickle
import threading

import pytest

from docker_model import (
    Completion,
    DockerModel,
    FileReferenceError,
    InvalidRequestError,
    ReasoningDelta,
    TextDelta,
    Timeouts,
    Usage,
)
from docker_model._docker_cli import request
from docker_model.testing import Hang, Reasoning, Sleep, Text
from docker_model.testing import Usage as UsageStep
from tests.conftest import REAL_COMMAND
from tests.support import other_loop

MODEL = DockerModel("ai/smollm2")
SPLIT = [Text("one two ", 3), Text("ST"), Text("OP"), Text(" three"), Hang()]


# -- the four methods ----------------------------------------------------------------------


def skip_if_old(what, cannot):
    if REAL_COMMAND and cannot:
        pytest.skip(f"this version of the plugin {what}")


def test_generate_returns_the_whole_completion(simulate):
    docker = simulate({"ai/smollm2": [Reasoning("hm"), Text("Yes."), UsageStep(3, 4)]})
    got = MODEL.generate("Really?")
    skip_if_old("prints no usage", got.usage is None)
    assert (got.text, got.reasoning, got.usage) == ("Yes.", "hm", Usage(3, 4, 7))
    assert (got.finish_reason, got.model, str(got)) == ("stop", "ai/smollm2", "Yes.")
    assert 0 <= got.timings.queued <= got.timings.first_output <= got.timings.total
    assert docker.prompts == ["Really?"]


@pytest.mark.parametrize("run", [asyncio.run, other_loop.run])
def test_the_async_methods_return_the_same_in_any_loop(docker, run):
    async def main():
        whole = await MODEL.agenerate("hi")
        return whole.text, "".join([piece async for piece in MODEL.astream("hi")])

    assert run(main()) == ("You said: hi", "You said: hi")


def test_sync_methods_work_inside_a_running_loop(docker):
    async def main():
        return MODEL.generate("hi").text, "".join(MODEL.stream("hi"))

    assert asyncio.run(main()) == ("You said: hi", "You said: hi")


def test_one_object_serves_several_threads_and_loops_in_turn(docker):
    got = []
    threads = [threading.Thread(target=lambda: got.append(MODEL.generate("t"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    got.extend(asyncio.run(MODEL.agenerate("t")) for _ in range(2))
    for thread in threads:
        thread.join()
    assert [completion.text for completion in got] == ["You said: t"] * 6


def test_pieces_arrive_while_the_model_is_still_generating(simulate):
    simulate({"ai/smollm2": [Text("first"), Hang()]})
    with MODEL.stream("x") as stream:
        assert next(stream)
        assert stream.completion is None


def test_events_contain_reasoning_and_end_with_the_completion(simulate):
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


def test_iteration_yields_text_and_the_completion_has_the_reasoning(simulate):
    simulate({"ai/smollm2": [Reasoning("hm"), Text("ok")]})
    stream = MODEL.stream("x")
    assert "".join(stream) == "ok"
    assert stream.completion.reasoning == "hm"


def test_white_space_of_the_answer_is_kept(simulate):
    simulate({"ai/smollm2": [Text("\n a \n\n")]})
    assert MODEL.generate("x").text == "\n a \n\n"


def test_the_prompt_arrives_byte_for_byte_and_never_in_argv(docker):
    prompt = "--help\r\n-5 plus 3, naïve 東京 👩‍👩‍👧 \x00 end " * 5000
    MODEL.generate(prompt)
    skip_if_old("does not trim the prompt", docker.prompts == [prompt])
    assert docker.prompts == [prompt.strip()]
    assert not any("naïve" in word for call in docker.calls for word in call.argv)


# -- stop and max_chars --------------------------------------------------------------------


def test_a_stop_sequence_is_cut_across_chunks_and_the_request_is_closed(simulate):
    docker = simulate({"ai/smollm2": SPLIT})
    got = MODEL.generate("x", stop="STOP")
    assert (got.text, got.finish_reason) == ("one two ", "stop_sequence")
    docker.wait_gone()


def test_stop_of_a_call_replaces_that_of_the_model(simulate):
    simulate({"ai/smollm2": [Text("one two three")]})
    model = DockerModel("ai/smollm2", stop=["two"])
    assert model.generate("x").text == "one "
    assert model.generate("x", stop=["three"]).text == "one two "
    assert model.generate("x", stop=()).text == "one two three"


def test_a_stop_at_the_beginning_gives_an_empty_answer_and_no_error(simulate):
    simulate({"ai/smollm2": [Text("STOP")]})
    assert MODEL.generate("x", stop="STOP").text == ""


def test_max_chars_cuts_only_longer_answers(simulate):
    simulate({"ai/smollm2": [Text("12345")]})
    short, exact = (DockerModel("ai/smollm2", max_chars=n).generate("x") for n in (3, 5))
    assert (short.text, short.finish_reason) == ("123", "length")
    assert (exact.text, exact.finish_reason) == ("12345", "stop")


# -- settings ------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["", " \n\t\u2003", "\u00a0", "a\ud800b", None, b"hi", ["hi"]])
def test_an_invalid_prompt_is_refused_before_a_process_starts(docker, prompt):
    for ask in (MODEL.generate, MODEL.stream, MODEL.astream):
        with pytest.raises(InvalidRequestError):
            ask(prompt)
    with pytest.raises(InvalidRequestError):
        asyncio.run(MODEL.agenerate(prompt))
    assert docker.calls == []


@pytest.mark.parametrize(
    "settings",
    [
        {"model": ""},
        {"model": "-x"},
        {"model": "a\nb"},
        {"model": "a/../b"},
        {"model": None},
        {"model": b"ai/smollm2"},
        {"stop": 5},
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
        {"command": 5},
        {"env": {"A=B": "c"}},
        {"env": "A=b"},
        {"on_progress": "yes"},
    ],
)
def test_an_invalid_setting_is_refused(settings):
    with pytest.raises(InvalidRequestError):
        DockerModel(**{"model": "ai/smollm2", **settings})


def test_stop_none_equals_the_default():
    assert DockerModel("ai/smollm2", stop=None) == MODEL


def test_a_model_is_hashable_with_an_unhashable_on_progress():
    class Bar:
        __hash__ = None

        def __call__(self, step):
            pass

    assert {DockerModel("ai/smollm2", on_progress=Bar())}


def test_an_unknown_setting_is_a_type_error():
    with pytest.raises(TypeError):
        DockerModel("ai/smollm2", temperatur=0)


def test_models_with_equal_settings_are_equal_and_hide_the_environment():
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
    guarded, allowed = docker.prompts
    assert guarded == f"read @ {tmp_path}/note.txt please"
    skip_if_old("reads no file that a prompt names", allowed == "read @note.txt please")
    assert allowed == "read SECRET please"


def test_each_call_uses_the_working_directory_and_environment_of_its_moment(
    docker, tmp_path, monkeypatch
):
    """The environment counts too: the tests share one model, and each has its own simulation."""
    model = DockerModel("ai/smollm2", file_references="allow")
    prompt = "read @note.txt please"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "note.txt").write_text(name)
        monkeypatch.chdir(tmp_path / name)
        model.generate(prompt)
    skip_if_old("reads no file that a prompt names", docker.prompts == [prompt] * 2)
    assert docker.prompts == ["read one please", "read two please"]


@pytest.mark.parametrize("transport", ["cli", "http"])
def test_a_call_changes_neither_the_pickle_nor_the_repr(docker, transport):
    model = DockerModel("ai/smollm2", transport=transport)

    def seen():
        return pickle.dumps(model), repr(model), hash(model), repr(vars(model))

    before = seen()
    model.generate("x")
    assert seen() == before
    for other in (copy.copy(model), copy.deepcopy(model), dataclasses.replace(model)):
        assert other == model
        assert other.generate("y").text == "You said: y"


def test_warm_up_loads_the_model(docker):
    MODEL.warm_up()
    asyncio.run(MODEL.awarm_up())
    loads = [r for r in docker.requests if r.method == "POST" and "chat" in r.path]
    assert docker.prompts == []
    skip_if_old("cannot load a model without running it", loads == [])
    assert len(loads) == 2


@pytest.mark.simulated
def test_an_old_cli_without_color_is_supported(simulate):
    docker = simulate({"ai/smollm2": [Reasoning("hm"), Text("Yes.")]}, version="v0.1.40")
    got = [MODEL.generate("x") for _ in range(2)]
    assert [(completion.reasoning, completion.text) for completion in got] == [("hm", "Yes.")] * 2
    assert docker.prompts == ["x", "x"]


@pytest.mark.simulated
def test_the_presence_of_a_model_is_remembered_for_a_limited_time(simulate, monkeypatch):
    docker = simulate(["ai/first", "ai/second"])

    def looks_of_two_answers(name):
        for _ in range(2):
            DockerModel(name).generate("hi")
        return sum(call.argv[1] == "inspect" and name in call.argv for call in docker.calls)

    assert looks_of_two_answers("ai/first") == 1
    monkeypatch.setattr(request, "REMEMBERED", 0.0)
    assert looks_of_two_answers("ai/second") == 2
