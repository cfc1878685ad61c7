"""The error for each failure that a recorded version printed, and for other failures."""

import errno
import os
import pickle
import signal
import subprocess

import pytest

from docker_model._docker_cli.failures import (
    is_unknown_flag,
    name_failure,
    name_start_failure,
    not_running,
)
from docker_model._transport.failures import model_not_found
from docker_model.errors import (
    ContextLengthError,
    DockerNotFoundError,
    EmptyAnswerError,
    GenerationError,
    InvalidRequestError,
    ModelLoadError,
    ModelNotFoundError,
    PluginNotFoundError,
    PullError,
    ResourceError,
    RunnerUnavailableError,
    UnsupportedParameterError,
)
from tests.support.platforms import WINDOWS, posix, posix_only
from tests.support.runner_failures import (
    KILLED_AT_ITS_START,
    KILLED_WHILE_ANSWERING,
    KILLED_WHILE_LOADING,
    OUT_OF_MEMORY,
)
from tests.support.transcripts import load

NAMES = {
    "absent-plugin": PluginNotFoundError,
    "absent-plugin-bare": PluginNotFoundError,
    "absent-plugin-detach": PluginNotFoundError,
    "absent-plugin-list": PluginNotFoundError,
    "absent-plugin-run-dashdash": PluginNotFoundError,
    "absent-plugin-run-wrapper": PluginNotFoundError,
    "absent-plugin-status-json": PluginNotFoundError,
    "absent-plugin-version": PluginNotFoundError,
    "broken-plugin": PluginNotFoundError,
    "broken-plugin-flag": PluginNotFoundError,
    "broken-plugin-not-executable": PluginNotFoundError,
    "configure-context": PluginNotFoundError,  # v0.1.27 has no such command
    "configure-in-use": GenerationError,
    "context-store-warning": RunnerUnavailableError,
    "inspect-503": RunnerUnavailableError,
    "inspect-missing": ModelNotFoundError,
    "inspect-refused": RunnerUnavailableError,
    "inspect-short": InvalidRequestError,  # until p1.0.0 a name needs its organisation
    "list-json-500": GenerationError,
    "list-json-503": RunnerUnavailableError,
    "list-json-no-engine": RunnerUnavailableError,
    "list-json-no-engine-no-install": RunnerUnavailableError,
    "list-json-refused": RunnerUnavailableError,
    "pipe-stdout-closed": GenerationError,
    "ps-refused": RunnerUnavailableError,
    "pull-503": RunnerUnavailableError,
    "pull-breaks-off": PullError,
    "pull-cut": PullError,
    "pull-denied": PullError,
    "pull-ends-silently": PullError,
    "pull-error": PullError,
    "pull-html": PullError,
    "pull-missing": ModelNotFoundError,
    "pull-refused": RunnerUnavailableError,
    "pull-warning": PullError,
    "run-bad-json": GenerationError,
    "run-cut": GenerationError,
    "run-cut-first": GenerationError,
    "run-detach-prompt-stdin": UnsupportedParameterError,  # before v0.1.45
    "run-file-image-empty-file": InvalidRequestError,
    "run-host-without-scheme": RunnerUnavailableError,
    "run-http-400": ContextLengthError,
    "run-http-401": GenerationError,
    "run-http-404": ModelNotFoundError,
    "run-http-412": ModelLoadError,
    "run-http-429": GenerationError,
    "run-http-500": ModelLoadError,
    "run-http-502": GenerationError,
    "run-http-503": RunnerUnavailableError,
    "run-inspect-500": GenerationError,
    "run-inspect-503": RunnerUnavailableError,
    "run-inspect-not-json": GenerationError,
    "run-line-over-64k": GenerationError,
    "run-missing-not-in-registry": ModelNotFoundError,
    "run-missing-denied": PullError,
    "run-missing-pull-error": PullError,
    "run-missing-pull-unsupported": PullError,
    "run-name-short": InvalidRequestError,
    "run-no-engine": RunnerUnavailableError,
    "run-no-engine-no-install": RunnerUnavailableError,
    "run-refused": RunnerUnavailableError,
    "run-refused-1mb": RunnerUnavailableError,
    "status-json-500": GenerationError,
    "status-json-no-engine": RunnerUnavailableError,
    "status-json-no-engine-no-install": RunnerUnavailableError,
    "status-json-refused": RunnerUnavailableError,
    "unload-refused": RunnerUnavailableError,
}
FAILED = [
    (transcript, ending)
    for transcript in load()
    if transcript.argv[:2] == ("docker", "model") and not transcript.pty
    for ending in transcript.endings
    if ending.exit_code != 0 and not transcript.did_not_end
    if not (WINDOWS and ending.signal)  # Windows has fewer signals
]


