"""The commands that ask no model: `list`, `inspect`, `pull`, `configure`, `status` and others."""

from __future__ import annotations

import json
import platform
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from docker_model.testing.command.cli import (
    ENABLE,
    CutError,
    QueryError,
    Unavailable,
    go_json,
    json_error,
    next_steps,
    not_running,
    refuse_arguments,
)
from docker_model.testing.command.process import CommandError
from docker_model.testing.scheduler import MODES, SchedulerError, go_duration

if TYPE_CHECKING:
    from docker_model.testing.command.cli import Flags, HttpReply, Session

OK, CREATED, ACCEPTED, NOT_FOUND, CONFLICT, UNPROCESSABLE = 200, 201, 202, 404, 409, 422
GATEWAY_ERRORS = (502, 504)
KEEP_ALIVE = 300.0
RETRIES = 4
_TEXTS = ("format", "quantization", "parameters", "architecture", "size")
CONFIGURE_FLAGS = (
    "context-size=int speculative-draft-model= speculative-num-tokens=int "
    "speculative-min-acceptance-rate= hf_overrides= gpu-memory-utilization= mode= think keep-alive="
)
CONFIGURE_LINE = (
    "configure [--context-size=<n>] [--speculative-draft-model=<model>] [--hf_overrides=<json>] "
    "[--gpu-memory-utilization=<float>] [--mode=<mode>] [--think] [--keep-alive=<duration>] "
    "MODEL [-- <runtime-flags...>]"
)


def _one_argument(session: Session) -> str:
    return "1 argument." if session.old else "1 argument(s)."


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return columns two blanks apart."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "".join(
        "".join(f"{cell:<{width}}  " for cell, width in zip(row, widths, strict=True)) + "\n"
        for row in [head, *rows]
    )


