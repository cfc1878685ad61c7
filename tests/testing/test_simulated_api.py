"""The simulated runner for API clients: what an OpenAI client would see."""

import json
import math
import urllib.request

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
def test_a_whole_answer(api):
    with SimulatedDocker({"ai/smollm2": [Reasoning("hm"), Text("Yes."), Usage(3, 4)]}) as docker:
        said = post(docker, f"{api}/chat/completions", messages=MESSAGES)
        assert docker.prompts == ["one two"]
    (choice,) = said["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "Yes.",
        "reasoning_content": "hm",
    }
    assert (choice["finish_reason"], said["usage"]["total_tokens"]) == ("stop", 7)
    assert said["model"].endswith(".gguf")


def test_token_counts_come_with_a_stream_when_asked_for():
    with SimulatedDocker() as docker:
        path = "/engines/v1/chat/completions"
        silent = post(docker, path, messages=MESSAGES, stream=True)
        options = {"include_usage": True}
        counted = post(docker, path, messages=MESSAGES, stream=True, stream_options=options)
    assert not any("usage" in event for event in silent)
    assert counted[-1]["usage"]["prompt_tokens"] == 2
    assert counted[-1]["choices"] == []


@pytest.mark.parametrize("stream", [True, False])
def test_tool_calls(stream):
    calls = [ToolCall("add", {"a": 1}), ToolCall("broken", '{"a"', id="x")]
    script = InTurn(calls, "Two.")
    with SimulatedDocker({"ai/smollm2": script}) as docker:
        path = "/engines/v1/chat/completions"
        said = post(docker, path, messages=MESSAGES, stream=stream)
        tool = [*MESSAGES, {"role": "assistant", "content": None}]
        then = post(docker, path, messages=tool)
        assert docker.prompts == ["one two", ""]
    assert then["choices"][0]["message"]["content"] == "Two."
    assert not stream or said[-1]["choices"][0]["finish_reason"] == "tool_calls"
    if not stream:
        first, second = said["choices"][0]["message"]["tool_calls"]
        assert first["function"] == {"name": "add", "arguments": '{"a": 1}'}
        assert (second["id"], second["function"]["arguments"]) == ("x", '{"a"')
        assert first["id"] != second["id"]


def test_a_failure_before_a_whole_answer_is_one_of_http():
    with SimulatedDocker({"ai/smollm2": [Text("part"), Fail("it broke", 500)]}) as docker:
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(docker, "/engines/v1/chat/completions", messages=MESSAGES)
        assert (caught.value.code, caught.value.read()) == (500, b"it broke")
        caught.value.close()


def test_embeddings():
    with SimulatedDocker() as docker:
        said = post(docker, "/v1/embeddings", input=["aaa", "bbb", "aaa"])
        one = post(docker, "/v1/embeddings", input="aaa")
    vectors = [item["embedding"] for item in said["data"]]
    assert vectors[0] == vectors[2] != vectors[1]
    assert math.isclose(math.hypot(*vectors[0]), 1)
    assert one["data"][0]["embedding"] == vectors[0]
    with SimulatedDocker(embed=lambda text: [len(text)]) as docker:
        said = post(docker, "/v1/embeddings", input=["a", "bb"])
    assert [item["embedding"] for item in said["data"]] == [[1], [2]]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/chat/completions"])
def test_a_missing_model(path):
    with SimulatedDocker(["ai/other"]) as docker:
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(docker, path, input=["a"], messages=MESSAGES)
        assert caught.value.code == 404
        assert b"model not found" in caught.value.read()
        caught.value.close()
