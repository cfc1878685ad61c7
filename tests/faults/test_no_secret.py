"""No text that leaves a call contains a marker from environment, key, prompt or answer.

Some parts of an error can contain parts of a prompt or an answer: `partial` is the answer so far,
`stderr` and `detail` are output of the command and the engine, and `references` are file names. No
other part of an error can contain a marker, and no part can contain a secret.
"""

import asyncio
import errno
import json
import logging
import pickle
import subprocess
import traceback

import pytest
from langchain_core.load import dumps
from langchain_core.messages import HumanMessage
from langchain_core.tracers.base import BaseTracer
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from pydantic import PrivateAttr

import docker_model
import langchain_docker_model
import llama_index_docker_model
from docker_model import DockerModel, DockerModelError, Timeouts
from docker_model._docker_cli.command_spec import CommandSpec
from docker_model.testing import Cut, Fail, Hang, Reasoning, SimulatedDocker, Stderr, Text
from docker_model.testing import Exit as ExitStep
from tests.support.platforms import posix_only

ENV, KEY = "marker-of-env", "marker-of-key"
SECRETS = {ENV, KEY}
PROMPT, ANSWER = "marker-of-prompt", "marker-of-answer"
MARKERS = SECRETS | {PROMPT, ANSWER}
QUOTING = {"partial", "stderr", "detail"}

pytestmark = [
    pytest.mark.simulated,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # core's warning for its own methods
]


def check_none_of(markers, *texts):
    for text in texts:
        assert not [marker for marker in markers if marker in text], text


def check_object(thing):
    check_none_of(MARKERS, repr(thing), str(thing), f"{thing}")


def check_error(error):
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    check_none_of(MARKERS, "".join(traceback.format_exception(error)))
    for link in chain:
        check_none_of(MARKERS, str(link), repr(link), repr(link.args))
        check_none_of(SECRETS, repr(vars(link)))
        check_none_of(MARKERS, repr({k: v for k, v in vars(link).items() if k not in QUOTING}))
    if isinstance(error, DockerModelError):
        check_none_of(SECRETS, pickle.dumps(error).decode("latin-1"))
        for name in QUOTING & vars(error).keys():
            setattr(error, name, "")
        check_none_of(MARKERS, pickle.dumps(error).decode("latin-1"))


# -- the callers -----------------------------------------------------------------------------


def core(**settings):
    model = DockerModel("ai/smollm2", **settings)
    stream, astream = model.stream(PROMPT), model.astream(PROMPT)
    for thing in (model, stream, astream, model._calls().request(PROMPT, None)):
        check_object(thing)
    check_object(CommandSpec.of(model.command, model.env))

    async def all_of():
        return [piece async for piece in astream]

    return [
        lambda: model.generate(PROMPT),
        lambda: list(stream),
        lambda: asyncio.run(model.agenerate(PROMPT)),
        lambda: asyncio.run(all_of()),
    ]


class Tracer(BaseTracer):
    """A tracer that stores the runs that a tracing service would receive."""

    def __init__(self):
        super().__init__()
        self.runs = []

    def _persist_run(self, run):
        self.runs.append(run)

    def check(self):
        assert self.runs
        for run in self.runs:
            sent = json.loads(run.model_dump_json())
            check_none_of(SECRETS, json.dumps(sent))
            # The framework itself sends the input and the output.
            for name in ("inputs", "outputs", "events"):
                sent.pop(name)
            check_none_of(MARKERS, json.dumps(sent))
        self.runs.clear()


class Traced:
    """A LangChain model whose every call is traced."""

    def __init__(self, llm, prompt):
        self.llm, self.prompt = llm, prompt
        check_object(llm)
        check_none_of(SECRETS, dumps(llm), repr(llm.dict()))

    def modes(self):
        async def all_of(config):
            return [piece async for piece in self.llm.astream(self.prompt, config)]

        for call in (
            lambda config: self.llm.invoke(self.prompt, config),
            lambda config: list(self.llm.stream(self.prompt, config)),
            lambda config: asyncio.run(self.llm.ainvoke(self.prompt, config)),
            lambda config: asyncio.run(all_of(config)),
            lambda config: self.llm.batch([self.prompt, self.prompt], config),
        ):
            yield lambda call=call: self.traced(call)

    def traced(self, call):
        tracer = Tracer()
        try:
            return call({"callbacks": [tracer]})
        finally:
            tracer.check()


