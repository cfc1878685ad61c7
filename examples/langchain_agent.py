"""An agent: the model calls tools until it can answer.

With `pip install langchain` LangChain's own agent does it; without, the same in ten lines.
Name a model that is made for tools, such as `python langchain_agent.py ai/qwen3`: small ones
answer without calling any.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.tools import tool

from langchain_docker_model import ChatDockerModel


@tool
def containers(state: str) -> list[str]:
    """List the containers that are in this state, such as `running`."""
    return ["web", "database"] if state == "running" else ["backup"]


def by_hand(chat: ChatDockerModel, question: str) -> str:
    bound = chat.bind_tools([containers])
    messages: list[BaseMessage] = [HumanMessage(question)]
    while True:
        answer = AIMessageChunk("")
        for chunk in bound.stream(messages):
            answer += chunk
        messages.append(answer)
        if not answer.tool_calls:
            return str(answer.text)
        messages += [containers.invoke(call) for call in answer.tool_calls]


def by_langchain(chat: ChatDockerModel, question: str) -> str:
    from langchain.agents import create_agent  # noqa: PLC0415  it need not be installed

    # An instance of the model: `init_chat_model` takes no names but LangChain's own.
    agent = create_agent(chat, [containers], system_prompt="Use the tools you have.")
    said = ""
    for chunk, _ in agent.stream({"messages": [HumanMessage(question)]}, stream_mode="messages"):
        said = said + chunk.text if isinstance(chunk, AIMessageChunk) else ""
    return said


def main() -> None:
    chat = ChatDockerModel(model=sys.argv[1] if len(sys.argv) > 1 else "ai/smollm2", temperature=0)
    answer = by_langchain if find_spec("langchain") else by_hand
    print(answer(chat, "Which containers are running?"))


if __name__ == "__main__":
    main()