def name(transcript, ending):
    return name_failure(
        command=" ".join(transcript.argv[2:3]),
        model="ai/smollm2",
        exit_code=ending.exit_code,
        signal=signal.Signals[ending.signal] if ending.signal else None,
        stderr=ending.stderr.decode(),
        partial="so far",
    )


def failure(text, *, command="run", exit_code=1, **more):
    return name_failure(
        command=command, model="ai/smollm2", exit_code=exit_code, stderr=text, **more
    )


# -- the recorded ones -----------------------------------------------------------------------


def test_every_recorded_failure_has_a_class_a_cause_and_no_secret():
    for transcript, ending in FAILED:
        error = name(transcript, ending)
        if transcript.case in NAMES and ending.exit_code != 2:
            assert type(error) in (NAMES[transcript.case], PluginNotFoundError), str(transcript)
        assert error.message, str(transcript)
        # Addresses come from the environment; the CLI's own output stays in the attributes.
        for secret in ("//RUNNER", "(RUNNER)", "REFUSED", "/nonexistent", "so far", "\x1b"):
            assert secret not in str(error), str(transcript)
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy)) == (type(error), str(error)), str(transcript)
        assert vars(copy) == vars(error), str(transcript)


def test_every_case_of_the_table_is_recorded():
    assert NAMES.keys() <= {transcript.case for transcript, _ in FAILED}


def test_a_plugin_is_too_old_only_if_it_lacks_the_flag():
    for transcript, ending in FAILED:
        if isinstance(name(transcript, ending), PluginNotFoundError):
            assert b"unknown" in ending.stderr


@posix
def test_a_signal_is_named_in_the_error():
    for transcript, ending in FAILED:
        if transcript.case.startswith("signal-"):
            error = name(transcript, ending)
            assert type(error) in (GenerationError, PullError)
            assert "signal" in str(error) or "SIG" in str(error)


def test_an_unknown_flag_is_recognized_only_in_output_of_the_plugin():
    for transcript, ending in FAILED:
        unknown = is_unknown_flag(ending.stderr.decode(), "--color")
        says_so = b"unknown flag: --color" in ending.stderr
        assert unknown == (says_so and not transcript.case.startswith("absent-plugin"))


def test_a_context_that_is_too_long_has_its_error():
    (transcript, *_) = load("run-http-400")
    error = name(transcript, transcript.ending)
    assert (error.prompt_tokens, error.context_size) == (5000, 4096)
    assert "`docker model configure --context-size 8192 ai/smollm2`" in error.hint


def test_the_message_of_the_engine_is_kept():
    (transcript, *_) = load("run-http-500")
    error = name(transcript, transcript.ending)
    assert "cudaMalloc failed: out of memory" in error.detail
    assert "not enough memory" in error.message
    (transcript, *_) = load("run-cut")
    error = name(transcript, transcript.ending)
    assert "unexpected EOF" in error.stderr
    assert (error.exit_code, error.signal, error.partial) == (1, None, "so far")


# Real searches of v1.2.6 behind a proxy that answered in this way.
SEARCHES = {
    "Docker Hub could not be searched: 500 Internal Server Error": (
        "Warning: failed to search Docker Hub: unexpected status from Docker Hub: 500 Internal "
        "Server Error\nsearch failed: all search sources failed: [Docker Hub: unexpected status "
        "from Docker Hub: 500 Internal Server Error]"
    ),
    "HuggingFace could not be searched: rate limited by HuggingFace, please try again later": (
        "Warning: failed to search HuggingFace: rate limited by HuggingFace, please try again "
        "later\nWarning: failed to search Docker Hub: unexpected status from Docker Hub: 500 "
        "Internal Server Error\nsearch failed: all search sources failed: […]"
    ),
    "HuggingFace could not be searched: connection refused": (
        'Warning: failed to search HuggingFace: fetching from HuggingFace: Get "https://'
        'huggingface.co/api/models?limit=25&search=smol": proxyconnect tcp: dial tcp '
        "127.0.0.1:9: connect: connection refused\nsearch failed: all search sources failed: […]"
    ),
    "Docker Hub could not be searched: certificate signed by unknown authority": (
        'Warning: failed to search Docker Hub: fetching from Docker Hub: Get "https://'
        'hub.docker.com/v2/repositories/ai/?page_size=25": tls: failed to verify certificate: '
        "x509: certificate signed by unknown authority\nsearch failed: all search sources "
        "failed: […]"
    ),
}


