"""Server-sent events: parsing gives the same events for every split of the bytes."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docker_model import GenerationError
from docker_model.http.events import Events, as_chunk, parse_object

OBJECTS = st.lists(
    st.dictionaries(st.text(max_size=4), st.text(max_size=9), max_size=3), max_size=5
)


def read(data, size):
    events = Events()
    received = [
        event for at in range(0, len(data), size) for event, _ in events.feed(data[at : at + size])
    ]
    return received + [event for event, _ in events.close()], events.done


@settings(deadline=None)
@given(
    OBJECTS,
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.sampled_from([b"data: ", b"data:"]),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.data(),
)
def test_events_are_the_same_for_every_split_of_the_bytes(objects, end, field, mark, data):
    name = data.draw(st.sampled_from([b"event: message", b"id: 7", b":"]))
    lines = [
        name + end + field + json.dumps(item, ensure_ascii=False).encode() + end + end
        for item in objects
    ]
    text = mark + b": a comment" + end + b"".join(lines) + field + b"[DONE]" + end
    size = data.draw(st.integers(1, len(text)))
    assert read(text, size) == (objects, True)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@given(st.integers(1, 99))
def test_an_object_may_span_several_lines(end, size):
    text = b'data: {"a":' + end + b'data:  "b",' + end + b'data: "c": 1}' + end + end
    assert read(text + b'data: {"d": 2}' + end, size) == ([{"a": "b", "c": 1}, {"d": 2}], False)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("value", [b'{"error": {"message": "m"}}', b'{"message": "m"}'])
@given(st.integers(1, 99))
def test_an_event_named_error_is_an_error(end, value, size):
    text = b"event: error" + end + b"data: " + value + end + end + b'data: {"a": 1}' + end
    assert read(text, size) == ([{"error": {"message": "m"}}, {"a": 1}], False)


def test_data_after_done_is_ignored():
    assert read(b'data: [DONE]\ndata: {"a": 1}\n', 99) == ([], True)


def test_the_last_line_needs_no_newline():
    assert read(b'data: {"a": 1}', 3) == ([{"a": 1}], False)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b'error: {"code": 500, "message": "m"}', {"code": 500, "message": "m"}),
        (b'error: {"error": {"message": "m"}}', {"message": "m"}),
        (b"error: it broke", "it broke"),
    ],
)
def test_an_error_in_the_older_form_is_read(line, error):
    assert read(line + b"\n", 99) == ([{"error": error}], False)


@pytest.mark.parametrize(
    "line",
    [
        b"data: <html>",
        b"data: [1]",
        b"data: \xff",
        b"data: " + b"[" * 100_000,
        b'data: {"choices": [1]}',
        b'data: {"choices": [{"delta": ["x"]}]}',
        b'data: {"choices": [{"delta": {"content": 5}}]}',
        b'data: {"choices": [{"delta": {"reasoning": {"text": "x"}}}]}',
        b'data: {"choices": [{"message": {"tool_calls": "f()"}}]}',
        b'data: {"choices": [{"message": {"tool_calls": ["f()"]}}]}',
        b'data: {"choices": [{"message": {"tool_calls": [{"function": "f"}]}}]}',
        b'data: {"choices": [], "usage": [1, 2]}',
    ],
)
def test_an_invalid_event_is_an_error(line):
    with pytest.raises(GenerationError, match="proxy"):
        read(line + b"\n", 99)


def test_a_long_event_takes_linear_time():
    events = Events()
    data = b'data: "' + b"x" * 20_000_000
    for at in range(0, len(data), 16384):
        assert not list(events.feed(data[at : at + 16384]))


def test_the_size_of_an_event_is_the_size_of_its_line():
    assert list(Events().feed(b'data: {"a": 1}\n')) == [({"a": 1}, 14)]


def test_a_whole_reply_is_converted_to_a_chunk():
    message = {"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}
    chunk = as_chunk({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    (choice,) = chunk["choices"]
    assert choice["delta"]["content"] == "x"
    assert choice["delta"]["tool_calls"] == [{"id": "1", "index": 0}]
    assert choice["finish_reason"] == "stop"


def test_json_that_is_not_an_object_is_an_error():
    with pytest.raises(GenerationError):
        parse_object(b"[]")


@pytest.mark.parametrize(
    ("data", "read_as"),
    [
        (rb"\ud83d\ude00", "😀"),
        (rb"a\ud83d", "a�"),
        (rb"\uDE00b\ud83d\ude00", "�b😀"),
        (rb"a\\ud83d", r"a\ud83d"),
        (b"a\xff", "a�"),
    ],
)
def test_invalid_characters_are_replaced_as_the_command_does(data, read_as):
    assert read(b'data: {"a": "' + data + b'"}\n', 99) == ([{"a": read_as}], False)
