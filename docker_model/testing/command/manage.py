"""The management commands: `list`, `inspect`, `pull`, `configure`, `status` and others."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from docker_model.testing.command.process import CommandError
from docker_model.testing.command.session import (
    NOT_RUNNING,
    UNAVAILABLE,
    QueryError,
    UnavailableError,
    refuse,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker_model.testing.command import Flags
    from docker_model.testing.command.session import Session

RETRIES = 4
RETRIED = (502, UNAVAILABLE, 504)
KILO = 1000


def query(path: str, show: Callable[[Session, Any], None]) -> Callable[[Session, Flags], None]:
    """Return a command that requests a path of the runner and prints the reply.

    Args:
        path: The path, with `{0}` for the first word of the command line.
        show: Called to print the JSON value of the reply.
    """

    def command(session: Session, flags: Flags) -> None:
        text = session.ask("GET", path.format(*flags.words), "the command failed")
        try:
            value = json.loads(text)
        except ValueError:
            refuse("failed to unmarshal response body: invalid character")
        show(session, value)

    return command


def print_json(session: Session, value: Any) -> None:
    """Print a value as JSON."""
    session.process.out(json.dumps(value, ensure_ascii=False, indent=4) + "\n")


def print_running(session: Session, running: Any) -> None:
    """Print the table of `docker model ps`."""
    rows = [["MODEL NAME", "BACKEND", "MODE", "UNTIL"]]
    for model in running:
        until = "Loading..." if model.get("loading") else "4 minutes from now"
        name = model["model_name"].lower()
        rows.append([name, model["backend_name"], model["mode"], until])
    _print_table(session, rows)


def print_usage(session: Session, usage: Any) -> None:
    """Print the table of `docker model df`."""
    engine = usage.get("default_backend_disk_usage")
    rows = [["TYPE", "SIZE"], ["Models", _size(usage["models_disk_usage"])]]
    _print_table(session, [*rows, *([["Inference engine", _size(engine)]] if engine else [])])


def print_search(session: Session, models: Any) -> None:
    """Print the result of `docker model search --json`."""
    if models:
        print_json(session, models)
    else:
        session.process.out("No models found\n")


def _print_table(session: Session, rows: list[list[str]]) -> None:
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


def remove(session: Session, flags: Flags) -> None:
    """Run `docker model rm MODEL`."""
    force = "true" if flags.on("force") else "false"
    session.ask("DELETE", f"/models/{flags.words[0]}?force={force}", "Failed to remove model")


def tag(session: Session, flags: Flags) -> None:
    """Run `docker model tag SOURCE TARGET`."""
    source, target = flags.words
    name, colon, label = target.rpartition(":")
    if not colon or "/" in label:
        name, label = target, "latest"
    path = f"/models/{source}/tag?repo={name}&tag={label}"
    session.ask("POST", path, "failed to tag model")


def unload(session: Session, flags: Flags) -> None:
    """Run `docker model unload MODEL…`."""
    body = {"all": flags.on("all"), "backend": "", "models": flags.words}
    text = session.ask("POST", "/engines/unload", "Failed to unload models", body)
    session.process.out(f"Unloaded {json.loads(text)['unloaded_runners']} model(s).\n")


def status(session: Session, _flags: Flags) -> None:
    """Run `docker model status --json`."""
    failed = "Failed to get Docker Model Runner status"
    state: dict[str, Any] = {"running": True, "backends": {}}
    try:
        session.ask("GET", "/models", failed)
        with contextlib.suppress(ValueError):
            state["backends"] = json.loads(session.ask("GET", "/engines/status", failed))
    except UnavailableError:
        state["running"] = False
    if session.old:
        state["endpoint"] = f"{session.base}/engines/v1/"
    else:
        state["kind"] = session.kind
        state["endpointHost"] = f"{session.base}/v1/"
    print_json(session, state)


def version(session: Session, _flags: Flags) -> None:
    """Run `docker model version`, which does not need the runner."""
    own, kind = session.version, session.kind
    text = f"Docker Model Runner version {own}\nDocker Engine Kind: {kind}\n"
    if not session.old:
        text = f"Client:\n Version:    {own}\n\nServer:\n Engine:     {kind}\n"
    session.process.out(text)


def configure(session: Session, flags: Flags) -> None:
    """Run `docker model configure`, which prints nothing on success."""
    model, *runtime_flags = flags.words
    if model == "show" and not session.old:
        name = "".join(flags.words[1:])
        query(f"/engines/_configure?model={name}", print_json)(session, flags)
        return
    overrides = flags.text("hf_overrides", "null")
    body: dict[str, Any] = {
        "model": model,
        "mode": flags.text("mode"),
        "context-size": _number(flags, "context-size"),
        "runtime-flags": runtime_flags,
        "keep_alive": flags.text("keep-alive"),
        "speculative": {
            "draft_model": flags.text("speculative-draft-model"),
            "num_tokens": _number(flags, "speculative-num-tokens"),
            "min_acceptance_rate": _number(flags, "speculative-min-acceptance-rate"),
        },
        "vllm": {
            "hf-overrides": json.loads(overrides),
            "gpu-memory-utilization": _number(flags, "gpu-memory-utilization"),
        },
    }
    for name in ("speculative", "vllm"):
        body[name] = {key: value for key, value in body[name].items() if value}
    body = {key: value for key, value in body.items() if value}
    if flags.text("think"):
        body["llamacpp"] = {"reasoning-budget": -1 if flags.on("think") else 0}
    session.ask("POST", "/engines/_configure", "the configuration was refused", body)


def _number(flags: Flags, name: str) -> float:
    number: float = json.loads(flags.text(name, "0"))
    return number


# --- Pulls ----------------------------------------------------------------------------------------


class _RetryError(CommandError):
    """A failed attempt that the CLI repeats."""


def pull_command(session: Session, flags: Flags) -> None:
    """Run `docker model pull MODEL`."""
    pull(session, flags.words[0])


def pull(session: Session, model: str) -> None:
    """Pull a model and print the progress in the format for pipes.

    A signal to `docker` does not cancel a pull.
    """
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
        self._incomplete = b""
        self._message = ""
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
        self._out(f"{self._message}\n")

    def _take(self, data: bytes) -> None:
        *lines, self._incomplete = (self._incomplete + data).split(b"\n")
        for line in filter(None, lines):
            with contextlib.suppress(ValueError):  # ignore lines that are not JSON
                self._step(json.loads(line))

    def _step(self, step: dict[str, Any]) -> None:
        message = str(step.get("message", ""))
        match step.get("type"):
            case "progress":
                layer = step["layer"]
                self._layers[layer.get("id", "")] = layer["current"]
                done, total = sum(self._layers.values()), step["total"]
                self._out(f"Downloaded {_size(done)} of {_size(total)}\n")
            case "success":
                self._message = message
            case "error":
                refuse(f"Failed to pull model: {message}")
            case "warning":
                self._err(f"Warning: {message}\n")