@pytest.mark.parametrize(("message", "stderr"), SEARCHES.items(), ids=str)
def test_a_failed_search_says_why_without_an_address(message, stderr):
    error = failure(stderr, command="search")
    assert (type(error), error.message) == (GenerationError, message)
    assert "HTTPS_PROXY" in error.hint


READING = (
    "error while pulling model: reading model from registry: failed to pull model "
    '"localhost:5000/org/model:latest": UNKNOWN - resolving localhost:5000/org/model:latest: '
)
ASKED = "unexpected status from HEAD request to http://localhost:5000/v2/org/model/manifests/latest"
# Messages of a real runner of v1.2.6 about a registry that failed.
PULLS = {
    "403": (f"{READING}{ASKED}: 403 Forbidden", "refused"),
    "basic authentication": (
        (
            f"{READING}pull access denied, repository does not exist or may require authorization: "
            "authorization failed: no basic auth credentials"
        ),
        "refused",
    ),
    "401 for a layer": (
        (
            "error while pulling model: reading model config: get raw config file: httpReadSeeker: "
            "failed open: unexpected status from GET request to http://localhost:5000/v2/org/model/"
            "blobs/sha256:158b: 401 Unauthorized\nunauthorized: unauthorized"
        ),
        "refused",
    ),
    "429": (f"{READING}{ASKED}: 429 Too Many Requests", "too many requests"),
    "503": (f"{READING}{ASKED}: 503 Service Unavailable", "answered with 503 Service Unavailable"),
    "not there": (
        (
            f'{READING}failed to do request: Head "http://localhost:5000/v2/org/model/manifests/'
            'latest": dial tcp 127.0.0.1:5000: connect: connection refused'
        ),
        "cannot reach the registry",
    ),
    "unknown certificate": (
        (
            f'{READING}failed to do request: Head "https://registry/v2/org/model/manifests/v1": '
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        ),
        "cannot reach the registry",
    ),
    "anything else": (f"{READING}something new", "the pull of 'ai/smollm2' failed"),
}


@pytest.mark.parametrize(("words", "message"), PULLS.values(), ids=PULLS)
def test_a_registry_that_refuses_or_fails_is_named_as_the_cause(words, message):
    status = "pulling ai/smollm2 failed with status 500 Internal Server Error"
    error = failure(f"Failed to pull model: {status}: {words}", command="pull")
    assert type(error) is PullError
    assert message in error.message
    assert "localhost:5000" not in str(error)
    assert words in error.detail


def test_a_registry_that_breaks_off_is_not_taken_for_the_runner():
    words = 'Error: writing blob: copy blob "sha256:4a0c" to store: unexpected EOF'
    error = failure(f"Failed to pull model: {words}", command="pull")
    assert (type(error), "the connection to the registry" in error.message) == (PullError, True)
    assert "resumes the download" in error.hint
    lost = failure("Failed to pull model: download failed after 4 retries: unexpected EOF")
    assert "the connection to Docker Model Runner" in lost.message


@pytest.mark.parametrize("transcript", load("run-http-412"), ids=str)
def test_the_command_that_installs_a_backend_is_the_one_the_cli_names(transcript):
    text = transcript.ending.stderr.decode()
    hint = name(transcript, transcript.ending).hint
    step = text.rpartition("→ ")[2].strip() if "→" in text else "docker model reinstall-runner"
    assert step in hint


@pytest.mark.parametrize("case", ["absent-plugin-list", "absent-plugin-bare"])
def test_a_missing_plugin_names_how_to_install_it(case):
    (transcript, *_) = load(case)
    hint = name(transcript, transcript.ending).hint
    assert "apt-get install docker-model-plugin" in hint
    assert "docker desktop enable model-runner" in hint


# -- failures from sources or documents, not recorded ----------------------------------------


VLLM = "This model's maximum context length is 4096 tokens. However, you requested 5010 tokens"
VLLM_SINCE = "maximum context length is 4096 tokens and your request contains at least 5000 input"
LOAD = "status=500 body=unable to load runner: error waiting for runner to be ready: "
INSTALLING = "Installing vllm backend...\n"
LOOKUP = "dial tcp: lookup secret: no such host"


