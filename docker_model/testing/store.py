"""The models that a simulated runner has, can pull, and has loaded."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from typing import Any

CREATED = 1742816981


def normalize(name: str) -> str:
    """A name as the runner stores it: registry, organisation and tag filled in."""
    name = name.strip()
    name = "huggingface.co/" + name.removeprefix("hf.co/") if name.startswith("hf.co/") else name
    path, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        path, tag = name, "latest"
    path = path.lower()
    if "/" not in path:
        path = f"ai/{path}"
    if "." not in path.partition("/")[0]:
        path = f"docker.io/{path}"
    return f"{path}:{tag}"


def describe(name: str) -> dict[str, Any]:
    """What the runner says of a small model of that name."""
    tag = normalize(name)
    return {
        "id": "sha256:" + hashlib.sha256(tag.encode()).hexdigest(),
        "tags": [tag],
        "created": CREATED,
        "config": {
            "format": "gguf",
            "quantization": "IQ2_XXS/Q4_K_M",
            "parameters": "361.82M",
            "architecture": "llama",
            "size": "256.35MiB",
            "gguf": {"general.architecture": "llama", "llama.context_length": "8192"},
        },
    }


class Store:
    """Models by name; safe to use from several threads."""

    def __init__(self, models: list[dict[str, Any]]) -> None:
        self._lock = threading.Lock()
        self._models = models
        self._loaded: dict[str, None] = {}

    def all(self) -> list[dict[str, Any]]:
        """Everything, as the runner sends it."""
        with self._lock:
            return list(self._models)

    def find(self, name: str) -> dict[str, Any] | None:
        """The model that the runner finds by this name: a tag, an id, or part of either."""
        wanted = normalize(name)
        plain = name.removeprefix("sha256:")
        for model in self.all():
            tags = [normalize(tag) for tag in model.get("tags") or ()]
            digest = model["id"].removeprefix("sha256:")
            if wanted in tags or plain == digest or (len(plain) == 12 and digest[:12] == plain):  # noqa: PLR2004 - a short id
                return model
        if "/" in name:
            return None
        for model in self.all():
            for tag in model.get("tags") or ():
                if tag.rpartition("/")[2] in (name, f"{name}:latest"):
                    return model
        return None

    def add(self, name: str) -> None:
        """A model was pulled."""
        if self.find(name) is None:
            with self._lock:
                self._models.append(describe(name))

    def load(self, name: str) -> None:
        """A model was asked for an answer."""
        with self._lock:
            self._loaded[normalize(name)] = None

    def loaded(self) -> list[str]:
        """The models in memory."""
        with self._lock:
            return list(self._loaded)

    def unload(self, names: list[str], *, everything: bool) -> int:
        """Take models out of memory; how many there were."""
        with self._lock:
            wanted = list(self._loaded) if everything else [normalize(name) for name in names]
            found = [name for name in wanted if name in self._loaded]
            for name in found:
                del self._loaded[name]
        return len(found)


Described = str | Mapping[str, Any]


def as_model(model: Described) -> dict[str, Any]:
    """A model given by its name, or by the JSON object that the runner would send."""
    return describe(model) if isinstance(model, str) else dict(model)
