"""Docker Model Runner's local models for LangChain, through the `docker model` command.

    from langchain_docker_model import DockerModelLLM

    llm = DockerModelLLM(model="ai/smollm2")
    llm.invoke("What is Docker Model Runner?")

The errors it raises are in `langchain_docker_model.errors`.
"""

from docker_model._version import __version__
from langchain_docker_model.llms import DockerModelLLM

__all__ = ["DockerModelLLM", "__version__"]
