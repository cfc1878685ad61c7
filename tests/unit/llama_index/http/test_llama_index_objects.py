"""Objects over the runner's HTTP API: held to a schema by the engine, or asked for as a tool."""

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
async def test_objects_by_schema(mode, runner):
    runner.replies = [reply(MOBY)]
    llm, settings = model(runner, system_prompt="Be exact."), {"seed": 1}
    result = getattr(llm, mode)(Whale, TELL, settings, x="whales")
    if mode.startswith("a"):
        result = await result
    if "stream" in mode:
        result = [one async for one in result] if mode.startswith("a") else list(result)
        assert any(one.name == "Moby" for one in result)
        result = result[-1]
    assert result == Whale(name="Moby", length=18)
    assert settings == {"seed": 1}
    asked = runner.asked[-1]
    schema = asked["response_format"]["json_schema"]
    assert schema["name"] == "Whale"
    assert set(schema["schema"]["properties"]) == {"name", "length"}
    assert asked["seed"] == 1
    system, question = asked["messages"]
    assert system["content"].startswith("Be exact.\n\n")
    assert '"length"' in system["content"]  # the schema is shown, too
    assert question == {"role": "user", "content": "Tell of whales."}
    assert llm.pydantic_program_mode == "default"


async def test_objects_by_a_tool(runner):
    runner.replies = [reply(None, calls=[("Whale", MOBY, {})])]
    llm = model(runner, pydantic_program_mode="function")
    assert llm.structured_predict(Whale, TELL, x="whales").name == "Moby"
    assert list(llm.stream_structured_predict(Whale, TELL, x="whales"))[-1].length == 18
    assert (await llm.astructured_predict(Whale, TELL, x="whales")).name == "Moby"
    assert {one["tools"][0]["function"]["name"] for one in runner.asked} == {"Whale"}
    # Core's program asks for a call in whole answers alone.
    assert [one["tool_choice"] for one in runner.asked] == ["required", "auto", "required"]


WRONG = '{"name": "Moby", "length": -1}'


class RealWhale(Whale):
    """A whale that can be."""

    @field_validator("length")
    @classmethod
    def _positive(cls, length):
        if length < 0:
            msg = "must not be negative"
            raise ValueError(msg)
        return length


async def tell(llm, way):
    result = getattr(llm, way)(RealWhale, TELL, x="whales")
    if way.startswith("a"):
        result = await result
    if "stream" not in way:
        return result
    return [one async for one in result][-1] if way.startswith("a") else list(result)[-1]


OBJECT_WAYS = ["structured_predict", "astructured_predict"]
OBJECT_WAYS += ["stream_structured_predict", "astream_structured_predict"]


@pytest.mark.parametrize("way", OBJECT_WAYS)
async def test_an_object_is_repaired_once(way, runner):
    runner.replies = [reply(WRONG), reply(MOBY)]
    assert (await tell(model(runner), way)).length == 18
    wrong, correction = runner.asked[1]["messages"][-2:]
    assert wrong["content"] == WRONG
    assert "length: Value error, must not be negative" in correction["content"]


@pytest.mark.parametrize("way", OBJECT_WAYS)
async def test_an_object_that_stays_wrong_is_an_error(way, runner):
    runner.replies = [reply(WRONG)]
    with pytest.raises(ValueError, match="must not be negative"):
        await tell(model(runner), way)
    assert len(runner.asked) == 2
