"""`FunctionAgent` with a local model, which calls functions and shows each step.

A larger model chooses its calls better. Its name, such as `ai/qwen3`, can be an argument.
"""

import sys

from _run import run
from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ToolCallResult

from llama_index_docker_model import DockerModelLLM


def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


async def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "ai/smollm2"
    llm = DockerModelLLM(model=model, temperature=0, max_tokens=300, is_function_calling_model=True)
    agent = FunctionAgent(tools=[multiply], llm=llm, system_prompt="Use the tools to calculate.")
    work = agent.run("What is 6 times 7?", max_iterations=4, early_stopping_method="generate")
    async for event in work.stream_events():
        if isinstance(event, AgentStream):
            print(event.delta, end="", flush=True)
        elif isinstance(event, ToolCallResult):
            print(f"[{event.tool_name}({event.tool_kwargs}) = {event.tool_output}]")
    print()
    await work


if __name__ == "__main__":
    run(main)
