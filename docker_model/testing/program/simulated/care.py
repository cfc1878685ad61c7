"""`status`, `ps`, `version`, `unload` and `configure`."""

from __future__ import annotations

import os

from .gojson import JsonError, dumps, loads
from .http import QueryError, Unavailable
from .models import fetch, one_argument
from .texts import ENABLE, CommandError, err, not_running, out, refuse_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .flags import Flags
    from .session import Session
    from .versions import Features

OK, ACCEPTED, CONFLICT = 200, 202, 409
KEEP_ALIVE = 300.0
MANUAL = "Docker Engine (Manual Install)"
CONFIGURE_FLAGS = {
    "context-size": "int",
    "gpu-memory-utilization": "string",
    "hf_overrides": "string",
    "keep-alive": "string",
    "mode": "string",
    "speculative-draft-model": "string",
    "speculative-min-acceptance-rate": "string",
    "speculative-num-tokens": "int",
    "think": "bool",
}
CONFIGURED = ("context-size", "keep-alive", "mode")
CONFIGURE_LINE = (
    " configure [--context-size=<n>] [--speculative-draft-model=<model>] "
    "[--hf_overrides=<json>] [--gpu-memory-utilization=<float>] [--mode=<mode>] [--think] "
    "[--keep-alive=<duration>] MODEL [-- <runtime-flags...>]"
)


def status(session: Session, flags: Flags) -> None:
    """`docker model status`, exit code 1 when the text form says that it is not running."""
    session.need_engine_for_status()
    failed = "Failed to get Docker Model Runner status"
    running = True
    try:
        reply = session.client.request("GET", "/models")
        if reply.status != OK:
            msg = f"{failed}: unexpected status code: {reply.status}"
            raise CommandError(msg)
        backends = _backends(session)
    except Unavailable:
        running, backends = False, {}
    except QueryError as error:
        msg = f"{failed}: {error}"
        raise CommandError(msg) from None
    if flags.on("json"):
        out(dumps(_status_object(session, running=running, backends=backends)) + "\n")
    elif running:
        out("Docker Model Runner is running\n\n" + _backend_table(session.features, backends or {}))
    else:
        out("Docker Model Runner is not running\n" + ENABLE)
        os._exit(1)


def _backends(session: Session) -> dict[str, str] | None:
    text = session.client.request("GET", "/engines/status").read()
    try:
        found: dict[str, str] = loads(text)
    except JsonError as error:
        err(f"failed to parse status response: {error}\n")
        return None
    return dict(sorted(found.items()))


def _status_object(
    session: Session, *, running: bool, backends: dict[str, str] | None
) -> dict[str, Any]:
    shown: dict[str, Any] = {"running": running, "backends": backends}
    base = session.client.base
    if not session.features.kind_in_status:
        return {**shown, "endpoint": f"{base}/engines/v1/"}
    engine = session.kind != MANUAL
    shown["kind"] = session.kind
    shown["endpoint"] = "http://172.17.0.1:12434/v1/" if engine else f"{base}/v1/"
    shown["endpointHost"] = "http://127.0.0.1:12434/v1/" if engine else f"{base}/v1/"
    return shown


def _backend_table(features: Features, backends: dict[str, str]) -> str:
    if not features.status_table:
        return "Status:\n" + "".join(f"{name}: {text}\n" for name, text in backends.items())
    order = ("Running", "Error", "Not Installed", "Installing")
    rows = []
    for name, text in backends.items():
        state, _, details = text.partition(": ")
        rank = order.index(state) if state in order else len(order)
        rows.append((rank, [name, state, details]))
    rows.sort()
    return table(["BACKEND", "STATUS", "DETAILS"], [row for _, row in rows])


