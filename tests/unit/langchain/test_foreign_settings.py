"""Settings of other LangChain packages: each error says which setting to use instead."""

import pytest

from langchain_docker_model import (
    ChatDockerModel,
    DockerModelEmbeddings,
    DockerModelLLM,
    DockerModelRerank,
)
from langchain_docker_model.errors import InvalidRequestError
from tests.support.foreign_settings import (
    OF_CHATS,
    OF_EMBEDDINGS_AND_RERANKERS,
    WRONG_VALUES,
    check_refusal,
)


@pytest.mark.parametrize(("name", "advice"), OF_CHATS.items())
def test_a_chat_model_names_the_setting_to_use(name, advice):
    with pytest.raises(ValueError, match=name) as caught:
        ChatDockerModel(model="ai/smollm2", **{name: 1})
    check_refusal(caught.value, name, advice)


OF_THE_MODEL = {"num_ctx", "n_ctx", "api_base", "openai_api_base", "openai_api_key"}


@pytest.mark.parametrize(
    ("name", "advice"), (OF_CHATS | {"base_url": "", "keep_alive": ""}).items()
)
def test_a_call_of_a_chat_model_names_the_setting_to_use(docker, name, advice):
    with pytest.raises(InvalidRequestError) as caught:
        ChatDockerModel(model="ai/smollm2").invoke("Hi", **{name: 1})
    check_refusal(caught.value, name, advice)
    if name in OF_THE_MODEL or not advice:
        assert "set it on the model: ChatDockerModel(" in caught.value.hint
    assert docker.prompts == []


@pytest.mark.parametrize(
    ("name", "advice"),
    {
        "num_ctx": "there, num_ctx is called context_size",
        "num_predict": "there, num_predict is called max_tokens; max_chars= limits",
        "max_tokens": "use ChatDockerModel, which uses the runner's HTTP API; max_chars= limits",
        "format": "there, format is called response_format",
        "keep_alive": "use ChatDockerModel",
        "temperature": "use ChatDockerModel",
        "max_new_tokens": "called max_chars here",
        "request_timeout": "called timeout here",
        "stop_sequences": "called stop here",
        "n_ctx": "docker_model.configure_model(model, context_size=...)",
        "do_sample": "help(DockerModelLLM) lists the settings",
    }.items(),
)
def test_a_text_model_names_the_setting_to_use_at_construction_and_in_a_call(name, advice):
    for refused in (
        lambda: DockerModelLLM(model="ai/smollm2", **{name: 1}),
        lambda: DockerModelLLM(model="ai/smollm2").invoke("Hi", **{name: 1}),
    ):
        with pytest.raises(ValueError, match=name) as caught:
            refused()
        check_refusal(caught.value, name, advice)


@pytest.mark.parametrize("cls", [DockerModelEmbeddings, DockerModelRerank])
@pytest.mark.parametrize(("name", "advice"), OF_EMBEDDINGS_AND_RERANKERS.items())
def test_embeddings_and_rerankers_name_the_setting_to_use(cls, name, advice):
    with pytest.raises(ValueError, match=name) as caught:
        cls(model="ai/all-minilm", **{name: 1})
    check_refusal(caught.value, name, advice)


@pytest.mark.parametrize(("name", "value", "advice"), [(n, *v) for n, v in WRONG_VALUES.items()])
def test_a_value_of_the_wrong_type_is_one_error_that_names_the_setting(docker, name, value, advice):
    with pytest.raises(ValueError, match=name) as caught:
        ChatDockerModel(model="ai/smollm2", **{name: value})
    assert caught.value.error_count() == 1
    with pytest.raises(InvalidRequestError, match=f"^{advice}(?s:.*)Hint: "):
        ChatDockerModel(model="ai/smollm2").invoke("Hi", **{name: value})
    assert docker.prompts == []


@pytest.mark.parametrize(
    "cls", [ChatDockerModel, DockerModelLLM, DockerModelEmbeddings, DockerModelRerank]
)
def test_a_wrong_key_is_one_error_that_does_not_show_it(cls):
    with pytest.raises(ValueError, match="api_key must be a string, not int") as caught:
        cls(model="ai/smollm2", api_key=12345)
    assert caught.value.error_count() == 1
    assert "12345" not in str(caught.value)


def test_a_reranker_accepts_a_number_as_a_string():
    assert DockerModelRerank(model="ai/bge-reranker", top_n="3").top_n == 3


@pytest.mark.parametrize("slash", ["", "/", "/v1", "/v1/", "/engines/v1"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_an_address_without_scheme_or_path_is_accepted(docker, scheme, slash):
    address = docker.url.removeprefix("http://")
    chat = ChatDockerModel(model="ai/smollm2", base_url=f"{scheme}{address}{slash}")
    assert chat.invoke("Hi").text == "You said: Hi"
