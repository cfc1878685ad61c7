"""Core's events: exactly one pair per call, however the call ends."""

from __future__ import annotations

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, TokenCountingHandler
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler

from docker_model import EmptyAnswerError, GenerationError
from docker_model.testing import Cut, Hang, SimulatedDocker, Text, Usage
from llama_index_docker_model import DockerModelLLM
from tests.support.llama_index_modes import HAS_PAYLOAD, STREAMS, needs_rate_limiter


class Log(BaseCallbackHandler):
    """A handler that records the callback events in order, and can raise an error at one."""

    def __init__(self, raise_at=None):
        super().__init__([], [])
        self.seen = []
        self.raise_at = raise_at

    def on_event_start(self, event_type, payload=None, event_id="", parent_id="", **kwargs):
        self.note("start", event_type, payload)
        return event_id

    def on_event_end(self, event_type, payload=None, event_id="", **kwargs):
        self.note("end", event_type, payload)

    def note(self, what, event_type, payload):
        if event_type != CBEventType.LLM:  # core sends an error as a separate event, too
            return
        self.seen.append((what, event_type, payload))
        if what == self.raise_at:
            raise ZeroDivisionError

    def start_trace(self, trace_id=None):
        pass

    def end_trace(self, trace_id=None, trace_map=None):
        pass


@pytest.fixture
def log(llm):
    handler = Log()
    llm.callback_manager = CallbackManager([handler])
    return handler


def observable_texts(llm):
    """Return what observability tools receive about a model."""
    return llm.to_payload() if HAS_PAYLOAD else llm.to_dict()


# --- A call that succeeds ---


async def test_a_call_sends_one_pair_of_callbacks(mode, llm, log, docker):
    responses = await mode(llm, "hi")
    (start, start_type, given), (end, end_type, ended) = log.seen
    assert (start, end) == ("start", "end")
    assert start_type == end_type == CBEventType.LLM
    if mode.is_chat:
        assert [message.content for message in given[EventPayload.MESSAGES]] == ["hi"]
        assert ended[EventPayload.RESPONSE] == responses[-1]
    else:
        assert given[EventPayload.PROMPT] == "hi"
        assert ended[EventPayload.COMPLETION] == responses[-1]
    assert given[EventPayload.ADDITIONAL_KWARGS] == {}
    assert given[EventPayload.SERIALIZED] == observable_texts(llm)


async def test_a_call_sends_instrumentation_events(mode, llm, seen, docker):
    responses = await mode(llm, "hi")
    kind = "LLMChat" if mode.is_chat else "LLMCompletion"
    between = [f"{kind}InProgressEvent"] * len(responses) if mode.is_stream else []
    assert seen.names == [f"{kind}StartEvent", *between, f"{kind}EndEvent"]
    assert seen.events[0].model_dict == observable_texts(llm)
    assert seen.events[-1].response == responses[-1]
    assert len({event.span_id for event in seen.events}) == 1
    for event in seen.events:
        event.model_dump_json()


async def test_a_call_opens_one_span(mode, llm, docker):
    spans = SimpleSpanHandler()
    dispatcher = get_dispatcher()
    dispatcher.span_handlers.append(spans)
    try:
        await mode(llm)
    finally:
        dispatcher.span_handlers.remove(spans)
    (span,) = spans.completed_spans
    assert span.id_.startswith(f"DockerModelLLM.{mode.name}-")
    assert span.parent_id is None
    assert spans.open_spans == {}


async def test_the_keywords_of_a_call_are_in_its_event(mode, llm, log, docker):
    await mode(llm, stop=["x"])
    assert log.seen[0][2][EventPayload.ADDITIONAL_KWARGS] == {"stop": ["x"]}


def test_the_payload_contains_the_model_and_no_secret(docker):
    llm = DockerModelLLM(model="ai/smollm2", env={"TOKEN": "hunter2"})
    payload = llm.to_payload()
    assert payload["model"] == payload["model_name"] == "ai/smollm2"
    assert payload["class_name"] == "DockerModelLLM"
    assert "hunter2" not in str(payload)


