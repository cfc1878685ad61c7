"""Settings of a single call, and their effect on the cache."""

from __future__ import annotations

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.exceptions import ModelInvalidRequestError
from langchain_core.runnables import ConfigurableField

from docker_model import InvalidRequestError, UnsupportedParameterError
from langchain_docker_model import DockerModelLLM


@pytest.fixture
def llm(docker):
    return DockerModelLLM(model="ai/smollm2", cache=InMemoryCache())


@pytest.mark.parametrize("name", ["temperature", "foo"])
async def test_unsupported_parameters_are_refused_by_every_method(llm, name):
    llm.invoke("hi")  # a cached answer must not hide the error
    calls = [
        lambda: llm.invoke("hi", **{name: 1}),
        lambda: llm.batch(["hi"], **{name: 1}),
        lambda: list(llm.stream("hi", **{name: 1})),
        lambda: list(llm.bind(**{name: 1}).stream("hi")),
        lambda: llm._call("hi", **{name: 1}),
        lambda: list(llm._stream("hi", **{name: 1})),
    ]
    for call in calls:
        with pytest.raises(UnsupportedParameterError, match=name) as caught:
            call()
        assert isinstance(caught.value, ModelInvalidRequestError)
    with pytest.raises(UnsupportedParameterError, match=name):
        await llm.ainvoke("hi", **{name: 1})
    with pytest.raises(UnsupportedParameterError, match=name):
        _ = [piece async for piece in llm.astream("hi", **{name: 1})]


async def test_an_invalid_setting_of_a_call_is_an_invalid_request(llm):
    with pytest.raises(InvalidRequestError) as caught:
        llm.invoke("hi", max_chars=-1)
    assert isinstance(caught.value, ModelInvalidRequestError)
    with pytest.raises(InvalidRequestError):
        _ = [piece async for piece in llm.astream("hi", max_chars=-1)]


async def test_settings_of_a_call_replace_those_of_the_model(llm):
    whole = llm.invoke("hi")
    assert llm.invoke("hi", max_chars=3) == whole[:3]
    assert await llm.ainvoke("hi", max_chars=4) == whole[:4]
    assert "".join(llm.stream("hi", max_chars=5)) == whole[:5]
    assert "".join([piece async for piece in llm.astream("hi", max_chars=6)]) == whole[:6]
    assert llm.bind(max_chars=2).batch(["hi", "ho"]) == [whole[:2], whole[:2]]
    assert llm._call("hi", max_chars=1) == whole[:1]
    assert llm.max_chars is None


async def test_configurable_fields_are_applied(docker):
    llm = DockerModelLLM(model="ai/smollm2", env={"A": "b"}).configurable_fields(
        max_chars=ConfigurableField(id="length")
    )
    whole = llm.invoke("hi")
    configured = llm.with_config(configurable={"length": 3})
    assert configured.invoke("hi") == whole[:3]
    assert await configured.ainvoke("hi") == whole[:3]


def test_a_cached_answer_is_returned_without_a_run(llm, docker):
    assert llm.invoke("hi") == llm.invoke("hi")
    assert len(docker.prompts) == 1


@pytest.mark.parametrize(
    "other",
    [{"model": "ai/other"}, {"stop": ["i"]}, {"max_chars": 3}, {"file_references": "allow"}],
    ids=str,
)
def test_the_cache_distinguishes_models_and_settings(llm, docker, other):
    """Fields, settings of a call and bound settings count equally."""
    llm.invoke("hi")
    DockerModelLLM(model="ai/smollm2", cache=llm.cache).invoke("hi")
    assert len(docker.prompts) == 1
    llm.model_copy(update=other).invoke("hi")
    assert len(docker.prompts) == 2
    again = InMemoryCache()
    llm.cache = again
    llm.invoke("hi")
    llm.invoke("hi", **other)
    assert len(docker.prompts) == 4
    llm.bind(**other).invoke("hi")
    assert len(docker.prompts) == 4


def test_the_cache_distinguishes_the_stop_of_a_model_and_of_a_call(llm, docker):
    llm.stop = ["said"]
    first = llm.invoke("hi")
    llm.stop = ["You"]
    assert llm.invoke("hi") != first
