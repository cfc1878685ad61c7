"""Conversion of messages for the runner, and to text for the CLI."""

from __future__ import annotations

import pytest
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from docker_model.errors import InvalidRequestError
from langchain_docker_model._messages import to_openai, to_prompt
from langchain_docker_model.errors import UnsupportedParameterError

CALL = {"name": "add", "args": {"a": 1, "b": "é"}, "id": "1", "type": "tool_call"}


def translated(message):
    """Return the message as it is sent; a question precedes an answer."""
    *_, last = to_openai([HumanMessage("?"), AIMessage("."), message])
    return last


def test_each_class_of_message_has_its_role():
    messages = [
        SystemMessage("Be brief."),
        HumanMessage("Hi.", name="ann"),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage("3", tool_call_id="1"),
        ChatMessage("Go.", role="critic"),
    ]
    sent = to_openai(messages)
    assert [message["role"] for message in sent] == [
        "system",
        "user",
        "assistant",
        "tool",
        "critic",
    ]
    assert sent[1] == {"role": "user", "content": "Hi.", "name": "ann"}
    assert sent[3] == {"role": "tool", "tool_call_id": "1", "name": "add", "content": "3"}


def test_a_result_of_the_older_form_has_the_name_of_its_tool():
    call = AIMessage("", additional_kwargs={"function_call": {"name": "add", "arguments": "{}"}})
    sent = to_openai([HumanMessage("?"), call, FunctionMessage("3", name="add")])
    assert (sent[-1]["role"], sent[-1]["name"], sent[-1]["content"]) == ("tool", "add", "3")
    assert sent[-1]["tool_call_id"] == sent[1]["tool_calls"][0]["id"]


def test_system_messages_are_merged_at_the_beginning():
    messages = [SystemMessage("A."), SystemMessage("B."), HumanMessage("Hi."), SystemMessage("C.")]
    roles = [(message["role"], message["content"]) for message in to_openai(messages)]
    assert roles == [("system", "A.\n\nB.\n\nC."), ("user", "Hi.")]


def test_an_answer_keeps_its_calls_and_reasoning():
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
    _, *sent = to_openai([HumanMessage("?"), message])
    assert (sent[0]["content"], sent[0]["reasoning_content"]) == ("I add.", "Hmm.")
    calls = [call for message in sent for call in message.get("tool_calls", ())]
    assert [(call["id"], call["function"]) for call in calls] == [
        ("1", {"name": "add", "arguments": '{"a": 1, "b": "é"}'}),
        ("2", {"name": "sub", "arguments": '{"unreadable_arguments": "{oops"}'}),
    ]
    results = [message["tool_call_id"] for message in sent if message["role"] == "tool"]
    assert results == ["1", "2"]


def test_text_in_parts_is_joined():
    content = ["one", {"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}}]
    assert translated(HumanMessage(content))["content"] == "one\ntwo"


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
def test_images_of_every_style_are_converted(block, sent):
    content = [{"type": "text", "text": "What is it?"}, block]
    assert translated(HumanMessage(content))["content"] == [
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
def test_audio_of_both_styles_is_converted(block):
    [part] = translated(HumanMessage([block]))["content"]
    assert part == {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}}


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (HumanMessage([{"type": "video", "url": "http://x"}]), "user.*'video'"),
        (HumanMessage([{"type": "reasoning", "reasoning": "?"}]), "user.*'reasoning'"),
        (HumanMessage([{"type": "image", "file_id": "7"}]), "user.*'image' without data"),
        (HumanMessage([{"type": "audio", "base64": "QUJD"}]), "user.*'audio' without data"),
        (SystemMessage([{"type": "image", "url": "http://x"}]), "system.*'image'"),
        (RemoveMessage(id="1"), "RemoveMessage"),
    ],
)
def test_an_unsupported_block_is_named(message, named):
    with pytest.raises(InvalidRequestError, match=named):
        to_openai([message])


def test_an_empty_conversation_is_refused():
    with pytest.raises(InvalidRequestError, match="no message"):
        to_openai([])


def test_a_single_question_is_sent_unchanged_as_the_prompt():
    assert to_prompt([HumanMessage("Hi @me.")]) == "Hi @me."
    assert to_prompt([SystemMessage("Be brief."), HumanMessage("Hi.")]) == "Be brief.\n\nHi."


def test_a_conversation_is_written_as_text():
    messages = [
        SystemMessage("Be brief."),
        HumanMessage("Hello."),
        AIMessage("Hello. How can I help?"),
        HumanMessage("Which day is it?", name="Ann"),
        ChatMessage("Hurry.", role="critic"),
    ]
    assert to_prompt(messages) == (
        "Be brief.\n\nUser: Hello.\n\nAssistant: Hello. How can I help?\n\n"
        "Ann: Which day is it?\n\nCritic: Hurry.\n\nAssistant:"
    )


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (AIMessage("", tool_calls=[CALL]), "tool calls"),
        (HumanMessage([{"type": "image", "url": "http://x"}]), "images"),
    ],
)
def test_an_unsupported_block_is_named_over_the_cli(message, named):
    with pytest.raises(UnsupportedParameterError, match=f"{named}(?s:.*)HTTP"):
        to_prompt([HumanMessage("Hi."), message])
