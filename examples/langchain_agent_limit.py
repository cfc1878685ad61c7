"""An agent with a limit: it answers after two tool calls.

Small models often call the same tool again and again. `AnswerAfter` counts the calls. After the
last one, the model gets no tools and must answer from the results.

    pip install langchain
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from _run import run
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import Field

from docker_model.testing import ToolCall
from langchain_docker_model import ChatDockerModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain.agents.middleware import ModelResponse

MOST_CALLS = 2
PAGES = ["The cafe opens at nine.", "The cafe closes at six.", "Dogs may come in."]


class AnswerAfter(AgentMiddleware[Any, Any]):
    """Remove the tools after a number of calls, and ask for an answer."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def wrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]
    ) -> ModelResponse:
        """Call the model with the tools, or without them after the last tool call."""
        results = [item.text for item in request.messages if isinstance(item, ToolMessage)]
        if len(results) < self.calls:
            return handler(request)
        question = next(item.text for item in request.messages if item.type == "human")
        facts = "\n".join(dict.fromkeys(results))
        demand = f"{facts}\n\nAnswer in one sentence, from these facts alone: {question}"
        return handler(request.override(tools=[], messages=[HumanMessage(demand)]))


# The limit keeps a small model from writing a query that never ends.
@tool
def search(query: Annotated[str, Field(max_length=60)]) -> str:
    """Search the cafe's pages."""
    words = set(query.lower().split())
    return max(PAGES, key=lambda page: len(words & set(page.lower().split())))


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "ai/smollm2"
    chat = ChatDockerModel(model=model, temperature=0, max_tokens=100)
    agent = create_agent(chat, [search], middleware=[AnswerAfter(MOST_CALLS)])
    question = "When does the cafe open? Search for it."
    for message, _ in agent.stream({"messages": [HumanMessage(question)]}, stream_mode="messages"):
        if isinstance(message, AIMessageChunk):
            print(message.text, end="", flush=True)
        elif isinstance(message, ToolMessage):
            print(f"[search says: {message.text}]")
    print()


def never_content(prompt: Any) -> Any:
    """Call the tool whenever the request has one, as small models do."""
    return ToolCall("search", {"query": "opens"}) if prompt.tools else "The cafe opens at nine."


if __name__ == "__main__":
    run(main, script=never_content)
