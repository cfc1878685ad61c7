"""Chats over HTTP: in every way, ended in every way, and through every fault."""

import asyncio
import gc
import json
import multiprocessing
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from ways import WAYS, call
from wire import CUT, STOP, Wire, events, reply

from docker_model import (
    ContextLengthError,
    GenerationError,
    GenerationTimeoutError,
    InvalidRequestError,
    ModelNotFoundError,
    RunnerUnavailableError,
    Timeouts,
    UnsupportedParameterError,
)
from docker_model.http import Client
from docker_model.testing import (
    Cut,
    Fail,
    Finish,
    Hang,
    Raw,
    Reasoning,
    Sleep,
    Text,
    ToolCall,
    Usage,
)

MODEL = "ai/smollm2"
MESSAGES = [{"role": "user", "content": "hi"}]
CLIENT = Client()
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def chat(way, client, *args, **settings):
    return call(
        way, lambda: client.chat(*args, **settings), lambda: client.achat(*args, **settings)
    )


def chunks(way, client, *args, **settings):
    async def asynchronous():
        return [chunk async for chunk in client.astream_chat(*args, **settings)]

    return call(way, lambda: list(client.stream_chat(*args, **settings)), asynchronous)


def text(chunks):
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


# -- what comes back -----------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_an_answer(simulate, way):
    docker = simulate({MODEL: [Reasoning("hm"), Text("Yes."), Usage(3, 4)]})
    said = chat(way, CLIENT, MODEL, MESSAGES, temperature=0, seed=None)
    (choice,) = said["choices"]
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": "Yes.", "reasoning_content": "hm"},
        "finish_reason": "stop",
    }
    assert (said["model"], said["object"], said["usage"]) == (MODEL, "chat.completion", USAGE)
    body = docker.requests[-1].body
    assert (body["messages"], body["temperature"], "seed" in body) == (MESSAGES, 0, False)


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_in_pieces(simulate, way):
    docker = simulate({MODEL: [Text("one two three"), Usage(3, 4)]})
    got = chunks(way, CLIENT, MODEL, MESSAGES)
    assert text(got) == "one two three"
    assert {chunk["model"] for chunk in got} == {MODEL}  # not the file that the engine says
    assert got[-1]["choices"] == []
    assert got[-1]["usage"] == USAGE
    assert docker.requests[-1].body["stream_options"] == {"include_usage": True}


def test_pieces_arrive_as_they_are_said(simulate):
    simulate({MODEL: [Text("first"), Hang()]})
    with CLIENT.stream_chat(MODEL, MESSAGES) as stream:
        next(stream)
        assert text([next(stream)])


def test_tools_come_in_one_piece_or_in_many(simulate):
    docker = simulate({MODEL: [ToolCall("add", {"a": 1}, id="call_1")]})
    said = CLIENT.chat(MODEL, MESSAGES, tools=[TOOL])
    (choice,) = said["choices"]
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
    assert len(parts) > 2


def test_parameters_go_as_they_are_and_extra_ones_over_them(docker):
    CLIENT.chat(MODEL, MESSAGES, top_k=3, temperature=1, extra_body={"temperature": 0, "min_p": 1})
    body = docker.requests[-1].body
    assert (body["top_k"], body["temperature"], body["min_p"]) == (3, 0, 1)
    assert "extra_body" not in body


def test_a_reply_that_is_not_streamed_is_one_chunk():
    message = {"role": "assistant", "content": "ok"}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    with Wire(reply(body=body)) as wire:
        client = Client(base_url=wire.url)
        assert text(client.stream_chat("m", MESSAGES)) == "ok"
        assert client.chat("m", MESSAGES)["choices"][0]["message"]["content"] == "ok"


@pytest.mark.parametrize(
    "body", [{}, {"choices": []}, {"choices": None}, {"object": "list", "data": []}]
)
def test_a_reply_without_an_answer_is_an_error_of_its_own(body):
    with Wire(reply(body=body)) as wire:
        client = Client(base_url=wire.url)
        for tools in ([TOOL], None):  # asked for in one piece, and as a stream
            with pytest.raises(GenerationError, match="no choices"):
                client.chat("m", MESSAGES, tools=tools)
        with pytest.raises(GenerationError, match="no choices"):
            list(client.stream_chat("m", MESSAGES))
    with Wire(events(body)) as wire, pytest.raises(GenerationError, match="no choices"):
        list(Client(base_url=wire.url).stream_chat("m", MESSAGES))


