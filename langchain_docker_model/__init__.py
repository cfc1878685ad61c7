"""Docker Model Runner's local models for LangChain.

    from langchain_docker_model import ChatDockerModel, DockerModelEmbeddings, DockerModelLLM

    chat = ChatDockerModel(model="ai/smollm2")
    chat.invoke("What is Docker Model Runner?")

`DockerModelLLM` asks through the `docker model` command; chats and embeddings take the
runner's HTTP API, which is found without configuration. The errors that all of them raise
are in `langchain_docker_model.errors`.
"""

from docker_model._version import __version__
from langchain_docker_model.chat_models import ChatDockerModel
from langchain_docker_model.embeddings import DockerModelEmbeddings
from langchain_docker_model.llms import DockerModelLLM

__all__ = ["ChatDockerModel", "DockerModelEmbeddings", "DockerModelLLM", "__version__"]
