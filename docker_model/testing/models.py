"""The models of a simulated runner: chat templates, descriptions, and the store.

llama.cpp renders each conversation with the template in the model's file. A template can refuse a
conversation (`raise_exception`), and only a template with a place for tools shows them to the
model. In the simulation, a template is a list of rules and a text for the metadata.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from docker_model.testing.steps import checked_script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from docker_model.testing.steps import Script

BACKEND = "llama.cpp"
CREATED = 1742816981
SHORT_ID = 12
POOLING = {"chat": "none", "embedding": "mean", "reranker": "rank"}
SECONDS = {"h": 3600, "m": 60, "s": 1}
POOLING_NUMBERS = {"mean": "1", "rank": "4"}
Messages: TypeAlias = Sequence[Mapping[str, Any]]
Rule: TypeAlias = tuple[str, Callable[[Messages], bool]]
MISTRAL_ID = 9  # characters of a tool call's id


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template.

    Attributes:
        source: The text in the model's metadata. A text with `tools` shows tools to the model.
        rules: Pairs of an error message and a function that tells whether it refuses messages.
        system: Whether the template has a place for a system message. Without one, llama.cpp
            adds the first system message to the beginning of the next message.
    """

    source: str
    rules: tuple[Rule, ...] = ()
    system: bool = True


def _matching(pattern: str) -> Callable[[Messages], bool]:
    """Return a rule that searches for a pattern of roles; `c`: tool calls, `?`: another role."""
    letters = {"system": "s", "user": "u", "assistant": "a", "tool": "t"}

    def matches(messages: Messages) -> bool:
        roles = ["c" if _calls(turn) else letters.get(turn["role"], "?") for turn in messages]
        return re.search(pattern, "".join(roles)) is not None

    return matches


def _calls(message: Mapping[str, Any]) -> Sequence[Any]:
    return message.get("tool_calls") or ()


def _ids_of_other_length(messages: Messages) -> bool:
    ids = [call.get("id") for message in messages for call in _calls(message)]
    ids += [message.get("tool_call_id") for message in messages if message["role"] == "tool"]
    return any(len(ident or "") != MISTRAL_ID for ident in ids)


def _several_calls(messages: Messages) -> bool:
    return any(len(_calls(message)) > 1 for message in messages)


def _nameless_results(messages: Messages) -> bool:
    return any(message["role"] == "tool" and not message.get("name") for message in messages)


_CHATML = "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}"
_TOOLS = "{% for tool in tools %}{{ tool | tojson }}{% endfor %}" + _CHATML
_THINK = "{% if enable_thinking is false %}<think></think>{% endif %}"
_OTHER_ROLES, _LATE_SYSTEM = _matching(r"\?"), _matching(r".s")
_TURNS = "onversation roles must alternate user/assistant/user/assistant/..."
_ONE_SYSTEM = "Only user and assistant roles are supported, with an optional system message!"
_QWEN3_5 = (
    ("No user query found in messages.", _matching(r"^[^u]*$")),
    ("System message must be at the beginning.", _LATE_SYSTEM),
    ("Unexpected message role.", _OTHER_ROLES),
)
_MISTRAL_TURNS = _matching(r"^(?!s?[ct]*(u[ct]*[^uct][ct]*)*(u[ct]*)?$)")
_MISTRAL = (
    (f"After the optional system message, c{_TURNS}", _MISTRAL_TURNS),
    (_ONE_SYSTEM, _OTHER_ROLES),
    (_ONE_SYSTEM, _LATE_SYSTEM),
    ("Tool call IDs should be alphanumeric strings with length 9!", _ids_of_other_length),
)
_FUNCTIONARY = (
    ("Invalid role.", _OTHER_ROLES),
    ("A tool message needs the name of its tool.", _nameless_results),
)
_ORPHANS = ("Message has tool role, but there was no previous tool call!", _matching(r"^[^c]*t"))
TEMPLATES: dict[str, Template] = {
    # Accepts every conversation, as the templates of Qwen 2.5 and Hermes do.
    "chatml": Template(_TOOLS),
    # The same without tools.
    "smollm2": Template(_CHATML),
    "qwen3": Template(_TOOLS + _THINK),
    "qwen3.5": Template(_TOOLS + _THINK, _QWEN3_5),
    "gemma": Template(_CHATML, ((f"C{_TURNS}", _matching(r"^(?!(u[^u])*u?$)")),), system=False),
    "mistral": Template(_TOOLS, _MISTRAL),
    "llama3": Template(
        _TOOLS, (("This model only supports single tool-calls at once!", _several_calls),)
    ),
    "functionary": Template(_TOOLS, _FUNCTIONARY),
    "gpt-oss": Template(_TOOLS + "{{ reasoning_effort }}", (_ORPHANS,)),
}


