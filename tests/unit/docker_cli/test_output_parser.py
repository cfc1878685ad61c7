"""`OutputParser`: look-alikes, buffering, and any split compared with a plain reference."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from docker_model._docker_cli.output_parser import (
    SEPARATOR,
    SEPARATOR_TO_V0_1_40,
    Chatter,
    OutputParser,
    Part,
    PullNotice,
)
from docker_model.types import ReasoningDelta, TextDelta, Usage
from tests.unit.docker_cli.output_parsing import (
    MODEL,
    NOTICE,
    STORE_WARNING,
    USAGE_LINE,
    joined,
    output_of,
    parse,
    single_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

# --- before the answer --------------------------------------------------------------------------


def test_context_warnings_are_read_before_everything_else() -> None:
    other = 'Warning: unable to read context "gpu": not found'
    stdout = (
        f"{STORE_WARNING}\n{other}\n{NOTICE}\nModel pulled successfully\nThinking:\nA\n\n--\n\nB\n"
    )
    assert parse(*single_bytes(stdout.encode())) == [
        Chatter(STORE_WARNING),
        Chatter(other),
        PullNotice(MODEL),
        Chatter("Model pulled successfully"),
        ReasoningDelta("A"),
        TextDelta("B"),
    ]


def test_a_pull_with_retries_and_credential_warnings_is_read() -> None:
    pull = [
        "Warning: failed to sync Docker credentials to runner: no",
        "Downloaded 1.05MB of 2.10MB",
        "",
        "",
        "Downloaded 2.10MB of 2.10MB",
        "Pulled, as this server says it",
    ]
    lines = "".join(f"{line}\n" for line in [NOTICE, *pull])
    assert parse(*single_bytes(f"{lines}\nHi\n".encode())) == [
        PullNotice(MODEL),
        *map(Chatter, pull),
        TextDelta("\nHi"),
    ]


def test_a_pull_without_a_result_is_read() -> None:
    assert parse(f"{NOTICE}\nDownloaded 1MB of 2MB\n\nHi\n") == [
        PullNotice(MODEL),
        Chatter("Downloaded 1MB of 2MB"),
        Chatter(""),
        TextDelta("Hi"),
    ]


@pytest.mark.parametrize("cut_off", ["Downl", "Downloaded 1M", "\r\x1b[KDownloaded: 25", "Mod"])
def test_a_pull_that_is_cut_off_is_read(cut_off: str) -> None:
    assert parse(f"{NOTICE}\n{cut_off}") == [PullNotice(MODEL), Chatter(cut_off)]


@pytest.mark.parametrize(
    ("typed", "printed"),
    [
        ("smollm2", "ai/smollm2:latest"),
        ("smollm2:360M", "ai/smollm2:360M"),
        ("my/m", "my/m:latest"),
        ("hf.co/Org/M:Q4_K_M", "hf.co/org/m:q4_k_m"),
        ("hf.co/Org/M", "hf.co/org/m:latest"),
    ],
)
def test_the_notice_of_v0_1_46_is_read(typed: str, printed: str) -> None:
    for name in (typed, printed):
        notice = f"Unable to find model '{name}' locally. Pulling from the server.\n"
        assert parse(*single_bytes(notice.encode()), model=typed) == [PullNotice(name)]


# --- text of the model is kept ------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        "Warning: do not do this.",
        "Warning:",
        "Warning: unable to open context stores",
        "Unable to find model 'ai/other' locally. Pulling from the server.",
        f"{NOTICE} it says",
        f"It said:\n{NOTICE}\nModel pulled successfully",
        "Downloaded 1MB of 2MB",
        "Model pulled successfully\nHi",
        "\n",
        "\n\n",
        "",
        "\n--\n\n",
        "\n\n--\n\nanswer",
        "Thinking:",
        "Thinking: about it",
        " Thinking:\nx",
        "Thinking about it:\n\n--\n\nx",
        "a\n\nThinking:\nb\n\n--\n\nc",
        f"{USAGE_LINE}\nmore",
        f"{USAGE_LINE}.",
        f"a\nb{USAGE_LINE}\n",
        "a\n\nToken usage: 10 prompt + 5 completion = 16 total",
        "a\n\nToken usage: 010 prompt + 5 completion = 15 total",
        "a\n\nToken usage: -1 prompt + 5 completion = 4 total",
        "a\n\nToken usage: 1\u0660 prompt + 5 completion = 15 total",
        "a\nToken usage: 10 prompt + 5 completion = 15 total",
        "a\n\nToken usage: 10 prompt + 5 completion = 15 tot",
        "Token usage: 10 prompt + 5 completion = 15 total",
        "\r\n\r\n\x00\x1b[31m\u2028\x85",
        "a\n\nToken usage: " + "9" * 5000,
    ],
)
def test_an_answer_that_looks_like_cli_output_is_kept(answer: str) -> None:
    stdout = f"{answer}\n".encode()
    expected = [TextDelta(answer)] if answer else []
    assert parse(stdout) == expected
    assert parse(*single_bytes(stdout)) == expected


@pytest.mark.parametrize(
    "answer", ["Hi", "Hi\n", "\n", f"Hi{USAGE_LINE}", f"{USAGE_LINE}\n", "Thinking"]
)
def test_only_the_last_line_is_read_as_usage(answer: str) -> None:
    stdout = f"{answer}{USAGE_LINE}\n".encode()
    assert parse(*single_bytes(stdout)) == [TextDelta(answer), Usage(10, 5, 15)]


def test_usage_without_an_answer_is_read() -> None:
    assert parse(f"{USAGE_LINE}\n") == [Usage(10, 5, 15)]


def test_usage_after_reasoning_alone_is_read() -> None:
    assert parse(f"Thinking:\nhmm{USAGE_LINE}\n") == [ReasoningDelta("hmm"), Usage(10, 5, 15)]


def test_a_separator_after_a_line_that_looks_like_usage_is_read() -> None:
    stdout = f"Thinking:\nhmm{USAGE_LINE}\n\n--\n\nanswer\n"
    assert parse(*single_bytes(stdout.encode())) == [
        ReasoningDelta(f"hmm{USAGE_LINE}"),
        TextDelta("answer"),
    ]


# --- comparison with a reference that sees all output at once -----------------------------------

PROGRESS = r"(?:(?:Downloaded |(?:\r\x1b\[K)?Downloaded: )[^\n]*(?:\n|\Z))"
PULL_LINE = rf"(?:{PROGRESS}|Warning: failed to [^\n]*(?:\n|\Z))"
RESULT = r"(?:Model pulled successfully\n|Using cached model: [^\n]*(?:\n|\Z))"
PULL = re.compile(
    rf"{PULL_LINE}*+(?:\n++{PROGRESS}{PULL_LINE}*+)*+(?:\n++{RESULT}?|[^\n]++(?:\n|\Z))?"
)
USAGE = re.compile(
    r"\n\nToken usage: (0|[1-9]\d*) prompt \+ (0|[1-9]\d*) completion = (\d+) total\n?\Z", re.ASCII
)


def reference(stdout: str, separator: str = SEPARATOR) -> list[Part]:
    parts: list[Part] = []
    while warning := re.match(r"(Warning: unable to open context store: [^\n]*)(?:\n|\Z)", stdout):
        parts.append(Chatter(warning[1]))
        stdout = stdout[warning.end() :]
    if stdout.startswith(f"{NOTICE}\n"):
        parts.append(PullNotice(MODEL))
        stdout = stdout.removeprefix(f"{NOTICE}\n")
        pull = PULL.match(stdout)
        assert pull is not None
        lines = pull[0].split("\n")
        parts += map(Chatter, lines if lines[-1] else lines[:-1])
        stdout = stdout[pull.end() :]
    reasoning, answer = "", stdout
    if re.match(r"Thinking:\n(?s:.)", stdout):
        reasoning, cut, answer = stdout.removeprefix("Thinking:\n").partition(separator)
        if not cut:
            return joined([*parts, *ending(reasoning, ReasoningDelta)])
        parts.append(ReasoningDelta(reasoning))
    return [part for part in [*parts, *ending(answer, TextDelta)] if part != ReasoningDelta("")]


def ending(text: str, delta: type[TextDelta | ReasoningDelta]) -> list[Part]:
    usage = USAGE.search(text)
    if usage and int(usage[1]) + int(usage[2]) == int(usage[3]):
        text = text[: usage.start()]
        return [*([delta(text)] if text else []), Usage(*map(int, usage.groups()))]
    text = text.removesuffix("\n")
    return [delta(text)] if text else []


PIECES = st.one_of(
    st.sampled_from(
        [
            "\n", "\n\n", "--", SEPARATOR, "Thinking:\n", "Thinking:", USAGE_LINE,
            f"{USAGE_LINE}\n", "\n\nToken usage: ", "1 prompt + ", "2 completion = ", "3 total",
            "4 total", "12", "0",
            f"{NOTICE}\n", NOTICE, f"{STORE_WARNING}\n", STORE_WARNING, "Warning: failed to sync\n",
            "Downloaded 1MB of 2MB\n", "\r\x1b[KDownloaded: 1 MB", "Model pulled successfully\n",
            "Using cached model: 1 MiB\n", "Warning: ", "Unable to find model '", "é", "東", "👩",
        ]
    ),
    st.text(max_size=5),
)  # fmt: skip
OUTPUTS = st.lists(PIECES, max_size=12).map("".join)


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(places)]


@given(OUTPUTS, st.lists(st.integers(0, 2000), max_size=20))
@example(f"{NOTICE}\n\n\nThinking:\nx", [])
@example(f"Thinking:\n{SEPARATOR}", [5, 12])
@example(f"{NOTICE}\n{NOTICE}\n", [])
def test_any_split_equals_the_reference(stdout: str, cuts: list[int]) -> None:
    expected = reference(stdout)
    data = stdout.encode()
    assert parse(data) == expected
    assert parse(*split(data, cuts)) == expected
    assert parse(*single_bytes(data)) == expected


@given(OUTPUTS, st.lists(st.integers(0, 2000), max_size=20))
def test_any_split_with_the_old_separator_equals_the_reference(
    stdout: str, cuts: list[int]
) -> None:
    expected = reference(stdout, SEPARATOR_TO_V0_1_40)
    assert parse(*split(stdout.encode(), cuts), separator=SEPARATOR_TO_V0_1_40) == expected


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=20))
@example(b"\xf0\x9f\x91\xa9\xe2\x80", [1, 2, 3, 4, 5])
@example(b"\xed\xa0\x80\xc3", [1, 2, 3])
def test_any_bytes_are_read_in_any_split(data: bytes, cuts: list[int]) -> None:
    text = data.decode("utf-8", "replace")
    assert parse(*split(b"Answer: " + data, cuts)) == reference(f"Answer: {text}")


# --- text is released as soon as it is certain --------------------------------------------------


@pytest.mark.parametrize(
    ("stdout", "held"),
    [
        ("abc", ""),
        ("abc\n", "\n"),
        ("abc\n\n", "\n\n"),
        ("abc\n\n\n", "\n\n"),
        ("abc\n ", ""),
        ("abc\n-", ""),
        ("abc\n\n-", ""),
        ("abc\n\nT", "\n\nT"),
        ("abc\n\nTh", ""),
        ("abc\n\nToken usage: 12 pro", "\n\nToken usage: 12 pro"),
        ("abc\n\nToken usage: x", ""),
        ("abc\n\nToken usage: 1 prompt + 2 completion = 9", ""),
        (f"abc{USAGE_LINE}", USAGE_LINE),
        (f"abc{USAGE_LINE}\n", f"{USAGE_LINE}\n"),
        (f"abc{USAGE_LINE}\n\n", "\n\n"),
        (f"abc{USAGE_LINE} ", ""),
        ("abc\n\nToken usage: " + "9" * 200, ""),
        ("T", "T"),
        ("Th", "Th"),
        ("The", ""),
        ("Thinking:", "Thinking:"),
        ("Thinking:\n", "Thinking:\n"),
        ("Thinking: ", ""),
        ("W", "W"),
        ("Warning: u", "Warning: u"),
        ("Warning: d", ""),
        ("Unable to find model 'ai/smol", "Unable to find model 'ai/smol"),
        ("Unable to find model 'ai/o", ""),
        ("Downloaded ", ""),
        ("a\xc3", ""),
    ],
)
def test_only_uncertain_text_is_held_back(stdout: str, held: str) -> None:
    parser = OutputParser(MODEL)
    released = output_of(
        [part for byte in single_bytes(stdout.encode()) for part in parser.feed(byte)]
    )
    assert released.text == stdout.removesuffix(held)


@pytest.mark.parametrize(
    ("reasoning", "held"),
    [
        ("abc", ""),
        ("abc\n", "\n"),
        ("abc\n\n-", "\n\n-"),
        ("abc\n\n--\n", "\n\n--\n"),
        ("abc\n\n---", ""),
        ("abc\n\nTo", "\n\nTo"),
        ("abc\n\nTh", ""),
    ],
)
def test_only_uncertain_reasoning_is_held_back(reasoning: str, held: str) -> None:
    parser = OutputParser(MODEL)
    released = output_of(parser.feed(f"Thinking:\n{reasoning}".encode()))
    assert released.reasoning == reasoning.removesuffix(held)


def test_a_notice_is_released_at_once() -> None:
    parser = OutputParser(MODEL)
    assert parser.feed(f"{NOTICE}\n".encode()) == [PullNotice(MODEL)]


def test_an_incomplete_character_is_held_back() -> None:
    parser = OutputParser(MODEL)
    assert parser.feed("a東".encode()[:-1]) == [TextDelta("a")]
    assert parser.feed("東".encode()[-1:]) == [TextDelta("東")]


@pytest.mark.parametrize(
    "piece",
    ["\n", "\n\nToken usage: 1 prompt + 2 completion = 3 total\n", "\n\nToken usage: 1", "\n\n-"],
)
@pytest.mark.parametrize("before", ["", "Thinking:\na", f"{STORE_WARNING}"])
def test_long_outputs_take_linear_time(before: str, piece: str) -> None:
    # Scanning the held text again for each piece would take a minute instead of a second.
    text = before + piece * (100_000 // len(piece))
    data = text.encode()
    parts = parse(*(data[i : i + 4] for i in range(0, len(data), 4)))
    assert parts == parse(data)
