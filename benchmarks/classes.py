"""The classes in the table of features, with the code that creates and calls each.

A class of another package gets the runner's address, and a key if it requires one. `switches` has
the settings that enable a feature that is off by default.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class City(BaseModel):
    """A city."""

    name: str


def add(a: int) -> int:
    """Add one to a number."""
    return a + 1


class NotOffered(Exception):
    """The class does not have this feature."""


@dataclass(frozen=True)
class _Contender:
    """One class, called with the API of its framework.

    Attributes:
        title: The name in the table; two of our classes have the same name.
        name: The name of the class.
        package: The package of the class.
        address: Returns the settings that connect the class to a runner.
        ollama: Whether the class uses the Ollama API.
        brief: Settings that limit the answers of a real model, which may not stop by itself.
        switches: Settings that enable the feature of a row, if it is off by default.
        embedding: The class for embeddings: module, name, and name of the model setting.
    """

    title: str
    name: str
    package: str
    address: Callable[[str], dict[str, Any]] = lambda _: {}
    ollama: bool = False
    brief: Mapping[str, Any] = field(default_factory=dict)
    switches: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    embedding: tuple[str, str, str] | None = None

    @property
    def ours(self) -> bool:
        """Whether the class belongs to this project."""
        return "docker_model" in self.package

    def make(self, url: str, model: str, **settings: Any) -> Any:
        """Return an object of the class."""
        made: Any = getattr(importlib.import_module(self.package), self.name)
        return made(model=model, **(self.address(url) | settings))

    def embedder(self, url: str, model: str, **settings: Any) -> Any:
        """Return an object of the class for embeddings."""
        if self.embedding is None:
            raise NotOffered
        package, name, key = self.embedding
        made: Any = getattr(importlib.import_module(package), name)
        return made(**({key: model} | self.embedding_address(url) | settings))

    def embedding_address(self, url: str) -> dict[str, Any]:
        """Return the settings that connect the class for embeddings to a runner."""
        return self.address(url)


class _Recorder(BaseCallbackHandler):
    """Records the data for LangChain's tracers, which an LLM does not return otherwise."""

    def __init__(self) -> None:
        self.generations: list[Any] = []

    def on_llm_end(self, response: Any, **_: Any) -> None:
        self.generations += response.generations[0]


class LangChain(_Contender):
    """A class of LangChain's."""

    def ask(self, llm: Any, prompt: str) -> tuple[str, Any]:
        recorder = _Recorder()
        reply = llm.invoke(prompt, {"callbacks": [recorder]})
        return reply if isinstance(reply, str) else str(reply.text), recorder.generations

    def stream(self, llm: Any, prompt: str) -> Iterator[Any]:
        return llm.stream(prompt)

    async def astream(self, llm: Any, prompt: str) -> AsyncIterator[Any]:
        async for piece in llm.astream(prompt):
            yield piece

    def streamed_results(self, llm: Any, prompt: str) -> list[Any]:
        recorder = _Recorder()
        list(llm.stream(prompt, {"callbacks": [recorder]}))
        return recorder.generations

    def structured(self, llm: Any) -> Any:
        return llm.with_structured_output(City).invoke("Which city?")

    def tool_arguments(self, llm: Any, *, stream: bool) -> list[dict[str, Any]]:
        if not hasattr(llm, "bind_tools"):
            raise NotOffered
        bound = llm.bind_tools([tool(add)])
        if stream:
            reply = functools.reduce(lambda left, right: left + right, bound.stream("Use it"))
        else:
            reply = bound.invoke("Use it")
        return [call["args"] for call in reply.tool_calls]

    def embed(self, embedder: Any, text: str) -> list[float]:
        return embedder.embed_query(text)

    def see(self, llm: Any) -> object:
        picture = {"type": "image", "base64": PIXEL, "mime_type": "image/png"}
        return llm.invoke([HumanMessage([{"type": "text", "text": "What?"}, picture])])


class LlamaIndex(_Contender):
    """A class of LlamaIndex's."""

    def ask(self, llm: Any, prompt: str) -> tuple[str, Any]:
        reply = llm.chat([ChatMessage(prompt)])
        return reply.message.content or "", reply

    def stream(self, llm: Any, prompt: str) -> Iterator[Any]:
        return llm.stream_chat([ChatMessage(prompt)])

    async def astream(self, llm: Any, prompt: str) -> AsyncIterator[Any]:
        async for piece in await llm.astream_chat([ChatMessage(prompt)]):
            yield piece

    def streamed_results(self, llm: Any, prompt: str) -> list[Any]:
        return list(self.stream(llm, prompt))

    def structured(self, llm: Any) -> Any:
        return llm.structured_predict(City, PromptTemplate("Which city?"))

    def tool_arguments(self, llm: Any, *, stream: bool) -> list[dict[str, Any]]:
        tools = [FunctionTool.from_defaults(add)]
        if stream:
            *_, reply = llm.stream_chat_with_tools(tools, user_msg="Use it")
        else:
            reply = llm.chat_with_tools(tools, user_msg="Use it")
        calls = llm.get_tool_calls_from_response(reply, error_on_no_tool_call=False)
        return [call.tool_kwargs for call in calls]

    def embed(self, embedder: Any, text: str) -> list[float]:
        return embedder.get_text_embedding(text)

    def see(self, llm: Any) -> object:
        picture = ImageBlock(image=PIXEL.encode(), image_mimetype="image/png")
        return llm.chat([ChatMessage(blocks=[TextBlock(text="What?"), picture])])


