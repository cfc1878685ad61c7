"""Faults of chats over HTTP: the error raised, and which requests are retried."""

import json
import time

import pytest

from docker_model import (
    ContextLengthError,
    DockerModel,
    GenerationError,
    GenerationTimeoutError,
    InvalidRequestError,
    ModelNotFoundError,
    RunnerUnavailableError,
    Timeouts,
)
from docker_model.http import Client
from docker_model.testing import Cut, Fail, Finish, Raw, Sleep, Text
from tests.unit.http.chatting import CLIENT, MESSAGES, MODEL, TOOL, USAGE, chat, chunks, text
from tests.unit.http.wire import CUT, STOP, Wire, events, reply


@pytest.mark.parametrize("mode", ["sync", "uvloop"])
@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ([Fail.context_too_long()], ContextLengthError, "longer than the model's context"),
        ([Fail("it broke")], GenerationError, "it broke"),
        ([Text("some"), Fail("it broke")], GenerationError, "it broke"),
        ([Text("some"), Sleep(0.05), Cut()], GenerationError, "is incomplete"),
        ([Text("some"), Finish(None)], GenerationError, "is incomplete"),
        ([Text("some"), Raw(b"data: <html>\n\n")], GenerationError, "proxy"),
    ],
)
def test_failures_are_raised_and_never_part_of_the_answer(simulate, mode, script, kind, words):
    simulate({MODEL: script})
    for ask in (chat, chunks):
        with pytest.raises(kind, match=words) as caught:
            ask(mode, CLIENT, MODEL, MESSAGES)
        if kind is GenerationError and len(script) > 1:
            assert caught.value.partial == "some"


def test_a_missing_model_is_named_and_not_pulled(simulate):
    docker = simulate(pullable=["ai/other"])
    for ask in (CLIENT.chat, lambda *args: list(CLIENT.stream_chat(*args))):
        with pytest.raises(ModelNotFoundError, match="docker model pull ai/other") as caught:
            ask("ai/other", MESSAGES)
        assert caught.value.model == "ai/other"
    assert "/models/create" not in [request.path for request in docker.requests]


def test_a_missing_model_is_pulled_if_enabled(simulate):
    docker = simulate(pullable=["ai/other"])
    steps = []
    client = Client(pull="missing", on_progress=steps.append)
    assert client.chat("ai/other", MESSAGES)["choices"]
    assert (steps[0].model, steps[0].current, steps[0].total) == (
        "ai/other",
        67_000_000,
        268_000_000,
    )
    assert text(client.stream_chat("ai/other", MESSAGES)) == "You said: hi"
    assert [r.path for r in docker.requests].count("/models/create") == 1


def test_a_failed_pull_raises_its_own_error(simulate):
    simulate()
    with pytest.raises(ModelNotFoundError, match="registry"):
        Client(pull="missing").chat("ai/nosuch", MESSAGES)


def test_a_connection_closed_before_the_reply_is_retried():
    answer = events("ok", STOP)
    for first in (CUT, reply(500), reply(502, "bad gateway"), reply(503), reply(504), reply(429)):
        with Wire(first, answer) as wire:
            assert text(Client(base_url=wire.url).stream_chat("m", MESSAGES)) == "ok"
            assert len(wire.posts) == 2


SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 999\r\n\r\n"


def part(data):
    """Send a reply whose body breaks off after these bytes."""

    def answer(connection):
        connection.sendall(SSE + data)
        raise OSError

    return answer


@pytest.mark.parametrize(
    "first",
    [part(b""), part(b'data: {"choi'), events(done=False)],
    ids=["at once", "within a line", "in good order"],
)
def test_a_reply_that_breaks_off_before_its_first_event_is_retried(monkeypatch, first):
    monkeypatch.setattr("docker_model.http.request.INITIAL_RETRY_DELAY", 0.01)
    with Wire(first, events("ok", STOP)) as wire:
        assert text(Client(base_url=wire.url).stream_chat("m", MESSAGES)) == "ok"
        assert len(wire.posts) == 2
    with Wire(first) as wire, pytest.raises(GenerationError, match="is incomplete"):
        Client(base_url=wire.url, max_retries=0).chat("m", MESSAGES)


def test_retries_are_limited_and_can_be_disabled(monkeypatch):
    monkeypatch.setattr("docker_model.http.request.INITIAL_RETRY_DELAY", 0.01)
    with Wire(reply(500)) as wire:
        for retries in (0, 3):
            wire.requests.clear()
            with pytest.raises(GenerationError, match="HTTP 500"):
                Client(base_url=wire.url, max_retries=retries).chat("m", MESSAGES)
            assert len(wire.posts) == retries + 1
    with Wire(CUT) as wire, pytest.raises(GenerationError, match="is incomplete"):
        Client(base_url=wire.url, max_retries=1).chat("m", MESSAGES)


NO_IMAGES = {"error": {"code": 500, "message": "image input is not supported - hint: …"}}


