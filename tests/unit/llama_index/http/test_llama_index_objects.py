"""Structured output over the HTTP API: enforced by a schema, or requested as a tool."""

from __future__ import annotations

import pytest
from llama_index.core.bridge.pydantic import BaseModel, field_validator
from llama_index.core.prompts import PromptTemplate

from tests.support.llama_index_modes import needs_text_program_streams
from tests.unit.llama_index.http.llama_index_scripted import model, reply


class Whale(BaseModel):
    """A whale."""

    name: str
    length: int


TELL = PromptTemplate("Tell of {x}.")
MOBY = '{"name": "Moby", "length": 18}'


@pytest.mark.parametrize(
    "mode",
    [
        "structured_predict",
        "astructured_predict",
        pytest.param("stream_structured_predict", marks=needs_text_program_streams),
        pytest.param("astream_structured_predict", marks=needs_text_program_streams),
    ],
)
async def test_an_object_is_enforced_by_a_schema(mode, runner):
    runner.replies = [reply(MOBY)]
    llm, settings = model(runner, system_prompt="Be exact."), {"seed": 1}
    result = getattr(llm, mode)(Whale, TELL, settings, x="whales")
    if mode.startswith("a"):
        result = await result
    if "stream" in mode:
        result = [part async for part in result] if mode.startswith("a") else list(result)
        assert any(part.name == "Moby" for part in result)
        result = result[-1]
    assert result == Whale(name="Moby", length=18)
    assert settings == {"seed": 1}
    body = runner.bodies[-1]
    schema = body["response_format"]["json_schema"]
    assert schema["name"] == "Whale"
    assert set(schema["schema"]["properties"]) == {"name", "length"}
    assert body["seed"] == 1
    system, question = body["messages"]
    assert system["content"].startswith("Be exact.\n\n")
    assert '"length"' in system["content"]  # the schema is shown to the model, too
    assert question == {"role": "user", "content": "Tell of whales."}
    assert llm.pydantic_program_mode == "default"


async def test_an_object_is_requested_as_a_tool(runner):
    runner.replies = [reply(None, calls=[("Whale", MOBY, {})])]
    llm = model(runner, pydantic_program_mode="function")
    assert llm.structured_predict(Whale, TELL, x="whales").name == "Moby"
    assert list(llm.stream_structured_predict(Whale, TELL, x="whales"))[-1].length == 18
    assert (await llm.astructured_predict(Whale, TELL, x="whales")).name == "Moby"
    assert {body["tools"][0]["function"]["name"] for body in runner.bodies} == {"Whale"}
    # Core's program requests a call only in whole answers.
    assert [body["tool_choice"] for body in runner.bodies] == ["required", "auto", "required"]


WRONG = '{"name": "Moby", "length": -1}'


class RealWhale(Whale):
    """A whale whose length is positive."""

    @field_validator("length")
    @classmethod
    def _positive(cls, length):
        if length < 0:
            msg = "must not be negative"
            raise ValueError(msg)
        return length


async def predict(llm, method):
    result = getattr(llm, method)(RealWhale, TELL, x="whales")
    if method.startswith("a"):
        result = await result
    if "stream" not in method:
        return result
    return [part async for part in result][-1] if method.startswith("a") else list(result)[-1]


METHODS = ["structured_predict", "astructured_predict"]
METHODS += ["stream_structured_predict", "astream_structured_predict"]


@pytest.mark.parametrize("method", METHODS)
async def test_an_invalid_object_is_repaired_once(method, runner):
    runner.replies = [reply(WRONG), reply(MOBY)]
    assert (await predict(model(runner), method)).length == 18
    wrong, correction = runner.bodies[1]["messages"][-2:]
    assert wrong["content"] == WRONG
    assert "length: Value error, must not be negative" in correction["content"]


@pytest.mark.parametrize("method", METHODS)
async def test_an_object_that_stays_invalid_is_an_error(method, runner):
    runner.replies = [reply(WRONG)]
    with pytest.raises(ValueError, match="must not be negative"):
        await predict(model(runner), method)
    assert len(runner.bodies) == 2
