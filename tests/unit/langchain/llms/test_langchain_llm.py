"""Every method to generate text, and its results."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import GenerationChunk
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.prompts import PromptTemplate

from docker_model.testing import Reasoning, SimulatedDocker, Sleep, Text, Usage
from langchain_docker_model import DockerModelLLM
from langchain_docker_model.errors import (
    EmptyAnswerError,
    InvalidRequestError,
    UnsupportedParameterError,
)
from tests.support import other_loop
from tests.unit.langchain.llms.modes import ask

ANSWER = "A runner of models. Ünï©ode ✓ 🐳\n\n  Its own white space."


@pytest.fixture
def llm():
    return DockerModelLLM(model="ai/smollm2")


@pytest.fixture
def answering():
    """Simulate a model that always answers `ANSWER`, in small pieces that split characters."""
    with SimulatedDocker(script=[Text(ANSWER)]) as docker:
        yield docker


@pytest.fixture
def thinking():
    """Simulate a model that thinks first and counts tokens."""
    with SimulatedDocker(
        script=[Reasoning("Let me "), Reasoning("see."), Text("An answer."), Usage(3, 4)]
    ) as docker:
        yield docker


# --- Text in, text out ---


async def test_every_method_gives_the_same_answer(llm, answering):
    assert llm.invoke("hi") == ANSWER
    assert await llm.ainvoke("hi") == ANSWER
    assert "".join(llm.stream("hi")) == ANSWER
    assert "".join([piece async for piece in llm.astream("hi")]) == ANSWER
    assert llm.batch(["hi"]) == [ANSWER]
    assert await llm.abatch(["hi"]) == [ANSWER]
    assert llm._call("hi") == ANSWER
    assert await llm._acall("hi") == ANSWER
    assert answering.prompts == ["hi"] * 8


async def test_pieces_arrive_while_the_model_is_still_generating(llm):
    heard = threading.Event()

    def script(prompt):
        heard.clear()
        yield "one,"
        assert heard.wait(60)
        yield " two"

    with SimulatedDocker(script=script):
        pieces = []
        for piece in llm.stream("hi"):
            pieces.append(piece)
            heard.set()
        assert pieces == ["one,", " two", ""]
        pieces = []
        async for piece in llm.astream("hi"):
            pieces.append(piece)
            heard.set()
        assert pieces == ["one,", " two", ""]


async def test_batches_keep_their_order(llm, docker):
    prompts = [f"prompt {number}" for number in range(6)]
    expected = [llm.invoke(prompt) for prompt in prompts]
    assert len(set(expected)) == 6
    assert llm.batch(prompts) == expected
    assert llm.batch(prompts, {"max_concurrency": 4}) == expected
    assert await llm.abatch(prompts) == expected
    assert await llm.abatch(prompts, {"max_concurrency": 4}) == expected
    assert dict(llm.batch_as_completed(prompts)) == dict(enumerate(expected))
    completed = {index: text async for index, text in llm.abatch_as_completed(prompts)}
    assert completed == dict(enumerate(expected))
    assert llm.batch([]) == []
    assert await llm.abatch([]) == []
    assert llm.generate([]).generations == []


@pytest.mark.parametrize("at_once", [6, 2])
async def test_concurrent_prompts_are_limited(at_once):
    running, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(at_once)

    def script(prompt):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(60)
        yield Sleep(0.05)  # time for one more than the limit
        with lock:
            running -= 1
        yield "done"

    llm = DockerModelLLM(model="ai/smollm2", max_concurrency=at_once)
    with SimulatedDocker(script=script):
        assert llm.batch(["hi"] * 6) == ["done"] * 6
        assert most == at_once
        most = 0
        assert await llm.abatch(["hi"] * 6) == ["done"] * 6
        assert most == at_once


async def test_fifty_concurrent_calls_complete(docker):
    llm = DockerModelLLM(model="ai/smollm2", max_chars=2)
    answers = await asyncio.gather(*(llm.ainvoke(f"call {number}") for number in range(50)))
    assert answers == ["Yo"] * 50


def test_long_prompts_and_unusual_characters_arrive_unchanged(llm, docker):
    prompt = "-- $HOME `x` \"quoted\" 'so' \\n Ünï©ode 🐳 " + "long " * 60_000 + "end"
    llm.invoke(prompt)
    assert docker.prompts == [prompt]


def test_messages_are_flattened_to_text(llm, docker):
    llm.invoke([SystemMessage("Be brief."), HumanMessage("Hi.")])
    assert docker.prompts == ["System: Be brief.\nHuman: Hi."]


async def test_chains_give_the_answer(llm, docker):
    chain = PromptTemplate.from_template("About {topic}?") | llm | StrOutputParser()
    answer = chain.invoke({"topic": "whales"})
    assert "About whales?" in answer
    assert await chain.ainvoke({"topic": "whales"}) == answer
    assert "".join(chain.stream({"topic": "whales"})) == answer
    assert "".join([piece async for piece in chain.astream({"topic": "whales"})]) == answer
    assert set(docker.prompts) == {"About whales?"}


def test_sync_calls_work_inside_a_running_loop(llm, docker):
    async def cell_of_a_notebook():
        return llm.invoke("hi"), list(llm.stream("hi")), llm.batch(["hi", "ho"])

    whole, pieces, batch = asyncio.run(cell_of_a_notebook())
    assert "".join(pieces) == whole == batch[0]


def test_one_object_serves_several_loops_in_turn(llm, docker):
    answer = llm.invoke("hi")
    for loop_factory in (asyncio.new_event_loop, other_loop.new_event_loop, asyncio.new_event_loop):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            assert runner.run(llm.ainvoke("hi")) == answer
            assert runner.run(llm.abatch(["hi", "hi"])) == [answer] * 2
            assert runner.run(ask(llm, "astream")) == answer


def test_one_object_serves_several_threads(llm, docker):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: llm.invoke(f"{number} bottles"), range(16)))
    assert answers == [f"You said: {number} bottles" for number in range(16)]


async def test_async_calls_do_not_block_the_loop_or_use_its_executor(llm):
    def no_executor(*args):
        pytest.fail("the default executor was used")

    loop = asyncio.get_running_loop()
    loop.run_in_executor = no_executor
    others = iter([threading.Event() for _ in range(4)])
    asked = asyncio.Queue()

    def speak(prompt):
        other = next(others)
        loop.call_soon_threadsafe(asked.put_nowait, other)
        yield "some "
        assert other.wait(60)  # the loop has run another task
        yield "text"

    async def run_others():
        while True:
            (await asked.get()).set()

    with SimulatedDocker(script=speak):
        running = asyncio.create_task(run_others())
        await llm.ainvoke("hi")
        await llm.abatch(["hi", "ho"])
        assert "".join([piece async for piece in llm.astream("hi")]) == "some text"
        running.cancel()


# --- Stops ---


@pytest.mark.parametrize("stop", ["white", ["nothing", "white space"], ["space", "Its own white"]])
async def test_a_stop_sequence_ends_the_answer_in_every_method(answering, stop):
    """A stop sequence may span several pieces, which are shorter than the sequence."""
    stops = [stop] if isinstance(stop, str) else stop
    expected = ANSWER[: min(ANSWER.find(text) for text in stops if text in ANSWER)]
    own = DockerModelLLM(model="ai/smollm2", stop=stop)
    plain = DockerModelLLM(model="ai/smollm2")
    assert own.invoke("hi") == expected
    assert plain.invoke("hi", stop=stops) == expected
    assert plain.bind(stop=stops).invoke("hi") == expected
    assert "".join(own.stream("hi")) == "".join(plain.stream("hi", stop=stops)) == expected
    assert await own.ainvoke("hi") == await plain.ainvoke("hi", stop=stops) == expected
    assert "".join([piece async for piece in plain.astream("hi", stop=stops)]) == expected


def test_stop_of_a_call_replaces_that_of_the_model_unless_empty(answering):
    llm = DockerModelLLM(model="ai/smollm2", stop=["runner"])
    assert llm.invoke("hi") == "A "
    assert llm.invoke("hi", stop=["models"]) == "A runner of "
    assert llm.invoke("hi", stop=[]) == "A "


# --- Metadata of an answer ---


async def test_results_contain_the_finish_reason(llm, thinking):
    for result in (llm.generate(["hi"]), await llm.agenerate(["hi"])):
        ((generation,),) = result.generations
        assert generation.text == "An answer."
        assert generation.generation_info == {
            "finish_reason": "stop",
            "model_name": "ai/smollm2",
            "reasoning": "Let me see.",
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        }
        assert result.llm_output == {
            "model_name": "ai/smollm2",
            "token_usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        }


async def test_unknown_metadata_is_omitted(llm, answering):
    for result in (llm.generate(["hi"]), await llm.agenerate(["hi"])):
        assert result.generations[0][0].generation_info == {
            "finish_reason": "stop",
            "model_name": "ai/smollm2",
        }
        assert result.llm_output == {"model_name": "ai/smollm2"}


async def test_usage_is_summed_over_prompts(llm, thinking):
    for result in (llm.generate(["a", "b", "c"]), await llm.agenerate(["a", "b", "c"])):
        assert result.llm_output["token_usage"] == {
            "prompt_tokens": 9,
            "completion_tokens": 12,
            "total_tokens": 21,
        }


def test_each_kind_of_end_has_its_finish_reason(llm, answering):
    def finish_reason(**settings):
        return llm.generate(["hi"], **settings).generations[0][0].generation_info["finish_reason"]

    assert finish_reason() == "stop"
    assert finish_reason(stop=["models"]) == "stop_sequence"
    assert finish_reason(max_chars=3) == "length"


async def test_chunks_add_up_to_the_result(llm, thinking):
    whole = llm.generate(["hi"]).generations[0][0]
    for chunks in (list(llm._stream("hi")), [chunk async for chunk in llm._astream("hi")]):
        total = GenerationChunk(text="")
        for chunk in chunks:
            total += chunk
        assert (total.text, total.generation_info) == (whole.text, whole.generation_info)


async def test_only_the_last_chunk_contains_the_finish_reason(llm, thinking):
    for chunks in (list(llm._stream("hi")), [chunk async for chunk in llm._astream("hi")]):
        *pieces, last = chunks
        assert last.text == ""
        assert sorted(last.generation_info) == ["finish_reason", "model_name", "usage"]
        reasoning = [piece for piece in pieces if piece.generation_info]
        assert all(piece.text == "" for piece in reasoning)
        assert all(list(piece.generation_info) == ["reasoning"] for piece in reasoning)
        assert pieces[: len(reasoning)] == reasoning


async def test_an_empty_answer_that_a_stop_ended_is_no_error(llm, answering):
    assert llm.invoke("hi", stop=["A "]) == ""
    assert "".join(llm.stream("hi", stop=["A "])) == ""
    assert await llm.ainvoke("hi", stop=["A "]) == ""
    assert "".join([piece async for piece in llm.astream("hi", stop=["A "])]) == ""


async def test_an_answer_with_only_reasoning_is_an_error_in_every_mode(llm):
    with SimulatedDocker(script=[Reasoning("Hm.")]):
        with pytest.raises(EmptyAnswerError, match="generated only reasoning"):
            llm.invoke("hi")
        with pytest.raises(EmptyAnswerError, match="generated only reasoning"):
            list(llm.stream("hi"))
        with pytest.raises(EmptyAnswerError, match="generated only reasoning"):
            await llm.ainvoke("hi")
        with pytest.raises(EmptyAnswerError, match="generated only reasoning"):
            [piece async for piece in llm.astream("hi")]


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SOUND = {"type": "audio", "base64": "QUJD", "mime_type": "audio/wav"}


@pytest.mark.parametrize("block", [IMAGE, SOUND, {"type": "file", "file_id": "1"}])
async def test_blocks_that_are_not_text_are_refused(llm, docker, block):
    messages = [HumanMessage([{"type": "text", "text": "What is this?"}, block])]
    calls = [
        lambda: llm.invoke(messages),
        lambda: llm.batch([messages]),
        lambda: list(llm.stream(messages)),
        lambda: llm.generate_prompt([ChatPromptValue(messages=messages)]),
    ]
    for call in calls:
        with pytest.raises(InvalidRequestError, match=block["type"]):
            call()
    with pytest.raises(InvalidRequestError, match=block["type"]):
        await llm.ainvoke(messages)
    with pytest.raises(InvalidRequestError, match=block["type"]):
        await anext(llm.astream(messages))
    assert docker.prompts == []


def test_structured_output_is_refused_and_names_the_chat_class(llm):
    with pytest.raises(UnsupportedParameterError, match="ChatDockerModel"):
        llm.with_structured_output({"title": "City", "type": "object"})


# --- Models ---


async def test_models_are_listed():
    with SimulatedDocker(models=("ai/smollm2", "ai/qwen3")):
        names = {model.name for model in DockerModelLLM.list_models()}
        assert names == {"ai/smollm2", "ai/qwen3"}
        assert {model.name for model in await DockerModelLLM.alist_models()} == names


async def test_models_of_another_command_are_listed():
    with SimulatedDocker(models=("ai/there",)) as there:
        command, env = there.command, there.env
        with SimulatedDocker(models=("ai/here",)):
            (model,) = DockerModelLLM.list_models(command=command, env=env)
            assert model.name == "ai/there"
            (model,) = await DockerModelLLM.alist_models(command=command, env=env)
            assert model.name == "ai/there"


async def test_a_model_can_be_used_after_close(llm, docker):
    llm.warm_up()
    await llm.awarm_up()
    llm.close()
    await llm.aclose()
    assert llm.invoke("hi")
