"""Conversion of the runner's replies to messages, whole and in chunks."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk

from docker_model.errors import EmptyAnswerError
from langchain_docker_model._replies import ChunkReader, read_whole
from langchain_docker_model._request import RequestSettings

USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
TIMINGS = {"predicted_per_second": 12.5}


def call(arguments, **more):
    return {
        "type": "function",
        "id": "1",
        "function": {"name": "add", "arguments": arguments},
    } | more


def message(reply_message):
    kept = ("content", "reasoning_content", "tool_calls")
    return {"role": "assistant", "content": None} | {
        key: reply_message[key] for key in kept if key in reply_message
    }


def parts(reply_message):
    reason = reply_message.get("finish_reason") or (
        "tool_calls" if reply_message.get("tool_calls") else "stop"
    )
    logprobs = {"logprobs": reply_message["logprobs"]} if "logprobs" in reply_message else {}
    return {"finish_reason": reason, **logprobs}


def deltas(reply_message):
    yield {"delta": {"role": "assistant", "content": None}}
    for name in ("reasoning_content", "content"):
        for piece in re.findall(r"(?s).{1,7}", reply_message.get(name) or ""):
            yield {"delta": {name: piece}}
    for entry in (reply_message.get("logprobs") or {}).get("content", ()):
        yield {"delta": {"content": ""}, "logprobs": {"content": [entry]}}
    for index, call in enumerate(reply_message.get("tool_calls") or ()):
        function = call["function"]
        start = {**call, "index": index, "function": {"name": function["name"], "arguments": ""}}
        yield {"delta": {"tool_calls": [start]}}
        for piece in re.findall(r"(?s).{1,5}", function["arguments"]):
            yield {"delta": {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}}
    yield {"delta": {}, "finish_reason": parts(reply_message)["finish_reason"]}


def settings_of(**parameters):
    return RequestSettings("ai/smollm2", [], None, parameters)


def whole(reply_message, **parameters):
    choice = {"index": 0, "message": message(reply_message), **parts(reply_message)}
    body = {"model": "ai/smollm2", "choices": [choice], "usage": USAGE, "timings": TIMINGS}
    result, _ = read_whole(body, settings_of(**parameters))
    return result.generations[0].message


def pieces(reply_message, **parameters):
    chunks = ChunkReader(settings_of(**parameters))
    events = [{"choices": [choice]} for choice in deltas(reply_message)]
    events.append({"choices": [], "usage": USAGE, "timings": TIMINGS})
    fed = [chunk for event in events if (chunk := chunks.feed(event))]
    return [chunk.message for chunk in (*fed, chunks.close())]


def joined(reply_message, **parameters):
    first, *others = pieces(reply_message, **parameters)
    return sum(others, first)


@pytest.mark.parametrize("form", [whole, joined])
def test_content_and_reasoning_are_in_the_message(form):
    reply_message = {"content": "Hello, you.", "reasoning_content": "Be polite. Always."}
    answer = form(reply_message)
    assert answer.content == "Hello, you."
    assert answer.additional_kwargs == {"reasoning_content": "Be polite. Always."}
    kinds = [
        (block["type"], block.get("text") or block.get("reasoning"))
        for block in answer.content_blocks
    ]
    assert kinds == [("reasoning", "Be polite. Always."), ("text", "Hello, you.")]
    assert answer.usage_metadata == {
        "input_tokens": 9,
        "output_tokens": 4,
        "total_tokens": 13,
        "input_token_details": {"cache_read": 3},
        "output_token_details": {"reasoning": 2},
    }
    assert answer.response_metadata == {
        "model_name": "ai/smollm2",
        "model_provider": "docker_model",
        "finish_reason": "stop",
        "timings": TIMINGS,
    }


@pytest.mark.parametrize("form", [whole, joined])
def test_calls_of_a_reply_become_tool_calls(form):
    without_id = call("")
    without_id.pop("id")
    answer = form({"tool_calls": [call('{"a": 1}'), without_id]})
    made = answer.tool_calls[1]["id"]
    named = [
        (tool_call["name"], tool_call["args"], tool_call["id"]) for tool_call in answer.tool_calls
    ]
    assert named == [("add", {"a": 1}, "1"), ("add", {}, made)]
    assert made not in ("", "1")  # the engine sent no id
    assert answer.response_metadata["finish_reason"] == "tool_calls"


def test_a_call_without_a_name_is_kept_with_an_empty_name():
    [tool_call] = whole({"tool_calls": [{"id": "1"}]}).tool_calls
    assert (tool_call["name"], tool_call["args"], tool_call["id"]) == ("", {}, "1")


NO_OBJECTS = [
    "[1]",
    '"a"',
    "7",
    "oops",
    "{oops",
    "{'a': 1}",
    '{"a": 1',
    '{"a": ',
    '{"a": "half a te',
    '{"a": "a backslash \\',
    '{"a": [[1, [2',
    '{"a": 1} and more',
    '{"a": NaN}',
]


@pytest.mark.parametrize("text", NO_OBJECTS)
@pytest.mark.parametrize("form", [whole, joined])
def test_arguments_that_are_not_an_object_are_an_invalid_call(form, text):
    answer = form({"tool_calls": [call(text, id="3"), call('{"a": 1}', id="4")]})
    assert [tool_call["id"] for tool_call in answer.tool_calls] == ["4"]
    [invalid] = answer.invalid_tool_calls
    assert (invalid["name"], invalid["id"]) == ("add", "3")
    assert invalid["args"].startswith(text)


@pytest.mark.parametrize("text", ["", " ", "null", "{}", '"{}"'])
@pytest.mark.parametrize("form", [whole, joined])
def test_empty_arguments_are_an_empty_object(form, text):
    [tool_call] = form({"tool_calls": [call(text)]}).tool_calls
    assert tool_call["args"] == {}


@pytest.mark.parametrize("form", [whole, joined])
def test_an_object_encoded_as_text_is_read_as_arguments(form):
    [tool_call] = form({"tool_calls": [call(json.dumps('{"a": 1}'))]}).tool_calls
    assert tool_call["args"] == {"a": 1}


def test_an_invalid_call_names_the_reason():
    [invalid] = whole({"tool_calls": [call("{oops")]}).invalid_tool_calls
    assert "JSON" in invalid["error"]


@pytest.mark.parametrize("form", [whole, joined])
@pytest.mark.parametrize("opening", ["<think>", ""])
def test_reasoning_in_the_text_is_separated_if_json_is_requested(form, opening):
    reply_message = {"content": f"{opening}Is it {{}}?</think>\n{{}}"}
    answer = form(reply_message, response_format={"type": "json_object"})
    assert (answer.content, answer.additional_kwargs) == ("{}", {"reasoning_content": "Is it {}?"})
    assert form(reply_message).content == reply_message["content"]


@pytest.mark.parametrize("form", [whole, joined])
@pytest.mark.parametrize("reason", ["stop", "length"])
def test_an_answer_with_only_reasoning_is_an_error(form, reason):
    with pytest.raises(EmptyAnswerError, match="think") as caught:
        form({"reasoning_content": "Hm.", "finish_reason": reason})
    assert "max_tokens" in caught.value.hint


def test_chunks_of_a_call_share_one_index_and_id():
    calls = [
        part
        for chunk in pieces({"tool_calls": [call('{"a": 1}')]})
        for part in chunk.tool_call_chunks
    ]
    assert {part["index"] for part in calls} == {0}
    assert [part["id"] for part in calls] == ["1"] + [None] * (len(calls) - 1)
    assert "".join(part["args"] for part in calls) == '{"a": 1}'


@pytest.mark.parametrize("form", [whole, joined])
def test_logprobs_are_in_the_metadata(form):
    entries = [{"token": "He", "logprob": -0.1}, {"token": "y", "logprob": -0.2}]
    answer = form({"content": "Hey", "logprobs": {"content": entries}})
    assert answer.response_metadata["logprobs"] == {"content": entries}


def test_usage_and_metadata_are_only_in_the_last_chunk():
    *others, last = pieces({"content": "Hello, you.", "reasoning_content": "Hm."})
    assert last.usage_metadata["total_tokens"] == 13
    assert last.chunk_position == "last"
    for chunk in others:
        assert chunk.usage_metadata is None
        assert chunk.response_metadata == {"model_provider": "docker_model"}


def test_cumulative_usage_is_counted_once():
    chunks = ChunkReader(settings_of())
    for count in (1, 2, 3):
        piece = {"choices": [{"delta": {"content": "a"}}], "usage": {"completion_tokens": count}}
        assert chunks.feed(piece).message.usage_metadata is None
    assert chunks.close().message.usage_metadata["output_tokens"] == 3


def test_a_stream_without_content_still_has_a_last_chunk():
    chunks = ChunkReader(settings_of())
    assert chunks.feed({"choices": [{"delta": {"role": "assistant", "content": None}}]}) is None
    assert chunks.close().message.response_metadata["model_name"] == "ai/smollm2"


@settings(max_examples=30, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "content": st.text(max_size=30),
            "reasoning_content": st.text(max_size=30),
            "tool_calls": st.lists(
                st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=2),
                max_size=3,
            ).map(
                lambda calls: [call(json.dumps(args), id=str(n)) for n, args in enumerate(calls)]
            ),
        },
    )
)
def test_chunks_add_up_to_the_whole_message(reply_message):
    assume(reply_message.get("content", "").strip() or reply_message.get("tool_calls"))
    answer, added = whole(reply_message), joined(reply_message)
    assert isinstance(added, AIMessageChunk)
    for field in (
        "content",
        "additional_kwargs",
        "tool_calls",
        "usage_metadata",
        "response_metadata",
    ):
        assert getattr(added, field) == getattr(answer, field)
