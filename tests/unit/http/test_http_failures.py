"""What a reply that is no answer means."""

import json
import pickle

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
from docker_model.http.failures import is_loading, is_passing, name_event, name_reply

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
    (500, engine("Jinja Exception: roles must alternate", 500), GenerationError, "roles must"),
    (500, "", GenerationError, "HTTP 500"),
    (418, "", InvalidRequestError, "refused"),
]


@pytest.mark.parametrize(("status", "body", "kind", "words"), CASES)
def test_each_reply_has_its_error(status, body, kind, words):
    error = name_reply(status, body, "ai/x")
    assert type(error) is kind
    assert words in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_full_context_tells_its_numbers():
    error = name_reply(*CASES[6][:2], "ai/x")
    assert (error.prompt_tokens, error.context_size) == (5000, 4096)


def test_the_engines_quotation_of_the_request_stays_out_of_the_message():
    body = engine('Missing content; message = {"role":"user","content":"my secret"}')
    error = name_reply(400, body, "ai/x")
    assert "Missing content" in str(error)
    assert "secret" not in str(error)
    assert len(str(name_reply(400, engine("x" * 5000), "ai/x"))) < 600


def test_the_whole_reply_is_kept_apart_from_the_message():
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
def test_errors_within_a_stream(error, kind):
    assert type(name_event(error, "ai/x", "")) is kind


def test_what_passes_by_itself():
    assert is_loading(503, engine("Loading model", 503, "unavailable_error"))
    assert not is_loading(503, "")
    assert not is_loading(500, "loading")
    passing = [status for status in range(400, 600) if is_passing(status, "x")]
    assert passing == [429, 502, 503, 504]
    assert is_passing(500, " \n")
