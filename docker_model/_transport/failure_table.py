"""The texts of failures of `docker model`, and the error that each of them stands for.

They are those of the recorded versions v0.1.27 to v1.2.6, of the runner behind them, and of
llama.cpp and vLLM behind that. Nothing machine-readable exists.
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
LOGS_HINT = "`docker model logs` has the engine's own words"
ENDED_HINT = LOGS_HINT + "; without any, the system may have killed the engine for lack of memory"
_MEMORY_HINT = (
    "take a smaller model or quantization, free memory by `docker model unload --all`, or ask "
    "for less context: `docker model configure --context-size N {model}`"
)
_ADDRESS_HINT = "MODEL_RUNNER_HOST must read http://host:port; without it the runner is found"
_REFUSED_HINT = START_HINT + "; MODEL_RUNNER_HOST, if set, must be its address"


@dataclass(frozen=True, slots=True)
class Cause:
    """A row: a text of stderr, and the error that it stands for.

    Message and hint may have `{model}` and the named groups of the pattern.
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
# An engine that the system kills leaves no reason. The runner then passes on what the engine
# logged before, and the signal only if that was nothing.
_KILLED_WHILE_LOADING = (
    r"unable to load runner: .*terminated unexpectedly: \S+ (?:exit status: signal: killed|failed: "
    r"(?!(?s:.*)(?i:error|fail|abort|assert|exception|terminate|invalid|unsupported|unable|cannot)))"
)
NO_ROOM = re.compile(f"{_OUT_OF_MEMORY}|{_KILLED_WHILE_LOADING}")

# A source that `search` could not ask, and the end of the reason, which has no addresses.
# The command succeeds if there are results of another source.
NOT_SEARCHED = re.compile(
    r"^Warning: failed to search (?P<source>[^:\n]+): (?:.*: )?(?P<words>.+)", re.MULTILINE
)

# What the runner itself refuses, in words that the command passes on.
MANAGEMENT = (
    _row(
        r"runner already active",
        GenerationError,
        "{model!r} is answering a request, so it cannot be configured now",
        "wait until it is idle (`docker model ps` shows it), then try again",
    ),
    _row(
        r'runtime flag "(?P<flag>[^"]*)" is not allowed|invalid runtime flag',
        InvalidRequestError,
        "the engine of {model!r} does not take such a runtime flag",
        "leave it out; Docker allows a list of flags for each engine, without paths",
    ),
    _row(
        NOT_SEARCHED.pattern,
        GenerationError,
        "{source} could not be searched: {words}",
        "try again later; a machine behind a proxy needs HTTPS_PROXY, and SSL_CERT_FILE if the "
        "proxy has a certificate authority of its own",
    ),
    _row(
        r"must be forced",
        InvalidRequestError,
        "{model!r} has several tags, and an id names all of them",
        "remove it by a tag, or pass force=True (`docker model rm --force`)",
    ),
)

# First, since the runner quotes the engine's log, which may name earlier failures.
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
        "the engine ended without a reason while it loaded {model!r}, as it does when the system "
        "kills it because memory is full",
        _MEMORY_HINT,
    ),
    _row(
        r"^(?!.*unable to load runner).*terminated unexpectedly: ",
        GenerationError,
        "the engine ended while it answered",
        ENDED_HINT,
    ),
)