Contender: TypeAlias = LangChain | LlamaIndex


def _openai(url: str) -> dict[str, Any]:
    return {"base_url": f"{url}/engines/v1", "api_key": "none"}


def _openai_like(url: str) -> dict[str, Any]:
    return {"api_base": f"{url}/engines/v1", "api_key": "none", "is_chat_model": True}


class _LlamaIndexOllama(LlamaIndex):
    def embedding_address(self, url: str) -> dict[str, Any]:
        return {"base_url": url}


def _llama_cpp(url: str) -> dict[str, Any]:
    return {"base_url": f"{url}/engines"}  # the class adds /v1


def _ollama(url: str) -> dict[str, Any]:
    return {"base_url": url}


def _llama_index_ollama(url: str) -> dict[str, Any]:
    # Otherwise the class asks the runner, whose reply lacks a field that Ollama's client requires.
    return {"base_url": url, "context_window": 8192}


class _OpenAILike(LlamaIndex):
    def embedding_address(self, url: str) -> dict[str, Any]:
        return {"api_base": f"{url}/engines/v1", "api_key": "none"}


def _client() -> httpx.Client:
    return httpx.Client(headers={"x-mine": "yes"})


OURS_LANGCHAIN = ("langchain_docker_model", "DockerModelEmbeddings", "model")
OLLAMA_LANGCHAIN = ("langchain_ollama", "OllamaEmbeddings", "model")
FEW_TOKENS = {"max_tokens": 20}
FEW_CHARACTERS = {"max_chars": 80}
OVER_HTTP = {"transport": "http"}
SAMPLING = {"temperature": 0.5, "seed": 7}
HEADERS = {"x-mine": "yes"}

CONTENDERS: tuple[Contender, ...] = (
    LangChain(
        "LangChain `DockerModelLLM`",
        "DockerModelLLM",
        "langchain_docker_model",
        brief=FEW_CHARACTERS,
        switches={"usage": OVER_HTTP, "mid-stream": OVER_HTTP},
        embedding=OURS_LANGCHAIN,
    ),
    LangChain(
        "`ChatDockerModel`",
        "ChatDockerModel",
        "langchain_docker_model",
        brief=FEW_TOKENS,
        embedding=OURS_LANGCHAIN,
    ),
    LangChain(
        "`ChatOpenAI`",
        "ChatOpenAI",
        "langchain_openai",
        _openai,
        brief=FEW_TOKENS,
        switches={
            "usage": {"stream_usage": True},
            "embeddings": {"check_embedding_ctx_length": False},
            "client": {"http_client": _client},
        },
        embedding=("langchain_openai", "OpenAIEmbeddings", "model"),
    ),
    LangChain(
        "`ChatLlama`",
        "ChatLlama",
        "langchain_llama_cpp",
        _llama_cpp,
        brief=FEW_TOKENS,
        switches={"client": {"http_client": _client}},
    ),
    LangChain(
        "`ChatOllama`",
        "ChatOllama",
        "langchain_ollama",
        _ollama,
        brief={"num_predict": 20},
        ollama=True,
        switches={
            "reasoning": {"reasoning": True},
            "client": {"client_kwargs": {"headers": HEADERS}},
            "context size": {"num_ctx": 8192},
        },
        embedding=OLLAMA_LANGCHAIN,
    ),
    LangChain(
        "`OllamaLLM`",
        "OllamaLLM",
        "langchain_ollama",
        _ollama,
        brief={"num_predict": 20},
        ollama=True,
        switches={
            "reasoning": {"reasoning": True},
            "client": {"client_kwargs": {"headers": HEADERS}},
            "context size": {"num_ctx": 8192},
        },
        embedding=OLLAMA_LANGCHAIN,
    ),
    LlamaIndex(
        "LlamaIndex `DockerModelLLM`",
        "DockerModelLLM",
        "llama_index_docker_model",
        brief=FEW_CHARACTERS,
        switches={"usage": OVER_HTTP, "structured": OVER_HTTP, "mid-stream": OVER_HTTP},
        embedding=("llama_index_docker_model", "DockerModelEmbedding", "model_name"),
    ),
    _LlamaIndexOllama(
        "LlamaIndex `Ollama`",
        "Ollama",
        "llama_index.llms.ollama",
        _llama_index_ollama,
        brief={"additional_kwargs": {"num_predict": 20}},
        ollama=True,
        switches={
            "sampling": {"temperature": 0.5, "additional_kwargs": {"seed": 7}},
            "reasoning": {"thinking": True},
            "context size": {"context_window": 8192},
        },
        embedding=("llama_index.embeddings.ollama", "OllamaEmbedding", "model_name"),
    ),
    _OpenAILike(
        "`OpenAILike`",
        "OpenAILike",
        "llama_index.llms.openai_like",
        _openai_like,
        brief=FEW_TOKENS,
        switches={
            "sampling": {"temperature": 0.5, "additional_kwargs": {"seed": 7}},
            "usage": {"additional_kwargs": {"stream_options": {"include_usage": True}}},
            "tools": {"is_function_calling_model": True},
            "structured": {"should_use_structured_outputs": True},
            "client": {"http_client": _client},
        },
        embedding=("llama_index.embeddings.openai_like", "OpenAILikeEmbedding", "model_name"),
    ),
)
