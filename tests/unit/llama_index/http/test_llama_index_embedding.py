"""`DockerModelEmbedding`: requests, settings and errors."""

from __future__ import annotations

import pickle

import pytest

from docker_model import (
    ContextLengthError,
    DockerModelError,
    InvalidRequestError,
    UnsupportedParameterError,
)
from docker_model.testing import SimulatedDocker, SimulatedModel
from llama_index_docker_model import DockerModelEmbedding, DockerModelRerank


@pytest.fixture
def embedding(runner):
    return DockerModelEmbedding(model_name="ai/embed", base_url=runner.url, embed_batch_size=2)


async def test_each_single_text_is_one_request(embedding, runner):
    assert embedding.get_text_embedding("hi") == [2.0, 1.0]
    assert embedding.get_query_embedding("hello") == [5.0, 1.0]
    assert await embedding.aget_text_embedding("hi") == [2.0, 1.0]
    assert await embedding.aget_query_embedding("hello") == [5.0, 1.0]
    assert [body["input"] for body in runner.bodies] == [["hi"], ["hello"], ["hi"], ["hello"]]


async def test_a_batch_is_sent_in_few_requests_and_keeps_its_order(embedding, runner):
    texts = ["a", "ab", "abc", "abcd", "abcde"]
    expected = [[float(length), 1.0] for length in range(1, 6)]
    assert embedding.get_text_embedding_batch(texts) == expected
    assert len(runner.bodies) == 3
    assert await embedding.aget_text_embedding_batch(texts) == expected
    assert len(runner.bodies) == 6


def test_dimensions_that_do_not_match_are_refused(embedding, runner):
    embedding.dimensions = 2
    assert embedding.get_text_embedding("hi") == [2.0, 1.0]
    embedding.dimensions = 3
    with pytest.raises(DockerModelError, match="dimensions"):
        embedding.get_text_embedding("hi")


def test_a_chat_model_names_the_command_that_makes_it_an_embedding_model():
    with SimulatedDocker([SimulatedModel("ai/chat")]) as docker:
        embedding = DockerModelEmbedding(model_name="ai/chat", base_url=docker.url)
        with pytest.raises(InvalidRequestError, match="docker model configure"):
            embedding.get_text_embedding("hi")


def test_a_copy_keeps_the_key_and_a_dictionary_omits_it(embedding, runner):
    embedding = DockerModelEmbedding(model_name="ai/embed", base_url=runner.url, api_key="hunter2")
    assert "hunter2" not in f"{embedding!r} {embedding.to_dict()}"
    pickle.loads(pickle.dumps(embedding)).get_text_embedding("hi")
    assert runner.headers["authorization"] == "Bearer hunter2"
    copy = DockerModelEmbedding.from_dict(embedding.to_dict())
    assert (copy.model_name, copy.base_url, copy.api_key) == ("ai/embed", runner.url, None)


def test_transport_cli_is_refused():
    for transport in (None, "http"):
        assert DockerModelEmbedding(model_name="ai/embed", transport=transport)
    with pytest.raises(UnsupportedParameterError, match="'http'"):
        DockerModelEmbedding(model_name="ai/embed", transport="cli")


@pytest.mark.parametrize(
    "setting", [{"temprature": 1}, {"dimensions": 0}, {"base_url": "??"}, {"max_retries": -1}]
)
def test_an_invalid_setting_is_named(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        DockerModelEmbedding(model_name="ai/embed", **setting)


def test_both_names_of_the_model_are_accepted():
    assert DockerModelEmbedding(model="ai/embed").model_name == "ai/embed"


@pytest.mark.parametrize(
    ("kind", "name"), [(DockerModelEmbedding, "model_name"), (DockerModelRerank, "model")]
)
def test_both_names_of_the_model_cannot_be_given(kind, name):
    with pytest.raises(InvalidRequestError, match=rf"both are set\nHint: pass only {name}"):
        kind(model="ai/embed", model_name="ai/embed")


@pytest.mark.parametrize(
    ("settings", "query", "text"),
    [
        ({}, "search_query: hi", "search_document: hi"),
        ({"query_instruction": "", "text_instruction": "doc: "}, "hi", "doc: hi"),
    ],
)
async def test_instructions_of_the_model_are_put_before_texts(settings, query, text, runner):
    embedding = DockerModelEmbedding(
        model="ai/nomic-embed-text-v1.5", base_url=runner.url, **settings
    )
    embedding.get_query_embedding("hi")
    await embedding.aget_query_embedding("hi")
    embedding.get_text_embedding_batch(["hi"])
    await embedding.aget_text_embedding("hi")
    assert [body["input"] for body in runner.bodies] == [[query], [query], [text], [text]]


@pytest.mark.parametrize("is_async", [False, True])
async def test_auto_configure_sets_the_embedding_mode_once(is_async):
    with SimulatedDocker([SimulatedModel("ai/smollm2")]) as docker:
        embedding = DockerModelEmbedding(model="ai/smollm2", auto_configure=True)
        if is_async:
            assert await embedding.aget_text_embedding("hi")
            await embedding.awarm_up()
        else:
            assert embedding.get_text_embedding("hi")
            embedding.warm_up()
        paths = [request.path for request in docker.requests if request.method == "POST"]
        assert len([path for path in paths if path.endswith("_configure")]) == 1


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_text_that_is_too_long_is_cut_or_named(is_async):
    models = [SimulatedModel("ai/minilm", kind="embedding", trained_context=512)]
    texts = ["short", " ".join(["word"] * 600)]

    async def embed(**settings):
        embedding = DockerModelEmbedding(model="ai/minilm", **settings)
        if is_async:
            return await embedding.aget_text_embedding_batch(texts)
        return embedding.get_text_embedding_batch(texts, show_progress=True)

    with SimulatedDocker(models, embed=lambda text: [float(len(text.split())), 1.0]):
        with pytest.raises(ContextLengthError, match=r"texts\[1\]"):
            await embed()
        assert await embed(truncate=True) == [[1.0, 1.0], [510.0, 1.0]]