# The most telling first: the first that is found counts.
CAUSES = (
    *ENGINE_ENDS,
    # -- no plugin: `docker` itself answers, and rejects a flag before the command ----------
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
        "this `docker model` cannot load a model ahead of its first prompt: v0.1.45 and later can",
        "update the plugin, or let a first prompt load the model",
    ),
    _row(
        r"^unknown (?:shorthand )?flag: (?:'\w' in )?(?P<flag>-[\w-]+)",
        PluginNotFoundError,
        "the installed `docker model` is too old: it does not know {flag}",
        "update the plugin: " + PLUGIN_HINT,
    ),
    # -- the engine --------------------------------------------------------------------------
    _row(
        r"exceed_context_size_error|exceeds the available context size|maximum context length"
        r"|longer than the maximum model length",
        ContextLengthError,
        "the prompt is longer than the model's context",
        "`docker model configure --context-size {enough} {model}`, or send less",
    ),
    # llama.cpp's requests share the context of a model, so others may have filled it.
    _row(
        r"Context size has been exceeded",
        ContextLengthError,
        "the prompt and its answer, or requests at once, are longer than the model's context",
        "send less, or fewer requests at once: `docker model configure --context-size {enough} "
        "{model}` makes more room",
    ),
    _row(
        r"inference backend took too long to initialize",
        ModelLoadError,
        "{model!r} was not loaded within the runner's 300 s",
        "take a smaller model, or try again: its files may be cached by now",
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
    # -- pulls, also those that a run begins by itself ---------------------------------------
    _row(
        r"^Failed to pull model: (?:.* failed with status 404|Model not found$)",
        ModelNotFoundError,
        "there is no model {model!r} in its registry",
        "search at https://hub.docker.com/u/ai or by `docker model search`",
    ),
    _row(
        r"^Failed to pull model: (?:Unauthorized$|.*(?:failed with status 40[13]"
        r"|: 40[13] (?:Unauthorized|Forbidden)|access denied|authentication required))",
        PullError,
        "the registry refused {model!r}: there is no access, or no such model",
        "check the name; for a private model use `docker login` or pull_model(…, token=…); the "
        "command also reads HF_TOKEN, for Hugging Face",
    ),
    _row(
        r"^Failed to pull model: .*(?:: 429 Too Many|rate limited)",
        PullError,
        "the registry of {model!r} has had too many requests",
        "try again later; with a login or a token, registries take more",
    ),
    _row(
        r"^Failed to pull model: .*unexpected status from \w+ request to \S+: (?P<words>.+)",
        PullError,
        "the registry of {model!r} answered with {words}",
        "try again later; a pulled model needs no registry",
    ),
    _row(
        r"^Failed to pull model: .*(?:writing blob|writing image|reading model|download errors)"
        r".*(?:unexpected EOF|connection reset|broken pipe)",
        PullError,
        "the connection to the registry of {model!r} broke off",
        "`docker model pull {model}` goes on where it stopped",
    ),
    _row(
        r"^Failed to pull model: .* failed with status 422|unsupported model config media type",
        PullError,
        "this Docker Model Runner does not know the format of {model!r}",
        "update Docker Desktop, or use `docker model reinstall-runner` (Docker Engine)",
    ),
    _row(
        r"^Failed to pull model: .*(?:no space left|disk full|not enough space on the disk)",
        PullError,
        "there is no room on the disk for {model!r}",
        "`docker model df` shows the space that models take, `docker model rm` removes one",
    ),
    _row(
        r"unknown message type: warning",
        PullError,
        "this old `docker model` ends a pull at a warning of the runner",
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
        "this old `docker model` takes full names only, not {model!r}",
        "write it with its organization, such as ai/smollm2",
    ),
    # -- the engine, for reasons of its own -------------------------------------------------
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
        "the Docker daemon does not answer, so Docker Model Runner cannot be found",
        "start Docker (`docker info` shows its state), or name the runner by MODEL_RUNNER_HOST",
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
        "there is no secure connection to Docker Model Runner",
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
        "Docker Model Runner does not answer",
        _REFUSED_HINT,
    ),
    _row(
        r"^Failed to pull model: .*(?:no such host|\bdial tcp|i/o timeout|handshake|x509:)",
        PullError,
        "the runner cannot reach the registry of {model!r}",
        "check the network and the proxy of the runner; a pulled model needs no registry",
    ),
    *MANAGEMENT,
    # -- the request -------------------------------------------------------------------------
    _row(
        r"request too large",
        InvalidRequestError,
        "the prompt is larger than the 10 MiB that the runner takes",
        "send less",
    ),
    _row(
        r"failed to process images",
        InvalidRequestError,
        "the CLI could not read an image that the prompt names",
        'file_references="escape" sends such names as plain text',
    ),
    # -- the end of a run --------------------------------------------------------------------
    _row(
        r"context canceled|use of closed network connection|forcefully exiting",
        GenerationError,
        "the command was interrupted by a signal",
        "call again; something outside of this process ended the command",
    ),
    _row(
        r"unexpected EOF|connection reset by peer|broken pipe"
        r"|forcibly closed by the remote host|wsarecv|wsasend",  # Windows
        GenerationError,
        "the connection to Docker Model Runner broke off: the engine or the runner ended",
        ENDED_HINT,
    ),
    _row(
        r"bufio\.Scanner: token too long",
        GenerationError,
        "the engine sent a longer line than the CLI can read (64 KiB)",
    ),
    _row(
        r"error parsing (?:stream )?response|failed to unmarshal|invalid character"
        r"|not valid progress data",
        GenerationError,
        "the CLI could not read the reply, which may come from a proxy",
        _ADDRESS_HINT,
    ),
    _row(
        r"^Failed to pull model: (?:.*: )?(?P<words>.*)",  # the end of the reason has no address
        PullError,
        "the pull of {model!r} failed: {words}",
        "try again: `docker model pull {model}`; `docker model logs` has the runner's own words",
    ),
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
