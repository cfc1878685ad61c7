"""Embeddings: one vector for each text, or an error that gives the reason."""

import asyncio
import base64
import math
import struct

import pytest

from docker_model import (
    ContextLengthError,
    GenerationError,
    InvalidRequestError,
    ModelNotFoundError,
    UnsupportedParameterError,
)
from docker_model.http import Client, bodies
from docker_model.testing import Reply, SimulatedModel
from tests.support.modes import MODES, call
from tests.unit.http.wire import Wire, reply

MODEL = "ai/smollm2"
POOLING = "Pooling type 'none' is not OAI compatible. Please use a different pooling type"


def embed(text):
    return [float(len(text)), 0.5]


def sent(docker):
    return [r.body for r in docker.requests if r.path.endswith("/embeddings")]


def vectors(*pairs):
    data = [{"index": index, "embedding": vector} for index, vector in pairs]
    return reply(body={"object": "list", "data": data})


@pytest.mark.parametrize("mode", MODES)
def test_each_text_gets_a_vector(simulate, mode):
    docker = simulate(embed=embed)
    texts = ["a", "bb", "ccc"]
    got = call(mode, lambda: Client().embed(MODEL, texts), lambda: Client().aembed(MODEL, texts))
    assert got == [[1.0, 0.5], [2.0, 0.5], [3.0, 0.5]]
    assert sent(docker) == [{"model": MODEL, "input": texts, "encoding_format": "base64"}]


def test_many_texts_are_sent_in_batches(simulate):
    docker = simulate(embed=embed)
    texts = ["x" * (n % 7 + 1) for n in range(2 * bodies.BATCH + 1)]
    assert Client().embed(MODEL, texts) == [embed(text) for text in texts]
    sizes = sorted(len(body["input"]) for body in sent(docker))  # a few are sent at once
    assert sizes == [1, bodies.BATCH, bodies.BATCH]


def test_long_texts_are_sent_in_smaller_batches(simulate):
    docker = simulate(embed=embed)
    texts = ["x" * (bodies.EMBEDDED_CHARS // 2)] * 3 + ["y" * 2 * bodies.EMBEDDED_CHARS]
    Client().embed(MODEL, texts)
    assert sorted(len(body["input"]) for body in sent(docker)) == [1, 1, 2]


def test_an_empty_list_sends_no_request(docker):
    assert Client().embed(MODEL, []) == []
    assert docker.requests == []


@pytest.mark.parametrize("texts", ["one text", b"bytes", 7, None, [1, 2], [["a"]], [b"a"]])
def test_values_that_are_not_texts_are_refused(docker, texts):
    with pytest.raises(InvalidRequestError):
        Client().embed(MODEL, texts)
    assert docker.requests == []


@pytest.mark.parametrize("empty", ["", " \n"])
def test_an_empty_text_is_named_before_anything_is_sent(docker, empty):
    with pytest.raises(InvalidRequestError, match=r"texts\[4\] is empty"):
        Client().embed(MODEL, ["a", "b", "c", "d", empty, "f"])
    assert docker.requests == []


@pytest.mark.parametrize("make", [list, tuple, iter, lambda texts: dict.fromkeys(texts).keys()])
def test_any_iterable_of_texts_is_embedded(simulate, make):
    simulate(embed=embed)
    assert Client().embed(MODEL, make(["a", "bb"])) == [[1.0, 0.5], [2.0, 0.5]]


def test_vectors_without_an_index_are_in_the_order_of_the_texts():
    data = [{"embedding": [1.0]}, {"embedding": [2.0], "index": None}]
    with Wire(reply(body={"data": data})) as wire:
        assert Client(base_url=wire.url).embed("m", ["a", "b"]) == [[1.0], [2.0]]


def test_an_invalid_vector_in_a_later_batch_is_named_by_the_index_of_its_text(monkeypatch):
    monkeypatch.setattr(bodies, "BATCH", 2)
    good, bad = vectors((0, [1.0]), (1, [1.0])), vectors((0, [math.nan]))
    with Wire(good, bad) as wire, pytest.raises(GenerationError, match=r"texts\[2\]"):
        Client(base_url=wire.url, max_concurrency=1).embed("m", ["a", "b", "c"])


def test_a_chat_model_names_the_command_that_makes_it_an_embedding_model():
    body = {"error": {"code": 400, "message": POOLING, "type": "invalid_request_error"}}
    with Wire(reply(400, body)) as wire, pytest.raises(InvalidRequestError) as caught:
        Client(base_url=wire.url).embed(MODEL, ["a"])
    assert f"docker model configure --mode embedding {MODEL} -- --pooling mean" in caught.value.hint


def test_a_text_that_is_too_long_is_an_error():
    message = "input (3001 tokens) is too large to process. increase the physical batch size"
    body = {"error": {"code": 500, "message": message, "type": "server_error"}}
    with Wire(reply(500, body)) as wire, pytest.raises(ContextLengthError) as caught:
        Client(base_url=wire.url).embed(MODEL, ["a"])
    assert caught.value.prompt_tokens == 3001


def test_a_missing_model_is_an_error(docker):
    with pytest.raises(ModelNotFoundError):
        Client().embed("ai/nosuch", ["a"])


def test_a_wrong_number_of_dimensions_is_an_error(simulate):
    docker = simulate(embed=embed)
    assert Client().embed(MODEL, ["a"], dimensions=2) == [[1.0, 0.5]]
    assert sent(docker)[-1]["dimensions"] == 2
    with pytest.raises(UnsupportedParameterError, match="dimensions=64: it returned 2"):
        Client().embed(MODEL, ["a"], dimensions=64)


def test_vectors_are_ordered_by_their_index():
    with Wire(vectors((1, [2.0]), (0, [1.0]))) as wire:
        assert Client(base_url=wire.url).embed("m", ["a", "b"]) == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (vectors((0, [1.0])), "not one vector for each"),
        (vectors((0, [1.0]), (0, [1.0])), "not one vector for each"),
        (vectors((0, [1.0]), (2, [1.0])), "not one vector for each"),
        (vectors((0, [1.0]), (1, [1.0, 2.0])), "different lengths"),
        (vectors((0, [1.0]), (1, [])), r"missing for texts\[1\]"),
        (vectors((0, [1.0]), (1, None)), r"missing for texts\[1\]"),
        (vectors((0, [1.0]), (1, [None])), r"numbers for texts\[1\]: None"),
        (vectors((0, [1.0]), (1, [True])), r"numbers for texts\[1\]: True"),
        (vectors((0, [1.0]), (1, [[1.0]])), r"numbers for texts\[1\]"),  # one for each token
        (vectors((0, [1.0]), (1, [math.nan])), r"finite numbers for texts\[1\]: nan"),
        (vectors((0, [1.0]), (1, [math.inf])), r"finite numbers for texts\[1\]: inf"),
        (vectors((0, [1.0]), (None, [1.0])), "not one vector for each"),
        (reply(body={"data": "x"}), "not one vector for each"),
        (reply(body={"error": {"message": "it broke"}}), "it broke"),
        (reply(body="hello"), "proxy"),
    ],
)
def test_an_invalid_vector_is_an_error(answer, words):
    with Wire(answer) as wire, pytest.raises(GenerationError, match=words):
        Client(base_url=wire.url).embed("m", ["a", "b"])


