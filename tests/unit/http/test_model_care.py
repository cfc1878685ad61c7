"""Inspection and configuration of models through `Client`, sync and async."""

import warnings

import pytest

from docker_model.errors import (
    ContextLengthError,
    GenerationError,
    InvalidRequestError,
    ModelNotFoundError,
)
from docker_model.http import Client, tokens
from docker_model.testing import TEMPLATES, Reply, SimulatedModel
from docker_model.types import ModelConfiguration, Ranked

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
COUNT = "POST /engines/v1/messages/count_tokens"
DOCUMENTS = ["Bananas are yellow.", "Paris is the capital of France.", "The sea is deep."]


@pytest.fixture
def runner(simulate):
    return simulate(
        [
            SimulatedModel("ai/smollm2"),
            SimulatedModel("ai/minilm", kind="embedding", trained_context=512),
            SimulatedModel("ai/ranker", kind="reranker", trained_context=512),
        ]
    )


async def test_a_token_count_equals_the_usage_of_the_same_chat(runner):
    client = Client()
    for tools in (None, [TOOL]):
        usage = client.chat("ai/smollm2", CHAT, tools=tools)["usage"]
        assert client.count_tokens("ai/smollm2", CHAT, tools) == usage["prompt_tokens"]
        assert await client.acount_tokens("ai/smollm2", CHAT, tools) == usage["prompt_tokens"]


def test_a_runner_without_token_counting_is_asked_for_an_answer_of_one_token(simulate):
    docker = simulate(replies={COUNT: Reply(404, "404 page not found\n")})
    counted = Client().count_tokens("ai/smollm2", CHAT)
    assert docker.requests[-1].body["max_tokens"] == 1
    assert counted == Client().chat("ai/smollm2", CHAT)["usage"]["prompt_tokens"]


@pytest.mark.parametrize("body", [{}, {"input_tokens": "3"}, {"input_tokens": True}])
def test_a_reply_without_a_number_of_tokens_is_an_error(simulate, body):
    simulate(replies={COUNT: Reply(body=body)})
    with pytest.raises(GenerationError, match="did not return the number of tokens"):
        Client().count_tokens("ai/smollm2", CHAT)


def test_an_error_in_the_reply_to_a_count_is_raised(simulate):
    simulate(replies={COUNT: Reply(body={"error": {"code": 500, "message": "boom"}})})
    with pytest.raises(GenerationError, match="boom"):
        Client().count_tokens("ai/smollm2", CHAT)


def test_a_prompt_that_is_too_long_for_an_answer_is_counted_by_its_error(simulate):
    chat = [{"role": "user", "content": "word " * 100}]
    simulate([SimulatedModel("ai/smollm2")])
    counted = Client().count_tokens("ai/smollm2", chat)
    docker = simulate(
        [SimulatedModel("ai/smollm2", context_size=64)], replies={COUNT: Reply(404, "not found")}
    )
    assert Client().count_tokens("ai/smollm2", chat) == counted
    assert docker.requests[-1].path.endswith("/chat/completions")


@pytest.mark.parametrize("known", [True, False], ids=["counting", "by-an-answer"])
@pytest.mark.parametrize("template", ["mistral", "gemma"])
def test_a_conversation_is_counted_in_the_form_that_the_template_accepts(simulate, template, known):
    simulate(template=template, replies={} if known else {COUNT: Reply(404, "not found")})
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    chat = [
        {"role": "system", "content": "Be brief."},
        *CHAT,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "2"},
    ]
    usage = Client().chat("ai/smollm2", chat)["usage"]
    assert Client().count_tokens("ai/smollm2", chat) == usage["prompt_tokens"]


async def test_an_inspected_model_is_known_without_another_request(runner):
    client = Client()
    assert client.known_model("ai/smollm2") is None
    model = await client.ainspect_model("ai/smollm2")
    requests = len(runner.requests)
    assert client.known_model("ai/smollm2") == model
    assert len(runner.requests) == requests
    assert model.trained_context == 8192
    assert {"chat", "tools"} <= model.capabilities


def test_a_missing_model_is_an_error_of_every_method(runner):
    client = Client()
    for ask in (client.inspect_model, client.model_configuration, client.preload_model):
        with pytest.raises(ModelNotFoundError, match="docker model pull ai/nothing"):
            ask("ai/nothing")


def test_a_configuration_keeps_the_settings_that_are_not_given(runner):
    client = Client()
    assert client.model_configuration("ai/smollm2") is None
    client.configure_model("ai/smollm2", context_size=2048, think=False)
    client.configure_model("ai/smollm2", keep_alive=90)
    assert client.model_configuration("ai/smollm2") == ModelConfiguration(
        context_size=2048, think=False, keep_alive="1m30s", mode="completion"
    )
    assert client.inspect_model("ai/smollm2").context_size == 2048


