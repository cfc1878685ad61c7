"""Preparation of conversations for engines and chat templates."""

from __future__ import annotations

import copy
import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from docker_model.errors import InvalidRequestError
from docker_model.http.messages import as_text, first_media, prepare, with_short_ids

# A busy machine is slow: deadlines would fail without a fault.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def user(content="q", **more):
    return {"role": "user", "content": content, **more}


def system(content="s"):
    return {"role": "system", "content": content}


def assistant(content="a", *calls, **more):
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


def call(number="1", arguments='{"a": 1}', name="add"):
    return {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(number="1", content="2", **more):
    return {"role": "tool", "tool_call_id": number, "content": content, **more}


def roles(messages):
    return [message["role"] for message in messages]


def calls_of(messages):
    return [entry for message in messages for entry in message.get("tool_calls", ())]


def arguments_of(messages):
    return [json.loads(entry["function"]["arguments"]) for entry in calls_of(messages)]


# -- what strict templates and engines demand -------------------------------------------------


def check_engine(messages):
    """Assert what llama.cpp requires before it renders a template."""
    assert messages
    waiting, seen = [], set()
    for message in messages:
        content = message["content"]
        assert isinstance(content, (str, list))
        if isinstance(content, list):
            assert content
            for part in content:
                assert part["type"] in ("text", "image_url", "input_audio")
                assert part["type"] != "text" or isinstance(part["text"], str)
        if message["role"] == "tool":
            number, name = waiting.pop(0)
            assert (message["tool_call_id"], message["name"]) == (number, name)
            continue
        assert not waiting
        assert "tool_calls" not in message or message["role"] == "assistant"
        assert message.get("tool_calls") != []
        for entry in message.get("tool_calls", ()):
            assert entry["type"] == "function"
            assert entry["id"]
            assert entry["id"] not in seen
            assert entry["function"]["name"]
            assert isinstance(json.loads(entry["function"]["arguments"]), dict)
            seen.add(entry["id"])
            waiting.append((entry["id"], entry["function"]["name"]))
        assert "reasoning_content" not in message or message["reasoning_content"]
    assert not waiting
    json.dumps(messages, ensure_ascii=False, allow_nan=False).encode()


def check_templates(messages):
    """Assert what the templates of Qwen, Mistral, Llama and gpt-oss require."""
    assert all(message["role"] != "system" for message in messages[1:])
    assert "user" in roles(messages)
    expected = "user"
    for message in messages[messages[0]["role"] == "system" :]:
        assert len(message.get("tool_calls", ())) <= 1
        if message["role"] == "tool" or "tool_calls" in message:
            continue
        assert message["role"] == expected
        assert message["content"].strip() if isinstance(message["content"], str) else True
        expected = "assistant" if expected == "user" else "user"


def check_gemma(messages):
    """Assert what Gemma 2 requires: no system message, no tools, alternating turns."""
    expected = ["user", "assistant"] * len(messages)
    assert roles(messages) == expected[: len(messages)]
    assert not calls_of(messages)


# -- random conversations ---------------------------------------------------------------------

IDS = st.sampled_from(["", None, "1", "2", "call_1", "abcdefghi"])
NAMES = st.sampled_from(["add", "sub", "", None])
ARGUMENTS = st.sampled_from(
    [
        *("", None, "{}", '{"a": 1}', {"a": 1}, '"{\\"a\\": 1}"', '{"a": ', "[1]", "NaN", 7),
        *('{"x": NaN}', '{"s": "\\ud83d"}', '{"s": "a\nb"}'),
    ]
)
OPENAI = st.builds(call, IDS, ARGUMENTS, NAMES)
LANGCHAIN = st.builds(
    lambda i, a, n: {"id": i, "args": a, "name": n, "type": "tool_call"}, IDS, ARGUMENTS, NAMES
)
CALLS = st.lists(OPENAI | LANGCHAIN, max_size=3)
WORDS = st.text(max_size=8)
TEXTS = WORDS.map(lambda text: {"type": "text", "text": text})
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
USERS = st.lists(WORDS | TEXTS | st.just(IMAGE), max_size=3) | WORDS | st.none()
ANSWERS = (
    st.lists(
        TEXTS
        | st.sampled_from(
            [
                {"type": "tool_use", "id": "1", "name": "add", "input": {}},
                {"type": "function_call", "call_id": "2", "name": "sub", "arguments": "{"},
                {"type": "thinking", "thinking": "hm", "signature": "x"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"type": "server_tool_use", "id": "9", "name": "web_search", "input": {}},
                {"type": "something_new"},
                {"functionCall": {"name": "add", "args": {"a": 1}}},
                {},
                None,
            ]
        ),
        max_size=4,
    )
    | WORDS
    | st.none()
)
MESSAGES = st.one_of(
    st.builds(user, USERS),
    st.builds(system, WORDS | st.none()),
    st.builds(
        lambda content, calls, thoughts: assistant(content, *calls, reasoning_content=thoughts),
        ANSWERS,
        CALLS,
        st.none() | WORDS,
    ),
    st.builds(lambda i, c, n: result(i, c, name=n), IDS, WORDS | st.none() | USERS, NAMES),
)


@UNHURRIED
@given(st.lists(MESSAGES, max_size=8))
def test_every_template_accepts_any_conversation(conversation):
    before = copy.deepcopy(conversation)
    try:
        prepared = prepare(conversation)
    except InvalidRequestError:
        assume(False)
    assert conversation == before
    check_engine(prepared)
    check_templates(prepared)
    assert prepare(prepared) == prepared
    short = with_short_ids(prepared)
    check_engine(short)
    assert all(len(entry["id"]) == 9 and entry["id"].isalnum() for entry in calls_of(short))
    assert prepare(short) == short
    text = as_text(prepared)
    check_engine(text)
    check_gemma(text)


@UNHURRIED
@given(st.lists(MESSAGES, max_size=8))
def test_no_text_of_the_user_and_no_call_is_lost(conversation):
    texts = [
        part if isinstance(part, str) else part["text"]
        for message in conversation
        if message["role"] in ("user", "system")
        for part in (
            message["content"]
            if isinstance(message["content"], list)
            else [message["content"] or ""]
        )
        if part != IMAGE
    ]
    try:
        prepared = prepare(conversation)
    except InvalidRequestError:
        assert not any(text.strip() for text in texts)
        return
    sent = json.dumps(prepared)
    assert all(json.dumps(text)[1:-1] in sent for text in texts if text.strip())
    images = Counter(
        part == IMAGE
        for message in prepared
        if isinstance(message["content"], list)
        for part in message["content"]
    )
    given_images = sum(
        part == IMAGE
        for message in conversation
        if isinstance(message["content"], list)
        for part in message["content"]
    )
    assert images[True] == given_images
    own = sum(len(message.get("tool_calls", ())) for message in conversation)
    assert len(calls_of(prepared)) >= own


# -- roles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["developer", "system"])
def test_system_messages_are_merged_at_the_beginning(role):
    sent = prepare([system("a"), {"role": role, "content": "b"}, user(), assistant(), system("c")])
    assert sent == [system("a\n\nb\n\nc"), user(), {"role": "assistant", "content": "a"}]


def test_a_system_message_alone_becomes_a_user_message():
    assert prepare([system("Say hi.")]) == [user("Say hi.")]


def test_consecutive_user_messages_are_merged_with_their_images_in_order():
    sent = prepare([user("a"), user(["b", IMAGE, "c"]), user("d")])
    assert sent == [
        user(
            [{"type": "text", "text": "a\n\nb"}, IMAGE, {"type": "text", "text": "c\n\nd"}],
        )
    ]


def test_an_assistant_message_at_the_beginning_gets_a_user_message_before_it():
    assert roles(prepare([system(), assistant(), user()])) == [
        "system",
        "user",
        "assistant",
        "user",
    ]


def test_an_assistant_message_is_inserted_between_a_result_and_the_next_user_message():
    sent = prepare([user(), assistant("", call()), result(), user("and?")])
    assert roles(sent) == ["user", "assistant", "tool", "assistant", "user"]
    assert sent[3]["content"]


@pytest.mark.parametrize("role", ["ai", "model", "chatbot"])
def test_other_names_of_roles_are_recognized(role):
    sent = prepare([{"role": "human", "content": "q"}, {"role": role, "content": "a"}])
    assert roles(sent) == ["user", "assistant"]


def test_an_unknown_role_is_sent_unchanged():
    assert prepare([{"role": "control", "content": "thinking"}, user()]) == [
        {"role": "control", "content": "thinking"},
        user(),
    ]


@pytest.mark.parametrize(
    "conversation", [[], [user("")], [user(" \n")], [user(None)], [assistant(None)]]
)
def test_an_empty_conversation_is_refused(conversation):
    with pytest.raises(InvalidRequestError, match=r"no message(?s:.*)Hint: "):
        prepare(conversation)


@pytest.mark.parametrize("message", [{"content": "q"}, {"role": None, "content": "q"}])
def test_a_message_without_a_role_is_refused(message):
    with pytest.raises(InvalidRequestError, match=r"role(?s:.*)Hint: "):
        prepare([message])


def test_extra_keys_of_the_user_are_kept_and_those_of_a_server_are_removed():
    sent = prepare(
        [
            user(name="ann", cache=True, nothing=None),
            {"role": "assistant", "content": "a", "annotations": [], "id": "7", "refusal": None},
        ]
    )
    assert sent == [user(name="ann", cache=True), {"role": "assistant", "content": "a"}]


# -- calls and results ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (None, {}),
        ("", {}),
        (" ", {}),
        ("null", {}),
        ("{}", {}),
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('{"a": "x\ny"}', {"a": "x\ny"}),
        ('{"a": ', {"unreadable_arguments": '{"a": '}),
        ('"a"', {"unreadable_arguments": '"a"'}),
        ("[1]", {"unreadable_arguments": "[1]"}),
        ([1], {"unreadable_arguments": "[1]"}),
        ('{"a": NaN}', {"unreadable_arguments": '{"a": NaN}'}),
        ("[" * 100_000, {"unreadable_arguments": "[" * 100_000}),
    ],
)
def test_arguments_are_sent_as_an_object(arguments, sent):
    assert arguments_of(prepare([user(), assistant("", call("1", arguments)), result()])) == [sent]


