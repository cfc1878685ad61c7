"""The stages of a call that `on_progress` receives."""

import asyncio
import threading

import pytest

from docker_model import DockerModel, Progress, PullProgress, Timeouts
from docker_model.errors import GenerationTimeoutError
from docker_model.http import Client
from docker_model.progress import AsyncProgressRelay
from docker_model.testing import Event, SimulatedDocker, Sleep, Text
from tests.support.loading import loading_docker
from tests.support.patience import patiently

MODEL = "ai/smollm2"
CHAT = [{"role": "user", "content": "Hello"}]


def stages(heard):
    return [progress.stage for progress in heard]


def part(done, total):
    """Return a chunk in which llama.cpp reports how much of the prompt it has read."""
    delta = {"role": "assistant", "content": None}
    return Event(
        {
            "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
            "prompt_progress": {"total": total, "processed": done, "cache": 0, "time_ms": 1},
        }
    )


def paths(docker):
    return [request.path for request in docker.requests]


def test_a_prompt_over_http_reports_how_much_of_it_is_read():
    heard = []
    with SimulatedDocker(script="Yes."):
        model = DockerModel(MODEL, transport="http", on_progress=heard.append)
        assert model.generate("word " * 5000).text == "Yes."
    assert stages(heard) == ["prompt", "prompt", "prompt", "first_token", "speed"]
    assert [progress.current for progress in heard[:3]] == [2048, 4096, 5007]
    assert [progress.percent for progress in heard[:3]] == [40, 81, 100]
    assert heard[-1].tokens_per_second == pytest.approx(100)


@pytest.mark.parametrize("ask", ["stream_chat", "chat", "astream_chat", "achat"])
def test_every_form_of_a_chat_reports_its_stages(ask):
    heard = []
    with SimulatedDocker(script="Yes."):
        client = Client(on_progress=heard.append)
        if ask == "stream_chat":
            chunks = list(client.stream_chat(MODEL, CHAT))
            assert not any("prompt_progress" in chunk for chunk in chunks)
        elif ask == "chat":
            client.chat(MODEL, CHAT)
        elif ask == "achat":
            asyncio.run(client.achat(MODEL, CHAT))
        else:

            async def collect():
                return [chunk async for chunk in client.astream_chat(MODEL, CHAT)]

            asyncio.run(collect())
    assert stages(heard) == ["prompt", "first_token", "speed"]


@pytest.mark.parametrize("transport", ["cli", "http"])
def test_loading_of_a_model_is_reported(transport):
    heard = []
    with loading_docker():
        DockerModel(MODEL, transport=transport, on_progress=heard.append).generate("Hello")
    assert stages(heard)[0] == "load"
    assert "first_token" in stages(heard)


@pytest.mark.parametrize("transport", ["cli", "http"])
def test_progress_is_not_requested_without_a_listener(transport):
    with SimulatedDocker(script=[Sleep(1.5), Text("Yes.")]) as docker:
        DockerModel(MODEL, transport=transport).generate("Hello")
    assert not any(path.startswith("/engines/ps") for path in paths(docker))
    bodies = [request.body for request in docker.requests if request.path.endswith("completions")]
    assert "return_progress" not in bodies[-1]


@pytest.mark.parametrize("transport", ["cli", "http"])
def test_waiting_in_the_queue_is_reported(transport):
    heard = []
    started = threading.Event()
    with SimulatedDocker(script=[Text("One "), Sleep(0.5), Text("two.")]):
        first = DockerModel(MODEL, transport=transport, max_concurrency=1)

        def run():
            for _ in first.stream("Hello"):
                started.set()

        thread = threading.Thread(target=run)
        thread.start()
        assert started.wait(60)
        second = DockerModel(
            MODEL, transport=transport, max_concurrency=1, on_progress=heard.append
        )
        second.generate("Hello")
        thread.join()
    assert stages(heard)[0] == "queue"


def test_a_pull_is_reported_before_the_other_stages():
    heard = []
    with SimulatedDocker([], pullable=[MODEL]):
        DockerModel(MODEL, transport="http", pull="missing", on_progress=heard.append).generate(
            "Hello"
        )
    assert stages(heard)[0] == "pull"
    assert stages(heard)[-2:] == ["first_token", "speed"]
    assert all(isinstance(progress, PullProgress) for progress in heard)


def test_reading_a_long_prompt_causes_no_timeout():
    def check(scale):
        gap = Sleep(0.3 * scale)
        script = [*[step for n in range(6) for step in (part(n, 6), gap)], Text("Yes.")]
        limits = Timeouts(first_output=0.9 * scale, idle=0.1 * scale)
        with SimulatedDocker(script=script):
            model = DockerModel(MODEL, transport="http", timeout=limits)
            assert model.generate("Hello").text == "Yes."

    patiently(check)


def test_a_prompt_that_is_no_longer_read_times_out_in_first_output():
    with SimulatedDocker(script=[part(1, 6), Sleep(5), Text("Yes.")]):
        model = DockerModel(MODEL, transport="http", timeout=Timeouts(first_output=0.3, idle=9))
        with pytest.raises(GenerationTimeoutError) as caught:
            model.generate("Hello")
    assert caught.value.phase == "first_output"


@pytest.mark.parametrize("transport", ["cli", "http"])
@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_an_error_of_the_listener_ends_only_its_own_call(transport, error):
    def listen(progress: Progress) -> None:
        raise error(progress.stage)

    with SimulatedDocker(script="Yes."):
        with pytest.raises(error):
            DockerModel(MODEL, transport=transport, on_progress=listen).generate("Hello")
        assert DockerModel(MODEL, transport=transport).generate("Hello").text == "Yes."


def test_an_error_of_the_listener_during_loading_ends_its_call():
    def listen(progress: Progress) -> None:
        raise SystemExit(progress.stage)

    with loading_docker():
        with pytest.raises(SystemExit, match="load"):
            DockerModel(MODEL, transport="http", on_progress=listen).generate("Hello")
        assert DockerModel(MODEL, transport="http").generate("Hello").text == "Yes."


def test_a_percentage_is_unknown_without_a_total():
    assert Progress(MODEL, "Downloading", 5).percent is None
    assert Progress(MODEL, "Downloading", 5, 0).percent is None
    assert Progress(MODEL, "Downloading", 1, 3).percent == 33


async def test_a_step_that_comes_as_a_call_ends_is_delivered():
    delivered = []

    async def deliver(progress):
        delivered.append(progress.stage)

    async with AsyncProgressRelay(deliver, None) as relay:
        relay(Progress(MODEL, "loading the model", stage="load"))
        relay(Progress(MODEL, "100.0 tokens per second", stage="speed"))
    assert delivered == ["load", "speed"]
