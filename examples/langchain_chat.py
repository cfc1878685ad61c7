"""A conversation with roles, parameters, a stream and token counts."""

from _run import run
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage, SystemMessage

from langchain_docker_model import ChatDockerModel


def main() -> None:
    chat = ChatDockerModel(model="ai/smollm2", temperature=0.2, max_tokens=200)
    conversation: list[BaseMessage] = [SystemMessage("You are brief and exact.")]
    for question in ("Which container engines are there?", "Which of them need no daemon?"):
        conversation.append(HumanMessage(question))
        print(f"> {question}")
        answer = AIMessageChunk("")
        for chunk in chat.stream(conversation):
            print(chunk.text, end="", flush=True)
            answer += chunk
        print()
        conversation.append(answer)
        if answer.usage_metadata:
            print(f"  ({answer.usage_metadata['total_tokens']} tokens)")


if __name__ == "__main__":
    run(main)
