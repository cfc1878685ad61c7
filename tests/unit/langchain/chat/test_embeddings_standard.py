"""LangChain's standard suites for embeddings, and `DockerModelEmbeddings`' own promises."""

from __future__ import annotations

import pickle

import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from pydantic import ValidationError

from langchain_docker_model import DockerModelEmbeddings
from langchain_docker_model.errors import InvalidRequestError, UnsupportedParameterError


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self):
        return DockerModelEmbeddings

    @property
    def embedding_model_params(self):
        return {"model": "ai/mxbai-embed-large"}


@pytest.mark.usefixtures("at_either_runner")
class TestEmbeddingsIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self):
        return DockerModelEmbeddings

    @property
    def embedding_model_params(self):
        return {"model": "ai/mxbai-embed-large"}


@pytest.fixture
def embeddings(obedient_runner):
    return DockerModelEmbeddings(model="ai/mxbai-embed-large", base_url=obedient_runner.url)


async def test_vectors_come_in_the_order_of_the_texts_which_go_as_texts(
    embeddings, obedient_runner
):
    expected = [[1.0, 0.5, -0.25], [3.0, 0.5, -0.25]]
    assert embeddings.embed_documents(["a", "abc"]) == expected
    assert obedient_runner.bodies[-1]["input"] == ["a", "abc"]
    assert await embeddings.aembed_documents(["a", "abc"]) == expected
    assert embeddings.embed_query("ab") == await embeddings.aembed_query("ab") == [2.0, 0.5, -0.25]


async def test_no_texts_need_no_request():
    embeddings = DockerModelEmbeddings(model="ai/x", base_url="http://127.0.0.1:9", max_retries=0)
    assert embeddings.embed_documents([]) == await embeddings.aembed_documents([]) == []


async def test_no_vector_of_the_wrong_length_comes_back(embeddings):
    shorter = embeddings.model_copy(update={"dimensions": 2})
    with pytest.raises(UnsupportedParameterError, match="dimensions"):
        shorter.embed_query("ab")
    with pytest.raises(UnsupportedParameterError, match="dimensions"):
        await shorter.aembed_query("ab")
    assert embeddings.model_copy(update={"dimensions": 3}).embed_query("ab")[0] == 2.0


def test_a_chat_model_says_how_it_would_become_one(embeddings):
    chat = embeddings.model_copy(update={"model": "ai/chat"})
    with pytest.raises(InvalidRequestError, match="docker model configure --mode embedding"):
        chat.embed_query("ab")


@pytest.mark.parametrize(
    "settings", [{"modle": "x"}, {"model": "-rf"}, {"dimensions": 0}, {"base_url": "ftp://x"}]
)
def test_settings_that_cannot_be(settings):
    with pytest.raises(ValidationError):
        DockerModelEmbeddings(**{"model": "ai/x"} | settings)


def test_the_command_makes_no_embeddings():
    with pytest.raises(UnsupportedParameterError, match="transport='cli'"):
        DockerModelEmbeddings(model="ai/x", transport="cli")
    assert DockerModelEmbeddings(model="ai/x", transport="http").embed_documents([]) == []


def test_it_pickles_and_keeps_its_secrets_to_itself(embeddings):
    secrets = {"api_key": "sesame", "headers": {"X": "sesame"}, "env": {"T": "sesame"}}
    known = DockerModelEmbeddings(model="ai/x", **secrets)
    copy = pickle.loads(pickle.dumps(known))
    assert copy == known
    assert copy.env == {"T": "sesame"}
    assert "sesame" not in f"{known!r} {known.model_dump()}"
