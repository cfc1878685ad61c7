"""The commands that ask no model: `list`, `inspect`, `pull`, `configure`, `status` and others."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from docker_model.testing.command.process import CommandError
from docker_model.testing.command.session import (
    BOLD_NEXT,
    ENABLE,
    NOT_FOUND,
    NOT_RUNNING,
    OK,
    UNAVAILABLE,
    CutError,
    QueryError,
    UnavailableError,
    go_json,
    parse_json,
)
from docker_model.testing.scheduler import MODES, SchedulerError, go_duration

if TYPE_CHECKING:
    from docker_model.testing.command import Flags
    from docker_model.testing.command.session import Reply, Session

CREATED, ACCEPTED, CONFLICT, UNPROCESSABLE, GATEWAY_ERRORS = 201, 202, 409, 422, (502, 504)
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


def refuse(text: str) -> NoReturn:
    """End the command with this text on stderr."""
    raise CommandError(text)


def need_arguments(session: Session, count: int, need: str, usage: str, *, exact: bool) -> None:
    """Refuse too few words, or too many."""
    plural = "" if session.old else "(s)"
    name = usage.partition(" ")[0]
    if (count != 1) if exact else (count < 1):
        refuse(
            f"'docker model {name}' requires {need}1 argument{plural}.\n\n"
            f"Usage:  docker model {usage}\n\n"
            f"See 'docker model {name} --help' for more information"
        )


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return columns two blanks apart."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = (zip(row, widths, strict=True) for row in [head, *rows])
    return "".join("".join(f"{cell:<{width}}  " for cell, width in line) + "\n" for line in lines)


def size_of(number: float) -> str:
    """Return a number of bytes as the CLI shows it."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:  # noqa: PLR2004 - the step between two units
        number /= 1000
        del units[0]
    return f"{number:.2f}{units[0]}"


# --- Models ---------------------------------------------------------------------------------------


def is_there(session: Session, model: str, failed: str = "Failed to inspect model") -> Any:
    """Return what the store has under this name; `None` for nothing."""
    if session.old and "/" not in model:
        refuse(f"{failed}: invalid model name: {model}")
    return session.fetch(f"/models/{model}", failed)


def inspect(session: Session, flags: Flags) -> None:
    """Run `docker model inspect MODEL`."""
    need_arguments(session, len(flags.words), "", "inspect MODEL", exact=True)
    session.need_engine()
    (model,) = flags.words
    failed = f"Failed to get model {model}"
    found = is_there(session, model, failed)
    if found is None:
        refuse(f"{failed}: {model}: model not found")
    session.process.out(go_json(_model(session, found), 4) + "\n")


def list_models(session: Session, flags: Flags) -> None:
    """Run `docker model list --json`."""
    session.need_engine()
    models = session.fetch("/models", "Failed to list models")
    if models is not None:
        models = [_model(session, model) for model in models]
    if not flags.on("json"):
        refuse("the simulated docker has no table of models: use list --json")
    session.process.out(go_json(models, 4) + "\n")


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


def remove(session: Session, flags: Flags) -> None:
    """Run `docker model rm MODEL…`."""
    need_arguments(session, len(flags.words), "at least ", "rm [MODEL...]", exact=False)
    session.need_engine()
    force = "true" if flags.on("force") else "false"
    failed = "Failed to remove model"
    for model in flags.words:
        reply, text = session.ask("DELETE", f"/models/{model}?force={force}", failed)
        if reply.status == NOT_FOUND:
            refuse(f"{failed}: no such model: {model}")
        if reply.status != OK:
            refuse(f"{failed}: removing {model} failed with status {reply.reason}: {text}")
        for action in json.loads(text):
            for name, value in action.items():
                session.process.out(f"{name}: {value}\n")


def tag(session: Session, flags: Flags) -> None:
    """Run `docker model tag SOURCE TARGET`."""
    session.need_engine()
    source, target = flags.words
    name, colon, label = target.rpartition(":")
    if not colon or "/" in label:
        name, label = target, "latest"
    path = f"/models/{source}/tag?repo={name}&tag={label}"
    reply, text = session.ask("POST", path, "failed to tag model")
    if reply.status != CREATED:
        refuse(f"failed to tag model: tagging failed with status {reply.reason}: {text}")
    session.process.out(f'Model "{source}" tagged successfully with "{target}"\n')


def search(session: Session, flags: Flags) -> None:
    """Run `docker model search --json [TERM]`; Docker Hub has what can be pulled."""
    term = flags.words[0] if flags.words else ""
    found = session.fetch(f"/simulated/search?q={term}", "search failed") or []
    found = found[: int(flags.text("limit", "32"))]
    if not found:
        session.process.out(f"No models found{f' matching {json.dumps(term)}' if term else ''}\n")
    else:
        session.process.out(go_json(found, 4) + "\n")


# --- The runner -----------------------------------------------------------------------------------


