"""The errors of `docker_model`, each also a LangChain error for the same condition.

Code that uses only LangChain's errors (`is_retryable`, `ModelTimeoutError`,
`ContextOverflowError`, …) can catch them, and so can code that uses only `docker_model.errors`.
They have the names and attributes of `docker_model.errors`, and can be pickled.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from langchain_core import exceptions as langchain

from docker_model import errors as core

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    "as_langchain_errors",
]


class DockerModelError(core.DockerModelError, langchain.ModelError):
    """An error that has no more specific class in this module; not retryable."""


class InvalidRequestError(core.InvalidRequestError, langchain.ModelInvalidRequestError):
    """The request is invalid, or the engine rejected it; not retryable."""


class FileReferenceError(core.FileReferenceError, InvalidRequestError):
    """The prompt names local files, which `file_references="refuse"` forbids; not retryable."""


class UnsupportedParameterError(core.UnsupportedParameterError, InvalidRequestError):
    """A parameter that the transport or the model cannot use; not retryable."""


class DockerNotFoundError(core.DockerNotFoundError, langchain.ModelError):
    """The command does not exist; not retryable."""


class PluginNotFoundError(core.PluginNotFoundError, langchain.ModelError):
    """`docker` is installed, but `docker model` is not; not retryable."""


class ModelLoadError(core.ModelLoadError, langchain.ModelError):
    """The backend could not load the model; not retryable."""


class ModelNotFoundError(core.ModelNotFoundError, langchain.ModelNotFoundError):
    """The model is not pulled, or does not exist; not retryable."""


class ContextLengthError(core.ContextLengthError, langchain.ContextOverflowError):
    """The prompt is longer than the model's context; not retryable."""


class RunnerUnavailableError(core.RunnerUnavailableError, langchain.ModelConnectionError):
    """Docker Model Runner cannot be reached; retryable."""


class GenerationTimeoutError(core.GenerationTimeoutError, langchain.ModelTimeoutError):
    """A limit of `docker_model.Timeouts` was exceeded; retryable."""


class GenerationError(core.GenerationError, langchain.ModelAPIError):
    """Any other failure of a generation; retryable."""


class EmptyAnswerError(core.EmptyAnswerError, GenerationError):
    """The answer has no text; retryable."""


class PullError(core.PullError, langchain.ModelAPIError):
    """A pull failed; retryable."""


class ResourceError(core.ResourceError, langchain.ModelAPIError):
    """The machine has no descriptors, processes or memory left; retryable."""


_TWINS: dict[type[core.DockerModelError], type[core.DockerModelError]] = {
    core.ContextLengthError: ContextLengthError,
    core.DockerModelError: DockerModelError,
    core.DockerNotFoundError: DockerNotFoundError,
    core.EmptyAnswerError: EmptyAnswerError,
    core.FileReferenceError: FileReferenceError,
    core.GenerationError: GenerationError,
    core.GenerationTimeoutError: GenerationTimeoutError,
    core.InvalidRequestError: InvalidRequestError,
    core.ModelLoadError: ModelLoadError,
    core.ModelNotFoundError: ModelNotFoundError,
    core.PluginNotFoundError: PluginNotFoundError,
    core.PullError: PullError,
    core.ResourceError: ResourceError,
    core.RunnerUnavailableError: RunnerUnavailableError,
    core.UnsupportedParameterError: UnsupportedParameterError,
}


@contextmanager
def as_langchain_errors() -> Iterator[None]:
    """Convert `docker_model` errors to the classes of this module; other errors pass unchanged.

    The original error is the `__cause__`. An error that already is a LangChain error passes
    unchanged, such as an error of a callback that called another model.
    """
    try:
        yield
    except core.DockerModelError as error:
        if isinstance(error, langchain.ModelError):
            raise
        raise _twin(error) from error


def _twin(error: core.DockerModelError) -> core.DockerModelError:
    kind = next(_TWINS[base] for base in type(error).__mro__ if base in _TWINS)
    twin = kind(*error.args)
    vars(twin).update(vars(error))  # hint, partial, exit_code, …
    return twin
