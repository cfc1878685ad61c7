"""The examples in the docstrings of the public classes run unchanged."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap

import pytest

from docker_model.testing import SimulatedDocker, SimulatedModel
from llama_index_docker_model import DockerModelEmbedding, DockerModelLLM, DockerModelRerank
from tests.support.llama_index_modes import agents_of_core

MODELS = [
    SimulatedModel("ai/smollm2"),
    SimulatedModel("ai/mxbai-embed-large", kind="embedding"),
    SimulatedModel("ai/qwen3-reranker", kind="reranker"),
]


def examples_of(public):
    text = inspect.getdoc(public)
    return [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


@agents_of_core
@pytest.mark.parametrize("public", [DockerModelLLM, DockerModelEmbedding, DockerModelRerank])
async def test_every_example_of_a_docstring_runs(public, capsys):
    names = {"__name__": "example"}
    script = lambda prompt: '{"name": "Oslo"}' if prompt.schema else "Hello."  # noqa: E731
    with SimulatedDocker(MODELS, script=script):
        for example in examples_of(public):
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            code = compile(example, "example", "exec", flags=flags, dont_inherit=True)
            result = eval(code, names)
            if inspect.isawaitable(result):
                await result
    assert len(examples_of(public)) > 1
