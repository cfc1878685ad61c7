"""`Client`: chats, their results, and the client as an object."""

import asyncio
import functools
import json
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from docker_model import GenerationError, InvalidRequestError, Timeouts
from docker_model._transport import environment
from docker_model.http import Client
from docker_model.testing import Hang, Reasoning, Text, ToolCall, Usage
from tests.support.modes import MODES
from tests.support.platforms import needs_unix_sockets, posix
from tests.unit.http.chatting import CLIENT, MESSAGES, MODEL, TOOL, USAGE, chat, chunks, text
from tests.unit.http.wire import STOP, Wire, events, reply


@pytest.mark.parametrize("mode", MODES)
def test_a_chat_returns_an_answer_in_openais_form(simulate, mode):
    docker = simulate({MODEL: [Reasoning("hm"), Text("Yes."), Usage(3, 4)]})
    reply = chat(mode, CLIENT, MODEL, MESSAGES, temperature=0, seed=None)
    (choice,) = reply["choices"]
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": "Yes.", "reasoning_content": "hm"},
        "finish_reason": "stop",
    }
    assert (reply["model"], reply["object"], reply["usage"]) == (MODEL, "chat.completion", USAGE)
    body = docker.requests[-1].body
    assert (body["messages"], body["temperature"], "seed" in body) == (MESSAGES, 0, False)


@pytest.mark.parametrize("mode", MODES)
def test_a_streamed_chat_returns_chunks_in_openais_form(simulate, mode):
    docker = simulate({MODEL: [Text("one two three"), Usage(3, 4)]})
    got = chunks(mode, CLIENT, MODEL, MESSAGES)
    assert text(got) == "one two three"
    assert {chunk["model"] for chunk in got} == {MODEL}  # not the file name of the engine
    assert got[-1]["choices"] == []
    assert got[-1]["usage"] == USAGE
    assert docker.requests[-1].body["stream_options"] == {"include_usage": True}


def test_chunks_arrive_while_the_model_is_still_generating(simulate):
    simulate({MODEL: [Text("first"), Hang()]})
    with CLIENT.stream_chat(MODEL, MESSAGES) as stream:
        next(stream)
        assert text([next(stream)])


def test_tool_calls_arrive_in_one_chunk_or_in_many(simulate):
    docker = simulate({MODEL: [ToolCall("add", {"a": 1}, id="call_1")]})
    reply = CLIENT.chat(MODEL, MESSAGES, tools=[TOOL])
    (choice,) = reply["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    ]
    assert docker.requests[-1].body["stream"] is False
    parts = [
        part["function"]["arguments"]
        for chunk in CLIENT.stream_chat(MODEL, MESSAGES, tools=[TOOL])
        for choice in chunk["choices"]
        for part in choice["delta"].get("tool_calls", ())
    ]
    assert json.loads("".join(parts)) == {"a": 1}
    assert len(parts) > 1


def test_parameters_are_sent_unchanged_and_extra_ones_replace_them(docker):
    CLIENT.chat(MODEL, MESSAGES, top_k=3, temperature=1, extra_body={"temperature": 0, "min_p": 1})
    body = docker.requests[-1].body
    assert (body["top_k"], body["temperature"], body["min_p"]) == (3, 0, 1)
    assert "extra_body" not in body


def test_a_reply_that_is_not_streamed_becomes_one_chunk():
    message = {"role": "assistant", "content": "ok"}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    with Wire(reply(body=body)) as wire:
        client = Client(base_url=wire.url)
        assert text(client.stream_chat("m", MESSAGES)) == "ok"
        assert client.chat("m", MESSAGES)["choices"][0]["message"]["content"] == "ok"


@pytest.mark.parametrize(
    "body", [{}, {"choices": []}, {"choices": None}, {"object": "list", "data": []}]
)
def test_a_reply_without_choices_is_an_error(body):
    with Wire(reply(body=body)) as wire:
        client = Client(base_url=wire.url)
        for tools in ([TOOL], None):  # asked for in one piece, and as a stream
            with pytest.raises(GenerationError, match="no choices"):
                client.chat("m", MESSAGES, tools=tools)
        with pytest.raises(GenerationError, match="no choices"):
            list(client.stream_chat("m", MESSAGES))
    with Wire(events(body)) as wire, pytest.raises(GenerationError, match="no choices"):
        list(Client(base_url=wire.url).stream_chat("m", MESSAGES))


def test_a_streamed_chat_returns_only_its_first_choice():
    two = {"choices": [{"index": n, "delta": {"content": word}} for n, word in enumerate("ab")]}
    with Wire(events(two, STOP)) as wire:
        choices = Client(base_url=wire.url).chat("m", MESSAGES)["choices"]
        assert [choice["message"]["content"] for choice in choices] == ["a"]


def test_a_choice_without_content_is_an_error():
    silent = reply(body={"choices": [{"index": 0, "finish_reason": "stop"}]})
    with Wire(silent) as wire, pytest.raises(GenerationError, match="no answer"):
        Client(base_url=wire.url).chat("m", MESSAGES, tools=[TOOL])


@pytest.mark.parametrize(
    ("messages", "settings"),
    [
        ([], {}),
        ([{"role": "user", "content": "a\ud800b"}], {}),
        ([{"role": "user", "content": b"bytes"}], {}),
        (MESSAGES, {"temperature": float("nan")}),
        (MESSAGES, {"stop": {1}}),
    ],
)
def test_an_invalid_request_is_refused_before_anything_is_sent(docker, messages, settings):
    for method in (CLIENT.chat, CLIENT.stream_chat, CLIENT.astream_chat):
        with pytest.raises(InvalidRequestError):
            method(MODEL, messages, **settings)
    assert docker.requests == []


@pytest.mark.parametrize("model", ["", "-x", "a\nb"])
def test_an_invalid_model_name_is_refused(docker, model):
    for method in (CLIENT.chat, CLIENT.stream_chat):
        with pytest.raises(InvalidRequestError):
            method(model, MESSAGES)
    with pytest.raises(InvalidRequestError):
        CLIENT.embed(model, ["a"])


def test_one_client_serves_several_loops_and_threads_in_turn(docker):
    for _ in range(3):
        assert asyncio.run(CLIENT.achat(MODEL, MESSAGES))["choices"]
    with ThreadPoolExecutor(4) as executor:
        replies = list(executor.map(lambda _: CLIENT.chat(MODEL, MESSAGES), range(8)))
    assert len(replies) == 8


def test_clients_with_equal_settings_are_equal_and_picklable():
    settings = {
        "base_url": "h:1",
        "api_key": "hunter1",
        "headers": {"X-Token": "hunter2"},
        "env": {"A": "hunter3"},
        "timeout": 5,
        "command": ["docker", "model"],
    }
    client = Client(**settings)
    assert client == Client(**settings)
    assert hash(client) == hash(Client(**settings))
    copy = pickle.loads(pickle.dumps(client))
    assert copy == client
    assert copy.headers["X-Token"] == "hunter2"
    assert "hunter" not in repr(client)
    assert client.timeout == Timeouts(total=5)
    assert client.command == ("docker", "model")


def test_names_of_headers_are_kept_as_written_on_windows(monkeypatch):
    upper_case = functools.partial(environment._canonical, windows=True)
    monkeypatch.setattr(environment, "_canonical", upper_case)
    client = Client(headers={"X-Token": "a"}, env={"Path": "b"})
    assert (dict(client.headers), dict(client.env)) == ({"X-Token": "a"}, {"PATH": "b"})


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "http://"},
        {"api_key": "a\nb"},
        {"api_key": 5},
        {"api_key": "clé"},
        {"headers": {"a b": "c"}},
        {"headers": {"a": "b\r\nc: d"}},
        {"headers": {"a": 1}},
        {"timeout": 0},
        {"max_retries": -1},
        {"max_retries": True},
        {"max_concurrency": 0},
        {"pull": "always"},
        {"env": {"A=B": "c"}},
        {"command": ""},
    ],
)
def test_an_invalid_setting_is_refused(settings):
    with pytest.raises(InvalidRequestError):
        Client(**settings)


