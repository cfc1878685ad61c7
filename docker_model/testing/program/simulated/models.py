"""Models in the store: names, `inspect`, `list`."""

from __future__ import annotations

from .gojson import JsonError, dumps, loads
from .http import Client, QueryError, Unavailable
from .texts import CommandError, not_running, out, refuse_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .flags import Flags
    from .session import Session
    from .versions import Features

OK = 200
NOT_FOUND = 404
_TEXTS = ("format", "quantization", "parameters", "architecture", "size")


def complete_name(model: str, features: Features) -> str:
    """What a version's CLI makes of a name before it sends it."""
    if not features.names_as_typed and model.lower().startswith("hf.co/"):
        model = model.lower()
    if features.name_completed and "/" not in model:
        model = f"ai/{model}"
    if features.name_completed and ":" not in model.rpartition("/")[2]:
        model = f"{model}:latest"
    return model


def one_argument(features: Features) -> str:
    """How a version says that it wants one."""
    return "1 argument(s)." if features.argument_plural else "1 argument."


def _check_name(model: str, features: Features, failed: str) -> None:
    allowed = "/" in model or (features.ids_allowed and model.startswith("sha256:"))
    if features.name_needs_slash and not allowed:
        msg = f"{failed}: invalid model name: {model}"
        raise CommandError(msg)


def fetch(client: Client, path: str, failed: str, what: str = "models") -> Any:
    """GET a JSON value.

    Args:
        client: Where from.
        path: Of the URL.
        failed: How the text of an error begins.
        what: What the CLI says that it failed to list, when the runner refuses.

    Returns:
        The value; `None` for HTTP 404.

    Raises:
        CommandError: There is none.
    """
    try:
        reply = client.request("GET", path)
        if reply.status == NOT_FOUND:
            return None
        if reply.status != OK:
            msg = f"{failed}: failed to list {what}: {reply.reason}"
            raise CommandError(msg)
        return loads(reply.read())
    except Unavailable:
        raise not_running() from None
    except JsonError as error:
        msg = f"{failed}: failed to unmarshal response body: {error}"
        raise CommandError(msg) from None
    except QueryError as error:
        msg = f"{failed}: {error}"
        raise CommandError(msg) from None


def has_model(session: Session, model: str) -> bool:
    """Whether the store has it."""
    failed = "Failed to inspect model"
    _check_name(model, session.features, failed)
    return fetch(session.client, f"/models/{model}", failed) is not None


def inspect(session: Session, flags: Flags) -> None:
    """`docker model inspect MODEL`."""
    features = session.features
    if len(flags.words) != 1:
        refuse_arguments("inspect", " inspect MODEL", one_argument(features))
    session.need_engine()
    model = complete_name(flags.words[0], features)
    failed = f"Failed to get model {model}"
    _check_name(model, features, failed)
    openai = flags.on("openai")
    prefix = "/engines/v1" if openai else ""
    found = fetch(session.client, f"{prefix}/models/{model}", failed)
    if found is None:
        msg = f"{failed}: {model}: model not found"
        raise CommandError(msg)
    out(dumps(_openai(found) if openai else _model(found, features), 4) + "\n")


def list_models(session: Session, flags: Flags) -> None:
    """`docker model list`, in the forms that are for programs."""
    features = session.features
    if len(flags.words) > 1 and features.list_checks_arguments:
        msg = f"accepts at most 1 arg(s), received {len(flags.words)}"
        raise CommandError(msg)
    if flags.on("openai") and flags.on("quiet"):
        msg = "--quiet flag cannot be used with --openai flag or OpenAI backend"
        raise CommandError(msg)
    session.need_engine()
    wanted = flags.words[0] if flags.words and features.list_filter else ""
    wanted = wanted if "/" in wanted or not wanted else f"ai/{wanted}"
    failed = "Failed to list models"
    if flags.on("openai"):
        listed = fetch(session.client, "/engines/v1/models", failed) or {}
        data = [_openai(model) for model in listed.get("data", ())]
        every = not (wanted and features.list_filter_openai)
        kept = [model for model in data if every or _matches(model["id"], wanted)]
        out(dumps({"object": "list", "data": kept}, 4) + "\n")
        return
    models = fetch(session.client, "/models", failed)
    if models is not None:
        models = [_model(model, features) for model in models]
    if wanted:
        models = _filter(models or [], wanted) or None
    if flags.on("json"):
        out(dumps(models, 4) + "\n")
    elif flags.on("quiet"):
        out("".join(f"{model['id'][7:19]}\n" for model in models or ()))
    else:
        msg = "the simulated docker has no tables: use list --json, --openai or -q"
        raise CommandError(msg)


def _matches(tag: str, wanted: str) -> bool:
    return wanted == (tag if ":" in wanted else tag.partition(":")[0])


def _filter(models: list[dict[str, Any]], wanted: str) -> list[dict[str, Any]]:
    kept = []
    for model in models:
        tags = [tag for tag in model.get("tags", ()) if _matches(tag, wanted)]
        if tags:
            kept.append({**model, "tags": tags})
    return kept


def _model(model: dict[str, Any], features: Features) -> dict[str, Any]:
    """The keys that the CLI knows, in its order; the rest is lost on the way."""
    shown: dict[str, Any] = {"id": model.get("id", "")}
    if model.get("tags"):
        shown["tags"] = model["tags"]
    shown["created"] = model.get("created", 0)
    config = model.get("config")
    shown["config"] = None if features.null_config else {}
    if config is not None:
        kept = {key: config[key] for key in _TEXTS if config.get(key)}
        maps = ("gguf", "safetensors", "diffusers") if features.safetensors_shown else ("gguf",)
        for key in maps:
            if config.get(key):
                kept[key] = dict(sorted(config[key].items()))
        if config.get("context_size") is not None:
            kept["context_size"] = config["context_size"]
        shown["config"] = kept
    return shown


def _openai(model: dict[str, Any]) -> dict[str, Any]:
    shown = {key: model.get(key, "") for key in ("id", "object")}
    shown["created"] = model.get("created", 0)
    shown["owned_by"] = model.get("owned_by", "")
    if model.get("dmr"):
        shown["dmr"] = model["dmr"]
    return shown