def langchain(**settings):
    llm = langchain_docker_model.DockerModelLLM(model="ai/smollm2", **settings)
    return Traced(llm, PROMPT).modes()


def langchain_chat(**settings):
    llm = langchain_docker_model.ChatDockerModel(model="ai/smollm2", **settings)
    return Traced(llm, [HumanMessage(PROMPT)]).modes()


class Events(BaseEventHandler):
    """The LlamaIndex events of a call, which can contain the prompt and the answer."""

    _events: list = PrivateAttr(default_factory=list)

    def handle(self, event, **kwargs):
        self._events.append(event)

    def check(self):
        for event in self._events:
            check_none_of(SECRETS, repr(event), event.model_dump_json(fallback=repr))
            if type(event).__name__ == "ExceptionEvent":
                check_error(event.exception)
        self._events.clear()


def llama_index(**settings):
    debug = LlamaDebugHandler(print_trace_on_end=False)
    llm = llama_index_docker_model.DockerModelLLM(
        model="ai/smollm2", callback_manager=CallbackManager([debug]), **settings
    )
    check_object(llm)
    check_none_of(MARKERS, llm.to_json(), repr(llm.to_dict()), repr(llm.metadata))
    events = Events()

    def with_events(call):
        root = get_dispatcher()
        root.add_event_handler(events)
        try:
            return call()
        finally:
            root.event_handlers.remove(events)
            events.check()
            check_none_of(SECRETS, repr(debug.get_events()))

    async def all_of():
        return [piece async for piece in await llm.astream_complete(PROMPT)]

    for call in (
        lambda: llm.complete(PROMPT),
        lambda: list(llm.stream_complete(PROMPT)),
        lambda: asyncio.run(llm.acomplete(PROMPT)),
        lambda: asyncio.run(all_of()),
    ):
        yield lambda call=call: with_events(call)


CLI = {"core": core, "langchain": langchain, "llama_index": llama_index}
HTTP = {"core": core, "langchain": langchain_chat, "llama_index": llama_index}


def check_ends(calls, kind=None):
    """Make each call; each one succeeds, or fails with an error of this class."""
    for call in calls:
        if kind is None:
            assert ANSWER in repr(call())
        else:
            with pytest.raises(DockerModelError) as caught:
                call()
            assert isinstance(caught.value, getattr(docker_model, kind)), caught.value
            check_error(caught.value)


@pytest.fixture(autouse=True)
def logged(caplog):
    """Collect all log records of every logger and level."""
    caplog.set_level(logging.DEBUG)
    yield
    check_none_of(MARKERS, caplog.text)
    for record in caplog.records:
        check_none_of(MARKERS, repr(vars(record)))


# -- scenes ----------------------------------------------------------------------------------

# Quotations by engines. Over HTTP, the text before the JSON is part of the message.
QUOTED = f'Missing content; message = {{"role":"user","content":"{PROMPT} {ANSWER}"}}'
SCENES = {
    "a success": (None, [Reasoning(ANSWER, 99), Text(ANSWER, 99)]),
    "out of memory": ("ModelLoadError", [Fail.out_of_memory()]),
    "too long": ("ContextLengthError", [Fail.context_too_long()]),
    "off": ("RunnerUnavailableError", [Fail.not_running()]),
    "a failure": ("GenerationError", [Fail(QUOTED)]),
    "a refusal": ("DockerModelError", [Fail(QUOTED, 400)]),
    "a broken answer": ("GenerationError", [Text(ANSWER), Cut()]),
    "nothing": ("EmptyAnswerError", []),
    "too late": ("GenerationTimeoutError", [Text(ANSWER), Hang()]),
}
OF_THE_COMMAND = {
    "a message": ("GenerationError", [Text(ANSWER), Stderr(QUOTED + "\n"), ExitStep(7)]),
}
TIMEOUTS = {"too late": Timeouts(idle=0.3)}