def test_cancelling_closes_the_request(simulate):
    simulate(replies={"POST /engines/v1/embeddings": Reply(503, "loading model")})

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await Client().aembed(MODEL, ["a"])

    asyncio.run(main())


# --- Texts that are too long: the simulated engine takes 512 tokens, two of which are special ---


@pytest.fixture
def embedder(simulate):
    model = SimulatedModel("ai/minilm", kind="embedding", trained_context=512)
    return simulate([model], embed=lambda text: [float(len(text.split())), 1.0])


def words(count):
    return " ".join(["word"] * count)


@pytest.mark.parametrize("mode", MODES)
def test_a_text_that_is_too_long_is_named_by_its_index(embedder, mode):
    texts = [*["short"] * 70, words(600), "short"]
    client = Client()
    with pytest.raises(ContextLengthError, match=r"texts\[70\]") as caught:
        call(
            mode,
            lambda: client.embed("ai/minilm", texts),
            lambda: client.aembed("ai/minilm", texts),
        )
    assert caught.value.prompt_tokens == 602
    assert "at most 512 tokens" in caught.value.hint


@pytest.mark.parametrize("count", [511, 600, 5000])
def test_a_text_that_is_too_long_is_cut_to_the_limit_of_the_engine(embedder, count):
    texts = ["short", words(510), words(count), "short"]
    vectors = Client().embed("ai/minilm", texts, truncate=True)
    assert [int(length) for length, _ in vectors] == [1, 510, 510, 1]
    assert len(sent(embedder)) < 12


@pytest.mark.parametrize(
    "vector", [[0.5, -1.25], base64.b64encode(struct.pack("<2f", 0.5, -1.25)).decode()]
)
def test_vectors_are_read_from_base64_or_numbers(vector):
    with Wire(vectors((0, vector))) as wire:
        assert Client(base_url=wire.url).embed("m", ["a"]) == [[0.5, -1.25]]


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        ("!", "not readable"),
        ("AAA=", "not readable"),  # two bytes are no number
        ("", "missing"),
        (base64.b64encode(struct.pack("<2f", 1.0, math.nan)).decode(), "finite"),
        (base64.b64encode(struct.pack("<2f", math.inf, -math.inf)).decode(), "finite"),
    ],
)
def test_invalid_base64_is_an_error(vector, words):
    with Wire(vectors((0, vector))) as wire, pytest.raises(GenerationError, match=words) as caught:
        Client(base_url=wire.url).embed("m", ["a"])
    assert "texts[0]" in str(caught.value)