def test_a_choice_that_says_nothing_is_no_answer_either():
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
def test_what_cannot_be_sent_is_refused_at_once(docker, messages, settings):
    for method in (CLIENT.chat, CLIENT.stream_chat, CLIENT.astream_chat):
        with pytest.raises(InvalidRequestError):
            method(MODEL, messages, **settings)
    assert docker.requests == []


@pytest.mark.parametrize("model", ["", "-x", "a\nb"])
def test_a_model_that_has_no_name(docker, model):
    for method in (CLIENT.chat, CLIENT.stream_chat):
        with pytest.raises(InvalidRequestError):
            method(model, MESSAGES)
    with pytest.raises(InvalidRequestError):
        CLIENT.embed(model, ["a"])


# -- failures ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["sync", "uvloop"])
@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ([Fail.context_too_long()], ContextLengthError, "longer than the model's context"),
        ([Fail("it broke")], GenerationError, "it broke"),
        ([Text("some"), Fail("it broke")], GenerationError, "it broke"),
        ([Text("some"), Sleep(0.05), Cut()], GenerationError, "broke off"),
        ([Text("some"), Finish(None)], GenerationError, "broke off"),
        ([Text("some"), Raw(b"data: <html>\n\n")], GenerationError, "proxy"),
    ],
)
def test_failures_are_raised_and_never_part_of_the_answer(simulate, way, script, kind, words):
    simulate({MODEL: script})
    for ask in (chat, chunks):
        with pytest.raises(kind, match=words) as caught:
            ask(way, CLIENT, MODEL, MESSAGES)
        if kind is GenerationError and len(script) > 1:
            assert caught.value.partial == "some"


def test_a_missing_model_is_named_and_not_pulled(simulate):
    docker = simulate(pullable=["ai/other"])
    for ask in (CLIENT.chat, lambda *args: list(CLIENT.stream_chat(*args))):
        with pytest.raises(ModelNotFoundError, match="docker model pull ai/other") as caught:
            ask("ai/other", MESSAGES)
        assert caught.value.model == "ai/other"
    assert "/models/create" not in [request.path for request in docker.requests]


def test_a_missing_model_can_be_pulled(simulate):
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


def test_a_pull_that_fails_is_its_own_error(simulate):
    simulate()
    with pytest.raises(ModelNotFoundError, match="registry"):
        Client(pull="missing").chat("ai/nosuch", MESSAGES)


def test_an_engine_that_goes_away_before_its_reply_is_asked_again():
    answer = events("ok", STOP)
    for first in (CUT, reply(500), reply(502, "bad gateway"), reply(503), reply(504)):
        with Wire(first, answer) as wire:
            assert text(Client(base_url=wire.url).stream_chat("m", MESSAGES)) == "ok"
            assert len(wire.posts) == 2


def test_retries_have_an_end_and_can_be_switched_off(monkeypatch):
    monkeypatch.setattr("docker_model.http.call._SOON", 0.01)
    with Wire(reply(500)) as wire:
        for retries in (0, 3):
            wire.asked.clear()
            with pytest.raises(GenerationError, match="HTTP 500"):
                Client(base_url=wire.url, max_retries=retries).chat("m", MESSAGES)
            assert len(wire.posts) == retries + 1
    with Wire(CUT) as wire, pytest.raises(GenerationError, match="broke off"):
        Client(base_url=wire.url, max_retries=1).chat("m", MESSAGES)


NO_IMAGES = {"error": {"code": 500, "message": "image input is not supported - hint: …"}}


@pytest.mark.parametrize(
    "first",
    [reply(400, "no"), reply(500, "no"), reply(404, "no"), reply(500, NO_IMAGES)],
)
def test_what_would_come_again_is_not_asked_again(first):
    with Wire(first, events("ok", STOP)) as wire:
        with pytest.raises((InvalidRequestError, GenerationError, RunnerUnavailableError)):
            Client(base_url=wire.url).chat("m", MESSAGES)
        assert len(wire.posts) == 1


def test_nothing_is_asked_again_once_something_has_come():
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 999\r\n\r\n"

    def part(connection):
        connection.sendall(head + b'data: {"choices": []}\n\n')
        raise OSError

    with Wire(part) as wire:
        with pytest.raises(GenerationError, match="broke off"):
            list(Client(base_url=wire.url).stream_chat("m", MESSAGES))
        assert len(wire.posts) == 1


