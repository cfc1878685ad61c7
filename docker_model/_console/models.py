"""The subcommands about models: `list`, `ps`, `pull`, `search`, `rm`, `configure`."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from docker_model import management
from docker_model._console.screen import screen, table
from docker_model._transport.model_names import display_name
from docker_model.types import ModelConfiguration

if TYPE_CHECKING:
    import argparse

    from docker_model._console.screen import Screen
    from docker_model.types import FoundModel, ModelInfo

# The columns that a narrow terminal omits, in this order.
_OPTIONAL_COLUMNS = ("CREATED", "QUANTIZATION", "PARAMETERS", "ABILITIES", "CONTEXT", "SIZE")
_CAPABILITIES = ("chat", "tools", "thinking", "vision", "audio", "embedding", "reranking")
_SCALES = ("", "K", "M", "G", "T")
_KILO = 1000


def runner(options: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments that select the runner."""
    return {"transport": options.transport, "base_url": options.base_url}


def list_models(options: argparse.Namespace, out: Screen) -> int:
    """Run `list`."""
    models = management.list_models(**runner(options))
    if options.json:
        out.line(json.dumps([plain(model) for model in models], indent=2))
    elif models:
        rows = [(name, model) for model in models for name in names(model)]
        columns = {
            "NAME": [name for name, _ in rows],
            "PARAMETERS": [model.parameters or "" for _, model in rows],
            "QUANTIZATION": [model.quantization or "" for _, model in rows],
            "SIZE": [model.size or "" for _, model in rows],
            "CONTEXT": [str(model.context_size or "") for _, model in rows],
            "ABILITIES": [abilities(model) for _, model in rows],
            "CREATED": [f"{m.created:%Y-%m-%d}" if m.created else "" for _, m in rows],
        }
        table(columns, out, _OPTIONAL_COLUMNS)
    else:
        screen(sys.stderr).line("no models yet; next: `docker model pull ai/smollm2`")
    return 0


def names(model: ModelInfo) -> list[str]:
    """Return all names of a model in their short form."""
    return [display_name((tag,), None) for tag in model.tags] or [model.name]


def abilities(model: ModelInfo) -> str:
    """Return the capabilities of a model as readable text."""
    return ", ".join(name for name in _CAPABILITIES if name in model.capabilities)


def plain(data: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON values."""
    fields = dataclasses.asdict(data)
    for name, value in fields.items():
        if hasattr(value, "isoformat"):
            fields[name] = value.isoformat()
        elif isinstance(value, frozenset):
            fields[name] = sorted(value)
    return fields


def ps(options: argparse.Namespace, out: Screen) -> int:
    """Run `ps`."""
    loaded = management.list_running(**runner(options))
    if not loaded:
        screen(sys.stderr).line("no model is loaded; the first request loads one")
        return 0
    columns = {
        "NAME": [running.name for running in loaded],
        "BACKEND": [running.backend for running in loaded],
        "MODE": [running.mode for running in loaded],
    }
    table(columns, out)
    return 0


def pull(options: argparse.Namespace, out: Screen) -> int:
    """Run `pull`."""
    with screen(sys.stderr).progress() as show:
        model = management.pull_model(options.model, on_progress=show, **runner(options))
    out.line(f"pulled {model.name}" + (f" ({model.size})" if model.size else ""))
    return 0


def search(options: argparse.Namespace, out: Screen) -> int:
    """Run `search`."""
    results = management.search_models(options.term, limit=options.limit, **runner(options))
    if not results:
        screen(sys.stderr).line(f"no model was found for {options.term!r}")
        return 0
    columns = {
        "NAME": [model.name for model in results],
        "SIZE": [_size(model) for model in results],
        "BACKEND": [model.backend or "" for model in results],
        "PULLS": [_short(model.downloads) for model in results],
        "STARS": [_short(model.stars) for model in results],
        "DESCRIPTION": [model.description for model in results],
    }
    table(columns, out, ("DESCRIPTION", "STARS", "BACKEND", "PULLS", "SIZE"))
    return 0


def _size(model: FoundModel) -> str:
    return "" if model.size is None else f"{_short(model.size)}B"


def _short(number: int | None) -> str:
    if number is None:
        return ""
    value, step = float(number), 0
    while value >= _KILO and step < len(_SCALES) - 1:
        value, step = value / _KILO, step + 1
    return f"{value:.1f}{_SCALES[step]}" if step else str(number)


def remove(options: argparse.Namespace, out: Screen) -> int:
    """Run `rm`."""
    for name in options.models:
        management.remove_model(name, force=options.force, **runner(options))
        out.line(f"removed {name}")
    return 0


def configure(options: argparse.Namespace, out: Screen) -> int:
    """Run `configure`, which changes or prints a configuration."""
    changes = {
        "context_size": options.context_size,
        "keep_alive": options.keep_alive,
        "think": options.think,
        "runtime_flags": options.flags or None,
        "draft_model": options.draft_model,
        "draft_tokens": options.draft_tokens,
        "draft_min_acceptance": options.draft_min_acceptance,
    }
    where = runner(options)
    if any(value is not None for value in changes.values()):
        management.configure_model(options.model, mode=options.mode, **changes, **where)
    current = management.model_configuration(options.model, mode=options.mode, **where)
    for name, value in plain(current or ModelConfiguration()).items():
        if value is not None:
            out.line(f"{name}: {' '.join(value) if isinstance(value, (list, tuple)) else value}")
    model = management.inspect_model(options.model, **where)
    out.line(f"effective context size: {model.context_size or 'unknown'}")
    return 0
