"""Which models are in memory, and how they are configured."""

from __future__ import annotations

import contextlib
import re
import threading
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from docker_model.testing.models import Store, StoredModel

BACKEND = "llama.cpp"
MODES = ("completion", "embedding", "reranking", "image-generation")
ALLOWED_FLAGS = frozenset(
    """
    -t --threads -tb --threads-batch -c --ctx-size -n --predict --n-predict --keep -b --batch-size
    -ub --ubatch-size --swa-full -fa --flash-attn -s --seed --temp --temperature --top-k --top-p
    --min-p --repeat-last-n --repeat-penalty --presence-penalty --frequency-penalty --ignore-eos
    -ngl --gpu-layers --n-gpu-layers --mlock --no-mmap -np --parallel -cb --cont-batching
    --embeddings --embedding --pooling --reranking --jinja --no-jinja --chat-template
    --reasoning-format --reasoning-budget --rope-scaling --rope-scale --metrics --slots
    --cache-reuse --context-shift --no-context-shift --verbose -v
    """.split()  # noqa: SIM905 - easier to read so
)
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


class SchedulerError(Exception):
    """A refusal.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


class Scheduler:
    """Loads and unloads the models of a store; safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._loaded: dict[tuple[str, str], tuple[str, datetime]] = {}  # by id and mode
        self._busy: Counter[tuple[str, str]] = Counter()
        self._configs: dict[tuple[str, str], dict[str, Any]] = {}

    @contextlib.contextmanager
    def running(self, model: StoredModel, name: str, mode: str) -> Iterator[dict[str, Any]]:
        """Have a model in memory and in use; gives its configuration."""
        key = model.data["id"], mode
        with self._lock:
            self._loaded[key] = name, datetime.now(UTC)
            self._busy[key] += 1
        try:
            config = self._configs.get(key, {})
            yield config
        finally:
            with self._lock:
                self._busy[key] -= 1
                if self._configs.get(key, {}).get("keep_alive") == "0" and not self._busy[key]:
                    self._loaded.pop(key, None)

    def loaded(self) -> list[dict[str, Any]]:
        """Return what is in memory, as the runner says it."""
        with self._lock:
            return [
                {
                    "backend_name": BACKEND,
                    "model_name": name,
                    "mode": mode,
                    "last_used": used.isoformat(),
                    **({"in_use": True} if self._busy[ident, mode] else {}),
                    **self._keep_alive(ident, mode),
                }
                for (ident, mode), (name, used) in self._loaded.items()
            ]

    def _keep_alive(self, ident: str, mode: str) -> dict[str, str]:
        config = self._configs.get((ident, mode), {})
        return {key: config[key] for key in ("keep_alive",) if key in config}

    def unload(self, names: list[str], *, everything: bool, backend: str = "") -> int:
        """Take idle models out of memory, and forget configurations. Return how many there were."""
        models = [self._store.find(name) for name in names]
        ids = {model.data["id"] for model in models if model}
        with self._lock:
            keys = [key for key in self._loaded if everything or key[0] in ids]
            idle = [key for key in keys if not self._busy[key]]
            for key in idle:
                del self._loaded[key]
            for key in list(self._configs):
                if everything or (backend == BACKEND and key[0] in ids):
                    del self._configs[key]
        return len(idle)

    def configure(self, request: Mapping[str, Any]) -> None:
        """Take a configuration, in place of the model's one for that mode; loads the model."""
        config = {key: value for key, value in request.items() if key not in ("model", "mode")}
        flags = config.get("runtime-flags") or []
        check_flags(flags)
        mode = request.get("mode") or ("embedding" if "--embeddings" in flags else MODES[0])
        if mode not in MODES:
            msg = "invalid request"
            raise SchedulerError(msg, 400)
        if "keep_alive" in config:
            config["keep_alive"] = go_duration(str(config["keep_alive"]))
        model = self._store.find(str(request.get("model", "")))
        if model is None:
            return  # The runner takes it, and never shows it.
        key = model.data["id"], mode
        with self._lock:
            if self._configs.get(key) == config:
                return
            if self._busy[key]:
                msg = "runner already active"
                raise SchedulerError(msg, 409)
            self._configs[key] = config
            self._loaded[key] = model.shown_name, datetime.now(UTC)

    def configurations(self, name: str = "") -> list[dict[str, Any]]:
        """Return the configurations of one model or all, as the runner says them."""
        wanted = self._store.find(name) if name else None
        with self._lock:
            configs = dict(self._configs)
        shown = []
        for (ident, mode), config in configs.items():
            model = self._store.find(ident)
            if model and (not name or (wanted and wanted.data["id"] == ident)):
                entry = {"Backend": BACKEND, "Model": model.shown_name, "ModelID": ident}
                shown.append({**entry, "Mode": mode, "Config": config})
        return shown


def check_flags(flags: list[str]) -> None:
    """Refuse runtime flags that a runner refuses."""
    for flag in flags:
        name, _, value = flag.partition("=")
        if name.startswith("-") and not name[1:2].isdigit() and name not in ALLOWED_FLAGS:
            msg = f'runtime flag "{name}" is not allowed for backend "{BACKEND}"'
            raise SchedulerError(msg)
        if value.startswith("-") and not value[1:2].isdigit():
            msg = f"invalid flag \"{flag}\": value cannot start with '-' unless followed by a digit"
            raise SchedulerError(msg)
    for flag in flags:
        if "/" in flag or "\\" in flag:
            msg = f"invalid runtime flag \"{flag}\": paths are not allowed (contains '/' or '\\\\')"
            raise SchedulerError(msg)


def go_duration(text: str) -> str:
    """Return a duration as Go writes it: `5m0s` for `5m` and for `300s`; `0` and `-1` stay."""
    if text == "0":
        return text
    if text.startswith("-"):
        return "-1"
    found = _DURATION.fullmatch(text)
    if not (text and found):
        msg = "invalid request"
        raise SchedulerError(msg, 400)
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = hours * 3600 + minutes * 60 + seconds
    hours, minutes = total // 3600, total // 60 % 60
    shown = f"{hours}h" if hours else ""
    shown += f"{minutes}m" if hours or minutes else ""
    return f"{shown}{total % 60}s"
