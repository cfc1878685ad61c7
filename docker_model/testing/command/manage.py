"""The commands that ask no model: `list`, `inspect`, `pull`, `configure`, `status` and others."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from docker_model.testing.command.process import CommandError
from docker_model.testing.command.session import (
    ACCEPTED,
    CREATED,
    NOT_FOUND,
    NOT_RUNNING,
    UNAVAILABLE,
    QueryError,
    UnavailableError,
    refuse,
)

if TYPE_CHECKING:
    from docker_model.testing.command import Flags
    from docker_model.testing.command.session import Session

RETRIES = 4
RETRIED = (502, UNAVAILABLE, 504)
KILO = 1000
# The flags of `configure` in the words of the request's body.
_NUMBERS = {
    "speculative-num-tokens": ("speculative", "num_tokens"),
    "speculative-min-acceptance-rate": ("speculative", "min_acceptance_rate"),
    "gpu-memory-utilization": ("vllm", "gpu-memory-utilization"),
}


def _print_json(session: Session, value: Any) -> None:
    session.process.out(json.dumps(value, ensure_ascii=False, indent=4) + "\n")


def _print_table(session: Session, *rows: list[str]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        session.process.out("  ".join(cells) + "\n")


def _size(number: float) -> str:
    units = ["GB", "MB", "kB", "B"]
    while number >= KILO and len(units) > 1:
        number /= KILO
        units.pop()
    return f"{number:.2f}{units[-1]}"


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
    _print_json(session, found)


def list_models(session: Session, _flags: Flags) -> None:
    """Run `docker model list --json`."""
    session.need_engine()
    _print_json(session, session.fetch("/models", "Failed to list models"))


def remove(session: Session, flags: Flags) -> None:
    """Run `docker model rm MODEL`."""
    session.need_engine()
    [model] = flags.words
    force = "true" if flags.on("force") else "false"
    failed = "Failed to remove model"
    reply = session.ask("DELETE", f"/models/{model}?force={force}", failed)
    if reply.status == NOT_FOUND:
        refuse(f"{failed}: no such model: {model}")
    reply.check(f"{failed}: removing {model} failed")


def tag(session: Session, flags: Flags) -> None:
    """Run `docker model tag SOURCE TARGET`."""
    session.need_engine()
    source, target = flags.words
    name, colon, label = target.rpartition(":")
    if not colon or "/" in label:
        name, label = target, "latest"
    path = f"/models/{source}/tag?repo={name}&tag={label}"
    failed = "failed to tag model"
    session.ask("POST", path, failed).check(f"{failed}: tagging failed", CREATED)


def search(session: Session, flags: Flags) -> None:
    """Run `docker model search --json TERM`; Docker Hub has what can be pulled."""
    [term] = flags.words
    found = session.fetch(f"/simulated/search?q={term}", "search failed")
    if found:
        _print_json(session, found[: int(flags.text("limit", "32"))])
    else:
        session.process.out(f"No models found matching {json.dumps(term)}\n")


# --- The runner -----------------------------------------------------------------------------------


def status(session: Session, _flags: Flags) -> None:
    """Run `docker model status --json`."""
    session.need_engine(always=True)
    failed = "Failed to get Docker Model Runner status"
    shown: dict[str, Any] = {"running": True, "backends": {}}
    try:
        session.ask("GET", "/models", failed).check(failed)
        with contextlib.suppress(ValueError):
            shown["backends"] = json.loads(session.ask("GET", "/engines/status", failed).text)
    except UnavailableError:
        shown["running"] = False
    if session.old:
        shown["endpoint"] = f"{session.base}/engines/v1/"
    else:
        shown["kind"] = session.kind
        shown["endpointHost"] = f"{session.base}/v1/"
    _print_json(session, shown)


def ps(session: Session, _flags: Flags) -> None:
    """Run `docker model ps`."""
    session.need_engine()
    running = session.fetch("/engines/ps", "Failed to list running models") or ()
    rows = []
    for model in running:
        until = "Loading..." if model.get("loading") else "4 minutes from now"
        rows.append([model["model_name"], model["backend_name"], model["mode"], until])
    _print_table(session, ["MODEL NAME", "BACKEND", "MODE", "UNTIL"], *rows)


def df(session: Session, _flags: Flags) -> None:
    """Run `docker model df`."""
    session.need_engine()
    usage = session.fetch("/engines/df", "Failed to list running models") or {}
    models, engine = usage.get("models_disk_usage", 0), usage.get("default_backend_disk_usage")
    rows = [["Inference engine", _size(engine)]] if engine else []
    _print_table(session, ["TYPE", "SIZE"], ["Models", _size(models)], *rows)


def version(session: Session, _flags: Flags) -> None:
    """Run `docker model version`, which does not need the runner."""
    own, kind = session.version, session.kind
    text = f"Docker Model Runner version {own}\nDocker Engine Kind: {kind}\n"
    if not session.old:
        text = f"Client:\n Version:    {own}\n\nServer:\n Engine:     {kind}\n"
    session.process.out(text)


def unload(session: Session, flags: Flags) -> None:
    """Run `docker model unload MODEL…`."""
    session.need_engine()
    body = {"all": flags.on("all"), "backend": "", "models": flags.words}
    failed = "Failed to unload models"
    reply = session.ask("POST", "/engines/unload", failed, body)
    reply.check(f"{failed}: unloading failed")
    count = json.loads(reply.text).get("unloaded_runners", 0)
    nothing = "No such model(s) running.\n"
    session.process.out(f"Unloaded {count} model(s).\n" if count else nothing)


def configure(session: Session, flags: Flags) -> None:
    """Run `docker model configure`; no output when the runner took it."""
    session.need_engine()
    if flags.words[0] == "show" and not session.old:
        query = f"?model={flags.words[1]}" if flags.words[1:] else ""
        _print_json(session, session.fetch(f"/engines/_configure{query}", "Failed"))
        return
    reply = session.request("POST", "/engines/_configure", _configuration(flags))
    if reply.status != ACCEPTED:
        unavailable = reply.status == UNAVAILABLE
        refuse("service unavailable" if unavailable else f"{reply.text} (status={reply.status})")


def _configuration(flags: Flags) -> dict[str, Any]:
    model, *runtime_flags = flags.words
    body: dict[str, Any] = {
        "model": model,
        "mode": flags.text("mode"),
        "context-size": int(flags.text("context-size", "0")),
        "runtime-flags": runtime_flags,
        "speculative": {"draft_model": flags.text("speculative-draft-model")},
        "vllm": {},
        "keep_alive": flags.text("keep-alive"),
    }
    for flag, (part, name) in _NUMBERS.items():
        body[part][name] = json.loads(flags.text(flag, "0"))
    if flags.text("hf_overrides"):
        body["vllm"]["hf-overrides"] = json.loads(flags.text("hf_overrides"))
    if flags.text("think"):
        body["llamacpp"] = {"reasoning-budget": -1 if flags.on("think") else 0}
    for name in ("speculative", "vllm"):
        body[name] = {key: value for key, value in body[name].items() if value}
    return {key: value for key, value in body.items() if value}


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
            session.process.err(f"Retrying download (attempt {attempt}/{RETRIES})...\n")
            session.process.sleep(session.retry_wait * 2 ** (attempt - 1))
        try:
            _Pull(session, model)
        except (_RetryError, QueryError) as error:
            failure = str(error)
        else:
            return
    refuse(f"Failed to pull model: download failed after {RETRIES} retries: {failure}")


class _Pull:
    """One attempt of a pull."""

    def __init__(self, session: Session, model: str) -> None:
        self._out, self._err = session.process.out, session.process.err
        self._layers: dict[str, int] = {}
        self._rest = b""
        self._message = ""
        self._is_strange = self._is_progress = False
        body = {"from": model}
        token = session.env.get("HF_TOKEN")
        if token and model.lower().startswith(("hf.co/", "huggingface.co/")):
            body["bearer-token"] = token
        reply = session.request("POST", "/models/create", body, take=self._take)
        if reply.close_connection:
            msg = "unexpected EOF"
            raise _RetryError(msg)
        if reply.status in RETRIED:
            unavailable = reply.status == UNAVAILABLE
            raise _RetryError(NOT_RUNNING if unavailable else f"status={reply.status}")
        reply.check(f"Failed to pull model: pulling {model} failed")
        self._take(b"\n")
        if self._is_strange and not self._is_progress:
            refuse("Failed to pull model: not valid progress data")
        self._out(f"{self._message}\n")

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in filter(None, lines):
            try:
                step = json.loads(line)
            except ValueError:
                self._is_strange = True
            else:
                self._step(step)

    def _step(self, step: dict[str, Any]) -> None:
        self._is_progress = True
        message = str(step.get("message", ""))
        match step.get("type"):
            case "progress":
                layer = step["layer"]
                self._layers[layer["id"]] = layer["current"]
                done, total = sum(self._layers.values()), step["total"]
                self._out(f"Downloaded {_size(done)} of {_size(total)}\n")
            case "success":
                self._message = message
            case "error":
                refuse(f"Failed to pull model: {message}")
            case "warning":
                self._err(f"Warning: {message}\n")
