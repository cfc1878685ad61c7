"""Conversations over HTTP: the form sent to strict templates, and unusual replies of engines."""

from __future__ import annotations

import json
import pickle

import pytest

from docker_model import (
    DockerModel,
    DockerModelError,
    GenerationError,
    InvalidRequestError,
    ModelLoadError,
)
from docker_model.http import Client
from tests.support.modes import MODES
from tests.unit.http.chatting import MESSAGES, TOOL, chat, chunks, text
from tests.unit.http.wire import STOP, Wire, event, events, reply

CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
TOOLS_HISTORY = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "2"},
]


def refusal(words, status=400):
    return reply(status, {"error": {"code": status, "message": words}})


def ask_all(url, prompt="hi"):
    """Return one function for each method that asks for the whole answer's text."""
    client = Client(base_url=url, max_retries=0)
    messages = [{"role": "user", "content": prompt}]
    return [
        lambda: client.chat("m", messages)["choices"][0]["message"]["content"],
        lambda: text(client.stream_chat("m", messages)),
        lambda: DockerModel("m", base_url=url).generate(prompt).text,
    ]


# -- requests ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_consecutive_messages_of_one_role_are_merged(mode):
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": ["b"]}]
    with Wire(events("ok", STOP)) as wire:
        client = Client(base_url=wire.url)
        chat(mode, client, "m", messages)
        chunks(mode, client, "m", messages)
    for *_, body in wire.posts:
        assert body["messages"] == [{"role": "user", "content": "a\n\nb"}]


@pytest.mark.parametrize("mode", MODES)
def test_a_template_that_needs_short_ids_gets_them(mode):
    complaint = refusal("Jinja Exception: Tool call IDs should be alphanumeric strings …!", 500)
    for ask in (chat, chunks):
        with Wire(complaint, events("ok", STOP)) as wire:
            assert ask(mode, Client(base_url=wire.url), "m", TOOLS_HISTORY)
        first, second = (body["messages"] for *_, body in wire.posts)
        assert first[-1]["tool_call_id"] == "call_1"
        assert second[2]["tool_calls"][0]["id"] == second[3]["tool_call_id"] == "call00001"


@pytest.mark.parametrize("mode", MODES)
def test_a_template_without_tools_gets_calls_and_results_as_text(mode):
    complaint = refusal("Conversation roles must alternate user/assistant/user/assistant/...")
    for ask in (chat, chunks):
        with Wire(complaint, complaint, events("ok", STOP)) as wire:
            assert ask(mode, Client(base_url=wire.url), "m", TOOLS_HISTORY)
        sent = wire.posts[-1][-1]["messages"]
        assert [message["role"] for message in sent] == ["user", "assistant", "user"]
        assert "s" in sent[0]["content"]
        assert "add" in sent[1]["content"]


def test_a_template_that_refuses_every_form_is_quoted_in_the_error():
    complaints = refusal("Error: roles must alternate"), refusal("Error: no user query found")
    with Wire(*complaints, complaints[1]) as wire:
        with pytest.raises(InvalidRequestError, match=r"alternate(?s:.*)alternate the messages"):
            Client(base_url=wire.url).chat("m", TOOLS_HISTORY)
        assert len(wire.posts) == 3
    with Wire(complaints[0]) as wire:
        with pytest.raises(InvalidRequestError, match="roles must alternate"):
            Client(base_url=wire.url).chat("m", MESSAGES)
        assert len(wire.posts) == 1


@pytest.mark.parametrize("words", ["Failed to parse messages: no", "no such grammar"])
def test_other_refusals_are_not_retried(words):
    with Wire(refusal(words, 500)) as wire:
        with pytest.raises(DockerModelError, match=words):
            Client(base_url=wire.url).chat("m", TOOLS_HISTORY)
        assert len(wire.posts) == 1


# -- replies ----------------------------------------------------------------------------------


def piece(**call):
    return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}