@pytest.mark.parametrize(
    ("text", "tokens", "size"),
    [
        ("request (5000 tokens) exceeds the available context size (4096 tokens)", 5000, 4096),
        (f"{VLLM} (5000 in the messages, 10 in the completion).", 5000, 4096),
        (f"{VLLM_SINCE} tokens.", 5000, 4096),
        ("prompt (length 5000) is longer than the maximum model length of 4096.", 5000, 4096),
        ("the request exceeds the available context size. try increasing it", None, None),
        ("Context size has been exceeded.", None, None),
    ],
)
def test_context_lengths_of_other_engines_are_read(text, tokens, size):
    error = failure(f"Failed to generate a response: error response: status=400 body={text}\n")
    assert isinstance(error, ContextLengthError)
    assert (error.prompt_tokens, error.context_size) == (tokens, size)
    assert f"--context-size {'N' if tokens is None else 8192} ai/smollm2" in error.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{LOAD}inference backend took too long to initialize", "300 s"),
        (f"{LOAD}llama.cpp terminated unexpectedly: failed to load model", "could not load"),
        (f"{LOAD}unable to allocate CUDA0 buffer: out of memory", "not enough memory"),
        *((text.strip(), "not enough memory") for text in OUT_OF_MEMORY),
        (KILLED_WHILE_LOADING.strip(), "memory was full"),
        (KILLED_AT_ITS_START.strip(), "docker model unload --all"),
        (f"{KILLED_WHILE_LOADING}0.01 E srv load_model: no such tensor, error", "could not load"),
        (
            'status=412 body=backend "x" is not installed; run: docker model install-runner -x',
            "`docker model install-runner -x`",
        ),
    ],
)
def test_models_that_cannot_be_loaded_raise_their_error(text, words):
    error = failure(f"Failed to generate a response: error response: {text}")
    assert type(error) is ModelLoadError
    assert words in str(error)
    assert text in error.detail


def test_an_engine_that_ended_while_it_answered_is_not_one_that_could_not_load():
    error = failure(f"Failed to generate a response: status=500 body={KILLED_WHILE_ANSWERING}")
    assert (type(error), error.message) == (GenerationError, "the engine ended while answering")
    assert "free memory" in error.hint


def test_a_backend_that_is_not_installed_is_named():
    error = failure(
        f"{INSTALLING}Failed to generate a response: error parsing response: unexpected"
    )
    assert type(error) is ModelLoadError
    assert "could not install the backend vllm" in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'error querying /models: Get "http://secret:1/models": {LOOKUP}', "MODEL_RUNNER_HOST"),
        ('error querying /models: Get "https://secret/": tls: x509: unknown', "MODEL_RUNNER_TLS"),
        ("unable to load TLS configuration: no secret", "MODEL_RUNNER_TLS"),
        ("error querying /models: Get: context deadline exceeded", "does not respond"),
        ("error querying /models: dial tcp: connection refused", "MODEL_RUNNER_HOST"),
        ("service unavailable", "not running"),
    ],
)
def test_unreachable_runners_raise_their_error(text, words):
    error = failure(f"Failed to list models: {text}" if "querying" in text else text)
    assert type(error) is RunnerUnavailableError
    assert words in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("docker: 'model' is not a docker command.\nSee 'docker --help'", PluginNotFoundError, ""),
        ("unknown flag: --json\nSee 'docker --help'.\n", PluginNotFoundError, "is not"),
        (f"Failed to pull model: pulling: {LOOKUP}", PullError, "cannot reach the registry"),
        ("Failed to load model: status=404\nmodel not found", ModelNotFoundError, "model pull"),
        (f"{INSTALLING}vllm backend installed\nunexpected EOF", GenerationError, "was lost"),
        ("status=400 body=request too large", InvalidRequestError, "10 MiB"),
        (
            'status=500 body={"message":"the current context does not support logits computation"}',
            InvalidRequestError,
            "embedding model or a reranker",
        ),
        ("something new", GenerationError, "exit code 1"),
    ],
)
def test_other_messages_raise_their_error(text, kind, words):
    error = failure(text)
    assert type(error) is kind
    assert words in str(error)


# -- ends without a text ---------------------------------------------------------------------


