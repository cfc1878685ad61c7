"""Reading of replies and streams in every form that engines send."""

from __future__ import annotations

import itertools
import json
import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docker_model.errors import DockerModelError, EmptyAnswerError, GenerationError
from docker_model.http.replies import (
    Answer,
    StreamReader,
    read_arguments,
    read_reply,
    require_text,
)
from docker_model.http.thoughts import ThoughtSplitter, split_thoughts

# A busy machine is slow: deadlines would fail without a fault.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def chunk(delta=None, finish=None, **more):
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}


def calls_chunk(*pieces, finish=None):
    return chunk({"tool_calls": list(pieces)}, finish)


def piece(index=..., number=..., name=..., arguments=...):
    """Return a piece of a call; `...` omits a key."""
    function = {"name": name, "arguments": arguments}
    function = {key: value for key, value in function.items() if value is not ...}
    whole = {"index": index, "id": number, "type": "function", "function": function}
    return {key: value for key, value in whole.items() if value is not ...}


def read(*chunks, **settings):
    """Return the whole answer, after comparing it with the sum of the deltas."""
    reader = StreamReader(**settings)
    deltas = [reader.feed(received) for received in chunks] + [reader.close()]
    answer = reader.answer
    assert "".join(delta.text for delta in deltas) == answer.text
    assert "".join(delta.reasoning for delta in deltas) == answer.reasoning
    added = {}
    for part in (part for delta in deltas for part in delta.calls):
        call = added.setdefault(part.index, {"id": [], "name": [], "arguments": []})
        for key, values in call.items():
            if getattr(part, key):
                values.append(getattr(part, key))
    assert list(added) == list(range(len(answer.calls)))
    for sum_of_parts, call in zip(added.values(), answer.calls, strict=True):
        assert sum_of_parts["id"] == [call.id]
        assert "".join(sum_of_parts["name"]) == call.name
        assert "".join(sum_of_parts["arguments"]) == call.raw
    assert all(call.id for call in answer.calls)
    assert len({call.id for call in answer.calls}) == len(answer.calls)
    return answer


def calls_of(*chunks, **settings):
    return [(call.name, call.arguments) for call in read(*chunks, **settings).calls]


ONE = [("read_file", {"path": "a"})]
TWO = [*ONE, ("read_file", {"path": "b"})]
A, B = '{"path": "a"}', '{"path": "b"}'
NAME = "read_file"


