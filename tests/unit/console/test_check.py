"""`python -m docker_model check`, run as a process."""

import os
import re

import pytest

from docker_model.errors import install_hint
from docker_model.http import addresses
from docker_model.testing import Fail, Hang, Reply, SimulatedDocker
from tests.support.platforms import needs_unix_sockets
from tests.support.programs import run_python
from tests.support.terminal import console, on_terminal
from tests.unit.http.wire import Wire


def test_check_succeeds_if_everything_works(docker):
    done = console("check")
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", name]
        for name in ("docker", "plugin", "runner", "models", "answer", "stream", "engine", "api")
    ]
    assert docker.url in lines[2]
    assert "1: ai/smollm2" in lines[3]
    assert "You said:" in lines[4]
    assert re.search(r"in \d+ pieces?, the first after \d", lines[5])
    assert "llama.cpp, context 4096 of 8192 tokens, chat" in lines[6]
    assert lines[7].endswith(f"{docker.url}/engines/v1, by MODEL_RUNNER_HOST")
    assert done.stderr == ""


@pytest.mark.parametrize(("found", "said"), [("false", "no GPU"), ("true", "GPU")])
def test_check_reads_from_the_whole_log_whether_a_gpu_is_used(simulate, found, said):
    start = f'level=INFO msg="installed llama-server" gpuSupport={found}\n'
    log = start + "level=INFO msg=more\n" * 2000
    simulate(replies={"GET /logs": Reply(body=log)})
    (engine,) = [line for line in console("check").stdout.splitlines() if line[8:14] == "engine"]
    assert engine.endswith(f", {said}")


def left_on(shown):
    """Return the text left on a terminal after some lines were overwritten."""
    return re.sub(r"[^\n]*\r(?!\n)", "", shown)


def test_check_on_a_terminal_shows_the_current_step(docker):
    shown, code = on_terminal("check", TERM="dumb")
    assert code == 0
    assert "        answer  …" in shown
    assert all(line.startswith("ok ") for line in left_on(shown).splitlines())


def test_an_interrupted_check_leaves_a_clean_line(simulate):
    simulate({"ai/smollm2": [Hang()]})
    waiting = "answer  …".encode()
    shown, code = on_terminal("check", TERM="dumb", typed=b"\x03", after=waiting)
    assert code == 130
    assert left_on(shown).splitlines()[-1] == ""


