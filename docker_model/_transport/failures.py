"""Failures that both transports name alike."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from docker_model._transport.model_names import canonical, display_name
from docker_model.errors import ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

_SIMILAR = 3  # names in a hint
_ALIKE = 0.6  # the least similarity of a name, 0 to 1


def model_not_found(model: str, pulled: Iterable[str] = (), detail: str = "") -> ModelNotFoundError:
    """Return the error for a model that is not in the local store.

    Args:
        model: The name as the caller gave it.
        pulled: The names in the local store, as far as they are known.
        detail: The words of the runner.
    """
    msg = f"the model {model!r} is not pulled"
    hint = f"`docker model pull {model}`"
    other_tags, similar = similar_names(model, pulled)
    if other_tags:
        msg += f", but the same model with another tag is: {', '.join(other_tags)}"
        hint += f", or use {other_tags[0]!r}"
    elif similar:
        hint += f"; did you mean {' or '.join(map(repr, similar))}?"
    return ModelNotFoundError(msg, hint=hint, detail=detail, model=model)


def similar_names(model: str, pulled: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return pulled models that differ in the tag alone, and others with a similar name.

    Args:
        model: The name that was not found.
        pulled: The names in the local store.
    """
    names = {display_name((name,), None): _parts(name) for name in dict.fromkeys(pulled)}
    path, last, _ = _parts(model)
    tags = [name for name, parts in names.items() if parts[0] == path][:_SIMILAR]
    if tags:
        return tags, []
    by_last: dict[str, list[str]] = {}
    for name, parts in names.items():
        by_last.setdefault(parts[1], []).append(name)
    close = get_close_matches(last, by_last, n=_SIMILAR, cutoff=_ALIKE)
    beginnings = [other for other in by_last if other.startswith(last) or last.startswith(other)]
    found = [name for other in dict.fromkeys((*close, *beginnings)) for name in by_last[other]]
    return [], found[:_SIMILAR]


def _parts(name: str) -> tuple[str, str, str]:
    """Split a name into its path, the last part of the path, and its tag."""
    path, _, tag = canonical(name).partition("@")[0].rpartition(":")
    path = re.sub(r"^[^/]*\.[^/]*/", "", path) if path.count("/") > 1 else path
    return path, path.rpartition("/")[2], tag