# -- calls ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([(0, "1", NAME, A)], id="at once"),
        pytest.param([(0, "1", NAME, ""), (0, ..., ..., A)], id="as OpenAI"),
        pytest.param([(0, "1", NAME, ...), (0, "", "", A)], id="empty ids and names"),
        pytest.param([(0, "1", NAME, None), (0, None, None, A)], id="nulls"),
        pytest.param([(0, "1", NAME, A[:3]), (0, "1", NAME, A[3:])], id="name repeated"),
        pytest.param([(0, "1", "read", ""), (0, ..., "_file", ""), (0, ..., ..., A)], id="pieces"),
        pytest.param([(0, "1", "read", ""), (0, ..., NAME, A)], id="name grown"),
        pytest.param([(0, "1", ..., A[:3]), (0, ..., NAME, A[3:])], id="name late"),
        pytest.param([(0, "1", ..., A), (0, ..., NAME, "")], id="name last"),
        pytest.param([(0, ..., NAME, A[:3]), (0, "1", ..., A[3:])], id="id late"),
        pytest.param([(0, ..., NAME, A), (0, "1", ..., "")], id="id last"),
        pytest.param([(..., "1", NAME, A[:3]), (..., ..., ..., A[3:])], id="no index"),
        pytest.param([(None, "1", NAME, A[:3]), (None, "1", ..., A[3:])], id="null index"),
        pytest.param([(0, "1", NAME, ""), (..., ..., ..., A)], id="index only in the first piece"),
        pytest.param([(..., "1", NAME, ""), (0, ..., ..., A)], id="index only in later pieces"),
        pytest.param([(0, "1", NAME, A[:3]), (1, "1", ..., A[3:])], id="index counts pieces"),
        pytest.param([(1, "1", NAME, A[:3]), (1, ..., ..., A[3:])], id="index from one"),
        pytest.param([(0, "1", NAME, {"path": "a"})], id="an object"),
        pytest.param([(0, "1", NAME, A), (0, "1", NAME, A)], id="sent twice"),
        pytest.param([(0, "1", NAME, A), (0, "1", NAME, "")], id="name again at the end"),
        pytest.param([(0, "1", NAME, A), (0, ..., ..., " \n")], id="white space at the end"),
        pytest.param([(0, "1", NAME, json.dumps(A))], id="JSON in JSON"),
    ],
)
def test_a_call_in_any_pieces_is_read_as_one_call(pieces):
    assert (
        calls_of(*(calls_chunk(piece(*fields)) for fields in pieces), chunk(finish="tool_calls"))
        == ONE
    )
    *others, last = pieces
    chunks = [calls_chunk(piece(*fields)) for fields in others]
    assert calls_of(*chunks, calls_chunk(piece(*last), finish="tool_calls")) == ONE


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([(0, "1", NAME, A), (1, "2", NAME, B)], id="as OpenAI"),
        pytest.param([(0, "1", NAME, A), (0, "2", NAME, B)], id="index all zero"),
        pytest.param([(..., "1", NAME, A), (..., "2", NAME, B)], id="no index"),
        pytest.param([(0, ..., NAME, A), (1, ..., NAME, B)], id="no ids"),
        pytest.param([(0, "1", NAME, A), (1, "1", NAME, B)], id="one id for both"),
        pytest.param([(0, "", NAME, A), (0, "", NAME, B)], id="only complete arguments"),
        pytest.param(
            [(0, "1", NAME, ""), (1, "2", NAME, ""), (0, ..., ..., A), (1, ..., ..., B)],
            id="interleaved by index",
        ),
        pytest.param(
            [(0, "1", NAME, ""), (0, "2", NAME, ""), (0, "1", ..., A), (0, "2", ..., B)],
            id="interleaved by id",
        ),
        pytest.param(
            [
                (0, "1", NAME, A[:3]),
                (0, ..., ..., A[3:]),
                (0, "2", NAME, B[:3]),
                (0, "2", ..., B[3:]),
            ],
            id="index all zero, in pieces",
        ),
    ],
)
def test_two_calls_in_any_pieces_are_read_as_two_calls(pieces):
    assert (
        calls_of(*(calls_chunk(piece(*fields)) for fields in pieces), chunk(finish="stop")) == TWO
    )
    if len(pieces) == 2:
        assert calls_of(calls_chunk(*(piece(*fields) for fields in pieces), finish="stop")) == TWO


def test_two_equal_calls_in_one_chunk_stay_two_calls():
    same = piece(..., ..., "now", "")
    assert calls_of(calls_chunk(same, same)) == [("now", {}), ("now", {})]


@pytest.mark.parametrize("name", ["get", "get_weather", "getget"])
def test_the_names_of_the_tools_distinguish_a_piece_from_a_repetition(name):
    half = len(name) // 2
    pieces = piece(0, "1", name[:half], ""), piece(0, ..., name[half:], "{}")
    assert calls_of(*map(calls_chunk, pieces), tools=[name]) == [(name, {})]
    again = piece(0, "1", name, ""), piece(0, "1", name, "{}")
    assert calls_of(*map(calls_chunk, again), tools=[name]) == [(name, {})]


STYLES = st.fixed_dictionaries(
    {
        "index": st.sampled_from(["right", "zero", "missing", "null", "from one"]),
        "id": st.sampled_from(["first", "every", "late", "missing"]),
        "name": st.sampled_from(["first", "every", "pieces", "late"]),
        "nothing": st.sampled_from([..., None, ""]),
        "together": st.booleans(),
        "interleaved": st.booleans(),
    }
)
CALLS = st.lists(
    st.tuples(
        st.sampled_from(["add", "sub", "get_weather", "get_weather_now"]),
        st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2),
    ),
    max_size=4,
)


def is_plain_enough(style):
    """Return whether the pieces still identify their call."""
    if style["index"] in ("right", "from one"):
        return True
    # Only the ids, or a name with the arguments complete before it, distinguish calls.
    if style["interleaved"]:
        return style["id"] == "every" and style["name"] != "late"
    return style["id"] in ("first", "every") or style["name"] in ("first", "every")


