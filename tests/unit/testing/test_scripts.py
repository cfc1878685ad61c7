"""What the model says, and what becomes of the command, is written as plain data."""

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
from tests.unit.testing.calling import MODEL, ask, call, finish, start_run


def test_says_what_it_was_asked_unless_told_otherwise():
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
def test_a_script_becomes_the_answer(script, stdout):
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
        (["part", Kill()], -9, "part", ""),
    ],
)
def test_a_script_becomes_a_failure(script, code, stdout, stderr):
    with SimulatedDocker(script=script) as docker:
        done = call(docker, "run", MODEL, "hi")
    assert (done.returncode, done.stdout) == (code, stdout)
    assert done.stderr.endswith(stderr)


def test_pieces_are_small_and_come_one_by_one():
    first_read = threading.Event()

    def script(_prompt):
        yield "1234" * 3
        assert first_read.wait(10)
        yield "the rest"

    with SimulatedDocker(script=script) as docker:
        process = start_run(docker)
        seen = b""
        while len(seen) < 12:
            seen += process.stdout.read1(4)
        first_read.set()  # only now is there any more
        assert finish(process) == (0, b"the rest\n", b"")
    assert seen == b"123412341234"


def test_a_long_text_does_not_come_in_millions_of_pieces():
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


def test_answers_in_turn():
    with SimulatedDocker(script=InTurn("first", ["second"], str.upper)) as docker:
        assert [ask(docker, "hi") for _ in range(3)] == ["first\n", "second\n", "HI\n"]
        done = call(docker, "run", MODEL, "hi")
        assert "no answer left for this call (answers: 3)" in done.stderr


@pytest.mark.parametrize("transport", ["cli", "http"])
def test_an_answer_too_few_shows_in_the_errors_detail(transport):
    with SimulatedDocker(script=InTurn("only")):
        model = DockerModel(MODEL, transport=transport)
        assert model.generate("hi").text == "only"
        with pytest.raises(GenerationError) as failed:
            model.generate("hi")
    assert "no answer left for this call (answers: 1)" in failed.value.detail


def test_what_a_script_raises_is_raised_where_the_simulation_ends():
    def script(_prompt):
        msg = "not so"
        raise AssertionError(msg)

    def use():
        with SimulatedDocker(script=script) as docker:
            done = call(docker, "run", MODEL, "hi")
            assert done.returncode == 1
            assert "the script failed: AssertionError" in done.stderr

    with pytest.raises(AssertionError, match="not so"):
        use()


def test_the_tests_own_failure_tells_of_the_scripts_too():
    def use():
        with SimulatedDocker(script=lambda _prompt: 1 / 0) as docker:
            call(docker, "run", MODEL, "hi")
            msg = "the test's own"
            raise LookupError(msg)

    with pytest.raises(LookupError, match="the test's own") as caught:
        use()
    (note,) = caught.value.__notes__
    assert note.endswith("ZeroDivisionError: division by zero\n")
    assert __file__ in note  # and where it was
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
def test_what_is_no_script_is_refused_where_it_is_written(use, script):
    with pytest.raises(TypeError, match="is not a step; a step is one of: str, Text, Reasoning"):
        use(script)


def test_what_a_function_says_is_looked_at_as_it_comes():
    def use(script):
        with SimulatedDocker(script=script) as docker:
            assert "the script failed: TypeError" in call(docker, "run", MODEL, "hi").stderr

    for script in (lambda _prompt: None, lambda _prompt: [Pulled()]):
        with pytest.raises(TypeError, match="is not a step"):
            use(script)


@pytest.mark.parametrize("script", [Fail("boom"), InTurn(Fail("boom")), lambda _: Fail("boom")])
def test_a_step_alone_is_a_script(script):
    with SimulatedDocker(script=script) as docker:
        assert "boom" in call(docker, "run", MODEL, "hi").stderr


def test_a_script_is_closed_when_its_client_goes():
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
