"""The HTTP API of the simulated runner, as an OpenAI client sees it."""

import json
import math
import socket
import struct
import urllib.request
from fractions import Fraction

import pytest

from docker_model.testing import (
    Fail,
    InTurn,
    Reasoning,
    SimulatedDocker,
    Text,
    ToolCall,
    Usage,
)
from tests.support.platforms import posix_only

MESSAGES = [{"role": "user", "content": "one two"}]


def post(docker, path, **body):
    request = urllib.request.Request(
        docker.url + path, json.dumps({"model": "ai/smollm2", **body}).encode()
    )
    with urllib.request.urlopen(request) as reply:
        text = reply.read().decode()
    if body.get("stream"):
        lines = [line.removeprefix("data: ") for line in text.splitlines() if line]
        return [json.loads(line) for line in lines if line != "[DONE]"]
    return json.loads(text)


@pytest.mark.parametrize("api", ["/engines/v1", "/v1", "/engines/llama.cpp/v1"])
def test_a_chat_returns_the_scripted_answer(api):
    with SimulatedDocker({"ai/smollm2": [Reasoning("hm"), Text("Yes."), Usage(3, 4)]}) as docker:
        reply = post(docker, f"{api}/chat/completions", messages=MESSAGES)
        assert docker.prompts == ["one two"]
    (choice,) = reply["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "Yes.",
        "reasoning_content": "hm",
    }
    assert (choice["finish_reason"], reply["usage"]["total_tokens"]) == ("stop", 7)
    assert reply["model"].endswith(".gguf")


def test_invalid_requests_are_refused():
    """The replies are those of a real runner with llama.cpp."""
    refused = [
        ("/v1/chat/completions", b"{no JSON", 400, "invalid request\n"),
        ("/v1/chat/completions", b"", 400, "invalid request\n"),
        ("/v1/chat/completions", b"[1]", 400, "invalid request\n"),
        ("/engines/v1/chat/completions", b"{}", 400, "model is required\n"),
        ("/v1/embeddings", b"{}", 400, "model is required\n"),
        ("/v1/embeddings", b'{"model":"x/y","input":""}', 404, "'\"x/y\"': model not found\n"),
        ("/engines/llama.cpp/v1/chat/completions", None, 404, "not found\n"),
        ("/v1/nothing", None, 404, "404 page not found\n"),
    ]
    with SimulatedDocker() as docker:
        for path, data, status, words in refused:
            request = urllib.request.Request(docker.url + path, data)
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request)
            with caught.value as reply:
                assert (reply.code, words in reply.read().decode()) == (status, True), path
                kind = "text/plain; charset=utf-8" if words.endswith("\n") else "application/json"
                assert reply.headers["Content-Type"] == kind
            assert docker.requests[-1].prompt is None  # refused requests are recorded too


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", marks=posix_only("a reset ends a line that is being read")),
        b"Content-Length: 9\r\n\r\n{",
    ],
)
def test_an_incomplete_request_is_not_recorded(sent):
    with SimulatedDocker() as docker:
        host, port = docker.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            # Closing resets the connection, as when a client is killed.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(b"POST /v1/embeddings HTTP/1.1\r\n" + sent)
        assert post(docker, "/v1/embeddings", input="a")["object"] == "list"
    (request,) = docker.requests
    assert request.body["input"] == "a"


def test_unknown_backends_and_roots_are_not_found():
    with SimulatedDocker() as docker:
        for api in ("/engines/llama-cpp/v1", "/engines/v1/engines/v1", "/api/v1"):
            with pytest.raises(urllib.error.HTTPError, match="404") as caught:
                post(docker, f"{api}/chat/completions", messages=MESSAGES)
            caught.value.close()


def test_a_stream_has_token_counts_only_on_request():
    with SimulatedDocker() as docker:
        path = "/engines/v1/chat/completions"
        without_usage = post(docker, path, messages=MESSAGES, stream=True)
        options = {"include_usage": True}
        with_usage = post(docker, path, messages=MESSAGES, stream=True, stream_options=options)
    assert not any("usage" in event for event in without_usage)
    # Two words and the tokens of the template; "You said: one two" has five pieces.
    usage = with_usage[-1]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (9, 5, 14)
    assert with_usage[-1]["choices"] == []


