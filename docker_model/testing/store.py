"""The models of a simulated runner: its store, the loaded models and their configurations."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from docker_model.testing.engine import RunnerError
from docker_model.testing.models import SimulatedModel, normalize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from docker_model.testing.models import Described
    from docker_model.testing.templates import Template

BACKEND = "llama.cpp"
SHORT_ID = 12
_REFUSED_FLAG = re.compile(r"--(log-file|model|host|port|api-key|mmproj)\b|.*[/\\]|.*=--")
_SECONDS = {"h": 3600, "m": 60, "s": 1}


@dataclass(eq=False, slots=True)
class StoredModel:
    """A model in the store.

    Attributes:
        model: The description of the model.
        data: The JSON object that the runner sends for the model.
        loaded: The modes in which the model is loaded, each with the name in its request.
        busy: The modes of the requests in progress.
        configs: The configuration of each mode.
    """

    model: SimulatedModel
    data: dict[str, Any]
    loaded: dict[str, str] = field(default_factory=dict)
    busy: list[str] = field(default_factory=list)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The digest."""
        ident: str = self.data["id"]
        return ident

    @property
    def tags(self) -> list[str]:
        """The complete names of the model."""
        return [normalize(tag) for tag in self.data.get("tags") or ()]

    @property
    def shown_name(self) -> str:
        """The first tag, or the id of a model without tags."""
        return next(iter(self.tags), self.id)

    @property
    def context_size(self) -> int | None:
        """The context size that was packaged with the model."""
        size: int | None = (self.data.get("config") or {}).get("context_size")
        return size

    def is_named(self, name: str) -> bool:
        """Return whether a name is a tag, the last part of a tag, or the start of the id."""
        if normalize(name) in self.tags:
            return True
        short_names = [tag.rpartition("/")[2] for tag in self.tags]
        digest = name.removeprefix("sha256:")
        is_id = len(digest) >= SHORT_ID and self.id.removeprefix("sha256:").startswith(digest)
        return is_id or name in short_names or f"{name}:latest" in short_names


