"""Local models of Docker Model Runner for LangChain.

    from langchain_docker_model import ChatDockerModel

    chat = ChatDockerModel(model="ai/smollm2")
    chat.invoke("What is Docker Model Runner?")

The package also has `DockerModelEmbeddings`, `DockerModelRerank` and `DockerModelLLM`.
`DockerModelLLM` uses the `docker model` command. The other classes use the runner's HTTP API,
which they find without configuration. The errors are in `langchain_docker_model.errors`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from docker_model._version import __version__
from docker_model.errors import install_hint

try:
    from langchain_docker_model.llms import DockerModelLLM
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "langchain_core":
        raise
    msg = f"langchain_core is not installed\nHint: {install_hint('langchain')}"
    raise ModuleNotFoundError(msg, name=error.name) from None

if TYPE_CHECKING:
    from langchain_docker_model.chat_models import ChatDockerModel
    from langchain_docker_model.embeddings import DockerModelEmbeddings
    from langchain_docker_model.rerank import DockerModelRerank

__all__ = [
    "ChatDockerModel",
    "DockerModelEmbeddings",
    "DockerModelLLM",
    "DockerModelRerank",
    "__version__",
]

_MODULES = {
    "ChatDockerModel": "chat_models",
    "DockerModelEmbeddings": "embeddings",
    "DockerModelRerank": "rerank",
}


def __getattr__(name: str) -> Any:
    """Import a class that uses the HTTP API on first access (PEP 562)."""
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    module = import_module(f"{__name__}.{_MODULES[name]}")
    loaded = globals()[name] = getattr(module, name)
    return loaded


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
