"""Docker Model Runner's local models for LlamaIndex, by its command or its HTTP API.

    from llama_index_docker_model import DockerModelLLM

    llm = DockerModelLLM(model="ai/smollm2")
    llm.complete("What is Docker Model Runner?")

The errors it raises are `docker_model`'s own.
"""

from docker_model._version import __version__
from llama_index_docker_model.embedding import DockerModelEmbedding
from llama_index_docker_model.llm import DockerModelLLM

__all__ = ["DockerModelEmbedding", "DockerModelLLM", "__version__"]
