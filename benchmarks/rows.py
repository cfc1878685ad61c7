"""The rows of the table of features, each with its test for one class and one runner."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from classes import HEADERS, SAMPLING, City, Contender, NotOffered
from pydantic import BaseModel

from docker_model.testing import Cut, Fail, Hang, Reasoning, Reply, SimulatedDocker, Text, ToolCall
from docker_model.testing.steps import letter_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODEL = "ai/smollm2"
ABSENT = "ai/absent"
UNUSED_ADDRESS = "http://127.0.0.1:1"  # no server listens there
SOON = 3.0


@dataclass
class Scene:
    """A runner, and one class that uses it.

    Attributes:
        docker: The simulation; `None` if the runner is real.
        url: The runner's address.
        ollama: The address of its Ollama API.
    """

    contender: Contender
    docker: SimulatedDocker | None
    url: str
    ollama: str

    def make(self, model: str = MODEL, url: str | None = None, **settings: Any) -> Any:
        """Return an object of the class, connected to the runner."""
        address = self.ollama if self.contender.ollama else self.url
        brief = {} if self.docker else self.contender.brief
        return self.contender.make(url or address, model, **(brief | settings))

    def ask(self, llm: Any, prompt: str = "Hi") -> str:
        """Return the answer's text."""
        return self.contender.ask(llm, prompt)[0]

    def address(self, path: str = "") -> dict[str, Any]:
        """Return the settings that connect a class of ours to the runner without `docker`."""
        if not self.contender.ours:
            return {}
        if "base_url" not in type(self.make()).model_fields:
            raise NotOffered
        return {"base_url": self.url + path}

    @property
    def simulated(self) -> SimulatedDocker:
        """Return the simulation, for rows that a real runner cannot show."""
        assert self.docker is not None
        return self.docker

    def last_body(self) -> dict[str, Any]:
        """Return the body of the last request to the model."""
        requests = [request for request in self.simulated.requests if request.prompt is not None]
        return requests[-1].body


def error_of(act: Callable[[], object]) -> Exception | None:
    """Return the error of a call, or `None`."""
    try:
        act()
    except Exception as error:  # noqa: BLE001  the error is the result
        return error
    return None


@dataclass(frozen=True)
class Row:
    """A feature; the attributes are those of `row`."""

    title: str
    key: str
    run: Callable[[Scene, dict[str, Any]], bool | str]
    script: Any
    real: bool
    replies: dict[str, Reply] | None


ROWS: list[Row] = []


def row(title: str, key: str = "", *, script: Any = "Yes.", real: bool = False, replies=None):
    """Register this function as the test of a row.

    Args:
        title: The first cell.
        key: The key of a class's `switches` with the settings that enable the feature.
        script: The script of the simulated model.
        real: Whether a real runner can show the row.
        replies: Replies of the simulated runner that replace its own.
    """

    def register(run: Any) -> Any:
        ROWS.append(Row(title, key, run, script, real, replies))
        return run

    return register


def leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield all named values in an object, at any depth."""
    if isinstance(value, BaseModel):
        value = dict(value)  # includes extra fields
    if isinstance(value, dict):
        for name, item in value.items():
            yield str(name), item
            yield from leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)


def answers(scene: Scene, _: Any) -> bool:
    """Return whether the model answers."""
    return bool(scene.ask(scene.make()))


# --- Getting started ---


@row("needs only a model name", real=True)
def configured(scene: Scene, _: Any) -> bool:
    bare = dataclasses.replace(scene.contender, address=lambda _: {})
    return answers(dataclasses.replace(scene, contender=bare), _)


@row("works without the runner's TCP port, over the command")
def portless(scene: Scene, _: Any) -> bool:
    if not scene.contender.ours:
        return configured(scene, _)
    over_cli = {"transport": "cli"} if scene.contender.name.startswith("Chat") else {}
    command = os.environ.get("DOCKER_MODEL_COMMAND", "docker model")
    os.environ["DOCKER_MODEL_COMMAND"] = f"env MODEL_RUNNER_HOST={scene.url} {command}"
    os.environ["MODEL_RUNNER_HOST"] = UNUSED_ADDRESS
    return bool(scene.ask(scene.make(**over_cli)))


@row("lists the models", real=True)
def discovery(scene: Scene, _: Any) -> bool | str:
    llm = scene.make()
    if hasattr(llm, "list_models"):
        return MODEL in " ".join(model.name for model in llm.list_models())
    client = getattr(llm, "root_client", None) or getattr(llm, "client", None)
    if scene.contender.ours:
        from docker_model import list_models

        return MODEL in " ".join(model.name for model in list_models())
    models = getattr(client, "models", client)
    if not hasattr(models, "list"):
        return False
    return "through its client" if MODEL in str(models.list()) else False


@row("pulls a missing model, with progress")
def pulls(scene: Scene, _: Any) -> bool | str:
    if scene.contender.ours:
        seen: list[Any] = []
        llm = scene.make(ABSENT, pull="missing", on_progress=seen.append)
        return bool(scene.ask(llm)) and any(progress.current for progress in seen)
    client = getattr(scene.make(ABSENT), "client", None)
    if not hasattr(client, "pull"):
        return False
    steps = list(client.pull(ABSENT, stream=True))
    return "through its client" if any(step.completed for step in steps) else False


@row("sets the model's context size", "context size", script="Yes.")
def context_size(scene: Scene, settings: dict[str, Any]) -> bool:
    if scene.contender.ours:
        from docker_model import configure_model

        configure_model(MODEL, context_size=8192)
    else:
        scene.ask(scene.make(**settings))
    bodies = [sent.body for sent in scene.simulated.requests if sent.path == "/engines/_configure"]
    return any(body and 8192 in body.values() for body in bodies)


# --- Answers ---


@row("streams", real=True)
def streams(scene: Scene, _: Any) -> bool:
    return bool(list(scene.contender.stream(scene.make(), "Hi")))


@row("reasoning separate from the answer", "reasoning", script=[Reasoning("Hm."), Text("Yes.")])
def reasoning(scene: Scene, settings: dict[str, Any]) -> bool:
    text, metadata = scene.contender.ask(scene.make(**settings), "Hi")
    thought = [value for _, value in leaves(metadata) if value == "Hm."]
    if text == "Yes." and not thought and "Hm." in str(getattr(metadata, "raw", "")):
        return "in `raw`"
    return text == "Yes." and bool(thought)


@row("token usage of a stream", "usage")
def usage(scene: Scene, settings: dict[str, Any]) -> bool:
    metadata = scene.contender.streamed_results(scene.make(**settings), "Hi")
    counts = [value for name, value in leaves(metadata) if "token" in name or "eval_count" in name]
    return any(isinstance(count, int) and count > 0 for count in counts)


@row("sampling parameters (`temperature`, `seed`)", "sampling")
def sampling(scene: Scene, settings: dict[str, Any]) -> bool:
    scene.ask(scene.make(**(settings or SAMPLING)))
    return scene.last_body().items() >= SAMPLING.items()


def in_kind(body: dict[str, Any]) -> Iterator[Any]:
    """Call a tool or follow a schema if the request has one."""
    if body.get("tools"):
        name = body["tools"][0]["function"]["name"]
        yield ToolCall(name, {"name": "Paris"} if name == "City" else {"a": 1})
    elif body.get("response_format"):
        yield Text('{"name": "Paris"}')
    else:
        yield Text("Yes.")


@row("structured output", "structured", script=in_kind)
def structured(scene: Scene, settings: dict[str, Any]) -> bool:
    return scene.contender.structured(scene.make(**settings)) == City(name="Paris")


@row("tools", "tools", script=in_kind)
def tools(scene: Scene, settings: dict[str, Any]) -> bool:
    return scene.contender.tool_arguments(scene.make(**settings), stream=False) == [{"a": 1}]


@row("images", "images")
def images(scene: Scene, settings: dict[str, Any]) -> bool:
    scene.contender.see(scene.make(**settings))
    content = scene.last_body()["messages"][-1]["content"]
    return isinstance(content, list) and any(part["type"] == "image_url" for part in content)


@row("embeddings, in a class of their own", "embeddings")
def embeddings(scene: Scene, settings: dict[str, Any]) -> bool:
    address = scene.ollama if scene.contender.ollama else scene.url
    embedder = scene.contender.embedder(address, MODEL, **settings)
    vector = scene.contender.embed(embedder, "whale")
    expected = letter_counts("whale")
    close = (abs(got - number) < 1e-6 for got, number in zip(vector, expected, strict=True))
    return all(close)  # vectors are sent as 32-bit floats


@row("a prompt with `@file` sends no file")
def named_file(scene: Scene, _: Any) -> bool | str:
    with TemporaryDirectory() as folder:
        secret = Path(folder, "secret.txt")
        secret.write_text("sesame")
        prompt = f"Sum up @{secret}"
        scene.ask(scene.make(), prompt)
    (sent,) = scene.simulated.prompts
    if sent == prompt:
        return True
    return "yes, by inserting a space" if "sesame" not in sent else False


# --- Cancellation ---


def on_and_on(_: str) -> Iterator[Any]:
    """Return an answer that never ends."""
    yield Text("On and on. ")
    yield Hang()


@row("leaving a stream early ends the model's work", script=on_and_on)
def left(scene: Scene, _: Any) -> bool:
    llm = scene.make()
    for _piece in scene.contender.stream(llm, "Hi"):
        break
    return _ended(scene)


@row("cancelling a task ends the model's work", script=on_and_on)
def cancelled(scene: Scene, _: Any) -> bool:
    llm = scene.make()

    async def whole() -> None:
        async for _piece in scene.contender.astream(llm, "Hi"):
            pass

    async def main() -> bool:
        task = asyncio.create_task(whole())
        await asyncio.to_thread(scene.simulated.wait_prompts)
        await asyncio.wait([task], timeout=0.3)
        task.cancel()
        await asyncio.wait([task])
        return await asyncio.to_thread(_ended, scene)

    return asyncio.run(main())


def _ended(scene: Scene) -> bool:
    try:
        scene.simulated.wait_gone(timeout=SOON)
    except TimeoutError:
        return False
    return True


@row("can be pickled and sent to a worker", real=True)
def pickles(scene: Scene, _: Any) -> bool:
    return bool(scene.ask(pickle.loads(pickle.dumps(scene.make()))))


# --- Errors ---


@row("a missing model: the error names the command that pulls it", real=True)
def missing(scene: Scene, _: Any) -> bool | str:
    return _names(error_of(lambda: scene.ask(scene.make("ai/unknown"))), "docker model pull")


@row("no runner: the error names the command that starts it")
def off(scene: Scene, _: Any) -> bool | str:
    os.environ["MODEL_RUNNER_HOST"] = UNUSED_ADDRESS
    made = scene.make() if scene.contender.ours else scene.make(url=UNUSED_ADDRESS)
    return _names(error_of(lambda: scene.ask(made)), "docker desktop enable model-runner")


def name_of(error: BaseException | None) -> str:
    """Return the name of an error's class, as the text of a cell."""
    return "no error" if error is None else f"`{type(error).__name__}`"


