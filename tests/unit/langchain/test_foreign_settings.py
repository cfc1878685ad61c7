"""Settings that users bring from other packages for LangChain: each refusal says what to write."""

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


@pytest.mark.parametrize(("name", "words"), OF_CHATS.items())
def test_a_chat_model_says_what_to_write(name, words):
    with pytest.raises(ValueError, match=name) as caught:
        ChatDockerModel(model="ai/smollm2", **{name: 1})
    check_refusal(caught.value, name, words)


OF_THE_MODEL = {"num_ctx", "n_ctx", "api_base", "openai_api_base", "openai_api_key"}


@pytest.mark.parametrize(("name", "words"), (OF_CHATS | {"base_url": "", "keep_alive": ""}).items())
def test_a_call_of_a_chat_model_says_what_to_write(docker, name, words):
    with pytest.raises(InvalidRequestError) as caught:
        ChatDockerModel(model="ai/smollm2").invoke("Hi", **{name: 1})
    check_refusal(caught.value, name, words)
    if name in OF_THE_MODEL or not words:
        assert "set it on the model: ChatDockerModel(" in caught.value.hint
    assert docker.prompts == []


@pytest.mark.parametrize(
    ("name", "words"),
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
def test_a_text_model_says_what_to_write_at_construction_and_in_a_call(name, words):
    for refused in (
        lambda: DockerModelLLM(model="ai/smollm2", **{name: 1}),
        lambda: DockerModelLLM(model="ai/smollm2").invoke("Hi", **{name: 1}),
    ):
        with pytest.raises(ValueError, match=name) as caught:
            refused()
        check_refusal(caught.value, name, words)


@pytest.mark.parametrize("cls", [DockerModelEmbeddings, DockerModelRerank])
@pytest.mark.parametrize(("name", "words"), OF_EMBEDDINGS_AND_RERANKERS.items())
def test_embeddings_and_rerankers_say_what_to_write(cls, name, words):
    with pytest.raises(ValueError, match=name) as caught:
        cls(model="ai/all-minilm", **{name: 1})
    check_refusal(caught.value, name, words)


@pytest.mark.parametrize(("name", "value", "words"), [(n, *v) for n, v in WRONG_VALUES.items()])
def test_a_value_of_the_wrong_kind_is_one_error_that_names_the_setting(docker, name, value, words):
    with pytest.raises(ValueError, match=name) as caught:
        ChatDockerModel(model="ai/smollm2", **{name: value})
    assert caught.value.error_count() == 1
    with pytest.raises(InvalidRequestError, match=f"^{words}(?s:.*)Hint: "):
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


def test_a_reranker_takes_a_number_in_a_string():
    assert DockerModelRerank(model="ai/bge-reranker", top_n="3").top_n == 3


@pytest.mark.parametrize("slash", ["", "/", "/v1", "/v1/", "/engines/v1"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_an_address_may_leave_out_its_scheme_and_its_path(docker, scheme, slash):
    address = docker.url.removeprefix("http://")
    chat = ChatDockerModel(model="ai/smollm2", base_url=f"{scheme}{address}{slash}")
    assert chat.invoke("Hi").text == "You said: Hi"
