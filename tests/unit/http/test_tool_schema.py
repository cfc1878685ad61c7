"""Tool calls enforced by a schema: the request, and reading of replies in any split."""

import itertools
import json
import re
from typing import Literal

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from docker_model.errors import InvalidRequestError
from docker_model.http import replies
from docker_model.http.json_stream import Arguments, BeginCall, CallReader, Text
from docker_model.http.messages import prepare
from docker_model.http.tool_schema import ReplyTranslator, grammar_schema, plain_turns, plan

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'Get the "weather"\nof a city.',
        "parameters": {
            "title": "Weather",
            "type": "object",
            "properties": {"city": {"type": "string", "title": "City", "pattern": "^(?=x)"}},
            "required": ["city"],
        },
    },
}
TIME = {"type": "function", "function": {"name": "what.time-is_it", "description": "The time."}}
USER = [{"role": "user", "content": "Is it warm in Rome?"}]


def schema_of(parameters):
    return parameters["response_format"]["json_schema"]["schema"]


# --- Requests -------------------------------------------------------------------------------------


def test_a_request_with_tools_allows_calls_or_an_answer():
    messages, parameters = plan(USER, {"tools": [WEATHER, TIME], "temperature": 0})
    assert parameters["temperature"] == 0
    assert "tools" not in parameters
    *calls, answer = branches(schema_of(parameters))
    assert [call["properties"]["tool"]["const"] for call in calls] == [
        "get_weather",
        "what.time-is_it",
    ]
    assert answer["properties"] == {"answer": {"type": "string", "minLength": 1}}
    assert messages[0]["role"] == "system"
    assert 'Get the "weather"' in messages[0]["content"]
    assert "what.time-is_it" in messages[0]["content"]
    assert '{"answer": "…"}' in messages[0]["content"]  # no words, which small models repeat
    assert messages[1:] == USER


def branches(schema):
    leaves = []
    for each in schema.get("anyOf", [schema]):
        leaves += branches(each) if "anyOf" in each else [each]
    return leaves


@pytest.mark.parametrize("choice", ["required", "any", True])
def test_a_required_call_leaves_no_branch_for_an_answer(choice):
    _, parameters = plan(USER, {"tools": [WEATHER, TIME], "tool_choice": choice})
    assert all("tool" in each["properties"] for each in branches(schema_of(parameters)))


def test_a_named_tool_is_the_only_branch_and_the_only_tool_shown():
    messages, parameters = plan(USER, {"tools": [WEATHER, TIME], "tool_choice": "get_weather"})
    assert schema_of(parameters)["properties"]["tool"] == {"const": "get_weather"}
    assert "what.time-is_it" not in messages[0]["content"]


def test_an_unknown_named_tool_is_refused():
    with pytest.raises(InvalidRequestError, match="get_rain"):
        plan(USER, {"tools": [WEATHER], "tool_choice": "get_rain"})


def test_tool_choice_none_requests_plain_text():
    messages, parameters = plan(USER, {"tools": [WEATHER], "tool_choice": "none"})
    assert messages == USER
    assert parameters == {}


def test_parallel_calls_allow_one_call_or_an_array():
    _, parameters = plan(USER, {"tools": [WEATHER], "parallel_tool_calls": True})
    sent = schema_of(parameters)
    call, calls, answer = sent["anyOf"]
    assert call == calls["items"] == {"$ref": "#/$defs/call"}
    assert sent["$defs"]["call"]["properties"]["tool"] == {"const": "get_weather"}
    assert calls["type"] == "array"
    assert calls["minItems"] == 1
    assert "answer" in answer["properties"]


def test_tools_and_a_schema_are_combined_in_one_request():
    schema = {
        "type": "object",
        "properties": {"next": {"$ref": "#/$defs/Node"}},
        "$defs": {"Node": {"type": "integer"}},
    }
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    messages, parameters = plan(USER, {"tools": [WEATHER], "response_format": response_format})
    sent = schema_of(parameters)
    answer = branches(sent)[-1]["properties"]["answer"]
    assert answer["properties"]["next"] == {"$ref": "#/$defs/answer_Node"}
    assert sent["$defs"] == {"answer_Node": {"type": "integer"}}
    assert "next" in messages[0]["content"]


def test_the_history_becomes_turns_that_any_template_accepts():
    history = prepare(
        [
            {"role": "system", "content": "Be brief."},
            *USER,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "1", "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "31 degrees"},
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "And Oslo?"},
        ]
    )
    turns = list(plain_turns(history, wrapped=True))
    assert [turn["role"] for turn in turns] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert json.loads(turns[2]["content"]) == {
        "tool": "get_weather",
        "arguments": {"city": "Rome"},
    }
    assert turns[3]["content"] == "Result of get_weather: 31 degrees"
    assert json.loads(turns[4]["content"]) == {"answer": "Yes."}
    assert not any("tool_calls" in turn for turn in turns)


# --- Schemas --------------------------------------------------------------------------------------


class Node(BaseModel):
    value: int
    kind: Literal["leaf", "branch"] = "leaf"
    children: list["Node"] = Field(default=[], min_length=2000)
    more: dict[str, int] = {}
    note: str | None = Field(None, pattern="^secret")