def size_of(number: float) -> str:
    """Return a number of bytes as the CLI shows it."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:  # noqa: PLR2004 - the step between two units
        number /= 1000
        del units[0]
    return f"{number:.2f}{units[0]}"


# --- Models ---------------------------------------------------------------------------------------


def _check_name(session: Session, model: str, failed: str) -> None:
    if session.old and "/" not in model:
        msg = f"{failed}: invalid model name: {model}"
        raise CommandError(msg)


def is_there(session: Session, model: str) -> bool:
    """Return whether the store has a model."""
    failed = "Failed to inspect model"
    _check_name(session, model, failed)
    return session.fetch(f"/models/{model}", failed) is not None


def inspect(session: Session, flags: Flags) -> None:
    """Run `docker model inspect MODEL`."""
    if len(flags.words) != 1:
        refuse_arguments("inspect", "inspect MODEL", _one_argument(session))
    session.need_engine()
    (model,) = flags.words
    failed = f"Failed to get model {model}"
    _check_name(session, model, failed)
    openai = flags.on("openai")
    found = session.fetch(f"{'/engines/v1' if openai else ''}/models/{model}", failed)
    if found is None:
        msg = f"{failed}: {model}: model not found"
        raise CommandError(msg)
    shown = _openai(found) if openai else _model(session, found)
    session.process.out(go_json(shown, 4) + "\n")


def list_models(session: Session, flags: Flags) -> None:
    """Run `docker model list`, in the forms that are for programs."""
    if len(flags.words) > 1 and not session.old:
        msg = f"accepts at most 1 arg(s), received {len(flags.words)}"
        raise CommandError(msg)
    if flags.on("openai") and flags.on("quiet"):
        msg = "--quiet flag cannot be used with --openai flag or OpenAI backend"
        raise CommandError(msg)
    session.need_engine()
    wanted = flags.words[0] if flags.words and not session.old else ""
    wanted = wanted if "/" in wanted or not wanted else f"ai/{wanted}"
    failed = "Failed to list models"
    if flags.on("openai"):
        listed = session.fetch("/engines/v1/models", failed) or {}
        data = [_openai(model) for model in listed.get("data", ())]
        kept = [model for model in data if not wanted or _matches(model["id"], wanted)]
        session.process.out(go_json({"object": "list", "data": kept}, 4) + "\n")
        return
    models = session.fetch("/models", failed)
    if models is not None:
        models = [_model(session, model) for model in models]
    if wanted:
        models = _filtered(models or [], wanted) or None
    if flags.on("json"):
        session.process.out(go_json(models, 4) + "\n")
    elif flags.on("quiet"):
        session.process.out("".join(f"{model['id'][7:19]}\n" for model in models or ()))
    else:
        msg = "the simulated docker has no table of models: use list --json, --openai or -q"
        raise CommandError(msg)


def _matches(tag: str, wanted: str) -> bool:
    return wanted == (tag if ":" in wanted else tag.partition(":")[0])


def _filtered(models: list[dict[str, Any]], wanted: str) -> list[dict[str, Any]]:
    tags = [[tag for tag in model.get("tags", ()) if _matches(tag, wanted)] for model in models]
    return [{**model, "tags": kept} for model, kept in zip(models, tags, strict=True) if kept]


def _model(session: Session, model: dict[str, Any]) -> dict[str, Any]:
    """Return the keys that the CLI knows, in its order."""
    tags = {"tags": model["tags"]} if model.get("tags") else {}
    shown = {"id": model.get("id", ""), **tags, "created": model.get("created", 0)}
    config = model.get("config")
    if config is None:
        return {**shown, "config": {} if session.old else None}
    kept = {key: config[key] for key in _TEXTS if config.get(key)}
    for key in ("gguf",) if session.old else ("gguf", "safetensors", "diffusers"):
        if config.get(key):
            kept[key] = dict(sorted(config[key].items()))
    if config.get("context_size") is not None:
        kept["context_size"] = config["context_size"]
    return {**shown, "config": kept}


def _openai(model: dict[str, Any]) -> dict[str, Any]:
    shown = {"id": "", "object": "", "created": 0, "owned_by": ""}
    kept = {key: model.get(key, empty) for key, empty in shown.items()}
    return {**kept, **({"dmr": model["dmr"]} if model.get("dmr") else {})}


def remove(session: Session, flags: Flags) -> None:
    """Run `docker model rm MODEL…`."""
    if not flags.words:
        refuse_arguments("rm", "rm [MODEL...]", f"at least {_one_argument(session)}")
    session.need_engine()
    force = "true" if flags.on("force") else "false"
    for model in flags.words:
        path = f"/models/{model}?force={force}"
        reply, text = _ask(session, "DELETE", path, "Failed to remove model")
        if reply.status != OK:
            why = f"removing {model} failed with status {reply.reason}: {text}"
            msg = f"no such model: {model}" if reply.status == NOT_FOUND else why
            msg = f"Failed to remove model: {msg}"
            raise CommandError(msg)
        for action in json.loads(text):
            for name, value in action.items():
                session.process.out(f"{name}: {value}\n")


def tag(session: Session, flags: Flags) -> None:
    """Run `docker model tag SOURCE TARGET`."""
    if len(flags.words) != 2:  # noqa: PLR2004 - the two
        refuse_arguments("tag", "tag SOURCE TARGET", "2 arguments.")
    session.need_engine()
    source, target = flags.words
    name, colon, label = target.rpartition(":")
    if not colon or "/" in label:
        name, label = target, "latest"
    path = f"/models/{source}/tag?repo={name}&tag={label}"
    reply, text = _ask(session, "POST", path, "failed to tag model")
    if reply.status != CREATED:
        msg = f"failed to tag model: tagging failed with status {reply.reason}: {text}"
        raise CommandError(msg)
    session.process.out(f'Model "{source}" tagged successfully with "{target}"\n')


def search(session: Session, flags: Flags) -> None:
    """Run `docker model search [TERM]`; what can be pulled is what Docker Hub has."""
    if len(flags.words) > 1:
        msg = f"accepts at most 1 arg(s), received {len(flags.words)}"
        raise CommandError(msg)
    source = flags.text("source", "all")
    if source not in ("all", "dockerhub", "huggingface"):
        msg = f'invalid source "{source}": must be one of all, dockerhub, huggingface'
        raise CommandError(msg)
    term = flags.words[0] if flags.words else ""
    found = session.fetch(f"/simulated/search?q={term}&source={source}", "search failed")
    found = (found or [])[: int(flags.text("limit", "32"))]
    if not found:
        session.process.out(f"No models found{f' matching {shlex.quote(term)}' if term else ''}\n")
    elif flags.on("json"):
        session.process.out(go_json(found, 4) + "\n")
    else:
        head = ["NAME", "DESCRIPTION", "BACKEND", "SIZE", "DOWNLOADS", "STARS", "SOURCE"]
        keys = ("Name", "Description", "Backend", "Size", "Downloads", "Stars", "Source")
        rows = [[str(model[key]) for key in keys] for model in found]
        session.process.out(table(head, rows))


def _ask(
    session: Session, method: str, path: str, failed: str, body: Any = None
) -> tuple[HttpReply, str]:
    """Send a request, and return its reply with the whole body."""
    try:
        reply = session.request(method, path, body)
        text = reply.read()
    except Unavailable:
        raise not_running() from None
    except QueryError as error:
        msg = f"{failed}: {error}"
        raise CommandError(msg) from None
    reply.close()
    return reply, text


# --- The runner -----------------------------------------------------------------------------------


def status(session: Session, flags: Flags) -> None:
    """Run `docker model status`, exit code 1 when the text form says that it is not running."""
    session.need_engine(status=True)
    failed = "Failed to get Docker Model Runner status"
    running = True
    backends: dict[str, str] | None = {}
    try:
        reply = session.request("GET", "/models")
        reply.close()
        if reply.status != OK:
            msg = f"{failed}: unexpected status code: {reply.status}"
            raise CommandError(msg)
        text = session.request("GET", "/engines/status").read()
        try:
            backends = dict(sorted(json.loads(text).items()))
        except ValueError as error:
            backends = None
            session.process.err(f"failed to parse status response: {json_error(text, error)}\n")
    except Unavailable:
        running = False
    except QueryError as error:
        msg = f"{failed}: {error}"
        raise CommandError(msg) from None
    if flags.on("json"):
        session.process.out(go_json(_status(session, backends, running=running)) + "\n")
    elif running:
        shown = _backend_table(session, backends or {})
        session.process.out("Docker Model Runner is running\n\n" + shown)
    else:
        session.process.out("Docker Model Runner is not running\n" + ENABLE)
        session.process.exit(1)


def _status(session: Session, backends: dict[str, str] | None, *, running: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"running": running, "backends": backends}
    if session.old:
        return {**shown, "endpoint": f"{session.base}/engines/v1/"}
    engine = session.kind == "Docker Engine"
    return {
        **shown,
        "kind": session.kind,
        "endpoint": "http://172.17.0.1:12434/v1/" if engine else f"{session.base}/v1/",
        "endpointHost": "http://127.0.0.1:12434/v1/" if engine else f"{session.base}/v1/",
    }


def _backend_table(session: Session, backends: dict[str, str]) -> str:
    if session.old:
        return "Status:\n" + "".join(f"{name}: {text}\n" for name, text in backends.items())
    order = ("Running", "Error", "Not Installed", "Installing")
    rows = [[name, *f"{text}: ".split(": ")[:2]] for name, text in backends.items()]
    rows.sort(key=lambda row: (order.index(row[1]) if row[1] in order else len(order), row[0]))
    return table(["BACKEND", "STATUS", "DETAILS"], rows)


def ps(session: Session, _flags: Flags) -> None:
    """Run `docker model ps`."""
    session.need_engine()
    running = session.fetch("/engines/ps", "Failed to list running models", "running models")
    last = "LAST USED" if session.old else "UNTIL"
    rows = [
        [
            _shown_name(session, item["model_name"]),
            item["backend_name"],
            item["mode"],
            _last_used(item) if session.old else _until(item),
        ]
        for item in running or ()
    ]
    session.process.out(table(["MODEL NAME", "BACKEND", "MODE", last], rows))


def _shown_name(session: Session, name: str) -> str:
    if name.startswith("sha256:"):
        return name[7:19]
    if session.old:
        return name
    name = name.lower().removeprefix("index.docker.io/").removeprefix("docker.io/")
    return name.removeprefix("ai/").removesuffix(":latest")


def _age(item: dict[str, Any]) -> float:
    used = item.get("last_used", "0001-01-01T00:00:00Z")
    if item.get("in_use") or used.startswith("0001-"):
        return 0.0
    return (datetime.now(UTC) - datetime.fromisoformat(used)).total_seconds()


def _human(seconds: float) -> str:
    minutes = int(seconds / 60)
    if minutes > 1:
        return f"{minutes} minutes"
    return "About a minute" if minutes else f"{int(seconds)} seconds"


def _until(item: dict[str, Any]) -> str:
    if item.get("loading"):
        return "Loading..."
    if item.get("keep_alive") == "-1":
        return "Forever"
    left = KEEP_ALIVE - _age(item)
    return f"{_human(left)} from now" if left > 0 else "Expiring"


def _last_used(item: dict[str, Any]) -> str:
    return f"{_human(_age(item))} ago"


def df(session: Session, _flags: Flags) -> None:
    """Run `docker model df`."""
    session.need_engine()
    usage = session.fetch("/engines/df", "Failed to list running models", "disk usage") or {}
    rows = [["Models", size_of(usage.get("models_disk_usage", 0))]]
    if usage.get("default_backend_disk_usage"):
        rows.append(["Inference engine", size_of(usage["default_backend_disk_usage"])])
    session.process.out(table(["TYPE", "SIZE"], rows))


def version(session: Session, _flags: Flags) -> None:
    """Run `docker model version`; exit code 0 whatever cannot be reached."""
    if session.old:
        session.process.out(
            f"Docker Model Runner version {session.version}\nDocker Engine Kind: {session.kind}\n"
        )
        return
    server = "(not reachable)"
    try:
        reply = session.request("GET", "/version")
        if reply.status == OK:
            server = json.loads(reply.read())["version"]
    except (QueryError, Unavailable, ValueError):
        pass
    machine = platform.machine().lower()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    session.process.out(
        f"Client:\n Version:    {session.version}\n"
        f" OS/Arch:    {platform.system().lower()}/{machine}\n\n"
        f"Server:\n Version:    {server}\n Engine:     {session.kind}\n"
    )


def unload(session: Session, flags: Flags) -> None:
    """Run `docker model unload MODEL…` or `--all`."""
    everything = flags.on("all")
    if not (flags.words or everything):
        line = "unload (MODEL [MODEL ...] [--backend BACKEND] | --all)"
        refuse_arguments("unload", line, "MODEL unless --all is specified.", end=".")
    session.need_engine()
    body = {"all": everything, "backend": flags.text("backend"), "models": flags.words}
    failed = "Failed to unload models"
    reply, text = _ask(session, "POST", "/engines/unload", failed, body)
    if reply.status != OK:
        msg = f"{failed}: unloading failed with status {reply.reason}: {text}"
        raise CommandError(msg)
    count = json.loads(text).get("unloaded_runners", 0)
    nothing = "No models are running.\n" if everything else "No such model(s) running.\n"
    session.process.out(f"Unloaded {count} model(s).\n" if count else nothing)


def configure(session: Session, flags: Flags) -> None:
    """Run `docker model configure`; no output when the runner took it."""
    if flags.words and flags.words[0] == "show" and not session.old:
        session.need_engine()
        query = f"?model={flags.words[1]}" if flags.words[1:] else ""
        configured = session.fetch(f"/engines/_configure{query}", "Failed")
        keys = ("Backend", "Model", "ModelID", "Mode", "Config")
        shown = [{key: item[key] for key in keys} for item in configured or ()]
        session.process.out(go_json(shown, 2) + "\n")
        return
    _check_one_model(session, flags)
    session.need_engine()
    try:
        reply = session.request("POST", "/engines/_configure", _configuration(flags))
        text = reply.read()
    except Unavailable:
        msg = "service unavailable"
        raise CommandError(msg) from None
    except QueryError as error:
        raise CommandError(str(error)) from None
    if reply.status == CONFLICT:
        raise CommandError(text)
    if reply.status != ACCEPTED:
        msg = f"{text} ({reply.reason})"
        raise CommandError(msg)


def _check_one_model(session: Session, flags: Flags) -> None:
    if session.old and not flags.words:
        refuse_arguments("configure", CONFIGURE_LINE, "at least 1 argument.")
    if session.old:
        return
    end = "\n\nSee 'docker model configure --help' for more information"
    count = len(flags.words)
    if flags.before_dashes is None and count != 1:
        shown = " ".join(flags.words)
        msg = f"Exactly one model must be specified, got {count}: [{shown}]{end}"
        raise CommandError(msg)
    if flags.before_dashes not in (None, 1):
        msg = f"Exactly one model must be specified before --, got {flags.before_dashes}{end}"
        raise CommandError(msg)


def _configuration(flags: Flags) -> dict[str, Any]:
    model, *runtime_flags = flags.words
    body: dict[str, Any] = {"model": model}
    mode = flags.text("mode").lower()
    if mode:
        if mode not in MODES:
            given = flags.text("mode")
            msg = f'invalid mode "{given}": must be one of {", ".join(MODES)}'
            raise CommandError(msg)
        body["mode"] = mode
    if flags.text("context-size"):
        body["context-size"] = int(flags.text("context-size"))
    if runtime_flags:
        body["runtime-flags"] = runtime_flags
    speculative: dict[str, Any] = {
        "draft_model": flags.text("speculative-draft-model"),
        "num_tokens": int(flags.text("speculative-num-tokens", "0")),
        "min_acceptance_rate": _number(flags, "speculative-min-acceptance-rate"),
    }
    speculative = {key: value for key, value in speculative.items() if value}
    vllm: dict[str, Any] = {}
    if flags.text("hf_overrides"):
        vllm["hf-overrides"] = _overrides(flags.text("hf_overrides"))
    if flags.text("gpu-memory-utilization"):
        share = _number(flags, "gpu-memory-utilization")
        if not 0 <= share <= 1:
            msg = f"--gpu-memory-utilization must be between 0.0 and 1.0, got {share:f}"
            raise CommandError(msg)
        vllm["gpu-memory-utilization"] = share
    thinking = {"reasoning-budget": -1 if flags.on("think") else 0} if flags.text("think") else {}
    if flags.text("keep-alive"):
        body["keep_alive"] = _keep_alive(flags.text("keep-alive"))
    parts = {"speculative": speculative, "vllm": vllm, "llamacpp": thinking}
    return body | {key: value for key, value in parts.items() if value}


def _number(flags: Flags, name: str) -> float:
    try:
        return float(flags.text(name, "0"))
    except ValueError:
        msg = f'invalid argument "{flags.text(name)}" for "--{name}" flag: invalid syntax'
        raise CommandError(msg) from None


def _overrides(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        msg = f"invalid --hf_overrides JSON: {json_error(text, error)}"
        raise CommandError(msg) from None


def _keep_alive(text: str) -> str:
    try:
        return go_duration(text)
    except SchedulerError:
        msg = f'invalid keep_alive duration "{text}": time: invalid duration "{text}"'
        raise CommandError(msg) from None


# --- Pulls ----------------------------------------------------------------------------------------


class _RetryError(Exception):
    """An attempt that failed in a way that may pass."""


def pull_command(session: Session, flags: Flags) -> None:
    """Run `docker model pull MODEL`."""
    if len(flags.words) != 1:
        refuse_arguments("pull", "pull MODEL", _one_argument(session))
    session.need_engine()
    pull(session, flags.words[0])


def pull(session: Session, model: str) -> None:
    """Pull a model and print the progress as to a pipe; no signal to `docker` cancels it.

    Raises:
        CommandError: If it failed.
    """
    retries = 0 if session.old else RETRIES
    for attempt in range(retries + 1):
        if attempt:
            factor = 2 ** (attempt - 1)
            session.process.out("\n")
            session.process.err(
                f"Retrying download (attempt {attempt}/{retries}) in {factor}s...\n"
            )
            session.process.sleep(session.retry_wait * factor)
        try:
            message = _attempt(session, model)
        except Unavailable:
            failure = not_running()
        except (_RetryError, QueryError) as error:
            after = f"download failed after {retries} retries: " if retries else ""
            failure = CommandError(f"Failed to pull model: {after}{error}")
        else:
            session.process.out(message + "\n")
            return
    raise failure


def _attempt(session: Session, model: str) -> str:
    body = {"from": model}
    token = session.env.get("HF_TOKEN")
    if token and model.lower().startswith(("hf.co/", "huggingface.co/")):
        body["bearer-token"] = token
    reply = session.request("POST", "/models/create", body)
    try:
        if reply.status != OK:
            _refused(session, model, reply)
        return _progress(session, model, reply)
    finally:
        reply.close()


def _refused(session: Session, model: str, reply: HttpReply) -> NoReturn:
    text = f"pulling {model} failed with status {reply.reason}: "
    if reply.status == UNPROCESSABLE and not session.old:
        step = "Upgrade Docker Model Runner to the latest version to support this model"
        text += f"unsupported model config media type: {reply.read().strip()}\n{next_steps(step)}"
    else:
        text += reply.read().strip()
    if reply.status in GATEWAY_ERRORS:
        raise _RetryError(text)
    msg = f"Failed to pull model: {text}"
    raise CommandError(msg)


def _progress(session: Session, model: str, reply: HttpReply) -> str:
    """Print the progress; returns the message at its end, empty without one."""
    layers: dict[str, int] = {}
    strange: list[str] = []
    message = ""
    buffer = b""
    try:
        for data in reply.chunks():
            *lines, buffer = (buffer + data).split(b"\n")
            for line in filter(None, lines):
                message = _step(session, line, layers, strange) or message
        if buffer:
            message = _step(session, buffer, layers, strange) or message
    except CutError:
        msg = "unexpected EOF"
        raise _RetryError(msg) from None
    finally:
        if layers and session.old:
            session.process.out("\n")
    if not message and session.old:
        msg = f"Failed to pull model: unexpected end of stream while pulling model {model}"
        raise CommandError(msg)
    if not message and not layers and strange:
        shown = "\n".join(strange)
        why = f"unexpected response from server (not valid progress data): {shown}"
        msg = f"Failed to pull model: {why}"
        raise CommandError(msg)
    return message


def _step(session: Session, line: bytes, layers: dict[str, int], strange: list[str]) -> str:
    """Print one step; returns the message if it is the last."""
    text = line.decode("utf-8", "replace")
    try:
        step = json.loads(text)
    except ValueError as error:
        if session.old:
            why = f"error parsing progress message: {json_error(text, error)}"
            msg = f"Failed to pull model: {why}"
            raise CommandError(msg) from None
        strange.append(text)
        return ""
    message = str(step.get("message", ""))
    match step.get("type"):
        case "progress":
            layer = step.get("layer") or {}
            layers[str(layer.get("id", ""))] = int(layer.get("current", 0))
            done, total = size_of(sum(layers.values())), size_of(step.get("total", 0))
            session.process.out(f"Downloaded {done} of {total}\n")
        case "success":
            return message
        case "error":
            msg = f"Failed to pull model: {'error pulling model: ' if session.old else ''}{message}"
            raise CommandError(msg)
        case kind if session.old:
            msg = f"Failed to pull model: unknown message type: {kind}"
            raise CommandError(msg)
        case "warning":
            session.process.err(f"Warning: {message}\n")
    return ""
