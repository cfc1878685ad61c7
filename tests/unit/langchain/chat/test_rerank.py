"""`DockerModelRerank`: documents ranked by a reranker."""

from __future__ import annotations

import pickle

import pytest
from langchain_core.documents import Document
from langchain_core.documents.compressor import BaseDocumentCompressor

from docker_model import configure_model
from docker_model.testing import SimulatedDocker, SimulatedModel
from langchain_docker_model import DockerModelEmbeddings, DockerModelRerank
from langchain_docker_model.errors import InvalidRequestError, UnsupportedParameterError

TEXTS = ["a dog", "a cat and a dog", "a fish", "a cat"]
SCORES = {"a dog": -1.0, "a cat and a dog": 4.5, "a fish": -8.0, "a cat": 4.5}


@pytest.fixture
def docker():
    models = [SimulatedModel("ai/reranker", kind="reranker"), SimulatedModel("ai/chat")]
    with SimulatedDocker(models, score=lambda query, text: SCORES[text]) as simulated:
        yield simulated


@pytest.fixture(params=["compress_documents", "acompress_documents"])
def rerank(request, docker):
    """Return a function that ranks documents, sync or async."""

    async def run(documents, query="cat", **settings):
        reranker = DockerModelRerank(**{"model": "ai/reranker"} | settings)
        ranked = getattr(reranker, request.param)(documents, query)
        return await ranked if request.param.startswith("a") else ranked

    return run


def documents():
    return [Document(text, metadata={"n": n}, id=str(n)) for n, text in enumerate(TEXTS)]


async def test_the_best_documents_come_first_and_equal_scores_keep_their_order(rerank):
    originals = documents()
    best = await rerank(originals)
    assert [document.id for document in best] == ["1", "3", "0"]
    assert best[0].metadata == {"n": 1, "relevance_score": 4.5}
    assert originals == documents()  # the input is unchanged


@pytest.mark.filterwarnings("ignore:.*now changes for all users:UserWarning")
@pytest.mark.parametrize("mode", ["completion", "reranking"])
async def test_auto_configure_replaces_a_pooling_that_prevents_reranking(rerank, docker, mode):
    flags = ["--threads", "2", "--pooling", "mean"]
    configure_model("ai/reranker", mode=mode, runtime_flags=flags, context_size=512)
    with pytest.raises(InvalidRequestError, match="docker model configure"):
        await rerank(documents())
    for _ in range(2):
        assert len(await rerank(documents(), auto_configure=True)) == 3
    requests = [each.body for each in docker.requests if each.path.endswith("/_configure")]
    (_, body) = filter(None, requests)
    kept = {"context-size": 512, "runtime-flags": ["--threads", "2"]}
    assert body == {"model": "ai/reranker", "mode": "reranking", **kept}


@pytest.mark.parametrize(("top_n", "count"), [(1, 1), (9, 4), (None, 4)])
async def test_top_n_limits_the_number_of_documents(rerank, top_n, count):
    assert len(await rerank(documents(), top_n=top_n)) == count


async def test_scores_are_normalized_if_enabled(rerank):
    best = await rerank(documents(), top_n=None, normalize=True)
    scores = [document.metadata["relevance_score"] for document in best]
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[-1] < 0.01
    assert 0.98 < scores[0] < 1


async def test_an_empty_list_sends_no_request(rerank, docker):
    assert await rerank([]) == []
    assert docker.requests == []


async def test_a_model_that_is_not_a_reranker_is_refused_unless_forced(rerank):
    with pytest.raises(InvalidRequestError, match="rerank"):
        await rerank(documents(), model="ai/chat")
    assert len(await rerank(documents(), model="ai/chat", force=True)) == 3


@pytest.mark.parametrize("settings", [{"top_n": 0}, {"model": "-rf"}, {"topn": 3}])
def test_an_invalid_setting_is_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        DockerModelRerank(**{"model": "ai/reranker"} | settings)


def test_transport_cli_is_refused():
    with pytest.raises(UnsupportedParameterError, match="rerank"):
        DockerModelRerank(model="ai/reranker", transport="cli")


def test_a_reranker_is_a_document_compressor_and_picklable():
    reranker = DockerModelRerank(model_name="ai/reranker", api_key="sesame")
    assert isinstance(reranker, BaseDocumentCompressor)
    assert pickle.loads(pickle.dumps(reranker)) == reranker
    assert "sesame" not in repr(reranker)


async def test_warm_up_loads_the_model(monkeypatch):
    models = [SimulatedModel("ai/reranker", kind="reranker")]
    with SimulatedDocker(models, score=lambda *_: 1.0) as docker:
        reranker = DockerModelRerank(model="ai/reranker")
        reranker.warm_up()
        await reranker.awarm_up()
        assert [request.path for request in docker.requests if "rerank" in request.path]
        assert {model.name for model in await DockerModelRerank.alist_models()} == {"ai/reranker"}
        reranker.close()
        await reranker.aclose()


@pytest.mark.parametrize("kind", [DockerModelEmbeddings, DockerModelRerank])
def test_both_names_of_the_model_cannot_be_given(kind):
    assert kind(model_name="ai/embed").model == "ai/embed"
    with pytest.raises(InvalidRequestError, match=r"both are set\nHint: pass only model"):
        kind(model="ai/embed", model_name="ai/embed")
