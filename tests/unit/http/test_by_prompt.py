"""Tool calls and objects from plain text, which no grammar enforces."""

from __future__ import annotations

import json

import pytest

from docker_model.errors import GenerationError, UnsupportedParameterError
from docker_model.http.by_prompt import PromptedChat
from docker_model.http.replies import read_reply
from docker_model.http.schema_check import problem_of
from docker_model.http.tool_schema import grammar_schema
from docker_model.types import Completion, Timings, Usage


def tool(name, **properties):
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    function = {"name": name, "description": f"The tool {name}.", "parameters": parameters}
    return {"type": "function", "function": function}


INTEGER = {"type": "integer"}
TOOLS = [tool("add", a=INTEGER, b=INTEGER), tool("now")]
CITY = {
    "title": "City",
    "type": "object",
    "properties": {"name": {"type": "string"}, "people": INTEGER},
    "required": ["name"],
}
OBJECT = {"type": "json_schema", "json_schema": {"name": "City", "schema": CITY}}
CALL = '{"tool": "add", "arguments": {"a": 1, "b": 2}}'


def chat(messages="What is 1 + 2?", **parameters):
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]

    def write(turns):
        return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)

    return PromptedChat.of("m", messages, {"tool_calling": "schema", **parameters}, write)


def completion(text, finish_reason="stop"):
    return Completion(text, "Hm.", Usage(3, 4, 7), finish_reason, "m", Timings(0, 0, 0))


def read(request, text, **settings):
    reply = completion(text, **settings)
    assert request.repaired(reply) is None
    [answer] = read_reply(request.reply(reply))
    return answer


def problem(request, text):
    """Return the text that the model receives about an invalid answer."""
    again = request.repaired(completion(text))
    assert again is not None
    with pytest.raises(GenerationError) as caught:
        request.reply(completion(text))
    assert caught.value.partial == text
    assert "HTTP" in caught.value.hint
    return again.prompt.removeprefix(request.prompt)


@pytest.mark.parametrize("text", [CALL, f"\n {CALL}\n", f"```json\n{CALL}\n```", f"```\n{CALL}```"])
def test_a_call_in_text_is_parsed(text):
    answer = read(chat(tools=TOOLS), text)
    [call] = answer.calls
    assert (call.name, call.arguments) == ("add", {"a": 1, "b": 2})
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("", "Hm.", "tool_calls")


def test_the_prompt_describes_the_tools_and_their_arguments():
    prompt = chat(tools=TOOLS).prompt
    assert prompt.startswith("system: You can use these tools:\n- add: The tool add.\n")
    assert '{"a": {"type": "integer"}, "b": {"type": "integer"}}' in prompt
    assert prompt.endswith("\nuser: What is 1 + 2?")


@pytest.mark.parametrize("text", ['{"answer": "It is 3."}', "It is 3."])
def test_a_plain_text_answer_is_returned_as_text(text):
    answer = read(chat(tools=TOOLS), text)
    assert (answer.text, answer.calls, answer.finish_reason) == ("It is 3.", (), "stop")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"tool": "sub", "arguments": {}}', 'tool: must be "add" or must be "now"'),
        ('{"tool": "add", "arguments": {"a": 1}}', "arguments.b: is missing"),
        ('{"tool": "add", "arguments": {"a": "1", "b": 2}}', "arguments.a: must be of type int"),
        ('{"tool": "add", "arguments": {"a": 1, "b": 2, "c": 3}}', "arguments.c: is not in the"),
        ('{"tool": "add", "arguments": "a"}', "arguments: must be of type object"),
        (f"I will add them: {CALL}", "there is text around the JSON"),
        (f"{CALL}{CALL}", "there is text around the JSON"),
        (CALL[:-1], "The reply is not JSON"),
        ("", "The reply is not JSON"),
        ("3", "must be of type object"),
        (f"[{CALL}]", "must be of type object"),
    ],
)
def test_an_invalid_call_is_returned_to_the_model_with_the_reason(text, why):
    assert why in problem(chat(tools=TOOLS), text)


@pytest.mark.parametrize("choice", ["required", "any", "add", True])
def test_a_required_call_rejects_an_answer_without_one(choice):
    request = chat(tools=TOOLS, tool_choice=choice)
    assert read(request, CALL).calls
    assert problem(request, "It is 3.")
    assert problem(request, '{"answer": "It is 3."}')


def test_a_tool_that_was_not_chosen_is_not_called():
    assert 'tool: must be "now"' in problem(chat(tools=TOOLS, tool_choice="now"), CALL)


