"""Progress of a call as custom events of LangChain."""

import threading

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler

from docker_model.testing import SimulatedDocker
from langchain_docker_model import ChatDockerModel, DockerModelLLM
from tests.support.loading import loading_docker

MODEL = "ai/smollm2"
LONG = "word " * 3000
STAGES = ["prompt", "prompt", "first_token", "speed"]


class Listener(BaseCallbackHandler):
    """A handler that records the stages."""

    def __init__(self):
        self.stages = []
        self.runs = set()
        self.threads = set()

    def on_chat_model_start(self, *args, run_id, **kwargs):
        self.runs.add(run_id)

    def on_custom_event(self, name, data, *, run_id, **kwargs):
        assert name == "docker_model_progress"
        assert data["model"] == MODEL
        self.stages.append(data["stage"])
        self.runs.add(run_id)
        self.threads.add(threading.current_thread().name)


class AsyncListener(AsyncCallbackHandler):
    """An async handler that records the stages."""

    def __init__(self):
        self.stages = []

    async def on_custom_event(self, name, data, **kwargs):
        self.stages.append(data["stage"])


class HandlerWithoutCustomEvents(BaseCallbackHandler):
    """A handler that accepts no custom events."""


class FailingListener(BaseCallbackHandler):
    """A handler that raises an error, which `raise_error` lets core pass on."""

    raise_error = True

    def on_custom_event(self, *args, **kwargs):
        raise ZeroDivisionError


@pytest.fixture
def docker():
    with SimulatedDocker(script="Yes.") as docker:
        yield docker


@pytest.mark.parametrize("call", ["invoke", "stream"])
def test_a_sync_chat_sends_events_of_its_run(docker, call):
    listener = Listener()
    result = getattr(ChatDockerModel(model=MODEL), call)(LONG, {"callbacks": [listener]})
    text = result.text if call == "invoke" else "".join(chunk.text for chunk in result)
    assert text == "Yes."
    assert listener.stages == STAGES
    assert len(listener.runs) == 1
    assert "docker-model-io" not in listener.threads


@pytest.mark.parametrize("call", ["ainvoke", "astream"])
@pytest.mark.parametrize("kind", [Listener, AsyncListener])
async def test_an_async_chat_sends_events(docker, call, kind):
    listener = kind()
    chat = ChatDockerModel(model=MODEL)
    if call == "ainvoke":
        await chat.ainvoke(LONG, {"callbacks": [listener]})
    else:
        assert [chunk async for chunk in chat.astream(LONG, {"callbacks": [listener]})]
    assert listener.stages == STAGES


async def test_astream_events_has_the_progress_before_the_answer(docker):
    events = [event async for event in ChatDockerModel(model=MODEL).astream_events(LONG)]
    names = [
        event["data"]["stage"] if event["event"] == "on_custom_event" else event["event"]
        for event in events
    ]
    assert names.index("prompt") < names.index("on_chat_model_stream")
    assert {event["name"] for event in events if event["event"] == "on_custom_event"} == {
        "docker_model_progress"
    }


@pytest.mark.parametrize("call", ["invoke", "stream"])
def test_a_prompt_sends_events(docker, call):
    listener = Listener()
    llm = DockerModelLLM(model=MODEL, transport="http")
    assert list(getattr(llm, call)(LONG, {"callbacks": [listener]}))
    assert listener.stages == STAGES


async def test_an_async_prompt_sends_events(docker):
    listener, other = Listener(), AsyncListener()
    llm = DockerModelLLM(model=MODEL, transport="http")
    await llm.ainvoke(LONG, {"callbacks": [listener]})
    assert [text async for text in llm.astream("other " * 3000, {"callbacks": [other]})]
    assert listener.stages == other.stages == STAGES


@pytest.mark.parametrize("kind", [ChatDockerModel, DockerModelLLM])
def test_loading_a_model_over_the_command_sends_events(kind):
    listener = Listener()
    with loading_docker():
        kind(model=MODEL, transport="cli").invoke("Hi", {"callbacks": [listener]})
    assert listener.stages == ["load", "first_token"]


async def test_an_immediate_answer_sends_no_events(docker):
    listener, other = Listener(), AsyncListener()
    chat = ChatDockerModel(model=MODEL)
    chat.invoke("Hi", {"callbacks": [listener]})
    await chat.ainvoke("Hi", {"callbacks": [other]})
    assert listener.stages == other.stages == []


def test_on_progress_and_handlers_receive_the_same_stages(docker):
    heard, listener = [], Listener()
    chat = ChatDockerModel(model=MODEL, on_progress=heard.append)
    chat.invoke(LONG, {"callbacks": [listener]})
    assert [progress.stage for progress in heard] == listener.stages == STAGES


@pytest.mark.parametrize("callbacks", [[], [HandlerWithoutCustomEvents()]])
def test_progress_is_not_requested_without_a_handler(docker, callbacks):
    ChatDockerModel(model=MODEL).invoke(LONG, {"callbacks": callbacks})
    assert "return_progress" not in docker.requests[-1].body


@pytest.mark.parametrize(
    "model", [ChatDockerModel(model=MODEL), DockerModelLLM(model=MODEL, transport="http")]
)
def test_an_error_of_a_handler_that_raises_is_raised(docker, model):
    with pytest.raises(ZeroDivisionError):
        model.invoke(LONG, {"callbacks": [FailingListener()]})


def test_leaving_a_stream_early_leaves_no_thread(docker):
    for _ in ChatDockerModel(model=MODEL).stream(LONG, {"callbacks": [Listener()]}):
        break
    for thread in threading.enumerate():
        if thread.name == "docker-model-progress":
            thread.join(60)
            assert not thread.is_alive()