def table(head: list[str], rows: list[list[str]], trailing: int = 2) -> str:
    """Columns two blanks apart, and some more at the end of a line."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        + (" " * trailing if row is head else "  ")
        + "\n"
        for row in [head, *rows]
    )


def ps(session: Session, _flags: Flags) -> None:
    """`docker model ps`."""
    features = session.features
    session.need_engine()
    failed = "Failed to list running models"
    running = fetch(session.client, "/engines/ps", failed, "running models")
    last = "UNTIL" if features.until_column else "LAST USED"
    column = _until if features.until_column else _last_used
    rows = [
        [
            _display(item["model_name"], features),
            item["backend_name"],
            item["mode"],
            column(item, features),
        ]
        for item in running or ()
    ]
    out(table(["MODEL NAME", "BACKEND", "MODE", last], rows, 2 if features.wide_tables else 1))


def _display(name: str, features: Features) -> str:
    if name.startswith("sha256:"):
        return name[7:19]
    if features.running_in_lower_case:
        name = name.lower()
    if features.registry_hidden:
        name = name.removeprefix("index.docker.io/").removeprefix("docker.io/")
        name = name.removeprefix("ai/")
    return name.removesuffix(":latest") if features.latest_hidden else name


def _age(item: dict[str, Any]) -> float | None:
    """Seconds since its last use; `None` while it is in use."""
    from datetime import UTC, datetime  # noqa: PLC0415 - this command alone needs it

    last_used = item.get("last_used", "0001-01-01T00:00:00Z")
    if item.get("in_use") or last_used.startswith("0001-"):
        return None
    return (datetime.now(UTC) - datetime.fromisoformat(last_used)).total_seconds()


def _human(seconds: float) -> str:
    minutes = int(seconds / 60)
    if minutes > 1:
        return f"{minutes} minutes"
    return "About a minute" if minutes else f"{int(seconds)} seconds"


def _until(item: dict[str, Any], features: Features) -> str:
    if item.get("loading") and features.loading_shown:
        return "Loading..."
    if item.get("keep_alive") == "-1":
        return "Forever"
    left = KEEP_ALIVE - (_age(item) or 0.0)
    return f"{_human(left)} from now" if left > 0 else "Expiring"


def _last_used(item: dict[str, Any], features: Features) -> str:
    age = _age(item)
    if age is None:
        return "in use" if features.use_shown else "292 years ago"
    return f"{_human(age)} ago"


def version(session: Session, _flags: Flags) -> None:
    """`docker model version`; exit code 0 whatever cannot be reached."""
    features = session.features
    if not features.version_block:
        out(f"Docker Model Runner version {features.version}\n")
        out(f"Docker Engine Kind: {session.kind}\n")
        return
    server = "(not reachable)"
    try:
        reply = session.client.request("GET", "/version")
        if reply.status == OK:
            server = loads(reply.read())["version"]
    except (QueryError, Unavailable, JsonError):
        pass
    system = os.uname()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(system.machine, system.machine)
    out(
        f"Client:\n Version:    {features.version}\n"
        f" OS/Arch:    {system.sysname.lower()}/{machine}\n\n"
        f"Server:\n Version:    {server}\n Engine:     {session.kind}\n"
    )


def unload(session: Session, flags: Flags) -> None:
    """`docker model unload MODEL…` or `--all`."""
    everything = flags.on("all")
    if not (flags.words or everything):
        line = " unload (MODEL [MODEL ...] [--backend BACKEND] | --all)"
        refuse_arguments("unload", line, "MODEL unless --all is specified.", end=".")
    session.need_engine()
    body = {"all": everything, "backend": flags.text("backend"), "models": flags.words}
    failed = "Failed to unload models"
    try:
        reply = session.client.request("POST", "/engines/unload", body)
        text = reply.read()
    except Unavailable:
        raise not_running() from None
    except QueryError as error:
        msg = f"{failed}: {error}"
        raise CommandError(msg) from None
    if reply.status != OK:
        msg = f"{failed}: unloading failed with status {reply.reason}: {text}"
        raise CommandError(msg)
    count = loads(text).get("unloaded_runners", 0)
    nothing = "No models are running.\n" if everything else "No such model(s) running.\n"
    out(f"Unloaded {count} model(s).\n" if count else nothing)


def configure(session: Session, flags: Flags) -> None:
    """`docker model configure`; no output when the runner took it."""
    features = session.features
    if not flags.words:
        refuse_arguments("configure", CONFIGURE_LINE, f"at least {one_argument(features)}")
    session.need_engine()
    if flags.words[0] == "show" and features.configurations_shown:
        query = f"?model={flags.words[1]}" if flags.words[1:] else ""
        configured = fetch(session.client, f"/engines/_configure{query}", "Failed")
        keys = ("Backend", "Model", "ModelID", "Mode", "Config")
        out(dumps([{key: item[key] for key in keys} for item in configured or ()], 2) + "\n")
        return
    body = _configuration(flags)
    try:
        reply = session.client.request("POST", "/engines/_configure", body)
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


def _configuration(flags: Flags) -> dict[str, Any]:
    for name in flags.values:
        if name not in CONFIGURED:
            msg = f"the simulated docker cannot configure --{name}"
            raise CommandError(msg)
    model, *runtime_flags = flags.words
    body: dict[str, Any] = {"model": model}
    if flags.text("context-size"):
        body["context-size"] = int(flags.text("context-size"))
    if flags.text("keep-alive"):
        body["keep_alive"] = _go_duration(flags.text("keep-alive"))
    if flags.text("mode"):
        body["mode"] = flags.text("mode")
    if runtime_flags:
        body["runtime-flags"] = runtime_flags
    return body


def _go_duration(text: str) -> str:
    if text in ("-1", "0"):
        return text
    number, unit = int(text[:-1]), text[-1]
    seconds = number * {"s": 1, "m": 60, "h": 3600}[unit]
    hours, minutes = seconds // 3600, seconds // 60 % 60
    shown = f"{hours}h" if hours else ""
    shown += f"{minutes}m" if hours or minutes else ""
    return f"{shown}{seconds % 60}s"
