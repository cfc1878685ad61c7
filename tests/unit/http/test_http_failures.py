"""The error raised for each failed reply of the runner."""

import json
import pickle
import re

import pytest

from docker_model import (
    ContextLengthError,
    GenerationError,
    InvalidRequestError,
    ModelLoadError,
    ModelNotFoundError,
    RunnerUnavailableError,
    UnsupportedParameterError,
)
from docker_model.http.failures import is_loading, is_temporary, name_event, name_reply
from tests.support.runner_failures import (
    KILLED_AT_ITS_START,
    KILLED_WHILE_ANSWERING,
    KILLED_WHILE_LOADING,
)

POOLING = "Pooling type 'none' is not OAI compatible. Please use a different pooling type"


def engine(message, code=400, kind="invalid_request_error", **more):
    return json.dumps({"error": {"code": code, "message": message, "type": kind, **more}})


CASES = [
    (
        404,
        "error while getting model: get model 'ai/x': model not found",
        ModelNotFoundError,
        "pull ai/x",
    ),
    (404, "model not found\n", ModelNotFoundError, "pull ai/x"),
    (404, engine("The model `ai/x` does not exist.", 404), ModelNotFoundError, "pull ai/x"),
    (404, "404 page not found", RunnerUnavailableError, "http://host:port"),
    (404, engine("File Not Found", 404, "not_found_error"), RunnerUnavailableError, "address"),
    (308, "", RunnerUnavailableError, "address"),
    (
        400,
        engine(
            "request (5000 tokens) exceeds the available context size (4096 tokens)",
            kind="exceed_context_size_error",
            n_prompt_tokens=5000,
            n_ctx=4096,
        ),
        ContextLengthError,
        "--context-size 8192 ai/x",
    ),
    (
        500,
        engine("Context size has been exceeded.", 500),
        ContextLengthError,
        "--context-size N ai/x",
    ),
    (500, KILLED_WHILE_LOADING, ModelLoadError, "killed it because memory was full"),
    (500, KILLED_AT_ITS_START, ModelLoadError, "docker model unload --all"),
    (500, KILLED_WHILE_ANSWERING, GenerationError, "the engine ended while answering"),
    (400, engine(POOLING), InvalidRequestError, "--mode embedding ai/x -- --pooling mean"),
    (
        501,
        engine("This server does not support embeddings. Start it with `--embeddings`", 501),
        InvalidRequestError,
        "--mode embedding ai/x -- --pooling mean",
    ),
    (
        500,
        engine(
            "input (3001 tokens) is too large to process. increase the physical batch size", 500
        ),
        ContextLengthError,
        "--ubatch-size 4096",
    ),
    (
        500,
        engine("image input is not supported - hint: …", 500),
        UnsupportedParameterError,
        "gemma",
    ),
    (400, "request too large", InvalidRequestError, "10 MiB"),
    (413, "", InvalidRequestError, "10 MiB"),
    (401, "", InvalidRequestError, "api_key"),
    (403, "no", InvalidRequestError, "api_key"),
    (412, "vllm binary not found", ModelLoadError, "not installed"),
    (500, "unable to load runner: error waiting for runner", ModelLoadError, "could not load"),
    (500, "unable to load runner: not enough GPU memory", ModelLoadError, "memory"),
    (503, "", RunnerUnavailableError, "not ready yet"),
    (429, "", GenerationError, "busy"),
    (501, engine("no such thing", 501), UnsupportedParameterError, "no such thing"),
    (400, engine("unrecognized type nonsense"), InvalidRequestError, "unrecognized type nonsense"),
    (422, '{"detail": "top_k"}', InvalidRequestError, "top_k"),
    (
        500,
        engine("Failed to parse messages: type must be string, but is null", 500),
        InvalidRequestError,
        "could not parse the request: Failed to parse messages",
    ),
    (
        500,
        engine("Failed to parse tool call arguments as JSON: parse error", 500),
        InvalidRequestError,
        "tool call arguments",
    ),
    (
        500,
        engine("Failed to parse input at pos 7: <tool_call>", 500, "server_error"),
        GenerationError,
        "could not parse a tool call(?s:.*)try again",
    ),
    (
        500,
        engine("The model produced output that does not match the expected peg-native format", 500),
        GenerationError,
        "could not parse a tool call(?s:.*)try again",
    ),
    (
        500,
        engine("the current context does not support logits computation", 500),
        InvalidRequestError,
        "embedding model or a reranker(?s:.*)ai/smollm2",
    ),
    (
        501,
        engine("This server does not support reranking. Start it with `--reranking`", 501),
        InvalidRequestError,
        "configure --mode reranking ai/x`",
    ),
    (
        501,
        engine("This server does not support completions. Start it without `--embeddings`", 501),
        InvalidRequestError,
        "embedding model",
    ),
    (
        400,
        engine("The model does not support Embeddings API"),
        InvalidRequestError,
        "is a chat model",
    ),
    (
        200,
        "<!DOCTYPE html><html><body>Welcome</body></html>",
        RunnerUnavailableError,
        "web page(?s:.*)http://host:port",
    ),
    (501, "<html><body>Error 501: Unsupported method</body></html>", RunnerUnavailableError, ""),
    (422, '{"detail": [{"msg": "top_k"}, {"msg": "n"}]}', InvalidRequestError, "top_k; n"),
    (400, '{"object": "error", "message": "no n", "code": 400}', InvalidRequestError, "no n"),
    (500, "", GenerationError, "HTTP 500"),
    (418, "", InvalidRequestError, "rejected"),
]


