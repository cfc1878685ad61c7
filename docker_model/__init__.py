"""Use Docker Model Runner from Python, through the `docker model` command or the HTTP API.

Example:
    >>> from docker_model import DockerModel
    >>> DockerModel("ai/smollm2").generate("What is Docker Model Runner?").text  # doctest: +SKIP
    'Docker Model Runner is …'
"""

from typing import TYPE_CHECKING, Any

from docker_model._version import __version__
from docker_model.client import DockerModel
from docker_model.errors import (
    ContextLengthError,
    DockerModelError,
    DockerNotFoundError,
    EmptyAnswerError,
    FileReferenceError,
    GenerationError,
    GenerationTimeoutError,
    InvalidRequestError,
    ModelLoadError,
    ModelNotFoundError,
    PluginNotFoundError,
    PullError,
    ResourceError,
    RunnerUnavailableError,
    UnsupportedParameterError,
)
from docker_model.options import Timeouts

if TYPE_CHECKING:
    from docker_model.env import from_env
    from docker_model.management import (
        aconfigure_model,
        adisk_usage,
        ainspect_model,
        alist_models,
        alist_running,
        amodel_configuration,
        apreload_model,
        apull_model,
        aremove_model,
        arerank,
        asearch_models,
        astatus,
        atag_model,
        aunload_model,
        configure_model,
        disk_usage,
        inspect_model,
        list_models,
        list_running,
        model_configuration,
        preload_model,
        pull_model,
        remove_model,
        rerank,
        search_models,
        status,
        tag_model,
        unload_model,
    )
    from docker_model.streams import AsyncTextStream, TextStream
    from docker_model.types import (
        Completion,
        DiskUsage,
        FoundModel,
        ModelConfiguration,
        ModelInfo,
        Progress,
        PullProgress,
        Ranked,
        ReasoningDelta,
        RunningModel,
        Status,
        TextDelta,
        Timings,
        Usage,
    )

__all__ = [
    "AsyncTextStream",
    "Completion",
    "ContextLengthError",
    "DiskUsage",
    "DockerModel",
    "DockerModelError",
    "DockerNotFoundError",
    "EmptyAnswerError",
    "FileReferenceError",
    "FoundModel",
    "GenerationError",
    "GenerationTimeoutError",
    "InvalidRequestError",
    "ModelConfiguration",
    "ModelInfo",
    "ModelLoadError",
    "ModelNotFoundError",
    "PluginNotFoundError",
    "Progress",
    "PullError",
    "PullProgress",
    "Ranked",
    "ReasoningDelta",
    "ResourceError",
    "RunnerUnavailableError",
    "RunningModel",
    "Status",
    "TextDelta",
    "TextStream",
    "Timeouts",
    "Timings",
    "UnsupportedParameterError",
    "Usage",
    "__version__",
    "aconfigure_model",
    "adisk_usage",
    "ainspect_model",
    "alist_models",
    "alist_running",
    "amodel_configuration",
    "apreload_model",
    "apull_model",
    "aremove_model",
    "arerank",
    "asearch_models",
    "astatus",
    "atag_model",
    "aunload_model",
    "configure_model",
    "disk_usage",
    "from_env",
    "inspect_model",
    "list_models",
    "list_running",
    "model_configuration",
    "preload_model",
    "pull_model",
    "remove_model",
    "rerank",
    "search_models",
    "status",
    "tag_model",
    "unload_model",
]


def __getattr__(name: str) -> Any:
    """Import names on first access that `DockerModel` does not need (PEP 562)."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    for module in ("types", "streams", "env", "management"):  # fastest import first
        home = import_module(f"docker_model.{module}")
        if name in home.__all__:
            break
    attribute = globals()[name] = getattr(home, name)
    return attribute


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