@pytest.mark.simulated
@pytest.mark.parametrize(
    ("how", "failed", "step"),
    [
        ("no-plugin", "plugin", "docker-model-plugin"),
        ("no-engine", "runner", "start Docker"),
        ("refused", "runner", "docker desktop enable model-runner"),
        ("runner-off", "runner", "docker desktop enable model-runner"),
    ],
)
def test_check_stops_at_the_first_failed_step(how, failed, step):
    with SimulatedDocker.broken(how):
        brief, done = console("check"), console("check", "-v")
    assert done.returncode == brief.returncode == 1
    assert "skipped" not in brief.stdout
    assert len(brief.stdout.splitlines()) < len(done.stdout.splitlines())
    assert brief.stdout.splitlines()[-1].strip().startswith("-v shows details")
    results = [line.split() for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert [words[1] for words in results if words[0] == "failed"] == [failed]
    assert results[-2] == ["skipped", "engine"]
    assert results[-1][1] == "api"
    (advice,) = [line for line in done.stdout.splitlines() if line.startswith("        next: ")]
    assert step in advice


def test_check_fails_without_the_command_and_the_api():
    nowhere = {
        "DOCKER_MODEL_COMMAND": "/nonexistent/docker model",
        "MODEL_RUNNER_HOST": "http://127.0.0.1:1",
    }
    done = console("check", env=os.environ | nowhere)
    assert done.returncode == 1
    assert done.stdout.startswith("failed  docker  there is no program '/nonexistent/docker'")
    assert "next: install Docker (https://docs.docker.com/get-docker/)" in done.stdout


def test_check_uses_http_without_the_command_as_in_a_container():
    with SimulatedDocker.broken("no-docker"):
        done = console("check")
    assert done.returncode == 0, done
    lines = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert [line.split()[:2] for line in lines] == [
        ["note", "docker"],
        *(["ok", name] for name in ("runner", "models", "answer", "stream", "engine", "api")),
    ]
    assert "next: install Docker (https://docs.docker.com/get-docker/)" in done.stdout


def api_report(**env):
    """Return the report on the HTTP API if neither the command nor a setting knows its address."""
    blank = dict.fromkeys(set(addresses.RELEVANT) - {"HOME"}, "")
    env = os.environ | blank | {"DOCKER_MODEL_COMMAND": "/nonexistent/docker model"} | env
    lines = console("check", "-v", env=env).stdout.splitlines()
    (start,) = [number for number, line in enumerate(lines) if line[8:].startswith("api")]
    return lines[start], [line.strip() for line in lines[start + 1 :]]


@needs_unix_sockets
def test_check_reports_how_the_api_was_found(tmp_path):
    path = str(tmp_path / "docker.sock")
    with Wire(path=path, prefix="/exp/vDD4.40/engines/v1"):
        report, attempts = api_report(DOCKER_HOST=f"unix://{path}")
    assert report.startswith("ok      api     http://localhost/exp/vDD4.40/engines/v1, by Docker's")
    assert attempts[0].startswith("docker model status: there is no program")
    assert attempts[1:] == [f"Docker's socket (unix://{path} /exp/vDD4.40): answers"]


def test_check_reports_that_no_api_was_found():
    report, attempts = api_report(MODEL_RUNNER_URL="http://127.0.0.1:1/engines/v1")
    assert report == "note    api     Docker Model Runner was not found"
    assert attempts == ["MODEL_RUNNER_URL (http://127.0.0.1:1): Connection refused"]


WITHOUT_HTTPCORE = """
import sys
sys.modules["httpcore"] = None
from docker_model.__main__ import main
sys.exit(main(["check"]))
"""


def test_check_says_how_to_install_what_the_api_needs(docker):
    done = run_python(["-c", WITHOUT_HTTPCORE])
    assert done.returncode == 0, done
    assert done.stdout.splitlines()[-2:] == [
        "note    api     the HTTP transport requires httpcore, which is not installed",
        f"        next: {install_hint('http')}",
    ]


@pytest.mark.parametrize(
    ("prefix", "command"),
    [
        ("/home/me/.venv", 'pip install "docker-model-llm[http]" (in a checkout: pip install '),
        ("/home/me/.local/share/pipx/venvs/docker-model-llm", "pipx install --force "),
        (r"C:\Users\me\pipx\venvs\docker-model-llm", "pipx install --force "),
        ("/home/me/.local/share/uv/tools/docker-model-llm", "uv tool install --force "),
    ],
)
def test_an_extra_is_installed_as_the_package_was(monkeypatch, prefix, command):
    monkeypatch.setattr("sys.prefix", prefix)
    assert install_hint("http").startswith(command)
    assert '"docker-model-llm[http]"' in install_hint("http")


@pytest.mark.parametrize(
    ("models", "arguments", "line"),
    [
        ([], [], "failed  models  there is no local chat model"),
        (["ai/nomic-embed-text"], [], "failed  models  there is no local chat model"),
        (["ai/nomic-embed-text", "ai/b"], [], "ok      answer  ai/b in"),
        (["ai/smollm2"], ["smollm2:latest"], "ok      answer  smollm2:latest in"),
        (["ai/smollm2"], ["ai/other"], "failed  models  the model 'ai/other' is not pulled"),
        (["ai/smollm2"], ["../x"], "failed  models  the model name '../x'"),
        ({"ai/smollm2": [Fail.out_of_memory()]}, [], "failed  answer  there is not enough memory"),
    ],
)
def test_check_reports_the_models(simulate, models, arguments, line):
    simulate(models)
    done = console("check", *arguments)
    assert line in done.stdout
    assert done.returncode == (1 if line.startswith("failed") else 0)
