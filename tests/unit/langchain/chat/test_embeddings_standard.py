"""LangChain's standard suites for embeddings, and further tests of `DockerModelEmbeddings`."""

from __future__ import annotations

import pickle

import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from pydantic import ValidationError

from docker_model import configure_model
from docker_model.testing import Reply, SimulatedDocker, SimulatedModel
from langchain_docker_model import DockerModelEmbeddings
from langchain_docker_model.errors import (
    ContextLengthError,
    InvalidRequestError,
    UnsupportedParameterError,
)


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self):
        return DockerModelEmbeddings

    @property
    def embedding_model_params(self):
        return {"model": "ai/mxbai-embed-large"}


@pytest.mark.usefixtures("at_obedient_models")
class TestEmbeddingsIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self):
        return DockerModelEmbeddings

    @property
    def embedding_model_params(self):
        return {"model": "ai/mxbai-embed-large"}


@pytest.fixture
def lengths():
    """Return a simulation with vectors that begin with the length of the text, in reverse order."""

    def reply(request):
        texts = request.body["input"]
        data = [
            {"index": at, "embedding": [len(text), 0.5, -0.25]} for at, text in enumerate(texts)
        ]
        return Reply(body={"object": "list", "data": data[::-1], "usage": {}})

    with SimulatedDocker(None, replies={"POST /v1/embeddings": reply}) as docker:
        yield docker


@pytest.fixture
def embeddings(lengths):
    return DockerModelEmbeddings(model="ai/all-minilm", base_url=lengths.url)


async def test_vectors_have_the_order_of_the_texts(embeddings, lengths):
    expected = [[1.0, 0.5, -0.25], [3.0, 0.5, -0.25]]
    assert embeddings.embed_documents(["a", "abc"]) == expected
    assert lengths.requests[-1].body["input"] == ["a", "abc"]
    assert await embeddings.aembed_documents(["a", "abc"]) == expected
    assert embeddings.embed_query("ab") == await embeddings.aembed_query("ab") == [2.0, 0.5, -0.25]


async def test_an_empty_list_sends_no_request():
    embeddings = DockerModelEmbeddings(model="ai/x", base_url="http://127.0.0.1:9", max_retries=0)
    assert embeddings.embed_documents([]) == await embeddings.aembed_documents([]) == []


async def test_vectors_of_another_length_than_dimensions_are_refused(embeddings):
    shorter = embeddings.model_copy(update={"dimensions": 2})
    with pytest.raises(UnsupportedParameterError, match="dimensions"):
        shorter.embed_query("ab")
    with pytest.raises(UnsupportedParameterError, match="dimensions"):
        await shorter.aembed_query("ab")
    assert embeddings.model_copy(update={"dimensions": 3}).embed_query("ab")[0] == 2.0


def test_a_chat_model_names_the_command_that_makes_it_an_embedding_model(docker):
    chat = DockerModelEmbeddings(model="ai/x", base_url=docker.url)
    with pytest.raises(InvalidRequestError, match="docker model configure --mode embedding"):
        chat.embed_query("ab")


@pytest.mark.parametrize(
    "settings", [{"modle": "x"}, {"model": "-rf"}, {"dimensions": 0}, {"base_url": "ftp://x"}]
)
def test_an_invalid_setting_is_refused(settings):
    with pytest.raises(ValidationError):
        DockerModelEmbeddings(**{"model": "ai/x"} | settings)


def test_transport_cli_is_refused():
    with pytest.raises(UnsupportedParameterError, match="transport='cli'"):
        DockerModelEmbeddings(model="ai/x", transport="cli")
    assert DockerModelEmbeddings(model="ai/x", transport="http").embed_documents([]) == []


def test_pickling_keeps_the_secrets_and_repr_hides_them(embeddings):
    secrets = {"api_key": "sesame", "headers": {"X": "sesame"}, "env": {"T": "sesame"}}
    known = DockerModelEmbeddings(model="ai/x", **secrets)
    copy = pickle.loads(pickle.dumps(known))
    assert copy == known
    assert copy.env == {"T": "sesame"}
    assert "sesame" not in f"{known!r} {known.model_dump()}"


# --- Instructions, configuration, progress ---


@pytest.fixture
def docker():
    models = [SimulatedModel("ai/nomic-embed-text-v1.5", kind="embedding"), SimulatedModel("ai/x")]
    with SimulatedDocker(models) as simulated:
        yield simulated


