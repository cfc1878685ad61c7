"""`status`, `ps`, `version`, `unload` and `configure`."""

from __future__ import annotations

import os

from .gojson import JsonError, dumps, loads
from .http import QueryError, Unavailable
from .texts import CommandError, arguments, enable, err, not_running, out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .flags import Flags
    from .place import Place
    from .process import Plugin
    from .versions import Features

OK, ACCEPTED, CONFLICT = 200, 202, 409
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
CONFIGURE_LINE = (
    " configure [--context-size=<n>] [--speculative-draft-model=<model>] "
    "[--hf_overrides=<json>] [--gpu-memory-utilization=<float>] [--mode=<mode>] [--think] "
    "[--keep-alive=<duration>] MODEL [-- <runtime-flags...>]"
)


def status(_plugin: Plugin, features: Features, place: Place, flags: Flags) -> None:
    """`docker model status`, exit code 1 when the text form says that it is not running."""
    place.need_engine_for_status()
    failed = "Failed to get Docker Model Runner status"
    running = True
    try:
        reply = place.client.request("GET", "/models")
        if reply.status != OK:
            msg = f"{failed}: unexpected status code: {reply.status}"
            raise CommandError(msg)
        backends = _backends(place)
    except Unavailable:
        running, backends = False, {}
    except QueryError as error:
        msg = f"{failed}: {error}"
        raise CommandError(msg) from None
    if flags.on("json"):
        out(dumps(_status_object(features, place, running=running, backends=backends)) + "\n")
    elif running:
        out("Docker Model Runner is running\n\n" + _backend_table(features, backends or {}))
    else:
        out("Docker Model Runner is not running\n" + enable())
        os._exit(1)


def _backends(place: Place) -> dict[str, str] | None:
    text = place.client.request("GET", "/engines/status").read()
    try:
        found: dict[str, str] = loads(text)
    except JsonError as error:
        err(f"failed to parse status response: {error}\n")
        return None
    return dict(sorted(found.items()))


def _status_object(
    features: Features, place: Place, *, running: bool, backends: dict[str, str] | None
) -> dict[str, Any]:
    shown: dict[str, Any] = {"running": running, "backends": backends}
    base = place.client.base
    if not features.kind_in_status:
        return {**shown, "endpoint": f"{base}/engines/v1/"}
    engine = place.kind != MANUAL
    shown["kind"] = place.kind
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


def table(head: list[str], rows: list[list[str]]) -> str:
    """Columns two blanks apart, and two more at the end of a line."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "".join(
        "".join(cell.ljust(width + 2) for cell, width in zip(row, widths, strict=True)) + "\n"
        for row in [head, *rows]
    )


def ps(_plugin: Plugin, features: Features, place: Place, _flags: Flags) -> None:
    """`docker model ps`."""
    place.need_engine()
    failed = "Failed to list running models"
    try:
        reply = place.client.request("GET", "/engines/ps")
        if reply.status != OK:
            msg = f"{failed}: failed to list running models: {reply.reason}"
            raise CommandError(msg)
        running = loads(reply.read())
    except Unavailable:
        raise not_running() from None
    except QueryError as error:
        msg = f"{failed}: {error}"
        raise CommandError(msg) from None
    last = "UNTIL" if features.until_column else "LAST USED"
    rows = [
        [_display(item["model_name"]), item["backend_name"], item["mode"], _until(item)]
        for item in running or ()
    ]
    out(table(["MODEL NAME", "BACKEND", "MODE", last], rows))


def _display(name: str) -> str:
    if name.startswith("sha256:"):
        return name[7:19]
    name = name.lower().removeprefix("index.docker.io/").removeprefix("docker.io/")
    return name.removeprefix("ai/").removesuffix(":latest")


def _until(item: dict[str, Any]) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415 - this command alone needs it

    if item.get("loading"):
        return "Loading..."
    if item.get("keep_alive") == "-1":
        return "Forever"
    left = 300.0
    last_used = item.get("last_used", "0001-01-01T00:00:00Z")
    if not (item.get("in_use") or last_used.startswith("0001-")):
        left -= (datetime.now(UTC) - datetime.fromisoformat(last_used)).total_seconds()
    if left <= 0:
        return "Expiring"
    minutes = int(left / 60)
    if minutes > 1:
        return f"{minutes} minutes from now"
    return "About a minute from now" if minutes else f"{int(left)} seconds from now"


def version(_plugin: Plugin, features: Features, place: Place, _flags: Flags) -> None:
    """`docker model version`; exit code 0 whatever cannot be reached."""
    if not features.version_block:
        out(f"Docker Model Runner version {features.version}\n")
        out(f"Docker Engine Kind: {place.kind}\n")
        return
    server = "(not reachable)"
    try:
        reply = place.client.request("GET", "/version")
        if reply.status == OK:
            server = loads(reply.read())["version"]
    except (QueryError, Unavailable, JsonError):
        pass
    system = os.uname()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(system.machine, system.machine)
    out(
        f"Client:\n Version:    {features.version}\n"
        f" OS/Arch:    {system.sysname.lower()}/{machine}\n\n"
        f"Server:\n Version:    {server}\n Engine:     {place.kind}\n"
    )


def unload(_plugin: Plugin, _features: Features, place: Place, flags: Flags) -> None:
    """`docker model unload MODEL…` or `--all`."""
    everything = flags.on("all")
    if not (flags.words or everything):
        line = " unload (MODEL [MODEL ...] [--backend BACKEND] | --all)"
        raise arguments("unload", line, "MODEL unless --all is specified.", end=".")
    place.need_engine()
    body = {"all": everything, "backend": flags.text("backend"), "models": flags.words}
    failed = "Failed to unload models"
    try:
        reply = place.client.request("POST", "/engines/unload", body)
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


def configure(_plugin: Plugin, _features: Features, place: Place, flags: Flags) -> None:
    """`docker model configure`; no output when the runner took it."""
    if not flags.words:
        raise arguments("configure", CONFIGURE_LINE, "at least 1 argument(s).")
    place.need_engine()
    model, *runtime_flags = flags.words
    body: dict[str, Any] = {"model": model}
    if flags.text("context-size"):
        body["context-size"] = int(flags.text("context-size"))
    if flags.text("keep-alive"):
        body["keep_alive"] = _go_duration(flags.text("keep-alive"))
    if runtime_flags:
        body["runtime-flags"] = runtime_flags
    try:
        reply = place.client.request("POST", "/engines/_configure", body)
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


def _go_duration(text: str) -> str:
    if text in ("-1", "0"):
        return text
    number, unit = int(text[:-1]), text[-1]
    seconds = number * {"s": 1, "m": 60, "h": 3600}[unit]
    hours, minutes = seconds // 3600, seconds // 60 % 60
    shown = f"{hours}h" if hours else ""
    shown += f"{minutes}m" if hours or minutes else ""
    return f"{shown}{seconds % 60}s"