def status(session: Session, _flags: Flags) -> None:
    """Run `docker model status --json`."""
    session.need_engine(always=True)
    failed = "Failed to get Docker Model Runner status"
    shown: dict[str, Any] = {"running": True, "backends": {}}
    try:
        reply, _ = session.ask("GET", "/models", failed)
        if reply.status != OK:
            refuse(f"{failed}: unexpected status code: {reply.status}")
        _, text = session.ask("GET", "/engines/status", failed)
        try:
            backends = parse_json(text, "failed to parse status response")
            shown["backends"] = dict(sorted(backends.items()))
        except CommandError as error:
            shown["backends"] = None
            session.process.err(f"{error}\n")
    except UnavailableError:
        shown["running"] = False
    if session.old:
        shown["endpoint"] = f"{session.base}/engines/v1/"
    else:
        engine = session.kind == "Docker Engine"
        shown["kind"] = session.kind
        shown["endpoint"] = "http://172.17.0.1:12434/v1/" if engine else f"{session.base}/v1/"
        shown["endpointHost"] = "http://127.0.0.1:12434/v1/" if engine else f"{session.base}/v1/"
    session.process.out(go_json(shown) + "\n")


def ps(session: Session, _flags: Flags) -> None:
    """Run `docker model ps`."""
    session.need_engine()
    running = session.fetch("/engines/ps", "Failed to list running models", "running models") or ()
    keys = ("backend_name", "mode")
    rows = [[_shown_name(item), *(item[key] for key in keys), _until(item)] for item in running]
    last = "LAST USED" if session.old else "UNTIL"
    session.process.out(table(["MODEL NAME", "BACKEND", "MODE", last], rows))


def _shown_name(item: dict[str, Any]) -> str:
    name: str = item["model_name"]
    if name.startswith("sha256:"):
        return name[7:19]
    name = name.lower().removeprefix("index.docker.io/").removeprefix("docker.io/")
    return name.removeprefix("ai/").removesuffix(":latest")


def _until(item: dict[str, Any]) -> str:
    if item.get("loading"):
        return "Loading..."
    if item.get("keep_alive") == "-1":
        return "Forever"
    used = item.get("last_used", "0001-")
    left = KEEP_ALIVE
    if not (item.get("in_use") or used.startswith("0001-")):
        left -= (datetime.now(UTC) - datetime.fromisoformat(used)).total_seconds()
    if left <= 0:
        return "Expiring"
    minutes = int(left / 60)
    shown = f"{minutes} minutes" if minutes > 1 else "About a minute"
    return f"{shown if minutes else f'{int(left)} seconds'} from now"


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
    own, kind = session.version, session.kind
    if session.old:
        session.process.out(f"Docker Model Runner version {own}\nDocker Engine Kind: {kind}\n")
        return
    try:
        reply, text = session.ask("GET", "/version", "")
        server = json.loads(text)["version"] if reply.status == OK else "(not reachable)"
    except (CommandError, ValueError):
        server = "(not reachable)"
    machine = platform.machine().lower()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    session.process.out(
        f"Client:\n Version:    {own}\n OS/Arch:    {platform.system().lower()}/{machine}\n\n"
        f"Server:\n Version:    {server}\n Engine:     {kind}\n"
    )


def unload(session: Session, flags: Flags) -> None:
    """Run `docker model unload MODEL…` or `--all`."""
    session.need_engine()
    everything = flags.on("all")
    body = {"all": everything, "backend": "", "models": flags.words}
    failed = "Failed to unload models"
    reply, text = session.ask("POST", "/engines/unload", failed, body)
    if reply.status != OK:
        refuse(f"{failed}: unloading failed with status {reply.reason}: {text}")
    count = json.loads(text).get("unloaded_runners", 0)
    nothing = "No models are running.\n" if everything else "No such model(s) running.\n"
    session.process.out(f"Unloaded {count} model(s).\n" if count else nothing)


def configure(session: Session, flags: Flags) -> None:
    """Run `docker model configure`; no output when the runner took it."""
    if flags.words[:1] == ["show"] and not session.old:
        session.need_engine()
        query = f"?model={flags.words[1]}" if flags.words[1:] else ""
        configured = session.fetch(f"/engines/_configure{query}", "Failed") or ()
        keys = ("Backend", "Model", "ModelID", "Mode", "Config")
        shown = [{key: item[key] for key in keys} for item in configured]
        session.process.out(go_json(shown, 2) + "\n")
        return
    count = len(flags.words) if flags.before_dashes is None else flags.before_dashes
    if count != 1:
        asked = "" if flags.before_dashes is None else " before --"
        words = f": [{' '.join(flags.words)}]" if flags.before_dashes is None else ""
        refuse(
            f"Exactly one model must be specified{asked}, got {count}{words}\n\n"
            "See 'docker model configure --help' for more information"
        )
    session.need_engine()
    try:
        reply = session.request("POST", "/engines/_configure", _configuration(flags))
    except QueryError as error:
        refuse(str(error))
    text = reply.read()
    if reply.status == UNAVAILABLE:
        refuse("service unavailable")
    if reply.status != ACCEPTED:
        refuse(text if reply.status == CONFLICT else f"{text} ({reply.reason})")


