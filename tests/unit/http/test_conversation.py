"""Tool calls by schema, repair and overflow, through `Client` and the simulated runner."""

import asyncio
import json

import pytest

from docker_model.errors import ContextLengthError, InvalidRequestError, ModelNotFoundError
from docker_model.http import Client
from docker_model.http.replies import StreamReader, read_reply
from docker_model.testing import Reply, SimulatedModel, ToolCall

MODEL = "ai/smollm2"
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
QUESTION = [{"role": "user", "content": "What is 1 + 2?"}]
CALL = json.dumps({"tool": "add", "arguments": {"a": 1, "b": 2}})


@pytest.fixture(params=["whole", "stream", "async whole", "async stream"])
def ask(request):
    """Return a function that sends a chat in one of four modes.

    It returns the answer and the last reply or chunk.
    """

    async def whole(*args, **parameters):
        return await Client().achat(*args, **parameters)

    async def stream(*args, **parameters):
        return [chunk async for chunk in Client().astream_chat(*args, **parameters)]

    def run(messages, **parameters):
        if request.param == "whole":
            got = Client().chat(MODEL, messages, **parameters)
        elif request.param == "stream":
            got = list(Client().stream_chat(MODEL, messages, **parameters))
        elif request.param == "async whole":
            got = asyncio.run(whole(MODEL, messages, **parameters))
        else:
            got = asyncio.run(stream(MODEL, messages, **parameters))
        if isinstance(got, dict):
            return read_reply(got)[0], got
        reader = StreamReader()
        for chunk in got:
            reader.feed(chunk)
        reader.close()
        return reader.answer, got[-1]

    return run


def calls_of(answer):
    return [(call.name, call.arguments) for call in answer.calls]


def chat_bodies(docker):
    return [each.body for each in docker.requests if each.path.endswith("/chat/completions")]


def test_a_call_by_schema_is_returned_as_an_ordinary_tool_call(simulate, ask):
    docker = simulate([SimulatedModel(MODEL, script=CALL)])
    answer, reply = ask(QUESTION, tools=[ADD], tool_calling="schema")
    assert calls_of(answer) == [("add", {"a": 1, "b": 2})]
    assert answer.text == ""
    assert answer.finish_reason == "tool_calls"
    assert reply["tool_calling"] == "schema"
    (body,) = chat_bodies(docker)
    assert "tools" not in body
    assert body["response_format"]["type"] == "json_schema"


def test_an_answer_by_schema_is_returned_as_text(simulate, ask):
    simulate([SimulatedModel(MODEL, script=json.dumps({"answer": "It is 3 — „drei“."}))])
    answer, _ = ask(QUESTION, tools=[ADD], tool_calling="schema")
    assert answer.text == "It is 3 — „drei“."
    assert answer.calls == ()
    assert answer.finish_reason == "stop"


@pytest.mark.parametrize(
    ("template", "expected"), [("qwen3", "native"), ("smollm2", "schema"), ("gemma", "schema")]
)
def test_auto_chooses_the_method_by_what_the_template_shows(simulate, ask, template, expected):
    script = [ToolCall("add", {"a": 1, "b": 2})] if expected == "native" else CALL
    docker = simulate([SimulatedModel(MODEL, script=script, template=template)])
    for _ in range(2):
        answer, reply = ask(QUESTION, tools=[ADD], tool_calling="auto")
        assert calls_of(answer) == [("add", {"a": 1, "b": 2})]
        assert reply["tool_calling"] == expected
    counts = [each for each in docker.requests if each.path.endswith("/count_tokens")]
    assert len(counts) == 2, "the decision is remembered"


@pytest.mark.parametrize("text", [CALL, '{"name": "Oslo"}', "It is 3."])
def test_tool_choice_none_returns_json_as_text(simulate, ask, text):
    docker = simulate([SimulatedModel(MODEL, script=text)])
    answer, _ = ask(QUESTION, tools=[ADD], tool_choice="none", tool_calling="schema")
    assert (answer.text, answer.calls) == (text, ())
    assert not {"tools", "tool_choice", "response_format"} & chat_bodies(docker)[0].keys()


@pytest.mark.parametrize("choice", ["required", "any", "add"])
def test_auto_enforces_a_required_call_by_schema(simulate, ask, choice):
    simulate([SimulatedModel(MODEL, script=CALL, template="qwen3")])
    answer, reply = ask(QUESTION, tools=[ADD], tool_choice=choice, tool_calling="auto")
    assert reply["tool_calling"] == "schema"
    assert calls_of(answer) == [("add", {"a": 1, "b": 2})]


