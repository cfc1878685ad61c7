"""`docker model pull`, with output that goes to no terminal."""

from __future__ import annotations

from .gojson import JsonError, loads
from .http import CutError, QueryError, Unavailable
from .texts import CommandError, arguments, err, next_steps, not_running, out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .flags import Flags
    from .http import Reply
    from .place import Place
    from .process import Plugin
    from .versions import Features

OK = 200
UNPROCESSABLE = 422
GATEWAY_ERRORS = (502, 504)
RETRIES = 4


class _RetryError(Exception):
    """An attempt that failed in a way that may pass."""


def pull_command(plugin: Plugin, features: Features, place: Place, flags: Flags) -> None:
    """`docker model pull MODEL`."""
    if len(flags.words) != 1:
        raise arguments("pull", " pull MODEL", "1 argument(s).")
    place.need_engine()
    pull(plugin, features, place, flags.words[0])


def pull(plugin: Plugin, features: Features, place: Place, model: str) -> None:
    """Pull a model and print the progress; nobody can cancel it.

    Raises:
        CommandError: It failed.
    """
    retries = RETRIES if features.relaxed_pulls else 0
    for attempt in range(retries + 1):
        if attempt:
            seconds = 2 ** (attempt - 1)
            out("\n")
            err(f"Retrying download (attempt {attempt}/{retries}) in {seconds}s...\n")
            plugin.wait(seconds=seconds)
        try:
            message = _attempt(features, place, model)
        except Unavailable:
            failure: CommandError = not_running()
        except (_RetryError, QueryError) as error:
            after = f"download failed after {retries} retries: " if retries else ""
            failure = CommandError(f"Failed to pull model: {after}{error}")
        else:
            out(message + "\n")
            return
    raise failure


def _attempt(features: Features, place: Place, model: str) -> str:
    import os  # noqa: PLC0415

    body = {"from": model}
    token = os.environ.get("HF_TOKEN")
    if token and model.lower().startswith(("hf.co/", "huggingface.co/")):
        body["bearer-token"] = token
    reply = place.client.request("POST", "/models/create", body)
    try:
        if reply.status != OK:
            return _refused(model, reply)
        return _progress(features, model, reply)
    finally:
        reply.close()


def _refused(model: str, reply: Reply) -> str:
    text = f"pulling {model} failed with status {reply.reason}: "
    if reply.status == UNPROCESSABLE:
        step = "Upgrade Docker Model Runner to the latest version to support this model"
        text += f"unsupported model config media type: {reply.read().strip()}\n{next_steps(step)}"
    else:
        text += reply.read().strip()
    if reply.status in GATEWAY_ERRORS:
        raise _RetryError(text)
    msg = f"Failed to pull model: {text}"
    raise CommandError(msg)


def _progress(features: Features, model: str, reply: Reply) -> str:
    layers: dict[str, int] = {}
    strange: list[str] = []
    message = ""
    buffer = b""
    ended = False
    while not ended:
        try:
            data = reply.chunk()
        except CutError:
            msg = "unexpected EOF"
            raise _RetryError(msg) from None
        ended = not data
        *lines, buffer = (buffer + data + (b"\n" if ended else b"")).split(b"\n")
        for line in filter(None, lines):
            text = line.decode("utf-8", "replace")
            try:
                step = loads(text)
            except JsonError as error:
                if not features.relaxed_pulls:
                    msg = f"Failed to pull model: error parsing progress message: {error}"
                    raise CommandError(msg) from None
                strange.append(text)
                continue
            message = _step(features, step, layers) or message
    if not message and not layers and strange and features.bad_pull_data_refused:
        shown = "\n".join(strange)
        msg = (
            "Failed to pull model: unexpected response from server "
            f"(not valid progress data): {shown}"
        )
        raise CommandError(msg)
    if not message and not features.relaxed_pulls:
        msg = f"Failed to pull model: unexpected end of stream while pulling model {model}"
        raise CommandError(msg)
    return message


def _step(features: Features, step: dict[str, object], layers: dict[str, int]) -> str:
    """Print one step; the message if it is the last."""
    kind, text = step.get("type"), str(step.get("message", ""))
    if kind == "progress":
        layer = step.get("layer")
        layer = layer if isinstance(layer, dict) else {}
        layers[str(layer.get("id", ""))] = int(layer.get("current", 0))
        total = step.get("total", 0)
        out(f"Downloaded {_size(sum(layers.values()))} of {_size(total)}\n")
    elif kind == "success":
        return text if features.relaxed_pulls else f"\n{text}"
    elif kind == "error":
        before = "" if features.relaxed_pulls else "error pulling model: "
        msg = f"Failed to pull model: {before}{text}"
        raise CommandError(msg)
    elif not features.relaxed_pulls:
        msg = f"Failed to pull model: unknown message type: {kind}"
        raise CommandError(msg)
    elif kind == "warning":
        err(f"Warning: {text}\n")
    return ""


def _size(size: object) -> str:
    number = float(size) if isinstance(size, (int, float)) else 0.0
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000:  # noqa: PLR2004 - decimal units
            break
        number /= 1000
    return f"{number:.2f}{unit}"