@pytest.mark.parametrize(
    "first",
    [reply(400, "no"), reply(500, "no"), reply(404, "no"), reply(500, NO_IMAGES)],
)
def test_a_permanent_failure_is_not_retried(first):
    with Wire(first, events("ok", STOP)) as wire:
        with pytest.raises((InvalidRequestError, GenerationError, RunnerUnavailableError)):
            Client(base_url=wire.url).chat("m", MESSAGES)
        assert len(wire.posts) == 1


def test_a_stream_is_not_retried_after_its_first_chunk():
    with Wire(part(b'data: {"choices": []}\n\n')) as wire:
        with pytest.raises(GenerationError, match="is incomplete"):
            list(Client(base_url=wire.url).stream_chat("m", MESSAGES))
        assert len(wire.posts) == 1


def test_a_loading_model_is_awaited(monkeypatch):
    monkeypatch.setattr("docker_model.http.request.LOADING_POLL_INTERVAL", 0.01)
    loading = reply(503, {"error": {"message": "Loading model", "code": 503}})
    with Wire(*[loading] * 5, events("ok", STOP)) as wire:
        client = Client(base_url=wire.url, max_retries=0)
        assert text(client.stream_chat("m", MESSAGES)) == "ok"
    with Wire(loading) as wire:
        client = Client(base_url=wire.url, timeout=Timeouts(first_output=0.2))
        with pytest.raises(GenerationTimeoutError) as caught:
            client.chat("m", MESSAGES)
        assert caught.value.phase == "first_output"


def test_a_kept_connection_that_was_closed_is_replaced_without_an_error():
    with Wire(events("ok", STOP)) as wire:
        client = Client(base_url=wire.url, max_retries=0)
        for _ in range(3):
            client.chat("m", MESSAGES)
        assert wire.connections == 1
        wire.hang_up()
        assert client.chat("m", MESSAGES)
        assert wire.connections == 2


def test_a_kept_connection_that_closes_during_a_request_is_replaced_without_an_error():
    with Wire(events("ok", STOP), CUT, events("ok", STOP)) as wire:
        client = Client(base_url=wire.url, max_retries=0)
        for _ in range(2):
            assert client.chat("m", MESSAGES)
        assert wire.connections == 2
    with Wire(CUT) as wire:
        with pytest.raises(GenerationError, match="is incomplete"):
            Client(base_url=wire.url, max_retries=0).chat("m", MESSAGES)
        assert len(wire.posts) == 2  # a new one that is closed is a failure


def test_a_connection_is_reused_although_the_end_of_its_body_comes_late():
    late = events("ok", STOP)
    at = late.index(b"0\r\n\r\n")

    def answer(connection):
        connection.sendall(late[:at])
        time.sleep(0.05)
        return late[at:]

    with Wire(answer) as wire:
        for _ in range(2):
            list(Client(base_url=wire.url).stream_chat("m", MESSAGES))
        assert wire.connections == 1


def test_a_body_whose_end_never_comes_does_not_block_the_caller():
    unended = events("ok", STOP)
    with Wire(unended[: unended.index(b"0\r\n\r\n")]) as wire:
        assert text(Client(base_url=wire.url).stream_chat("m", MESSAGES)) == "ok"


def test_compressed_replies_are_decoded():
    import gzip  # noqa: PLC0415

    body = {"choices": [{"index": 0, "message": {"content": "ok"}, "finish_reason": "stop"}]}
    data = gzip.compress(json.dumps(body).encode())
    head = "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
    answer = f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data
    with Wire(answer) as wire:
        client = Client(base_url=wire.url)
        assert client.chat("m", MESSAGES, n=2)["choices"]
        assert wire.posts[0][2]["accept-encoding"] == "identity"


def test_the_finish_reason_is_kept_when_more_chunks_follow():
    full = {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
    after = {"choices": [{"index": 0, "delta": {}}], "usage": USAGE}
    with Wire(events("ok", full, after)) as wire:
        answer = Client(base_url=wire.url).chat("m", MESSAGES)
        assert answer["choices"][0]["finish_reason"] == "length"
        assert DockerModel("m", base_url=wire.url).generate("hi").finish_reason == "length"


@pytest.mark.parametrize("kind", [b"text/html; charset=utf-8", b"application/json", b"text/plain"])
@pytest.mark.parametrize("status", [200, 404, 500, 501])
def test_a_web_page_means_that_another_server_answered(kind, status):
    page = reply(status, "\n<!DOCTYPE html><html>Log in</html>").replace(b"text/plain", kind)
    with Wire(page) as wire:
        client = Client(base_url=wire.url)
        for ask in (
            lambda: client.chat("m", MESSAGES),
            lambda: client.chat("m", MESSAGES, tools=[TOOL]),
            lambda: client.embed("m", ["a"]),
        ):
            with pytest.raises(RunnerUnavailableError, match="web page"):
                ask()
