"""Pulls over the API: progress, failures, and a model that is still missing afterwards."""

import pytest

from docker_model import ModelNotFoundError, PullError
from docker_model.http import Client
from docker_model.http.pulls import PullReader
from docker_model.testing import Cut, Downloaded, Fail, Pulled, Raw, Warn
from tests.support.runner_failures import LISTING
from tests.unit.http.wire import CUT, STOP, Wire, events, reply

MESSAGES = [{"role": "user", "content": "hi"}]


def pulled(simulate, *steps):
    simulate(pullable={"ai/other": steps})
    seen = []
    client = Client(pull="missing", on_progress=seen.append)
    reply = client.chat("ai/other", MESSAGES)
    return reply, [progress for progress in seen if progress.stage == "pull"]


def test_progress_is_the_sum_of_all_layers(simulate):
    steps = [
        Downloaded(10, 100, "a"),
        Downloaded(20, 100, "b"),
        Downloaded(30, 100, "a"),
        Warn("careful"),
        Pulled("done"),
    ]
    _, seen = pulled(simulate, *steps)
    assert [(progress.current, progress.total) for progress in seen[:3]] == [
        (10, 100),
        (30, 100),
        (50, 100),
    ]
    assert [progress.status for progress in seen] == ["Downloading"] * 3 + ["careful", "done"]


@pytest.mark.parametrize(
    ("steps", "kind", "words"),
    [
        ([Fail("Model not found", 404)], ModelNotFoundError, "registry"),
        ([Fail("Unauthorized", 401)], PullError, "refused"),
        ([Fail("boom", 500)], PullError, "failed: boom"),
        ([Downloaded(1, 2), Fail("no space left on device")], PullError, "disk"),
        ([Downloaded(1, 2), Fail("odd")], PullError, "odd"),
        ([Raw(LISTING), Raw(b"Model not found\n")], ModelNotFoundError, "registry"),
        ([Raw(LISTING), Raw(b"Unauthorized\n")], PullError, "refused"),
        ([Downloaded(1, 2)], PullError, "ended early"),
        ([Downloaded(1, 2), Cut()], PullError, "was interrupted"),
        ([Raw(b"<html>\n")], PullError, "ended early"),
    ],
)
def test_each_failure_of_a_pull_has_its_error(simulate, steps, kind, words):
    with pytest.raises(kind, match=words):
        pulled(simulate, *steps)


def test_a_pull_requests_json_with_the_key():
    pulling = reply(body={"type": "success", "message": "done"})
    with Wire(reply(404, "model not found"), pulling, events("ok", STOP)) as wire:
        Client(base_url=wire.url, pull="missing", api_key="k").chat("ai/other", MESSAGES)
        _, path, headers, body = wire.posts[1]
    assert (path, body) == ("/models/create", {"from": "ai/other"})
    assert (headers["accept"], headers["authorization"]) == ("application/json", "Bearer k")


def test_a_model_that_is_missing_after_its_pull_raises_not_found():
    pulling = reply(body={"type": "success", "message": "done"})
    with Wire(reply(404, "model not found"), pulling, reply(404, "model not found")) as wire:
        with pytest.raises(ModelNotFoundError):
            Client(base_url=wire.url, pull="missing").chat("ai/other", MESSAGES)
        assert len(wire.posts) == 3


def test_a_server_that_cannot_pull_is_an_error():
    with Wire(reply(404, "model not found"), CUT) as wire, pytest.raises(PullError):
        Client(base_url=wire.url, pull="missing").chat("ai/other", MESSAGES)


@pytest.mark.parametrize(
    "line", ["", "hello", "[]", '{"type": "progress"}', '{"type": "progress", "layer": {}}']
)
def test_unknown_lines_are_ignored(line):
    progress = PullReader("m")
    step = progress.read(line)
    assert step is None or step.total is None
    assert not progress.succeeded


def test_html_escaped_lines_are_read():
    progress = PullReader("m")
    progress.read("{&#34;type&#34;: &#34;success&#34;, &#34;message&#34;: &#34;x&#34;}")
    assert progress.succeeded
