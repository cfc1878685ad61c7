"""An agent with a limit: it answers after two tool calls.

Small models often call the same tool again and again. `AnswerAfter` counts the calls. After the
last one, the model gets no tools and must answer from the results.
"""

import sys
from collections.abc import Sequence
from typing import Any

from _run import run
from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ToolCallResult
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

from docker_model.testing import ToolCall
from llama_index_docker_model import DockerModelLLM

MOST_CALLS = 2
PAGES = ["The cafe opens at nine.", "The cafe closes at six.", "Dogs may come in."]


class AnswerAfter(FunctionAgent):
    """Removes the tools after `MOST_CALLS` calls, and asks for an answer."""

    async def take_step(
        self, ctx: Any, llm_input: list[ChatMessage], tools: Sequence[Any], memory: Any
    ) -> Any:
        """Call the model with the tools, or without them after the last tool call."""
        steps = await ctx.store.get(self.scratchpad_key, default=[])  # calls and their results
        results = [message.content for message in steps if message.role == "tool"]
        if len(results) >= MOST_CALLS:
            question = next(item.content for item in llm_input if item.role == "user")
            facts = "\n".join(dict.fromkeys(results))
            demand = f"{facts}\n\nAnswer in one sentence, from these facts alone: {question}"
            await ctx.store.set(self.scratchpad_key, [])
            llm_input, tools = [ChatMessage(demand)], []
        return await super().take_step(ctx, llm_input, tools, memory)


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
    agent = AnswerAfter(tools=[FunctionTool.from_defaults(search, fn_schema=Query)], llm=llm)
    work = agent.run("When does the cafe open? Search for it.")
    async for event in work.stream_events():
        if isinstance(event, AgentStream):
            print(event.delta, end="", flush=True)
        elif isinstance(event, ToolCallResult):
            print(f"[search says: {event.tool_output}]")
    print("\nAnswer:", await work)


def never_content(prompt: Any) -> Any:
    """Call the tool whenever the request has one, as small models do."""
    return ToolCall("search", {"query": "opens"}) if prompt.tools else "The cafe opens at nine."


if __name__ == "__main__":
    run(main, script=never_content)