def _names(error: Exception | None, command: str) -> bool | str:
    return command in str(error) or name_of(error)


@row("a prompt that is too long: the error's name says so", script=[Fail.context_too_long()])
def overflow(scene: Scene, _: Any) -> bool | str:
    error = error_of(lambda: scene.ask(scene.make()))
    return any("Context" in kind.__name__ for kind in type(error).__mro__) or name_of(error)


@row(
    "an error during a stream raises an error",
    "mid-stream",
    script=[Text("Half an "), Fail("out of memory")],
)
def failed(scene: Scene, settings: dict[str, Any]) -> bool:
    llm = scene.make(**settings)
    return error_of(lambda: list(scene.contender.stream(llm, "Hi"))) is not None


@row("a connection lost during a stream raises an error", script=[Text("Half an "), Cut()])
def cut(scene: Scene, _: Any) -> bool:
    llm = scene.make()
    return error_of(lambda: list(scene.contender.stream(llm, "Hi"))) is not None


@row("an empty answer raises an error", script=[])
def empty(scene: Scene, _: Any) -> bool:
    return error_of(lambda: scene.ask(scene.make())) is not None


# --- Features of the other classes ---

_ELSEWHERE = Reply(404, "404 page not found")


@row(
    "works with other servers of the same API",
    replies={f"GET {path}": _ELSEWHERE for path in ("/models", "/engines/status", "/version")},
)
def elsewhere(scene: Scene, _: Any) -> bool:
    os.environ["DOCKER_MODEL_COMMAND"] = "/nonexistent/docker model"
    del os.environ["MODEL_RUNNER_HOST"]
    return bool(scene.ask(scene.make(**scene.address("/v1"))))


@row("accepts a custom HTTP client or custom headers", "client")
def client(scene: Scene, settings: dict[str, Any]) -> bool:
    if scene.contender.ours:
        settings = {"headers": HEADERS, **scene.address()}
    settings = {name: value() if callable(value) else value for name, value in settings.items()}
    if not settings:
        raise NotOffered
    scene.ask(scene.make(**settings))
    return any("x-mine" in sent.headers for sent in scene.simulated.requests)