def inputs(docker):
    bodies = [request.body for request in docker.requests if request.path.endswith("/embeddings")]
    return [text for body in bodies for text in body["input"]]


async def test_instructions_of_the_model_are_put_before_queries_and_texts(docker):
    embeddings = DockerModelEmbeddings(model="ai/nomic-embed-text-v1.5")
    embeddings.embed_query("a")
    await embeddings.aembed_documents(["b"])
    assert inputs(docker) == ["search_query: a", "search_document: b"]


async def test_instructions_given_by_the_user_take_precedence(docker):
    embeddings = DockerModelEmbeddings(
        model="ai/nomic-embed-text-v1.5", query_instruction="", text_instruction="text: "
    )
    await embeddings.aembed_query("a")
    embeddings.embed_documents(["b"])
    assert inputs(docker) == ["a", "text: b"]


def test_texts_may_come_from_a_generator(docker):
    embeddings = DockerModelEmbeddings(model="ai/nomic-embed-text-v1.5", text_instruction="")
    assert len(embeddings.embed_documents(text for text in ["a", "b"])) == 2


@pytest.mark.parametrize(("texts", "named"), [(["a", " "], r"texts\[1\]"), ("abc", "iterable")])
def test_invalid_texts_are_named_before_anything_is_sent(docker, texts, named):
    embeddings = DockerModelEmbeddings(model="ai/nomic-embed-text-v1.5")
    with pytest.raises(InvalidRequestError, match=named):
        embeddings.embed_documents(texts)
    assert inputs(docker) == []


def test_texts_that_are_too_long_are_named_or_cut(docker):
    long = "word " * 9000
    with pytest.raises(ContextLengthError, match="1"):
        DockerModelEmbeddings(model="ai/nomic-embed-text-v1.5").embed_documents(["a", long])
    cutting = DockerModelEmbeddings(model="ai/nomic-embed-text-v1.5", truncate=True)
    assert len(cutting.embed_documents(["a", long])) == 2


@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_auto_configure_sets_the_embedding_mode(docker):
    with pytest.raises(InvalidRequestError, match="docker model configure"):
        DockerModelEmbeddings(model="ai/x").embed_query("a")
    configured = DockerModelEmbeddings(model="ai/x", auto_configure=True)
    assert await configured.aembed_query("a")
    assert configured.embed_query("a")


@pytest.mark.filterwarnings("ignore:.*now changes for all users:UserWarning")
@pytest.mark.parametrize("flags", [["--pooling", "none"], ["--pooling=rank"]])
def test_auto_configure_replaces_a_pooling_that_prevents_embeddings(docker, flags):
    name = "ai/nomic-embed-text-v1.5"
    configure_model(name, runtime_flags=flags)
    vector = DockerModelEmbeddings(model=name, auto_configure=True).embed_query("a")
    assert any(vector)


async def test_progress_of_many_texts_is_reported(docker):
    steps = []
    embeddings = DockerModelEmbeddings(
        model="ai/nomic-embed-text-v1.5", on_embedded=lambda *step: steps.append(step)
    )
    assert len(embeddings.embed_documents(["a"] * 300)) == 300
    assert steps[-1] == (300, 300)
    assert len(steps) > 1
    steps.clear()
    assert len(await embeddings.aembed_documents(["a"] * 300)) == 300
    assert steps[-1] == (300, 300)


def test_caches_of_different_models_and_instructions_have_different_names():
    names = {
        DockerModelEmbeddings(**settings).cache_namespace
        for settings in (
            {"model": "ai/x"},
            {"model": "ai/y"},
            {"model": "ai/x", "dimensions": 64},
            {"model": "ai/x", "text_instruction": "text: "},
        )
    }
    assert len(names) == 4
    assert DockerModelEmbeddings(model="ai/x").cache_namespace in names


def test_model_name_is_accepted_for_model(monkeypatch):
    assert DockerModelEmbeddings(model_name="ai/x") == DockerModelEmbeddings(model="ai/x")
    assert DockerModelEmbeddings.from_env(model_name="ai/x").model == "ai/x"


async def test_warm_up_loads_the_model(docker):
    embeddings = DockerModelEmbeddings(model="ai/nomic-embed-text-v1.5")
    embeddings.warm_up()
    await embeddings.awarm_up()
    assert inputs(docker) == ["Hi", "Hi"]
    embeddings.close()
    await embeddings.aclose()
    assert embeddings.embed_query("a")
