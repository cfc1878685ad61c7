"""The examples in the docstrings of the public classes run on the simulation."""

from __future__ import annotations

import ast
import inspect
import re
from textwrap import dedent

import pytest
from langchain_core.vectorstores import InMemoryVectorStore

import langchain_docker_model
from docker_model.testing import SimulatedDocker, SimulatedModel, ToolCall
from langchain_docker_model import DockerModelEmbeddings

CLASSES = [name for name in langchain_docker_model.__all__ if name[0].isupper()]
MODELS = [
    SimulatedModel("ai/gemma3", vision=True),
    SimulatedModel("ai/mxbai-embed-large", kind="embedding"),
    SimulatedModel("ai/qwen3", template="qwen3"),
    SimulatedModel("ai/qwen3-reranker", kind="reranker"),
]


def answer(prompt):
    if prompt.tools and "plus" in prompt:
        return [ToolCall("add", {"a": 2, "b": 3})]
    return '{"name": "Oslo", "country": "Norway"}' if prompt.schema else "A container."


def examples(name):
    text = inspect.getdoc(getattr(langchain_docker_model, name))
    return [dedent(block) for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize("name", CLASSES)
async def test_every_example_of_a_docstring_runs(name):
    code_blocks = examples(name)
    assert len(code_blocks) >= 3
    with SimulatedDocker([SimulatedModel("ai/smollm2", script=answer), *MODELS]):
        embeddings = DockerModelEmbeddings(model="ai/mxbai-embed-large")
        names = {"encoded": "QUJD", "vector_store": InMemoryVectorStore(embeddings)}
        for example in code_blocks:
            code = compile(example, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)
            if inspect.iscoroutine(result):
                await result


@pytest.mark.parametrize("name", CLASSES)
def test_every_setting_has_a_description(name):
    cls = getattr(langchain_docker_model, name)
    own = {
        field: cls.model_fields[field]
        for base in cls.__mro__
        if base.__module__.startswith("langchain_docker_model")
        for field in vars(base).get("__annotations__", ())
        if field in cls.model_fields
    }
    assert own
    for field, info in own.items():
        assert info.description, field
        assert field in inspect.signature(cls).parameters
