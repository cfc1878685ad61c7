"""Limits of an answer and of the reasoning before it."""

import pytest

from docker_model import DockerModel
from docker_model._transport.collector import LEAST_REASONING
from docker_model.testing import Reasoning, Text


@pytest.mark.parametrize("transport", ["cli", "http"])
def test_reasoning_without_end_is_cut(simulate, transport):
    simulate({"ai/smollm2": [Reasoning("hmm " * 10_000, 100), Text("done")]})
    model = DockerModel("ai/smollm2", max_chars=20, transport=transport)
    completion = model.generate("?")
    assert completion.finish_reason == "length"
    assert completion.text == ""
    assert len(completion.reasoning) == LEAST_REASONING


@pytest.mark.parametrize("transport", ["cli", "http"])
def test_reasoning_does_not_count_towards_max_chars(simulate, transport):
    simulate({"ai/smollm2": [Reasoning("hmm " * 100, 100), Text("It is four.")]})
    completion = DockerModel("ai/smollm2", max_chars=5, transport=transport).generate("?")
    assert (completion.text, completion.finish_reason) == ("It is", "length")
    assert completion.reasoning == "hmm " * 100
