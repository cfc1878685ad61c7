"""`ReActAgent`, which calls tools by text with any model, and shows its reasoning."""

from _run import run
from llama_index.core.agent.workflow import AgentStream, ReActAgent, ToolCallResult

from llama_index_docker_model import DockerModelLLM


def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


async def main() -> None:
    # Without the stop sequence, a small model also invents the output of the tool.
    llm = DockerModelLLM(model="ai/smollm2", stop="\nObservation:", max_chars=600)
    agent = ReActAgent(tools=[multiply], llm=llm)
    work = agent.run("What is 6 times 7?", max_iterations=4, early_stopping_method="generate")
    async for event in work.stream_events():
        if isinstance(event, AgentStream):
            print(event.delta, end="", flush=True)
        elif isinstance(event, ToolCallResult):
            print(f"\n[{event.tool_name}({event.tool_kwargs}) = {event.tool_output}]")
    print("\n\nAnswer:", await work)


if __name__ == "__main__":
    run(main)