def test_tools_with_a_schema_give_calls_first_and_then_the_object(simulate, ask):
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    response_format = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}

    def script(prompt):
        roles = [message["role"] for message in prompt.messages]
        return CALL if roles.count("assistant") == 0 else json.dumps({"answer": {"sum": 3}})

    simulate([SimulatedModel(MODEL, script=script)])
    parameters = {
        "tools": [ADD],
        "response_format": response_format,
        "tool_calling": "auto",
    }
    first, _ = ask(QUESTION, **parameters)
    (call,) = first.calls
    history = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call.to_openai()]},
        {"role": "tool", "tool_call_id": call.id, "content": "3"},
    ]
    second, _ = ask(history, **parameters)
    assert json.loads(second.text) == {"sum": 3}
    assert second.calls == ()


def test_native_calls_in_the_history_are_rewritten_for_a_strict_template(simulate, ask):
    simulate([SimulatedModel(MODEL, script=json.dumps({"answer": "3"}), template="gemma")])
    history = [
        {"role": "system", "content": "Be brief."},
        *QUESTION,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "x", "type": "function", "function": {"name": "add", "arguments": "{"}}
            ],
        },
        {"role": "tool", "tool_call_id": "x", "content": "Error"},
        {"role": "user", "content": "So?"},
    ]
    answer, _ = ask(history, tools=[ADD], tool_calling="auto")
    assert answer.text == "3"


def test_a_reply_that_fails_its_check_is_requested_once_more(simulate):
    replies = iter([{"a": 1, "b": -2}, {"a": 1, "b": 2}])
    docker = simulate(
        [
            SimulatedModel(
                MODEL, script=lambda _: json.dumps({"tool": "add", "arguments": next(replies)})
            )
        ]
    )

    def check(answer):
        return "b must be positive" if answer.calls[0].arguments["b"] < 0 else ""

    reply = Client().chat(MODEL, QUESTION, tools=[ADD], tool_calling="schema", check=check)
    assert calls_of(read_reply(reply)[0]) == [("add", {"a": 1, "b": 2})]
    first, second = chat_bodies(docker)
    assert len(second["messages"]) > len(first["messages"])
    assert "b must be positive" in second["messages"][-1]["content"]


def test_a_reply_that_fails_its_check_twice_is_returned_unchanged(simulate):
    docker = simulate([SimulatedModel(MODEL, script="no object")])
    reply = Client().chat(MODEL, QUESTION, check=lambda _: "not an object")
    assert read_reply(reply)[0].text == "no object"
    assert len(chat_bodies(docker)) == 2


def test_a_schema_is_shown_in_full_and_reduced_for_the_grammar(simulate, ask):
    docker = simulate([SimulatedModel(MODEL, script='{"n": 1}')])
    schema = {"type": "object", "properties": {"n": {"type": "integer", "title": "N"}}}
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer, _ = ask(QUESTION, response_format=response_format)
    assert answer.text == '{"n": 1}'
    (body,) = chat_bodies(docker)
    assert '"n"' in body["messages"][0]["content"]
    sent = body["response_format"]["json_schema"]["schema"]
    assert sent["properties"] == {"n": {"type": "integer"}}
    ask(QUESTION, response_format=response_format, show_schema=False)
    assert chat_bodies(docker)[-1]["messages"] == QUESTION


@pytest.mark.parametrize("form", ["array", "oneOf", "allOf", "prefixItems", "values"])
def test_a_schema_of_any_form_is_reduced_for_the_grammar(simulate, ask, form):
    unknown = {"type": "file", "pattern": "(?=x)"}
    schema = {
        "array": {"type": "array", "items": unknown, "minItems": 9999},
        "oneOf": {"oneOf": [unknown, {"type": "null"}]},
        "allOf": {"allOf": [unknown, {"type": "null"}]},
        "prefixItems": {"type": "array", "prefixItems": [unknown]},
        "values": {"type": "object", "additionalProperties": unknown},
    }[form]
    docker = simulate([SimulatedModel(MODEL, script="null")])
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    ask(QUESTION, response_format=response_format)
    (body,) = chat_bodies(docker)
    sent = json.dumps(body["response_format"])
    assert not [word for word in ("file", "pattern", "9999") if word in sent]
    assert "9999" in body["messages"][0]["content"] or form != "array"  # the model is told


