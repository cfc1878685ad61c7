"""The simulated engine: refusals with the messages of llama.cpp, and token counts."""

from __future__ import annotations

import base64
import json
import struct
import urllib.error
import urllib.request

import pytest

from docker_model.testing import (
    TEMPLATES,
    Event,
    InTurn,
    Reply,
    SimulatedDocker,
    SimulatedModel,
    Template,
    Text,
    ToolCall,
)

MODEL = "ai/smollm2"
CHAT = "/engines/v1/chat/completions"
COUNT = "/engines/v1/messages/count_tokens"
EMBED = "/engines/v1/embeddings"
CONFIGURE = "/engines/_configure"
USER = {"role": "user", "content": "one two"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def ask(docker, path, body=None, method=None):
    """Return the status, and the JSON value or the text of the reply."""
    data = None if body is None else json.dumps({"model": MODEL, **body}).encode()
    request = urllib.request.Request(docker.url + path, data, method=method)
    try:
        with urllib.request.urlopen(request) as reply:
            status, text = reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read().decode()
    return status, json.loads(text) if text.startswith(("{", "[")) else text


def call(arguments="{}", **changes):
    function = {"name": "add", "arguments": arguments}
    return {"id": "abcdefghi", "type": "function", "function": function, **changes}


def conversation(*calls, **result):
    answer = {"role": "tool", "tool_call_id": "abcdefghi", "content": "4", **result}
    return [USER, {"role": "assistant", "content": None, "tool_calls": list(calls)}, answer]


# The messages are those of a real llama-server of October 2026.
REFUSED = [
    (conversation(call('{"a"')), 500, "Failed to parse tool call arguments as JSON: [json.exc"),
    (conversation(call("")), 500, "Failed to parse tool call arguments as JSON"),
    (conversation(call(id=None)), 500, "type must be string, but is null"),
    (conversation(call(), tool_call_id=None), 500, "type must be string, but is null"),
    ([{**USER, "name": None}], 500, "Failed to parse messages: [json.exception.type_error.302]"),
    ([{**USER, "reasoning_content": None}], 500, "type must be string, but is null"),
    ([USER, {"role": "assistant"}], 400, "must contain either 'content' or 'tool_calls'!"),
    ([{"role": "user", "content": [{"type": "thinking"}]}], 400, "unsupported content[].type"),
    ([{"role": "user", "content": [IMAGE]}], 500, "you may need to provide the mmproj"),
    ([USER, *[{"role": "assistant", "content": "a"}] * 2], 400, "Cannot have 2 or more assistant"),
    (conversation(call())[:2], 400, "Cannot continue an assistant message that contains tool"),
]


def test_invalid_messages_are_refused_like_by_llama_cpp():
    with SimulatedDocker(SimulatedModel(MODEL)) as docker:
        for messages, status, message in REFUSED:
            received, reply = ask(docker, CHAT, {"messages": messages})
            error = reply["error"]
            assert received == status, messages
            assert message in error["message"]
            assert error["type"] == {400: "invalid_request_error", 500: "server_error"}[received]


def test_an_invalid_tool_choice_is_refused_like_by_llama_cpp():
    with SimulatedDocker() as docker:
        status, reply = ask(docker, CHAT, {"messages": [USER], "tool_choice": "any"})
    assert (status, reply["error"]["message"]) == (400, "Invalid tool_choice: any")


def test_unusual_messages_are_accepted_like_by_llama_cpp():
    accepted = [
        [USER, USER],
        [{"role": "critic", "content": "x"}],
        [{"role": "developer", "content": "x"}, USER],
        [{"role": "user", "content": None}],
        conversation(call("[1]")),
        conversation(call({"a": 1})),
        [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
        [USER, {"role": "assistant", "content": "One"}],
    ]
    with SimulatedDocker(SimulatedModel(MODEL)) as docker:
        for messages in accepted:
            assert ask(docker, CHAT, {"messages": messages})[0] == 200, messages


SYSTEM = {"role": "system", "content": "Be short."}
SAID = {"role": "assistant", "content": "Three."}


def test_templates_refuse_the_conversations_that_real_templates_refuse():
    refused = [
        ("gemma", [USER, USER], "roles must alternate"),
        ("gemma", [USER, SAID, SYSTEM, USER], "roles must alternate"),
        ("mistral", [SYSTEM, USER, USER], "After the optional system message, conversation roles"),
        ("mistral", [USER, SAID, USER, SYSTEM], "Only user and assistant roles are supported"),
        ("mistral", conversation(call(id="short"), tool_call_id="short"), "with length 9!"),
        ("llama3", conversation(call(), call()), "only supports single tool-calls at once!"),
        ("functionary", conversation(call()), "needs the name of its tool"),
        ("qwen3.5", [USER, SYSTEM], "System message must be at the beginning."),
        ("qwen3.5", [SYSTEM], "No user query found in messages."),
        ("gpt-oss", [USER, conversation(call())[-1]], "there was no previous tool call"),
    ]
    models = [SimulatedModel(f"ai/{name}", template=name) for name in TEMPLATES]
    with SimulatedDocker(models) as docker:
        for template, messages, reason in refused:
            body = {"model": f"ai/{template}", "messages": messages}
            status, reply = ask(docker, CHAT, body)
            message = reply["error"]["message"]
            assert status == 400, (template, messages)
            assert message.startswith("Unable to generate parser for this template.")
            assert reason in message.splitlines()[-1].removeprefix("Error: Jinja Exception: ")
        for template in TEMPLATES:
            round_trip = [USER, SAID] if template == "gemma" else conversation(call(), name="add")
            end = [USER] if template == "gemma" else [SAID, USER]
            body = {"model": f"ai/{template}", "messages": [SYSTEM, *round_trip, *end]}
            assert ask(docker, CHAT, body)[0] == 200, template


def test_a_custom_template_can_refuse_messages():
    template = Template("…", ((" Be quiet.", lambda messages: "!" in messages[-1]["content"]),))
    with SimulatedDocker(SimulatedModel(MODEL, template=template)) as docker:
        status, _ = ask(docker, CHAT, {"messages": [{"role": "user", "content": "hi!"}]})
        assert status == 400
        assert ask(docker, CHAT, {"messages": [USER]})[0] == 200
    with pytest.raises(ValueError, match="there is no template 'lama'; choose one of chatml"):
        SimulatedDocker(template="lama")


@pytest.mark.parametrize(("template", "counts_tools"), [("chatml", True), ("smollm2", False)])
def test_a_token_count_equals_the_usage_of_the_answer(template, counts_tools):
    with SimulatedDocker(template=template) as docker:
        bare = ask(docker, COUNT, {"messages": [USER]})[1]["input_tokens"]
        own = {"name": "add", "input_schema": {"type": "object"}}
        tools = ask(docker, COUNT, {"messages": [USER], "tools": [own]})[1]["input_tokens"]
        usage = ask(docker, CHAT, {"messages": [USER]})[1]["usage"]
        blocks = [{"role": "user", "content": [{"type": "text", "text": "one two"}]}]
        assert ask(docker, COUNT, {"messages": blocks})[1]["input_tokens"] == bare
    assert bare == usage["prompt_tokens"]
    assert (tools > bare) == counts_tools


def test_a_long_prompt_reports_its_progress_on_request():
    message = {"role": "user", "content": "word " * 5000}
    body = json.dumps(
        {"model": MODEL, "messages": [message], "stream": True, "return_progress": True}
    )
    with SimulatedDocker(script="Yes.") as docker:
        request = urllib.request.Request(docker.url + CHAT, body.encode())
        with urllib.request.urlopen(request) as reply:
            events = [json.loads(line[6:]) for line in reply if line.startswith(b"data: {")]
    done = [event["prompt_progress"]["processed"] for event in events if "prompt_progress" in event]
    assert done == [2048, 4096, 5007]


def test_a_context_size_is_enforced_when_packaged_or_configured():
    long = {"messages": [{"role": "user", "content": "word " * 50}]}
    with SimulatedDocker([SimulatedModel(MODEL, context_size=40), "ai/other"]) as docker:
        status, reply = ask(docker, CHAT, long)
        assert (status, reply["error"]["type"]) == (400, "exceed_context_size_error")
        assert (reply["error"]["n_prompt_tokens"], reply["error"]["n_ctx"]) == (57, 40)
        assert ask(docker, CONFIGURE, {"context-size": 100})[0] == 202
        assert ask(docker, CHAT, long)[0] == 200
        assert ask(docker, CHAT, {**long, "model": "ai/other"})[0] == 200


def test_embeddings_enforce_the_limits_of_the_model():
    model = SimulatedModel(MODEL, kind="embedding", trained_context=600)
    with SimulatedDocker(model, embed=lambda text: [len(text), 0.5]) as docker:
        status, reply = ask(docker, EMBED, {"input": "word " * 511})
        assert (status, reply["error"]["message"][:36]) == (
            500,
            "input (513 tokens) is too large to p",
        )
        flags = {"runtime-flags": ["--ubatch-size", "2048"], "mode": "embedding"}
        assert ask(docker, CONFIGURE, flags)[0] == 202
        assert ask(docker, EMBED, {"input": "word " * 511})[0] == 200
        assert ask(docker, EMBED, {"input": "word " * 600})[0] == 500
        packed = ask(docker, EMBED, {"input": "abc", "encoding_format": "base64"})[1]["data"][0]
        assert struct.unpack("<2f", base64.b64decode(packed["embedding"])) == (3.0, 0.5)
        status, reply = ask(docker, CHAT, {"messages": [USER]})
        assert (status, "logits computation" in reply["error"]["message"]) == (500, True)


def test_a_chat_model_embeds_after_it_is_configured_for_embeddings():
    with SimulatedDocker(SimulatedModel(MODEL)) as docker:
        status, reply = ask(docker, EMBED, {"input": "a"})
        assert (status, reply["error"]["message"][:20]) == (400, "Pooling type 'none' ")
        assert ask(docker, CONFIGURE, {"runtime-flags": ["--pooling", "mean"], "mode": "embedding"})
        assert ask(docker, EMBED, {"input": "a"})[0] == 200


def test_a_reranker_ranks_the_matching_document_first():
    path = "/rerank"
    documents = ["Bananas are yellow.", "Paris is the capital of France."]
    question = {"query": "the capital of France", "documents": documents}
    with SimulatedDocker(SimulatedModel(MODEL, kind="reranker")) as docker:
        best, last = ask(docker, path, question)[1]["results"]
        assert (best["index"], last["index"]) == (1, 0)
        assert best["relevance_score"] > 0 > last["relevance_score"]
        assert len(ask(docker, path, {**question, "top_n": 1})[1]["results"]) == 1


def test_metadata_contain_the_settings_of_a_simulated_model():
    models = [SimulatedModel(MODEL, template="smollm2", context_size=4096, gguf={"a": "b"})]
    models.append(SimulatedModel("ai/bge", kind="reranker", trained_context=512))
    with SimulatedDocker(models) as docker:
        chat = ask(docker, f"/models/{MODEL}")[1]["config"]
        other = ask(docker, "/models/ai/bge")[1]["config"]
        listed = ask(docker, "/engines/v1/models")[1]["data"]
    assert "tools" not in chat["gguf"]["tokenizer.chat_template"]
    assert chat["gguf"]["a"] == "b"
    assert other["gguf"] == {
        "bert.context_length": "512",
        "bert.pooling_type": "4",
        "general.architecture": "bert",
    }
    assert chat["context_size"] == 4096
    assert [model["id"] for model in listed] == [
        f"docker.io/{MODEL}:latest",
        "docker.io/ai/bge:latest",
    ]


def test_models_can_be_tagged_and_removed():
    with SimulatedDocker() as docker:
        assert ask(docker, f"/models/{MODEL}/tag?repo=ai/mine&tag=v1", {})[0] == 201
        ident = ask(docker, "/models/ai/mine:v1")[1]["id"]
        removed = ask(docker, "/models/ai/mine:v1", method="DELETE")[1]
        assert removed == [{"Untagged": "docker.io/ai/mine:v1"}]
        removed = ask(docker, f"/models/{MODEL}", method="DELETE")[1]
        assert removed[-1] == {"Deleted": ident}
        assert ask(docker, f"/models/{MODEL}")[0] == 404


def test_a_configuration_is_kept_for_each_mode():
    with SimulatedDocker() as docker:
        ask(docker, CONFIGURE, {"context-size": 100, "keep_alive": "90s"})
        ask(docker, CONFIGURE, {"runtime-flags": ["--pooling", "mean"], "mode": "embedding"})
        configurations = {entry["Mode"]: entry["Config"] for entry in ask(docker, CONFIGURE)[1]}
        assert configurations["completion"] == {"context-size": 100, "keep_alive": "1m30s"}
        assert configurations["embedding"] == {"runtime-flags": ["--pooling", "mean"]}
        assert ask(docker, f"{CONFIGURE}?model=ai/none")[1] == []


def test_a_script_receives_the_messages_tools_and_schema():
    def script(prompt):
        assert prompt == prompt.messages[-1]["content"] == "one two"
        assert prompt.schema == {"type": "object"}
        return ToolCall(prompt.tools[0]["function"]["name"]) if prompt.tools else "{}"

    response_format = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
    body = {"messages": [USER], "response_format": response_format}
    with SimulatedDocker(script=script) as docker:
        called = ask(docker, CHAT, {**body, "tools": [TOOL]})[1]["choices"][0]
        choice = ask(docker, CHAT, body)[1]["choices"][0]
    assert called["message"]["tool_calls"][0]["function"]["name"] == "add"
    assert choice["message"]["content"] == "{}"


def test_a_script_can_send_a_reply_or_an_event():
    script = InTurn(Reply(418, {"error": "teapot"}), [Text("a"), Event({"choices": [], "x": 1})])
    with SimulatedDocker(script=script) as docker:
        assert ask(docker, CHAT, {"messages": [USER]}) == (418, {"error": "teapot"})
        _, stream = ask(docker, CHAT, {"messages": [USER], "stream": True})
    assert '"x":1' in stream
