"""A demo in five steps: list models, a LangChain chain, a LlamaIndex query, a stream, a cancel.

`make demo` installs the requirements and runs this script. It uses the real `docker model` if
Docker Model Runner is running and has a model, and otherwise the simulation. It prints which one
it uses, and how to install the real one.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

from langchain_core.output_parsers import CommaSeparatedListOutputParser
from langchain_core.prompts import PromptTemplate
from llama_index.core import Document, SummaryIndex
from rich.console import Console
from rich.table import Table

import langchain_docker_model
import llama_index_docker_model
from docker_model import DockerModel, DockerModelError, list_models, status
from docker_model.testing import SimulatedDocker, Sleep, Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker_model import ModelInfo

MAX_CHARS = 400  # of an answer, because a small model may not stop by itself
SETUP = """\
To use a real model, enable Docker Model Runner:
https://docs.docker.com/ai/model-runner/get-started/
Then run `docker model pull ai/smollm2` and start this demo again."""
DOCUMENTS = (
    "Docker Model Runner pulls models from Docker Hub and runs them with llama.cpp or vLLM.",
    "A model without requests for five minutes is unloaded from memory.",
    "Compose puts the address and the name of a model into the variables LLM_URL and LLM_MODEL.",
)

console = Console(highlight=False)


def main() -> None:
    with ExitStack() as stack:
        console.rule("[bold]1. The runner and its models", align="left")
        model = real_model()
        if model is None:
            model = simulated_model(stack)
        console.rule(f"[bold]2. LangChain: a prompt template, {model} and a parser", align="left")
        chain(model)
        console.rule("[bold]3. LlamaIndex: a question about three documents", align="left")
        query(model)
        console.rule("[bold]4. A stream, piece by piece", align="left")
        stream(model)
        console.rule("[bold]5. A canceled answer and an error", align="left")
        asyncio.run(cancel(model))
        fail()


def real_model() -> str | None:
    """Return the first chat model of the real runner, or `None`."""
    runner = status()
    if not runner.running:
        console.print(runner.problem, style="yellow", markup=False, soft_wrap=True)
        console.print(SETUP, markup=False, soft_wrap=True)
        return None
    models = list_models()
    show(models)
    model = next((model for model in models if answers(model)), None)
    if model is None:
        console.print("There is no chat model yet. Run `docker model pull ai/smollm2`.")
        return None
    console.print(f"This is the [bold green]real[/] docker model {runner.version}.")
    if is_small(model):
        console.print(
            f"{model.name} has only {model.parameters} parameters: it writes fluently but gets "
            "facts wrong.\nA larger model, such as ai/qwen3, gives better answers.",
            style="yellow",
            markup=False,
        )
    return model.name


def answers(model: ModelInfo) -> bool:
    """Return whether a model is a chat model, from its metadata or its name."""
    if model.capabilities:
        return "chat" in model.capabilities
    return not re.search("embed|minilm|rerank", model.name)


def is_small(model: ModelInfo) -> bool:
    """Return whether a model has fewer than a billion parameters, such as `134.52M`."""
    return bool(re.fullmatch(r"[\d.]+ ?[MK]", model.parameters or ""))


def simulated_model(stack: ExitStack) -> str:
    """Return the name of a model in a simulation that runs while `stack` is open."""
    stack.enter_context(SimulatedDocker(models=("ai/smollm2", "ai/qwen3"), script=script))
    console.print("This is the [bold yellow]simulated[/] docker model. Its answers are in this")
    console.print("file. Everything else works as with the real one.")
    show(list_models())
    return "ai/smollm2"


def script(prompt: str) -> Iterator[Text | Sleep]:
    """Yield the answer of the simulated model, with pauses."""
    if "stories" in prompt:
        answer = "Once upon a time there was a container ship. " * 50
    elif "separated by commas" in prompt:
        answer = "Docker, Podman, containerd"
    elif "context information" in prompt:
        answer = "A model is unloaded after five minutes without requests."
    else:
        answer = (
            "A container is a process with its own file system and network. An image is the "
            "template of that file system."
        )
    for word in re.findall(r"\s*\S+", answer):
        yield Text(word)
        yield Sleep(0.03)


def show(models: list[ModelInfo]) -> None:
    table = Table("model", "parameters", "quantization", "size", box=None, header_style="dim")
    for model in models:
        table.add_row(model.name, model.parameters, model.quantization, model.size)
    console.print(table)


def chain(model: str) -> None:
    prompt = PromptTemplate.from_template(
        "Name three {things}, separated by commas. Answer with the list alone."
    )
    llm = langchain_docker_model.DockerModelLLM(model=model, max_chars=MAX_CHARS)
    pipeline = prompt | llm | CommaSeparatedListOutputParser()
    console.print(pipeline.invoke({"things": "container runtimes"}))


def query(model: str) -> None:
    index = SummaryIndex.from_documents([Document(text=text) for text in DOCUMENTS])
    llm = llama_index_docker_model.DockerModelLLM(model=model, max_chars=MAX_CHARS)
    engine = index.as_query_engine(llm=llm)
    question = "When does a model leave the memory?"
    console.print(f"[dim]{question}[/]")
    console.print(str(engine.query(question)).strip(), markup=False)


def stream(model: str) -> None:
    llm = DockerModel(model, max_chars=MAX_CHARS)
    pieces = llm.stream("What is a container, in two sentences?")
    for piece in pieces:
        console.out(piece, end="")
    console.print()
    assert pieces.completion is not None  # set at the end of the iteration
    timings = pieces.completion.timings
    console.print(f"[dim]first piece after {timings.first_output:.2f} s, all {timings.total:.2f} s")


async def cancel(model: str) -> None:
    """Cancel an answer after half a second. Its process ends, and the runner stops generating."""
    try:
        async with asyncio.timeout(None) as limit:
            async for piece in DockerModel(model).astream("Tell me stories without end."):
                if limit.when() is None:
                    limit.reschedule(asyncio.get_running_loop().time() + 0.5)
                console.out(piece, end="")
    except TimeoutError:
        console.print("…\n[dim]canceled by asyncio.timeout, half a second after the first piece")
    else:
        console.print("\n[dim]the answer was complete before the timeout")


def fail() -> None:
    try:
        DockerModel("ai/not-pulled-here").generate("Hello!")
    except DockerModelError as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