def test_a_recursive_model_keeps_its_shape_without_unsupported_keywords():
    schema = grammar_schema(Node.model_json_schema(), prefix="t0_")
    assert schema == {
        "$ref": "#/$defs/t0_Node",
        "$defs": {
            "t0_Node": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer"},
                    "kind": {"enum": ["leaf", "branch"]},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/t0_Node"}},
                    "more": {
                        "type": "object",
                        "properties": {},
                        "additionalProperties": {"type": "integer"},
                    },
                    "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
                "required": ["value"],
                "additionalProperties": False,
            }
        },
    }  # fmt: skip


def test_a_huge_enumeration_becomes_any_string():
    assert grammar_schema({"enum": [f"v{n}" for n in range(5000)]}) == {"type": "string"}


JSON_SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "string", "format": "date"},
            {"type": "string", "format": "email", "pattern": "a"},
            {"type": ["string", "null"]},
            {"type": "integer", "minimum": 1, "maximum": 9},
            {"type": "number", "minimum": 0.5},
            {"type": "boolean"},
            {"enum": ["a", 1, None]},
            {"const": "x"},
            {"type": "object"},
            {"type": "object", "additionalProperties": True},
            True,
            {},
        ]
    ),
    lambda inner: st.one_of(
        st.builds(
            lambda properties: {
                "type": "object",
                "properties": properties,
                "required": [*properties][:1],
            },
            st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
        ),
        st.builds(lambda items: {"type": "array", "items": items, "minItems": 9999}, inner),
        st.builds(lambda left, right: {"anyOf": [left, right]}, inner, inner),
        st.builds(lambda left, right: {"oneOf": [left, right], "title": "T"}, inner, inner),
        st.builds(lambda schema: {"allOf": [schema], "default": 3}, inner),
        st.builds(
            lambda left, right: {"type": "array", "prefixItems": [left, right]}, inner, inner
        ),
    ),
    max_leaves=8,
)
KEPT = {
    "$defs", "$ref", "additionalProperties", "allOf", "anyOf", "const", "enum", "exclusiveMaximum",
    "exclusiveMinimum", "format", "items", "maxItems", "maxLength", "maximum", "minItems",
    "minLength", "minimum", "prefixItems", "properties", "required", "type",
}  # fmt: skip


def keywords(schema):
    if isinstance(schema, list):
        return set().union(*map(keywords, schema))
    if not isinstance(schema, dict):
        return set()
    names = set(schema)
    for name, value in schema.items():
        inner = list(value.values()) if name in ("properties", "$defs") else value
        if name not in ("enum", "const"):
            names |= keywords(inner)
    return names


@given(JSON_SCHEMAS)
def test_a_reduced_schema_has_only_known_keywords_and_is_stable(schema):
    reduced = grammar_schema(schema if isinstance(schema, dict) else {})
    assert keywords(reduced) <= KEPT
    assert grammar_schema(reduced) == reduced


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minLength": 5, "maxLength": 1},
        {"type": "array", "items": {}, "minItems": 2, "maxItems": 1},
        {"type": "array", "items": {}, "minItems": True},
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "integer", "minimum": 1, "exclusiveMaximum": 1},
        {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2},
    ],
)
def test_limits_that_nothing_satisfies_stay_out_of_the_grammar(schema):
    kept = {name: schema[name] for name in ("type", "items") if name in schema}
    assert grammar_schema({"anyOf": [schema, {}]})["anyOf"][0] == kept


# --- Replies --------------------------------------------------------------------------------------

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
CALLS = st.tuples(st.text(min_size=1), st.dictionaries(st.text(), JSON_VALUES, max_size=3))


def read(text, cuts):
    reader = CallReader()
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    events = [
        event for start, end in itertools.pairwise(places) for event in reader.feed(text[start:end])
    ]
    events += reader.close()
    answer = "".join(event.text for event in events if isinstance(event, Text))
    calls = [[event.name, ""] for event in events if isinstance(event, BeginCall)]
    for event in events:
        if isinstance(event, Arguments):
            calls[event.index][1] += event.text
    return answer, [(name, json.loads(arguments)) for name, arguments in calls]


CUTS = st.lists(st.integers(0, 500), max_size=8)


@given(CALLS, CUTS, st.booleans(), st.sampled_from([None, 1]))
def test_a_call_is_read_from_any_split(call, cuts, ascii_only, indent):
    name, arguments = call
    text = json.dumps(
        {"tool": name, "arguments": arguments}, ensure_ascii=ascii_only, indent=indent
    )
    assert read(text, cuts) == ("", [(name, arguments)])


@given(CALLS, CUTS)
def test_arguments_that_come_before_the_name_are_kept(call, cuts):
    name, arguments = call
    text = json.dumps({"arguments": arguments, "tool": name})
    assert read(text, cuts) == ("", [(name, arguments)])


