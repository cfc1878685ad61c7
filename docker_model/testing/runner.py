"""The simulated Docker Model Runner: what its HTTP API answers, and what it was asked."""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from docker_model.testing.records import Call, Request
from docker_model.testing.server import Connection, Gone, Server, read_request, whole
from docker_model.testing.steps import Fail, Pulled, Usage, steps_of
from docker_model.testing.store import Store, describe, normalize
from docker_model.testing.stream import FILE, ChatStream, PullStream, WholeChat, order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from docker_model.testing.steps import ProcessStep, PullStep, Script

REMEMBERED = 10_000
REMEMBERED_BYTES = 64 * 1024 * 1024
_API = re.compile(r"^(?:/engines(?:/[^/]+)?)?/v1/")
STATUS = {"llama.cpp": "Running: llama.cpp b9879", "vllm": "Not Installed"}


@dataclass(frozen=True, slots=True)
class Reply:
    """A fixed answer of the runner, in place of what it would say.

    Attributes:
        status: The HTTP status.
        body: Text, or anything else as JSON.
        content_type: Default: by the kind of `body`.
    """

    status: int = 200
    body: Any = ""
    content_type: str | None = None

    def encode(self) -> bytes:
        """The whole reply as it goes over the wire."""
        text = isinstance(self.body, str)
        kind = self.content_type or ("text/plain" if text else "application/json")
        body = self.body if text else json.dumps(self.body, ensure_ascii=False)
        return whole(self.status, kind, body.encode())


@dataclass(slots=True)
class Scenario:
    """What a simulation is given."""

    store: Store
    any_model: bool
    scripts: Mapping[str, Script]
    script: Script
    pullable: Mapping[str, Sequence[PullStep]]
    replies: Mapping[str, Reply]
    embed: Callable[[str], Sequence[float]]
    startup: Sequence[ProcessStep]
    version: str
    plugin: bool
    retry_wait: float


