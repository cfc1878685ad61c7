"""Modules that are imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Lazy:
    """Stands for a module, and imports it when something of it is first looked up.

    An import statement in a function would do, and after a pause takes 40 µs each time: a good
    part of what is done before a call is under way. Type checkers, and whoever reads, get the
    module itself:

        if TYPE_CHECKING:
            from docker_model import calls
        else:
            calls = Lazy("docker_model.calls")

    Args:
        name: The module's full name.
    """

    def __init__(self, name: str) -> None:
        self._module = name

    def __getattr__(self, name: str) -> Any:
        found = getattr(import_module(self._module), name)
        setattr(self, name, found)  # so that it need not be looked up again
        return found
