"""The simulated Docker Model Runner: its HTTP API and the records of its requests."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl

from docker_model.testing import _engine as engine
from docker_model.testing._command import run_command
from docker_model.testing._server import Exchange, Gone, Server
from docker_model.testing._session import CommandProcess
from docker_model.testing.models import Store, normalize
from docker_model.testing.records import Prompt, Request
from docker_model.testing.steps import Fail, Pulled, Reply, steps_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from docker_model.testing.models import Described, StoredModel, Template
    from docker_model.testing.records import Call
    from docker_model.testing.steps import ProcessStep, PullStep, Script

# `/v1/` and `/engines/BACKEND/v1/` are aliases of `/engines/v1/`, and so on.
_ALIAS = re.compile(r" (?:/engines(?:/(?:llama\.cpp|vllm|sglang|mlx))?)?/(v1/|rerank$|_configure$)")
STATUS = {"llama.cpp": "Running: llama.cpp b9879", "vllm": "Not Installed"}
ENGINE_SIZE, MODEL_SIZE = 51_200_000, 268_800_000
MAX_RECORDS = 10_000
# The paths of requests to a model, and the mode of the model for each.
INFERENCE = {
    "POST /engines/v1/chat/completions": "completion",
    "POST /engines/v1/messages/count_tokens": "completion",
    "POST /engines/v1/embeddings": "embedding",
    "POST /engines/rerank": "reranking",
}

FixedReply: TypeAlias = Reply | Callable[[Request], Reply]


def normalized_route(route: str) -> str:
    """Return a method and path with aliases of the path replaced by the usual form."""
    if route != "*" and not re.match(r"[A-Z]+ /", route):
        msg = f"{route!r} is not a method and path such as 'GET /models'"
        raise ValueError(msg)
    return _ALIAS.sub(r" /engines/\1", route)


@dataclass(slots=True)
class Scenario:
    """The configuration of a simulation; the attributes are the parameters of `SimulatedDocker`."""

    models: Sequence[tuple[Described, Script | None]]
    any_model: bool
    template: Template
    script: Script
    pullable: Mapping[str, Sequence[PullStep]]
    replies: Mapping[str, FixedReply]
    embed: Callable[[str], Sequence[float]]
    score: Callable[[str, str], float]
    startup: Sequence[ProcessStep]
    version: str
    plugin: bool = True


class Runner:
    """The servers of one simulation, for HTTP requests and for commands, and their records.

    `changed` guards the records and is notified of every change.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.changed = threading.Condition()
        self.calls: deque[Call] = deque(maxlen=MAX_RECORDS)
        self.requests: deque[Request] = deque(maxlen=MAX_RECORDS)
        self.alive: list[Call] = []
        self.plugins = self.prompts = self.gone = 0
        self.errors: list[Exception] = []
        self.scenario = scenario
        self._store = Store(scenario.template, scenario.models)
        self._guard = threading.RLock()  # of the store
        self._server = Server(lambda link: Exchange(link, self._serve), socket.SHUT_RDWR)
        # Shut down only one direction, so that a command's processes can end and be awaited.
        self._commands = Server(self._watch, socket.SHUT_WR)
        self.address = self._server.address
        self.command_address = self._commands.address

    def close(self) -> None:
        self._commands.close()
        self._server.close()

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        with self.changed:
            yield
            self.changed.notify_all()

    def _watch(self, connection: socket.socket) -> None:
        """Run and record a command, from its start to the end of its last process."""
        process = CommandProcess(connection)
        call = process.call
        with self._change():
            self.alive.append(call)
            self.calls.append(call)
        thread = threading.Thread(target=self._run, args=(process,), name="simulated docker")
        thread.start()
        process.listen(lambda pid: self._started(call, pid))
        with self._change():
            call.alive = False
            self.alive.remove(call)
        thread.join()

    def _started(self, call: Call, pid: int) -> None:
        with self._change():
            call.plugin_pid = pid
            self.plugins += 1

    def _run(self, process: CommandProcess) -> None:
        try:
            run_command(process, self)
        except Exception as error:  # noqa: BLE001 - raised again where the simulation ends
            self._failed(error)
            with contextlib.suppress(Gone):
                process.exit(1)

    def _failed(self, error: Exception) -> str:
        self.errors.append(error)
        return "the script failed: " + "".join(traceback.format_exception_only(error)).strip()

    def _serve(self, exchange: Exchange) -> None:
        headers = {name.lower(): value for name, value in exchange.headers.items()}
        size = len(exchange.text)
        request = Request(exchange.command, exchange.target, headers, size=size)
        with contextlib.suppress(ValueError):
            request.body = json.loads(exchange.text)
        try:
            self.answer(exchange, request)
        except Gone:
            exchange.close_connection = True

    def answer(self, client: engine.Client, request: Request) -> None:
        """Answer and record a request; raise `Gone` if the client disconnects before the end."""
        with self._change():
            self.requests.append(request)
            self.prompts += request.prompt is not None
        try:
            reply = self._reply(client, request)
            if reply is not None:
                engine.send_reply(client, reply)
            request.complete = True
        except Gone:
            request.client_gone = True
            raise
        finally:
            with self._change():
                self.gone += request.client_gone and request.prompt is not None

    def _reply(self, client: engine.Client, request: Request) -> Reply | None:
        """Return the reply to a request, or send a stream."""
        path, _, query = request.path.partition("?")
        replies, body = self.scenario.replies, request.body
        try:
            route = normalized_route(f"{request.method} {path}")
            fixed = replies.get(route, replies.get("*"))
            if fixed is not None:
                return fixed if isinstance(fixed, Reply) else fixed(request)
            if request.method == "POST" and not isinstance(body, dict) and "/tag" not in path:
                return Reply(400, "invalid request\n")
            if route in INFERENCE:
                return self._infer(client, request, route)
            if route == "POST /models/create":
                self._pull(client, body.get("from", ""))
                return None
            with self._guard:
                return self._manage(route, dict(parse_qsl(query)), body)
        except engine.EngineError as refusal:
            return refusal.reply
        except Exception as error:  # noqa: BLE001 - raised again where the simulation ends
            return Reply(500, self._failed(error))

    def _find(self, name: str) -> StoredModel | None:
        """Return a stored model; add it if the store contains every name that cannot be pulled."""
        model, scenario = self._store.find(name), self.scenario
        if model is None and scenario.any_model and normalize(name) not in scenario.pullable:
            model = self._store.add(name)
        return model

    def _infer(self, client: engine.Client, request: Request, route: str) -> Reply | None:
        """Load the model, and return its reply or send a stream."""
        body, scenario, mode = request.body, self.scenario, INFERENCE[route]
        name = body.get("model")
        if not (isinstance(name, str) and name):
            return Reply(400, "model is required\n")
        with self._guard:
            model = self._find(name)
            if model is None:
                message = f"error while getting model: get model '\"{name}\"': model not found\n"
                return Reply(404, message)
            model.loaded[mode] = normalize(name)
            # The runner uses the configuration for chats if there is none for reranking.
            other = "completion" if mode == "reranking" else mode
            config = model.configs.get(mode, model.configs.get(other, {}))
        if "x-preload-only" in request.headers:
            return Reply()
        limits = engine.Limits(model, mode, config)
        if mode == "embedding":
            return Reply(body=engine.embeddings(body, limits, scenario.embed))
        if mode == "reranking":
            return Reply(body=engine.rank(body, limits, scenario.score))
        counts = route.endswith("count_tokens")
        chat = engine.from_messages_api(body) if counts else body
        count = engine.count_chat(chat, model, scenario.template)
        if counts:
            return Reply(body={"input_tokens": count})
        engine.check_chat(count, model, config)
        stream = engine.ChatReply(client, body, count)
        script = scenario.script if model.script is None else model.script
        with contextlib.closing(steps_of(script, Prompt(request))) as steps:
            try:
                stream.play(steps)
            except Exception as error:  # noqa: BLE001 - raised again where the simulation ends
                stream.play([Fail(self._failed(error))])
        return None

    def _pull(self, client: engine.Client, name: str) -> None:
        steps = self.scenario.pullable.get(normalize(name))
        if steps is None:
            is_stored = self._store.find(name) is not None
            steps = [Pulled("Using cached model") if is_stored else Fail("Model not found", 404)]

        def pulled() -> None:
            with self._guard:
                self._store.add(name)

        engine.Stream(client).play(engine.pull_steps(steps, pulled))

    def _manage(self, route: str, query: Mapping[str, str], body: Any) -> Reply:
        """Return the reply to a management request."""
        store, models = self._store, self._store.models
        pages: dict[str, Callable[[], Any]] = {
            "GET /engines/status": lambda: STATUS,
            "GET /engines/df": lambda: {
                "models_disk_usage": MODEL_SIZE * len(models),
                "default_backend_disk_usage": ENGINE_SIZE,
            },
            "GET /engines/ps": store.running,
            "POST /engines/unload": lambda: {"unloaded_runners": store.unload(body["models"])},
            "GET /engines/_configure": lambda: store.configurations(query.get("model", "")),
            "POST /engines/_configure": lambda: store.configure(body),
            "GET /models": lambda: [model.data for model in models],
            "GET /engines/v1/models": lambda: {
                "object": "list",
                "data": [{"id": model.shown_name, "object": "model"} for model in models],
            },
            "GET /simulated/search": lambda: self._search(query.get("q", "")),
        }
        page = pages.get(route)
        if page is None:
            return self._manage_one(route, query)
        return Reply(202 if route == "POST /engines/_configure" else 200, page())

    def _search(self, term: str) -> list[dict[str, Any]]:
        """Return the results of a search among the pullable and the stored models."""
        names = [*self.scenario.pullable, *(model.shown_name for model in self._store.models)]
        found = [name.removesuffix(":latest") for name in names if term.lower() in name]
        sources = {"docker.io": "Docker Hub", "huggingface.co": "HuggingFace"}
        parts = [name.partition("/") for name in found]
        return [{"Name": name, "Source": sources.get(host, host)} for host, _, name in parts]

    def _manage_one(self, route: str, query: Mapping[str, str]) -> Reply:
        """Return the reply to a management request for one model."""
        method, _, name = route.replace("/engines/v1/", "/").partition(" /models/")
        if not name:
            return Reply(404, "404 page not found\n")
        model = self._find(name.removesuffix("/tag"))
        if model is None:
            return Reply(404, "model not found\n")
        if method == "DELETE":
            return Reply(body=self._store.remove(model, name))
        if method == "POST":
            target = normalize(f"{query['repo']}:{query['tag']}")
            model.data["tags"] = [*dict.fromkeys([*model.tags, target])]
            return Reply(201, {"target": target})
        return Reply(body=model.data)
