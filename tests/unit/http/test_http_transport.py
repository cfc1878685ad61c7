"""`DockerModel` over HTTP: what it shares with the CLI, and what differs."""

import asyncio
import gc
import pickle

import pytest

from docker_model import (
    Completion,
    ContextLengthError,
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
    UnsupportedParameterError,
    Usage,
)
from docker_model.testing import Cut, Fail, Finish, Hang, Reasoning, SimulatedDocker, Sleep, Text
from docker_model.testing import Usage as UsageStep
from tests.support import modes
from tests.support.modes import MODES
from tests.unit.http.wire import Wire

MODEL = DockerModel("ai/smollm2", transport="http")


def model(**settings):
    return DockerModel(**{"model": "ai/smollm2", "transport": "http", **settings})


@pytest.mark.parametrize("mode", MODES)
def test_every_calling_mode_gives_the_whole_completion(simulate, mode):
    docker = simulate({"ai/smollm2": [Reasoning("hm"), Text("Yes."), UsageStep(3, 4)]})
    whole = modes.generate(mode, MODEL, "Really?")
    pieces, streamed = modes.stream(mode, MODEL, "Really?")
    for got in (whole, streamed):
        assert isinstance(got, Completion)
        assert (got.text, got.reasoning, got.usage) == ("Yes.", "hm", Usage(3, 4, 7))
        assert (got.finish_reason, got.model) == ("stop", "ai/smollm2")
        assert 0 <= got.timings.queued <= got.timings.first_output <= got.timings.total
    assert "".join(pieces) == "Yes."
    assert docker.calls == []  # no process has run


def test_events_equal_those_of_the_command(simulate):
    simulate({"ai/smollm2": [Reasoning("hm", 9), Text("ok", 9)]})
    *deltas, last = MODEL.stream("x").events()
    assert deltas == [ReasoningDelta("hm"), TextDelta("ok")]
    assert isinstance(last, Completion)


def test_a_prompt_arrives_byte_for_byte_and_no_file_is_read(docker, tmp_path):
    (tmp_path / "note.txt").write_text("SECRET")
    prompt = f"  read @{tmp_path}/note.txt \r\n\x00 naïve 東京 👩‍👩‍👧 \n"
    for policy in ("escape", "refuse", "allow"):
        model(file_references=policy).generate(prompt)
    assert docker.prompts == [prompt] * 3


@pytest.mark.parametrize("prompt", ["", " \n", "a\ud800b"])
def test_an_invalid_prompt_is_refused(docker, prompt):
    for method in (MODEL.generate, MODEL.stream, MODEL.astream):
        with pytest.raises(InvalidRequestError):
            method(prompt)
    assert docker.requests == []


def test_stop_sequences_cut_the_answer_and_not_the_reasoning(simulate):
    script = [Reasoning("STOP here"), Text("one ST", 3), Text("OP two"), Hang()]
    docker = simulate({"ai/smollm2": script})
    got = MODEL.generate("x", stop="STOP")
    assert (got.text, got.finish_reason) == ("one ", "stop_sequence")
    assert got.reasoning == "STOP here"
    docker.wait_gone()
    assert "stop" not in docker.requests[-1].body


def test_max_chars_cuts_only_longer_answers(simulate):
    simulate({"ai/smollm2": [Text("12345")]})
    short, exact = (model(max_chars=n).generate("x") for n in (3, 5))
    assert (short.text, short.finish_reason) == ("123", "length")
    assert (exact.text, exact.finish_reason) == ("12345", "stop")


def test_a_full_context_ends_with_finish_reason_length(simulate):
    simulate({"ai/smollm2": [Text("so far"), Finish("length")]})
    got = MODEL.generate("x")
    assert (got.text, got.finish_reason) == ("so far", "length")


def test_a_possible_stop_sequence_is_released_at_the_end(simulate):
    simulate({"ai/smollm2": [Text("one ST")]})
    assert MODEL.generate("x", stop="STOP").text == "one ST"


def test_reasoning_alone_is_an_answer_and_empty_output_is_an_error(simulate):
    simulate({"ai/smollm2": [Reasoning("only")], "ai/mute": []})
    got = MODEL.generate("x")
    assert (got.text, got.reasoning) == ("", "only")
    with pytest.raises(EmptyAnswerError):
        model(model="ai/mute").generate("x")
    assert model(model="ai/smollm2").generate("x", stop="nothing").text == ""


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ([Fail.context_too_long()], ContextLengthError),
        ([Text("part"), Sleep(0.05), Cut()], GenerationError),
        ([Text("part"), Fail("it broke")], GenerationError),
    ],
)
def test_failures_raise_the_same_errors_as_the_command(simulate, script, kind):
    simulate({"ai/smollm2": script})
    pieces, error = modes.stream("sync", MODEL, "x")
    assert type(error) is kind
    assert "".join(pieces) == getattr(error, "partial", "")


