"""Settings of other LlamaIndex packages: each error says which setting to use instead."""

import pytest

from docker_model import InvalidRequestError
from llama_index_docker_model import DockerModelEmbedding, DockerModelLLM, DockerModelRerank
from tests.support.foreign_settings import (
    OF_CHATS,
    OF_EMBEDDINGS_AND_RERANKERS,
    WRONG_VALUES,
    check_refusal,
)


@pytest.mark.parametrize(("name", "advice"), OF_CHATS.items())
def test_an_llm_names_the_setting_to_use_at_construction_and_in_a_call(docker, name, advice):
    llm = DockerModelLLM(model="ai/smollm2")
    for refused in (
        lambda: DockerModelLLM(model="ai/smollm2", **{name: 1}),
        lambda: llm.complete("Hi", **{name: 1}),
    ):
        with pytest.raises((ValueError, TypeError), match=name) as caught:
            refused()
        check_refusal(caught.value, name, advice)
    assert docker.prompts == []


@pytest.mark.parametrize(
    "name", ["base_url", "keep_alive", "context_size", "context_window", "max_retries", "api_key"]
)
def test_a_setting_of_the_model_is_refused_in_a_call(docker, name):
    with pytest.raises(InvalidRequestError) as caught:
        DockerModelLLM(model="ai/smollm2").complete("Hi", **{name: 1})
    check_refusal(caught.value, name, f"set it on the model: DockerModelLLM({name}=...)")


@pytest.mark.parametrize("cls", [DockerModelEmbedding, DockerModelRerank])
@pytest.mark.parametrize(("name", "advice"), OF_EMBEDDINGS_AND_RERANKERS.items())
def test_embeddings_and_rerankers_name_the_setting_to_use(cls, name, advice):
    with pytest.raises(ValueError, match=name) as caught:
        cls(model="ai/all-minilm", **{name: 1})
    check_refusal(caught.value, name, advice)


@pytest.mark.parametrize(("name", "value", "advice"), [(n, *v) for n, v in WRONG_VALUES.items()])
def test_a_value_of_the_wrong_type_is_one_error_that_names_the_setting(docker, name, value, advice):
    with pytest.raises(ValueError, match=name) as caught:
        DockerModelLLM(model="ai/smollm2", transport="http", **{name: value})
    assert caught.value.error_count() == 1
    with pytest.raises(InvalidRequestError, match=f"^{advice}(?s:.*)Hint: "):
        DockerModelLLM(model="ai/smollm2", transport="http").complete("Hi", **{name: value})
    assert docker.prompts == []


@pytest.mark.parametrize("cls", [DockerModelEmbedding, DockerModelRerank])
def test_a_wrong_timeout_of_embeddings_and_rerankers_is_one_error(cls):
    with pytest.raises(ValueError, match="timeout 'total' must be") as caught:
        cls(model="ai/all-minilm", timeout=(5, 30))
    assert caught.value.error_count() == 1
