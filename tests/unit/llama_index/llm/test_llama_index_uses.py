"""Typical uses of LlamaIndex, on a scripted model."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core import Settings, SummaryIndex, VectorStoreIndex
from llama_index.core.agent.workflow import (
    AgentStream,
    AgentWorkflow,
    CodeActAgent,
    FunctionAgent,
    ReActAgent,
    ToolCallResult,
)
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.extractors import TitleExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.postprocessor import LLMRerank
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine, RouterQueryEngine
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.schema import Document, NodeWithScore, TextNode
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import FunctionTool, QueryEngineTool

from docker_model import ModelNotFoundError
from docker_model.testing import InTurn, Reasoning, SimulatedDocker, Text, Usage
from llama_index_docker_model import DockerModelLLM
from tests.support.llama_index_modes import (
    agents_of_core,
    needs_steps_outside_a_run,
    needs_text_program_streams,
    needs_thinking,
)

TEXTS = ["Whales are mammals.", "Whales sleep upright.", "Whales sing."]


def model(**settings):
    return DockerModelLLM(model="ai/smollm2", **settings)


# --- Prediction ---

TELL = PromptTemplate("Tell me about {x}.")


@pytest.mark.parametrize("is_chat_model", [True, False])
async def test_predict_and_stream_use_the_system_prompt(is_chat_model, docker):
    llm = model(is_chat_model=is_chat_model, system_prompt="Be brief.")
    texts = [
        llm.predict(TELL, x="whales"),
        await llm.apredict(TELL, x="whales"),
        "".join(llm.stream(TELL, x="whales")),
        "".join([token async for token in await llm.astream(TELL, x="whales")]),
    ]
    assert len(set(texts)) == 1
    (prompt,) = set(docker.prompts)
    assert prompt == (
        "system: Be brief.\nuser: Tell me about whales.\nassistant:"
        if is_chat_model
        else "Be brief.\n\nTell me about whales."
    )


class Whale(BaseModel):
    """A whale."""

    name: str
    length: int


@pytest.mark.parametrize("is_chat_model", [True, False])
async def test_structured_predict_uses_http_unless_a_setting_requires_the_cli(is_chat_model):
    llm = model(is_chat_model=is_chat_model)
    answer = 'Here it is:\n{"name": "Moby", "length": 18}\nCall me Ishmael.'
    with SimulatedDocker(script=answer) as docker:
        assert llm.structured_predict(Whale, TELL, x="whales") == Whale(name="Moby", length=18)
        schema = docker.requests[-1].body["response_format"]["json_schema"]["schema"]
        assert "length" in schema["properties"]
        assert docker.calls == []
        whale = await llm.astructured_predict(Whale, TELL, {"max_chars": 200}, x="whales")
        assert whale.length == 18
        assert '"length"' in docker.prompts[-1]
        structured = llm.as_structured_llm(Whale)
        assert structured.complete("Tell me.").raw.name == "Moby"
        assert (await structured.achat([ChatMessage("Tell me.")])).raw.name == "Moby"


@needs_text_program_streams
async def test_stream_structured_predict_yields_objects():
    with SimulatedDocker(script='{"name": "Moby", "length": 18}'):
        llm = model()
        assert list(llm.stream_structured_predict(Whale, TELL, x="whales"))[-1].name == "Moby"
        stream = await llm.astream_structured_predict(Whale, TELL, x="whales")
        assert [whale async for whale in stream][-1].length == 18


def test_structured_predict_raises_for_an_answer_without_an_object():
    with SimulatedDocker(script="I would rather not."), pytest.raises(ValueError, match="json"):
        model().structured_predict(Whale, TELL, x="whales")


# --- Indexes and query engines ---


def documents():
    return [Document(text=text) for text in TEXTS]


def vector_index():
    return VectorStoreIndex.from_documents(documents(), embed_model=MockEmbedding(embed_dim=4))


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_query_engine_gives_the_answer_of_the_model(streaming, docker):
    engine = vector_index().as_query_engine(llm=model(), streaming=streaming, similarity_top_k=2)
    answer = str(engine.query("What do whales do?"))
    assert answer == f"You said: {docker.prompts[0]}"
    assert sum(text in answer for text in TEXTS) == 2
    response = await engine.aquery("What do whales do?")
    text = (
        "".join([token async for token in response.async_response_gen()]) if streaming else response
    )
    assert str(text) == answer


@pytest.mark.parametrize("use_async", [False, True])
@pytest.mark.parametrize(
    "mode",
    [
        ResponseMode.REFINE,
        ResponseMode.COMPACT,
        ResponseMode.COMPACT_ACCUMULATE,
        ResponseMode.SIMPLE_SUMMARIZE,
        ResponseMode.TREE_SUMMARIZE,
        ResponseMode.ACCUMULATE,
        ResponseMode.GENERATION,
    ],
)
async def test_every_response_mode_works_inside_a_running_loop(mode, use_async, docker):
    nodes = [NodeWithScore(node=TextNode(text=text), score=1) for text in TEXTS]
    synthesizer = get_response_synthesizer(llm=model(), response_mode=mode, use_async=use_async)
    assert "You said: " in str(synthesizer.synthesize("What do whales do?", nodes))
    assert "You said: " in str(await synthesizer.asynthesize("What do whales do?", nodes))


@pytest.mark.parametrize("use_async", [False, True])
async def test_an_error_inside_a_query_reaches_the_caller(use_async, docker):
    llm = DockerModelLLM(model="ai/nowhere")
    synthesizer = get_response_synthesizer(
        llm=llm, response_mode=ResponseMode.ACCUMULATE, use_async=use_async
    )
    # One node, one call: with several, core abandons the others on a loop that it closes.
    engine = RetrieverQueryEngine(vector_index().as_retriever(similarity_top_k=1), synthesizer)
    with pytest.raises(ModelNotFoundError, match="docker model pull ai/nowhere"):
        engine.query("What do whales do?")
    with pytest.raises(ModelNotFoundError):
        await engine.aquery("What do whales do?")


async def test_a_router_uses_the_choice_of_the_model():
    llm = model()
    tools = [
        QueryEngineTool.from_defaults(
            SummaryIndex.from_documents(documents()).as_query_engine(llm=llm), description=name
        )
        for name in ("whales", "fish")
    ]
    router = RouterQueryEngine.from_defaults(tools, llm, LLMSingleSelector.from_defaults(llm))
    choice = '[{"choice": 2, "reason": "fish are fish"}]'
    with SimulatedDocker(script=InTurn(choice, "Fish swim.", choice, "Fish swim.")):
        assert str(router.query("What do fish do?")) == "Fish swim."
        assert str(await router.aquery("What do fish do?")) == "Fish swim."


def test_llm_rerank_uses_the_scores_of_the_model():
    nodes = [NodeWithScore(node=TextNode(text=text), score=1) for text in TEXTS]
    with SimulatedDocker(script="Doc: 3, Relevance: 9\nDoc: 1, Relevance: 4\n"):
        ranked = LLMRerank(llm=model(), top_n=2).postprocess_nodes(nodes, query_str="songs")
    assert [node.text for node in ranked] == ["Whales sing.", "Whales are mammals."]


def test_an_ingestion_pipeline_uses_the_model(docker):
    extractor = TitleExtractor(llm=model(env=docker.env), nodes=1, show_progress=False)
    nodes = [TextNode(text=text) for text in TEXTS]
    for node in nodes:
        node.metadata["title"] = "?"
    done = IngestionPipeline(transformations=[extractor], disable_cache=True).run(nodes=nodes)
    assert all("You said: " in node.metadata["document_title"] for node in done)


def test_tokens_of_a_query_are_counted(monkeypatch):
    counter = TokenCountingHandler(tokenizer=str.split)
    monkeypatch.setattr(Settings, "_callback_manager", CallbackManager([counter]))
    llm = model()
    with SimulatedDocker(script=["Whales sing.", Usage(30, 4)]):
        vector_index().as_query_engine(llm=llm).query("What do whales do?")
        str(vector_index().as_query_engine(llm=llm, streaming=True).query("And else?"))
    assert counter.prompt_llm_token_count == 60
    assert counter.completion_llm_token_count == 8


# --- Chat engines ---


@pytest.mark.parametrize(
    "mode", [ChatMode.SIMPLE, ChatMode.CONTEXT, ChatMode.CONDENSE_PLUS_CONTEXT]
)
async def test_every_chat_engine_gives_the_answer(mode, docker):
    engine = vector_index().as_chat_engine(chat_mode=mode, llm=model(), system_prompt="Be brief.")
    assert "first" in str(engine.chat("the first"))
    assert "second" in str(await engine.achat("the second"))
    assert "third" in "".join(engine.stream_chat("the third").response_gen)
    stream = await engine.astream_chat("the fourth")
    assert "fourth" in "".join([token async for token in stream.async_response_gen()])
    assert "Be brief." in docker.prompts[-1]
    history = engine.chat_history
    assert len(history) == 8
    assert history[-1].content.startswith("You said: ")


async def test_a_chat_engine_keeps_reasoning_out_of_the_conversation():
    with SimulatedDocker(script=[Reasoning("They want whales."), Text("Whales sing.")]) as docker:
        engine = vector_index().as_chat_engine(chat_mode=ChatMode.SIMPLE, llm=model())
        assert "".join(engine.stream_chat("one").response_gen) == "Whales sing."
        assert str(await engine.achat("two")) == "Whales sing."
        assert str(engine.chat("three")) == "Whales sing."
        assert "Whales sing." in docker.prompts[2]
        assert "They want" not in docker.prompts[2]


# --- Agents ---


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


TOOL = FunctionTool.from_defaults(add)
CALL = 'Thought: I need a tool.\nAction: add\nAction Input: {"a": 2, "b": 2}\nObservation: 5'
REPLY = "Thought: I can answer without using any more tools.\nAnswer: It is 4."


@agents_of_core
@pytest.mark.parametrize("streaming", [True, False])
async def test_a_react_agent_runs_its_tool(streaming):
    llm = model(stop="\nObservation:")
    agent = ReActAgent(tools=[TOOL], llm=llm, streaming=streaming)
    with SimulatedDocker(script=InTurn(CALL, REPLY)) as docker:
        handler = agent.run("What is 2 + 2?", memory=ChatMemoryBuffer.from_defaults(llm=llm))
        events = [event async for event in handler.stream_events()]
        assert str(await handler) == "It is 4."
        assert "Observation: 4" in docker.prompts[1]
        assert "Observation: 5" not in docker.prompts[1]
    (result,) = [event for event in events if isinstance(event, ToolCallResult)]
    assert result.tool_output.raw_output == 4
    deltas = [event.delta for event in events if isinstance(event, AgentStream)]
    assert "".join(deltas) == (CALL.partition("\nObservation:")[0] + REPLY if streaming else "")


@agents_of_core
@needs_thinking
async def test_the_reasoning_of_an_agent_is_streamed():
    script = [Reasoning("Two and two."), Text(REPLY)]
    with SimulatedDocker(script=script):
        handler = ReActAgent(tools=[TOOL], llm=model()).run("What is 2 + 2?")
        events = [event async for event in handler.stream_events()]
        await handler
    thoughts = [event.thinking_delta or "" for event in events if isinstance(event, AgentStream)]
    assert "".join(thoughts) == "Two and two."


@agents_of_core
async def test_a_missing_model_ends_the_run_of_an_agent(docker):
    """The error must not be taken for an answer of the model."""
    with pytest.raises(ModelNotFoundError, match="docker model pull ai/nowhere"):
        await ReActAgent(tools=[TOOL], llm=DockerModelLLM(model="ai/nowhere")).run("hi")


@agents_of_core
async def test_a_workflow_selects_a_react_agent_over_the_cli():
    workflow = AgentWorkflow.from_tools_or_functions([add], llm=model(stop="\nObservation:"))
    with SimulatedDocker(script=InTurn(CALL, REPLY)):
        assert str(await workflow.run("What is 2 + 2?")) == "It is 4."


@agents_of_core
async def test_a_code_agent_runs_its_code():
    async def execute(code):
        return str(eval(code))

    script = InTurn("<execute>\n2 + 2\n</execute>", "It is 4.")
    with SimulatedDocker(script=script) as docker:
        agent = CodeActAgent(code_execute_fn=execute, llm=model())
        assert str(await agent.run("What is 2 + 2?")) == "It is 4."
        assert "4" in docker.prompts[1]


@agents_of_core
async def test_a_function_agent_over_the_cli_is_refused(docker):
    with pytest.raises(ValueError, match="FunctionCallingLLM"):
        await FunctionAgent(tools=[TOOL], llm=model()).run("What is 2 + 2?")


@agents_of_core
@needs_steps_outside_a_run
@pytest.mark.parametrize("inside_a_loop", [True, False])
def test_predict_and_call_runs_the_tool(inside_a_loop):
    async def inside():
        return model().predict_and_call([TOOL], "What is 2 + 2?")

    with SimulatedDocker(script=CALL):
        response = (
            asyncio.run(inside())
            if inside_a_loop
            else model().predict_and_call([TOOL], "What is 2 + 2?")
        )
    assert str(response) == "4"


@agents_of_core
@needs_steps_outside_a_run
async def test_apredict_and_call_runs_the_tool():
    with SimulatedDocker(script=CALL):
        assert str(await model().apredict_and_call([TOOL], "What is 2 + 2?")) == "4"
