"""A user's program that touches every public name; checked by mypy --strict and pyright.

The program is never run. The types in `assert_type` are those that an editor shows.
`test_sample.py` checks that the program uses every public name.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Literal, assert_type

from langchain_core import language_models
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate
from llama_index.core import llms
from llama_index.core.schema import NodeWithScore

import docker_model
import langchain_docker_model
import llama_index_docker_model
from docker_model import (
    AsyncTextStream,
    Completion,
    ContextLengthError,
    DockerModel,
    DockerModelError,
    DockerNotFoundError,
    EmptyAnswerError,
    FileReferenceError,
    GenerationError,
    GenerationTimeoutError,
    InvalidRequestError,
    ModelInfo,
    ModelLoadError,
    ModelNotFoundError,
    PluginNotFoundError,
    Progress,
    PullError,
    PullProgress,
    ReasoningDelta,
    ResourceError,
    RunnerUnavailableError,
    RunningModel,
    Status,
    TextDelta,
    TextStream,
    Timeouts,
    Timings,
    UnsupportedParameterError,
    Usage,
    testing,
)
from docker_model.adapter import DockerModelRunnerCLIAdapter, create_modelrunner_cli_adapter
from docker_model.testing import Fail, InTurn, Reasoning, SimulatedDocker, Sleep, Text


def show(progress: PullProgress) -> None:
    assert_type(progress.current, int | None)


def show_stage(progress: Progress) -> None:
    assert_type(progress.percent, int | None)
    assert_type(progress.tokens_per_second, float | None)


def make() -> DockerModel:
    return DockerModel(
        "ai/smollm2",
        stop=["\n\n"],
        max_chars=500,
        timeout=Timeouts(first_output=60, idle=10.0),
        max_concurrency=2,
        pull="missing",
        on_progress=show,
        file_references="refuse",
        standby=1,
        command=("docker", "model"),
        env={"MODEL_RUNNER_HOST": "http://localhost:12434"},
    )


def answers(model: DockerModel) -> None:
    completion = model.generate("Hello", stop="END")
    assert_type(completion, Completion)
    assert_type(completion.text, str)
    assert_type(completion.usage, Usage | None)
    assert_type(completion.timings, Timings)
    assert_type(completion.finish_reason, Literal["stop", "stop_sequence", "length"])
    with model.stream("Hello") as stream:
        assert_type(stream, TextStream)
        for piece in stream:
            assert_type(piece, str)
        for event in stream.events():
            assert_type(event, TextDelta | ReasoningDelta | Completion)
    assert_type(stream.completion, Completion | None)


async def async_answers(model: DockerModel) -> None:
    assert_type(await model.agenerate("Hello"), Completion)
    async with model.astream("Hello") as stream:
        assert_type(stream, AsyncTextStream)
        async for piece in stream:
            assert_type(piece, str)
        async for event in stream.events():
            assert_type(event, TextDelta | ReasoningDelta | Completion)
    await model.awarm_up()
    await model.aclose()


async def management() -> None:
    assert_type(docker_model.list_models(), list[ModelInfo])
    assert_type(await docker_model.alist_models(timeout=5), list[ModelInfo])
    info = docker_model.inspect_model("ai/smollm2")
    assert_type(info.created, datetime | None)
    assert_type(docker_model.status(), Status)
    assert_type(docker_model.list_running(), list[RunningModel])
    assert_type(docker_model.pull_model("ai/smollm2", on_progress=show), ModelInfo)
    docker_model.preload_model("ai/smollm2")
    docker_model.configure_model("ai/smollm2", context_size=8192)
    docker_model.unload_model("ai/smollm2")
    assert_type(docker_model.from_env("llm", max_chars=10), DockerModel)


async def async_management() -> None:
    assert_type(await docker_model.ainspect_model("ai/smollm2"), ModelInfo)
    assert_type(await docker_model.astatus(), Status)
    assert_type(await docker_model.alist_running(), list[RunningModel])
    assert_type(await docker_model.apull_model("ai/smollm2", on_progress=show), ModelInfo)
    await docker_model.apreload_model("ai/smollm2")
    await docker_model.aconfigure_model("ai/smollm2", context_size=8192)
    await docker_model.aunload_model("ai/smollm2")


def failures(model: DockerModel) -> str | int | None:
    try:
        model.generate("Hello")
    except ContextLengthError as error:
        return error.context_size
    except FileReferenceError as error:
        return error.references[0]
    except ModelNotFoundError as error:
        return error.model
    except (ModelLoadError, PullError) as error:
        return error.detail
    except (EmptyAnswerError, GenerationTimeoutError) as error:
        return error.partial
    except GenerationError as error:
        return error.exit_code
    except (
        DockerNotFoundError,
        PluginNotFoundError,
        ResourceError,
        RunnerUnavailableError,
        UnsupportedParameterError,
        InvalidRequestError,
    ) as error:
        return error.hint
    except DockerModelError as error:
        return error.message
    return None


async def adapter() -> None:
    guide = await create_modelrunner_cli_adapter("ai/smollm2")
    assert_type(guide, DockerModelRunnerCLIAdapter)
    assert_type(await guide.generate("Hello"), str)
    async for piece in guide.stream_generate("Hello"):
        assert_type(piece, str)


async def langchain() -> None:
    llm = langchain_docker_model.DockerModelLLM(model="ai/smollm2", max_chars=100)
    base: language_models.LLM = llm
    assert_type(base.invoke("Hello"), str)
    pieces: AsyncIterator[str] = llm.astream("Hello")
    assert_type([piece async for piece in pieces], list[str])
    chain = PromptTemplate.from_template("{question}") | llm | StrOutputParser()
    assert_type(chain.invoke({"question": "Why?"}), str)


async def llama_index() -> None:
    llm = llama_index_docker_model.DockerModelLLM(model="ai/smollm2", context_window=8192)
    base: llms.LLM = llm
    assert_type(base.complete("Hello").text, str)
    assert_type(llm.list_models(), list[ModelInfo])


async def more_management() -> None:
    ranked: list[docker_model.Ranked] = docker_model.rerank("ai/qwen3-reranker", "q", ["a", "b"])
    ranked = await docker_model.arerank("ai/qwen3-reranker", "q", ["a"], top_n=1)
    models: list[docker_model.FoundModel] = docker_model.search_models("smollm", limit=5)
    models = await docker_model.asearch_models("smollm")
    configuration: docker_model.ModelConfiguration | None
    configuration = docker_model.model_configuration("ai/smollm2")
    configuration = await docker_model.amodel_configuration("ai/smollm2")
    usage: docker_model.DiskUsage = docker_model.disk_usage()
    usage = await docker_model.adisk_usage()
    assert ranked or models or configuration or usage
    docker_model.tag_model("ai/smollm2", "mine")
    await docker_model.atag_model("ai/smollm2", "mine")
    docker_model.remove_model("mine")
    await docker_model.aremove_model("mine")


def templates(prompt: str) -> str:
    return "{}" if isinstance(prompt, testing.Prompt) and prompt.schema else "Hello."


def strict() -> None:
    own: testing.Template = testing.TEMPLATES["gemma"]
    model = testing.SimulatedModel("ai/smollm2", script=templates, template=own)
    events: list[testing.Event] = []
    with SimulatedDocker([model]):
        assert not events


def scripted_answer(prompt: str) -> Iterator[Text | Sleep]:
    yield Text(prompt)
    yield Sleep(0.1)


def simulation() -> None:
    steps: list[testing.Step] = [
        testing.ToolCall("add", {"a": 1}),
        testing.Usage(3, 5),
        testing.Finish("length"),
        testing.Raw(b"data: {}"),
        testing.Cut(),
    ]
    done: list[testing.Step] = [
        testing.Stdout(b"out"),
        testing.Stderr("err"),
        testing.CloseStdout(),
        testing.IgnoreSignals(),
        testing.Grandchild(detached=True),
        testing.Exit(3),
        testing.Kill(),
        testing.Hang(),
    ]
    script: testing.Script = InTurn(
        "first",
        [Reasoning("Hm."), Text("second"), Fail()],
        scripted_answer,
        steps,
        done,
        testing.echo,
    )
    with SimulatedDocker(
        models={"ai/smollm2": script},
        pullable={"ai/qwen3": [testing.Downloaded(1, 2), testing.Warn("slow"), testing.Pulled()]},
        replies={"GET /models": testing.Reply(500)},
    ) as docker:
        assert_type(docker.prompts, list[str])
        assert_type(docker.calls, list[testing.Call])
        assert_type(docker.requests, list[testing.Request])
        DockerModel("ai/smollm2", command=docker.command, env=docker.env)


async def over_http() -> None:
    model = DockerModel("ai/smollm2", transport="http", base_url="http://localhost:12434")
    assert_type(await model.agenerate("Hello"), Completion)
    chat = langchain_docker_model.ChatDockerModel(model="ai/smollm2", temperature=0.2)
    assert_type(chat.invoke("Hello"), AIMessage)
    langchain_docker_model.ChatDockerModel(model="ai/smollm2", on_progress=show_stage, api_key="k")
    event = llama_index_docker_model.DockerModelProgressEvent(model="ai/smollm2", status="loading")
    assert_type(event.current, int | None)
    embeddings = langchain_docker_model.DockerModelEmbeddings(model="ai/mxbai-embed-large")
    assert_type(embeddings.embed_query("Hello"), list[float])
    embedding = llama_index_docker_model.DockerModelEmbedding(model_name="ai/mxbai-embed-large")
    assert_type(embedding.get_text_embedding("Hello"), list[float])
    reranker = llama_index_docker_model.DockerModelRerank(model="ai/qwen3-reranker", top_n=1)
    assert_type(reranker.postprocess_nodes([], query_str="Hello"), list[NodeWithScore])