@posix
def test_a_forked_process_opens_its_own_connections(docker):
    CLIENT.chat(MODEL, MESSAGES)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=lambda: results.put(CLIENT.chat(MODEL, MESSAGES)["model"]))
    child.start()
    assert results.get(timeout=60) == MODEL
    child.join()
    assert child.exitcode == 0
    assert CLIENT.chat(MODEL, MESSAGES)["model"] == MODEL


def test_a_client_can_be_passed_to_a_spawned_process(docker):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(CLIENT.chat, (MODEL, MESSAGES))["model"] == MODEL


WITHOUT_HTTPCORE = """
import sys
sys.modules["httpcore"] = None
from docker_model import DockerModel, UnsupportedParameterError
from docker_model._transport import environment
from docker_model.http import Client
for call in (
    lambda: Client().chat("ai/smollm2", [{"role": "user", "content": "hi"}]),
    lambda: Client().chat("ai/smollm2", [{"role": "user", "content": "again"}]),
    lambda: DockerModel("ai/smollm2", transport="http").generate("hi"),
):
    try:
        call()
    except UnsupportedParameterError as error:
        print(error.hint)
print(DockerModel("ai/smollm2").generate("hi").text)
"""


def test_a_missing_httpcore_names_the_package_to_install(docker):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HTTPCORE], capture_output=True, text=True, check=True
    )
    *hints, answer = done.stdout.splitlines()
    assert [hint.partition(" (")[0] for hint in hints] == [
        'pip install "docker-model-llm[http]"'
    ] * 3
    assert answer == "You said: hi"


AT_THE_END = """
import sys
from docker_model._transport import environment
from docker_model.http import Client
client = Client(base_url=sys.argv[1])
assert client.chat("m", [{"role": "user", "content": "hi"}])
"""


@pytest.mark.parametrize("over", ["tcp", pytest.param("unix", marks=needs_unix_sockets)])
def test_no_connection_is_left_open_when_the_interpreter_ends(over, tmp_path):
    with Wire(events("ok", STOP), path=tmp_path / "s" if over == "unix" else None) as wire:
        done = subprocess.run(
            [sys.executable, "-W", "always", "-c", AT_THE_END, wire.url],
            capture_output=True,
            timeout=30,
            check=True,
        )
    assert done.stderr == b""
