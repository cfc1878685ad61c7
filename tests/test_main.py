"""`python -m docker_model`, as its user meets it: a process, its outputs, its exit code."""

import contextlib
import json
import os
import pty
import re
import signal
import socketserver
import subprocess
import sys
import threading

import pytest

from docker_model.http import addresses
from docker_model.testing import (
    Cut,
    Downloaded,
    Fail,
    Hang,
    Pulled,
    Reasoning,
    SimulatedDocker,
    Sleep,
    Text,
)

CONSOLE = [sys.executable, "-m", "docker_model"]
THINKING = [Reasoning("Let me see."), Text("It is 4.")]
NO_RICH = (
    "import sys; sys.modules['rich'] = None;"
    "from docker_model.__main__ import main; sys.exit(main())"
)


def console(*arguments, typed="", **settings):
    return subprocess.run(
        [*CONSOLE, *arguments],
        input=typed,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
        **settings,
    )


def on_terminal(*arguments, command=CONSOLE, typed=b"", after=b"", **env):
    """Run it on a terminal; types `typed` once `after` was shown. Gives screen and exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({"TERM": "xterm", **env})
        os.execv(command[0], [*command, *arguments])
    shown = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO, Linux's way to say that the other end is closed
            break
        if not data:
            break
        shown += data
        if typed and after in shown:
            os.write(terminal, typed)
            typed = b""
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return shown.decode(), os.waitstatus_to_exitcode(status)


# -- check -----------------------------------------------------------------------------------


def test_check_where_everything_holds(docker):
    done = console("check")
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", name] for name in ("docker", "plugin", "runner", "models", "answer", "stream", "api")
    ]
    assert docker.url in lines[2]
    assert "1: ai/smollm2" in lines[3]
    assert "You said:" in lines[4]
    assert re.search(r"in \d+ pieces?, the first after \d", lines[5])
    assert lines[6].endswith(f"{docker.url}/engines/v1, by MODEL_RUNNER_HOST")
    assert done.stderr == ""


@pytest.mark.simulated
@pytest.mark.parametrize(
    ("how", "failed", "step"),
    [
        ("no-docker", "docker", "https://docs.docker.com/get-docker/"),
        ("no-plugin", "plugin", "docker-model-plugin"),
        ("no-engine", "runner", "start Docker"),
        ("refused", "runner", "docker desktop enable model-runner"),
        ("runner-off", "runner", "docker desktop enable model-runner"),
    ],
)
def test_check_stops_at_what_is_missing(how, failed, step):
    with SimulatedDocker.broken(how):
        done = console("check")
    assert done.returncode == 1
    results = [line.split() for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert [words[1] for words in results if words[0] == "failed"] == [failed]
    assert results[-2] == ["skipped", "stream"]
    assert results[-1][1] == "api"
    (advice,) = [line for line in done.stdout.splitlines() if line.startswith("        next: ")]
    assert step in advice


def api_report(**env):
    """What `check` says of the HTTP API where neither the command nor a setting knows it."""
    blank = dict.fromkeys(set(addresses.RELEVANT) - {"HOME"}, "")
    env = os.environ | blank | {"DOCKER_MODEL_COMMAND": "/nonexistent/docker model"} | env
    lines = console("check", env=env).stdout.splitlines()
    (start,) = [number for number, line in enumerate(lines) if line[8:].startswith("api")]
    return lines[start], [line.strip() for line in lines[start + 1 :]]


def test_check_tells_the_way_to_the_api(tmp_path):
    path = str(tmp_path / "docker.sock")
    with serving_models(path):
        found, way = api_report(DOCKER_HOST=f"unix://{path}")
    assert found.startswith("ok      api     http://localhost/exp/vDD4.40/engines/v1, by Docker's")
    assert way[0].startswith("docker model status: there is no program")
    assert way[1:] == [f"Docker's socket (unix://{path} /exp/vDD4.40): answers"]


def test_check_tells_where_no_api_was_found():
    found, way = api_report(MODEL_RUNNER_URL="http://127.0.0.1:1/engines/v1")
    assert found == "note    api     Docker Model Runner was not found"
    assert way == ["MODEL_RUNNER_URL (http://127.0.0.1:1): All connection attempts failed"]


@contextlib.contextmanager
def serving_models(path):
    """A list of models for all who ask, at a Unix socket."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while self.rfile.readline().strip():
                pass
            body = b'{"object": "list", "data": []}'
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            self.wfile.write(head % len(body) + body)

    with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("models", "arguments", "line"),
    [
        ([], [], "failed  models  there is no model to ask"),
        (["ai/nomic-embed-text"], [], "failed  models  there is no model to ask"),
        (["ai/nomic-embed-text", "ai/b"], [], "ok      answer  ai/b in"),
        (["ai/smollm2"], ["smollm2:latest"], "ok      answer  smollm2:latest in"),
        (["ai/smollm2"], ["ai/other"], "failed  models  the model 'ai/other' is not pulled"),
        (["ai/smollm2"], ["../x"], "failed  docker  the model name '../x'"),
        ({"ai/smollm2": [Fail.out_of_memory()]}, [], "failed  answer  there is not enough memory"),
    ],
)
def test_check_of_models(simulate, models, arguments, line):
    simulate(models)
    done = console("check", *arguments)
    assert line in done.stdout
    assert done.returncode == (1 if line.startswith("failed") else 0)


