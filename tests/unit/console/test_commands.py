"""The subcommands of `python -m docker_model` other than `check`, run as processes."""

import base64
import json
import os
import subprocess
import sys

import pytest

from docker_model.testing import Finish, Hang, Reasoning, Sleep, Stderr, Text
from tests.support.terminal import CONSOLE, console, on_terminal

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


# -- models ----------------------------------------------------------------------------------


def test_list_shows_every_tag(docker):
    console("configure", "ai/smollm2", "--context-size", "1024")
    subprocess.run([*docker.command, "tag", "ai/smollm2", "ai/mine:v1"], check=True)
    rows = [line.split() for line in console("list").stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == ["ai/smollm2", "ai/mine:v1"]
    assert all("1024" in row for row in rows)


def test_ps_lists_loaded_models_and_rm_removes_one(docker):
    assert "no model is loaded" in console("ps").stderr
    console("ask", "ai/smollm2", "Hi")
    head, row = console("ps").stdout.splitlines()
    assert head.split() == ["NAME", "BACKEND", "MODE"]
    assert row.split() == ["ai/smollm2", "llama.cpp", "completion"]
    assert console("rm", "ai/smollm2").stdout == "removed ai/smollm2\n"
    done = console("rm", "ai/smollm2")
    assert (done.returncode, "is not pulled" in done.stderr) == (1, True)


def test_configure_changes_and_shows_the_configuration(docker):
    arguments = ["--keep-alive", "1h", "--no-think", "--", "--temp", "0"]
    done = console("configure", "ai/smollm2", *arguments)
    assert done.stdout.splitlines() == [
        "keep_alive: 1h0m0s",
        "think: False",
        "mode: completion",
        "runtime_flags: --temp 0",
        "effective context size: 4096",
    ]
    assert console("configure", "ai/smollm2").stdout == done.stdout
    refused = console("configure", "ai/smollm2", "--context-size", "0")
    assert (refused.returncode, "context_size" in refused.stderr) == (1, True)


def test_search_lists_the_results(simulate):
    simulate([], pullable={"ai/qwen3": [], "ai/smollm2": []})
    lines = console("search", "smol").stdout.splitlines()
    assert lines[0].startswith("NAME")
    assert [line.split()[0] for line in lines[1:]] == ["ai/smollm2"]
    assert "no model was found" in console("search", "nothing").stderr
    done = console("search", "--transport", "http", "smol")
    assert (done.returncode, "cannot search" in done.stderr) == (1, True)


def test_search_names_a_source_that_could_not_be_asked(simulate):
    warning = "Warning: failed to search Docker Hub: unexpected status from Docker Hub: 500 Oops\n"
    simulate([], pullable={"hf.co/org/smol": []}, startup=[Stderr(warning)])
    done = console("search", "smol")
    assert (done.returncode, "hf.co/org/smol" in done.stdout) == (0, True)
    assert done.stderr == "Docker Hub could not be searched: 500 Oops\n"


def test_another_runner_is_selected_by_its_address(docker):
    assert "ai/smollm2" in console("list", "--base-url", docker.url).stdout
    assert not docker.calls
    done = console("list", "--base-url", "http://127.0.0.1:9")
    assert (done.returncode, "was not found" in done.stderr) == (1, True)


# -- ask -------------------------------------------------------------------------------------


def test_a_prompt_needs_no_quotes(docker):
    assert (
        console("ask", "ai/smollm2", "What", "is", "Docker").stdout == "You said: What is Docker\n"
    )
    done = console("ask", "ai/smollm2", "Summarize:", "-", typed="a text\n")
    assert done.stdout == "You said: Summarize:\n\na text\n"


def test_ask_prints_an_answer_as_json(simulate):
    simulate({"ai/smollm2": [Reasoning("Hm."), Text("Grüße!")]})
    answer = json.loads(console("ask", "ai/smollm2", "--json", "Hi").stdout)
    assert (answer["text"], answer["reasoning"]) == ("Grüße!", "Hm.")
    assert (answer["finish_reason"], answer["model"]) == ("stop", "ai/smollm2")


def test_sampling_parameters_and_roles_are_sent(docker, tmp_path):
    image = tmp_path / "cat.png"
    image.write_bytes(PIXEL)
    arguments = ["--temperature", "0", "--max-tokens", "9", "--seed", "3", "--system", "Be brief."]
    console("ask", "ai/smollm2", *arguments, "--image", str(image), "What is this?")
    body = docker.requests[-1].body
    assert (body["temperature"], body["max_tokens"], body["seed"]) == (0, 9, 3)
    system, user = body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert user["content"][0] == {"type": "text", "text": "What is this?"}
    url = user["content"][1]["image_url"]["url"]
    assert base64.b64decode(url.removeprefix("data:image/png;base64,")) == PIXEL


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "nowhere.png"], "cannot be read"),
        (["--image", "notes.txt"], "does not have the extension"),
        (["--system", "Hi", "--transport", "cli"], "does not support --system"),
        (["--temperature", "0", "--transport", "cli"], "does not support temperature"),
        (["--max-chars", "-1"], "max_chars"),
        (["--timeout", "0"], "timeout"),
    ],
)
def test_an_invalid_option_is_named(docker, arguments, message):
    done = console("ask", "ai/smollm2", *arguments, "Hi")
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Hint:" in done.stderr


