"""`python -m docker_model`, run as a process: its outputs and its exit code."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from docker_model.testing import (
    Cut,
    Downloaded,
    Hang,
    Pulled,
    Reasoning,
    SimulatedDocker,
    Sleep,
    Text,
)
from tests.support.loading import loading_docker
from tests.support.platforms import needs_ctrl_c
from tests.support.terminal import CONSOLE, console, on_terminal

THINKING = [Reasoning("Let me see."), Text("It is 4.")]
NO_RICH = (
    "import sys; sys.modules['rich'] = None;"
    "from docker_model.__main__ import main; sys.exit(main())"
)


# -- list ------------------------------------------------------------------------------------


def test_list_prints_a_table(simulate):
    simulate(["ai/smollm2", "hf.co/org/model:Q4_K_M"])
    head, small, other = console("list").stdout.splitlines()
    assert head.split() == [
        "NAME",
        "PARAMETERS",
        "QUANTIZATION",
        "SIZE",
        "CONTEXT",
        "ABILITIES",
        "CREATED",
    ]
    assert small.startswith("ai/smollm2 ")
    assert small.endswith("2025-03-24")
    assert head.index("SIZE") == small.index("256.35MiB") == other.index("256.35MiB")


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        ("120", "NAME PARAMETERS QUANTIZATION SIZE CONTEXT ABILITIES CREATED"),
        ("50", "NAME SIZE CONTEXT ABILITIES"),
        ("9", "NAME"),
    ],
)
def test_list_on_a_narrow_terminal_omits_columns(docker, width, columns):
    shown, _ = on_terminal("list", COLUMNS=width)
    head, row = re.sub(r"\x1b\[\d*m", "", shown).splitlines()
    assert head.split() == columns.split()
    assert ("256.35MiB" in row) == ("SIZE" in columns)


def test_list_prints_json(docker):
    (model,) = json.loads(console("list", "--json").stdout)
    assert model["name"] == "ai/smollm2"
    assert model["tags"] == ["docker.io/ai/smollm2:latest"]
    assert model["created"] == "2025-03-24T11:49:41+00:00"


def test_listing_an_empty_store_names_the_pull_command(simulate):
    simulate([])
    done = console("list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "docker model pull" in done.stderr
    assert json.loads(console("list", "--json").stdout) == []


# -- ask -------------------------------------------------------------------------------------


def test_ask_prints_the_answer(docker):
    assert console("ask", "ai/smollm2", "Grüße?").stdout == "You said: Grüße?\n"
    done = console("ask", "ai/smollm2", typed="from stdin")
    assert (done.returncode, done.stdout, done.stderr) == (0, "You said: from stdin\n", "")
    assert console("ask", "ai/smollm2", "--", "-5 plus 3").stdout == "You said: -5 plus 3\n"


def on_windows(code, *arguments, typed=""):
    """Run the console in a process that behaves as on Windows."""
    code = f"import sys, docker_model.__main__ as main\nmain._WINDOWS = True\n{code}"
    page = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}  # not UTF-8
    env = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    return subprocess.run(
        [sys.executable, "-c", f"{code}\nsys.exit(main.main(sys.argv[1:]))", *arguments],
        input=typed,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
        env=env | page,
    )


def test_output_to_a_pipe_on_windows_is_utf_8_with_any_code_page(docker):
    done = on_windows("", "ask", "ai/smollm2", typed="Gr\u00fc\u00dfe \u4f60\u597d")
    assert (done.stdout, done.stderr) == ("You said: Gr\u00fc\u00dfe \u4f60\u597d\n", "")


def test_a_closed_output_on_windows_is_no_failure(docker):
    """Windows reports "Invalid argument" once; afterwards the output goes to the null device."""
    done = on_windows(
        """
import io
class Gone(io.TextIOWrapper):
    def write(self, text):
        self.write = super().write
        raise OSError(22, "Invalid argument")
