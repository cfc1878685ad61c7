"""A prompt and a chat, complete and as streams."""

from _run import run
from llama_index.core.llms import ChatMessage

from llama_index_docker_model import DockerModelLLM

llm = DockerModelLLM(model="ai/smollm2", max_chars=600)
chat = [
    ChatMessage(role="system", content="You answer in one sentence."),
    ChatMessage(role="user", content="What is a container image?"),
]


def whole() -> None:
    print(llm.complete("What is Docker Model Runner?"))
    answer = llm.chat(chat)
    print(answer.message.content)
    print(answer.raw)


def as_it_comes() -> None:
    for chunk in llm.stream_complete("Write a haiku about whales."):
        print(chunk.delta, end="", flush=True)
    print()


async def first_words() -> None:
    async for chunk in await llm.astream_chat(chat):
        print(chunk.delta, end="", flush=True)
        if len(chunk.message.content or "") > 40:  # noqa: PLR2004  long enough for an example
            break  # the model stops generating
    print(" …")


async def main() -> None:
    whole()
    as_it_comes()
    await first_words()


if __name__ == "__main__":
    run(main)
