"""Structured output with every form of schema."""

from __future__ import annotations

import asyncio
from enum import Enum

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from pydantic import BaseModel, field_validator

from langchain_docker_model import ChatDockerModel
from langchain_docker_model.errors import InvalidRequestError
from tests.unit.langchain.chat.modes import ADD, TOOL
from tests.unit.langchain.chat.scripted_model import bodies


class Tree(BaseModel):
    """A tree."""

    name: str
    leaves: list[Tree] = []


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("include_raw", [False, True])
def test_an_answer_that_does_not_match_is_a_parsing_error(ask, method, include_raw):
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
def test_an_answer_that_was_cut_off_is_an_error(ask, schema, include_raw):
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
    chat, docker = ask({"content": '{"name": "a", "leaves": [{"name": "b"}]}'})
    tree = chat.with_structured_output(Tree, strict=True).invoke("Hi.")
    assert tree == Tree(name="a", leaves=[Tree(name="b")])
    json_schema = bodies(docker)[0]["response_format"]["json_schema"]
    assert (json_schema["name"], json_schema["strict"]) == ("Tree", True)
    assert "$defs" in json_schema["schema"]


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
def test_every_form_of_a_schema_is_accepted(ask, schema, name):
    chat, docker = ask({"content": '{"a": 1}'})
    assert chat.with_structured_output(schema).invoke("Hi.") == {"a": 1}
    assert bodies(docker)[0]["response_format"]["json_schema"]["name"] == name


class Color(Enum):
    """A color."""

    RED = "red"


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("schema", [list[str], str | None, int, "City", Color])
def test_a_schema_of_another_type_is_an_error_with_a_remedy(schema, method):
    chat = ChatDockerModel(model="ai/smollm2")
    with pytest.raises(InvalidRequestError, match="cannot be converted") as caught:
        chat.with_structured_output(schema, method=method)
    assert "a field of a class" in caught.value.hint


def test_json_mode_needs_no_schema(ask):
    chat, docker = ask({"content": '{"a": 1}'})
    assert chat.with_structured_output(method="json_mode").invoke("Hi.") == {"a": 1}
    assert bodies(docker)[0]["response_format"] == {"type": "json_object"}
    for wrong in ({"method": "guess"}, {"method": "json_schema"}):
        with pytest.raises(InvalidRequestError, match="method"):
            chat.with_structured_output(**wrong)


def test_a_schema_can_be_given_as_response_format(ask):
    chat, docker = ask({"content": "{}"}, response_format=Tree)
    chat.invoke("Hi.")
    assert bodies(docker)[0]["response_format"]["json_schema"]["name"] == "Tree"


class Even(BaseModel):
    """An even number."""

    number: int

    @field_validator("number")
    @classmethod
    def _even(cls, number):
        if number % 2:
            msg = "must be even"
            raise ValueError(msg)
        return number


@pytest.fixture
def chat_with_answers(serve):
    """Return a function that creates a chat with these answers in turn."""

    def make(*answers, **settings):
        left = list(answers)
        docker = serve(lambda _: {"content": left.pop(0), "prompt_tokens": 5})
        return ChatDockerModel(model="ai/smollm2", base_url=docker.url, **settings), docker

    return make


async def streamed(chain, method):
    if method == "stream":
        return await asyncio.to_thread(lambda: list(chain.stream("Hi.")))
    return [part async for part in chain.astream("Hi.")]


@pytest.mark.parametrize("method", ["stream", "astream"])
async def test_a_streamed_object_is_repaired_once(chat_with_answers, method):
    chat, docker = chat_with_answers('{"number": 1}', '{"number": 2}')
    assert await streamed(chat.with_structured_output(Even), method) == [Even(number=2)]
    wrong, correction = bodies(docker)[1]["messages"][-2:]
    assert wrong == {"role": "assistant", "content": '{"number": 1}'}
    assert "number: Value error, must be even" in correction["content"]


def test_an_object_in_a_code_block_needs_no_repair(chat_with_answers):
    chat, docker = chat_with_answers('```json\n{"number": 2}\n```')
    assert chat.with_structured_output(Even).invoke("Hi.") == Even(number=2)
    assert len(bodies(docker)) == 1


@pytest.mark.parametrize("method", ["stream", "astream"])
async def test_a_streamed_object_that_stays_invalid_is_an_error(chat_with_answers, method):
    chat, docker = chat_with_answers('{"number": 1}', '{"number": 3}')
    with pytest.raises(OutputParserException, match="must be even"):
        await streamed(chat.with_structured_output(Even), method)
    assert len(bodies(docker)) == 2


@pytest.mark.parametrize("method", ["stream", "astream"])
async def test_a_streamed_object_that_was_cut_off_is_an_error(ask, method):
    chat, docker = ask({"content": '{"number": 2, "x', "finish_reason": "length"})
    with pytest.raises(OutputParserException, match="cut off"):
        await streamed(chat.with_structured_output(Even), method)
    assert len(bodies(docker)) == 1


@pytest.mark.parametrize("streaming", [False, True])
async def test_include_raw_returns_the_message_of_a_repaired_object(chat_with_answers, streaming):
    chat, _ = chat_with_answers('{"number": 1}', '{"number": 2}', streaming=streaming)
    result = chat.with_structured_output(Even, include_raw=True).invoke("Hi.")
    assert result["parsed"] == Even(number=2)
    assert result["parsing_error"] is None
    assert result["raw"].response_metadata["finish_reason"] == "stop"
    assert result["raw"].response_metadata["model_name"] == "ai/smollm2"


async def test_usage_of_a_repaired_stream_counts_both_answers(chat_with_answers):
    chat, _ = chat_with_answers('{"number": 1}', '{"number": 2}')
    chain = chat.with_structured_output(Even, include_raw=True)
    parts = [part async for part in chain.astream("Hi.")]
    raw = [part["raw"] for part in parts if "raw" in part]
    whole = sum(raw[1:], raw[0])
    assert whole.usage_metadata["input_tokens"] == 10
    assert [part["parsed"] for part in parts if "parsed" in part][-1] == Even(number=2)


async def test_a_stream_with_a_bound_response_format_is_not_repaired(chat_with_answers):
    chat, docker = chat_with_answers('{"number": 1}')
    parts = [part async for part in chat.bind(response_format=Even).astream("Hi.")]
    assert "".join(part.text for part in parts) == '{"number": 1}'
    assert len(bodies(docker)) == 1


@pytest.mark.parametrize("method", ["stream", "astream"])
async def test_a_streamed_dictionary_grows(chat_with_answers, method):
    chat, _ = chat_with_answers('{"name": "oak", "leaves": [{"name": "a long one"}]}')
    chain = chat.with_structured_output({**Tree.model_json_schema(), "title": "Tree"})
    parts = await streamed(chain, method)
    assert len(parts) > 2
    assert parts[-1] == {"name": "oak", "leaves": [{"name": "a long one"}]}
