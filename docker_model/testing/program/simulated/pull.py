"""`docker model pull`, with output that goes to no terminal."""

from __future__ import annotations

import os

from .gojson import JsonError, loads
from .http import CutError, QueryError, Unavailable
from .models import complete_name, one_argument
from .texts import CommandError, err, next_steps, not_running, out, refuse_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .flags import Flags
    from .http import Reply
    from .session import Session
    from .versions import Features

OK = 200
UNPROCESSABLE = 422
GATEWAY_ERRORS = (502, 504)
RETRIES = 4
THOUSAND = 1000


class _RetryError(Exception):
    """An attempt that failed in a way that may pass."""


def pull_command(session: Session, flags: Flags) -> None:
    """`docker model pull MODEL`."""
    if len(flags.words) != 1:
        refuse_arguments("pull", " pull MODEL", one_argument(session.features))
    session.need_engine()
    pull(session, complete_name(flags.words[0], session.features))


def pull(session: Session, model: str) -> None:
    """Pull a model and print the progress; nobody can cancel it.

    Raises:
        CommandError: It failed.
    """
    retries = RETRIES if session.features.relaxed_pulls else 0
    for attempt in range(retries + 1):
        if attempt:
            factor = 2 ** (attempt - 1)
            out("\n")
            err(f"Retrying download (attempt {attempt}/{retries}) in {factor}s...\n")
            session.plugin.wait(seconds=session.plugin.retry_wait * factor)
        try:
            message = _attempt(session, model)
        except Unavailable:
            failure: CommandError = not_running()
        except (_RetryError, QueryError) as error:
            after = f"download failed after {retries} retries: " if retries else ""
            failure = CommandError(f"Failed to pull model: {after}{error}")
        else:
            out(message + "\n")
            return
    raise failure


def _attempt(session: Session, model: str) -> str:
    body = {"from": model}
    token = os.environ.get("HF_TOKEN")
    if token and model.lower().startswith(("hf.co/", "huggingface.co/")):
        body["bearer-token"] = token
    reply = session.client.request("POST", "/models/create", body)
    try:
        if reply.status != OK:
            _refused(session.features, model, reply)
        return _progress(session.features, model, reply)
    finally:
        reply.close()


def _refused(features: Features, model: str, reply: Reply) -> NoReturn:
    text = f"pulling {model} failed with status {reply.reason}: "
    if reply.status == UNPROCESSABLE and features.format_hint:
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
    try:
        return _lines(features, model, reply, layers)
    finally:
        if layers and not features.relaxed_pulls:
            out("\n")


def _lines(features: Features, model: str, reply: Reply, layers: dict[str, int]) -> str:
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
        return text
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
    units = ["B", "kB", "MB", "GB", "TB"]
    while number >= THOUSAND and len(units) > 1:
        number /= THOUSAND
        del units[0]
    return f"{number:.2f}{units[0]}"
