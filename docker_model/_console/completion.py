"""Completion by a shell after Tab, with argcomplete: commands, options and models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import argcomplete

from docker_model import management
from docker_model._console.models import names
from docker_model.errors import DockerModelError

if TYPE_CHECKING:
    import argparse

_PATIENCE = 5.0  # seconds that a shell waits for the names of models


def complete(parser: argparse.ArgumentParser) -> None:
    """Print what may come next for the shell that asks, and end the process."""
    argcomplete.autocomplete(parser, default_completer=_offered)  # type: ignore[arg-type]


def _offered(*, action: argparse.Action, **_: object) -> list[str]:
    if action.dest not in ("model", "models"):
        return []
    try:
        models = management.list_models(timeout=_PATIENCE)
    except DockerModelError:
        return []
    return [name for model in models for name in names(model)]
