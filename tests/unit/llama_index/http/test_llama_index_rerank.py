"""`DockerModelRerank`: rankings, settings, events and errors."""

from __future__ import annotations

import pickle

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.schema import NodeWithScore, TextNode

from docker_model import InvalidRequestError, UnsupportedParameterError, configure_model
from docker_model.testing import SimulatedDocker, SimulatedModel
from llama_index_docker_model import DockerModelRerank

RERANKER = "ai/qwen3-reranker"
SCORES = {"Oslo": -2.0, "Paris": 3.0, "Rome": -2.0, "Nice": 1.0}


@pytest.fixture
def docker():
    models = [SimulatedModel(RERANKER, kind="reranker"), SimulatedModel("ai/smollm2")]
    with SimulatedDocker(models, score=lambda _, document: SCORES.get(document, 0.0)) as simulated:
        yield simulated


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def rank(request):
    """Return a function that ranks nodes, sync or async."""

    async def rank(rerank, nodes, **query):
        if request.param:
            return await rerank.apostprocess_nodes(nodes, **query)
        return rerank.postprocess_nodes(nodes, **query)

    return rank


def nodes_of(*texts):
    return [NodeWithScore(node=TextNode(text=text), score=0.5) for text in texts]


def texts_and_scores(nodes):
    return [(node.node.get_content(), node.score) for node in nodes]


async def test_the_best_nodes_come_first_and_equal_scores_keep_their_order(rank, docker):
    nodes = nodes_of(*SCORES)
    best = await rank(DockerModelRerank(model=RERANKER), nodes, query_str="capital")
    assert texts_and_scores(best) == [("Paris", 3.0), ("Nice", 1.0), ("Oslo", -2.0)]
    assert [node.score for node in nodes] == [0.5] * 4  # the given nodes stay as they are


async def test_top_n_limits_the_nodes_and_scores_are_normalized(rank, docker):
    rerank = DockerModelRerank(model=RERANKER, top_n=2, normalize=True, keep_retrieval_score=True)
    best = await rank(rerank, nodes_of(*SCORES), query_str="capital")
    assert texts_and_scores(best) == [
        ("Paris", pytest.approx(0.9526, abs=1e-4)),
        ("Nice", pytest.approx(0.7311, abs=1e-4)),
    ]
    assert [node.node.metadata["retrieval_score"] for node in best] == [0.5, 0.5]


@pytest.mark.filterwarnings("ignore:.*now changes for all users:UserWarning")
async def test_auto_configure_replaces_a_pooling_that_prevents_reranking(rank, docker):
    rerank = DockerModelRerank(model=RERANKER, auto_configure=True)
    configure_model(RERANKER, mode="completion", runtime_flags=["--pooling", "mean"])
    for _ in range(2):
        assert len(await rank(rerank, nodes_of(*SCORES), query_str="capital")) == 3
    configured = [each.body for each in docker.requests if each.path.endswith("/_configure")]
    assert [body.get("mode") for body in configured if body] == [None, "reranking"]  # once


async def test_an_empty_list_sends_no_request(rank, docker):
    assert await rank(DockerModelRerank(model=RERANKER), [], query_str="capital") == []
    assert docker.requests == []


async def test_a_missing_query_is_refused(rank, docker):
    with pytest.raises(InvalidRequestError, match="query"):
        await rank(DockerModelRerank(model=RERANKER), nodes_of("Oslo"))


async def test_a_model_that_is_not_a_reranker_is_refused_unless_forced(rank, docker):
    with pytest.raises(InvalidRequestError, match="not a reranker") as caught:
        await rank(DockerModelRerank(model="ai/smollm2"), nodes_of("Oslo"), query_str="capital")
    assert RERANKER in caught.value.hint
    forced = DockerModelRerank(model="ai/smollm2", force=True)
    assert len(await rank(forced, nodes_of("Oslo"), query_str="capital")) == 1


async def test_events_and_callbacks_are_sent_once(rank, docker):
    class EventRecorder(BaseEventHandler):
        events: list

        def handle(self, event, **kwargs):
            self.events.append(event)

    seen = EventRecorder(events=[])
    debug = LlamaDebugHandler(print_trace_on_end=False)
    rerank = DockerModelRerank(model=RERANKER, callback_manager=CallbackManager([debug]))
    get_dispatcher().event_handlers.append(seen)
    try:
        best = await rank(rerank, nodes_of(*SCORES), query_str="capital")
    finally:
        get_dispatcher().event_handlers.remove(seen)
    start, end = seen.events
    assert (start.class_name(), start.top_n, start.model_name) == ("ReRankStartEvent", 3, RERANKER)
    assert end.nodes == best
    assert len(debug.get_event_pairs(CBEventType.RERANKING)) == 1


def test_both_names_of_the_model_are_accepted():
    assert DockerModelRerank(model_name=RERANKER).model == RERANKER


@pytest.mark.parametrize("name", ["top_k", "topn", "request_timeout"])
def test_an_unknown_setting_is_refused_with_the_nearest_name(name):
    with pytest.raises(
        ValueError,
        match=rf"no setting {name}; (did you mean top_n|request_timeout is called timeout)",
    ):
        DockerModelRerank(model=RERANKER, **{name: 5})


def test_transport_cli_is_refused():
    with pytest.raises(UnsupportedParameterError, match="rerank"):
        DockerModelRerank(model=RERANKER, transport="cli")


async def test_a_copy_keeps_the_settings_and_a_dictionary_hides_secrets(docker):
    rerank = DockerModelRerank(
        model=RERANKER, top_n=1, api_key="hunter2", headers={"X-Key": "hunter3"}
    )
    assert "hunter" not in f"{rerank!r} {rerank.to_dict()}"
    assert DockerModelRerank.from_dict(rerank.to_dict()).top_n == 1
    again = pickle.loads(pickle.dumps(rerank))
    assert (again.top_n, again.api_key, again.headers) == (1, "hunter2", {"X-Key": "hunter3"})
    again.warm_up()
    await again.awarm_up()
    assert {model.name for model in again.list_models()} == {RERANKER, "ai/smollm2"}
    again.close()