@UNHURRIED
@given(CALLS, STYLES, st.data())
def test_calls_are_the_same_for_every_style_of_streaming(calls, style, data):
    style["interleaved"] &= is_plain_enough(style)
    if not is_plain_enough(style):
        style["id"] = "every"
    streams = [list(pieces_of(number, call, style, data)) for number, call in enumerate(calls)]
    if style["interleaved"]:
        pieces = [
            fragment
            for row in itertools.zip_longest(*streams)
            for fragment in row
            if fragment is not None
        ]
    else:
        pieces = [fragment for stream in streams for fragment in stream]
    chunks = [calls_chunk(fragment) for fragment in pieces]
    if style["together"] and style["index"] == "right" and style["name"] != "every":
        chunks = [calls_chunk(*pieces[n : n + 2]) for n in range(0, len(pieces), 2)]
    chunks.append(chunk(finish="tool_calls"))
    answer = read(*chunks, tools=[name for name, _ in calls])
    assert [(call.name, call.arguments) for call in answer.calls] == calls
    # The deltas of one reader can be read by another.
    reader, again = StreamReader(), StreamReader()
    for received in chunks:
        for delta in reader.feed(received).calls:
            again.feed(calls_chunk(piece(delta.index, delta.id, delta.name, delta.arguments)))
    for delta in reader.close().calls:
        again.feed(calls_chunk(piece(delta.index, delta.id, delta.name, delta.arguments)))
    again.close()
    assert again.answer.calls == reader.answer.calls


def pieces_of(number, call, style, data):
    name, arguments = call
    text = json.dumps(arguments)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=2)))
    texts = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    # Two calls without an index and without ids need something after their names.
    names, nothing = ["", *[""] * len(texts)], style["nothing"]
    if style["name"] == "pieces":
        half = len(name) // 2
        texts = ["", "", *texts]
        names = [name[:half], name[half:], *[""] * len(texts)]
    elif style["name"] == "late":
        names[len(texts) - 1] = name
    else:
        names = [name] + [name if style["name"] == "every" else ""] * len(texts)
    index = {"right": number, "from one": number + 1, "zero": 0, "missing": ..., "null": None}
    for place, part in enumerate(texts):
        has_id = {
            "first": place == 0,
            "every": True,
            "late": place == len(texts) - 1,
            "missing": False,
        }[style["id"]]
        yield piece(
            index[style["index"]],
            f"call_{number}" if has_id else nothing,
            names[place] or nothing,
            part,
        )


@pytest.mark.parametrize("mode", ["delta", "message"])
def test_a_call_in_the_older_form_is_read(mode):
    older = {"function_call": {"name": NAME, "arguments": A}}
    choice = {"index": 0, mode: older, "finish_reason": "function_call"}
    answer = read({"choices": [choice]})
    assert [(call.name, call.arguments) for call in answer.calls] == ONE
    assert answer.finish_reason == "tool_calls"


def test_a_call_in_the_older_form_is_read_from_pieces():
    pieces = {"name": NAME, "arguments": A[:3]}, {"arguments": A[3:]}
    assert calls_of(*(chunk({"function_call": fragment}) for fragment in pieces)) == ONE


@pytest.mark.parametrize("arguments", ['{"a": ', '"a"', "[1]", "7", '{"a": NaN}', "{}{}", [1]])
def test_arguments_that_are_not_an_object_are_none(arguments):
    [call] = read(calls_chunk(piece(0, "1", "delete", arguments))).calls
    assert (call.arguments, call.ok) == (None, False)
    assert call.raw == (arguments if isinstance(arguments, str) else json.dumps(arguments))
    assert call.error
    assert call.to_openai()["function"]["arguments"] == call.raw