@dataclass(slots=True)
class Memory:
    """What happened so far; guarded by `changed`, which is notified of everything new."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    requests: deque[Request] = field(default_factory=deque)
    alive: dict[str, Call] = field(default_factory=dict)
    started: int = 0
    plugins: int = 0
    prompts: int = 0
    gone: int = 0
    errors: list[Exception] = field(default_factory=list)
    _bytes: int = 0

    def remember(self, request: Request) -> None:
        """Add a request, and forget the oldest when there are too many or too large ones."""
        self.requests.append(request)
        self.prompts += request.prompt is not None
        self._bytes += request.size
        while self._bytes > REMEMBERED_BYTES or len(self.requests) > REMEMBERED:
            self._bytes -= self.requests.popleft().size
        self.changed.notify_all()


class Runner:
    """Serves one simulation until it is closed."""

    def __init__(self, scenario: Scenario) -> None:
        self.memory = Memory()
        self._scenario = scenario
        self._configs: list[dict[str, Any]] = []
        self._pulled: set[str] = set()
        self._server = Server(self._serve)
        self.address = self._server.address

    def close(self) -> None:
        """Hang up on everybody, which also ends the commands that still run."""
        self._server.close()

    def _serve(self, connection: Connection) -> None:
        first = connection.line()
        if first.startswith(b"{"):
            self._watch(connection, json.loads(first.decode("utf-8", "surrogatepass")))
            return
        parts = read_request(first, connection)
        if parts is None:
            connection.send(Reply(400, "this is no request with a JSON body").encode())
            return
        method, path, headers, body, size = parts
        memory = self.memory
        with memory.changed:
            call = memory.alive.get(headers.get("x-simulated-call", ""))
            request = Request(method, unquote(path), headers, body, size, call)
            memory.remember(request)
        try:
            self._answer(connection, request)
            request.complete = True
        except Gone:
            request.client_gone = True
        with memory.changed:
            memory.gone += request.client_gone and request.prompt is not None
            memory.changed.notify_all()

    def _watch(self, connection: Connection, told: dict[str, Any]) -> None:
        """Stay with a command from its start to the end of its last process."""
        memory, scenario = self.memory, self._scenario
        connection.lasting = True
        call = Call(tuple(told["argv"]), told["cwd"], told["env"], told["pid"])
        with memory.changed:
            memory.started += 1
            key = str(memory.started)
            memory.alive[key] = call
            memory.calls.append(call)
            memory.changed.notify_all()
        orders = {
            "version": scenario.version,
            "plugin": scenario.plugin,
            "startup": [order(step) for step in scenario.startup],
            "call": key,
            "retry wait": scenario.retry_wait,
        }
        try:
            connection.send(json.dumps(orders).encode() + b"\n")
            while line := connection.line():
                with memory.changed:
                    call.plugin_pid = int(line)
                    memory.plugins += 1
                    memory.changed.notify_all()
        finally:
            with memory.changed:
                call.alive = False
                del memory.alive[key]
                memory.changed.notify_all()

    def _answer(self, connection: Connection, request: Request) -> None:
        # `/v1/` and a named backend are other names of the same.
        path = _API.sub("/engines/v1/", request.path.partition("?")[0])
        replies = self._scenario.replies
        fixed = replies.get(f"{request.method} {path}", replies.get("*"))
        if fixed is not None:
            connection.send(fixed.encode())
        elif path.endswith("/chat/completions"):
            self._chat(connection, request)
        elif path.endswith("/embeddings"):
            connection.send(self._embeddings(request).encode())
        elif path == "/models/create":
            self._pull(connection, request)
        else:
            connection.send(self._plain(request, path).encode())

    def _chat(self, connection: Connection, request: Request) -> None:
        name = request.body["model"]
        model = self._loaded(name)
        if model is None:
            connection.send(_missing(name).encode())
            return
        prompt = request.prompt
        if prompt is None:
            connection.send(Reply().encode())
            return
        tags = [normalize(tag) for tag in model.get("tags") or ()]
        scripts = self._scenario.scripts
        script = next((scripts[tag] for tag in tags if tag in scripts), self._scenario.script)
        steps = steps_of(script, prompt)
        stream = _reply_to(request, connection)
        try:
            stream.play(steps)
        except Gone:
            raise
        except Exception as error:  # noqa: BLE001 - raised again where the simulation ends
            self.memory.errors.append(error)
            stream.play([Fail(f"the script failed: {type(error).__name__}")])
        finally:
            steps.close()

    def _loaded(self, name: str) -> dict[str, Any] | None:
        model = self._find(name)
        if model is None and self._scenario.any_model:
            model = describe(name)
        if model is not None:
            self._scenario.store.load(name)
        return model

    def _embeddings(self, request: Request) -> Reply:
        name, texts = request.body["model"], request.body["input"]
        if self._loaded(name) is None:
            return _missing(name)
        texts = [texts] if isinstance(texts, str) else texts
        vectors = [list(self._scenario.embed(text)) for text in texts]
        data = [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ]
        words = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": words, "total_tokens": words}
        return Reply(body={"object": "list", "model": FILE, "data": data, "usage": usage})

    def _pull(self, connection: Connection, request: Request) -> None:
        name = request.body["from"]
        wanted = normalize(name)
        steps = self._scenario.pullable.get(wanted)
        if steps is None:
            known = self._find(name)
            steps = [Pulled("Using cached model: 256.35MiB")] if known else [NOT_FOUND]
        if PullStream(connection).play(steps):
            self._pulled.add(wanted)
            self._scenario.store.add(name)

    def _find(self, name: str) -> dict[str, Any] | None:
        found = self._scenario.store.find(name)
        if found is None and self._scenario.any_model:
            wanted = normalize(name)
            if wanted not in self._scenario.pullable or wanted in self._pulled:
                found = describe(name)
        return found

    def _plain(self, request: Request, path: str) -> Reply:
        store, body = self._scenario.store, request.body
        match request.method, path:
            case "GET", _:
                return self._get(path)
            case "POST", "/engines/unload":
                count = store.unload(body["models"], everything=body["all"])
                return Reply(body={"unloaded_runners": count})
            case "POST", "/engines/_configure":
                self._configure(dict(body))
                return Reply(202)
        return NO_ROUTE

    def _get(self, path: str) -> Reply:
        store = self._scenario.store
        match path:
            case "/models":
                return Reply(body=store.all())
            case "/engines/status":
                return Reply(body=STATUS)
            case "/engines/ps":
                return Reply(body=self._running())
            case "/version":
                return Reply(body={"version": self._scenario.version})
            case "/engines/_configure":
                return Reply(body=self._configs)
            case "/engines/v1/models":
                models = [_openai(model) for model in store.all()]
                return Reply(body={"object": "list", "data": models})
        for prefix, shape in (("/models/", dict), ("/engines/v1/models/", _openai)):
            if path.startswith(prefix):
                found = self._find(path.removeprefix(prefix))
                return Reply(404, "model not found") if found is None else Reply(body=shape(found))
        return NO_ROUTE

    def _configure(self, asked: dict[str, Any]) -> None:
        tag = normalize(asked.pop("model"))
        mode = asked.pop("mode", "completion")
        found = self._find(tag) or describe(tag)
        entry = {"Backend": "llama.cpp", "Model": tag, "ModelID": found["id"]}
        others = [old for old in self._configs if (old["Model"], old["Mode"]) != (tag, mode)]
        self._configs = [*others, {**entry, "Mode": mode, "Config": asked}]

    def _running(self) -> list[dict[str, Any]]:
        now = datetime.now(UTC).isoformat()
        return [
            {
                "backend_name": "llama.cpp",
                "model_name": name,
                "mode": "completion",
                "last_used": now,
            }
            for name in self._scenario.store.loaded()
        ]


def _missing(name: str) -> Reply:
    return Reply(404, f"error while getting model: get model '{name}': model not found")


def _reply_to(request: Request, connection: Connection) -> ChatStream:
    """How the answer comes: in pieces, or whole; with token counts where they are asked for."""
    body = request.body
    words = Usage(sum(len(str(one.get("content")).split()) for one in body["messages"]), 1)
    if not body.get("stream"):
        return WholeChat(connection, words)
    asked = (body.get("stream_options") or {}).get("include_usage")
    return ChatStream(connection, words if asked else None)


NOT_FOUND = Fail("Model not found", 404)
NO_ROUTE = Reply(404, "not found")


def _openai(model: dict[str, Any]) -> dict[str, Any]:
    tags = model.get("tags") or [model["id"]]
    return {
        "id": tags[0],
        "object": "model",
        "created": model.get("created", 0),
        "owned_by": "docker",
    }