def test_streamed_calls_are_converted_to_openais_form():
    function = {"name": "add", "arguments": {"a": 1}}
    pieces = piece(id="1", function=function), piece(id="2", function=function)
    with Wire(events(*pieces, STOP)) as wire:
        got = list(Client(base_url=wire.url).stream_chat("m", MESSAGES, tools=[TOOL]))
    calls = [call for chunk in got for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert calls == [
        {
            "index": index,
            "id": number,
            "type": "function",
            "function": {"name": "add", "arguments": '{"a": 1}'},
        }
        for index, number in enumerate("12")
    ]


def test_a_streamed_call_without_arguments_and_finish_reason_is_kept():
    with Wire(events(piece(index=0, id="1", function={"name": "now", "arguments": ""}))) as wire:
        got = list(Client(base_url=wire.url).stream_chat("m", MESSAGES, tools=[TOOL]))
    calls = [call for chunk in got for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert [(call["id"], call["function"]["name"]) for call in calls] == [("1", "now")]


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]},
        {"content": "", "function_call": {"name": "add", "arguments": '{"a": 1}'}},
    ],
)
def test_whole_calls_are_converted_to_openais_form(message):
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    with Wire(reply(body=body)) as wire:
        answer = Client(base_url=wire.url).chat("m", MESSAGES, tools=[TOOL])
    [call] = answer["choices"][0]["message"]["tool_calls"]
    assert call.pop("id")
    assert call == {
        "type": "function",
        "function": {"name": "add", "arguments": '{"a": 1}'},
    }
    assert "function_call" not in answer["choices"][0]["message"]


@pytest.mark.parametrize("mode", range(3))
@pytest.mark.parametrize("reason", ["abort", "error", "cancelled", "unheard of"])
def test_an_answer_that_the_engine_aborted_is_an_error_with_its_text(reason, mode):
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    with Wire(events("Hel", end)) as wire, pytest.raises(GenerationError, match=reason) as caught:
        ask_all(wire.url)[mode]()
    assert caught.value.partial == "Hel"


@pytest.mark.parametrize("mode", range(3))
@pytest.mark.parametrize(
    "error",
    [
        b'data: {"error": "it broke"}\n\n',
        b'data: {"error": {"message": "it broke"}}\n\n',
        b'data: {"object": "error", "message": "it broke", "code": 500}\n\n',
        b'data: {"detail": "it broke"}\n\n',
        b'event: error\ndata: {"message": "it broke"}\n\n',
        b"event: error\r\ndata: it broke\r\n\r\n",
        b"error: it broke\n\n",
    ],
)
def test_every_form_of_an_error_in_a_stream_is_raised(error, mode):
    with Wire(events("Hel", error)) as wire, pytest.raises(GenerationError) as caught:
        ask_all(wire.url)[mode]()
    assert "it broke" in str(caught.value)
    assert caught.value.partial == "Hel"


@pytest.mark.parametrize("mode", range(3))
@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (b"data: Internal error\n\n", GenerationError),
        (b'data: {"error": "out of memory"}\n\n', ModelLoadError),
        (b'data: {"error": {"code": 404, "message": "model not found"}}\n\n', DockerModelError),
    ],
)
def test_an_error_in_a_stream_has_the_text_so_far(end, kind, mode):
    """The text may arrive with the error, or before an error that usually has no answer."""
    with Wire(events("Hel", end)) as wire, pytest.raises(kind) as caught:
        ask_all(wire.url)[mode]()
    assert caught.value.partial == "Hel"
    assert pickle.loads(pickle.dumps(caught.value)).partial == "Hel"


@pytest.mark.parametrize("mode", range(3))
def test_a_lone_surrogate_is_refused_before_anything_is_sent(mode):
    with Wire(events("ok", STOP)) as wire:
        with pytest.raises(InvalidRequestError, match="surrogate"):
            ask_all(wire.url, "half \ud800")[mode]()
        assert not wire.posts


@pytest.mark.parametrize("mode", range(3))
def test_a_stream_without_an_end_is_an_error_with_its_text(mode):
    with Wire(events("Hel", done=False)) as wire, pytest.raises(GenerationError) as caught:
        ask_all(wire.url)[mode]()
    assert caught.value.partial == "Hel"


@pytest.mark.parametrize("mode", range(3))
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/html", ""])
@pytest.mark.parametrize("form", ["events", "whole"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_body_is_read_by_its_content_and_not_by_its_content_type(mode, kind, form, mark):
    if form == "events":
        lines = b"".join(
            b"data: " + json.dumps(event(part)).encode() + b"\r\n\r\n"
            for part in ("Hel", "lo", STOP)
        )
        data = mark + lines
    else:
        message = {"role": "assistant", "content": "Hello"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        data = mark + json.dumps({"choices": [choice]}).encode()
    head = f"HTTP/1.1 200 X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
    with Wire(head.encode() + data) as wire:
        assert ask_all(wire.url)[mode]() == "Hello"


@pytest.mark.parametrize("mode", range(3))
def test_text_in_parts_is_joined(mode):
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello"}]
    chunk = {"choices": [{"index": 0, "delta": {"content": parts}}]}
    with Wire(events(chunk, STOP)) as wire:
        assert ask_all(wire.url)[mode]() == "Hello"