@posix
def test_an_end_without_a_message_names_the_signal_or_exit_code():
    assert "SIGTERM" in str(failure("", exit_code=None, signal=signal.SIGTERM))
    killed = failure("model not found", exit_code=None, signal=signal.SIGKILL, partial="so far")
    assert (killed.signal, killed.exit_code, killed.partial) == (9, None, "so far")
    assert "memory" in killed.hint
    assert "signal 40" in str(failure("", exit_code=None, signal=40))
    assert "reaped" in str(failure("", exit_code=None))
    assert "signal" in str(failure("", exit_code=255))
    assert type(failure("", exit_code=137)) is GenerationError
    assert type(failure("", exit_code=255, command="pull")) is PullError


def test_exit_code_zero_without_an_answer_is_an_error():
    empty = failure("", exit_code=0)
    assert isinstance(empty, EmptyAnswerError)
    assert empty.exit_code == 0
    # Older engines send an error as a line, which the CLI copies to stderr; it exits with code 0.
    error = failure(
        'error: {"code":400,"type":"exceed_context_size_error","n_ctx":4096}', exit_code=0
    )
    assert isinstance(error, ContextLengthError)


def test_errors_without_a_process_have_their_hints():
    missing = model_not_found("hf.co/a/b:Q4")
    assert (missing.model, missing.hint) == ("hf.co/a/b:Q4", "`docker model pull hf.co/a/b:Q4`")
    assert "docker desktop enable model-runner" in not_running().hint


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("model not found", ModelNotFoundError),
        ('{"type":"exceed_context_size_error"}', ContextLengthError),
        ("failed to load model", ModelLoadError),
        ("Docker Model Runner is not running.", RunnerUnavailableError),
        ("unable to resolve docker endpoint: context not found", RunnerUnavailableError),
        ("request too large", InvalidRequestError),
        ("unknown command: docker model", PluginNotFoundError),
        ("Failed to pull model: disk full", PullError),
        ("odd", GenerationError),
    ],
)
def test_output_of_the_command_is_in_detail_only(text, kind):
    error = pickled(failure(f"SECRET\n{text}"))
    assert type(error) is kind
    assert "SECRET" in error.detail
    assert "SECRET" not in str(error)


# -- failures to start a process -------------------------------------------------------------


def start(argv, **settings):
    with pytest.raises(OSError) as caught:
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, **settings)
    return pickled(name_start_failure(caught.value, argv))


def pickled(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), str(error))
    return copy


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return [str(path)]


def test_a_file_of_another_format_is_no_program(tmp_path):
    error = start(script(tmp_path / "text.exe", "text"))
    assert type(error) is DockerNotFoundError
    assert "not a program for this machine" in error.message
    assert (".exe" in error.hint) == WINDOWS


@posix_only("scripts and permission to execute")
def test_a_program_that_cannot_be_started_is_an_error(tmp_path):
    missing = start([str(tmp_path / "missing")])
    assert type(missing) is DockerNotFoundError
    assert missing.errno == errno.ENOENT
    assert "docs.docker.com" in missing.hint
    orphan = start(script(tmp_path / "orphan", "#!/nonexistent/python\n"))
    assert type(orphan) is DockerNotFoundError
    assert "interpreter" in str(orphan)
    plain = tmp_path / "plain"
    plain.write_text("")
    refused = start([str(plain)])
    assert "Permission denied" in str(refused)
    assert refused.errno == errno.EACCES
    assert type(start([str(tmp_path)])) is DockerNotFoundError
    nowhere = start(["/bin/true"], cwd=tmp_path / "gone")
    assert type(nowhere) is DockerNotFoundError
    assert "working directory" in str(nowhere)


@posix_only("a limit for the size of an environment")
def test_an_environment_that_is_too_large_is_refused_without_its_values():
    error = start(["/bin/true"], env={"A": "secret" * 100_000})
    assert type(error) is InvalidRequestError
    assert "secret" not in str(error)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM])
def test_exhausted_resources_are_a_resource_error(number):
    error = pickled(name_start_failure(OSError(number, os.strerror(number)), ["docker"]))
    assert type(error) is ResourceError
    assert error.errno == number
    assert "max_concurrency" in error.hint


@pytest.mark.parametrize(
    "words",
    [
        "wsarecv: An existing connection was forcibly closed by the remote host.",
        "write tcp 127.0.0.1:5->127.0.0.1:6: wsasend: An established connection was aborted",
    ],
)
def test_a_connection_that_breaks_off_on_windows_is_named(words):
    error = failure(f"Failed to generate a response: error reading response stream: {words}")
    assert "was lost" in error.message
