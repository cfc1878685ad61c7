"""Scripts: plain data that sets the answers of the model and the end of the command."""

from __future__ import annotations

import threading

import pytest

from docker_model import DockerModel, GenerationError
from docker_model.testing import (
    Cut,
    Exit,
    Fail,
    Finish,
    Hang,
    InTurn,
    Kill,
    Pulled,
    Raw,
    Reasoning,
    SimulatedDocker,
    Stderr,
    Stdout,
    Text,
    Usage,
    echo,
)
from tests.support.platforms import WINDOWS
from tests.unit.testing.calling import MODEL, ask, call, finish, start_run


def test_the_default_script_echoes_the_prompt():
    with SimulatedDocker() as docker:
        assert ask(docker, "hi there") == "You said: hi there\n"
        assert docker.prompts == ["hi there"]


@pytest.mark.parametrize(
    ("script", "stdout"),
    [
        ("Hello", "Hello\n"),
        (echo, "the prompt\n"),
        (["one ", "two"], "one two\n"),
        ([Text("naïve 東京 👩‍👧", size=1)], "naïve 東京 👩‍👧\n"),
        ([Reasoning("Let me think."), "Yes"], "Thinking:\nLet me think.\n\n--\n\nYes\n"),
        (["Yes", Usage(7, 9)], "Yes\n\nToken usage: 7 prompt + 9 completion = 16 total\n"),
        (["Yes", Usage(7, 9, 99)], "Yes\n\nToken usage: 7 prompt + 9 completion = 99 total\n"),
        (["Yes", Finish("length")], "Yes\n"),
        (["Yes", Finish(None)], "Yes\n"),
        (["part", Fail("boom")], "part\n"),
        (["a", Stdout(b"\x00\xff"), "b"], "a\x00\udcffb\n"),
        ([Raw(b": a comment\n\n"), "Yes"], "Yes\n"),
        ([], "\n"),
        (lambda prompt: prompt.upper(), "THE PROMPT\n"),
        (lambda prompt: [Text(prompt), " and more"], "the prompt and more\n"),
    ],
)
def test_a_script_gives_its_answer(script, stdout):
    with SimulatedDocker(script=script) as docker:
        assert ask(docker, "the prompt") == stdout


@pytest.mark.parametrize(
    ("script", "code", "stdout", "stderr"),
    [
        ([Fail("boom")], 1, "", "error response: status=500 body=boom\n"),
        ([Fail.out_of_memory()], 1, "", "not enough GPU memory to load the model (CUDA)\n"),
        ([Fail.context_too_long(5000, 4096)], 1, "", '"n_prompt_tokens":5000,"n_ctx":4096}}\n'),
        ([Fail.not_running()], 1, "", "Please start it and try again.\n"),
        (["part", Cut()], 1, "part", "error reading response stream: unexpected EOF\n"),
        (["part", Raw(b"data: {oops\n\n")], 1, "part", "invalid character\n"),
        (["part", Exit(3)], 3, "part", ""),
        ([Stderr("a warning\n"), "Yes"], 0, "Yes\n", "a warning\n"),
        (["part", Kill()], 1 if WINDOWS else -9, "part", ""),
    ],
)
def test_a_script_gives_its_failure(script, code, stdout, stderr):
    with SimulatedDocker(script=script) as docker:
        completed = call(docker, "run", MODEL, "hi")
    assert (completed.returncode, completed.stdout) == (code, stdout)
    assert completed.stderr.endswith(stderr)


def test_small_pieces_arrive_while_the_script_still_runs():
    first_read = threading.Event()

    def script(_prompt):
        yield "1234" * 3
        assert first_read.wait(10)
        yield "the rest"

    with SimulatedDocker(script=script) as docker:
        process = start_run(docker)
        output = b""
        while len(output) < 12:
            output += process.stdout.read1(4)
        first_read.set()  # the script sends the rest only now
        assert finish(process) == (0, b"the rest\n", b"")
    assert output == b"123412341234"


def test_a_long_text_arrives_complete_in_large_pieces():
    with SimulatedDocker(script=["x" * 1_000_000]) as docker:
        assert ask(docker, "hi") == "x" * 1_000_000 + "\n"