@pytest.mark.parametrize("stream", [True, False])
def test_a_script_of_tool_calls_gives_tool_calls(stream):
    calls = [ToolCall("add", {"a": 1}), ToolCall("broken", '{"a"', id="x")]
    script = InTurn(calls, "Two.")
    with SimulatedDocker({"ai/smollm2": script}) as docker:
        path = "/engines/v1/chat/completions"
        reply = post(docker, path, messages=MESSAGES, stream=stream)
        messages_with_call = [*MESSAGES, {"role": "assistant", "content": None}]
        second_reply = post(docker, path, messages=messages_with_call)
        assert docker.prompts == ["one two", ""]
    assert second_reply["choices"][0]["message"]["content"] == "Two."
    assert not stream or reply[-1]["choices"][0]["finish_reason"] == "tool_calls"
    if not stream:
        first, second = reply["choices"][0]["message"]["tool_calls"]
        assert first["function"] == {"name": "add", "arguments": '{"a": 1}'}
        assert (second["id"], second["function"]["arguments"]) == ("x", '{"a"')
        assert first["id"] != second["id"]


def _answer(reply):
    """Return text, arguments, the reason for the end and the count of a reply or a stream."""
    events = reply if isinstance(reply, list) else [reply]
    choices = [choice for event in events for choice in event["choices"]]
    parts = [choice.get("delta") or choice.get("message") or {} for choice in choices]
    text = "".join(
        (part.get("reasoning_content") or "") + (part.get("content") or "") for part in parts
    )
    calls = [call["function"] for part in parts for call in part.get("tool_calls", ())]
    arguments = "".join(call["arguments"] for call in calls)
    usage = events[-1]["usage"]["completion_tokens"]
    return text, arguments, choices[-1]["finish_reason"], usage


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("script", "max_tokens", "answer"),
    [
        ("123456789", 2, ("12345678", "", "length", 2)),
        ("123456789", 3, ("123456789", "", "length", 3)),  # the end is one more token
        ("123456789", 4, ("123456789", "", "stop", 3)),
        ("123456789", -1, ("123456789", "", "stop", 3)),
        ([Reasoning("hm, "), "1", "2"], 2, ("hm, 1", "", "length", 2)),
        ([Text("a b c", size=2), Usage(3, 4)], 2, ("a b ", "", "length", 2)),
        (ToolCall("add", {"a": 1}), 1, ("", '{"a"', "length", 1)),
    ],
)
def test_max_tokens_ends_an_answer(stream, script, max_tokens, answer):
    with SimulatedDocker({"ai/smollm2": script}) as docker:
        path = "/engines/v1/chat/completions"
        settings = {"stream": stream, "stream_options": {"include_usage": True}}
        reply = post(docker, path, messages=MESSAGES, max_tokens=max_tokens, **settings)
    assert _answer(reply) == answer


def test_a_failure_before_a_whole_answer_is_an_http_error():
    with SimulatedDocker({"ai/smollm2": [Text("part"), Fail("it broke", 500)]}) as docker:
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(docker, "/engines/v1/chat/completions", messages=MESSAGES)
        assert (caught.value.code, caught.value.read()) == (500, b"it broke")
        caught.value.close()


def test_equal_texts_have_equal_embeddings_and_embed_replaces_them():
    with SimulatedDocker() as docker:
        reply = post(docker, "/v1/embeddings", input=["aaa", "bbb", "aaa"])
        alone = post(docker, "/v1/embeddings", input="aaa")
    vectors = [item["embedding"] for item in reply["data"]]
    assert vectors[0] == vectors[2] != vectors[1]
    assert math.isclose(math.hypot(*vectors[0]), 1)
    assert alone["data"][0]["embedding"] == vectors[0]
    with SimulatedDocker(embed=lambda text: [Fraction(len(text))]) as docker:
        reply = post(docker, "/v1/embeddings", input=["a", "bb"])
    assert [item["embedding"] for item in reply["data"]] == [[1.0], [2.0]]


def test_an_error_in_embed_is_raised_at_the_end_of_the_simulation():
    def use():
        with SimulatedDocker(embed=lambda _text: 1 / 0) as docker:
            with pytest.raises(urllib.error.HTTPError) as caught:
                post(docker, "/v1/embeddings", input="a")
            with caught.value as reply:
                assert reply.read() == b"the script failed: ZeroDivisionError: division by zero"

    with pytest.raises(ZeroDivisionError):
        use()


def test_an_error_in_a_function_of_replies_is_raised_at_the_end_of_the_simulation():
    def use():
        with SimulatedDocker(replies={"GET /models": lambda _request: 1 / 0}) as docker:
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(f"{docker.url}/models")
            caught.value.close()

    with pytest.raises(ZeroDivisionError):
        use()


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/chat/completions"])
def test_a_missing_model_is_not_found(path):
    with SimulatedDocker(["ai/other"]) as docker:
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(docker, path, input=["a"], messages=MESSAGES)
        assert caught.value.code == 404
        assert b"model not found" in caught.value.read()
        caught.value.close()
