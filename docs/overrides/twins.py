"""A griffe extension for the reference: the functions that `twins` creates.

The static analysis ignores `list_models, alist_models = twins(_list_models)`.
"""

from __future__ import annotations

import copy
from typing import Any

import griffe


class Twins(griffe.Extension):
    """Adds the sync and the async function, with the signature and docstring of the private one."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Add the functions that `docker_model.management` exports."""
        if pkg.path != "docker_model":
            return
        module = pkg["management"]
        for private in [member for member in module.functions.values() if member.is_private]:
            name = private.name.removeprefix("_")
            for twin, labels in ((name, set()), (f"a{name}", {"async"})):
                if twin in module.exports and twin not in module.members:
                    function = copy.copy(private)
                    function.name, function.labels = twin, labels
                    module.set_member(twin, function)