@pytest.mark.parametrize("caller", CLI)
@pytest.mark.parametrize("scene", SCENES | OF_THE_COMMAND)
def test_a_command_call_shows_no_secret(scene, caller):
    kind, script = (SCENES | OF_THE_COMMAND)[scene]
    with SimulatedDocker(script=script):
        check_ends(CLI[caller](env={"TOKEN": ENV}, timeout=TIMEOUTS.get(scene)), kind)


# A chat may have an empty answer, and a request to a stopped runner is retried for minutes.
OVER_HTTP = SCENES.keys() - {"nothing", "off"}


@pytest.mark.parametrize("caller", HTTP)
@pytest.mark.parametrize("scene", sorted(OVER_HTTP))
def test_an_http_call_shows_no_secret(scene, caller):
    kind, script = SCENES[scene]
    with SimulatedDocker(script=script) as docker:
        settings = {"env": {"TOKEN": ENV}, "base_url": docker.url, "api_key": KEY}
        check_ends(HTTP[caller](**settings, timeout=TIMEOUTS.get(scene)), kind)


BROKEN = {
    "no-docker": "DockerNotFoundError",
    "no-plugin": "PluginNotFoundError",
    "no-engine": "DockerModelError",
    "refused": "RunnerUnavailableError",
    "runner-off": "RunnerUnavailableError",
}


@pytest.mark.parametrize("caller", CLI)
@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_machine_shows_no_secret(how, caller):
    with SimulatedDocker.broken(how):
        check_ends(CLI[caller](env={"TOKEN": ENV}), BROKEN[how])


@pytest.mark.parametrize("caller", CLI)
def test_a_failure_before_the_run_shows_no_secret(caller):
    settings = {"env": {"TOKEN": ENV}}
    with SimulatedDocker(models=(), pullable={"ai/smollm2": [Fail(QUOTED)]}):
        check_ends(CLI[caller](**settings), "ModelNotFoundError")
        check_ends(CLI[caller](**settings, pull="missing"), "PullError")


@posix_only("processes start by subprocess.Popen")
@pytest.mark.parametrize("caller", CLI)
def test_a_failed_start_shows_no_secret(caller, monkeypatch):
    def exhausted(*args, **kwargs):
        raise OSError(errno.EMFILE, "Too many open files")

    with SimulatedDocker():
        calls = CLI[caller](env={"TOKEN": ENV})
        monkeypatch.setattr(subprocess, "Popen", exhausted)
        check_ends(calls, "ResourceError")


def test_a_refused_request_shows_no_secret(tmp_path):
    named = tmp_path / "note.txt"
    named.write_text(ANSWER)
    model = DockerModel("ai/smollm2", env={"TOKEN": ENV}, file_references="refuse")
    attempts = [
        lambda: model.generate(f"{PROMPT} \ud800"),
        lambda: model.generate(f"{PROMPT} @{named}"),
        lambda: model.generate(PROMPT, stop=""),
        lambda: DockerModel("ai/smollm2", env={"TOKEN": f"{ENV}\0"}),
        lambda: DockerModel("ai/smollm2", env={"TOKEN": ENV}, max_chars=0),
        lambda: DockerModel("ai/smollm2", transport="cli", api_key=KEY, env={"TOKEN": ENV}),
        lambda: DockerModel("ai/smollm2", base_url="no address", api_key=KEY),
        lambda: DockerModel("ai/smollm2", base_url="http://[", api_key=f"{KEY}\n"),
        lambda: DockerModel("ai/smollm2", base_url=f"http://me:{KEY}@localhost:bad"),
    ]
    for attempt in attempts:
        with pytest.raises(DockerModelError) as caught:
            attempt()
        check_error(caught.value)


@pytest.mark.parametrize(
    "make", [langchain_docker_model.DockerModelLLM, llama_index_docker_model.DockerModelLLM]
)
@pytest.mark.parametrize("bad", [{"max_chars": 0}, {"env": {"TOKEN": f"{ENV}\0"}}, {"odd": 1}])
def test_a_refused_setting_shows_no_secret(make, bad):
    with pytest.raises(ValueError) as caught:
        make(**{"model": "ai/smollm2", "env": {"TOKEN": ENV}, "api_key": KEY, **bad})
    check_error(caught.value)
