"""An agent that calls tools until it can answer, and shows each step.

With `pip install langchain` the script uses LangChain's own agent, otherwise a loop of ten lines.
The name of another model can be an argument: `python langchain_agent.py ai/qwen3`.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from _run import run
from langchain_core.messages import (
    AIMessageChunk,
    BaseMessage,
    BaseMessageChunk,
    HumanMessage,
    ToolMessage,
)
from langchain_core.tools import tool

from langchain_docker_model import ChatDockerModel

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_ROUNDS = 4


@tool
def containers(state: str) -> list[str]:
    """List the containers that are in this state, such as `running`."""
    return ["web", "database"] if state == "running" else ["backup"]


def by_hand(chat: ChatDockerModel, question: str) -> Iterator[BaseMessage]:
    bound = chat.bind_tools([containers])
    messages: list[BaseMessage] = [HumanMessage(question)]
    for _ in range(MOST_ROUNDS):
        answer: BaseMessageChunk = AIMessageChunk("")
        for chunk in bound.stream(messages):
            yield chunk
            answer += chunk
        messages.append(answer)
        if not answer.tool_calls:
            return
        for call in answer.tool_calls:
            messages.append(containers.invoke(call))
            yield messages[-1]


def by_langchain(chat: ChatDockerModel, question: str) -> Iterator[BaseMessage]:
    from langchain.agents import create_agent  # noqa: PLC0415  optional

    # Pass an instance, because `init_chat_model` accepts only the names of LangChain's own classes.
    agent = create_agent(chat, [containers], system_prompt="Use the tools you have.")
    for message, _ in agent.stream(
        {"messages": [HumanMessage(question)]},
        {"recursion_limit": 2 * MOST_ROUNDS},
        stream_mode="messages",
    ):
        yield message


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "ai/smollm2"
    chat = ChatDockerModel(model=model, temperature=0, max_tokens=300)
    agent = by_langchain if find_spec("langchain") else by_hand
    for message in agent(chat, "Which containers are running?"):
        if isinstance(message, ToolMessage):
            print(f"[{message.name} says {message.text}]")
        else:
            print(message.text, end="", flush=True)
    print()


if __name__ == "__main__":
    run(main)