def test_an_invalid_call_keeps_its_result():
    calls = call("1", "{oops"), call("2", "{}")
    *_, first, _, second = prepare([user(), assistant("", *calls)])
    assert "not a JSON object" in first["content"]
    assert "not run" in second["content"]
    sent = prepare([user(), assistant("", *calls), result("1", "bad arguments"), result("2", "3")])
    assert [message["content"] for message in sent if message["role"] == "tool"] == [
        "bad arguments",
        "3",
    ]


def test_each_call_becomes_a_message_followed_by_its_result():
    conversation = [
        user(),
        assistant("I add.", call("1"), call("2", name="sub"), reasoning_content="hm"),
        result("2", "two"),
        result("1", "one"),
    ]
    assert prepare(conversation) == [
        user(),
        {
            "role": "assistant",
            "content": "I add.",
            "reasoning_content": "hm",
            "tool_calls": [call("1")],
        },
        {"role": "tool", "tool_call_id": "1", "name": "add", "content": "one"},
        {"role": "assistant", "content": "", "tool_calls": [call("2", name="sub")]},
        {"role": "tool", "tool_call_id": "2", "name": "sub", "content": "two"},
    ]


@pytest.mark.parametrize("number", ["", None, "other"])
def test_results_without_a_known_id_belong_to_the_next_call(number):
    calls = call(None), call(None, name="sub")
    sent = prepare([user(), assistant("", *calls), result(number, "1"), result(number, "2")])
    assert [
        (message["name"], message["content"]) for message in sent if message["role"] == "tool"
    ] == [
        ("add", "1"),
        ("sub", "2"),
    ]


