"""An agent that cannot go round in circles: after three rounds it answers.

Small models often call the same tool again and again. LlamaIndex counts the rounds of an agent;
with `early_stopping_method="generate"` (llama-index-core 0.14.13 and later) the model then answers
from what it has, without tools.
"""

import sys
from typing import Any

from _run import run
from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ToolCallResult
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

from docker_model.testing import ToolCall
from llama_index_docker_model import DockerModelLLM

MOST_ROUNDS = 3
PAGES = ["The cafe opens at nine.", "The cafe closes at six.", "Dogs may come in."]


class Query(BaseModel):
    """What to search for."""

    # The limit keeps a small model from writing a query that never ends.
    query: str = Field(max_length=60)


def search(query: str) -> str:
    """Search the cafe's pages."""
    words = set(query.lower().split())
    return max(PAGES, key=lambda page: len(words & set(page.lower().split())))


async def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "ai/smollm2"
    llm = DockerModelLLM(model=model, temperature=0, max_tokens=100, is_function_calling_model=True)
    agent = FunctionAgent(
        tools=[FunctionTool.from_defaults(search, fn_schema=Query)],
        llm=llm,
        system_prompt="Answer in one sentence, from the facts that the tool found.",
    )
    work = agent.run(
        "When does the cafe open? Search for it.",
        max_iterations=MOST_ROUNDS,
        early_stopping_method="generate",
    )
    async for event in work.stream_events():
        if isinstance(event, AgentStream):
            print(event.delta, end="", flush=True)
        elif isinstance(event, ToolCallResult):
            print(f"[search says: {event.tool_output}]")
    print("\nAnswer:", await work)


def never_content(prompt: Any) -> Any:
    """Call the tool as long as there is one, as small models do."""
    return ToolCall("search", {"query": "opens"}) if prompt.tools else "The cafe opens at nine."


if __name__ == "__main__":
    run(main, script=never_content)
