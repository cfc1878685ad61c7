"""Messages on their way to the runner, and flattened for the CLI."""

from __future__ import annotations

import pytest
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_docker_model._flatten import flatten
from langchain_docker_model._messages import to_runner
from langchain_docker_model.errors import InvalidRequestError, UnsupportedParameterError

CALL = {"name": "add", "args": {"a": 1, "b": "é"}, "id": "1", "type": "tool_call"}


def one(message):
    [translated] = to_runner([message])
    return translated


def test_each_role_has_its_name():
    messages = [
        SystemMessage("Be brief."),
        HumanMessage("Hi.", name="ann"),
        AIMessage("Hello."),
        ToolMessage("3", tool_call_id="1"),
        ChatMessage("Go.", role="critic"),
    ]
    assert to_runner(messages) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi.", "name": "ann"},
        {"role": "assistant", "content": "Hello."},
        {"role": "tool", "tool_call_id": "1", "content": "3"},
        {"role": "critic", "content": "Go."},
    ]


def test_system_messages_in_a_row_become_one():
    messages = [SystemMessage("A."), SystemMessage("B."), HumanMessage("Hi."), SystemMessage("C.")]
    roles = [(one["role"], one["content"]) for one in to_runner(messages)]
    assert roles == [("system", "A.\n\nB."), ("user", "Hi."), ("system", "C.")]


def test_an_answer_keeps_its_calls_and_thoughts():
    message = AIMessage(
        [
            {"type": "reasoning", "reasoning": "Hm"},
            {"type": "thinking", "thinking": "m."},
            {"type": "text", "text": "I "},
            {"type": "text", "text": "add."},
            {"type": "tool_use", "id": "1", "name": "add", "input": {}},
        ],
        tool_calls=[CALL],
        invalid_tool_calls=[{"name": "sub", "args": "{oops", "id": "2", "error": "no JSON"}],
    )
    assert one(message) == {
        "role": "assistant",
        "content": "I add.",
        "reasoning_content": "Hmm.",
        "tool_calls": [
            {
                "type": "function",
                "id": "1",
                "function": {"name": "add", "arguments": '{"a": 1, "b": "é"}'},
            },
            {"type": "function", "id": "2", "function": {"name": "sub", "arguments": "{oops"}},
        ],
    }


def test_text_in_parts_becomes_one_text():
    content = ["one", {"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}}]
    assert one(HumanMessage(content))["content"] == "one\ntwo"


DATA_URL = {"url": "data:image/png;base64,QUJD"}


@pytest.mark.parametrize(
    ("block", "sent"),
    [
        ({"type": "image_url", "image_url": "http://x/y.png"}, {"url": "http://x/y.png"}),
        (
            {"type": "image_url", "image_url": {"url": "http://x/y.png", "detail": "low"}},
            {"url": "http://x/y.png", "detail": "low"},
        ),
        ({"type": "image", "url": "http://x/y.png"}, {"url": "http://x/y.png"}),
        ({"type": "image", "base64": "QUJD", "mime_type": "image/png"}, DATA_URL),
        (
            {"type": "image", "source_type": "base64", "data": "QUJD", "mime_type": "image/png"},
            DATA_URL,
        ),
        (
            {
                "type": "image",
                "source": {"type": "base64", "data": "QUJD", "media_type": "image/png"},
            },
            DATA_URL,
        ),
    ],
)
def test_images_in_every_style(block, sent):
    content = [{"type": "text", "text": "What is it?"}, block]
    assert one(HumanMessage(content))["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": sent},
    ]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}},
        {"type": "audio", "base64": "QUJD", "mime_type": "audio/mpeg"},
    ],
)
def test_sound_in_both_styles(block):
    [part] = one(HumanMessage([block]))["content"]
    assert part == {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}}


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (HumanMessage([{"type": "video", "url": "http://x"}]), "human.*'video'"),
        (HumanMessage([{"type": "reasoning", "reasoning": "?"}]), "human.*'reasoning'"),
        (HumanMessage([{"type": "image", "file_id": "7"}]), "human.*'image' without data"),
        (HumanMessage([{"type": "audio", "base64": "QUJD"}]), "human.*'audio' without data"),
        (SystemMessage([{"type": "image", "url": "http://x"}]), "system.*'image_url'"),
        (AIMessage([{"type": "image", "url": "http://x"}]), "ai.*'image_url'"),
        (FunctionMessage("3", name="add"), "FunctionMessage"),
    ],
)
def test_what_cannot_be_sent_is_named(message, named):
    with pytest.raises(InvalidRequestError, match=named):
        to_runner([message])


def test_no_message_at_all():
    with pytest.raises(InvalidRequestError, match="no message"):
        to_runner([])


def test_a_lone_question_is_a_prompt_as_it_is():
    assert flatten([HumanMessage("Hi @me.")]) == "Hi @me."
    assert flatten([SystemMessage("Be brief."), HumanMessage("Hi.")]) == "Be brief.\n\nHi."


def test_a_conversation_is_written_out():
    messages = [
        SystemMessage("Be brief."),
        HumanMessage("Hello."),
        AIMessage("Hello. How can I help?"),
        HumanMessage("Which day is it?", name="Ann"),
        ChatMessage("Hurry.", role="critic"),
    ]
    assert flatten(messages) == (
        "Be brief.\n\nUser: Hello.\n\nAssistant: Hello. How can I help?\n\n"
        "Ann: Which day is it?\n\nCritic: Hurry.\n\nAssistant:"
    )


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (ToolMessage("3", tool_call_id="1"), "tool calls"),
        (AIMessage("", tool_calls=[CALL]), "tool calls"),
        (HumanMessage([{"type": "image", "url": "http://x"}]), "images"),
    ],
)
def test_what_the_cli_cannot_send(message, named):
    with pytest.raises(UnsupportedParameterError, match=f"{named}(?s:.*)HTTP"):
        flatten([HumanMessage("Hi."), message])