@given(st.lists(CALLS, min_size=1, max_size=4), CUTS, st.booleans())
def test_several_calls_are_read_from_any_split(calls, cuts, ascii_only):
    text = json.dumps(
        [{"tool": name, "arguments": arguments} for name, arguments in calls],
        ensure_ascii=ascii_only,
    )
    assert read(text, cuts) == ("", calls)


@given(st.text(), CUTS, st.booleans())
def test_the_text_of_an_answer_is_read_from_any_split(answer, cuts, ascii_only):
    text = json.dumps({"answer": answer}, ensure_ascii=ascii_only)
    assert read(text, cuts) == (answer, [])


ESCAPES = ["a", "é", "\\ud83d", "\\ude00", "\\n", '\\"', "\\u00e9", "\\\\", "\\uD83D"]


@given(st.lists(st.sampled_from(ESCAPES)).map("".join), CUTS)
def test_half_a_surrogate_pair_becomes_a_replacement_character(escaped, cuts):
    whole = re.sub("[\ud800-\udfff]", "\ufffd", json.loads(f'"{escaped}"'))
    assert read(f'{{"answer": "{escaped}"}}', cuts) == (whole, [])


@given(st.dictionaries(st.text(), JSON_VALUES), CUTS)
def test_an_answer_that_is_an_object_is_returned_as_json(answer, cuts):
    text, calls = read(json.dumps({"answer": answer}), cuts)
    assert json.loads(text) == answer
    assert calls == []


@pytest.mark.parametrize("text", ["Hello {you}", "42", '"quoted"'])
def test_a_reply_that_is_not_an_object_is_plain_text(text):
    assert read(text, []) == (text, [])


@given(st.dictionaries(st.text(), JSON_VALUES) | st.lists(JSON_VALUES), CUTS)
@example({"name": "Oslo"}, [3])
@example([1, [2], "three"], [])
@example([], [1])
def test_json_without_a_key_of_the_schema_is_plain_text(value, cuts):
    keys = {key for item in [value, *value] if isinstance(item, dict) for key in item}
    assume(not keys & {"answer", "arguments", "tool"})
    text = json.dumps(value)
    assert read(text, cuts) == (text, [])


@pytest.mark.parametrize("text", ['{"to', '{"name": "Os', "[", '{"answer": ""}'])
def test_a_reply_that_is_cut_off_before_its_answer_has_no_text(text):
    reader = CallReader()
    assert [*reader.feed(text), *reader.close()] == []


def test_the_text_of_an_answer_is_streamed_while_it_arrives():
    reader = CallReader()
    assert reader.feed('{"answer": "Hel') == [Text("Hel")]
    assert reader.feed('lo\\n"') == [Text("lo\n")]


def chunk(content=None, finish=None):
    delta = {} if content is None else {"content": content}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def test_a_stream_is_converted_to_openais_tool_calls():
    reply = json.dumps([{"tool": "a", "arguments": {"x": 1}}, {"tool": "b", "arguments": {}}])
    translator, reader = ReplyTranslator(), replies.StreamReader()
    for character in reply:
        reader.feed(translator.chunk(chunk(character)))
    reader.feed(translator.chunk(chunk(finish="stop")))
    reader.close()
    answer = reader.answer
    assert [(call.name, call.arguments) for call in answer.calls] == [("a", {"x": 1}), ("b", {})]
    assert len({call.id for call in answer.calls}) == 2
    assert answer.finish_reason == "tool_calls"
    assert answer.text == ""


def test_a_whole_reply_is_converted_to_openais_tool_call():
    content = '{"tool": "a", "arguments": {"x": "é"}}'
    reply = {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "finish_reason": "stop",
            }
        ]
    }
    (answer,) = replies.read_reply(ReplyTranslator().reply(reply))
    assert [(call.name, call.arguments) for call in answer.calls] == [("a", {"x": "é"})]
    assert answer.finish_reason == "tool_calls"


def test_a_call_that_is_cut_off_has_no_arguments():
    translator, reader = ReplyTranslator(), replies.StreamReader()
    reader.feed(translator.chunk(chunk('{"tool": "a", "arguments": {"x": ')))
    reader.feed(translator.chunk(chunk(finish="length")))
    reader.close()
    (call,) = reader.answer.calls
    assert call.arguments is None
    assert call.raw == '{"x": '
    assert reader.answer.finish_reason == "length"


def test_a_model_that_repeats_a_call_must_give_an_answer():
    tools = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]
    call = {"type": "function", "id": "1", "function": {"name": "now", "arguments": "{}"}}
    made = {"role": "assistant", "content": "", "tool_calls": [call]}
    rounds = [made, {"role": "tool", "tool_call_id": "1", "name": "now", "content": "noon"}]
    question = {"role": "user", "content": "What time is it?"}

    def may_call(*messages, **more):
        _, parameters = plan(list(messages), {"tools": tools, **more})
        return "now" in json.dumps(parameters["response_format"])

    assert may_call(question, *rounds)
    assert not may_call(question, *rounds, *rounds)
    assert may_call(question, *rounds, *rounds, {"role": "assistant", "content": "Noon."}, question)
    assert may_call(question, *rounds, *rounds, tool_choice="required")