def test_a_model_that_loads_is_waited_for(monkeypatch):
    monkeypatch.setattr("docker_model.http.call._LOADED_YET", 0.01)
    loading = reply(503, {"error": {"message": "Loading model", "code": 503}})
    with Wire(*[loading] * 5, events("ok", STOP)) as wire:
        client = Client(base_url=wire.url, max_retries=0)
        assert text(client.stream_chat("m", MESSAGES)) == "ok"
    with Wire(loading) as wire:
        client = Client(base_url=wire.url, timeout=Timeouts(first_output=0.2))
        with pytest.raises(GenerationTimeoutError) as caught:
            client.chat("m", MESSAGES)
        assert caught.value.phase == "first_output"


def test_a_kept_connection_that_was_closed_is_no_failure():
    with Wire(events("ok", STOP)) as wire:
        client = Client(base_url=wire.url, max_retries=0)
        for _ in range(3):
            client.chat("m", MESSAGES)
        assert wire.connections == 1
        wire.hang_up()
        assert client.chat("m", MESSAGES)
        assert wire.connections == 2


def test_a_connection_is_used_again_although_the_end_comes_late():
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


def test_a_connection_whose_end_never_comes_holds_nobody():
    unended = events("ok", STOP)
    with Wire(unended[: unended.index(b"0\r\n\r\n")]) as wire:
        assert text(Client(base_url=wire.url).stream_chat("m", MESSAGES)) == "ok"


def test_compressed_replies_are_read_too():
    import gzip  # noqa: PLC0415

    body = {"choices": [{"index": 0, "message": {"content": "ok"}, "finish_reason": "stop"}]}
    data = gzip.compress(json.dumps(body).encode())
    head = "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
    answer = f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data
    with Wire(answer) as wire:
        client = Client(base_url=wire.url)
        assert client.chat("m", MESSAGES, n=2)["choices"]
        assert wire.posts[0][2]["accept-encoding"] == "identity"


# -- limits --------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["sync", "asyncio"])
@pytest.mark.parametrize(
    ("limits", "script", "end"),
    [
        (Timeouts(first_output=0.3), [Hang()], ("first_output", "")),
        (Timeouts(idle=0.3), [Text("some"), Hang()], ("idle", "some")),
        (Timeouts(total=0.4), [Text("some"), Hang()], ("total", "some")),
    ],
)
def test_each_phase_has_its_limit(simulate, way, limits, script, end):
    docker = simulate({MODEL: script})
    client = Client(timeout=limits)
    client.endpoint()
    for ask in (chat, chunks):
        with pytest.raises(GenerationTimeoutError) as caught:
            ask(way, client, MODEL, MESSAGES)
        assert (caught.value.phase, caught.value.partial) == end
    docker.wait_gone(2)


def test_waiting_for_a_place_has_its_limit_and_places_come_in_order(simulate):
    docker = simulate(script=lambda prompt: [Text(prompt), Hang()])
    client = Client(max_concurrency=1)

    def ask(prompt, client=client):
        return client.astream_chat(MODEL, [{"role": "user", "content": prompt}])

    first = client.stream_chat(MODEL, MESSAGES)
    next(first)
    with pytest.raises(GenerationTimeoutError) as caught:
        Client(max_concurrency=1, timeout=Timeouts(queue=0.2)).chat(MODEL, MESSAGES)
    assert caught.value.phase == "queue"

    async def main():
        waiting = [asyncio.create_task(anext(ask(str(i)))) for i in range(3)]
        await asyncio.sleep(0.1)
        first.cancel()
        for task in waiting:
            await task

    asyncio.run(main())
    assert docker.prompts == ["hi", "0", "1", "2"]


def test_a_slow_consumer_is_no_stalled_model_and_no_memory(simulate):
    docker = simulate({MODEL: [Text("x" * 1000, 1000)] * 8000})
    client = Client(timeout=Timeouts(idle=0.5))
    total = 0
    for number, chunk in enumerate(client.stream_chat(MODEL, MESSAGES)):
        if number == 0:
            time.sleep(1)  # longer than `idle`
            assert not docker.requests[-1].complete  # 8 MB would not be kept for us
        total += len(text([chunk]))
    assert total == 8_000_000


