"""Tab completion of commands, options and model names in a shell, with argcomplete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import argcomplete

from docker_model import management
from docker_model._console.models import names
from docker_model.errors import DockerModelError

if TYPE_CHECKING:
    import argparse

_TIMEOUT = 5.0  # seconds that the shell waits for the names of models


def complete(parser: argparse.ArgumentParser) -> None:
    """Print the completions for the shell, and exit."""
    argcomplete.autocomplete(parser, default_completer=_model_names)  # type: ignore[arg-type]


def _model_names(*, action: argparse.Action, **_: object) -> list[str]:
    if action.dest not in ("model", "models"):
        return []
    try:
        models = management.list_models(timeout=_TIMEOUT)
    except DockerModelError:
        return []
    return [name for model in models for name in names(model)]
