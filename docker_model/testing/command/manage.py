"""The commands that ask no model: `list`, `inspect`, `pull`, `configure`, `status` and others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from docker_model.testing.command.process import CommandError
from docker_model.testing.command.session import (
    BOLD_NEXT,
    ENABLE,
    NOT_FOUND,
    NOT_RUNNING,
    OK,
    UNAVAILABLE,
    QueryError,
    UnavailableError,
    parse_json,
    refuse,
    show_json,
)

if TYPE_CHECKING:
    from docker_model.testing.command import Flags
    from docker_model.testing.command.session import Session

CREATED, ACCEPTED, CONFLICT, UNPROCESSABLE, GATEWAY_ERRORS = 201, 202, 409, 422, (502, 504)
RETRIES = 4
KILO = 1000


def _table(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = (zip(row, widths, strict=True) for row in [head, *rows])
    return "".join("".join(f"{cell:<{width}}  " for cell, width in line) + "\n" for line in lines)


def _size(number: float) -> str:
    units = iter(("B", "kB", "MB", "GB"))
    unit = next(units)
    while number >= KILO and unit != "GB":
        number, unit = number / KILO, next(units)
    return f"{number:.2f}{unit}"


# --- Models ---------------------------------------------------------------------------------------


def find(session: Session, model: str, failed: str = "Failed to inspect model") -> Any:
    """Return what the store has under this name; `None` for nothing."""
    if session.old and "/" not in model:
        refuse(f"{failed}: invalid model name: {model}")
    return session.fetch(f"/models/{model}", failed)


def inspect(session: Session, flags: Flags) -> None:
    """Run `docker model inspect MODEL`."""
    session.need_engine()
    model = flags.words[0]
    failed = f"Failed to get model {model}"
    found = find(session, model, failed)
    if found is None:
        refuse(f"{failed}: {model}: model not found")
    session.process.out(show_json(found, 4))


def list_models(session: Session, _flags: Flags) -> None:
    """Run `docker model list --json`."""
    session.need_engine()
    session.process.out(show_json(session.fetch("/models", "Failed to list models"), 4))


def remove(session: Session, flags: Flags) -> None:
    """Run `docker model rm MODEL…`."""
    session.need_engine()
    force = "true" if flags.on("force") else "false"
    failed = "Failed to remove model"
    for model in flags.words:
        reply = session.ask("DELETE", f"/models/{model}?force={force}", failed)
        if reply.status == NOT_FOUND:
            refuse(f"{failed}: no such model: {model}")
        if reply.status != OK:
            refuse(f"{failed}: removing {model} failed with status {reply.reason}: {reply.text}")
        for action in json.loads(reply.text):
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
    reply = session.ask("POST", path, "failed to tag model")
    if reply.status != CREATED:
        refuse(f"failed to tag model: tagging failed with status {reply.reason}: {reply.text}")
    session.process.out(f'Model "{source}" tagged successfully with "{target}"\n')


def search(session: Session, flags: Flags) -> None:
    """Run `docker model search --json [TERM]`; Docker Hub has what can be pulled."""
    term = flags.words[0] if flags.words else ""
    found = session.fetch(f"/simulated/search?q={term}", "search failed") or []
    shown = show_json(found[: int(flags.text("limit", "32"))], 4)
    session.process.out(shown if found else f"No models found matching {json.dumps(term)}\n")


# --- The runner -----------------------------------------------------------------------------------


def status(session: Session, _flags: Flags) -> None:
    """Run `docker model status --json`."""
    session.need_engine(always=True)
    failed = "Failed to get Docker Model Runner status"
    shown: dict[str, Any] = {"running": True, "backends": {}}
    try:
        reply = session.ask("GET", "/models", failed)
        if reply.status != OK:
            refuse(f"{failed}: unexpected status code: {reply.status}")
        text = session.ask("GET", "/engines/status", failed).text
        try:
            shown["backends"] = parse_json(text, "failed to parse status response")
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
    session.process.out(show_json(shown))


def ps(session: Session, _flags: Flags) -> None:
    """Run `docker model ps`."""
    session.need_engine()
    running = session.fetch("/engines/ps", "Failed to list running models") or ()
    rows = [
        [
            _short_name(each["model_name"]),
            each["backend_name"],
            each["mode"],
            "Loading..." if each.get("loading") else "4 minutes from now",
        ]
        for each in running
    ]
    session.process.out(_table(["MODEL NAME", "BACKEND", "MODE", "UNTIL"], rows))


def _short_name(name: str) -> str:
    if name.startswith("sha256:"):
        return name[7:19]
    return name.lower().removeprefix("docker.io/").removeprefix("ai/").removesuffix(":latest")


def df(session: Session, _flags: Flags) -> None:
    """Run `docker model df`."""
    session.need_engine()
    usage = session.fetch("/engines/df", "Failed to list running models") or {}
    rows = [["Models", _size(usage.get("models_disk_usage", 0))]]
    if usage.get("default_backend_disk_usage"):
        rows.append(["Inference engine", _size(usage["default_backend_disk_usage"])])
    session.process.out(_table(["TYPE", "SIZE"], rows))


def version(session: Session, _flags: Flags) -> None:
    """Run `docker model version`; exit code 0 whatever cannot be reached."""
    own, kind = session.version, session.kind
    if session.old:
        session.process.out(f"Docker Model Runner version {own}\nDocker Engine Kind: {kind}\n")
        return
    try:
        server = json.loads(session.ask("GET", "/version", "").text)["version"]
    except (CommandError, ValueError):
        server = "(not reachable)"
    session.process.out(
        f"Client:\n Version:    {own}\n OS/Arch:    linux/amd64\n\n"
        f"Server:\n Version:    {server}\n Engine:     {kind}\n"
    )


def unload(session: Session, flags: Flags) -> None:
    """Run `docker model unload MODEL…` or `--all`."""
    session.need_engine()
    everything = flags.on("all")
    body = {"all": everything, "backend": "", "models": flags.words}
    failed = "Failed to unload models"
    reply = session.ask("POST", "/engines/unload", failed, body)
    if reply.status != OK:
        refuse(f"{failed}: unloading failed with status {reply.reason}: {reply.text}")
    count = json.loads(reply.text).get("unloaded_runners", 0)
    nothing = "No models are running.\n" if everything else "No such model(s) running.\n"
    session.process.out(f"Unloaded {count} model(s).\n" if count else nothing)


def configure(session: Session, flags: Flags) -> None:
    """Run `docker model configure`; no output when the runner took it."""
    session.need_engine()
    if flags.words[:1] == ["show"] and not session.old:
        query = f"?model={flags.words[1]}" if flags.words[1:] else ""
        session.process.out(show_json(session.fetch(f"/engines/_configure{query}", "Failed"), 2))
        return
    reply = session.request("POST", "/engines/_configure", _configuration(flags))
    if reply.status == UNAVAILABLE:
        refuse("service unavailable")
    if reply.status != ACCEPTED:
        refuse(reply.text if reply.status == CONFLICT else f"{reply.text} ({reply.reason})")


def _configuration(flags: Flags) -> dict[str, Any]:
    model, *runtime_flags = flags.words
    overrides = flags.text("hf_overrides")
    body: dict[str, Any] = {
        "mode": flags.text("mode").lower(),
        "context-size": int(flags.text("context-size", "0")),
        "runtime-flags": runtime_flags,
        "speculative": {
            "draft_model": flags.text("speculative-draft-model"),
            "num_tokens": int(flags.text("speculative-num-tokens", "0")),
            "min_acceptance_rate": _number(flags, "speculative-min-acceptance-rate"),
        },
        "vllm": {
            "hf-overrides": overrides and parse_json(overrides, "invalid --hf_overrides JSON"),
            "gpu-memory-utilization": _number(flags, "gpu-memory-utilization"),
        },
        "keep_alive": flags.text("keep-alive"),
    }
    for name in ("speculative", "vllm"):
        body[name] = {key: value for key, value in body[name].items() if value not in (None, "", 0)}
    if flags.text("think"):
        body["llamacpp"] = {"reasoning-budget": -1 if flags.on("think") else 0}
    return {"model": model, **{key: value for key, value in body.items() if value}}


def _number(flags: Flags, name: str) -> float | None:
    text = flags.text(name)
    return float(text) if text else None


# --- Pulls ----------------------------------------------------------------------------------------


class _RetryError(CommandError):
    """An attempt that failed in a way that may pass."""


def pull_command(session: Session, flags: Flags) -> None:
    """Run `docker model pull MODEL`."""
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
            session.process.out(Pull(session).run(model) + "\n")
        except (_RetryError, QueryError) as error:
            failure = str(error)
        else:
            return
    if failure == NOT_RUNNING:
        refuse(f"{NOT_RUNNING}\n{ENABLE}")
    refuse(f"Failed to pull model: download failed after {RETRIES} retries: {failure}")


class Pull:
    """One attempt of a pull."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._layers: dict[str, int] = {}
        self._strange: list[str] = []
        self._message = ""
        self._rest = b""

    def run(self, model: str) -> str:
        """Pull; return the message at the end, empty without one."""
        body = {"from": model}
        token = self._session.env.get("HF_TOKEN")
        if token and model.lower().startswith(("hf.co/", "huggingface.co/")):
            body["bearer-token"] = token
        reply = self._session.request("POST", "/models/create", body, take=self._take)
        if reply.close_connection:
            msg = "unexpected EOF"
            raise _RetryError(msg)
        if reply.status == OK:
            self._take(b"\n")
            if self._strange and not (self._message or self._layers):
                why = "unexpected response from server (not valid progress data)"
                refuse(f"Failed to pull model: {why}: {chr(10).join(self._strange)}")
            return self._message
        text = reply.text.strip()
        if reply.status == UNAVAILABLE:
            raise _RetryError(NOT_RUNNING)
        if reply.status == UNPROCESSABLE:
            step = "Upgrade Docker Model Runner to the latest version to support this model"
            text = f"unsupported model config media type: {text}\n{BOLD_NEXT}    {step}"
        text = f"pulling {model} failed with status {reply.reason}: {text}"
        if reply.status in GATEWAY_ERRORS:
            raise _RetryError(text)
        return refuse(f"Failed to pull model: {text}")

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in filter(None, lines):
            self._step(line.decode("utf-8", "replace"))

    def _step(self, line: str) -> None:
        try:
            step = json.loads(line)
        except ValueError:
            self._strange.append(line)
            return
        message = str(step.get("message", ""))
        match step.get("type"):
            case "progress":
                layer = step.get("layer") or {}
                self._layers[str(layer.get("id", ""))] = int(layer.get("current", 0))
                done, total = sum(self._layers.values()), step.get("total", 0)
                self._session.process.out(f"Downloaded {_size(done)} of {_size(total)}\n")
            case "success":
                self._message = message
            case "error":
                refuse(f"Failed to pull model: {message}")
            case "warning":
                self._session.process.err(f"Warning: {message}\n")
