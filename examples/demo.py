"""The main job in five steps: find models, a LangChain chain, a LlamaIndex query, stream, cancel.

`make demo` sets everything up and runs this. It uses the real `docker model` where Docker Model
Runner is running and has a model, and the simulated one otherwise; it says which, and how to
get the real one.
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

ENOUGH = 400  # characters of an answer: a small model may ramble
GET_ONE = """\
To get one: https://docs.docker.com/ai/model-runner/get-started/ says how to switch it on;
then `docker model pull ai/smollm2`, and run this again."""
DOCUMENTS = (
    "Docker Model Runner pulls models from Docker Hub and runs them with llama.cpp or vLLM.",
    "A model that nobody has asked anything for five minutes is taken out of memory.",
    "Compose puts the address and the name of a model into the variables LLM_URL and LLM_MODEL.",
)

console = Console(highlight=False)


def main() -> None:
    with ExitStack() as stack:
        console.rule("[bold]1. Where models run, and which there are", align="left")
        model = real_model()
        if model is None:
            model = simulated_model(stack)
        console.rule(f"[bold]2. LangChain: a prompt template, {model} and a parser", align="left")
        chain(model)
        console.rule("[bold]3. LlamaIndex: a question about three documents", align="left")
        query(model)
        console.rule("[bold]4. A stream, piece by piece", align="left")
        stream(model)
        console.rule("[bold]5. Cancelling, and what an error says", align="left")
        asyncio.run(cancel(model))
        fail()


def real_model() -> str | None:
    """Return the first model of the real runner that answers questions, if there is one."""
    runner = status()
    if not runner.running:
        console.print(runner.problem, style="yellow", markup=False, soft_wrap=True)
        console.print(GET_ONE, markup=False, soft_wrap=True)
        return None
    models = list_models()
    show(models)
    model = next((model for model in models if answers(model)), None)
    if model is None:
        console.print("No model to ask yet. `docker model pull ai/smollm2` gets one.")
        return None
    console.print(f"This is the [bold green]real[/] docker model {runner.version}.")
    if is_small(model):
        console.print(
            f"{model.name} has {model.parameters} parameters, which is small: it writes fluently "
            "and gets facts wrong.\nA larger one, such as ai/qwen3, answers better.",
            style="yellow",
            markup=False,
        )
    return model.name


def answers(model: ModelInfo) -> bool:
    """Whether a model answers questions, by its own data or else by its name."""
    if model.capabilities:
        return "chat" in model.capabilities
    return not re.search("embed|minilm|rerank", model.name)


def is_small(model: ModelInfo) -> bool:
    """Whether a model has fewer than a billion parameters; its size is such as `134.52M`."""
    return bool(re.fullmatch(r"[\d.]+ ?[MK]", model.parameters or ""))


def simulated_model(stack: ExitStack) -> str:
    """Return a model that a script plays, behind a simulated `docker`, while `stack` is open."""
    stack.enter_context(SimulatedDocker(models=("ai/smollm2", "ai/qwen3"), script=played))
    console.print("This is the [bold yellow]simulated[/] docker model: its answers are written")
    console.print("in this file; everything else is as with the real one.")
    show(list_models())
    return "ai/smollm2"


def played(prompt: str) -> Iterator[Text | Sleep]:
    """Yield the answer of the simulated model, with pauses."""
    if "stories" in prompt:
        answer = "Once upon a time there was a container ship. " * 50
    elif "separated by commas" in prompt:
        answer = "Docker, Podman, containerd"
    elif "context information" in prompt:
        answer = "After five minutes without a question, the model is taken out of memory."
    else:
        answer = (
            "A container is a process that has been given a file system and a network of its "
            "own. An image is what that file system is made from."
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
    llm = langchain_docker_model.DockerModelLLM(model=model, max_chars=ENOUGH)
    pipeline = prompt | llm | CommaSeparatedListOutputParser()
    console.print(pipeline.invoke({"things": "container runtimes"}))


def query(model: str) -> None:
    index = SummaryIndex.from_documents([Document(text=text) for text in DOCUMENTS])
    llm = llama_index_docker_model.DockerModelLLM(model=model, max_chars=ENOUGH)
    engine = index.as_query_engine(llm=llm)
    question = "When does a model leave the memory?"
    console.print(f"[dim]{question}[/]")
    console.print(str(engine.query(question)).strip(), markup=False)


def stream(model: str) -> None:
    pieces = DockerModel(model, max_chars=ENOUGH).stream("What is a container, in two sentences?")
    for piece in pieces:
        console.out(piece, end="")
    console.print()
    assert pieces.completion is not None  # it is there once the iteration has ended
    timings = pieces.completion.timings
    console.print(f"[dim]first piece after {timings.first_output:.2f} s, all {timings.total:.2f} s")


async def cancel(model: str) -> None:
    """Half a second of an answer, and no more: its process ends, and the runner stops working."""
    try:
        async with asyncio.timeout(None) as limit:
            async for piece in DockerModel(model).astream("Tell me stories without end."):
                if limit.when() is None:
                    limit.reschedule(asyncio.get_running_loop().time() + 0.5)
                console.out(piece, end="")
    except TimeoutError:
        console.print("…\n[dim]cancelled by asyncio.timeout, half a second after the first piece")
    else:
        console.print("\n[dim]that was all, before it could be cancelled")


def fail() -> None:
    try:
        DockerModel("ai/not-pulled-here").generate("Hello!")
    except DockerModelError as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