# -- ways out ------------------------------------------------------------------------------


@pytest.fixture
def endless(simulate):
    return simulate({MODEL: [Text("some"), Hang()]})


def test_breaking_out_ends_the_request(endless):
    for _ in CLIENT.stream_chat(MODEL, MESSAGES):
        break
    gc.collect()
    endless.wait_gone()


def test_closing_leaves_the_iteration_simply_ended(endless):
    stream = CLIENT.stream_chat(MODEL, MESSAGES)
    next(stream)
    stream.close()
    assert list(stream) == []
    endless.wait_gone()


def test_leaving_the_with_ends_the_request(endless):
    with CLIENT.stream_chat(MODEL, MESSAGES) as stream:
        next(stream)
    endless.wait_gone()


def test_cancel_from_another_thread_frees_the_reader(endless):
    stream = CLIENT.stream_chat(MODEL, MESSAGES)
    next(stream)
    threading.Timer(0.1, stream.cancel).start()
    assert len(list(stream)) <= 1
    endless.wait_gone()


def test_an_answer_that_nobody_asked_for_is_not_requested(docker):
    CLIENT.stream_chat(MODEL, MESSAGES).cancel()
    assert docker.requests == []


@pytest.mark.parametrize("way", ["asyncio", "uvloop"])
def test_cancelling_the_task_ends_the_request(endless, way):
    async def main():
        for ask in (
            CLIENT.achat(MODEL, MESSAGES),
            CLIENT.achat(MODEL, MESSAGES, tools=[TOOL]),
        ):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await ask
        async for _ in CLIENT.astream_chat(MODEL, MESSAGES):
            break
        async with CLIENT.astream_chat(MODEL, MESSAGES) as stream:
            await anext(stream)
        stream = CLIENT.astream_chat(MODEL, MESSAGES)
        await anext(stream)
        await stream.aclose()
        assert [chunk async for chunk in stream] == []

    call(way, None, main)
    gc.collect()
    endless.wait_gone(5)


def test_cancelling_while_it_waits_for_the_reply(simulate):
    asked = threading.Event()

    def silent(_):
        asked.set()
        yield Sleep(60)

    docker = simulate({MODEL: silent})

    async def main():
        task = asyncio.create_task(CLIENT.achat(MODEL, MESSAGES))
        await asyncio.to_thread(asked.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    docker.wait_gone()


# -- the object ----------------------------------------------------------------------------


def test_one_client_serves_loops_and_threads_one_after_another(docker):
    for _ in range(3):
        assert asyncio.run(CLIENT.achat(MODEL, MESSAGES))["choices"]
    with ThreadPoolExecutor(4) as executor:
        said = list(executor.map(lambda _: CLIENT.chat(MODEL, MESSAGES), range(8)))
    assert len(said) == 8


def test_a_client_is_a_value():
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
def test_a_setting_that_cannot_be_is_refused(settings):
    with pytest.raises(InvalidRequestError):
        Client(**settings)


def test_a_forked_process_has_connections_of_its_own(docker):
    CLIENT.chat(MODEL, MESSAGES)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=lambda: results.put(CLIENT.chat(MODEL, MESSAGES)["model"]))
    child.start()
    assert results.get(timeout=20) == MODEL
    child.join()
    assert child.exitcode == 0
    assert CLIENT.chat(MODEL, MESSAGES)["model"] == MODEL


def test_a_spawned_process_can_be_handed_a_client(docker):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(CLIENT.chat, (MODEL, MESSAGES))["model"] == MODEL


def test_without_httpcore_it_says_what_to_install(docker, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("docker_model.http.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httpcore", None)
    with pytest.raises(UnsupportedParameterError, match=r"docker-model-llm\[http\]"):
        Client().chat(MODEL, MESSAGES)


AT_THE_END = """
import sys
from docker_model.http import Client
client = Client(base_url=sys.argv[1])
assert client.chat("m", [{"role": "user", "content": "hi"}])
"""


@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_nothing_is_left_open_when_the_interpreter_ends(over, tmp_path):
    with Wire(events("ok", STOP), path=tmp_path / "s" if over == "unix" else None) as wire:
        done = subprocess.run(
            [sys.executable, "-W", "always", "-c", AT_THE_END, wire.url],
            capture_output=True,
            timeout=30,
            check=True,
        )
    assert done.stderr == b""