def _configuration(flags: Flags) -> dict[str, Any]:
    model, *runtime_flags = flags.words
    share = _number(flags, "gpu-memory-utilization")
    if share is not None and not 0 <= share <= 1:
        refuse(f"--gpu-memory-utilization must be between 0.0 and 1.0, got {share:f}")
    mode = flags.text("mode").lower()
    if mode and mode not in MODES:
        refuse(f'invalid mode "{flags.text("mode")}": must be one of {", ".join(MODES)}')
    overrides = flags.text("hf_overrides")
    keep_alive = flags.text("keep-alive")
    try:
        keep_alive = keep_alive and go_duration(keep_alive)
    except SchedulerError:
        why = f'time: invalid duration "{keep_alive}"'
        refuse(f'invalid keep_alive duration "{keep_alive}": {why}')
    body = {
        "mode": mode,
        "context-size": int(flags.text("context-size", "0")),
        "runtime-flags": runtime_flags,
        "speculative": {
            "draft_model": flags.text("speculative-draft-model"),
            "num_tokens": int(flags.text("speculative-num-tokens", "0")),
            "min_acceptance_rate": _number(flags, "speculative-min-acceptance-rate"),
        },
        "vllm": {
            "hf-overrides": overrides and parse_json(overrides, "invalid --hf_overrides JSON"),
            "gpu-memory-utilization": share,
        },
        "keep_alive": keep_alive,
    }
    if flags.text("think"):
        body["llamacpp"] = {"reasoning-budget": -1 if flags.on("think") else 0}
    return {"model": model, **{key: value for key, part in body.items() if (value := _set(part))}}


def _set(part: Any) -> Any:
    """Return a part of the configuration without what is not set."""
    if not isinstance(part, dict) or "reasoning-budget" in part:
        return part
    return {key: value for key, value in part.items() if value not in (None, "", 0)}


def _number(flags: Flags, name: str) -> float | None:
    text = flags.text(name)
    try:
        return float(text) if text else None
    except ValueError:
        refuse(f'invalid argument "{text}" for "--{name}" flag: invalid syntax')


# --- Pulls ----------------------------------------------------------------------------------------


class _RetryError(Exception):
    """An attempt that failed in a way that may pass."""


def pull_command(session: Session, flags: Flags) -> None:
    """Run `docker model pull MODEL`."""
    need_arguments(session, len(flags.words), "", "pull MODEL", exact=True)
    session.need_engine()
    pull(session, flags.words[0])


def pull(session: Session, model: str) -> None:
    """Pull a model and print the progress as to a pipe; no signal to `docker` cancels it."""
    failure = ""
    for attempt in range(RETRIES + 1):
        if attempt:
            factor = 2 ** (attempt - 1)
            session.process.out("\n")
            text = f"Retrying download (attempt {attempt}/{RETRIES}) in {factor}s...\n"
            session.process.err(text)
            session.process.sleep(session.retry_wait * factor)
        try:
            session.process.out(_attempt(session, model) + "\n")
        except (_RetryError, QueryError) as error:
            failure = str(error)
        else:
            return
    if failure == NOT_RUNNING:
        refuse(f"{NOT_RUNNING}\n{ENABLE}")
    refuse(f"Failed to pull model: download failed after {RETRIES} retries: {failure}")


def _attempt(session: Session, model: str) -> str:
    """Pull once; returns the message at the end, empty without one."""
    body = {"from": model}
    token = session.env.get("HF_TOKEN")
    if token and model.lower().startswith(("hf.co/", "huggingface.co/")):
        body["bearer-token"] = token
    reply = session.request("POST", "/models/create", body)
    if reply.status == OK:
        return _progress(session, reply)
    said = reply.read().strip()
    if reply.status == UNAVAILABLE:
        raise _RetryError(NOT_RUNNING)
    if reply.status == UNPROCESSABLE:
        step = "Upgrade Docker Model Runner to the latest version to support this model"
        said = f"unsupported model config media type: {said}\n{BOLD_NEXT}    {step}"
    text = f"pulling {model} failed with status {reply.reason}: {said}"
    if reply.status in GATEWAY_ERRORS:
        raise _RetryError(text)
    refuse(f"Failed to pull model: {text}")


def _progress(session: Session, reply: Reply) -> str:
    layers: dict[str, int] = {}
    strange: list[str] = []
    message = ""
    buffer = b""
    try:
        for data in reply.chunks():
            *lines, buffer = (buffer + data).split(b"\n")
            for line in filter(None, lines):
                message = (
                    _step(session, line.decode("utf-8", "replace"), layers, strange) or message
                )
        if buffer:
            message = _step(session, buffer.decode("utf-8", "replace"), layers, strange) or message
    except CutError:
        msg = "unexpected EOF"
        raise _RetryError(msg) from None
    if not message and not layers and strange:
        why = "unexpected response from server (not valid progress data)"
        refuse(f"Failed to pull model: {why}: {chr(10).join(strange)}")
    return message


def _step(session: Session, line: str, layers: dict[str, int], strange: list[str]) -> str:
    """Print one step; returns the message if it is the last."""
    try:
        step = json.loads(line)
    except ValueError:
        strange.append(line)
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
            refuse(f"Failed to pull model: {message}")
        case "warning":
            session.process.err(f"Warning: {message}\n")
    return ""
