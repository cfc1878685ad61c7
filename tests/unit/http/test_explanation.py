"""The last lines of the engine's log in an error: bounded, and without secrets."""

import threading

import pytest

from docker_model.errors import GenerationError, InvalidRequestError, ModelLoadError
from docker_model.http import Client
from docker_model.http.explanation import masked
from docker_model.testing import Reply

CHAT = [{"role": "user", "content": "Hello"}]
LOG = (
    "".join(f"line {number}\n" for number in range(5000))
    + "ggml_abort: no room\nkey=hf_abcdef1234\n"
)
CHATS = "POST /engines/v1/chat/completions"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(500, "unable to load runner: llama.cpp failed"), ModelLoadError),
        (Reply(500, {"error": {"message": "something broke"}}), GenerationError),
    ],
)
async def test_an_error_of_the_engine_includes_the_end_of_its_log(simulate, reply, kind):
    simulate(replies={CHATS: reply, "GET /logs": Reply(body=LOG)})
    client = Client(max_retries=0)
    with pytest.raises(kind) as caught:
        client.chat("ai/smollm2", CHAT)
    assert "ggml_abort: no room" in caught.value.detail
    assert "line 4999" in caught.value.detail
    assert "line 4000\n" not in caught.value.detail
    assert "hf_abcdef1234" not in caught.value.detail
    assert "ggml_abort" not in str(caught.value)
    with pytest.raises(kind) as caught:
        async for _ in client.astream_chat("ai/smollm2", CHAT):
            pass
    assert "ggml_abort: no room" in caught.value.detail


@pytest.mark.parametrize("log", [Reply(404, "no log"), Reply(501, "none"), Reply(body="")])
def test_an_error_stays_unchanged_when_no_log_can_be_read(simulate, log):
    simulate(replies={CHATS: Reply(500, "it broke"), "GET /logs": log})
    with pytest.raises(GenerationError, match="it broke") as caught:
        Client(max_retries=0).chat("ai/smollm2", CHAT)
    assert "log" not in caught.value.detail


def test_only_the_first_error_waits_for_a_log_that_takes_too_long(simulate):
    closing = threading.Event()

    def endless(_request):
        closing.wait(30)
        return Reply(body=LOG)

    docker = simulate(replies={CHATS: Reply(500, "it broke"), "GET /logs": endless})
    for _ in range(2):
        with pytest.raises(GenerationError, match="it broke") as caught:
            Client(max_retries=0).chat("ai/smollm2", CHAT)
        assert "log" not in caught.value.detail
    closing.set()
    assert len([request for request in docker.requests if request.path == "/logs"]) == 1


def test_a_refused_request_does_not_read_the_log(simulate):
    docker = simulate(replies={CHATS: Reply(400, {"error": {"message": "no such field"}})})
    with pytest.raises(InvalidRequestError):
        Client().chat("ai/smollm2", CHAT)
    assert not [request for request in docker.requests if request.path == "/logs"]


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Authorization: Bearer abc.def", "abc.def"),
        ('{"api_key": "k-123"}', "k-123"),
        ("API-KEY=k123 and more", "k123"),
        ("token: t0ps3cret", "t0ps3cret"),
        ("pulled with hf_AbCdEfGhIj", "hf_AbCdEfGhIj"),
        ("GET http://user:pa55@proxy:3128/", "user:pa55"),
    ],
)
def test_a_secret_in_the_log_is_masked(text, hidden):
    assert hidden not in masked(text)
    assert "***" in masked(text)


def test_text_without_a_secret_is_not_masked():
    text = "tokens per second: 12, tokenizer.ggml.model = gpt2, n_ctx = 4096"
    assert masked(text) == text
