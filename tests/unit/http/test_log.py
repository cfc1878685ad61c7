"""Log records of the HTTP client: names and counts, without prompts, answers or keys."""

import logging

import pytest

from docker_model import list_models
from docker_model.errors import DockerModelError
from docker_model.http import Client, request
from docker_model.testing import Reply, SimulatedDocker

CHAT = [{"role": "user", "content": "hunter2-prompt"}]


def test_the_address_and_retries_are_logged_without_prompts_and_keys(simulate, monkeypatch, caplog):
    monkeypatch.setattr(request, "INITIAL_RETRY_DELAY", 0.01)
    docker = simulate(replies={"POST /engines/v1/chat/completions": Reply(503, "busy")})
    caplog.set_level(logging.DEBUG, "docker_model")
    with pytest.raises(DockerModelError):
        Client(base_url=docker.url, api_key="hunter2-key", max_retries=2).chat("ai/smollm2", CHAT)
    assert f"found the HTTP API at {docker.url}/engines/v1, by base_url" in caplog.messages
    retries = [message for message in caplog.messages if message.startswith("retry ")]
    assert len(retries) == 2
    assert "retry 1 of 2 for 'ai/smollm2'" in retries[0]
    assert "hunter2" not in caplog.text


@pytest.mark.simulated
def test_going_over_http_without_a_command_is_logged(caplog):
    caplog.set_level(logging.INFO, "docker_model")
    with SimulatedDocker.broken("no-docker"):
        list_models()
    assert any("using the HTTP API at" in message for message in caplog.messages)


def test_the_pause_before_a_retry_grows_up_to_a_limit(simulate, monkeypatch, caplog):
    monkeypatch.setattr(request, "INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr(request, "MAX_RETRY_DELAY", 0.02)
    docker = simulate(replies={"POST /engines/v1/chat/completions": Reply(503, "busy")})
    caplog.set_level(logging.INFO, "docker_model")
    with pytest.raises(DockerModelError):
        Client(base_url=docker.url, max_retries=8).chat("ai/smollm2", CHAT)
    pauses = [record.args[3] for record in caplog.records if record.msg.startswith("retry ")]
    assert len(pauses) == 8
    assert all(0.01 <= pause <= 0.02 for pause in pauses[1:])  # 0.64 to 1.28 without the limit