def test_results_without_an_id_are_matched_by_name():
    calls = call(""), call("", name="sub")
    results = result("", "of sub", name="sub"), result("", "of add", name="add")
    sent = prepare([user(), assistant("", *calls), *results])
    assert [message["content"] for message in sent if message["role"] == "tool"] == [
        "of add",
        "of sub",
    ]


def test_a_call_without_a_name_keeps_its_results():
    sent = prepare([user(), assistant("", call("1", name=None)), result("1", name="add")])
    assert calls_of(sent)[0]["function"]["name"] == sent[-1]["name"] == "add"


def test_a_reused_id_is_replaced_in_the_call_and_its_result():
    turn = assistant("", call("1"), call("1", name="sub")), result("1", "a"), result("1", "b")
    sent = prepare([user(), *turn, *turn])
    tools = [message for message in sent if message["role"] == "tool"]
    assert [message["content"] for message in tools] == ["a", "b", "a", "b"]
    assert [tool["tool_call_id"] for tool in tools] == [entry["id"] for entry in calls_of(sent)]
    assert len({entry["id"] for entry in calls_of(sent)}) == 4


def test_a_late_result_is_moved_after_its_call():
    sent = prepare([user(), assistant("", call()), user("wait"), assistant("ok"), result()])
    assert sent[2] == {"role": "tool", "tool_call_id": "1", "name": "add", "content": "2"}