def test_an_embedding_model_is_configured_for_embeddings(runner):
    client = Client()
    client.configure_model("ai/minilm", keep_alive="-1")
    assert client.model_configuration("ai/minilm").mode == "embedding"
    client.configure_model("ai/smollm2", mode="embedding")
    configuration = client.model_configuration("ai/smollm2", mode="embedding")
    assert configuration.runtime_flags == ("--pooling", "mean")


async def test_configure_once_sends_one_request_for_equal_settings(runner):
    client = Client()
    client.configure_once("ai/smollm2", context_size=2048, keep_alive=None)
    requests = len(runner.requests)
    await client.aconfigure_once("ai/smollm2", context_size=2048)
    client.configure_once("ai/smollm2", context_size=None)
    assert len(runner.requests) == requests
    assert client.known_model("ai/smollm2").context_size == 2048


def test_configure_once_warns_about_a_change_for_other_users(runner):
    Client().configure_model("ai/smollm2", context_size=512)
    with pytest.warns(UserWarning, match="for all users of this runner: context_size=2048"):
        Client().configure_once("ai/smollm2", context_size=2048)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Client().configure_once("ai/minilm", keep_alive=60)


# The engine uses another template than the one in the metadata: it was packaged separately.
APART = {"tokenizer.chat_template": TEMPLATES["smollm2"].source}


@pytest.mark.parametrize(
    ("model", "by_metadata", "by_the_engine"),
    [
        ({"template": "qwen3", "gguf": APART}, {"chat"}, {"chat", "tools", "thinking"}),
        ({"template": "chatml", "gguf": APART}, {"chat"}, {"chat", "tools"}),
        (
            {"template": "smollm2", "gguf": {"tokenizer.chat_template": "{{ tools }}"}},
            {"chat", "tools"},
            {"chat"},
        ),
        ({"template": "smollm2", "vision": True}, {"chat"}, {"chat", "vision"}),
        ({"template": "gpt-oss"}, {"chat", "tools", "thinking"}, {"chat", "tools", "thinking"}),
        ({"kind": "embedding"}, {"embedding"}, {"embedding"}),
    ],
)
async def test_a_separately_packaged_template_is_observed_through_the_engine(
    model, by_metadata, by_the_engine, simulate
):
    runner = simulate([SimulatedModel("ai/apart", **model)])
    client = Client()
    assert client.inspect_model("ai/apart").capabilities == by_metadata
    assert client.observe_model("ai/apart").capabilities == by_the_engine
    requests = len(runner.requests)
    assert (await client.aobserve_model("ai/apart")).capabilities == by_the_engine
    assert len(runner.requests) == requests  # once for each process and model
    assert client.inspect_model("ai/apart").capabilities == by_the_engine
    client.configure_model("ai/apart", keep_alive=60)
    client.preload_model("ai/apart")
    assert client.known_model("ai/apart").capabilities == by_the_engine


def test_an_engine_without_token_counting_reports_chat_alone(simulate, monkeypatch):
    runner = simulate([SimulatedModel("ai/apart", template="qwen3", gguf=APART)])
    monkeypatch.setattr(tokens, "PATH", "/messages/nowhere")
    assert Client().observe_model("ai/apart").capabilities == {"chat"}
    assert not [request for request in runner.requests if request.path.endswith("/completions")]


async def test_reranking_puts_the_best_document_first(runner):
    client = Client()
    ranked = client.rerank("ai/ranker", "capital of France", DOCUMENTS)
    assert ranked[0] == Ranked(1, 5.0)
    assert [item.index for item in ranked[1:]] == [0, 2]  # equal scores stay in their order
    assert await client.arerank("ai/ranker", "capital of France", DOCUMENTS, top_n=1) == ranked[:1]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "did not return one score for each of 3 documents"),
        ({"results": [{"index": 0, "relevance_score": 1.0}]}, "did not return one score for each"),
        ({"results": [{"index": n, "score": "high"} for n in range(3)]}, "did not return one"),
        ({"error": {"code": 500, "message": "boom"}}, "boom"),
    ],
)
def test_a_reply_without_all_scores_is_an_error(simulate, body, message):
    replies = {"POST /engines/rerank": Reply(body=body)}
    simulate([SimulatedModel("ai/ranker", kind="reranker")], replies=replies)
    with pytest.raises(GenerationError, match=message):
        Client().rerank("ai/ranker", "capital", DOCUMENTS)