def test_a_missing_model_is_an_error(simulate):
    docker = simulate(pullable=["ai/other"])
    with pytest.raises(ModelNotFoundError, match="docker model pull ai/other"):
        model(model="ai/other").generate("x")
    steps = []
    got = model(model="ai/other", pull="missing", on_progress=steps.append).generate("x")
    assert got.text == "You said: x"
    assert {step.model for step in steps} == {"ai/other"}
    assert docker.calls == []


def test_a_runner_that_refuses_connections_is_unavailable():
    with SimulatedDocker.broken("refused"), pytest.raises(RunnerUnavailableError):
        MODEL.generate("x")


@pytest.mark.parametrize(
    ("limits", "script", "phase"),
    [
        (Timeouts(first_output=0.5), [Hang()], "first_output"),
        (Timeouts(idle=0.3), [Text("some"), Hang()], "idle"),
        (Timeouts(total=0.5), [Text("some"), Hang()], "total"),
    ],
)
def test_each_phase_times_out(simulate, limits, script, phase):
    docker = simulate({"ai/smollm2": script})
    with pytest.raises(GenerationTimeoutError) as caught:
        model(timeout=limits).generate("x")
    assert caught.value.phase == phase
    docker.wait_gone()


def test_leaving_a_stream_in_any_manner_closes_the_request(simulate):
    docker = simulate({"ai/smollm2": [Text("some"), Hang()]})
    for _ in MODEL.stream("x"):
        break
    stream = MODEL.stream("x")
    next(stream)
    stream.cancel()
    assert stream.completion is None

    async def main():
        async for _ in MODEL.astream("x"):
            break
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await MODEL.agenerate("x")

    asyncio.run(main())
    gc.collect()
    docker.wait_gone(4)


def test_warm_up_loads_the_model_without_a_prompt(docker):
    MODEL.warm_up()
    asyncio.run(MODEL.awarm_up())
    loads = [r for r in docker.requests if r.method == "POST"]
    assert [r.headers["x-preload-only"] for r in loads] == ["true", "true"]
    assert docker.prompts == []
    with pytest.raises(ModelNotFoundError):
        model(model="ai/nosuch").warm_up()


def test_warm_up_accepts_the_error_of_an_older_runner(simulate):
    with Wire(b"HTTP/1.1 400 X\r\nContent-Length: 2\r\n\r\n{}") as wire:
        DockerModel("m", base_url=wire.url).warm_up()  # the model is loaded anyway


def test_standby_starts_no_process_over_http(docker):
    with_standby = model(standby=2)
    with_standby.warm_up()
    assert with_standby.generate("x").text == "You said: x"
    with_standby.close()
    assert docker.calls == []


# -- which transport -----------------------------------------------------------------------


def test_a_base_url_or_a_key_selects_http(docker):
    for settings in ({"base_url": docker.url}, {"api_key": "k"}, {}):
        assert DockerModel("ai/smollm2", **settings).generate("x").text == "You said: x"
    requests = [request for request in docker.requests if request.prompt == "x"]
    agents = [request.headers["user-agent"].partition("/")[0] for request in requests]
    assert agents == ["docker-model-llm", "docker-model-llm", "docker-model-cli"]


@pytest.mark.parametrize("settings", [{"base_url": "http://h:1"}, {"api_key": "hunter2"}])
def test_the_cli_refuses_a_base_url_and_a_key(settings):
    with pytest.raises(UnsupportedParameterError, match="HTTP") as caught:
        DockerModel("m", transport="cli", **settings)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [{"transport": "pigeon"}, {"base_url": "http://"}, {"api_key": "a\nb"}],
)
def test_an_invalid_setting_is_refused(settings):
    with pytest.raises(InvalidRequestError):
        DockerModel("m", **settings)


def test_models_with_equal_settings_are_equal_and_hide_the_key():
    client = model(base_url="http://h:1", api_key="hunter2")
    assert client == model(base_url="http://h:1", api_key="hunter2")
    assert hash(pickle.loads(pickle.dumps(client))) == hash(client)
    assert "hunter2" not in repr(client)


def test_the_cli_still_checks_file_references(docker, tmp_path):
    (tmp_path / "note.txt").write_text("SECRET")
    with pytest.raises(FileReferenceError):
        DockerModel("ai/smollm2", file_references="refuse").generate(f"@{tmp_path}/note.txt")