def test_each_model_has_its_own_script():
    registry = "localhost:5000/org/model"
    models = {"ai/smollm2": "small", "hf.co/Org/Model:Q4": "big", "ai/echo": echo, registry: "own"}
    with SimulatedDocker(models) as docker:
        assert ask(docker, "hi", "smollm2:latest") == "small\n"
        assert ask(docker, "hi", "huggingface.co/org/model:Q4") == "big\n"
        assert ask(docker, "hi", f"{registry}:latest") == "own\n"
        assert ask(docker, "hi", "docker.io/ai/echo") == "hi\n"


def test_in_turn_gives_one_answer_per_call_and_then_an_error():
    with SimulatedDocker(script=InTurn("first", ["second"], str.upper)) as docker:
        assert [ask(docker, "hi") for _ in range(3)] == ["first\n", "second\n", "HI\n"]
        completed = call(docker, "run", MODEL, "hi")
        assert "no answer left for this call (answers: 3)" in completed.stderr


@pytest.mark.parametrize("transport", ["cli", "http"])
def test_a_missing_answer_of_in_turn_is_in_the_detail_of_the_error(transport):
    with SimulatedDocker(script=InTurn("only")):
        model = DockerModel(MODEL, transport=transport)
        assert model.generate("hi").text == "only"
        with pytest.raises(GenerationError) as failed:
            model.generate("hi")
    assert "no answer left for this call (answers: 1)" in failed.value.detail


def test_an_error_in_a_script_is_raised_at_the_end_of_the_simulation():
    def script(_prompt):
        msg = "not so"
        raise AssertionError(msg)

    def use():
        with SimulatedDocker(script=script) as docker:
            completed = call(docker, "run", MODEL, "hi")
            assert completed.returncode == 1
            assert "the script failed: AssertionError" in completed.stderr

    with pytest.raises(AssertionError, match="not so"):
        use()


def test_an_error_in_a_script_is_a_note_on_the_failure_of_the_test():
    def use():
        with SimulatedDocker(script=lambda _prompt: 1 / 0) as docker:
            call(docker, "run", MODEL, "hi")
            msg = "the test's own"
            raise LookupError(msg)

    with pytest.raises(LookupError, match="the test's own") as caught:
        use()
    (note,) = caught.value.__notes__
    assert note.endswith("ZeroDivisionError: division by zero\n")
    assert __file__ in note  # the traceback of the script
    assert "LookupError" not in note


@pytest.mark.parametrize(
    "script",
    [
        3,
        None,
        b"bytes",
        iter(["once only"]),
        ["part", 3],
        [Hang],
        [Pulled()],
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        lambda script: SimulatedDocker(script=script),
        lambda script: SimulatedDocker({MODEL: script}),
        lambda script: InTurn("first", script),
    ],
)
def test_an_invalid_script_is_refused_at_construction(use, script):
    with pytest.raises(TypeError, match="is not a step; a step is one of: str, Text, Reasoning"):
        use(script)


def test_an_invalid_step_from_a_function_is_an_error_of_its_call():
    def use(script):
        with SimulatedDocker(script=script) as docker:
            assert "the script failed: TypeError" in call(docker, "run", MODEL, "hi").stderr

    for script in (lambda _prompt: None, lambda _prompt: [Pulled()]):
        with pytest.raises(TypeError, match="is not a step"):
            use(script)


@pytest.mark.parametrize("script", [Fail("boom"), InTurn(Fail("boom")), lambda _: Fail("boom")])
def test_a_single_step_is_accepted_as_a_script(script):
    with SimulatedDocker(script=script) as docker:
        assert "boom" in call(docker, "run", MODEL, "hi").stderr


def test_a_script_is_closed_when_its_client_disconnects():
    closed = threading.Event()

    def script(_prompt):
        try:
            while True:
                yield "on and on "
        finally:
            closed.set()

    with SimulatedDocker(script=script) as docker:
        process = start_run(docker)
        process.stdout.read1(1)
        process.kill()
        finish(process)
        assert closed.wait(10)
        docker.wait_gone()
        assert docker.gone == ["hi"]