# -- list ------------------------------------------------------------------------------------


def test_list(simulate):
    simulate(["ai/smollm2", "hf.co/org/model:Q4_K_M"])
    head, small, other = console("list").stdout.splitlines()
    assert head.split() == ["NAME", "PARAMETERS", "QUANTIZATION", "SIZE", "CONTEXT", "CREATED"]
    assert small.startswith("ai/smollm2 ")
    assert small.endswith("2025-03-24")
    assert head.index("SIZE") == small.index("256.35MiB") == other.index("256.35MiB")


def test_list_as_json(docker):
    (model,) = json.loads(console("list", "--json").stdout)
    assert model["name"] == "ai/smollm2"
    assert model["tags"] == ["docker.io/ai/smollm2:latest"]
    assert model["created"] == "2025-03-24T11:49:41+00:00"


def test_list_of_nothing(simulate):
    simulate([])
    done = console("list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "docker model pull" in done.stderr
    assert json.loads(console("list", "--json").stdout) == []


# -- ask -------------------------------------------------------------------------------------


def test_ask(docker):
    assert console("ask", "ai/smollm2", "Grüße?").stdout == "You said: Grüße?\n"
    done = console("ask", "ai/smollm2", typed="from stdin")
    assert (done.returncode, done.stdout, done.stderr) == (0, "You said: from stdin\n", "")
    assert console("ask", "ai/smollm2", "--", "-5 plus 3").stdout == "You said: -5 plus 3\n"


def test_pipe_gets_the_answer_alone(simulate):
    simulate({"ai/smollm2": [*THINKING, Text(" \x1b[31mred\x1b[0m\n")]})
    assert console("ask", "ai/smollm2", "2+2?").stdout == "It is 4. \x1b[31mred\x1b[0m\n"


def test_terminal_gets_reasoning_dimmed(simulate):
    simulate({"ai/smollm2": THINKING})
    shown, code = on_terminal("ask", "ai/smollm2", "2+2?")
    assert code == 0
    dimmed = "".join(re.findall(r"\x1b\[2m(.*?)\x1b\[0m", shown))
    assert dimmed == "Let me see."
    assert shown.endswith("\r\n\r\nIt is 4.\r\n")


def test_models_words_cannot_drive_the_terminal(simulate):
    simulate({"ai/smollm2": "a\tb\x1b]0;title\x07 \x9b31m\r end"})
    shown, _ = on_terminal("ask", "ai/smollm2", "?")
    assert shown == "a\tb␛]0;title␇ \ufffd31m␍ end\r\n"


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_terminals_without_colours(simulate, environment):
    simulate({"ai/smollm2": THINKING})
    shown, _ = on_terminal("ask", "ai/smollm2", "2+2?", **environment)
    assert not re.search(r"\x1b\[[34]", shown)
    assert "Let me see." in re.sub(r"\x1b\[\d*m", "", shown)


def test_terminal_without_rich(simulate):
    simulate({"ai/smollm2": THINKING})
    shown, code = on_terminal("ask", "ai/smollm2", "2+2?", command=[sys.executable, "-c", NO_RICH])
    assert (shown, code) == ("Let me see.\r\n\r\nIt is 4.\r\n", 0)


def test_prompt_is_typed_on_a_terminal(docker):
    shown, code = on_terminal("ask", "ai/smollm2", typed=b"Hi\n\x04", after=b"Ctrl-D:")
    assert code == 0
    assert shown.endswith("You said: Hi\r\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["ask", "ai/nosuch", "Hi"], "Hint: `docker model pull ai/nosuch`"),
        (["ask", "ai/smollm2", " "], "blank"),
        (["ask", "-x", "Hi"], "usage:"),
        (["pull", "ai/nosuch"], "there is no model 'ai/nosuch' in its registry"),
        (["pull"], "usage:"),
        (["dance"], "usage:"),
        ([], "usage:"),
    ],
)
def test_failures_are_told_on_stderr(docker, arguments, text):
    done = console(*arguments)
    assert done.returncode == (2 if text == "usage:" else 1)
    assert done.stdout == ""
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_an_answer_that_breaks_off_ends_its_line(simulate):
    simulate({"ai/smollm2": [Text("so far"), Sleep(0.05), Cut()]})
    done = console("ask", "ai/smollm2", "?")
    assert (done.returncode, done.stdout) == (1, "so far\n")
    assert "broke off" in done.stderr


