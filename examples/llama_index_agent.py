"""An agent that uses tools by text: `ReActAgent`, which suits any model."""

import asyncio

from llama_index.core.agent.workflow import ReActAgent, ToolCallResult

from llama_index_docker_model import DockerModelLLM


def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


async def main() -> None:
    # Without the stop, a small model goes on to invent what the tool would say.
    llm = DockerModelLLM(model="ai/smollm2", stop="\nObservation:", max_chars=2000)
    agent = ReActAgent(tools=[multiply], llm=llm)
    run = agent.run("What is 6 times 7?")
    async for event in run.stream_events():
        if isinstance(event, ToolCallResult):
            print(f"{event.tool_name}({event.tool_kwargs}) = {event.tool_output}")
    print(await run)


if __name__ == "__main__":
    asyncio.run(main())
