"""The simulated Docker Model Runner: its HTTP API and the records of its requests."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl

from docker_model.testing.command import run_command
from docker_model.testing.command.process import CommandProcess
from docker_model.testing.command.session import Session
from docker_model.testing.engine import (
    EngineError,
    Limits,
    RunnerError,
    embeddings,
    from_messages_api,
    rank,
    read_chat,
)
from docker_model.testing.models import normalize
from docker_model.testing.records import Memory, Prompt, Request
from docker_model.testing.replies import ChatReply, PullReply, send_reply
from docker_model.testing.server import Exchange, Gone, Server
from docker_model.testing.steps import Fail, Pulled, Reply, steps_of
from docker_model.testing.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from docker_model.testing.models import Described
    from docker_model.testing.replies import Client
    from docker_model.testing.steps import ProcessStep, PullStep, Script
    from docker_model.testing.store import StoredModel
    from docker_model.testing.templates import Template

# `/v1/` and `/engines/BACKEND/v1/` are aliases of `/engines/v1/`.
_API = re.compile(r" (?:/engines(?:/(?:llama\.cpp|vllm|sglang|mlx))?)?/v1/")
_ENGINE = re.compile(r" (?:/engines(?:/llama\.cpp)?)?/(rerank|_configure)$")
STATUS = {"llama.cpp": "Running: llama.cpp b9879", "vllm": "Not Installed"}
ENGINE_SIZE, MODEL_SIZE = 51_200_000, 268_800_000
NO_PAGE = Reply(404, "404 page not found\n")
NO_MODEL = Reply(404, "model not found\n")
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
    return _ENGINE.sub(r" /engines/\1", _API.sub(" /engines/v1/", route))


def routes(replies: Mapping[str, FixedReply]) -> dict[str, FixedReply]:
    """Check fixed replies, and return them by their normalized routes.

    Raises:
        ValueError: If a key is not a method and path.
        TypeError: If a value is not a reply or a function.
    """
    for route, reply in replies.items():
        if route != "*" and not re.fullmatch(r"[A-Z]+ /\S*", route):
            msg = f"{route!r} is not a method and path such as 'GET /models'"
            raise ValueError(msg)
        if not (isinstance(reply, Reply) or callable(reply)):
            msg = f"{reply!r} is not a Reply or a function"
            raise TypeError(msg)
    return {normalized_route(route): reply for route, reply in replies.items()}


@dataclass(slots=True)
class Scenario:
    """The configuration of a simulation; the attributes are the parameters of `SimulatedDocker`."""

    models: Sequence[Described]
    any_model: bool
    template: Template
    scripts: Mapping[str, Script]
    script: Script
    pullable: Mapping[str, Sequence[PullStep]]
    replies: Mapping[str, FixedReply]
    embed: Callable[[str], Sequence[float]]
    score: Callable[[str, str], float]
    startup: Sequence[ProcessStep]
    version: str
    retry_wait: float
    plugin: bool = True


class Runner:
    """The servers of one simulation, for HTTP requests and for commands."""

    def __init__(self, scenario: Scenario) -> None:
        self.memory = Memory()
        self._scenario = scenario
        models, template = scenario.models, scenario.template
        self._store = Store(models, template, any_model=scenario.any_model)
        for name in scenario.pullable:
            self._store.hide(name)
        self._server = Server(lambda link: Exchange(link, self._serve), socket.SHUT_RDWR)
        # Shut down only one direction, so that a command's processes can end and be awaited.
        self._commands = Server(self._watch, socket.SHUT_WR)
        self.address = self._server.address
        self.command_address = self._commands.address

    def close(self) -> None:
        """End the running commands, and close all connections."""
        self._commands.close()
        self._server.close()

    def _serve(self, exchange: Exchange) -> None:
        headers = {name.lower(): value for name, value in exchange.headers.items()}
        body, size = exchange.json(), len(exchange.text)
        request = Request(exchange.command, exchange.target, headers, body, size)
        try:
            self.answer(exchange, request)
        except Gone:
            exchange.close_connection = True

    def answer(self, client: Client, request: Request) -> None:
        """Answer and record a request.

        Raises:
            Gone: If the client disconnects before the end of the reply.
        """
        memory = self.memory
        with memory.changed:
            memory.remember(request)
        try:
            self._answer(client, request)
            request.complete = True
        except Gone:
            request.client_gone = True
            raise
        finally:
            with memory.changed:
                memory.gone += request.client_gone and request.prompt is not None
                memory.changed.notify_all()

    def _watch(self, connection: socket.socket) -> None:
        """Run and record a command, from its start to the end of its last process."""
        memory = self.memory
        process = CommandProcess(connection)
        call = process.call
        with memory.changed:
            memory.alive.append(call)
            memory.calls.append(call)
            memory.changed.notify_all()
        thread = threading.Thread(target=self._run, args=(process,), name="simulated docker")
        thread.start()
        try:
            for pid in process.listen():
                with memory.changed:
                    call.plugin_pid = pid
                    memory.plugins += 1
                    memory.changed.notify_all()
        finally:
            with memory.changed:
                call.alive = False
                memory.alive.remove(call)
                memory.changed.notify_all()
            thread.join()

    def _run(self, process: CommandProcess) -> None:
        scenario = self._scenario
        session = Session(process, self.answer, self.address, scenario)
        try:
            run_command(process, session, scenario.startup, plugin=scenario.plugin)
        except Exception as error:  # noqa: BLE001 - raised again where the simulation ends
            self._failed(error)
            with contextlib.suppress(Gone):
                process.exit(1)

    def _answer(self, client: Client, request: Request) -> None:
        path, _, query = request.path.partition("?")
        route = normalized_route(f"{request.method} {path}")
        replies = self._scenario.replies
        fixed = replies.get(route, replies.get("*"))
        body = request.body
        try:
            if fixed is not None:
                reply = fixed if isinstance(fixed, Reply) else fixed(request)
            elif request.method == "POST" and not isinstance(body, dict) and "/tag" not in path:
                reply = Reply(400, "invalid request\n")
            elif route in INFERENCE:
                self._infer(client, request, INFERENCE[route], route)
                return
            elif route == "POST /models/create":
                self._pull(client, body.get("from", ""))
                return
            else:
                reply = self._manage(route, dict(parse_qsl(query)), body)
        except Gone:
            raise
        except RunnerError as refusal:
            reply = refusal.reply
        except Exception as error:  # noqa: BLE001 - raised again where the simulation ends
            reply = Reply(500, self._failed(error))
        send_reply(client, reply)

    # --- Inference --------------------------------------------------------------------------------

    def _infer(self, client: Client, request: Request, mode: str, route: str) -> None:
        """Load the model and send its answer."""
        name = request.body.get("model")
        if not (isinstance(name, str) and name):
            msg = "model is required"
            raise RunnerError(msg, 400)
        model = self._store.find(name)
        if model is None:
            msg = f"error while getting model: get model '\"{name}\"': model not found"
            raise RunnerError(msg, 404)
        body, scenario = request.body, self._scenario
        with self._store.running(model, normalize(name), mode) as config:
            if "x-preload-only" in request.headers:
                reply = Reply()
            elif mode == "embedding":
                limits = Limits.of(model.model, mode, config)
                reply = Reply(body=embeddings(body, limits, scenario.embed))
            elif mode == "reranking":
                limits = Limits.of(model.model, mode, config)
                reply = Reply(body=rank(body, limits, scenario.score))
            elif route.endswith("count_tokens"):
                prompt = read_chat(from_messages_api(body), model.model, scenario.template)
                reply = Reply(body={"input_tokens": len(prompt.tokens)})
            else:
                self._chat(client, request, model, config)
                return
            send_reply(client, reply)

    def _chat(
        self, client: Client, request: Request, model: StoredModel, config: Mapping[str, Any]
    ) -> None:
        if model.model.kind != "chat":
            msg = "the current context does not support logits computation. skipping"
            raise EngineError(msg, 500)
        prompt = read_chat(request.body, model.model, self._scenario.template)
        prompt.check_length(config.get("context-size") or model.context_size)
        scripts = self._scenario.scripts
        own_scripts = (scripts[tag] for tag in model.tags if tag in scripts)
        stream = ChatReply(client, request.body, prompt)
        steps = steps_of(next(own_scripts, self._scenario.script), Prompt(request))
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

    # --- Models -----------------------------------------------------------------------------------

    def _pull(self, client: Client, name: str) -> None:
        steps = self._scenario.pullable.get(normalize(name))
        if steps is None:
            is_stored = self._store.find(name) is not None
            missing = Fail("Model not found", 404)
            steps = [Pulled("Using cached model: 256.35MiB") if is_stored else missing]
        PullReply(client).play(steps, lambda: self._store.add(name))

    def _manage(self, route: str, arguments: Mapping[str, str], body: Any) -> Reply:
        """Return the reply to a management request."""
        store, models = self._store, self._store.all()
        match route:
            case "POST /engines/_configure":
                store.configure(body)
                return Reply(202)
            case "POST /engines/unload":
                count = store.unload(body.get("models") or (), everything=bool(body.get("all")))
                return Reply(body={"unloaded_runners": count})
        pages: dict[str, Any] = {
            "GET /": "Docker Model Runner is running",
            "GET /engines/status": STATUS,
            "GET /engines/df": {
                "models_disk_usage": MODEL_SIZE * len(models),
                "default_backend_disk_usage": ENGINE_SIZE,
            },
            "GET /engines/ps": store.loaded(),
            "GET /engines/_configure": store.configurations(arguments.get("model", "")),
            "GET /models": [model.data for model in models],
            "GET /engines/v1/models": {"object": "list", "data": list(map(_openai, models))},
            "GET /simulated/search": self._search(arguments.get("q", "")),
        }
        page = pages.get(route)
        return self._manage_one(route, arguments) if page is None else Reply(body=page)

    def _search(self, term: str) -> list[dict[str, Any]]:
        """Return the results of a search among the pullable and the stored models."""
        stored = [model.shown_name for model in self._store.all()]
        names = [*self._scenario.pullable, *stored]
        short = [name.removeprefix("docker.io/").removesuffix(":latest") for name in names]
        return [_found(name) for name in short if term.lower() in name.lower()]

    def _manage_one(self, route: str, arguments: Mapping[str, str]) -> Reply:
        """Return the reply to a management request for one model."""
        start, _, name = route.partition("/models/")
        model = self._store.find(name.removesuffix("/tag"))
        if start not in ("GET ", "GET /engines/v1", "DELETE ", "POST "):
            return NO_PAGE
        if model is None:
            return NO_MODEL
        match start:
            case "DELETE ":
                removed = self._store.remove(model, name, force=arguments.get("force") == "true")
                return Reply(body=removed)
            case "POST ":
                target = f"{arguments['repo']}:{arguments['tag']}"
                self._store.tag(model, target)
                return Reply(201, {"target": target})
        return Reply(body=model.data if start == "GET " else _openai(model))


def _found(name: str) -> dict[str, Any]:
    hugging_face = name.startswith("huggingface.co/")
    return {
        "Name": name.removeprefix("huggingface.co/"),
        "Description": f"The model {name}",
        "Downloads": 1000,
        "Stars": 10,
        "Source": "HuggingFace" if hugging_face else "Docker Hub",
        "Official": name.startswith("ai/"),
        "UpdatedAt": "2026-01-01T00:00:00Z",
        "Backend": "llama.cpp",
        "Size": MODEL_SIZE,
    }


def _openai(model: StoredModel) -> dict[str, Any]:
    config = model.data.get("config") or {}
    keys = ("architecture", "parameters", "quantization", "size")
    details = {key: config[key] for key in keys if config.get(key)}
    if model.context_size is not None:
        details["context_window"] = model.context_size
    return {
        "id": model.shown_name,
        "object": "model",
        "created": model.data.get("created", 0),
        "owned_by": "docker",
        **({"dmr": details} if details else {}),
    }
