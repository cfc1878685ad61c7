"""The errors of this package: one class per cause, each with the step that fixes it.

Every error is a :class:`DockerModelError`. No class inherits from `RuntimeError`, because
`llama_index.core.async_utils.asyncio_run` replaces every `RuntimeError` with a message
about nested event loops, which hides the cause.

All errors can be pickled, to cross process pools. The message is therefore the only
positional argument, and everything else is an optional keyword and a plain attribute. No
message contains a prompt, an answer or the value of an environment variable; `partial`
holds the text of the answer up to the failure.
"""

from __future__ import annotations

import errno
import sys

__all__ = [
    "ContextLengthError",
    "DockerModelError",
    "DockerNotFoundError",
    "EmptyAnswerError",
    "FileReferenceError",
    "GenerationError",
    "GenerationTimeoutError",
    "InvalidRequestError",
    "ModelLoadError",
    "ModelNotFoundError",
    "PluginNotFoundError",
    "PullError",
    "ResourceError",
    "RunnerUnavailableError",
    "UnsupportedParameterError",
]


class DockerModelError(Exception):
    """Base class of all errors of this package.

    Attributes:
        hint: The command or the step that fixes the cause; part of `str(error)`.
        detail: The message of the CLI, the runner or the engine, if there is one. It can
            quote the prompt or an address, so it is not part of `str(error)`.
        partial: The text of the answer up to the failure.
    """

    hint: str = ""
    detail: str = ""
    partial: str = ""

    def __init__(self, message: str = "", *, hint: str = "", detail: str = "") -> None:
        super().__init__(message)
        if hint:
            self.hint = hint
        if detail:
            self.detail = detail

    @property
    def message(self) -> str:
        """The cause, without the hint."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        return f"{self.message}\nHint: {self.hint}" if self.hint else self.message


class InvalidRequestError(DockerModelError, ValueError):
    """The request is invalid: a blank prompt, an invalid model name or an invalid setting."""


class FileReferenceError(InvalidRequestError):
    """The prompt names local files, and `file_references="refuse"` was set.

    Attributes:
        references: The paths as written in the prompt.
    """

    references: tuple[str, ...] = ()

    def __init__(
        self, message: str = "", *, hint: str = "", references: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.references = references


class UnsupportedParameterError(InvalidRequestError):
    """The transport does not support a parameter."""


class DockerNotFoundError(DockerModelError, FileNotFoundError):
    """The command does not exist, is not executable, or is not a program.

    Attributes:
        errno: The operating system's error number.
    """

    errno: int | None = errno.ENOENT  # Python's own is lost in a pickle


class PluginNotFoundError(DockerModelError):
    """`docker` is installed, but `docker model` is not, or is too old."""


class RunnerUnavailableError(DockerModelError, ConnectionError):
    """Docker Model Runner is off, refuses connections, or has another address."""


class ModelNotFoundError(DockerModelError, LookupError):
    """The model is not pulled, or the registry does not have it.

    Attributes:
        model: The model name that the caller passed.
    """

    model: str = ""

    def __init__(
        self, message: str = "", *, hint: str = "", detail: str = "", model: str = ""
    ) -> None:
        super().__init__(message, hint=hint, detail=detail)
        self.model = model


class ModelLoadError(DockerModelError):
    """The engine could not load the model, or the engine is not installed.

    The usual causes are too little memory and a model that the engine does not support.
    """


class ContextLengthError(DockerModelError, ValueError):
    """The prompt is longer than the model's context.

    Attributes:
        prompt_tokens: The length of the prompt in tokens, if the engine reported it.
        context_size: The size of the context in tokens, if the engine reported it.
    """

    prompt_tokens: int | None = None
    context_size: int | None = None

    def __init__(
        self,
        message: str = "",
        *,
        hint: str = "",
        detail: str = "",
        prompt_tokens: int | None = None,
        context_size: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint, detail=detail)
        self.prompt_tokens = prompt_tokens
        self.context_size = context_size


class GenerationError(DockerModelError):
    """A run or a request failed for another reason.

    Attributes:
        exit_code: The exit code of the command; `None` if it did not exit by itself.
        signal: The number of the signal that killed the command; `None` if no signal did.
        stderr: The last part of the command's standard error; the same as `detail`.
    """

    exit_code: int | None = None
    signal: int | None = None
    stderr: str = ""

    def __init__(
        self,
        message: str = "",
        *,
        hint: str = "",
        exit_code: int | None = None,
        signal: int | None = None,
        stderr: str = "",
        partial: str = "",
    ) -> None:
        super().__init__(message, hint=hint, detail=stderr)
        self.exit_code = exit_code
        self.signal = signal
        self.stderr = stderr
        self.partial = partial


class EmptyAnswerError(GenerationError):
    """The answer is empty: the model generated no text, or the CLI hid an engine error."""


class GenerationTimeoutError(DockerModelError, TimeoutError):
    """A limit of :class:`docker_model.Timeouts` was exceeded.

    Attributes:
        phase: `"queue"`, `"first_output"`, `"idle"` or `"total"`.
    """

    phase: str = ""

    def __init__(
        self, message: str = "", *, hint: str = "", phase: str = "", partial: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.phase = phase
        self.partial = partial


class PullError(DockerModelError):
    """A pull failed."""


class ResourceError(DockerModelError, OSError):
    """The system has no descriptors, processes or memory left for another process.

    Attributes:
        errno: The operating system's error number, if a system call failed.
    """

    errno: int | None = None  # Python's own is lost in a pickle


# Tools that install a command in its own environment, by a folder name in that path.
_TOOLS = {"pipx": "pipx install --force", "uv": "uv tool install --force"}


def install_hint(extra: str) -> str:
    """Return the command that installs an extra of this package."""
    package = f'"docker-model-llm[{extra}]"'
    parents = sys.prefix.replace("\\", "/").split("/")
    for tool, command in _TOOLS.items():
        if tool in parents:
            return f"{command} {package}"
    return f'pip install {package} (in a checkout: pip install ".[{extra}]")'
