"""Answers held to a schema, in every form of one."""

from __future__ import annotations

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from langchain_docker_model.errors import InvalidRequestError
from tests.unit.langchain.chat.modes import ADD, TOOL


class Tree(BaseModel):
    """A tree."""

    name: str
    leaves: list[Tree] = []


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("include_raw", [False, True])
def test_what_does_not_parse(ask, method, include_raw):
    call = {**ADD, "function": {"name": "Tree", "arguments": '{"leaves": 3}'}}
    chat, _ = ask({"content": '{"leaves": 3}', "tool_calls": [call]})
    structured = chat.with_structured_output(Tree, method=method, include_raw=include_raw)
    if include_raw:
        result = structured.invoke("Hi.")
        assert isinstance(result["raw"], AIMessage)
        assert result["parsed"] is None
        assert "Tree" in str(result["parsing_error"])
    else:
        with pytest.raises(ValueError, match="Tree"):
            structured.invoke("Hi.")


@pytest.mark.parametrize("schema", [Tree, {"title": "Tree", "type": "object"}])
@pytest.mark.parametrize("include_raw", [False, True])
def test_what_was_cut_off_is_no_object(ask, schema, include_raw):
    half = {"content": '{"name": "oak", "lea', "finish_reason": "length"}
    structured = ask(half)[0].with_structured_output(schema, include_raw=include_raw)
    if include_raw:
        result = structured.invoke("Hi.")
        assert result["parsed"] is None
        assert "max_tokens" in str(result["parsing_error"])
    else:
        with pytest.raises(OutputParserException, match="cut off"):
            structured.invoke("Hi.")
    just = {"content": '{"name": "oak"}', "finish_reason": "length"}
    assert ask(just)[0].with_structured_output(schema).invoke("Hi.")


def test_a_recursive_schema_keeps_its_references(ask):
    chat, runner = ask({"content": '{"name": "a", "leaves": [{"name": "b"}]}'})
    tree = chat.with_structured_output(Tree, strict=True).invoke("Hi.")
    assert tree == Tree(name="a", leaves=[Tree(name="b")])
    wanted = runner.bodies[0]["response_format"]["json_schema"]
    assert (wanted["name"], wanted["strict"]) == ("Tree", True)
    assert "$defs" in wanted["schema"]


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, "answer"),
        ({"title": "Sum", "type": "object", "properties": {}}, "Sum"),
        (TOOL, "add"),
        (TOOL["function"], "add"),
        ({"name": "sum", "schema": {"type": "object"}}, "sum"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}, "x"),
    ],
)
def test_schemas_in_every_form(ask, schema, name):
    chat, runner = ask({"content": '{"a": 1}'})
    assert chat.with_structured_output(schema).invoke("Hi.") == {"a": 1}
    assert runner.bodies[0]["response_format"]["json_schema"]["name"] == name


def test_json_without_a_schema(ask):
    chat, runner = ask({"content": '{"a": 1}'})
    assert chat.with_structured_output(method="json_mode").invoke("Hi.") == {"a": 1}
    assert runner.bodies[0]["response_format"] == {"type": "json_object"}
    for wrong in ({"method": "guess"}, {"method": "json_schema"}):
        with pytest.raises(InvalidRequestError, match="method"):
            chat.with_structured_output(**wrong)


def test_a_schema_as_the_models_own_format(ask):
    chat, runner = ask({"content": "{}"}, response_format=Tree)
    chat.invoke("Hi.")
    assert runner.bodies[0]["response_format"]["json_schema"]["name"] == "Tree"
