"""Docker Model Runner's local models for LangChain.

    from langchain_docker_model import ChatDockerModel, DockerModelEmbeddings, DockerModelLLM

    chat = ChatDockerModel(model="ai/smollm2")
    chat.invoke("What is Docker Model Runner?")

`DockerModelLLM` asks through the `docker model` command; chats and embeddings take the
runner's HTTP API, which is found without configuration. The errors that all of them raise
are in `langchain_docker_model.errors`.
"""

from typing import TYPE_CHECKING, Any

from docker_model._version import __version__
from langchain_docker_model.llms import DockerModelLLM

if TYPE_CHECKING:
    from langchain_docker_model.chat_models import ChatDockerModel
    from langchain_docker_model.embeddings import DockerModelEmbeddings

__all__ = ["ChatDockerModel", "DockerModelEmbeddings", "DockerModelLLM", "__version__"]


def __getattr__(name: str) -> Any:
    """Load the classes of the HTTP API when they are first asked for (PEP 562)."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from langchain_docker_model import chat_models, embeddings

    home = chat_models if name == "ChatDockerModel" else embeddings
    found = globals()[name] = getattr(home, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