class Store:
    """The models by name; thread-safe."""

    def __init__(self, models: Sequence[Described], template: Template, *, any_model: bool) -> None:
        """Create the models. With `any_model`, the store contains every other name too."""
        self._template = template
        self._any_model = any_model
        self._lock = threading.RLock()
        self._models = [self._stored(model) for model in models]
        self._absent: set[str] = set()
        self._imagined: dict[str, StoredModel] = {}

    def _stored(self, model: Described) -> StoredModel:
        if isinstance(model, Mapping):
            names = model.get("tags") or [model["id"]]
            return StoredModel(_by_name(names[0]), dict(model))
        model = _by_name(model) if isinstance(model, str) else model
        return StoredModel(model, model.describe(self._template))

    def all(self) -> list[StoredModel]:
        """Return the listed models."""
        with self._lock:
            return list(self._models)

    def _known(self) -> list[StoredModel]:
        return [*self._models, *self._imagined.values()]

    def find(self, name: str) -> StoredModel | None:
        """Return the model that the runner finds by this tag or id."""
        with self._lock:
            tag = normalize(name)
            model = next((model for model in self._known() if model.is_named(name)), None)
            if model is None and self._any_model and tag not in self._absent:
                model = self._imagined[tag] = self._stored(name)
            return model

    def hide(self, name: str) -> None:
        """Exclude a name from `any_model`, until the model is added."""
        self._absent.add(normalize(name))

    def add(self, name: str) -> None:
        """Add a model that was pulled."""
        with self._lock:
            if self.find(name) is None:
                self._models.append(self._stored(name))

    def tag(self, model: StoredModel, tag: str) -> None:
        """Add a tag to a model."""
        with self._lock:
            if normalize(tag) not in model.tags:
                model.data.setdefault("tags", []).append(normalize(tag))

    def remove(self, model: StoredModel, name: str, *, force: bool) -> list[dict[str, str]]:
        """Remove a tag, or the model with its last tag. Return the runner's list of changes.

        Raises:
            RunnerError: If `name` is an id, the model has several tags, and `force` is false.
        """
        with self._lock:
            tags = model.data.setdefault("tags", [])
            if normalize(name) in tags and len(tags) > 1:
                tags.remove(normalize(name))
                return [{"Untagged": normalize(name)}]
            if len(tags) > 1 and not force:
                msg = f'unable to delete "{name}" (must be forced) due to multiple tag references'
                raise RunnerError(msg, 409)
            self._models = [stored for stored in self._models if stored is not model]
            return [*({"Untagged": tag} for tag in tags), {"Deleted": model.id}]

    # --- In memory --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def running(self, model: StoredModel, name: str, mode: str) -> Iterator[dict[str, Any]]:
        """Load a model and mark it as busy; yield its configuration."""
        with self._lock:
            model.loaded[mode] = name
            model.busy.append(mode)
        try:
            # The runner uses the configuration for chats if there is none for reranking.
            other = "completion" if mode == "reranking" else mode
            yield model.configs.get(mode, model.configs.get(other, {}))
        finally:
            with self._lock:
                model.busy.remove(mode)

    def loaded(self) -> list[dict[str, Any]]:
        """Return the JSON objects of the loaded models."""
        with self._lock:
            return [
                {
                    "backend_name": BACKEND,
                    "model_name": name,
                    "mode": mode,
                    "last_used": datetime.now(UTC).isoformat(),
                    **({"in_use": True} if mode in model.busy else {}),
                    **({"keep_alive": kept} if kept else {}),
                }
                for model in self._known()
                for mode, name in model.loaded.items()
                for kept in [model.configs.get(mode, {}).get("keep_alive")]
            ]

    def unload(self, names: Sequence[str], *, everything: bool) -> int:
        """Unload idle models, and return their number.

        Args:
            names: The names of the models.
            everything: Whether to unload all models and delete their configurations.
        """
        count = 0
        with self._lock:
            for model in self._known() if everything else filter(None, map(self.find, names)):
                if everything:
                    model.configs.clear()
                for mode in set(model.loaded) - set(model.busy):
                    del model.loaded[mode]
                    count += 1
        return count

    def configure(self, request: Mapping[str, Any]) -> None:
        """Replace a model's configuration for one mode, and load the model.

        Raises:
            RunnerError: If a flag is not allowed, or the model is in use.
        """
        config = {key: value for key, value in request.items() if key not in ("model", "mode")}
        flags = config.get("runtime-flags") or []
        for flag in filter(_REFUSED_FLAG.match, flags):
            msg = f'runtime flag "{flag}" is not allowed for backend "{BACKEND}"'
            raise RunnerError(msg)
        mode = request.get("mode") or ("embedding" if "--embeddings" in flags else "completion")
        if "keep_alive" in config:
            config["keep_alive"] = go_duration(config["keep_alive"])
        with self._lock:
            model = self.find(str(request.get("model", "")))
            if model is None or model.configs.get(mode) == config:
                return  # the runner accepts a missing model and ignores its configuration
            if mode in model.busy:
                msg = "runner already active"
                raise RunnerError(msg, 409)
            model.configs[mode] = config
            model.loaded[mode] = model.shown_name

    def configurations(self, name: str = "") -> list[dict[str, Any]]:
        """Return the JSON objects of the configurations of one model or of all."""
        with self._lock:
            return [
                {
                    "Backend": BACKEND,
                    "Model": model.shown_name,
                    "ModelID": model.id,
                    "Mode": mode,
                    "Config": config,
                }
                for model in self._known()
                if not name or model.is_named(name)
                for mode, config in model.configs.items()
            ]


def _by_name(name: str) -> SimulatedModel:
    return SimulatedModel(name, pooling="mean", vision=True, audio=True)


def go_duration(text: str) -> str:
    """Return a duration in Go's format, such as `5m0s` for `300s`; `0` and `-1` are unchanged."""
    parts = re.findall(r"(\d+)([hms])", text)
    if not parts:
        return text
    minutes, seconds = divmod(sum(int(number) * _SECONDS[unit] for number, unit in parts), 60)
    whole = f"{minutes // 60}h{minutes % 60}m{seconds}s"
    return whole.removeprefix("0h").removeprefix("0m")
