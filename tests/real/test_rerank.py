"""Ranking by a real reranker, `REAL_RERANKER`."""

import os

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from docker_model import ContextLengthError, InvalidRequestError, inspect_model, rerank
from langchain_docker_model import DockerModelRerank as CompressingRerank
from llama_index_docker_model import DockerModelRerank as PostprocessingRerank

RERANKER = os.environ.get("REAL_RERANKER", "")
pytestmark = pytest.mark.skipif(not RERANKER, reason="REAL_RERANKER is not set")
TEXTS = ["Bananas are yellow.", "Paris is the capital of France.", "The sea is deep."]
QUERY = "capital of France"


def test_metadata_of_a_reranker_have_the_capability_reranking():
    assert inspect_model(RERANKER).capabilities == {"reranking"}


def test_scores_are_equal_in_each_call_and_each_batch():
    ranked = rerank(RERANKER, QUERY, TEXTS)
    assert rerank(RERANKER, QUERY, TEXTS) == ranked
    many = rerank(RERANKER, QUERY, [f"Text {number}." for number in range(150)] + TEXTS)
    assert sorted(item.index for item in many) == list(range(153))
    scores = {item.index: item.score for item in many}
    for item in ranked:
        assert scores[150 + item.index] == pytest.approx(item.score, abs=0.05)


def test_a_document_that_is_too_long_is_named():
    long_text = "word " * (2 * inspect_model(RERANKER).context_size)
    with pytest.raises(ContextLengthError, match="document 3 and the query"):
        rerank(RERANKER, QUERY, [*TEXTS, long_text])


def test_a_chat_model_is_refused(model):
    with pytest.raises(InvalidRequestError, match="is not a reranker"):
        rerank(model, QUERY, TEXTS)


async def test_both_frameworks_return_the_same_ranking():
    documents = [Document(text) for text in TEXTS]
    compressor = CompressingRerank(model=RERANKER, top_n=2)
    best = await compressor.acompress_documents(documents, QUERY)
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    postprocessor = PostprocessingRerank(model=RERANKER, top_n=2)
    ranked = await postprocessor.apostprocess_nodes(nodes, query_str=QUERY)
    assert [node.node.text for node in ranked] == [document.page_content for document in best]
    scores = [document.metadata["relevance_score"] for document in best]
    assert [node.score for node in ranked] == pytest.approx(scores, abs=0.05)
