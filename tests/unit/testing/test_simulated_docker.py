"""`SimulatedDocker`: its environment, its records, its runner, and its failures."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import urllib.error
import urllib.request

import pytest

from docker_model._docker_cli.command_spec import CommandSpec
from docker_model.testing import (
    Downloaded,
    Fail,
    Hang,
    Pulled,
    Reply,
    SimulatedDocker,
    Warn,
    _runner,
)
from tests.support.platforms import posix
from tests.unit.testing.calling import MODEL, ask, call


def variables():
    return {name: os.environ.get(name) for name in ("DOCKER_MODEL_COMMAND", "MODEL_RUNNER_HOST")}


def test_an_open_simulation_sets_the_environment_and_restores_it():
    before = variables()
    with SimulatedDocker() as outer:
        assert variables() == outer.env
        assert CommandSpec.of(None, None).prefix == outer.command
        with SimulatedDocker() as inner:
            assert variables() == inner.env != outer.env
        assert variables() == outer.env
    assert variables() == before


def test_open_does_not_change_the_environment():
    before = variables()
    docker = SimulatedDocker().open()
    try:
        assert variables() == before
        env = {**os.environ, **docker.env}  # the environment can name another runner
        assert call(docker, "run", "--", MODEL, stdin="hi", env=env).stdout == "You said: hi\n"
    finally:
        docker.close()
    docker.close()  # a second call does nothing


def test_a_simulation_can_be_opened_again_only_after_its_end():
    docker = SimulatedDocker()
    with pytest.raises(RuntimeError, match="is not open"):
        _ = docker.command
    with docker, pytest.raises(RuntimeError, match="already open"):
        docker.open()
    with docker:
        assert docker.prompts == []
        ask(docker, "hi")
    assert docker.prompts == ["hi"]  # also after the end of the simulation


def test_calls_and_requests_are_recorded(tmp_path):
    with SimulatedDocker() as docker:
        environment = {**os.environ, "SECRET": "s3cret", "STRANGE": "caf\udce9"}
        call(docker, "run", "--", MODEL, "caf\udce9", cwd=tmp_path, env=environment)
        (recorded,) = docker.calls
        first, second = docker.requests
    assert recorded.argv == ("model", "run", "--", MODEL, "caf\udce9")
    assert recorded.cwd == str(tmp_path)
    assert (recorded.env["SECRET"], recorded.env["STRANGE"]) == ("s3cret", "caf\udce9")
    assert "s3cret" not in repr(recorded)
    assert (first.method, first.path, first.prompt) == ("GET", f"/models/{MODEL}", None)
    assert (second.method, second.path) == ("POST", "/engines/v1/chat/completions")
    assert second.call is recorded
    assert second.complete
    assert not second.client_gone


def test_the_number_of_records_is_limited(monkeypatch):
    monkeypatch.setattr(_runner, "MAX_RECORDS", 3)
    with SimulatedDocker() as docker:
        for number in range(4):
            ask(docker, f"prompt {number}")
        assert len(docker.requests) == 3
        docker.wait_prompts(4)


def test_waiting_times_out_with_the_reason():
    with SimulatedDocker() as docker:
        docker.wait_all_gone(0)
        docker.wait_prompts(0, 0)
        with pytest.raises(TimeoutError, match="prompts are missing"):
            docker.wait_prompts(1, 0.01)
        with pytest.raises(TimeoutError, match="clients are still connected"):
            docker.wait_gone(1, 0.01)
        with pytest.raises(TimeoutError, match="commands were not started"):
            docker.wait_calls(1, 0.01)


def test_models_can_be_names_or_objects_of_the_runner():
    untagged = {"id": "sha256:" + "77aa" * 16, "created": 1740000000, "config": None}
    with SimulatedDocker(["ai/smollm2", untagged]) as docker:
        first, second = json.loads(call(docker, "list", "--json").stdout)
        assert first["tags"] == ["docker.io/ai/smollm2:latest"]
        assert second == untagged
        assert json.loads(call(docker, "inspect", "77aa77aa77aa").stdout) == untagged
        assert json.loads(call(docker, "inspect", "smollm2").stdout) == first
        assert call(docker, "inspect", "ai/other").returncode == 1


def test_models_none_means_that_every_model_exists():
    with SimulatedDocker(None) as docker:
        assert ask(docker, "hi", "hf.co/whatever/model") == "You said: hi\n"


def test_a_pullable_model_is_pulled_by_run_and_by_pull():
    steps = [Downloaded(1_000_000, 2_000_000), Warn("large"), Pulled()]
    with SimulatedDocker(pullable={"ai/new": steps}) as docker:
        completed = call(docker, "run", "ai/new", "hi")
        assert completed.stdout == (
            "Unable to find model 'ai/new' locally. Pulling from the server.\n"
            "Downloaded 1.00MB of 2.00MB\nModel pulled successfully\nYou said: hi\n"
        )
        assert completed.stderr == "Warning: large\n"
        assert call(docker, "run", "ai/new", "hi").stdout == "You said: hi\n"
        assert call(docker, "pull", "ai/new").stdout.endswith("Model pulled successfully\n")


def test_a_scripted_or_unknown_pull_fails():
    pullable = {"ai/full": [Downloaded(1, 2), Fail("Error: disk full")]}
    with SimulatedDocker(pullable=pullable) as docker:
        assert call(docker, "pull", "ai/full").stderr == "Failed to pull model: Error: disk full\n"
        assert "404 Not Found" in call(docker, "pull", "ai/nosuch").stderr
        assert call(docker, "inspect", "ai/full").returncode == 1


def test_models_can_be_loaded_configured_and_unloaded():
    with SimulatedDocker() as docker:
        assert "smollm2" not in call(docker, "ps").stdout
        assert call(docker, "run", "--detach", MODEL).stdout == ""
        assert docker.prompts == []
        assert "smollm2" in call(docker, "ps").stdout
        assert call(docker, "configure", "--context-size", "8192", MODEL).stdout == ""
        (config,) = json.loads(call(docker, "configure", "show", "").stdout)
        assert config["Config"] == {"context-size": 8192}
        assert call(docker, "unload", MODEL).stdout == "Unloaded 1 model(s).\n"
        assert call(docker, "unload", MODEL).stdout == "Unloaded 0 model(s).\n"
        assert json.loads(call(docker, "configure", "show", MODEL).stdout)


def test_a_fixed_reply_replaces_the_reply_of_a_path():
    replies = {"GET /models": Reply(500, "boom"), "GET /engines/ps": Reply(body=[])}
    with SimulatedDocker(replies=replies) as docker:
        assert "500 Internal Server Error" in call(docker, "list", "--json").stderr
        assert call(docker, "ps").returncode == 0


@pytest.mark.parametrize("api", ["/v1", "/engines/v1", "/engines/llama.cpp/v1"])
def test_a_fixed_reply_can_use_every_alias_of_its_path(api):
    with SimulatedDocker(replies={f"POST {api}/chat/completions": Reply(500, "boom")}) as docker:
        assert "body=boom" in call(docker, "run", MODEL, "hi").stderr


@pytest.mark.parametrize(
    ("error", "settings"),
    [
        (ValueError, {"replies": {"GET models": Reply(500)}}),
        (ValueError, {"replies": {"/models": Reply(500)}}),
        (TypeError, {"replies": {"GET /models": 500}}),
        (TypeError, {"pullable": {"ai/new": ["no text"]}}),
        (TypeError, {"startup": ["no text"]}),
    ],
)
def test_invalid_settings_are_refused(error, settings):
    with pytest.raises(error, match=r"is (no|not a) "):
        SimulatedDocker(**settings)


def test_a_single_model_is_accepted_without_a_list():
    with SimulatedDocker(MODEL, pullable="ai/new") as docker:
        assert ask(docker, "hi") == "You said: hi\n"
        assert call(docker, "pull", "ai/new").returncode == 0
        tags = [model["tags"] for model in json.loads(call(docker, "list", "--json").stdout)]
        assert tags == [["docker.io/ai/smollm2:latest"], ["docker.io/ai/new:latest"]]


@pytest.mark.parametrize(
    ("how", "code", "stderr"),
    [
        ("no-plugin", 125, "unknown flag: --color\n"),
        ("no-engine", 1, "connect: connection refused\n"),
        ("refused", 1, "connect: connection refused\n"),
        ("runner-off", 1, "Docker Model Runner is not running."),
    ],
)
def test_each_broken_installation_fails_like_the_real_one(how, code, stderr):
    with SimulatedDocker.broken(how) as docker:
        completed = call(docker, "run", "--color", "no", "--", MODEL, stdin="hi")
        assert completed.returncode == code
        assert stderr in completed.stderr


def test_an_unknown_name_of_a_broken_installation_is_refused():
    with pytest.raises(ValueError, match="'no_docker' is not one of no-docker, no-plugin"):
        SimulatedDocker.broken("no_docker")


def test_a_simulation_without_docker_has_no_command():
    with SimulatedDocker.broken("no-docker") as docker, pytest.raises(FileNotFoundError):
        call(docker, "version")


def test_an_older_version_has_no_color_flag_and_reads_no_files():
    with SimulatedDocker(version="v0.1.40", script=["see ", "it"]) as docker:
        completed = call(docker, "run", "--color", "no", "--", MODEL, stdin="hi")
        assert completed.stderr.startswith("unknown flag: --color\n")
        call(docker, "run", "--", MODEL, stdin="  @/etc/hostname \n")
        assert docker.prompts == ["  @/etc/hostname \n"]  # neither replaced nor trimmed
        assert call(docker, "version").stdout.startswith("Docker Model Runner version v0.1.40\n")


@pytest.mark.parametrize("version", ["v0.1.39", "v0.1.27", "latest"])
def test_an_unsupported_version_is_refused(version):
    with pytest.raises(ValueError, match=r"v0\.1\.40|invalid literal"):
        SimulatedDocker(version=version)


def test_text_files_that_a_prompt_names_are_sent_like_by_the_real_command(tmp_path):
    (tmp_path / "secret.txt").write_bytes(b"s3\r\ncret")
    (tmp_path / "p.png").write_bytes(b"\x89PNG")
    with SimulatedDocker() as docker:
        call(docker, "run", MODEL, " see @secret.txt @p.png and @other.txt\n", cwd=tmp_path)
    assert docker.prompts == ["see s3\r\ncret @p.png and @other.txt"]


def test_the_runner_answers_http_requests_without_the_command():
    with SimulatedDocker(script="Hello") as docker:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True}
        request = urllib.request.Request(
            f"{docker.url}/engines/v1/chat/completions", json.dumps(body).encode()
        )
        with urllib.request.urlopen(request) as reply:
            lines = [line for line in reply.read().splitlines() if line]
        assert lines[-1] == b"data: [DONE]"
        assert docker.prompts == ["hi"]
        assert docker.requests[0].call is None
        with urllib.request.urlopen(f"{docker.url}/v1/models") as reply:
            assert json.load(reply)["data"][0]["id"] == "docker.io/ai/smollm2:latest"
        for path, data in (("/nowhere", None), ("/models/create", b"no JSON")):
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(f"{docker.url}{path}", data)


def test_closing_the_simulation_ends_idle_and_waiting_connections():
    with SimulatedDocker(script=[Hang()]) as docker:
        address = docker.url.removeprefix("http://")
        idle, waiting = (http.client.HTTPConnection(address) for _ in range(2))
        idle.request("GET", "/models")
        idle.getresponse().read()
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
        waiting.request("POST", "/engines/v1/chat/completions", json.dumps(body))
        docker.wait_prompts()
        docker.close()  # raises an error if a connection is still served
    assert docker.gone == ["hi"]
    for connection in (idle, waiting):
        connection.close()


@posix
def test_a_shell_can_run_the_command_of_the_environment():
    with SimulatedDocker():
        command = 'echo hi | eval "$DOCKER_MODEL_COMMAND run ai/smollm2"'
        assert subprocess.getoutput(command) == "You said: hi"


def test_simulations_of_a_process_never_have_the_same_address():
    addresses = set()
    for _ in range(400):
        with SimulatedDocker() as docker:
            addresses.add(docker.url)
    assert len(addresses) == 400