def template_named(template: str | Template) -> Template:
    """Return the template with this name. Return a `Template` unchanged."""
    if isinstance(template, Template):
        return template
    if template not in TEMPLATES:
        msg = f"there is no template {template!r}; choose one of {', '.join(TEMPLATES)}"
        raise ValueError(msg)
    return TEMPLATES[template]


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """A model in the store, with metadata that describe its capabilities.

    The engine is as strict as with a real model. A model that is described only by its name also
    accepts images and audio, and returns embeddings without a configuration.

    Attributes:
        name: The name of the model, such as `ai/smollm2`.
        script: The script of the answers. Default: the script of the simulation.
        kind: The purpose of the model, as its metadata describe it.
        template: The chat template, or its name. Default: the template of the simulation.
        trained_context: The number of tokens that the model was trained for.
        context_size: The packaged context size. The engine enforces a context size only if it
            was packaged or configured.
        vision: Whether the engine accepts images for the model.
        gguf: Metadata that replace or extend the default metadata.
    """

    name: str
    _: KW_ONLY
    script: Script | None = None
    kind: Literal["chat", "embedding", "reranker"] = "chat"
    template: str | Template | None = None
    trained_context: int = 8192
    context_size: int | None = None
    vision: bool = False
    gguf: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.script is not None:
            checked_script(self.script)

    def describe(self, template: str | Template) -> dict[str, Any]:
        """Return the runner's JSON object; `template` is for a model without its own."""
        tag = normalize(self.name)
        architecture = "llama" if self.kind == "chat" else "bert"
        gguf = {
            "general.architecture": architecture,
            f"{architecture}.context_length": str(self.trained_context),
        }
        if self.kind == "chat":
            gguf["tokenizer.chat_template"] = template_named(self.template or template).source
        else:
            gguf[f"{architecture}.pooling_type"] = POOLING_NUMBERS[POOLING[self.kind]]
        config = {
            "format": "gguf",
            "quantization": "IQ2_XXS/Q4_K_M",
            "parameters": "361.82M",
            "architecture": architecture,
            "size": "256.35MiB",
            "gguf": gguf | dict(self.gguf),
            **({"context_size": self.context_size} if self.context_size else {}),
        }
        ident = "sha256:" + hashlib.sha256(tag.encode()).hexdigest()
        return {"id": ident, "tags": [tag], "created": CREATED, "config": config}


Described = str | SimulatedModel | Mapping[str, Any]


def normalize(name: str) -> str:
    """Return a name as the runner stores it: registry, organization and tag filled in."""
    name = re.sub(r"^hf\.co/", "huggingface.co/", name.strip())
    path, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        path, tag = name, "latest"
    path = path.lower()
    if "/" not in path:
        path = f"ai/{path}"
    if not {".", ":"} & set(path.partition("/")[0]):  # the name has no registry
        path = f"docker.io/{path}"
    return f"{path}:{tag}"


