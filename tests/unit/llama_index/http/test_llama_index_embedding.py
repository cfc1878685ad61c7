"""`DockerModelEmbedding`."""

from __future__ import annotations

import pickle

import pytest

from docker_model import DockerModelError, InvalidRequestError, UnsupportedParameterError
from llama_index_docker_model import DockerModelEmbedding


@pytest.fixture
def embedding(runner):
    return DockerModelEmbedding(model_name="ai/embed", base_url=runner.url, embed_batch_size=2)


async def test_one_text(embedding, runner):
    assert embedding.get_text_embedding("hi") == [2.0, 1.0]
    assert embedding.get_query_embedding("hello") == [5.0, 1.0]
    assert await embedding.aget_text_embedding("hi") == [2.0, 1.0]
    assert await embedding.aget_query_embedding("hello") == [5.0, 1.0]
    assert [one["input"] for one in runner.asked] == [["hi"], ["hello"], ["hi"], ["hello"]]


async def test_a_batch_is_one_request_and_keeps_its_order(embedding, runner):
    texts = ["a", "ab", "abc", "abcd", "abcde"]
    expected = [[float(length), 1.0] for length in range(1, 6)]
    assert embedding.get_text_embedding_batch(texts) == expected
    assert len(runner.asked) == 3
    assert await embedding.aget_text_embedding_batch(texts) == expected
    assert len(runner.asked) == 6


def test_dimensions_are_kept_or_refused(embedding, runner):
    embedding.dimensions = 2
    assert embedding.get_text_embedding("hi") == [2.0, 1.0]
    embedding.dimensions = 3
    with pytest.raises(DockerModelError, match="dimensions"):
        embedding.get_text_embedding("hi")


def test_a_model_that_makes_no_embeddings(embedding, runner):
    runner.embedding_error = (
        "Pooling type 'none' is not OAI compatible. Please use a different pooling type"
    )
    with pytest.raises(InvalidRequestError, match="docker model configure"):
        embedding.get_text_embedding("hi")


def test_it_travels_and_shows_no_key(embedding, runner):
    embedding = DockerModelEmbedding(model_name="ai/embed", base_url=runner.url, api_key="hunter2")
    assert "hunter2" not in f"{embedding!r} {embedding.to_dict()}"
    pickle.loads(pickle.dumps(embedding)).get_text_embedding("hi")
    assert runner.headers[-1]["Authorization"] == "Bearer hunter2"
    copy = DockerModelEmbedding.from_dict(embedding.to_dict())
    assert (copy.model_name, copy.base_url, copy.api_key) == ("ai/embed", runner.url, None)


def test_http_is_the_only_way():
    for transport in (None, "http"):
        assert DockerModelEmbedding(model_name="ai/embed", transport=transport)
    with pytest.raises(UnsupportedParameterError, match="'http'"):
        DockerModelEmbedding(model_name="ai/embed", transport="cli")


@pytest.mark.parametrize(
    "setting", [{"temprature": 1}, {"dimensions": 0}, {"base_url": "??"}, {"max_retries": -1}]
)
def test_a_setting_that_cannot_be(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        DockerModelEmbedding(model_name="ai/embed", **setting)
