"""What a simulated runner has in its store and in memory, and how it is configured."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from docker_model.testing.models import SimulatedModel, normalize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from docker_model.testing.models import Described
    from docker_model.testing.templates import Template

BACKEND = "llama.cpp"
SHORT_ID = 12
_REFUSED_FLAG = re.compile(r"--(log-file|model|host|port|api-key|mmproj)\b|.*[/\\]|.*=--")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


class RunnerError(Exception):
    """A refusal by the runner itself.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


@dataclass(eq=False, slots=True)
class StoredModel:
    """A model in the store.

    Attributes:
        model: What it does.
        data: The JSON object that the runner sends for it.
        loaded: The modes that it runs in, each with the name that it was asked for by.
        busy: The modes of the requests that it is answering.
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
        """The names that lead to it, complete ones."""
        return [normalize(tag) for tag in self.data.get("tags") or ()]

    @property
    def shown_name(self) -> str:
        """The first tag, or the id without one."""
        names: list[str] = [*(self.data.get("tags") or ()), self.id]
        return names[0]

    @property
    def context_size(self) -> int | None:
        """The context size that was packaged with the model."""
        size: int | None = (self.data.get("config") or {}).get("context_size")
        return size

    def is_named(self, name: str) -> bool:
        """Return whether this is a tag of it, its id or the start of that."""
        plain, digest = name.removeprefix("sha256:"), self.id.removeprefix("sha256:")
        is_short = len(plain) == SHORT_ID and digest.startswith(plain)
        return normalize(name) in self.tags or plain == digest or is_short


class Store:
    """Models by name; safe to use from several threads."""

    def __init__(
        self, models: Sequence[Described], template: str | Template, *, any_model: bool
    ) -> None:
        """Fill the store.

        Args:
            models: What is in it.
            template: The chat template of models that name none.
            any_model: Whether every model is there, described as its name alone would be.
        """
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
        """Return everything."""
        with self._lock:
            return list(self._models)

    def find(self, name: str, *, partly: bool = True) -> StoredModel | None:
        """Return the model that the runner finds by this name.

        Args:
            name: A tag or an id.
            partly: Whether a tag's last part is enough, which it is for `inspect`.
        """
        with self._lock:
            for model in [*self._models, *self._imagined.values()]:
                if model.is_named(name):
                    return model
            for model in self._models if partly and "/" not in name else ():
                for tag in model.data.get("tags") or ():
                    if tag.rpartition("/")[2] in (name, f"{name}:latest"):
                        return model
            wanted = normalize(name)
            if self._any_model and wanted not in self._absent:
                return self._imagined.setdefault(wanted, self._stored(name))
            return None

    def hide(self, name: str) -> None:
        """Take a name out of those that are always there, until it is added."""
        self._absent.add(normalize(name))

    def add(self, name: str) -> None:
        """Add a model that was pulled."""
        with self._lock:
            if self.find(name, partly=False) is None:
                self._models.append(self._stored(name))

    def tag(self, name: str, tag: str) -> bool:
        """Give a model one more tag. Return whether the model is there."""
        with self._lock:
            model = self.find(name, partly=False)
            if model and normalize(tag) not in model.tags:
                model.data.setdefault("tags", []).append(normalize(tag))
            return model is not None

    def remove(self, name: str, *, force: bool) -> list[dict[str, str]] | None:
        """Take away a tag, or the model with its last one. Return what was done."""
        with self._lock:
            model = self.find(name, partly=False)
            if model is None:
                return None
            done = []
            tags = model.data.setdefault("tags", [])
            if normalize(name) in tags:
                tags.remove(normalize(name))
                done.append({"Untagged": normalize(name)})
                if tags:
                    return done
            elif len(tags) > 1 and not force:
                return done
            if model in self._models:
                self._models.remove(model)
            return [*done, *({"Untagged": tag} for tag in tags), {"Deleted": model.id}]

    # --- In memory --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def running(self, model: StoredModel, name: str, mode: str) -> Iterator[dict[str, Any]]:
        """Have a model in memory and in use; give its configuration."""
        with self._lock:
            model.loaded[mode] = name
            model.busy.append(mode)
        try:
            yield model.configs.get(mode, {})
        finally:
            with self._lock:
                model.busy.remove(mode)
                if model.configs.get(mode, {}).get("keep_alive") == "0" and mode not in model.busy:
                    model.loaded.pop(mode, None)

    def _known(self) -> list[StoredModel]:
        return [*self._models, *self._imagined.values()]

    def loaded(self) -> list[dict[str, Any]]:
        """Return what is in memory, as the runner says it."""
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

    def unload(self, names: list[str], *, everything: bool, backend: str) -> int:
        """Take idle models out of memory, and forget configurations. Return how many there were."""
        count = 0
        with self._lock:
            chosen = self._known() if everything else filter(None, map(self.find, names))
            for model in chosen:
                for mode in [mode for mode in model.loaded if mode not in model.busy]:
                    del model.loaded[mode]
                    count += 1
                if everything or backend == BACKEND:
                    model.configs.clear()
        return count

    def configure(self, request: Mapping[str, Any]) -> None:
        """Take a configuration, in place of the model's one for that mode; load the model.

        Raises:
            RunnerError: If the runner would refuse it, or the model is in use.
        """
        config = {key: value for key, value in request.items() if key not in ("model", "mode")}
        flags = config.get("runtime-flags") or []
        for flag in filter(_REFUSED_FLAG.match, flags):
            msg = f'runtime flag "{flag}" is not allowed for backend "{BACKEND}"'
            raise RunnerError(msg)
        mode = request.get("mode") or ("embedding" if "--embeddings" in flags else "completion")
        if "keep_alive" in config:
            config["keep_alive"] = go_duration(str(config["keep_alive"]))
        with self._lock:
            model = self.find(str(request.get("model", "")))
            if model is None or model.configs.get(mode) == config:
                return  # of a model that is not there the runner takes it, and never shows it
            if mode in model.busy:
                msg = "runner already active"
                raise RunnerError(msg, 409)
            model.configs[mode] = config
            model.loaded[mode] = model.shown_name

    def configurations(self, name: str = "") -> list[dict[str, Any]]:
        """Return the configurations of one model or all, as the runner says them."""
        with self._lock:
            chosen = [self.find(name)] if name else self._known()
            return [
                {
                    "Backend": BACKEND,
                    "Model": model.shown_name,
                    "ModelID": model.id,
                    "Mode": mode,
                    "Config": config,
                }
                for model in chosen
                if model
                for mode, config in model.configs.items()
            ]


def _by_name(name: str) -> SimulatedModel:
    return SimulatedModel(name, pooling="mean", vision=True, audio=True)


def go_duration(text: str) -> str:
    """Return a duration as Go writes it: `5m0s` for `5m` and for `300s`; `0` and `-1` stay.

    Raises:
        RunnerError: If it is no duration.
    """
    if text == "0" or text.startswith("-"):
        return text if text == "0" else "-1"
    found = _DURATION.fullmatch(text)
    if not (text and found):
        msg = "invalid request"
        raise RunnerError(msg, 400)
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = hours * 3600 + minutes * 60 + seconds
    text = f"{total // 3600}h{total // 60 % 60}m{total % 60}s"
    return text.removeprefix("0h").removeprefix("0m")
