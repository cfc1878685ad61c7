"""`docker_model`'s errors, each also the LangChain error for the same condition.

Retry and fallback code that knows LangChain alone (`is_retryable`, `ModelTimeoutError`,
`ContextOverflowError`, …) and code that knows `docker_model` alone both catch these. They
carry the names and the attributes of `docker_model.errors`, and pickle as those do.
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
    """Base of the errors that have no class of their own here; not retryable."""


class InvalidRequestError(core.InvalidRequestError, langchain.ModelInvalidRequestError):
    """The request cannot be sent as it is; not retryable."""


class FileReferenceError(core.FileReferenceError, InvalidRequestError):
    """The prompt names local files, and that is refused; not retryable."""


class UnsupportedParameterError(core.UnsupportedParameterError, InvalidRequestError):
    """A parameter that the transport or the model cannot use; not retryable."""


class DockerNotFoundError(core.DockerNotFoundError, langchain.ModelError):
    """The command does not exist; not retryable."""


class PluginNotFoundError(core.PluginNotFoundError, langchain.ModelError):
    """`docker` is installed, `docker model` is not; not retryable."""


class ModelLoadError(core.ModelLoadError, langchain.ModelError):
    """The backend could not load the model; not retryable."""


class ModelNotFoundError(core.ModelNotFoundError, langchain.ModelNotFoundError):
    """The model is not pulled, or there is no such model; not retryable."""


class ContextLengthError(core.ContextLengthError, langchain.ContextOverflowError):
    """The prompt is longer than the model's context; not retryable."""


class RunnerUnavailableError(core.RunnerUnavailableError, langchain.ModelConnectionError):
    """Docker Model Runner cannot be reached; retryable."""


class GenerationTimeoutError(core.GenerationTimeoutError, langchain.ModelTimeoutError):
    """A limit of `docker_model.Timeouts` was exceeded; retryable."""


class GenerationError(core.GenerationError, langchain.ModelAPIError):
    """Anything else that ended an answer; retryable."""


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
    """Raise `docker_model`'s errors in their LangChain form; let everything else pass.

    The original is the `__cause__`. An error that has its LangChain form already (a callback
    that called another model, say) passes as it is.
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
    vars(twin).update(vars(error))  # hint, partial, exit_code, …: whatever it carries
    return twin