class Limiter:
    def __init__(self):
        self.calls = []

    def acquire(self):
        self.calls.append("acquire")

    async def async_acquire(self):
        self.calls.append("async_acquire")


@needs_rate_limiter
async def test_the_rate_limiter_is_acquired_once(mode, docker):
    limiter = Limiter()
    await mode(DockerModelLLM(model="ai/smollm2", rate_limiter=limiter))
    assert limiter.calls == ["async_acquire" if mode.is_async else "acquire"]


# --- A call that fails ---


async def test_a_failed_call_sends_the_error(mode, llm, log, seen):
    with SimulatedDocker(script=[Text("so far "), Cut()]), pytest.raises(GenerationError) as caught:
        await mode(llm)
    assert caught.value.partial == "so far "
    (start, _, _), (end, _, ended) = log.seen
    assert (start, end) == ("start", "end")
    assert ended == {EventPayload.EXCEPTION: caught.value}
    assert seen.names[-1] == ("ExceptionEvent" if mode.is_stream else "SpanDropEvent")
    assert not any(name.endswith("EndEvent") for name in seen.names)


async def test_an_empty_answer_sends_one_pair_of_callbacks(mode, llm, log):
    with SimulatedDocker(script=[]), pytest.raises(EmptyAnswerError):
        await mode(llm)
    assert [what for what, _, _ in log.seen] == ["start", "end"]


async def test_an_invalid_request_sends_one_pair_of_callbacks(mode, llm, log, docker):
    with pytest.raises(ValueError):
        await mode(llm, " ")
    (_, _, _), (_, _, ended) = log.seen
    assert isinstance(ended[EventPayload.EXCEPTION], ValueError)


@pytest.mark.parametrize("mode", STREAMS, ids=repr)
async def test_leaving_a_stream_early_sends_the_end_event(mode, llm, log, seen):
    with SimulatedDocker(script=[Text("once "), Hang()]) as docker:
        stream = mode.begin(llm)
        if mode.is_async:
            stream = await stream
            await anext(stream)
            await stream.aclose()
            await stream.aclose()
        else:
            next(stream)
            stream.close()
            stream.close()
        docker.wait_all_gone(5)
    (_, _, _), (end, _, ended) = log.seen
    assert end == "end"
    assert isinstance(ended[EventPayload.EXCEPTION], GeneratorExit)
    assert seen.names[-1] == "ExceptionEvent"


@pytest.mark.parametrize("moment", ["start", "end"])
async def test_a_handler_that_raises_leaves_no_process(mode, moment, llm):
    """At the start no process has started yet; at the end every process has ended."""
    llm.callback_manager = CallbackManager([Log(raise_at=moment)])
    with SimulatedDocker() as docker:
        with pytest.raises(ZeroDivisionError):
            await mode(llm)
        docker.wait_all_gone(5)
        assert len(docker.prompts) == (0 if moment == "start" else 1)


# --- Tokens ---


@pytest.fixture
def counter(llm):
    handler = TokenCountingHandler(tokenizer=str.split)
    llm.callback_manager = CallbackManager([handler])
    return handler


async def test_tokens_are_counted_from_usage(mode, llm, counter):
    with SimulatedDocker(script=["Hello.", Usage(11, 4)]):
        await mode(llm)
        await mode(llm)
    assert counter.prompt_llm_token_count == 22
    assert counter.completion_llm_token_count == 8
    assert counter.total_llm_token_count == 30
    assert len(counter.llm_token_counts) == 2


async def test_tokens_are_counted_from_the_text_without_usage(mode, llm, counter):
    with SimulatedDocker(script="one two three"):
        await mode(llm, "hi there")
    assert counter.completion_llm_token_count == (
        4 if mode.is_chat else 3
    )  # `assistant: ` counts, too
    assert counter.prompt_llm_token_count >= 2