def test_a_model_that_is_not_a_reranker_is_refused_unless_forced(runner):
    with pytest.raises(InvalidRequestError, match="is not a reranker") as caught:
        Client().rerank("ai/smollm2", "capital", DOCUMENTS)
    assert "docker model pull" in caught.value.hint
    assert len(Client().rerank("ai/smollm2", "capital", DOCUMENTS, force=True)) == 3


def test_many_documents_are_ranked_in_batches(runner):
    documents = [f"Document {number}" for number in range(150)] + ["The capital of France"]
    ranked = Client().rerank("ai/ranker", "the capital of France", documents)
    assert ranked[0].index == 150
    assert sorted(item.index for item in ranked) == list(range(151))
    sizes = [len(r.body["documents"]) for r in runner.requests if r.path.endswith("/rerank")]
    assert sizes == [64, 64, 23]


def test_long_documents_are_ranked_in_small_batches(runner):
    documents = ["word " * 400] * 12
    assert len(Client().rerank("ai/ranker", "capital", documents)) == 12
    sizes = [len(r.body["documents"]) for r in runner.requests if r.path.endswith("/rerank")]
    assert sizes == [5, 5, 2]


def test_a_document_that_is_too_long_is_named(runner):
    documents = [*DOCUMENTS, "word " * 600]
    with pytest.raises(ContextLengthError, match="document 3 and the query"):
        Client().rerank("ai/ranker", "capital", documents)


def test_a_configuration_that_prevents_reranking_names_the_command_that_mends_it(runner):
    client = Client()
    client.configure_model("ai/ranker", runtime_flags=["--pooling", "mean"], mode="completion")
    with pytest.raises(InvalidRequestError, match="another pooling") as caught:
        client.rerank("ai/ranker", "capital", DOCUMENTS)
    assert "docker model configure --mode reranking ai/ranker" in caught.value.hint
    client.configure_model("ai/ranker", mode="reranking")
    assert len(client.rerank("ai/ranker", "capital", DOCUMENTS)) == 3


def test_embeddings_of_a_reranker_are_refused_because_they_are_zeros(runner):
    with pytest.raises(InvalidRequestError, match="is a reranker") as caught:
        Client().embed("ai/ranker", DOCUMENTS)
    assert "embedding model" in caught.value.hint
    Client().configure_model("ai/ranker", mode="embedding", runtime_flags=["--pooling", "mean"])
    assert any(Client().embed("ai/ranker", DOCUMENTS)[0])


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (("", DOCUMENTS), "query"),
        (("capital", "one text"), "several strings"),
        (("capital", ["text", 1]), "document 1"),
    ],
)
def test_an_invalid_argument_is_named_before_anything_is_sent(runner, arguments, pattern):
    with pytest.raises(InvalidRequestError, match=pattern) as caught:
        Client().rerank("ai/ranker", *arguments)
    assert caught.value.hint
    assert not runner.requests


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"context_size": 0},
        {"context_size": -2},
        {"context_size": "8k"},
        {"keep_alive": "soon"},
        {"keep_alive": float("inf")},
        {"mode": "chat"},
        {"think": "yes"},
        {"runtime_flags": "--temp 0"},
        {"draft_tokens": 0},
        {"draft_min_acceptance": 2},
        {"gpu_memory_utilization": -0.1},
    ],
)
def test_an_invalid_configuration_is_refused_with_a_hint(runner, settings):
    with pytest.raises(InvalidRequestError) as caught:
        Client().configure_model("ai/smollm2", **settings)
    assert caught.value.hint
    assert not runner.requests


@pytest.mark.parametrize(
    "operation",
    [
        Client.inspect_model,
        Client.observe_model,
        Client.preload_model,
        Client.model_configuration,
        lambda client, model: client.configure_model(model, keep_alive="1h"),
        lambda client, model: client.configure_once(model, keep_alive="1h"),
        lambda client, model: client.count_tokens(model, CHAT),
        lambda client, model: client.chat(model, CHAT),
    ],
)
def test_every_operation_on_a_misspelled_model_names_the_similar_one(runner, operation):
    with pytest.raises(ModelNotFoundError, match="did you mean 'ai/smollm2'"):
        operation(Client(), "ai/smolm2")


@pytest.mark.parametrize(("score", "normalized"), [(0.0, 0.5), (1000.0, 1.0), (-1000.0, 0.0)])
def test_a_normalized_score_lies_between_zero_and_one(score, normalized):
    assert Ranked(0, score).normalized_score == normalized
