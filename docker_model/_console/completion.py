"""What a shell offers after Tab, by argcomplete: commands, options, and models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import argcomplete

from docker_model import management
from docker_model.errors import DockerModelError

if TYPE_CHECKING:
    import argparse

_PATIENCE = 5.0  # seconds that somebody who pressed Tab will wait


def complete(parser: argparse.ArgumentParser) -> None:
    """Tell the shell that asks in the environment what may come next, and end the process."""
    argcomplete.autocomplete(parser, default_completer=_offered)  # type: ignore[arg-type]


def _offered(*, action: argparse.Action, **_: object) -> list[str]:
    if action.dest != "model":
        return []
    try:
        return [model.name for model in management.list_models(timeout=_PATIENCE)]
    except DockerModelError:
        return []
