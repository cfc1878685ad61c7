"""The contenders that answer a prompt. Each returns an iterator over pieces of the answer."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from docker_model._docker_cli.command_spec import Program

COMMAND = os.environ.get("DOCKER_MODEL_COMMAND", "docker model").split()


def plugin() -> Program | None:
    """Return the plugin's own file, if it runs without a configured command."""
    from docker_model._docker_cli.command_spec import CommandSpec
    from docker_model._runtime import tasks

    program = tasks.run_blocking(CommandSpec.of(None, None).program())
    return program if program.plugin else None


def _start(model: str) -> subprocess.Popen[bytes]:
    """Start our command without our environment."""
    return subprocess.Popen(
        [*COMMAND, "run", "--color", "no", "--", model],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )


def _read_answer(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield the answer, read directly from the pipe."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"hi")
    process.stdin.close()
    while data := os.read(process.stdout.fileno(), 65536):
        yield data.decode()
    process.stdout.close()
    process.wait()


def bare_cli(model: str) -> Iterator[str]:
    """Yield the answer of the bare command."""
    yield from _read_answer(_start(model))


def bare_standby() -> Callable[[str], Iterator[str]]:
    """Return a stream of the bare command, started beforehand. Standby cannot be faster."""
    waiting: list[subprocess.Popen[bytes]] = []

    def end() -> None:
        for process in waiting:
            # Kill the process, because the end of its stdin would start a request.
            os.killpg(process.pid, signal.SIGKILL)

    atexit.register(end)

    def stream(model: str) -> Iterator[str]:
        yield from _read_answer(waiting.pop() if waiting else _start(model))
        waiting.append(_start(model))

    return stream


def raw_http(url: str) -> Callable[[str], Iterator[str]]:
    """Return a stream with httpx and only the necessary part of the protocol."""
    import json

    import httpx

    client = httpx.Client(base_url=url)

    def stream(model: str) -> Iterator[str]:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": True}
        with client.stream("POST", "/engines/v1/chat/completions", json=body) as reply:
            for line in reply.iter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line[6:])["choices"][0]["delta"].get("content") or ""

    return stream


def chat_openai(url: str, model: str):
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(base_url=f"{url}/engines/v1", api_key="none", model=model)


def langchain_openai(url: str) -> Callable[[str], Iterator[str]]:
    models = {}

    def stream(model: str) -> Iterator[str]:
        if model not in models:
            models[model] = chat_openai(url, model)
        return (piece.content for piece in models[model].stream("hi"))

    return stream


def langchain_ollama(url: str) -> Callable[[str], Iterator[str]]:
    from langchain_ollama import ChatOllama

    models: dict[str, ChatOllama] = {}

    def stream(model: str) -> Iterator[str]:
        if model not in models:
            models[model] = ChatOllama(base_url=url, model=model)
        return (piece.content for piece in models[model].stream("hi"))

    return stream


def openai_like(url: str) -> Callable[[str], Iterator[str]]:
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    models: dict[str, OpenAILike] = {}

    def stream(model: str) -> Iterator[str]:
        if model not in models:
            base = f"{url}/engines/v1"
            models[model] = OpenAILike(
                model=model, api_base=base, api_key="none", is_chat_model=True, reuse_client=True
            )
        return (piece.delta for piece in models[model].stream_chat([ChatMessage("hi")]))

    return stream


def ours(standby: int = 0, transport: str | None = None) -> Callable[[str], Iterator[str]]:
    """Stream with `DockerModel.stream`."""
    from docker_model import DockerModel

    models: dict[str, DockerModel] = {}

    def stream(model: str) -> Iterator[str]:
        if model not in models:
            models[model] = DockerModel(model, standby=standby, transport=transport)
            models[model].warm_up()
        return models[model].stream("hi")

    return stream


def langchain_chat() -> Callable[[str], Iterator[str]]:
    """Stream with `langchain_docker_model.ChatDockerModel.stream`, over HTTP."""
    from langchain_docker_model import ChatDockerModel

    models: dict[str, ChatDockerModel] = {}

    def stream(model: str) -> Iterator[str]:
        if model not in models:
            models[model] = ChatDockerModel(model=model)
        return (piece.content for piece in models[model].stream("hi"))

    return stream


def langchain_ours(standby: int = 0) -> Callable[[str], Iterator[str]]:
    """Stream with `langchain_docker_model.DockerModelLLM.stream`."""
    from langchain_docker_model import DockerModelLLM

    models: dict[str, DockerModelLLM] = {}

    def stream(model: str) -> Iterator[str]:
        if model not in models:
            models[model] = DockerModelLLM(model=model, standby=standby)
            models[model].warm_up()
        return models[model].stream("hi")

    return stream


def embedders(url: str, model: str) -> dict[str, Callable[[list[str]], list[list[float]]]]:
    """Return the functions of the frameworks' classes that embed texts, by name."""
    from langchain_openai import OpenAIEmbeddings
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding

    from langchain_docker_model import DockerModelEmbeddings
    from llama_index_docker_model import DockerModelEmbedding

    base = f"{url.rstrip('/')}/engines/v1"
    # Without the last setting, the class sends token ids of another model's vocabulary.
    openai = OpenAIEmbeddings(
        model=model, base_url=base, api_key="none", check_embedding_ctx_length=False
    )
    like = OpenAILikeEmbedding(model_name=model, api_base=base, api_key="none")
    ours = DockerModelEmbedding(model_name=model)
    return {
        "OpenAIEmbeddings": openai.embed_documents,
        "OpenAILikeEmbedding (LlamaIndex)": like.get_text_embedding_batch,
        "LangChain DockerModelEmbeddings": DockerModelEmbeddings(model=model).embed_documents,
        "LlamaIndex DockerModelEmbedding": ours.get_text_embedding_batch,
    }