@pytest.mark.parametrize(("status", "body", "kind", "words"), CASES)
def test_each_failed_reply_raises_its_error(status, body, kind, words):
    error = name_reply(status, body, "ai/x")
    assert type(error) is kind
    assert re.search(words, str(error))
    assert error.hint
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


PARSER = (
    "Unable to generate parser for this template. Automatic parser generation failed: \n"
    "------------\nWhile executing CallExpression at line 4, column 74 in source:\n"
    "...%}{{ raise_exception('…\n                     ^\nError: Jinja Exception: "
)


@pytest.mark.parametrize("lead", ["", "Jinja Exception: ", PARSER])
@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize(
    ("complaint", "hint"),
    [
        (
            "Conversation roles must alternate user/assistant/user/assistant/...",
            "alternate the messages",
        ),
        ("System message must be at the beginning.", "one system message"),
        ("System role not supported", "one system message"),
        ("Tool call IDs should be alphanumeric strings with length 9!", "nine letters"),
        ("This model only supports single tool-calls at once!", "one tool call per message"),
        ("Invalid tool response: 'name' must be provided.", "set the name of the tool"),
        ("No user query found in messages.", "send a message with the role user"),
        ("Message has tool role, but there was no previous assistant message", "directly after"),
        ("Unsupported user content block type: image_url", "only text"),
    ],
)
def test_a_known_complaint_of_a_chat_template_gets_its_hint(lead, status, complaint, hint):
    error = name_reply(status, engine(lead + complaint, status), "ai/x")
    assert type(error) is InvalidRequestError
    assert f"the chat template of 'ai/x' rejected the conversation: {complaint}" in str(error)
    assert hint in error.hint


def test_an_unknown_complaint_of_a_chat_template_is_quoted():
    error = name_reply(400, engine(PARSER + "It is Monday."), "ai/x")
    assert "chat template of 'ai/x' rejected the conversation: It is Monday." in str(error)
    assert "inspect ai/x" in error.hint


@pytest.mark.parametrize(
    "text",
    [
        "it broke\nTraceback (most recent call last):\n  File x\nValueError: out of ideas\n",
        "at line 1\nError: not yet\n^\nstd::runtime_error Exception: out of ideas",
        "ERROR\n  RuntimeException: out of ideas",
        "out of ideas",
        "out of ideas\nand more",
    ],
)
def test_the_reason_is_found_at_any_position_of_the_text(text):
    assert "the engine failed (HTTP 500): out of ideas\n" in str(
        name_reply(500, engine(text, 500), "ai/x")
    )


def test_a_full_context_names_both_numbers_of_tokens():
    error = name_reply(*CASES[6][:2], "ai/x")
    assert (error.prompt_tokens, error.context_size) == (5000, 4096)


def test_the_request_quoted_by_the_engine_is_not_in_the_message():
    body = engine('Missing content; message = {"role":"user","content":"my secret"}')
    error = name_reply(400, body, "ai/x")
    assert "Missing content" in str(error)
    assert "secret" not in str(error)
    assert len(str(name_reply(400, engine("x" * 5000), "ai/x"))) < 600


def test_the_whole_reply_is_kept_in_stderr_of_the_error():
    error = name_reply(500, engine("it broke", 500), "ai/x", "some")
    assert '"message": "it broke"' in error.stderr
    assert error.partial == "some"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 500, "message": "Compute error.", "type": "server_error"}, GenerationError),
        ({"code": 400, "message": POOLING}, InvalidRequestError),
        ({"code": 400, "type": "exceed_context_size_error", "message": "m"}, ContextLengthError),
        ({"message": "m"}, GenerationError),
        ({"code": "odd", "message": None}, GenerationError),
        ("Compute error.", GenerationError),
        (None, GenerationError),
    ],
)
def test_errors_within_a_stream_raise_their_class(error, kind):
    assert type(name_event(error, "ai/x", "")) is kind


def test_temporary_failures_are_recognized():
    assert is_loading(503, engine("Loading model", 503, "unavailable_error"))
    assert not is_loading(503, "")
    assert not is_loading(500, "loading")
    temporary = [status for status in range(400, 600) if is_temporary(status, "x")]
    assert temporary == [429, 502, 503, 504]
    assert is_temporary(500, " \n")
