"""The simulated Docker Model Runner: what its HTTP API answers, and what it was asked."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias
from urllib.parse import parse_qsl

from docker_model.testing.command import run_command
from docker_model.testing.command.process import CommandProcess, Ended
from docker_model.testing.engine import (
    ChatPrompt,
    EngineError,
    Limits,
    embeddings,
    from_messages_api,
    rank,
    read_chat,
)
from docker_model.testing.models import Store, normalize
from docker_model.testing.records import Memory, Prompt, Request
from docker_model.testing.replies import ChatReply, PullReply, order, send_reply
from docker_model.testing.scheduler import Scheduler, SchedulerError
from docker_model.testing.server import Exchange, Gone, Server
from docker_model.testing.steps import Fail, Pulled, Reply, steps_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from docker_model.testing.models import Described, StoredModel
    from docker_model.testing.steps import ProcessStep, PullStep, Script
    from docker_model.testing.templates import Template

# `/v1/` and a named backend are other names of the same.
_API = re.compile(r" (?:/engines(?:/(?:llama\.cpp|vllm|sglang|mlx))?)?/v1/")
_ENGINE = re.compile(r" (?:/engines(?:/llama\.cpp)?)?/(rerank|_configure)$")
STATUS = {"llama.cpp": "Running: llama.cpp b9879", "vllm": "Not Installed"}
ENGINE_SIZE = 51_200_000
LOGS = "llama_server: model loaded\nllama_server: server is listening\n"
LARGEST = 10 * 1024 * 1024


def one_name(route: str) -> str:
    """Return the one name of a method and path that this module uses."""
    return _ENGINE.sub(r" /engines/\1", _API.sub(" /engines/v1/", route))


FixedReply: TypeAlias = Reply | Callable[[Request], Reply]


def routes(replies: Mapping[str, FixedReply]) -> dict[str, FixedReply]:
    """Return fixed replies by `METHOD /path`, by the one name of a path that this module uses."""
    for where, reply in replies.items():
        if where != "*" and not re.fullmatch(r"[A-Z]+ /\S*", where):
            msg = f"{where!r} is no method and path such as 'GET /models'"
            raise ValueError(msg)
        if not (isinstance(reply, Reply) or callable(reply)):
            msg = f"{reply!r} is no Reply"
            raise TypeError(msg)
    return {one_name(where): reply for where, reply in replies.items()}


@dataclass(slots=True)
class Scenario:
    """What a simulation is given; the attributes are those of `SimulatedDocker`."""

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
    """Serves one simulation until it is closed."""

    def __init__(self, scenario: Scenario) -> None:
        self.memory = Memory()
        self._scenario = scenario
        self._store = store = Store(
            scenario.models, scenario.template, any_model=scenario.any_model
        )
        for name in scenario.pullable:
            store.hide(name)
        self._scheduler = Scheduler(store)
        self._read: dict[str, list[str]] = {}  # what each model has read last
        self._pages: dict[str, Callable[[], Any]] = {
            "/": lambda: "Docker Model Runner is running",
            "/engines/df": lambda: {
                "models_disk_usage": store.size(),
                "default_backend_disk_usage": ENGINE_SIZE,
            },
            "/engines/ps": self._scheduler.loaded,
            "/engines/status": lambda: STATUS,
            "/engines/v1/models": lambda: {
                "object": "list",
                "data": [_openai(model) for model in store.all()],
            },
            "/logs": lambda: LOGS,
            "/models": lambda: [model.data for model in store.all()],
            "/version": lambda: {"version": scenario.version},
        }
        self._server = Server(lambda link: Exchange(link, self._serve), socket.SHUT_RDWR)
        # With a command, its end is awaited.
        self._commands = Server(self._watch, socket.SHUT_WR)
        self.address = self._server.address
        self.command_address = self._commands.address

    def close(self) -> None:
        """Hang up on all clients, and end the commands that still run."""
        self._commands.close()
        self._server.close()

    def _serve(self, exchange: Exchange) -> None:
        headers = {name.lower(): value for name, value in exchange.headers.items()}
        memory = self.memory
        with memory.changed:
            call = memory.alive.get(headers.get("x-simulated-call", ""))
            body, size = exchange.json(), len(exchange.text)
            request = Request(exchange.command, exchange.target, headers, body, size, call)
            memory.remember(request)
        try:
            self._answer(exchange, request)
            request.complete = True
        except Gone:
            exchange.close_connection = True
            request.client_gone = True
        with memory.changed:
            memory.gone += request.client_gone and request.prompt is not None
            memory.changed.notify_all()

    def _watch(self, connection: socket.socket) -> None:
        """Stay with a command from its start to the end of its last process."""
        memory = self.memory
        process = CommandProcess(connection)
        call = process.call
        with memory.changed:
            memory.started += 1
            key = str(memory.started)
            memory.alive[key] = call
            memory.calls.append(call)
            memory.changed.notify_all()
        thread = threading.Thread(target=self._run, args=(process, key), name="simulated docker")
        thread.start()
        try:
            for pid in process.listen():
                with memory.changed:
                    call.plugin_pid = pid
                    memory.plugins += 1
                    memory.changed.notify_all()
        finally:
            thread.join()
            with memory.changed:
                call.alive = False
                del memory.alive[key]
                memory.changed.notify_all()

    def _run(self, process: CommandProcess, key: str) -> None:
        scenario = self._scenario
        try:
            run_command(
                process,
                version=scenario.version,
                address=self.address,
                key=key,
                startup=[order(step) for step in scenario.startup],
                plugin=scenario.plugin,
                retry_wait=scenario.retry_wait,
            )
        except Exception as error:  # noqa: BLE001 - raised again where the simulation ends
            self._failed(error)
            with contextlib.suppress(Ended):
                process.exit(1)

    def _answer(self, exchange: Exchange, request: Request) -> None:
        path, _, query = request.path.partition("?")
        route = one_name(f"{request.method} {path}")
        replies = self._scenario.replies
        fixed = replies.get(route, replies.get("*"))
        if fixed is not None:
            send_reply(exchange, fixed if isinstance(fixed, Reply) else fixed(request))
            return
        try:
            if request.size > LARGEST:
                _refuse("request too large")
            if route in INFERENCE:
                self._infer(exchange, request, *INFERENCE[route])
            elif route == "POST /models/create":
                self._pull(exchange, _object(request.body))
            else:
                arguments = dict(parse_qsl(query, keep_blank_values=True))
                send_reply(exchange, self._manage(route, arguments, request.body))
        except SchedulerError as error:
            send_reply(exchange, Reply(error.status, f"{error}\n"))
        except EngineError as error:
            send_reply(exchange, Reply(error.status, {"error": error.error}))

    # --- Inference --------------------------------------------------------------------------------

    def _infer(self, exchange: Exchange, request: Request, mode: str, act: str) -> None:
        """Have the model in memory, and let it answer."""
        body = _object(request.body)
        name = body.get("model")
        if not (isinstance(name, str) and name):
            _refuse("model is required")
        model = self._store.find(name)
        if model is None:
            msg = f"error while getting model: get model '\"{name}\"': model not found"
            raise SchedulerError(msg, 404)
        with self._scheduler.running(model, normalize(name), mode) as config:
            if "x-preload-only" in request.headers:
                send_reply(exchange, Reply())
            elif act == "chat":
                self._chat(exchange, request, model, config)
            else:
                reply = self._count if act == "count" else self._texts
                send_reply(exchange, reply(mode, body, model, config))

    def _prompt(self, body: Mapping[str, Any], model: StoredModel) -> ChatPrompt:
        return read_chat(body, model.model, self._scenario.template)

    def _chat(
        self,
        exchange: Exchange,
        request: Request,
        model: StoredModel,
        config: Mapping[str, Any],
    ) -> None:
        if model.model.kind != "chat":
            msg = "the current context does not support logits computation. skipping"
            raise EngineError(msg, 500)
        prompt = self._prompt(request.body, model)
        prompt.check_length(config.get("context-size") or model.context_size)
        ident = model.data["id"]
        prompt.remember(self._read.get(ident, ()))
        self._read[ident] = prompt.tokens
        stream = ChatReply(exchange, request.body, prompt)
        steps = steps_of(self._script(model), Prompt(request))
        try:
            stream.play(steps)
        except Gone:
            raise
        except Exception as error:  # noqa: BLE001 - raised again where the simulation ends
            stream.play([Fail(self._failed(error))])
        finally:
            steps.close()

    def _script(self, model: StoredModel) -> Script:
        scripts = self._scenario.scripts
        named = (scripts[tag] for tag in model.tags if tag in scripts)
        return next(named, self._scenario.script)

    def _failed(self, error: Exception) -> str:
        self.memory.errors.append(error)
        return "the script failed: " + "".join(traceback.format_exception_only(error)).strip()

    def _count(
        self, _mode: str, body: Mapping[str, Any], model: StoredModel, _config: Mapping[str, Any]
    ) -> Reply:
        prompt = self._prompt(from_messages_api(body), model)  # of embedding models, too
        return Reply(body={"input_tokens": len(prompt.tokens)})

    def _texts(
        self, mode: str, body: Mapping[str, Any], model: StoredModel, config: Mapping[str, Any]
    ) -> Reply:
        limits = Limits.of(model.model, mode, config)
        scenario = self._scenario
        try:
            if mode == "embedding":
                return Reply(body=embeddings(body, limits, scenario.embed))
            score = scenario.score if model.model.kind == "reranker" else None
            return Reply(body=rank(body, limits, score))
        except EngineError:
            raise
        except Exception as error:  # noqa: BLE001 - raised again where the simulation ends
            return Reply(500, self._failed(error))

    # --- Models -----------------------------------------------------------------------------------

    def _pull(self, exchange: Exchange, body: Mapping[str, Any]) -> None:
        name = body.get("from", "")
        store = self._store
        steps = self._scenario.pullable.get(normalize(name))
        if steps is None:
            known = store.find(name)
            steps = [Pulled("Using cached model: 256.35MiB")] if known else [NOT_FOUND]
        PullReply(exchange).play(steps, lambda: store.add(name))

    def _manage(self, route: str, arguments: Mapping[str, str], body: Any) -> Reply:
        """Answer what concerns the models, and asks none of them."""
        method, path = route.split(" ", 1)
        if method == "GET" and path in self._pages:
            return Reply(body=self._pages[path]())
        match route:
            case "GET /engines/_configure":
                wanted = arguments.get("model", "")
                return Reply(body=self._scheduler.configurations(wanted))
            case "POST /engines/_configure":
                self._scheduler.configure(_object(body))
                return Reply(202)
            case "GET /simulated/search":
                return Reply(body=self._search(arguments.get("q", "")))
            case "POST /engines/unload":
                return Reply(body={"unloaded_runners": self._unload(_object(body))})
        if path.startswith(("/models/", "/engines/v1/models/")):
            return self._model(method, path, arguments)
        return Reply(404, "404 page not found\n")

    def _search(self, term: str) -> list[dict[str, Any]]:
        """Return what Docker Hub would say; what can be pulled is there."""
        known = [model.shown_name for model in self._store.all()]
        names = [*self._scenario.pullable, *known]
        short = [name.removeprefix("docker.io/").removesuffix(":latest") for name in names]
        return [_found(name) for name in short if term.lower() in name.lower()]

    def _unload(self, body: Mapping[str, Any]) -> int:
        names, backend = body.get("models") or [], body.get("backend") or ""
        return self._scheduler.unload(names, everything=bool(body.get("all")), backend=backend)

    def _model(self, method: str, path: str, arguments: Mapping[str, str]) -> Reply:
        """Answer what concerns one model."""
        store = self._store
        name = path.partition("/models/")[2]
        openai = path.startswith("/engines/")
        missing = Reply(404, "model not found\n")
        if method == "GET":
            model = store.find(name, partly=not openai)
            if model is None:
                return missing
            return Reply(body=_openai(model) if openai else model.data)
        if method == "DELETE" and not openai:
            done = store.remove(name, force=arguments.get("force") in ("", "true", "1"))
            if done == []:
                msg = f'unable to delete "{name}" (must be forced) due to multiple tag references'
                return Reply(409, f"{msg}: resource conflict\n")
            return missing if done is None else Reply(body=done)
        if method == "POST" and name.endswith("/tag"):
            target = f"{arguments.get('repo', '')}:{arguments.get('tag', '')}"
            if not store.tag(name.removesuffix("/tag"), target):
                return missing
            message = f'Model tagged successfully with "{target}"'
            return Reply(201, {"message": message, "target": target})
        return Reply(404, "404 page not found\n")


# Paths below which a model answers: its mode, and what it does.
INFERENCE = {
    "POST /engines/v1/chat/completions": ("completion", "chat"),
    "POST /engines/v1/messages/count_tokens": ("completion", "count"),
    "POST /engines/v1/embeddings": ("embedding", "texts"),
    "POST /engines/rerank": ("reranking", "texts"),
}


def _refuse(message: str) -> NoReturn:
    raise SchedulerError(message, 400)


def _object(body: Any) -> dict[str, Any]:
    return body if isinstance(body, dict) else _refuse("invalid request")


def _json(data: bytes) -> Any:
    """Return the value of a body; `None` for one that is no JSON, too."""
    try:
        return json.loads(data)
    except ValueError:
        return None


NOT_FOUND = Fail("Model not found", 404)


def _found(name: str) -> dict[str, Any]:
    return {
        "Name": name,
        "Description": f"The model {name}",
        "Downloads": 1000,
        "Stars": 10,
        "Source": "HuggingFace" if name.startswith("huggingface.co/") else "Docker Hub",
        "Official": name.startswith("ai/"),
        "UpdatedAt": "2026-01-01T00:00:00Z",
        "Backend": "llama.cpp",
        "Size": 268_800_000,
    }


def _openai(model: StoredModel) -> dict[str, Any]:
    config = model.data.get("config") or {}
    known = {key: config[key] for key in _DMR if config.get(key)}
    if model.context_size is not None:
        known = {"context_window": model.context_size, **known}
    return {
        "id": model.shown_name,
        "object": "model",
        "created": model.data.get("created", 0),
        "owned_by": "docker",
        **({"dmr": known} if known else {}),
    }


_DMR = ("architecture", "parameters", "quantization", "size")