def test_a_second_result_of_a_call_is_appended_to_the_first():
    sent = prepare([user(), assistant("", call()), result(content="a"), result(content="b")])
    assert [message["content"] for message in sent if message["role"] == "tool"] == ["a\n\nb"]


def test_a_result_without_a_call_becomes_text_of_the_user():
    assert prepare([result("9", "42", name="add"), user("and?")]) == [
        user("Result of the tool add: 42\n\nand?")
    ]


def test_the_older_form_of_calls_and_results_is_converted():
    older = {"role": "assistant", "content": None, "function_call": call()["function"]}
    sent = prepare([user(), older, {"role": "function", "name": "add", "content": "2"}])
    assert arguments_of(sent) == [{"a": 1}]
    assert sent[-1]["content"] == "2"


def test_a_result_that_is_not_text_is_sent_as_json():
    block = {"type": "json", "json": {"a": [1]}}
    sent = prepare([user(), assistant("", call()), result(content=["x", block, IMAGE])])
    assert sent[-1]["content"] == [
        {"type": "text", "text": f"x\n{json.dumps(block)}"},
        IMAGE,
    ]


# -- other providers' answers -----------------------------------------------------------------


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_use", "id": "1", "name": "add", "input": {"a": 1}},
        {"type": "tool_call", "id": "1", "name": "add", "args": {"a": 1}},
        {"type": "tool_call_chunk", "id": "1", "name": "add", "args": '{"a": 1}', "index": 0},
        {"type": "invalid_tool_call", "id": "1", "name": "add", "args": '{"a": 1}', "error": "?"},
        {
            "type": "function_call",
            "id": "fc",
            "call_id": "1",
            "name": "add",
            "arguments": '{"a": 1}',
        },
        {"toolUse": {"toolUseId": "1", "name": "add", "input": {"a": 1}}},
        {"functionCall": {"id": "1", "name": "add", "args": {"a": 1}}},
        {"type": "function_call", "function_call": {"id": "1", "name": "add", "args": {"a": 1}}},
        {"type": "function", "id": "1", "function": {"name": "add", "arguments": {"a": 1}}},
        {
            "type": "non_standard",
            "value": {"type": "tool_use", "id": "1", "name": "add", "input": {"a": 1}},
        },
    ],
)
@pytest.mark.parametrize("twice", [True, False])
def test_a_call_in_a_content_block_becomes_one_call(block, twice):
    calls = [call()] if twice else []
    content = ["I ", {"type": "text", "text": "add."}, block]
    sent = prepare([user(), assistant(content, *calls), result()])
    assert sent[1] == {"role": "assistant", "content": "I add.", "tool_calls": [call()]}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "thinking", "thinking": "hm"},
        {"type": "reasoning", "reasoning": "hm"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "reasoning_content", "reasoning_content": {"text": "hm"}},
        {"reasoningContent": {"reasoningText": {"text": "hm"}}},
        {"text": "hm", "thought": True},
    ],
)
def test_reasoning_in_a_content_block_is_sent_with_the_call(block):
    sent = prepare([user(), assistant([block, "I add."], call()), result()])
    assert sent[1]["reasoning_content"] == "hm"
    assert sent[1]["content"] == "I add."


