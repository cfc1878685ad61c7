"""`OutputParser` on the recorded output of every version of the CLI."""

from __future__ import annotations

from typing import Any

import pytest

from docker_model._docker_cli.output_parser import (
    SEPARATOR,
    SEPARATOR_TO_V0_1_40,
    Chatter,
    PullNotice,
)
from docker_model.types import TextDelta, Usage
from tests.support.transcripts import Transcript, load
from tests.unit.docker_cli.output_parsing import MODEL, Output, output_of, parse, single_bytes


def is_one_shot(transcript: Transcript) -> bool:
    """Return whether a transcript is one prompt with its answer, as this package runs it."""
    if transcript.argv[0] != "docker" or transcript.pty:
        return False
    if {"-d", "--detach", "--debug", "--help"} & set(transcript.argv):
        return False
    # Without a prompt, older versions start a chat; v0.1.27 starts one with stdin, too.
    return b"> " not in transcript.ending.stdout


def separator_of(transcript: Transcript) -> str:
    return SEPARATOR_TO_V0_1_40 if "v0.1.40" in transcript.versions else SEPARATOR


NO_REASONING = {"v0.1.27"}
NO_USAGE = {"v0.1.27", "v0.1.40"}


def scene_output(transcript: Transcript) -> Output:
    """Return the output of the scripted runner, as far as this version of the CLI prints it."""
    version = transcript.versions[-1]
    chat = [r["body"] for r in transcript.requests if r["path"].endswith("/chat/completions")]
    if not any(body["messages"] for body in chat):  # a preload has no messages
        return Output()
    text = reasoning = ""
    usage = None
    thinking_again = False
    for step in transcript.scene.get("chat", []):
        if "usage" in step and version not in NO_USAGE:
            prompt, completion = step["usage"]
            usage = Usage(prompt, completion, prompt + completion)
        thought, content = thought_and_content(step, chat[0]["messages"][-1]["content"])
        if thought and version not in NO_REASONING:
            if text:  # reasoning after the first piece of the answer belongs to it
                text += f"\n\nThinking:\n{thought}"
                thinking_again = True
            else:
                reasoning += thought
        if content:
            text += separator_of(transcript) + content if thinking_again else content
            thinking_again = False
    return Output(text, reasoning, usage)


def thought_and_content(
    step: dict[str, Any], prompt: str | list[dict[str, Any]]
) -> tuple[str, str]:
    """Return one step of a scene; `prompt` as the runner received it, for steps that echo it."""
    if "echo" in step:
        text = prompt if isinstance(prompt, str) else prompt[0]["text"]  # images follow
        return "", f"You said: {text}"
    if "burst" in step:
        return "", step["burst"][0] * step["burst"][1]
    delta = {"reasoning_content": step.get("reasoning", ""), "content": step.get("split", "")}
    delta |= step | step.get("delta", {})
    return delta["reasoning_content"], delta["content"]


# Where the output differs from the scene, by case; with a version, in the records of that
# version alone.
EXPECTED_INSTEAD: dict[str, Output] = {
    # These cannot be distinguished from output of the CLI.
    "run-lookalike-thinking": Output("answer", "not really"),
    "run-lookalike-thinking@v0.1.40": Output("--\n\nanswer", "not really"),
    "run-lookalike-usage": Output("done", "", Usage(1, 2, 3)),
    "run-lookalike-usage-twice@v0.1.40": Output("done", "", Usage(1, 2, 3)),
    "run-think-newlines": Output("second\n\n\n--\n\n\n\nanswer\n", "\nfirst"),
    "run-think-newlines@v0.1.27": Output("\n\nanswer\n"),
    "run-think-newlines@v0.1.40": Output("--\n\nsecond\n\n\n\n\nanswer\n", "\nfirst"),
    # Steps of the scene that are not deltas.
    "run-json-reply@v1.2.6": Output("whole answer", "", Usage(10, 5, 15)),
    "run-tool-call-unknown@v1.2.6": Output("after 1 tool round"),
    "run-line-over-64k": Output("ok "),  # the CLI fails at the long line
    # `--color yes` passes code blocks through a Markdown renderer.
    "run-color-yes-code@v1.2.6": Output(
        "Here:\n\n" + " " * 78 + "\n    print(1)" + " " * 66 + "\n\nDone **bold**."
    ),
}


def expected(transcript: Transcript) -> Output:
    for version in transcript.versions:
        if override := EXPECTED_INSTEAD.get(f"{transcript.case}@{version}"):
            return override
    return EXPECTED_INSTEAD.get(transcript.case) or scene_output(transcript)


RUNS = [t for t in load() if t.argv[1:3] == ("model", "run") and is_one_shot(t)]
WHOLE = [transcript for transcript in RUNS if transcript.case.startswith("run-")]
CUT_SHORT = [transcript for transcript in RUNS if transcript not in WHOLE]


def test_a_recorded_run_gives_the_output_of_its_scene() -> None:
    for transcript in WHOLE:
        separator = separator_of(transcript)
        model = next((word for word in transcript.argv if "/" in word), MODEL)
        whole = parse(transcript.ending.stdout, model=model, separator=separator)
        assert output_of(whole) == expected(transcript), str(transcript)
        bytewise = single_bytes(transcript.ending.stdout)
        assert parse(*bytewise, model=model, separator=separator) == whole, str(transcript)


def test_a_recorded_run_that_was_ended_gives_the_beginning_of_its_scene() -> None:
    for transcript in CUT_SHORT:
        for ending in transcript.endings:
            text = output_of(parse(ending.stdout)).text
            assert scene_output(transcript).text.startswith(text), str(transcript)


def test_the_number_of_transcripts_is_known() -> None:
    assert {version for transcript in WHOLE for version in transcript.versions} >= {
        "v0.1.27", "v0.1.40", "cli-v0.1.41", "cli-v1.0.7", "v1.0.18", "v1.1.26", "v1.2.6"
    }  # fmt: skip
    assert len(WHOLE) > 250
    assert len(CUT_SHORT) > 10


@pytest.mark.parametrize(
    "transcript", [t for t in WHOLE if t.case.startswith("run-missing-pull")], ids=str
)
def test_the_notice_and_the_pull_are_not_part_of_the_answer(transcript: Transcript) -> None:
    model = next(word for word in transcript.argv if "/" in word)
    parts = parse(transcript.ending.stdout, model=model)
    before = [part for part in parts if isinstance(part, (PullNotice, Chatter))]
    assert parts[: len(before)] == before
    if b"Unable" in transcript.ending.stdout:
        name = "ai/smollm2:latest" if "cli-v0.1.46" in transcript.versions else model
        assert before[0] == PullNotice(name)
        lines = [part.line for part in before[1:] if isinstance(part, Chatter)]
        assert transcript.ending.stdout.decode().startswith(
            f"Unable to find model '{name}' locally. Pulling from the server.\n"
            + "".join(f"{line}\n" for line in lines)
        )


def test_a_recorded_context_warning_is_read() -> None:
    (transcript,) = load("context-store-warning", version="v1.2.6")
    line = transcript.ending.stdout.decode()
    assert parse(f"{line}Hello\n") == [Chatter(line.removesuffix("\n")), TextDelta("Hello")]