def test_an_answer_with_only_reasoning_is_an_error(simulate):
    simulate({"ai/smollm2": [Reasoning("Hm. "), Reasoning("Hm?"), Finish("length")]})
    done = console("ask", "ai/smollm2", "Hi")
    assert (done.returncode, done.stdout) == (1, "")
    assert "only reasoning" in done.stderr
    assert "--max-tokens" in done.stderr


def test_an_answer_that_was_cut_is_reported(simulate):
    simulate({"ai/smollm2": "word " * 100})
    done = console("ask", "ai/smollm2", "--max-chars", "20", "Hi")
    assert (done.returncode, done.stdout) == (0, "word word word word \n")
    assert "cut off at a limit" in done.stderr


def test_an_answer_times_out(simulate):
    simulate({"ai/smollm2": [Text("so far"), Hang()]})
    done = console("ask", "ai/smollm2", "--timeout", "1", "Hi")
    assert (done.returncode, done.stdout) == (1, "so far\n")
    assert "'total' took longer than 1 s" in done.stderr


# -- chat ------------------------------------------------------------------------------------


def test_chat_sends_and_saves_the_conversation(docker, tmp_path):
    saved = tmp_path / "chat.json"
    typed = f'Hello\n/tokens\n"""two\nlines"""\n/nope\n/save {saved}\n/bye\nnever\n'
    done = console("chat", "ai/smollm2", "--system", "Be brief.", typed=typed)
    assert done.returncode == 0, done
    assert "You said: Hello\n" in done.stdout
    assert "You said: two\nlines\n" in done.stdout
    assert " tokens of 4096" in done.stdout
    assert "there is no command /nope" in done.stderr
    assert "never" not in done.stdout
    content = json.loads(saved.read_text())
    assert content["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "You said: Hello"},
        {"role": "user", "content": "two\nlines"},
        {"role": "assistant", "content": "You said: two\nlines"},
    ]
    conversations = [
        request.body["messages"] for request in docker.requests if request.prompt is not None
    ]
    assert conversations[-1] == content["messages"][:4]


def test_chat_continues_after_changing_the_model(simulate):
    simulate({"ai/one": "I am one.", "ai/two": "I am two."})
    typed = "Who?\n/model ai/nothing\n/model ai/two\nWho?\n/clear\n/system Be nice.\n/help\n"
    done = console("chat", "ai/one", typed=typed)
    assert done.returncode == 0
    assert done.stdout.index("I am one.") < done.stdout.index("I am two.")
    assert "is not pulled" in done.stderr
    for text in ("(a new conversation)", "Be nice.", "/tokens"):
        assert text in done.stdout