@pytest.mark.parametrize(
    "block",
    [
        {"type": "redacted_thinking", "data": "x"},
        {"type": "server_tool_use", "id": "9", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "9", "content": []},
        {"type": "web_search_call", "id": "9"},
        {"type": "mcp_list_tools", "tools": []},
        {"type": "image", "base64": "AA", "mime_type": "image/png"},
        {"type": "citation", "url": "http://x"},
        {"executableCode": {"code": "1"}},
        {"type": "something_new"},
        {},
    ],
)
def test_blocks_of_other_providers_are_removed_from_an_answer(block):
    sent = prepare([user(), assistant([block, "I see."]), user("and?")])
    assert sent[1] == {"role": "assistant", "content": "I see."}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "assistant", "content": [{"type": "output_text", "text": "No.", "logprobs": 1}]},
    ],
)
def test_a_refusal_is_sent_as_the_text_of_the_assistant(message):
    assert prepare([user(), message])[1] == {"role": "assistant", "content": "No."}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_result", "tool_use_id": "1", "content": "2"},
        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "2"}]},
        {"toolResult": {"toolUseId": "1", "content": [{"text": "2"}]}},
        {"type": "function_call_output", "call_id": "1", "output": "2"},
    ],
)
def test_a_result_in_a_user_message_becomes_a_tool_message(block):
    sent = prepare([user(), assistant("", call()), user([block, "and?"])])
    assert roles(sent) == ["user", "assistant", "tool", "assistant", "user"]
    assert (sent[2]["content"], sent[4]["content"]) == ("2", "and?")


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (user([{"type": "video", "url": "http://x"}]), "user.*'video'"),
        (user([{"type": "reasoning", "reasoning": "?"}]), "user.*'reasoning'"),
        (user([{"type": "image", "file_id": "7"}]), "user.*'image' without data"),
        (user([{"type": "audio", "base64": "QUJD"}]), "user.*'audio' without data"),
        (user([{"type": "file", "file": {}}]), "user.*'file'"),
        (user([{"video": 1}]), "user.*'video'"),
        (system([{"type": "image", "url": "http://x"}]), "system.*'image'"),
    ],
)
def test_an_unsupported_block_of_the_user_is_refused_by_name(message, named):
    with pytest.raises(InvalidRequestError, match=f"{named}(?s:.*)Hint: "):
        prepare([user(), message])


DATA_URL = {"url": "data:image/png;base64,QUJD"}


@pytest.mark.parametrize(
    ("block", "sent"),
    [
        ({"type": "image_url", "image_url": "http://x/y.png"}, {"url": "http://x/y.png"}),
        ({"type": "input_image", "image_url": "http://x/y.png"}, {"url": "http://x/y.png"}),
        (
            {"type": "image_url", "image_url": {"url": "http://x", "detail": "low"}},
            {"url": "http://x", "detail": "low"},
        ),
        ({"type": "image", "url": "http://x/y.png"}, {"url": "http://x/y.png"}),
        ({"type": "image", "source": {"type": "url", "url": "http://x"}}, {"url": "http://x"}),
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
        ({"inlineData": {"mimeType": "image/png", "data": "QUJD"}}, DATA_URL),
        ({"type": "media", "mime_type": "image/png", "data": "QUJD"}, DATA_URL),
        ({"type": "file", "mime_type": "image/png", "base64": "QUJD"}, DATA_URL),
        ({"image": {"format": "png", "source": {"bytes": b"ABC"}}}, DATA_URL),
    ],
)
def test_images_of_any_style_are_converted_to_openais(block, sent):
    assert prepare([user(["What?", block])]) == [
        user([{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": sent}])
    ]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}},
        {"type": "audio", "base64": "QUJD", "mime_type": "audio/mpeg"},
        {"inline_data": {"mime_type": "audio/mpeg", "data": "QUJD"}},
        {"type": "media", "mime_type": "audio/mpeg", "data": "QUJD"},
    ],
)
def test_audio_of_any_style_is_converted_to_openais(block):
    [sent] = prepare([user([block])])
    assert sent["content"] == [
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}}
    ]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text", "text": "T"},
        {"type": "input_text", "text": "T"},
        {"type": "text-plain", "text": "T", "mime_type": "text/plain"},
        {"type": "document", "source": {"type": "text", "data": "T"}},
        {"type": "text", "text": {"value": "T"}},
        "T",
    ],
)
def test_text_blocks_of_any_style_are_read_as_text(block):
    mark = {"cachePoint": {"type": "default"}}
    assert prepare([user([block, {"type": "text", "text": None}, mark])]) == [user("T")]


def test_the_first_image_or_audio_is_found():
    assert first_media([user("a"), user(["b", IMAGE])]) == "image_url"
    assert first_media([user("a"), assistant([IMAGE])]) is None


def test_as_text_writes_calls_and_results_as_text():
    conversation = [system(), user(), assistant("I add.", call()), result(), user("and?")]
    assert as_text(prepare(conversation[:-1])) == [
        user("s\n\nq"),
        {
            "role": "assistant",
            "content": 'I add.\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>',
        },
        user("<tool_response>\n2\n</tool_response>"),
    ]