@pytest.mark.parametrize("settings", [{}, {"tools": [ADD], "tool_calling": "schema"}])
@pytest.mark.parametrize("kind", ["json_schema", "json_object"])
@pytest.mark.parametrize("last_message", ["It is 3.", '{"n": 3}', ""])
def test_a_conversation_that_ends_with_the_assistant_gets_an_object(
    simulate, ask, settings, kind, last_message
):
    wrapped = '{"answer": {"n": 1}}' if settings else '{"n": 1}'
    docker = simulate([SimulatedModel(MODEL, script=wrapped)])
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    response_format = {"type": kind, "json_schema": {"name": "x", "schema": schema}}
    if kind == "json_object":
        response_format = {"type": kind, "schema": schema}
    history = [*QUESTION, {"role": "assistant", "content": last_message}]
    answer, _ = ask(history, response_format=response_format, **settings)
    assert json.loads(answer.text) == {"n": 1}
    assert chat_bodies(docker)[0]["messages"][-1]["role"] == "user"


def test_an_object_that_the_caller_began_is_completed(simulate, ask):
    docker = simulate([SimulatedModel(MODEL, script='{"n": 1}')])
    begun = {"role": "assistant", "content": '{"n":'}
    ask([*QUESTION, begun], response_format={"type": "json_object"})
    assert chat_bodies(docker)[0]["messages"][-1] == begun


# --- Overflow -------------------------------------------------------------------------------------


def long_conversation(turns):
    for number in range(turns):
        yield {"role": "user", "content": f"question {number} " + "word " * 40}
        yield {"role": "assistant", "content": f"answer {number}"}
    yield {"role": "user", "content": "The last question?"}


def test_overflow_raises_before_anything_is_sent(simulate, ask):
    docker = simulate([SimulatedModel(MODEL, context_size=512)])
    with pytest.raises(ContextLengthError) as caught:
        ask(list(long_conversation(40)), overflow="error")
    assert caught.value.context_size == 512
    assert caught.value.prompt_tokens > 512
    assert chat_bodies(docker) == []


def test_trimming_drops_the_oldest_turns_and_reports_the_number_of_messages(simulate, ask):
    docker = simulate([SimulatedModel(MODEL, context_size=512, script="ok")])
    messages = [{"role": "system", "content": "Be brief."}, *long_conversation(40)]
    answer, reply = ask(messages, overflow="trim", max_tokens=50)
    assert answer.text == "ok"
    (body,) = chat_bodies(docker)
    assert body["messages"][0] == messages[0]
    assert body["messages"][-1] == messages[-1]
    assert reply["trimmed"] == len(messages) - len(body["messages"]) > 0


def test_a_short_conversation_is_not_counted(simulate, ask):
    docker = simulate([SimulatedModel(MODEL, script="ok")])
    _, reply = ask(QUESTION, overflow="trim")
    assert "trimmed" not in reply
    assert not [each for each in docker.requests if each.path.endswith("/count_tokens")]


LONG = [{"role": "user", "content": "a" * 600}]  # one token, but possibly more than 512
COUNT = "POST /engines/v1/messages/count_tokens"


def test_a_conversation_that_cannot_be_counted_is_sent_whole(simulate, ask):
    refusal = {"error": {"code": 400, "message": "unsupported content[].type"}}
    docker = simulate(
        [SimulatedModel(MODEL, context_size=512, script="ok")], replies={COUNT: Reply(400, refusal)}
    )
    assert ask(LONG)[0].text == "ok"
    assert chat_bodies(docker)[-1]["messages"] == LONG


def test_a_conversation_is_sent_whole_if_the_context_size_cannot_be_read(simulate, ask):
    path = f"GET /models/{MODEL}"
    simulate([SimulatedModel(MODEL, script="ok")], replies={path: Reply(500, "boom")})
    long = [{"role": "user", "content": "a" * 9000}]
    assert ask(long)[0].text == "ok"


def test_a_long_conversation_with_a_missing_model_is_the_error_of_a_missing_model(simulate, ask):
    simulate([])
    with pytest.raises(ModelNotFoundError):
        ask([{"role": "user", "content": "a" * 9000}])


def test_a_template_that_cannot_be_examined_counts_as_one_with_tools(simulate, ask):
    script = [ToolCall("add", {"a": 1, "b": 2})]
    simulate([SimulatedModel(MODEL, script=script)], replies={COUNT: Reply(500, "boom")})
    answer, reply = ask(QUESTION, tools=[ADD], tool_calling="auto")
    assert reply["tool_calling"] == "native"
    assert calls_of(answer) == [("add", {"a": 1, "b": 2})]


@pytest.mark.parametrize("setting", [{"tool_calling": "magic"}, {"overflow": "hope"}])
def test_an_unknown_choice_is_refused_before_anything_is_sent(simulate, ask, setting):
    docker = simulate([MODEL])
    with pytest.raises(InvalidRequestError) as caught:
        ask(QUESTION, tools=[ADD], **setting)
    assert caught.value.hint
    assert docker.requests == []