def test_prompt_that_is_no_text(docker):
    done = subprocess.run(
        [*CONSOLE, "ask", "ai/smollm2"], input=b"\xff\xfe", capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"is not UTF-8" in done.stderr


def test_encodings_that_lack_a_character(simulate):
    simulate({"ai/smollm2": "caf\u00e9 \u6771"})
    done = console("ask", "ai/smollm2", "?", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout) == (0, "caf? ?\n")


# -- pull ------------------------------------------------------------------------------------


DOWNLOAD = [*(Downloaded(n, 100) for n in range(0, 101, 2)), Pulled()]


def test_pull_into_a_pipe(simulate):
    simulate([], pullable={"ai/smollm2": DOWNLOAD})
    done = console("pull", "ai/smollm2")
    assert (done.returncode, done.stdout) == (0, "ai/smollm2 is here: 256.35MiB\n")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("Downloaded 0.00B of 100.00B")
    assert lines[-1] == "Model pulled successfully"
    assert len(lines) == 12  # a line for each tenth, of 51


def test_pull_on_a_terminal(simulate):
    simulate([], pullable={"ai/smollm2": DOWNLOAD})
    shown, code = on_terminal("pull", "ai/smollm2")
    assert code == 0
    assert "━" in shown
    assert shown.endswith("ai/smollm2 is here: 256.35MiB\r\n")


# -- the ends --------------------------------------------------------------------------------


def test_ctrl_c_leaves_quickly_and_quietly(simulate):
    docker = simulate({"ai/smollm2": [Text("one "), Hang()]})
    with subprocess.Popen(
        [*CONSOLE, "ask", "ai/smollm2", "?"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.read(4) == b"one "
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr.read() == b""
    docker.wait_all_gone()


def test_ctrl_c_on_a_terminal(simulate):
    docker = simulate({"ai/smollm2": [Text("one "), Hang()]})
    shown, code = on_terminal("ask", "ai/smollm2", "?", typed=b"\x03", after=b"one ")
    assert code == 130
    assert "Traceback" not in shown
    docker.wait_all_gone()


def test_ctrl_c_before_the_first_word(simulate):
    docker = simulate({"ai/smollm2": [Hang()]})
    with subprocess.Popen([*CONSOLE, "ask", "ai/smollm2", "?"], stderr=subprocess.PIPE) as process:
        docker.wait_prompts()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr.read() == b""
    docker.wait_all_gone()


def test_ctrl_c_ends_a_pull(simulate):
    docker = simulate([], pullable={"ai/smollm2": [Downloaded(1, 4), Hang()]})
    with subprocess.Popen([*CONSOLE, "pull", "ai/smollm2"], stderr=subprocess.PIPE) as process:
        assert process.stderr.readline() == b"Downloaded 1.00B of 4.00B\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr.read() == b""
    docker.wait_all_gone()


def test_reader_that_leaves(simulate):
    docker = simulate({"ai/smollm2": [Text("word " * 100_000, 50)]})
    with subprocess.Popen(
        [*CONSOLE, "ask", "ai/smollm2", "?"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.read(4)
        process.stdout.close()
        assert process.wait(20) == 141
        assert process.stderr.read() == b""
    docker.wait_all_gone()


# -- help ------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["check"], ["list"], ["ask"], ["pull"]])
def test_help(arguments):
    done = console(*arguments, "--help")
    assert done.returncode == 0
    words = arguments or ["check", "list", "ask", "pull", "DOCKER_MODEL_COMMAND", "130"]
    assert all(word in done.stdout for word in words)


def test_version():
    assert re.fullmatch(r"docker-model-llm \d+\.\d+\S*\n", console("--version").stdout)
