"""Ranking by a real reranker, `REAL_RERANKER`, which can be any reranker of llama.cpp."""

import os

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import BaseRetriever as LlamaIndexRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from docker_model import (
    ContextLengthError,
    DockerModel,
    InvalidRequestError,
    arerank,
    configure_model,
    inspect_model,
    rerank,
    unload_model,
)
from docker_model.http import Client
from langchain_docker_model import DockerModelRerank as CompressingRerank
from llama_index_docker_model import DockerModelRerank as PostprocessingRerank

RERANKER = os.environ.get("REAL_RERANKER", "")
pytestmark = pytest.mark.skipif(not RERANKER, reason="REAL_RERANKER is not set")
TEXTS = ["Bananas are yellow.", "Paris is the capital of France.", "The sea is deep."]
BEST = TEXTS[1]
QUERY = "capital of France"


@pytest.fixture
def configure():
    """Return a function that configures the reranker; the configuration is removed later."""
    modes = set()

    def set_configuration(mode, **settings):
        modes.add(mode)
        configure_model(RERANKER, mode=mode, **settings)

    yield set_configuration
    for mode in modes:
        configure_model(RERANKER, mode=mode, runtime_flags=[])
    unload_model(RERANKER)


def texts_of(ranked):
    return [TEXTS[item.index] for item in ranked]


def test_metadata_of_a_reranker_have_the_capability_reranking():
    assert inspect_model(RERANKER).capabilities == {"reranking"}


async def test_the_relevant_document_is_first_and_scores_decrease():
    ranked = rerank(RERANKER, QUERY, TEXTS)
    assert TEXTS[ranked[0].index] == BEST
    assert await arerank(RERANKER, QUERY, TEXTS, top_n=2) == ranked[:2]
    normalized = [item.normalized_score for item in ranked]
    assert normalized == sorted(normalized, reverse=True)
    assert all(0 <= score <= 1 for score in normalized)


def test_equal_documents_keep_their_order_and_no_document_sends_no_request():
    ranked = rerank(RERANKER, QUERY, [BEST, *TEXTS, BEST])
    equal = [item.index for item in ranked if item.index in (0, 2, 4)]
    assert equal == sorted(equal)
    assert rerank(RERANKER, QUERY, []) == []
    assert len(rerank(RERANKER, QUERY, ["", *TEXTS])) == 4


def test_scores_are_equal_in_each_call_and_each_batch():
    ranked = rerank(RERANKER, QUERY, TEXTS)
    assert rerank(RERANKER, QUERY, TEXTS) == ranked
    many = rerank(RERANKER, QUERY, [f"Text {number}." for number in range(350)] + TEXTS)
    assert sorted(item.index for item in many) == list(range(353))
    scores = {item.index: item.score for item in many}
    for item in ranked:
        assert scores[350 + item.index] == pytest.approx(item.score, abs=0.05)


def test_a_document_that_is_too_long_is_named():
    long_text = "word " * (2 * inspect_model(RERANKER).context_size)
    with pytest.raises(ContextLengthError, match="document 3 and the query") as caught:
        rerank(RERANKER, QUERY, [*TEXTS, long_text])
    assert "--mode embedding" not in caught.value.hint
    with pytest.raises(ContextLengthError, match="document 0 and the query"):
        rerank(RERANKER, long_text, TEXTS)


def test_a_chat_model_is_refused_unless_forced(model):
    with pytest.raises(InvalidRequestError, match="is not a reranker"):
        rerank(model, QUERY, TEXTS)
    assert len(rerank(model, QUERY, TEXTS, force=True)) == 3


def test_a_configuration_for_chats_that_prevents_reranking_can_be_overridden(configure):
    configure("completion", runtime_flags=["--pooling", "mean"])
    configure("reranking", runtime_flags=["--pooling", "mean"])
    with pytest.raises(InvalidRequestError, match="another pooling") as caught:
        rerank(RERANKER, QUERY, TEXTS)
    assert f"`docker model configure --mode reranking {RERANKER}`" in caught.value.hint
    configure("reranking", runtime_flags=[])
    assert TEXTS[rerank(RERANKER, QUERY, TEXTS)[0].index] == BEST


@pytest.mark.filterwarnings("ignore:.*now changes for all users:UserWarning")
def test_auto_configure_replaces_a_pooling_that_prevents_reranking(configure):
    configure("reranking", runtime_flags=["--pooling", "mean"])
    reranker = CompressingRerank(model=RERANKER, auto_configure=True)
    (best, *_) = reranker.compress_documents([Document(text) for text in TEXTS], QUERY)
    assert best.page_content == BEST


def test_a_reranker_is_refused_for_embeddings_and_chats():
    with pytest.raises(InvalidRequestError, match="is a reranker, which has no embeddings"):
        Client().embed(RERANKER, TEXTS)
    for transport in ("http", "cli"):
        with pytest.raises(InvalidRequestError, match="cannot chat"):
            DockerModel(RERANKER, transport=transport).generate("Hi")


class Documents(BaseRetriever):
    """Finds all texts, in their order."""

    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(text, metadata={"n": n}) for n, text in enumerate(TEXTS)]


class Nodes(LlamaIndexRetriever):
    """Finds all texts, in their order."""

    def _retrieve(self, query_bundle):
        return [NodeWithScore(node=TextNode(text=text), score=0.5) for text in TEXTS]


async def test_both_frameworks_return_the_same_ranking():
    ranked = rerank(RERANKER, QUERY, TEXTS, top_n=2)
    compressor = CompressingRerank(model=RERANKER, top_n=2)
    retriever = ContextualCompressionRetriever(
        base_compressor=compressor, base_retriever=Documents()
    )
    for documents in (retriever.invoke(QUERY), await retriever.ainvoke(QUERY)):
        assert [document.page_content for document in documents] == texts_of(ranked)
        scores = [document.metadata["relevance_score"] for document in documents]
        assert scores == pytest.approx([item.score for item in ranked], abs=0.05)
        assert documents[0].metadata["n"] == 1
    postprocessor = PostprocessingRerank(model=RERANKER, top_n=2, normalize=True)
    engine = RetrieverQueryEngine.from_args(
        Nodes(), llm=MockLLM(), node_postprocessors=[postprocessor]
    )
    query = QueryBundle(QUERY)
    for nodes in (engine.retrieve(query), await engine.aretrieve(query)):
        assert [node.node.text for node in nodes] == texts_of(ranked)
        normalized = [item.normalized_score for item in ranked]
        assert [node.score for node in nodes] == pytest.approx(normalized, abs=0.05)
