"""The simulated Docker Model Runner: what its HTTP API answers, and what it was asked."""

from __future__ import annotations

import json
import re
import threading
import traceback
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from docker_model.testing.records import Call, Request
from docker_model.testing.server import JSON, PLAIN, Connection, Gone, Server, read_request, whole
from docker_model.testing.steps import Fail, Pulled, steps_of
from docker_model.testing.store import Store, describe, normalize
from docker_model.testing.stream import FILE, ChatStream, PullStream, WholeChat, order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from docker_model.testing.steps import ProcessStep, PullStep, Script

REMEMBERED = 10_000
REMEMBERED_BYTES = 64 * 1024 * 1024
# `/v1/` and a named backend are other names of the same.
_API = re.compile(r" (?:/engines(?:/(?:llama\.cpp|vllm|sglang|mlx))?)?/v1/")
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
        kind = self.content_type or (PLAIN if text else JSON)
        body = self.body if text else json.dumps(self.body, ensure_ascii=False)
        return whole(self.status, kind, body.encode())


def routes(replies: Mapping[str, Reply]) -> dict[str, Reply]:
    """Fixed replies by `METHOD /path`, by the one name of a path that this module uses.

    Raises:
        ValueError: What should say where says nothing, and would never be found.
        TypeError: Something is no `Reply`.
    """
    for where, reply in replies.items():
        if where != "*" and not re.fullmatch(r"[A-Z]+ /\S*", where):
            msg = f"{where!r} is no method and path such as 'GET /models'"
            raise ValueError(msg)
        if not isinstance(reply, Reply):
            msg = f"{reply!r} is no Reply"
            raise TypeError(msg)
    return {_API.sub(" /engines/v1/", where): reply for where, reply in replies.items()}


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
            connection.send(Reply(400, "400 Bad Request").encode())
            return
        method, path, headers, data = parts
        memory = self.memory
        with memory.changed:
            call = memory.alive.get(headers.get("x-simulated-call", ""))
            request = Request(method, unquote(path), headers, _json(data), len(data), call)
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
        path = request.path.partition("?")[0]
        route = _API.sub(" /engines/v1/", f"{request.method} {path}")
        replies = self._scenario.replies
        fixed = replies.get(route, replies.get("*"))
        if fixed is not None:
            connection.send(fixed.encode())
        elif request.method == "POST" and not isinstance(request.body, dict):
            connection.send(Reply(400, "invalid request\n").encode())
        elif route == "POST /engines/v1/chat/completions":
            self._chat(connection, request)
        elif route == "POST /models/create":
            self._pull(connection, request)
        else:
            connection.send(self._plain(route, request.body).encode())

    def _chat(self, connection: Connection, request: Request) -> None:
        model = self._loaded(request.body)
        if isinstance(model, Reply):
            connection.send(model.encode())
            return
        if "x-preload-only" in request.headers:
            connection.send(Reply().encode())
            return
        prompt = request.prompt
        if prompt is None:
            connection.send(_invalid("'messages' is required").encode())
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
            stream.play([Fail(self._failed(error))])
        finally:
            steps.close()

    def _failed(self, error: Exception) -> str:
        self.memory.errors.append(error)
        return "the script failed: " + "".join(traceback.format_exception_only(error)).strip()

    def _loaded(self, body: Mapping[str, Any]) -> dict[str, Any] | Reply:
        """The model that is asked for, in memory now; or what is said instead."""
        name = body.get("model")
        if not (isinstance(name, str) and name):
            return Reply(400, "model is required\n")
        model = self._find(name)
        if model is None:
            return Reply(
                404, f"error while getting model: get model '\"{name}\"': model not found\n"
            )
        self._scenario.store.load(name)
        return model

    def _embeddings(self, body: Mapping[str, Any]) -> Reply:
        model = self._loaded(body)
        if isinstance(model, Reply):
            return model
        match body.get("input"):
            case str(text):
                texts = [text]
            case [*texts] if all(isinstance(text, str) for text in texts):
                pass
            case _:
                return _invalid('"input" must be provided, as text or a list of texts')
        try:
            vectors = [[float(x) for x in self._scenario.embed(text)] for text in texts]
        except Exception as error:  # noqa: BLE001 - raised again where the simulation ends
            return Reply(500, self._failed(error))
        data = [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ]
        words = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": words, "total_tokens": words}
        return Reply(body={"object": "list", "model": FILE, "data": data, "usage": usage})

    def _pull(self, connection: Connection, request: Request) -> None:
        name = request.body.get("from", "")
        wanted = normalize(name)
        steps = self._scenario.pullable.get(wanted)
        if steps is None:
            known = self._find(name)
            steps = [Pulled("Using cached model: 256.35MiB")] if known else [NOT_FOUND]

        def pulled() -> None:
            self._pulled.add(wanted)
            self._scenario.store.add(name)

        PullStream(connection).play(steps, pulled)

    def _find(self, name: str) -> dict[str, Any] | None:
        found = self._scenario.store.find(name)
        if found is None and self._scenario.any_model:
            wanted = normalize(name)
            if wanted not in self._scenario.pullable or wanted in self._pulled:
                found = describe(name)
        return found

    def _plain(self, route: str, body: Any) -> Reply:
        match route:
            case "POST /engines/v1/embeddings":
                return self._embeddings(body)
            case "POST /engines/unload":
                count = self._scenario.store.unload(
                    body.get("models", ()), everything=body.get("all", False)
                )
                return Reply(body={"unloaded_runners": count})
            case "POST /engines/_configure":
                self._configure(dict(body))
                return Reply(202)
        return self._get(route)

    def _get(self, route: str) -> Reply:
        store = self._scenario.store
        match route:
            case "GET /":
                return Reply(body="Docker Model Runner is running")
            case "GET /models":
                return Reply(body=store.all())
            case "GET /engines/status":
                return Reply(body=STATUS)
            case "GET /engines/ps":
                return Reply(body=self._running())
            case "GET /version":
                return Reply(body={"version": self._scenario.version})
            case "GET /engines/_configure":
                return Reply(body=self._configs)
            case "GET /engines/v1/models":
                models = [_openai(model) for model in store.all()]
                return Reply(body={"object": "list", "data": models})
        for prefix, shape in (("GET /models/", dict), ("GET /engines/v1/models/", _openai)):
            if route.startswith(prefix):
                found = self._find(route.removeprefix(prefix))
                missing = Reply(404, "model not found\n")
                return missing if found is None else Reply(body=shape(found))
        return Reply(404, "404 page not found\n")

    def _configure(self, asked: dict[str, Any]) -> None:
        tag = normalize(asked.pop("model", ""))
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


def _json(data: bytes) -> Any:
    """The value of a body; `None` for one that is no JSON, too."""
    try:
        return json.loads(data)
    except ValueError:
        return None


def _invalid(message: str) -> Reply:
    """What the engine says of a request that it cannot read."""
    error = {"code": 400, "message": message, "type": "invalid_request_error"}
    return Reply(400, {"error": error})


def _reply_to(request: Request, connection: Connection) -> ChatStream:
    """How the answer comes: in pieces, or whole; with token counts where they are asked for."""
    body = request.body
    words = sum(len(str(one.get("content")).split()) for one in body["messages"])
    if not body.get("stream"):
        return WholeChat(connection, words)
    asked = (body.get("stream_options") or {}).get("include_usage")
    return ChatStream(connection, words if asked else None)


NOT_FOUND = Fail("Model not found", 404)


def _openai(model: dict[str, Any]) -> dict[str, Any]:
    tags = model.get("tags") or [model["id"]]
    return {
        "id": tags[0],
        "object": "model",
        "created": model.get("created", 0),
        "owned_by": "docker",
    }
