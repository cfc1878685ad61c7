"""Local models of Docker Model Runner for LlamaIndex, over the CLI or the HTTP API.

    from llama_index_docker_model import DockerModelLLM

    llm = DockerModelLLM(model="ai/smollm2")
    llm.complete("What is Docker Model Runner?")

The errors are in `docker_model.errors`.
"""

from docker_model._version import __version__
from docker_model.errors import install_hint

try:
    from llama_index_docker_model._progress import DockerModelProgressEvent
    from llama_index_docker_model.embedding import DockerModelEmbedding
    from llama_index_docker_model.llm import DockerModelLLM
    from llama_index_docker_model.rerank import DockerModelRerank
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "llama_index":
        raise
    msg = f"llama_index.core is not installed\nHint: {install_hint('llama-index')}"
    raise ModuleNotFoundError(msg, name=error.name) from None

__all__ = [
    "DockerModelEmbedding",
    "DockerModelLLM",
    "DockerModelProgressEvent",
    "DockerModelRerank",
    "__version__",
]
