"""Progress of a call as instrumentation events of LlamaIndex."""

import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import ChatMessage

from docker_model.testing import SimulatedDocker
from llama_index_docker_model import DockerModelLLM, DockerModelProgressEvent
from tests.support.loading import loading_docker

MODEL = "ai/smollm2"
LONG = "word " * 3000
STAGES = ["prompt", "prompt", "first_token", "speed"]
CHAT = [ChatMessage(LONG, role="user")]


class Listener(BaseEventHandler):
    """A handler that records the events."""

    events: list = []  # noqa: RUF012  pydantic copies it

    @classmethod
    def class_name(cls):
        return "Listener"

    def handle(self, event, **kwargs):
        self.events.append(event)

    @property
    def progress(self):
        return [event for event in self.events if isinstance(event, DockerModelProgressEvent)]

    @property
    def stages(self):
        return [event.stage for event in self.progress]


@pytest.fixture
def docker():
    with SimulatedDocker(script="Yes.") as docker:
        yield docker


@pytest.fixture
def listener():
    listener, root = Listener(), get_dispatcher()
    root.add_event_handler(listener)
    yield listener
    root.event_handlers.remove(listener)


def over_http():
    return DockerModelLLM(model=MODEL, transport="http")


@pytest.mark.parametrize("call", ["chat", "stream_chat", "complete", "stream_complete"])
def test_every_sync_call_sends_events(docker, listener, call):
    prompt = CHAT if call.endswith("chat") else LONG
    result = getattr(over_http(), call)(prompt)
    if call.startswith("stream"):
        assert list(result)
    assert listener.stages == STAGES
    assert {event.model for event in listener.progress} == {MODEL}


@pytest.mark.parametrize("call", ["achat", "astream_chat", "acomplete", "astream_complete"])
async def test_every_async_call_sends_events(docker, listener, call):
    prompt = CHAT if call.endswith("chat") else LONG
    result = await getattr(over_http(), call)(prompt)
    if call.startswith("astream"):
        assert [response async for response in result]
    assert listener.stages == STAGES


def test_events_belong_to_the_span_of_their_call(docker, listener):
    over_http().chat(CHAT)
    assert listener.stages == STAGES
    spans = {event.span_id for event in listener.events}
    assert len(spans) == 1
    assert spans != {""}


def test_loading_a_model_over_the_command_sends_events(listener):
    with loading_docker():
        DockerModelLLM(model=MODEL).complete("Hi")
    assert listener.stages == ["load", "first_token"]


def test_an_immediate_answer_sends_no_events(docker, listener):
    over_http().complete("Hi")
    DockerModelLLM(model=MODEL).complete("Hi")
    assert listener.progress == []


def test_progress_is_not_requested_without_a_handler(docker):
    over_http().chat(CHAT)
    assert "return_progress" not in docker.requests[-1].body
