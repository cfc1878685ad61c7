"""Streams in sync and async code, and how to leave a stream early."""

from _run import run

from langchain_docker_model import DockerModelLLM

llm = DockerModelLLM(model="ai/smollm2", max_chars=600)


def whole() -> None:
    for piece in llm.stream("What is a container, in two sentences?"):
        print(piece, end="", flush=True)
    print()


async def first_words() -> None:
    text = ""
    async for piece in llm.astream("Explain container images at length."):
        print(piece, end="", flush=True)
        text += piece
        if len(text) > 40:  # noqa: PLR2004  long enough for an example
            break  # the model stops generating
    print(" …")


async def main() -> None:
    whole()
    await first_words()


if __name__ == "__main__":
    run(main)
