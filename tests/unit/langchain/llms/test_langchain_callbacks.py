"""Callbacks, event streams and traces of `DockerModelLLM`."""

from __future__ import annotations

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.outputs import GenerationChunk
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda

from docker_model import GenerationError
from docker_model.testing import Cut, Reasoning, SimulatedDocker, Text
from langchain_docker_model import DockerModelLLM
from tests.unit.langchain.llms.modes import ONE_PROMPT, ask


class Recorder(BaseCallbackHandler):
    """A handler that records events; `raise_error` prevents core from ignoring its errors."""

    raise_error = True

    def __init__(self):
        self.events = []

    @property
    def kinds(self):
        return [kind for kind, _ in self.events]

    def of(self, kind):
        return [value for event_kind, value in self.events if event_kind == kind]

    def on_llm_start(self, serialized, prompts, **kwargs):
        self.events.append(("start", (serialized, prompts, kwargs)))

    def on_llm_new_token(self, token, *, chunk=None, **kwargs):
        self.events.append(("token", (token, chunk)))

    def on_llm_end(self, response, **kwargs):
        self.events.append(("end", response))

    def on_llm_error(self, error, *, response=None, **kwargs):
        self.events.append(("error", (error, response)))


class AsyncRecorder(Recorder, AsyncCallbackHandler):
    async def on_llm_start(self, *args, **kwargs):
        Recorder.on_llm_start(self, *args, **kwargs)

    async def on_llm_new_token(self, *args, **kwargs):
        Recorder.on_llm_new_token(self, *args, **kwargs)

    async def on_llm_end(self, *args, **kwargs):
        Recorder.on_llm_end(self, *args, **kwargs)

    async def on_llm_error(self, *args, **kwargs):
        Recorder.on_llm_error(self, *args, **kwargs)


@pytest.fixture
def llm():
    return DockerModelLLM(model="ai/smollm2")


@pytest.mark.parametrize(
    ("mode", "recorder"),
    # Sync calls run async handlers later, in another thread.
    [
        *((mode, Recorder) for mode in ONE_PROMPT),
        ("ainvoke", AsyncRecorder),
        ("astream", AsyncRecorder),
    ],
)
async def test_callbacks_are_called_in_order_and_with_chunks(mode, recorder, llm):
    heard = recorder()
    with SimulatedDocker(script=[Reasoning("Hm."), Text("An answer.")]):
        answer = await ask(llm, mode, config={"callbacks": [heard]})
    assert heard.kinds == ["start", *["token"] * heard.kinds.count("token"), "end"]
    tokens = heard.of("token")
    assert "".join(token for token, _ in tokens) == answer == "An answer."
    assert all(type(chunk) is GenerationChunk and chunk.text == token for token, chunk in tokens)
    assert tokens[0][1].generation_info["reasoning"]
    assert tokens[-1][1].generation_info["finish_reason"] == "stop"
    (response,) = heard.of("end")
    generation = response.generations[0][0]
    assert generation.text == answer
    assert generation.generation_info["reasoning"] == "Hm."


async def test_a_token_reaches_the_callback_before_the_caller(llm, docker):
    heard = Recorder()
    stream = llm.stream("hi", {"callbacks": [heard]})
    next(stream)
    assert heard.kinds == ["start", "token"]
    stream.close()
    heard = Recorder()
    pieces = llm.astream("hi", {"callbacks": [heard]})
    await anext(pieces)
    assert heard.kinds == ["start", "token"]
    await pieces.aclose()


@pytest.mark.parametrize("mode", ONE_PROMPT)
async def test_a_failed_run_ends_with_the_error_and_the_text_so_far(mode, llm):
    heard = Recorder()
    with SimulatedDocker(script=[Text("So far"), Cut()]), pytest.raises(GenerationError):
        await ask(llm, mode, config={"callbacks": [heard]})
    assert heard.kinds[0] == "start"
    assert heard.kinds[-1] == "error"
    ((error, _),) = heard.of("error")
    assert isinstance(error, GenerationError)
    assert error.partial == "So far"


@pytest.mark.parametrize("mode", ["batch", "abatch"])
async def test_a_batch_reports_only_the_tokens_of_the_first_prompt(mode, llm, docker):
    """Core cannot assign the tokens of the other prompts to their runs."""
    heard = Recorder()
    prompts = ["one", "two", "three"]
    if mode == "batch":
        answers = llm.batch(prompts, {"callbacks": [heard]})
    else:
        answers = await llm.abatch(prompts, {"callbacks": [heard]})
    assert "".join(token for token, _ in heard.of("token")) == answers[0]
    # Each run ends separately, and core reports the ends in any order.
    assert sorted(result.generations[0][0].text for result in heard.of("end")) == sorted(answers)


@pytest.mark.parametrize("mode", ONE_PROMPT)
async def test_a_callback_that_raises_ends_the_run(mode, llm, docker):
    class FailingHandler(Recorder):
        def on_llm_new_token(self, token, **kwargs):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await ask(llm, mode, config={"callbacks": [FailingHandler()]})
    docker.wait_all_gone()


@pytest.mark.filterwarnings("ignore:astream_events version='v1'")
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_events_are_emitted_at_the_root_in_a_chain_and_in_a_node(version, llm, docker):
    async def node(prompt):
        return await llm.ainvoke(prompt)

    runnables = {
        "root": llm,
        "chain": PromptTemplate.from_template("{x}") | llm | str.upper,
        "node": RunnableLambda(node),
    }
    for name, runnable in runnables.items():
        chain_input = {"x": "hi"} if name == "chain" else "hi"
        events = [event async for event in runnable.astream_events(chain_input, version=version)]
        kinds = [event["event"] for event in events]
        assert kinds.count("on_llm_start") == kinds.count("on_llm_end") == 1, name
        assert kinds.count("on_llm_stream") > 1, name


async def test_tags_metadata_and_names_reach_the_run(llm, docker):
    config = {"tags": ["a-tag"], "metadata": {"a": 1}, "run_name": "a-name"}
    for mode in ONE_PROMPT:
        heard = Recorder()
        await ask(llm, mode, config=config | {"callbacks": [heard]})
        ((serialized, prompts, kwargs),) = heard.of("start")
        assert prompts == ["hi"]
        assert "a-tag" in kwargs["tags"]
        assert kwargs["name"] == "a-name"
        assert kwargs["metadata"]["a"] == 1
        assert kwargs["metadata"]["ls_provider"] == "docker_model"
        assert kwargs["metadata"]["ls_model_name"] == "ai/smollm2"
        assert kwargs["metadata"]["lc_versions"]["docker-model-llm"]
        assert "ai/smollm2" in serialized["repr"]


@pytest.mark.parametrize("mode", ONE_PROMPT)
async def test_no_secret_reaches_a_callback(mode, docker):
    heard = Recorder()
    env = {"TOKEN": "s3cr3t-value"}
    config = {"callbacks": [heard]}
    await ask(DockerModelLLM(model="ai/smollm2", env=env), mode, config=config)
    await ask(DockerModelLLM(model="ai/smollm2").bind(env=env), mode, config=config)
    assert len(heard.of("start")) == 2
    assert "s3cr3t" not in repr(heard.events)