@pytest.mark.parametrize(
    "arguments", [("ask", "Hi"), ("ask", "--temperature", "0", "Hi"), ("chat",), ("check",)]
)
def test_a_misspelled_model_gets_the_similar_name_first(docker, arguments):
    command, *options = arguments
    done = console(command, "ai/smolm2", *options)
    assert done.returncode == 1
    assert "did you mean 'ai/smollm2'? If not: `docker model pull ai/smolm2`" in (
        done.stdout + done.stderr
    )


@pytest.mark.parametrize("columns", ["60", "120"])
def test_ctrl_c_ends_the_answer_and_not_the_conversation(simulate, columns):
    docker = simulate({"ai/smollm2": [Text("one "), Sleep(0.05), Hang()]})
    shown, code = on_terminal(
        "chat",
        "ai/smollm2",
        command=_typing([(b"> ", b"Hi\n"), (b"one ", b"\x03"), (b"(interrupted)", b"/bye\n")]),
        COLUMNS=columns,
        DOCKER_MODEL_HISTORY="",
    )
    assert code == 0, shown
    assert "(interrupted)" in shown
    docker.wait_all_gone()


UP = b"\x1b[A"


def chat_typing(*lines, **env):
    """Type lines, each at the prompt, and then `/bye`; return what was shown."""
    keys = [(b"> ", line) for line in (*lines, b"/bye\n")]
    shown, code = on_terminal("chat", "ai/smollm2", command=_typing(keys), **env)
    assert code == 0, shown
    return shown


@pytest.mark.skipif(sys.platform != "linux", reason="the place of the file is another one")
def test_typed_lines_are_kept_for_the_next_conversation(docker, tmp_path):
    chat_typing(b"First\n", '"""Grüße\n"""\n'.encode(), XDG_STATE_HOME=str(tmp_path))
    file = tmp_path / "docker-model-llm" / "chat-history"
    assert file.read_text("utf-8").split("\n") == ["First", '"""Grüße', '"""', "/bye", ""]
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    chat_typing(UP * 4 + b"\n", XDG_STATE_HOME=str(tmp_path))
    assert docker.prompts == ["First", "Grüße\n", "First"]


def test_the_file_of_typed_lines_is_shortened(docker, tmp_path):
    file = tmp_path / "typed"
    file.write_bytes(b"".join(b"line %d\n" % number for number in range(1500)) + b"\xff\0\n")
    chat_typing(UP * 1000 + b"\n", DOCKER_MODEL_HISTORY=str(file))
    assert docker.prompts == ["line 501"]
    lines = file.read_text("utf-8").split("\n")
    assert (lines[0], lines[999:]) == ("line 501", ["\ufffd", "line 501", "/bye", ""])


def test_no_typed_line_is_kept_if_none_is_wanted_or_it_comes_from_a_pipe(docker, tmp_path):
    env = {"XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    chat_typing(b"Hi\n", **env, DOCKER_MODEL_HISTORY="")
    console("chat", "ai/smollm2", typed="Hi\n", env={**os.environ, **env})
    assert docker.prompts == ["Hi", "Hi"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [True, False], ids=["to-read", "to-write"])
def test_a_history_that_cannot_be_kept_is_one_warning(docker, tmp_path, there):
    (tmp_path / "file").touch()
    file = tmp_path if there else tmp_path / "file" / "new"
    output = chat_typing(b"One\n", b"Two\n", DOCKER_MODEL_HISTORY=str(file))
    assert output.count("the input history is not saved") == 1
    assert output.count("Hint: set DOCKER_MODEL_HISTORY to a writable file") == 1
    assert docker.prompts == ["One", "Two"]


def _typing(keys):
    """Return a program that runs `chat` on a terminal and types its input.

    Args:
        keys: Pairs of the output to wait for and the text to type then.
    """
    script = f"""
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.executable, {CONSOLE!r} + sys.argv[1:])
keys = {keys!r}
shown = b""
while True:
    try:
        data = os.read(terminal, 65536)
    except OSError:
        break
    os.write(1, data)
    shown += data
    if keys and keys[0][0] in shown:
        os.write(terminal, keys.pop(0)[1])
        shown = b""
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    return [sys.executable, "-c", script]