def test_tool_choice_none_returns_the_reply_as_text():
    request = chat(tools=TOOLS, tool_choice="none")
    assert request.prompt == "user: What is 1 + 2?"
    assert read(request, CALL).text == CALL


def test_parallel_calls_are_read_from_an_array_or_a_single_object():
    request = chat(tools=TOOLS, parallel_tool_calls=True)
    assert [call.name for call in read(request, f"[{CALL}, {CALL}]").calls] == ["add", "add"]
    assert [call.name for call in read(request, CALL).calls] == ["add"]


def test_calls_and_results_of_the_history_are_written_as_text():
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    history = [
        {"role": "user", "content": "What is 1 + 2?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "name": "add", "content": "3"},
    ]
    lines = chat(history, tools=TOOLS).prompt.splitlines()
    assert lines[-2:] == [
        'assistant: {"tool": "add", "arguments": {"a": 1}}',
        "user: Result of add: 3",
    ]
    assert chat(history, response_format=OBJECT).prompt.splitlines()[-2:] == lines[-2:]


def test_an_object_is_parsed_from_a_code_block():
    request = chat("Name a city.", response_format=OBJECT)
    assert '"people": {"type": "integer"}' in request.prompt
    assert json.loads(read(request, '```json\n{"name": "Oslo"}\n```').text) == {"name": "Oslo"}
    assert "name: is missing" in problem(request, "{}")
    assert problem(request, 'The city is {"name": "Oslo"}.')


def test_json_mode_accepts_any_object():
    request = chat("Name a city.", response_format={"type": "json_object"})
    assert read(request, '{"a": [1]}').text == '{"a": [1]}'
    assert "must be of type object" in problem(request, "[1]")


def test_with_tools_and_a_schema_an_object_may_follow_calls():
    request = chat(tools=TOOLS, response_format=OBJECT)
    assert read(request, CALL).calls
    assert json.loads(read(request, '{"answer": {"name": "Oslo"}}').text) == {"name": "Oslo"}
    assert "answer.name: is missing" in problem(request, '{"answer": {}}')
    assert problem(request, "Oslo")


def test_the_callers_check_applies_to_the_first_and_the_repaired_answer():
    request = chat(tools=TOOLS, check=lambda answer: "wrong number" if answer.calls else "")
    again = request.repaired(completion(CALL))
    assert again.prompt.endswith("Result of add: wrong number\nReply again, and correct this.")
    with pytest.raises(GenerationError, match="wrong number"):
        again.reply(completion(CALL))


def test_an_answer_that_was_cut_off_is_not_repaired():
    request = chat(tools=TOOLS)
    cut = completion(CALL[:-5], finish_reason="length")
    assert request.repaired(cut) is None
    with pytest.raises(GenerationError, match="truncated"):
        request.reply(cut)


def test_a_schema_with_show_schema_false_is_refused():
    with pytest.raises(UnsupportedParameterError, match="show_schema"):
        chat(response_format=OBJECT, show_schema=False)


TREE = {
    "$defs": {"Tree": {"type": "object", "properties": {"of": {"$ref": "#/$defs/Tree"}}}},
    "$ref": "#/$defs/Tree",
}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer"}, [1, 2.0, 0], [True, 1.5, "1", None]),
        ({"type": "number"}, [1, 1.5], [False, "1"]),
        ({"type": ["string", "null"]}, ["", None], [1]),
        ({"enum": [1, "a"]}, [1, "a"], [True, "b"]),
        ({"const": False}, [False], [0]),
        ({"type": "integer", "minimum": 1, "exclusiveMaximum": 3}, [1, 2], [0, 3]),
        ({"type": "string", "minLength": 1, "maxLength": 2}, ["a", "ab"], ["", "abc"]),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, [["a"]], [[], [1]]),
        ({"type": "array", "prefixItems": [{"type": "string"}]}, [["a"]], [[], [1], ["a", "b"]]),
        ({"type": "object"}, [{}, {"a": 1}], [[], "{}"]),
        ({"type": "object", "additionalProperties": {"type": "string"}}, [{"a": "b"}], [{"a": 1}]),
        ({"anyOf": [{"type": "string"}, CITY]}, ["a", {"name": "a"}], [1, {"name": 1}]),
        (TREE, [{}, {"of": {"of": {}}}], [{"of": {"of": 1}}, {"no": {}}]),
        ({}, [1, None], []),
    ],
)
def test_values_are_checked_against_a_schema(schema, good, bad):
    reduced = grammar_schema(schema)
    assert [problem_of(value, reduced) for value in good] == [""] * len(good)
    assert all(problem_of(value, reduced) for value in bad)
