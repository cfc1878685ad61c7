"""What can go wrong, one class per cause, each naming the step that fixes it.

Every error of this package is a :class:`DockerModelError`. None of them is a
`RuntimeError`: `llama_index.core.async_utils.asyncio_run` replaces every
`RuntimeError` by a remark about nested event loops, and the cause would be lost.

All of them pickle (they cross process pools), so everything but the message is
an optional keyword and lives in ordinary attributes. No message holds a prompt,
an environment variable's value or an answer; the answer so far is in `partial`.
"""

from __future__ import annotations

import errno

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
    """Base of every error here.

    Attributes:
        hint: The command or the step that fixes it; part of `str(error)`.
        detail: The words of the CLI, the runner or the engine, where there were any. They may
            quote the prompt or an address, so they are no part of `str(error)`.
    """

    hint: str = ""
    detail: str = ""

    def __init__(self, message: str = "", *, hint: str = "", detail: str = "") -> None:
        super().__init__(message)
        if hint:
            self.hint = hint
        if detail:
            self.detail = detail

    @property
    def message(self) -> str:
        """The cause alone, without the hint."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        return f"{self.message}\nHint: {self.hint}" if self.hint else self.message


class InvalidRequestError(DockerModelError, ValueError):
    """The request cannot be sent as it is: a blank prompt, a bad model name or setting."""


class FileReferenceError(InvalidRequestError):
    """The prompt names local files, and `file_references="refuse"` was set.

    Attributes:
        references: The paths as they stand in the prompt.
    """

    references: tuple[str, ...] = ()

    def __init__(
        self, message: str = "", *, hint: str = "", references: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.references = references


class UnsupportedParameterError(InvalidRequestError):
    """A parameter that this transport has no way to honour."""


class DockerNotFoundError(DockerModelError, FileNotFoundError):
    """The command does not exist, is not executable, or is no program.

    Attributes:
        errno: The system's number for the reason.
    """

    errno: int | None = errno.ENOENT  # Python's own is lost in a pickle


class PluginNotFoundError(DockerModelError):
    """`docker` is there, `docker model` is not, or is too old to be driven."""


class RunnerUnavailableError(DockerModelError, ConnectionError):
    """Docker Model Runner is off, refuses connections, or is not at that address."""


class ModelNotFoundError(DockerModelError, LookupError):
    """The model is not pulled, or a pull says that there is no such model.

    Attributes:
        model: The name as the caller gave it.
    """

    model: str = ""

    def __init__(
        self, message: str = "", *, hint: str = "", detail: str = "", model: str = ""
    ) -> None:
        super().__init__(message, hint=hint, detail=detail)
        self.model = model


class ModelLoadError(DockerModelError):
    """The backend could not load the model: out of memory, unsupported, not installed."""


class ContextLengthError(DockerModelError, ValueError):
    """The prompt is longer than the model's context.

    Attributes:
        prompt_tokens: The prompt's length in tokens, where the engine says it.
        context_size: The context's size in tokens, where the engine says it.
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
    """Anything else that ended a run.

    Attributes:
        exit_code: The command's exit code; `None` if it did not exit by itself.
        signal: The number of the signal that ended it; `None` if none did.
        stderr: The last of what the command wrote to standard error; `detail` is the same.
        partial: The answer's text up to the failure.
    """

    exit_code: int | None = None
    signal: int | None = None
    stderr: str = ""
    partial: str = ""

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
    """The run ended well and said nothing: the CLI swallows server errors that way."""


class GenerationTimeoutError(DockerModelError, TimeoutError):
    """A limit of :class:`docker_model.Timeouts` was passed.

    Attributes:
        phase: `"queue"`, `"first_output"`, `"idle"` or `"total"`.
        partial: The answer's text up to then.
    """

    phase: str = ""
    partial: str = ""

    def __init__(
        self, message: str = "", *, hint: str = "", phase: str = "", partial: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.phase = phase
        self.partial = partial


class PullError(DockerModelError):
    """A pull that failed."""


class ResourceError(DockerModelError, OSError):
    """The machine has no descriptors, processes or memory left to start one.

    Attributes:
        errno: The system's number for what there is none of; `None` when no call told.
    """

    errno: int | None = None  # Python's own is lost in a pickle