@pytest.mark.parametrize(
    ("given_arguments", "arguments"),
    [
        (None, {}),
        ("", {}),
        ("null", {}),
        ({}, {}),
        ('{"a": "x\ny"}', {"a": "x\ny"}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('{"a": "\\ud83d"}', {"a": "�"}),
    ],
)
def test_arguments_are_read_in_every_form(given_arguments, arguments):
    assert read_arguments(given_arguments)[0] == arguments
    [answer] = read_reply(
        {"choices": [{"message": {"tool_calls": [piece(..., "1", "f", given_arguments)]}}]}
    )
    assert answer.calls[0].arguments == arguments
    assert json.loads(answer.calls[0].to_openai()["function"]["arguments"]) == arguments


# -- whole replies ----------------------------------------------------------------------------


def test_a_whole_reply_gives_an_answer_for_each_choice():
    choices = [
        {"index": 1, "message": {"content": "b"}, "finish_reason": "length"},
        {"index": 0, "message": {"content": "a", "reasoning": "hm"}, "finish_reason": "stop"},
    ]
    assert read_reply({"choices": choices}) == (
        Answer("a", "hm", finish_reason="stop"),
        Answer("b", finish_reason="length", index=1),
    )


def test_several_choices_are_streamed_side_by_side():
    reader = StreamReader()
    deltas = [
        reader.feed(
            {"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": None}]},
        ),
        reader.feed(chunk({"content": "a"})),
    ]
    assert not deltas[0].text
    assert [(delta.choice, delta.text) for delta in deltas[0].others] == [(1, "b")]
    assert deltas[1].text == "a"
    reader.close()
    assert [answer.text for answer in reader.answers] == ["a", "b"]


def test_calls_set_the_finish_reason_for_every_engine():
    assert read(calls_chunk(piece(0, "1", NAME, A)), chunk(finish="stop")).finish_reason == (
        "tool_calls"
    )


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, "Hello."],
        [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "Hello."}],
    ],
)
def test_content_in_parts_is_split_into_text_and_reasoning(content):
    answer = read(chunk({"content": content}), chunk(finish="stop"))
    assert (answer.text, answer.reasoning) == ("Hello.", "hm")


def test_counts_timings_and_logprobs_are_kept():
    reader = StreamReader()
    first, second = {"token": "a"}, {"token": "b"}
    for number, token in enumerate((first, second)):
        choice = {"index": 0, "delta": {"content": "x"}, "logprobs": {"content": [token]}}
        delta = reader.feed({"choices": [choice], "usage": {"total_tokens": number}})
        assert delta.logprobs == {"content": [token]}
    reader.feed({"choices": [], "timings": {"prompt_ms": 1}, "usage": None})
    assert (reader.usage, reader.timings) == ({"total_tokens": 1}, {"prompt_ms": 1})
    assert reader.answer.logprobs == {"content": [first, second]}


def test_a_chunk_without_content_gives_a_false_delta():
    reader = StreamReader()
    assert not reader.feed(chunk({"role": "assistant", "content": ""}))
    assert not reader.feed({"choices": [], "prompt_progress": {"total": 1}})
    assert reader.answer == Answer()


def test_answers_are_picklable():
    answer = read(calls_chunk(piece(0, "1", NAME, A)))
    assert pickle.loads(pickle.dumps(answer)) == answer


# -- endings and errors -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "known"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("end_turn", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("LENGTH", "length"),
        ("content_filter", "content_filter"),
    ],
)
def test_finish_reasons_of_engines_are_mapped_to_one_name(reason, known):
    assert read(chunk({"content": "a"}), chunk(finish=reason)).finish_reason == known


@pytest.mark.parametrize(
    "empty", [piece(0), piece(0, None, None, None), {"index": 0, "function": None}, {}]
)
def test_an_empty_piece_starts_no_call(empty):
    answer = read(chunk({"content": "a"}), calls_chunk(empty), chunk(finish="stop"))
    assert (answer.calls, answer.finish_reason) == ((), "stop")
    later = read(calls_chunk(empty), calls_chunk(piece(0, "1", "f", "{}"), empty))
    assert [(call.id, call.name) for call in later.calls] == [("1", "f")]


def test_calls_keep_the_order_of_their_first_pieces_even_without_content():
    answer = read(
        calls_chunk(piece(0), piece(1)),
        calls_chunk(piece(1, "b", "sub", "{}")),
        calls_chunk(piece(0, "a", "add", "{}")),
        chunk(finish="tool_calls"),
    )
    assert [(call.id, call.name) for call in answer.calls] == [("a", "add"), ("b", "sub")]