class StoredModel:
    """A model in the store; `strict`: described by more than its name."""

    def __init__(self, described: Described, template: Template, script: Script | None) -> None:
        """Describe the model; `template` is for a model without its own."""
        self.strict = isinstance(described, SimulatedModel)
        self.script = described.script if isinstance(described, SimulatedModel) else script
        self.loaded: dict[str, str] = {}  # the name in the request, by mode
        self.configs: dict[str, dict[str, Any]] = {}  # by mode
        self.data: dict[str, Any] = {}  # the JSON object that the runner sends
        if isinstance(described, Mapping):
            self.data = dict(described)
            described = str((described.get("tags") or [described["id"]])[0])
        self.model = SimulatedModel(described) if isinstance(described, str) else described
        self.data = self.data or self.model.describe(template)

    @property
    def tags(self) -> list[str]:
        """The complete names of the model."""
        return [normalize(tag) for tag in self.data.get("tags") or ()]

    @property
    def shown_name(self) -> str:
        """The first tag, or the id of a model without tags."""
        return next(iter(self.tags), str(self.data["id"]))

    def context_size(self, config: Mapping[str, Any]) -> int | None:
        """Return the context size that was configured, or packaged with the model."""
        packaged = (self.data.get("config") or {}).get("context_size")
        size: int | None = config.get("context-size") or packaged
        return size

    def is_named(self, name: str) -> bool:
        """Return whether a name is a tag, the last part of a tag, or the start of the id."""
        short_names = [normalize(tag.rpartition("/")[2]) for tag in self.tags]
        digest, ident = (text.removeprefix("sha256:") for text in (name, self.data["id"]))
        is_id = len(digest) >= SHORT_ID and ident.startswith(digest)
        return is_id or normalize(name) in [*self.tags, *short_names]


class Store:
    """The models by name. It is not thread-safe; the runner guards it."""

    def __init__(
        self, template: Template, models: Iterable[tuple[Described, Script | None]]
    ) -> None:
        self._template = template
        self.models = [StoredModel(model, template, script) for model, script in models]

    def find(self, name: str) -> StoredModel | None:
        """Return the model that the runner finds by this tag or id."""
        return next((model for model in self.models if model.is_named(name)), None)

    def add(self, name: str) -> StoredModel:
        """Return the model with this name; add it if it is missing."""
        model = self.find(name)
        if model is None:
            model = StoredModel(name, self._template, None)
            self.models.append(model)
        return model

    def remove(self, model: StoredModel, name: str) -> list[dict[str, str]]:
        """Remove a tag, or the model with its last tag. Return the runner's list of changes."""
        if normalize(name) in model.tags and len(model.tags) > 1:
            model.data["tags"].remove(normalize(name))
            return [{"Untagged": normalize(name)}]
        self.models.remove(model)
        return [{"Deleted": model.data["id"]}]

    def running(self) -> list[dict[str, Any]]:
        """Return the JSON objects of the loaded models."""
        now = datetime.now(UTC).isoformat()
        return [
            {"backend_name": BACKEND, "model_name": name, "mode": mode, "last_used": now}
            for model in self.models
            for mode, name in model.loaded.items()
        ]

    def unload(self, names: Iterable[str]) -> int:
        """Unload models and return the number of their modes."""
        count = 0
        for model in filter(None, map(self.find, names)):
            count += len(model.loaded)
            model.loaded.clear()
        return count

    def configure(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Replace a model's configuration for one mode, and return it. This loads the model."""
        model = self.find(str(request.get("model", "")))
        config = {key: value for key, value in request.items() if key not in ("model", "mode")}
        if "keep_alive" in config:
            config["keep_alive"] = go_duration(config["keep_alive"])
        mode = request.get("mode") or "completion"
        if model is not None:  # the runner ignores the configuration of a missing model
            model.configs[mode] = config
            model.loaded[mode] = model.shown_name
        return config

    def configurations(self, name: str) -> list[dict[str, Any]]:
        """Return the JSON objects of the configurations of one model, or of all without a name."""
        return [
            {"Model": model.shown_name, "ModelID": model.data["id"], "Mode": mode, "Config": config}
            for model in self.models
            if not name or model.is_named(name)
            for mode, config in model.configs.items()
        ]


def go_duration(text: str) -> str:
    """Return a duration in Go's format, such as `5m0s` for `300s`; `0` and `-1` are unchanged."""
    seconds = sum(int(n) * SECONDS[unit] for n, unit in re.findall(r"(\d+)([hms])", text))
    hours, minutes = divmod(seconds // 60, 60)
    whole = f"{hours}h{minutes}m{seconds % 60}s"
    return whole.removeprefix("0h").removeprefix("0m") if seconds else text
