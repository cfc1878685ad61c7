"""Hints of failures: similar names, and limits that can be raised."""

import pytest

from docker_model import ContextLengthError, DockerModel
from docker_model._transport.failures import (
    add_limits,
    add_similar,
    model_not_found,
    similar_names,
)
from docker_model.errors import ModelNotFoundError
from docker_model.testing import SimulatedModel
from docker_model.types import ModelInfo

PULLED = [
    "docker.io/ai/smollm2:latest",
    "docker.io/ai/smollm2:360M-Q4_K_M",
    "docker.io/ai/qwen3:latest",
    "huggingface.co/org/gemma-3-4b-it-gguf:Q4_K_M",
    "registry:5000/team/helper:v1",
]


@pytest.mark.parametrize(
    ("name", "tags", "similar"),
    [
        ("ai/smollm2:135M", ["ai/smollm2", "ai/smollm2:360M-Q4_K_M"], []),
        ("smollm2:Q8_0", ["ai/smollm2", "ai/smollm2:360M-Q4_K_M"], []),
        ("ai/smolm2", [], ["ai/smollm2", "ai/smollm2:360M-Q4_K_M"]),
        ("ai/qwen", [], ["ai/qwen3"]),
        ("other/qwen3", [], ["ai/qwen3"]),
        ("hf.co/org/gemma-3-4b-it-GGUF:Q8_0", ["huggingface.co/org/gemma-3-4b-it-gguf:Q4_K_M"], []),
        ("team/helper", ["registry:5000/team/helper:v1"], []),
        ("ai/mistral", [], []),
        ("sha256:" + "ab12" * 16, [], []),
    ],
)
def test_similar_names_are_found(name, tags, similar):
    assert similar_names(name, PULLED) == (tags, similar)


def test_an_error_tells_that_only_the_tag_differs():
    error = model_not_found("ai/qwen3:8B")
    add_similar(error, PULLED)
    assert error.message == "the model 'ai/qwen3:8B' is not pulled, but 'ai/qwen3' is"
    assert error.hint == "`docker model pull ai/qwen3:8B`, or use 'ai/qwen3': only the tag differs"


def test_an_error_without_similar_models_is_unchanged():
    error = model_not_found("ai/mistral")
    before = str(error)
    add_similar(error, PULLED)
    assert str(error) == before


@pytest.mark.parametrize(
    ("needed", "trained", "included", "excluded"),
    [
        (5000, 32768, "--context-size 8192 ai/m", "send shorter"),
        (7000, 8192, "--context-size 8192 ai/m", "16384"),
        (9000, 8192, "accepts at most 8192 tokens", "--context-size"),
        (5000, None, "--context-size 8192 ai/m", "at most"),
        (None, 8192, "--context-size N ai/m", "send shorter"),
    ],
)
def test_the_suggested_context_size_is_at_most_the_trained_context(
    needed, trained, included, excluded
):
    error = ContextLengthError("too long", hint="old", prompt_tokens=needed)
    add_limits(error, ModelInfo("ai/m", context_size=4096, trained_context=trained))
    assert included in error.hint
    assert excluded not in error.hint
    assert error.context_size == 4096


@pytest.mark.parametrize(
    ("needed", "trained", "capabilities", "included"),
    [
        (513, 512, {"embedding"}, "'ai/m' accepts at most 512 tokens"),
        (900, 2048, {"embedding"}, "--mode embedding ai/m -- --ubatch-size 2048"),
        (900, 2048, {"reranking"}, "--mode reranking ai/m -- --ubatch-size 2048"),
        (900, 8192, {"chat"}, "--mode embedding ai/m -- --pooling mean --ubatch-size 2048"),
    ],
)
def test_a_larger_batch_is_suggested_only_if_the_model_allows_it(
    needed, trained, capabilities, included
):
    detail = f"input ({needed} tokens) is too large to process. increase the physical batch size"
    error = ContextLengthError("too long", prompt_tokens=needed, detail=detail)
    model = ModelInfo("ai/m", trained_context=trained, capabilities=frozenset(capabilities))
    add_limits(error, model)
    assert included in error.hint


def test_limits_that_a_message_names_are_not_added_again():
    message = "the conversation has 90 tokens, but the model's context has 64"
    error = ContextLengthError(message, prompt_tokens=90, context_size=64)
    add_limits(error, ModelInfo("ai/m", trained_context=256))
    assert error.message == message


@pytest.mark.parametrize("transport", ["cli", "http"])
def test_a_prompt_for_a_missing_model_names_similar_ones(simulate, transport):
    simulate(["ai/smollm2", "ai/qwen3"])
    with pytest.raises(ModelNotFoundError, match="did you mean 'ai/smollm2'"):
        DockerModel("ai/smolm2", transport=transport).generate("Hello")
    with pytest.raises(ModelNotFoundError, match="did you mean 'ai/smollm2'"):
        DockerModel("ai/smolm2", transport=transport).warm_up()


@pytest.mark.parametrize("transport", ["cli", "http"])
def test_a_prompt_that_is_too_long_names_the_limit_of_the_model(simulate, transport):
    simulate([SimulatedModel("ai/short", context_size=64, trained_context=256)])
    for words, included in (
        (100, "--context-size 256 ai/short"),
        (400, "accepts at most 256 tokens"),
    ):
        with pytest.raises(ContextLengthError) as caught:
            DockerModel("ai/short", transport=transport).generate("word " * words)
        assert included in caught.value.hint
        assert caught.value.context_size == 64
        assert f"{caught.value.prompt_tokens} tokens, the limit is 64" in caught.value.message
