"""The failure messages of `docker model`, and the error for each of them.

The messages come from the recorded versions v0.1.27 to v1.2.6, the runner, llama.cpp and vLLM.
There are no machine-readable error codes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from docker_model.errors import (
    ContextLengthError,
    DockerModelError,
    GenerationError,
    InvalidRequestError,
    ModelLoadError,
    ModelNotFoundError,
    PluginNotFoundError,
    PullError,
    RunnerUnavailableError,
    UnsupportedParameterError,
)

START_HINT = (
    "`docker desktop enable model-runner` (Docker Desktop) or `docker model install-runner` "
    "(Docker Engine); `docker model status` shows its state"
)
PLUGIN_HINT = (
    "`sudo apt-get install docker-model-plugin` (Docker Engine; `dnf install` on Fedora), or "
    "`docker desktop enable model-runner` (Docker Desktop)"
)
LOGS_HINT = "`docker model logs` shows the engine's log"
ENDED_HINT = (
    LOGS_HINT + "; if the log has no reason, the system possibly killed the engine to free memory"
)
_MEMORY_HINT = (
    "use a smaller model or quantization, free memory with `docker model unload --all`, or "
    "reduce the context: `docker model configure --context-size N {model}`"
)
_ADDRESS_HINT = (
    "set MODEL_RUNNER_HOST to http://host:port, or unset it to discover the runner automatically"
)
_REFUSED_HINT = START_HINT + "; if MODEL_RUNNER_HOST is set, check the address in it"


@dataclass(frozen=True, slots=True)
class Cause:
    """A row of the table: a pattern for stderr, and the error that it indicates.

    Message and hint can contain `{model}` and the named groups of the pattern.
    """

    pattern: re.Pattern[str]
    error: type[DockerModelError]
    message: str
    hint: str = LOGS_HINT


def _row(pattern: str, error: type[DockerModelError], message: str, hint: str = LOGS_HINT) -> Cause:
    return Cause(re.compile(pattern, re.MULTILINE), error, message, hint)


_OUT_OF_MEMORY = (
    r"not enough (?:GPU )?memory|insufficient memory|out of memory|OutOf(?:Device|Host)Memory"
    r"|[Cc]annot allocate memory|bad_alloc"
    r"|(?:failed|unable) to allocate (?:[\w ]{1,20} )?buffers?\b"
)
# If the system kills the engine, the runner reports the engine's last log lines without a
# reason. It reports the signal only if the engine has not logged anything.
_KILLED_WHILE_LOADING = (
    r"unable to load runner: .*terminated unexpectedly: \S+ (?:exit status: signal: killed|failed: "
    r"(?!(?s:.*)(?i:error|fail|abort|assert|exception|terminate|invalid|unsupported|unable|cannot)))"
)
NO_ROOM = re.compile(f"{_OUT_OF_MEMORY}|{_KILLED_WHILE_LOADING}")

# A source that `search` could not query, and the last part of the reason, which contains no
# addresses. The command succeeds if another source has results.
NOT_SEARCHED = re.compile(
    r"^Warning: failed to search (?P<source>[^:\n]+): (?:.*: )?(?P<words>.+)", re.MULTILINE
)

# Errors of the runner, which the command forwards.
MANAGEMENT = (
    _row(
        r"runner already active",
        GenerationError,
        "{model!r} is answering a request, so it cannot be configured now",
        "wait until `docker model ps` shows that the model is idle, then try again",
    ),
    _row(
        r'runtime flag "(?P<flag>[^"]*)" is not allowed|invalid runtime flag',
        InvalidRequestError,
        "the runner does not allow this runtime flag for the engine of {model!r}",
        "remove the flag; Docker allows only certain flags for each engine, and no paths",
    ),
    _row(
        NOT_SEARCHED.pattern,
        GenerationError,
        "{source} could not be searched: {words}",
        "try again later; behind a proxy, set HTTPS_PROXY, and SSL_CERT_FILE if the proxy uses "
        "a private certificate authority",
    ),
    _row(
        r"must be forced",
        InvalidRequestError,
        "{model!r} has several tags, and an id refers to all of them",
        "remove one tag, or pass force=True (`docker model rm --force`) to remove the model",
    ),
)

# These rows come first because the runner quotes the engine's log, which can contain earlier
# failures.
ENGINE_ENDS = (
    _row(
        _OUT_OF_MEMORY,
        ModelLoadError,
        "there is not enough memory to load {model!r}",
        _MEMORY_HINT,
    ),
    _row(
        _KILLED_WHILE_LOADING,
        ModelLoadError,
        "the engine ended without a reason while loading {model!r}, which usually means that the "
        "system killed it because memory was full",
        _MEMORY_HINT,
    ),
    _row(
        r"^(?!.*unable to load runner).*terminated unexpectedly: ",
        GenerationError,
        "the engine ended while answering",
        ENDED_HINT,
    ),
)

# Any other failure of a pull. The message does not contain the command's output.
PULL_FAILED = _row(
    r"^Failed to pull model: (?:.*: )?(?P<words>.*)",  # the last part has no address
    PullError,
    "the pull of {model!r} failed",
    "try again: `docker model pull {model}`; `docker model logs` shows the runner's log",
)

NOT_A_CHAT_MODEL = _row(
    r"does not support (?:logits computation|(?:[Cc]hat )?[Cc]ompletions)",
    InvalidRequestError,
    "{model!r} cannot chat: it is an embedding model or a reranker, or is configured as one",
    "use a chat model such as ai/smollm2; this model is for the embedding and reranking classes",
)

# The first row that matches determines the error, so specific rows come first.
CAUSES = (
    *ENGINE_ENDS,
    # -- no plugin: `docker` itself rejects the subcommand or a flag --------------------------
    _row(
        r"unknown command: docker model|'model' is not a docker command"
        r"|^unknown (?:shorthand )?flag: [^\n]*\n\s*(?:Usage:  docker \[OPTIONS\]|See 'docker --)",
        PluginNotFoundError,
        "`docker` is installed, but its plugin `docker model` is not",
        PLUGIN_HINT,
    ),
    _row(
        r"^unknown flag: --detach$",
        UnsupportedParameterError,
        "this version of `docker model` cannot preload a model; v0.1.45 and later can",
        "update the plugin, or load the model with a first prompt",
    ),
    _row(
        r"^unknown (?:shorthand )?flag: (?:'\w' in )?(?P<flag>-[\w-]+)",
        PluginNotFoundError,
        "the installed `docker model` is too old: it does not support {flag}",
        "update the plugin: " + PLUGIN_HINT,
    ),
    # -- the engine --------------------------------------------------------------------------
    NOT_A_CHAT_MODEL,
    _row(
        r"exceed_context_size_error|exceeds the available context size|maximum context length"
        r"|longer than the maximum model length",
        ContextLengthError,
        "the prompt is longer than the model's context",
        "`docker model configure --context-size {enough} {model}`, or send less text",
    ),
    # Parallel requests share the context in llama.cpp, so other requests can have filled it.
    _row(
        r"Context size has been exceeded",
        ContextLengthError,
        "the prompt and its answer, or parallel requests together, exceed the model's context",
        "send less text or fewer parallel requests, or increase the context: `docker model "
        "configure --context-size {enough} {model}`",
    ),
    _row(
        r"inference backend took too long to initialize",
        ModelLoadError,
        "{model!r} was not loaded within the runner's limit of 300 s",
        "use a smaller model, or try again: cached files load faster",
    ),
    _row(
        r"(?:→|run:) (?P<step>docker model (?:re)?install-runner [^\n]+)",
        ModelLoadError,
        "the backend that {model!r} needs is not installed",
        "`{step}`",
    ),
    _row(
        r"status=412\b|\bbinary not found\b",
        ModelLoadError,
        "the backend that {model!r} needs is not installed",
        "`docker model reinstall-runner --backend vllm --gpu cuda` for a vLLM model",
    ),
    _row(
        r"^Installing (?P<backend>\S+) backend\.\.\.\n(?!\1 backend installed)",
        ModelLoadError,
        "the runner could not install the backend {backend}",
        "`docker model install-runner --backend {backend}`, then `docker model logs`",
    ),
    # -- pulls, including pulls that `docker model run` starts ---------------------------------
    _row(
        r"^Failed to pull model: (?:.* failed with status 404|Model not found$)",
        ModelNotFoundError,
        "the registry has no model {model!r}",
        "search at https://hub.docker.com/u/ai or with `docker model search`",
    ),
    _row(
        r"^Failed to pull model: (?:Unauthorized$|.*(?:failed with status 40[13]"
        r"|: 40[13] (?:Unauthorized|Forbidden)|access denied|authentication required))",
        PullError,
        "the registry refused access to {model!r}, or the model does not exist",
        "check the name; for a private model use `docker login` or pull_model(…, token=…); for "
        "Hugging Face, the command also reads HF_TOKEN",
    ),
    _row(
        r"^Failed to pull model: .*(?:: 429 Too Many|rate limited)",
        PullError,
        "the registry of {model!r} has received too many requests",
        "try again later; registries have higher limits with a login or a token",
    ),
    _row(
        r"^Failed to pull model: .*unexpected status from \w+ request to \S+: (?P<words>.+)",
        PullError,
        "the registry of {model!r} answered with {words}",
        "try again later; models that are already pulled do not need the registry",
    ),
    _row(
        r"^Failed to pull model: .*(?:writing blob|writing image|reading model|download errors)"
        r".*(?:unexpected EOF|connection reset|broken pipe)",
        PullError,
        "the connection to the registry of {model!r} was lost",
        "`docker model pull {model}` resumes the download",
    ),
    _row(
        r"^Failed to pull model: .* failed with status 422|unsupported model config media type",
        PullError,
        "this version of Docker Model Runner does not support the format of {model!r}",
        "update Docker Desktop, or use `docker model reinstall-runner` (Docker Engine)",
    ),
    _row(
        r"^Failed to pull model: .*(?:no space left|disk full|not enough space on the disk)",
        PullError,
        "there is not enough disk space for {model!r}",
        "`docker model df` shows the disk usage of models, `docker model rm` removes a model",
    ),
    _row(
        r"unknown message type: warning",
        PullError,
        "this old version of `docker model` aborts a pull when the runner sends a warning",
        "update the plugin: " + PLUGIN_HINT,
    ),
    _row(
        r"unexpected end of stream",
        PullError,
        "the pull of {model!r} ended early",
        "try again: `docker model pull {model}`",
    ),
    # -- names -------------------------------------------------------------------------------
    _row(
        r"\b[Mm]odel not found$|no such model",
        ModelNotFoundError,
        "the model {model!r} is not pulled",
        "`docker model pull {model}`",
    ),
    _row(
        r"invalid model name",
        InvalidRequestError,
        "this old version of `docker model` requires a full name, not {model!r}",
        "add the organization, such as ai/smollm2",
    ),
    # -- the engine, for other reasons -------------------------------------------------------
    _row(
        r"unable to load runner|failed to load model|backend quit unexpectedly"
        r"|terminated unexpectedly|^Failed to load model",
        ModelLoadError,
        "the engine could not load {model!r}",
    ),
    # -- the runner --------------------------------------------------------------------------
    _row(
        r"Docker Model Runner is not running|^service unavailable|status=503\b",
        RunnerUnavailableError,
        "Docker Model Runner is not running, or not ready yet",
        START_HINT,
    ),
    _row(
        r"[Cc]annot connect to the Docker daemon|failed to connect to the docker API",
        RunnerUnavailableError,
        "the Docker daemon does not respond, so Docker Model Runner cannot be found",
        "start Docker (`docker info` shows its state), or set MODEL_RUNNER_HOST to the runner's "
        "address",
    ),
    _row(
        r"unable to resolve docker endpoint",
        RunnerUnavailableError,
        "the context or the address of `docker` is wrong",
        "check `docker context ls`, DOCKER_CONTEXT and DOCKER_HOST",
    ),
    _row(
        r"unable to load TLS configuration|error querying /.*(?:x509:|tls: )",
        RunnerUnavailableError,
        "the TLS connection to Docker Model Runner failed",
        "check MODEL_RUNNER_TLS, MODEL_RUNNER_TLS_CA_CERT and MODEL_RUNNER_TLS_SKIP_VERIFY",
    ),
    _row(
        r"invalid model runner URL|error querying /.*(?:no such host|unsupported protocol)",
        RunnerUnavailableError,
        "there is no Docker Model Runner at this address",
        _ADDRESS_HINT,
    ),
    _row(
        r"error querying /(?!.*context canceled)",
        RunnerUnavailableError,
        "Docker Model Runner does not respond",
        _REFUSED_HINT,
    ),
    _row(
        r"^Failed to pull model: .*(?:no such host|\bdial tcp|i/o timeout|handshake|x509:)",
        PullError,
        "the runner cannot reach the registry of {model!r}",
        "check the runner's network and proxy; models that are already pulled do not need the "
        "registry",
    ),
    *MANAGEMENT,
    # -- the request -------------------------------------------------------------------------
    _row(
        r"request too large",
        InvalidRequestError,
        "the prompt is larger than the runner's limit of 10 MiB",
        "send a shorter prompt",
    ),
    _row(
        r"failed to process images",
        InvalidRequestError,
        "the CLI could not read an image file that the prompt names",
        'file_references="escape" sends file names as plain text',
    ),
    # -- the end of a run --------------------------------------------------------------------
    _row(
        r"context canceled|use of closed network connection|forcefully exiting",
        GenerationError,
        "the command was interrupted by a signal",
        "try again; another process sent the signal",
    ),
    _row(
        r"unexpected EOF|connection reset by peer|broken pipe"
        r"|forcibly closed by the remote host|wsarecv|wsasend",  # Windows
        GenerationError,
        "the connection to Docker Model Runner was lost: the engine or the runner ended",
        ENDED_HINT,
    ),
    _row(
        r"bufio\.Scanner: token too long",
        GenerationError,
        "the engine sent a line that exceeds the CLI's limit of 64 KiB",
    ),
    _row(
        r"error parsing (?:stream )?response|failed to unmarshal|invalid character"
        r"|not valid progress data",
        GenerationError,
        "the CLI could not parse the reply, which possibly comes from a proxy",
        _ADDRESS_HINT,
    ),
    PULL_FAILED,
    _row(
        r"status=429\b",
        GenerationError,
        "the runner is too busy (HTTP 429)",
        "try again later, or lower max_concurrency",
    ),
    _row(
        r"(?:status[= ]|status code: |[:(] ?(?=\d{3} [A-Z]))(?P<status>[45]\d\d)\b",
        GenerationError,
        "the runner answered with HTTP {status}",
    ),
)