@pytest.mark.parametrize("reason", ["abort", "error", "cancelled", "unheard of", True, 7])
def test_an_answer_that_the_engine_aborted_is_an_error(reason):
    reader = StreamReader(model="m")
    reader.feed(chunk({"content": "Hel"}))
    with pytest.raises(GenerationError, match=rf"{reason}(?s:.*)Hint: ") as caught:
        reader.feed(chunk({"content": "lo"}, finish=reason))
    assert caught.value.partial == "Hello"


ERRORS = [
    {"error": "it failed"},
    {"error": {"message": "it failed", "code": 500}},
    {"error": {"message": "it failed", "type": "server_error"}},
    {"object": "error", "message": "it failed", "type": "x", "param": None, "code": 500},
    {"type": "error", "error": {"type": "overloaded", "message": "it failed"}},
    {"type": "error", "message": "it failed"},
    {"detail": "it failed"},
    {"detail": [{"msg": "it failed", "loc": ["body"]}]},
    {"message": "it failed", "code": 500},
    {"choices": [{"index": 0, "delta": {}, "error": {"message": "it failed"}}]},
    {"choices": [], "error": {"message": "it failed"}},
]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_object_in_any_form_is_raised(error):
    reader = StreamReader(model="m")
    reader.feed(chunk({"content": "Hel"}))
    with pytest.raises(DockerModelError, match="it failed") as caught:
        reader.feed(error)
    assert caught.value.partial == "Hel"
    with pytest.raises(DockerModelError, match="it failed"):
        read_reply(error)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(reasoning="hm", finish_reason="stop"), "only reasoning.*thinking=False"),
        (Answer(reasoning="hm", finish_reason="length"), "while reasoning.*max_tokens"),
        (Answer(" \n", finish_reason="length"), "token limit.*max_tokens"),
        (Answer(finish_reason="stop"), "without.*docker model logs"),
    ],
)
def test_an_answer_without_text_names_the_reason(answer, reason):
    with pytest.raises(EmptyAnswerError, match=f"(?s){reason}"):
        require_text(answer, "m")


def test_an_answer_with_text_or_a_call_is_not_empty():
    require_text(Answer("a"), "m")
    require_text(read(calls_chunk(piece(0, "1", NAME, ""))), "m")


# -- thoughts in the text ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "thoughts", "answer"),
    [
        ("Hello.", "", "Hello."),
        ("<think>hm</think>Hello.", "hm", "Hello."),
        ("\n<think>\nhm\n</think>\n\nHello. ", "\nhm\n", "Hello. "),
        ("hm</think>\n{}", "hm", "{}"),
        ("<think>a</think><think>b</think>c", "ab", "c"),
        ("<think>hm", "hm", ""),
        ("<thinking>{}</thinking>{}", "{}", "{}"),
        ("[THINK]hm[/THINK]Hello.", "hm", "Hello."),
        ('{"a": "</think>"}', "", '{"a": "</think>"}'),
        ("[1]", "", "[1]"),
        ("[", "", "["),
        ("I <think> so.", "", "I <think> so."),
        ("<think></think>", "", ""),
        ("", "", ""),
    ],
)
@UNHURRIED
@given(st.data())
def test_reasoning_in_the_text_is_separated_for_any_split(text, thoughts, answer, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    splitter = ThoughtSplitter()
    parts = [*(splitter.feed(part) for part in pieces), splitter.close()]
    assert ["".join(part) for part in zip(*parts, strict=True)] == [thoughts, answer]
    assert split_thoughts(text) == (thoughts, answer)


def test_text_that_begins_like_json_is_not_held_back():
    splitter = ThoughtSplitter()
    assert splitter.feed(' {"a"') == ("", ' {"a"')


def test_reasoning_is_separated_from_the_text_only_if_enabled():
    text = "<think>hm</think>Hello."
    chunks = [chunk({"content": letter}) for letter in text]
    answer = read(*chunks, thoughts_in_text=True)
    assert (answer.text, answer.reasoning) == ("Hello.", "hm")
    assert read(*chunks).text == text
