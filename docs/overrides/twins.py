"""A griffe extension for the reference: the functions that `twins` creates.

The static analysis ignores `list_models, alist_models = twins(_list_models)`.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import griffe

_RETURNED = re.compile(r"Coroutine\[Any, Any, (.*)\]")


class Twins(griffe.Extension):
    """Adds the sync and the async function, with the signature and docstring of the private one."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Add the functions of `docker_model.management` and the methods of `Client`."""
        if pkg.path != "docker_model":
            return
        for owner in (pkg["management"], pkg["http.client.Client"]):
            source = owner.filepath.read_text("utf-8")
            for private in list(owner.functions.values()):
                if f"twins({private.name})" in source:
                    name = private.name.removeprefix("_")
                    _add(owner, private, name, labels=set())
                    _add(owner, private, f"a{name}", labels={"async"})


def _add(owner: griffe.Module | griffe.Class, private: Any, name: str, labels: set[str]) -> None:
    function = copy.copy(private)
    function.name, function.labels = name, labels
    if returned := _RETURNED.fullmatch(str(private.returns)):  # the result of the coroutine
        function.returns = returned[1]
    owner.set_member(name, function)
