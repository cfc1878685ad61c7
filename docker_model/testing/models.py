"""The models that a simulated runner has, can pull, and has loaded."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from docker_model.testing.templates import template_named

if TYPE_CHECKING:
    from docker_model.testing.steps import Script
    from docker_model.testing.templates import Template

CREATED = 1742816981
SHORT_ID = 12
POOLING = {"none": "0", "mean": "1", "cls": "2", "last": "3", "rank": "4"}
KIND_POOLING = {"chat": "none", "embedding": "mean", "reranker": "rank"}
SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """A model in the store, with the data that tell what it can do.

    It is as strict as a real one. A model that is given by its name alone takes images and
    sound too, and embeds texts without a configuration.

    Attributes:
        name: The name as one types it.
        script: What the model answers; default: the simulation's script.
        kind: What the model is for. Its metadata say so.
        template: A chat template, by its name in `docker_model.testing.TEMPLATES` or as a
            `Template`; default: the simulation's template.
        trained_context: The tokens that it was trained for.
        context_size: The context size that was packaged with the model. The engine enforces
            a context size only if it was packaged or configured.
        pooling: The pooling for embeddings; default: by kind, for a chat model `"none"`.
        vision: Whether the engine takes images for it.
        audio: Whether the engine takes sound for it.
        architecture: Default: `"llama"`, or `"bert"` for embedding models and rerankers.
        gguf: Metadata, laid over those that follow from the above.
    """

    name: str
    _: KW_ONLY
    script: Script | None = None
    kind: Literal["chat", "embedding", "reranker"] = "chat"
    template: str | Template | None = None
    trained_context: int = 8192
    context_size: int | None = None
    pooling: str | None = None
    vision: bool = False
    audio: bool = False
    architecture: str | None = None
    gguf: Mapping[str, str] = field(default_factory=dict)

    @property
    def own_pooling(self) -> str:
        """The pooling without a configuration."""
        return self.pooling or KIND_POOLING[self.kind]

    def describe(self, template: str | Template) -> dict[str, Any]:
        """Return the JSON object that the runner sends for this model.

        Args:
            template: The chat template of models that name none.
        """
        tag = normalize(self.name)
        architecture = self.architecture or ("llama" if self.kind == "chat" else "bert")
        gguf = {
            "general.architecture": architecture,
            f"{architecture}.context_length": str(self.trained_context),
        }
        if self.kind == "chat":
            gguf["tokenizer.chat_template"] = template_named(self.template or template).source
        else:
            gguf[f"{architecture}.pooling_type"] = POOLING[self.own_pooling]
        packaged = {} if self.context_size is None else {"context_size": self.context_size}
        return {
            "id": "sha256:" + hashlib.sha256(tag.encode()).hexdigest(),
            "tags": [tag],
            "created": CREATED,
            "config": {
                "format": "gguf",
                "quantization": "IQ2_XXS/Q4_K_M",
                "parameters": "361.82M",
                "architecture": architecture,
                "size": "256.35MiB",
                **packaged,
                "gguf": dict(sorted((gguf | dict(self.gguf)).items())),
            },
        }


@dataclass(eq=False, slots=True)
class StoredModel:
    """A model, and the JSON object that the runner sends for it."""

    model: SimulatedModel
    data: dict[str, Any]

    @property
    def tags(self) -> list[str]:
        """The names that lead to it, complete ones."""
        return [normalize(tag) for tag in self.data.get("tags") or ()]

    @property
    def shown_name(self) -> str:
        """The first tag, or the id without one."""
        names: list[str] = [*(self.data.get("tags") or ()), self.data["id"]]
        return names[0]

    @property
    def context_size(self) -> int | None:
        """The context size that was packaged with the model."""
        size: int | None = (self.data.get("config") or {}).get("context_size")
        return size


Described = str | SimulatedModel | Mapping[str, Any]


def normalize(name: str) -> str:
    """Return a name as the runner stores it: registry, organization and tag filled in."""
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


class Store:
    """Models by name; safe to use from several threads.

    Attributes:
        template: The chat template of models that name none.
    """

    def __init__(
        self, models: Sequence[Described], template: str | Template, *, any_model: bool
    ) -> None:
        """Fill the store.

        Args:
            models: What is in it.
            template: See above.
            any_model: Whether every model is there, described as its name alone would be.
        """
        self.template = template
        self._any_model = any_model
        self._lock = threading.Lock()
        self._models = [self._stored(model) for model in models]
        self._absent: set[str] = set()
        self._imagined: dict[str, StoredModel] = {}

    def _stored(self, model: Described) -> StoredModel:
        if isinstance(model, Mapping):
            names = model.get("tags") or [model["id"]]
            return StoredModel(_by_name(names[0]), dict(model))
        model = _by_name(model) if isinstance(model, str) else model
        return StoredModel(model, model.describe(self.template))

    def all(self) -> list[StoredModel]:
        """Return everything."""
        with self._lock:
            return list(self._models)

    def find(self, name: str, *, partly: bool = True) -> StoredModel | None:
        """Return the model that the runner finds by this name.

        Args:
            name: A tag or an id.
            partly: Whether a tag's last part is enough, which it is for `inspect`.
        """
        wanted = normalize(name)
        plain = name.removeprefix("sha256:")
        for model in [*self.all(), *self._imagined.values()]:
            digest = model.data["id"].removeprefix("sha256:")
            short = len(plain) == SHORT_ID and digest.startswith(plain)
            if wanted in model.tags or plain == digest or short:
                return model
        if partly and "/" not in name:
            for model in self.all():
                for tag in model.data.get("tags") or ():
                    if tag.rpartition("/")[2] in (name, f"{name}:latest"):
                        return model
        if self._any_model and wanted not in self._absent:
            return self._imagined.setdefault(wanted, self._stored(name))
        return None

    def hide(self, name: str) -> None:
        """Take a name out of those that are always there, until it is added."""
        self._absent.add(normalize(name))

    def add(self, name: str) -> None:
        """Add a model that was pulled."""
        if self.find(name, partly=False) is None:
            with self._lock:
                self._models.append(self._stored(name))

    def tag(self, name: str, tag: str) -> bool:
        """Give a model one more tag. Return whether the model is there."""
        model = self.find(name, partly=False)
        if model is None:
            return False
        with self._lock:
            tags = model.data.setdefault("tags", [])
            if normalize(tag) not in tags:
                tags.append(normalize(tag))
        return True

    def remove(self, name: str, *, force: bool) -> list[dict[str, str]] | None:
        """Take away a tag, or the model with its last one."""
        model = self.find(name, partly=False)
        if model is None:
            return None
        done = []
        with self._lock:
            tags = model.data.setdefault("tags", [])
            if normalize(name) in tags:
                tags.remove(normalize(name))
                done.append({"Untagged": normalize(name)})
                if tags:
                    return done
            elif len(tags) > 1 and not force:
                return done
            done += [{"Untagged": tag} for tag in tags]
            if model in self._models:
                self._models.remove(model)
        return [*done, {"Deleted": model.data["id"]}]

    def size(self) -> int:
        """Return the bytes of all models."""
        total = 0.0
        for model in self.all():
            size = str((model.data.get("config") or {}).get("size", ""))
            if found := re.fullmatch(r"([\d.]+) ?(\w+)", size):
                total += float(found[1]) * SIZE_UNITS.get(found[2], 0)
        return int(total)


def _by_name(name: str) -> SimulatedModel:
    return SimulatedModel(name, pooling="mean", vision=True, audio=True)
