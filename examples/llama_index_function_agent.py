"""An agent that calls functions, on a local model: `python examples/llama_index_function_agent.py`.

A larger model calls them more reliably: pass its name, such as `ai/qwen3`.
"""

import asyncio
import sys

from llama_index.core.agent.workflow import FunctionAgent

from llama_index_docker_model import DockerModelLLM


def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


async def main(model: str) -> None:
    llm = DockerModelLLM(model=model, temperature=0, is_function_calling_model=True)
    agent = FunctionAgent(tools=[multiply], llm=llm, system_prompt="Use the tools to calculate.")
    print(await agent.run("What is 6 times 7?"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2] or ["ai/smollm2"]))