sys.stdout = Gone(open(1, "wb", closefd=False))
""",
        "list",
    )
    assert (done.returncode, done.stderr) == (141, "")


def test_a_pipe_gets_only_the_answer(simulate):
    simulate({"ai/smollm2": [*THINKING, Text(" \x1b[31mred\x1b[0m\n")]})
    assert console("ask", "ai/smollm2", "2+2?").stdout == "It is 4. \x1b[31mred\x1b[0m\n"


def test_a_terminal_gets_dimmed_reasoning(simulate):
    simulate({"ai/smollm2": THINKING})
    shown, code = on_terminal("ask", "ai/smollm2", "2+2?")
    assert code == 0
    dimmed = "".join(re.findall(r"\x1b\[2m(.*?)\x1b\[0m", shown))
    assert dimmed == "Let me see."
    assert shown.endswith("\r\n\r\nIt is 4.\r\n")


def test_escape_sequences_in_an_answer_do_not_reach_the_terminal(simulate):
    simulate({"ai/smollm2": "a\tb\x1b]0;title\x07 \x9b31m\r end"})
    shown, _ = on_terminal("ask", "ai/smollm2", "?")
    assert shown == "a\tb␛]0;title␇ \ufffd31m␍ end\r\n"


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_a_terminal_without_colors_gets_plain_text(simulate, environment):
    simulate({"ai/smollm2": THINKING})
    shown, _ = on_terminal("ask", "ai/smollm2", "2+2?", **environment)
    assert not re.search(r"\x1b\[[34]", shown)
    assert "Let me see." in re.sub(r"\x1b\[\d*m", "", shown)


def test_a_terminal_without_rich_gets_plain_text(simulate):
    simulate({"ai/smollm2": THINKING})
    shown, code = on_terminal("ask", "ai/smollm2", "2+2?", command=[sys.executable, "-c", NO_RICH])
    assert (shown, code) == ("Let me see.\r\n\r\nIt is 4.\r\n", 0)


def test_a_prompt_can_be_typed_on_a_terminal(docker):
    shown, code = on_terminal("ask", "ai/smollm2", typed=b"Hi\n\x04", after=b"Ctrl-D:")
    assert code == 0
    assert shown.endswith("You said: Hi\r\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["ask", "ai/nosuch", "Hi"], "Hint: `docker model pull ai/nosuch`"),
        (["ask", "ai/smollm2", " "], "blank"),
        (["ask", "-x", "Hi"], "usage:"),
        (["pull", "ai/nosuch"], "the registry has no model 'ai/nosuch'"),
        (["pull"], "usage:"),
        (["dance"], "usage:"),
        ([], "usage:"),
    ],
)
def test_failures_are_written_to_stderr(docker, arguments, text):
    done = console(*arguments)
    assert done.returncode == (2 if text == "usage:" else 1)
    assert done.stdout == ""
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_an_answer_that_breaks_off_ends_its_line(simulate):
    simulate({"ai/smollm2": [Text("so far"), Sleep(0.05), Cut()]})
    done = console("ask", "ai/smollm2", "?")
    assert (done.returncode, done.stdout) == (1, "so far\n")
    assert "was lost" in done.stderr


def test_an_undecodable_prompt_is_refused(docker):
    done = subprocess.run(
        [*CONSOLE, "ask", "ai/smollm2"], input=b"\xff\xfe", capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"is not UTF-8" in done.stderr


def test_characters_missing_in_the_encoding_are_replaced(simulate):
    simulate({"ai/smollm2": "caf\u00e9 \u6771"})
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [*CONSOLE, "ask", "ai/smollm2", "?"]
    done = subprocess.run(command, env=env, capture_output=True, check=True)
    assert done.stdout.splitlines() == [b"caf? ?"]


# -- pull ------------------------------------------------------------------------------------


DOWNLOAD = [*(Downloaded(n, 100) for n in range(0, 101, 2)), Pulled()]


def test_pull_prints_lines_into_a_pipe(simulate):
    simulate([], pullable={"ai/smollm2": DOWNLOAD})
    done = console("pull", "ai/smollm2")
    assert (done.returncode, done.stdout) == (0, "pulled ai/smollm2 (256.35MiB)\n")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("Downloaded 0.00B of 100.00B")
    assert lines[-1] == "Model pulled successfully"
    assert len(lines) == 12  # a line for each tenth, of 51


def test_pull_on_a_terminal_shows_one_changing_line(simulate):
    simulate([], pullable={"ai/smollm2": DOWNLOAD})
    shown, code = on_terminal("pull", "ai/smollm2")
    assert code == 0
    assert "━" in shown
    assert shown.endswith("pulled ai/smollm2 (256.35MiB)\r\n")


# -- interruption ----------------------------------------------------------------------------


@needs_ctrl_c
def test_ctrl_c_ends_the_command_quickly_without_a_traceback(simulate):
    docker = simulate({"ai/smollm2": [Text("one "), Hang()]})
    with subprocess.Popen(
        [*CONSOLE, "ask", "ai/smollm2", "?"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.read(4) == b"one "
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == b""
    docker.wait_all_gone()


def test_ctrl_c_on_a_terminal_ends_the_line(simulate):
    docker = simulate({"ai/smollm2": [Text("one "), Hang()]})
    shown, code = on_terminal("ask", "ai/smollm2", "?", typed=b"\x03", after=b"one ")
    assert code == 130
    assert shown.replace("^C", "") == "one \r\n"  # the shell's prompt begins a line
    docker.wait_all_gone()


@needs_ctrl_c
def test_ctrl_c_before_the_first_word_ends_the_command(simulate):
    docker = simulate({"ai/smollm2": [Hang()]})
    with subprocess.Popen([*CONSOLE, "ask", "ai/smollm2", "?"], stderr=subprocess.PIPE) as process:
        docker.wait_prompts()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == b""
    docker.wait_all_gone()


@needs_ctrl_c
def test_ctrl_c_ends_a_pull(simulate):
    docker = simulate([], pullable={"ai/smollm2": [Downloaded(1, 4), Hang()]})
    with subprocess.Popen([*CONSOLE, "pull", "ai/smollm2"], stderr=subprocess.PIPE) as process:
        assert process.stderr.readline() == b"Downloaded 1.00B of 4.00B\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == b""
    docker.wait_all_gone()


def test_a_closed_pipe_ends_the_command_without_a_traceback(simulate):
    docker = simulate({"ai/smollm2": [Text("word " * 100_000, 50)]})
    arguments = ["ask", "--max-chars", "0", "ai/smollm2", "?"]
    with subprocess.Popen(
        [*CONSOLE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.read(4)
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""
    docker.wait_all_gone()


# -- shell completion -------------------------------------------------------------------------


def completed(line, tmp_path):
    """Return what a shell would offer after Tab, as argcomplete reports it."""
    offered = tmp_path / "offered"
    variables = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(offered),
    }
    line = f"docker-model-llm {line}"
    console(env={**os.environ, **variables, "COMP_LINE": line, "COMP_POINT": str(len(line))})
    return offered.read_text().split()


def test_completion_offers_commands_and_models(simulate, tmp_path):
    simulate(["ai/smollm2", "ai/qwen3"])
    assert completed("l", tmp_path) == ["list"]
    assert completed("list --j", tmp_path) == ["--json"]
    assert sorted(completed("ask ai/", tmp_path)) == ["ai/qwen3", "ai/smollm2"]
    assert completed("check ai/s", tmp_path) == ["ai/smollm2"]


@pytest.mark.simulated
def test_completion_works_without_docker(tmp_path):
    with SimulatedDocker.broken("no-docker"):
        assert completed("ask ai/", tmp_path) == ["ai/smollm2"]  # over HTTP
    with SimulatedDocker.broken("refused"):
        assert completed("ask ai/", tmp_path) == []


# -- help ------------------------------------------------------------------------------------


COMMANDS = ["check", "ask", "chat", "list", "ps", "pull", "search", "rm", "configure"]


def test_without_a_command_the_help_is_printed():
    done = console()
    assert (done.returncode, done.stdout) == (2, "")
    assert "docker-model-llm ask ai/smollm2 What is a container?" in done.stderr


@pytest.mark.parametrize("arguments", [[], *([command] for command in COMMANDS)])
def test_help_is_printed(arguments):
    done = console(*arguments, "--help")
    assert done.returncode == 0
    words = arguments or [*COMMANDS, "DOCKER_MODEL_COMMAND", "130"]
    words = [*words, "examples:", "https://"]
    assert all(word in done.stdout for word in words)


def test_version_is_printed():
    assert re.fullmatch(r"docker-model-llm \d+\.\d+\S*\n", console("--version").stdout)


def test_waiting_is_shown_in_a_line_that_the_answer_overwrites():
    with loading_docker():
        shown, code = on_terminal("ask", "ai/smollm2", "?", NO_COLOR="1")
    assert code == 0
    waited, blank, answer = shown.rsplit("\r", 2)[0], *shown.split("\r")[1:3]
    assert "ai/smollm2: loading the model …" in waited
    assert not blank.strip()
    assert answer == "Yes."


def test_waiting_is_not_shown_in_a_pipe(simulate):
    simulate({"ai/smollm2": [Sleep(1.5), Text("Yes.")]})
    done = console("ask", "ai/smollm2", "?")
    assert (done.stdout, done.stderr) == ("Yes.\n", "")
