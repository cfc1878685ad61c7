"""A runner without free memory unloads another model if `when_full` allows it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from docker_model.errors import GenerationError, InvalidRequestError, ModelLoadError
from docker_model.http import Client
from docker_model.http.room import longest_idle
from docker_model.testing import Reply, SimulatedDocker, Text
from tests.support.runner_failures import (
    KILLED_AT_ITS_START,
    KILLED_WHILE_ANSWERING,
    KILLED_WHILE_LOADING,
    OUT_OF_MEMORY,
)

CHAT = [{"role": "user", "content": "Hello"}]
FULL = "unable to load runner: llama.cpp failed: not enough GPU memory to load the model (CUDA)"


class FullRunner(SimulatedDocker):
    """A runner with memory for one model, and another model loaded.

    Attributes:
        loaded: The entries of `GET /engines/ps`.
        unloaded: The names of the models that were unloaded.
    """

    def __init__(self, refusal=FULL):
        super().__init__(
            ["ai/old", "ai/new"],
            script=lambda _prompt: Reply(500, refusal) if self.loaded else Text("Hi."),
            replies={
                "GET /engines/ps": lambda _request: Reply(body=self.loaded),
                "POST /engines/unload": self._unload,
            },
        )
        self.loaded = [entry("docker.io/ai/old:latest", 1)]
        self.unloaded = ()

    def _unload(self, request):
        self.unloaded = (*self.unloaded, *request.body["models"])
        self.loaded = []
        return Reply(body={"unloaded_runners": 1})


def entry(name, used, **more):
    return {"backend_name": "llama.cpp", "model_name": name, "mode": "completion"} | {
        "last_used": f"2026-01-0{used}T00:00:00Z",
        **more,
    }


@pytest.fixture
def runner():
    with FullRunner() as docker:
        yield docker


async def test_an_idle_model_is_unloaded_and_the_request_is_repeated(runner):
    client = Client(base_url=runner.url, when_full="unload")
    reply = client.chat("ai/new", CHAT)
    assert reply["choices"][0]["message"]["content"] == "Hi."
    assert reply["docker_model"] == {"unloaded": ["ai/old"]}
    assert runner.unloaded == ("docker.io/ai/old:latest",)
    assert "docker_model" not in await client.achat("ai/new", CHAT)


@pytest.mark.parametrize(
    "refusal", [*OUT_OF_MEMORY, KILLED_AT_ITS_START, KILLED_WHILE_LOADING], ids=range(6)
)
def test_an_engine_without_memory_or_killed_while_it_loaded_is_a_full_runner(refusal):
    with FullRunner(refusal) as docker:
        reply = Client(base_url=docker.url, when_full="unload").chat("ai/new", CHAT)
    assert reply["docker_model"] == {"unloaded": ["ai/old"]}


@pytest.mark.parametrize("refusal", [KILLED_WHILE_ANSWERING, f"{KILLED_WHILE_LOADING} an error"])
def test_an_engine_that_failed_for_another_reason_unloads_no_model(refusal):
    with FullRunner(refusal) as docker:
        with pytest.raises((GenerationError, ModelLoadError)):
            Client(base_url=docker.url, when_full="unload").chat("ai/new", CHAT)
        assert docker.unloaded == ()


async def test_the_last_chunk_of_a_stream_names_the_unloaded_model(runner):
    client = Client(base_url=runner.url, when_full="unload")
    chunks = [chunk async for chunk in client.astream_chat("ai/new", CHAT)]
    noted = [chunk["docker_model"] for chunk in chunks if "docker_model" in chunk]
    assert noted == [{"unloaded": ["ai/old"]}]


def test_making_room_needs_no_further_place_among_the_requests(runner):
    client = Client(base_url=runner.url, when_full="unload", max_concurrency=1)
    assert client.chat("ai/new", CHAT)["docker_model"] == {"unloaded": ["ai/old"]}


class SmallRunner(SimulatedDocker):
    """A runner that has room for one model, and loads whatever is asked if there is room.

    It refuses the first two requests, after both have arrived. Then a model is loaded half a second
    later, or as soon as another request makes room.

    Attributes:
        loaded: The model that is loaded; empty if none is.
        unloaded: The names of the models that were unloaded.
    """

    def __init__(self):
        super().__init__(
            ["ai/old", "ai/a", "ai/b"],
            replies={
                "GET /engines/ps": lambda _request: self._list(),
                "POST /engines/unload": self._unload,
                "POST /engines/v1/embeddings": self._answer,
            },
        )
        self.loaded, self.unloaded = "ai/old", []
        self._asked = threading.Semaphore(0)
        self._both = threading.Barrier(2)

    def _list(self):
        self._asked.release()
        return Reply(body=[entry(self.loaded, 1)] if self.loaded else [])

    def _unload(self, request):
        self.unloaded += request.body["models"]
        self.loaded, self._asked = "", threading.Semaphore(0)
        return Reply(body={"unloaded_runners": 1})

    def _answer(self, request):
        model = request.body["model"]
        if self.loaded == "ai/old":
            self._both.wait(30)
            return Reply(500, FULL)
        if self.loaded == "":
            self._asked.acquire(timeout=0.5)
        if self.loaded not in ("", model):
            return Reply(500, FULL)
        self.loaded = model
        return Reply(body={"data": [{"index": 0, "embedding": [1.0]}]})


def test_two_requests_do_not_unload_the_model_of_each_other():
    with SmallRunner() as docker, ThreadPoolExecutor() as threads:
        client = Client(base_url=docker.url, when_full="unload")
        requests = [threads.submit(client.embed, model, ["x"]) for model in ("ai/a", "ai/b")]
        assert [future.result(30) for future in requests] == [[[1.0]], [[1.0]]]
        assert docker.unloaded[0] == "ai/old"
        assert len(docker.unloaded) == 2


def test_no_model_is_unloaded_by_default(runner):
    with pytest.raises(ModelLoadError, match="not enough memory"):
        Client(base_url=runner.url).chat("ai/new", CHAT)
    assert runner.unloaded == ()


@pytest.mark.parametrize("state", [{"in_use": True}, {"loading": True}, {"keep_alive": "-1"}])
def test_a_model_that_is_in_use_or_kept_loaded_is_not_unloaded(runner, state):
    runner.loaded = [entry("docker.io/ai/old:latest", 1, **state)]
    with pytest.raises(ModelLoadError, match="not enough memory"):
        Client(base_url=runner.url, when_full="unload").chat("ai/new", CHAT)
    assert runner.unloaded == ()


def test_the_model_that_was_idle_longest_is_unloaded():
    loaded = [entry("ai/b", 2), entry("ai/a", 1, in_use=True), entry("ai/c", 3), entry("ai/d", 1)]
    assert longest_idle(loaded, "ai/new") == "ai/d"
    assert longest_idle(loaded, "ai/d") == "ai/b"
    assert longest_idle([], "ai/new") == ""


def test_an_invalid_setting_is_named():
    with pytest.raises(InvalidRequestError, match="when_full") as caught:
        Client(when_full="wait")
    assert caught.value.hint
