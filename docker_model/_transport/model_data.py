"""Parse the runner's JSON about models, from the command or from the HTTP API.

Parsing is lenient, because every version of the CLI forwards the output of every version of
the runner. A value of an unexpected type is treated as unknown.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from docker_model._transport.model_names import canonical, display_name
from docker_model.types import ModelInfo, RunningModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from docker_model.types import Capability, ModelConfiguration

# The runner's context size for llama.cpp if neither a configuration nor the package sets one.
LLAMA_CPP_CONTEXT = 4096

_RANK_POOLING = "4"  # llama.cpp's numbers: 0 none, 1 mean, 2 cls, 3 last, 4 rank
_EMBEDDING_ARCHITECTURE = re.compile(  # names of llama.cpp, and class names of safetensors
    r"(?:[a-z]+-?)?bert(?:-.*)?|t5encoder|gemma-embedding|\w*[Bb]ert\w*Model|\w+EmbeddingModel"
)
_VISION_ARCHITECTURE = re.compile(r"\w*vl(?:moe)?|mllama|paligemma|cogvlm|minicpmv", re.IGNORECASE)
_THINKING = re.compile(r"think>|\[THINK\]|thinking|reasoning")
_TOOLS = re.compile(r"\btools\b")


def parse_model(fields: Mapping[str, Any]) -> ModelInfo:
    """Parse an element of `GET /models`, which `list --json` and `inspect` also print.

    The context size is the packaged value; `with_configuration` returns the effective value.
    """
    tags = fields.get("tags")
    tags = tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    identity = text(fields.get("id")) or None
    config = mapping(fields.get("config"))
    return ModelInfo(
        name=display_name(tags, identity or ""),
        tags=tags,
        id=identity,
        created=_time(fields.get("created")),
        format=text(config.get("format")),
        quantization=text(config.get("quantization")),
        parameters=text(config.get("parameters")),
        architecture=text(config.get("architecture")),
        size=text(config.get("size")),
        context_size=integer(config.get("context_size")),
        trained_context=_trained_context(config),
        capabilities=capabilities(config),
    )


def parse_models(models: object) -> list[ModelInfo]:
    """Parse `GET /models`: an array, or `null`, which some servers send for an empty array."""
    return [parse_model(model) for model in sequence(models) if isinstance(model, dict)]


def parse_running(item: Mapping[str, Any]) -> RunningModel:
    """Parse an element of `GET /engines/ps`."""
    return RunningModel(
        name=loaded_name(text(item.get("model_name")) or ""),
        backend=text(item.get("backend_name")) or "",
        mode=text(item.get("mode")) or "",
        loading=bool(item.get("loading")),
    )


def loaded_name(reported: str) -> str:
    """Return the short name of a loaded model.

    Versions differ in which parts of `docker.io/ai/…:latest` they report.
    """
    return display_name((canonical(reported),), reported)


# -- capabilities ----------------------------------------------------------------------------


def capabilities(config: Mapping[str, Any]) -> frozenset[Capability]:
    """Return the capabilities of a model from its metadata, the object `config` of `inspect`.

    Separately packaged multimodal projectors and chat templates are not in the metadata.
    """
    gguf = mapping(config.get("gguf"))
    architecture = text(gguf.get("general.architecture")) or text(config.get("architecture")) or ""
    names = " ".join(filter(None, (text(gguf.get(f"general.{key}")) for key in _NAMES)))
    pooling = str(gguf.get(f"{architecture}.pooling_type", "0"))
    if (
        pooling == _RANK_POOLING
        or f"{architecture}.classifier.output_labels" in gguf
        or "rerank" in names.lower()
        or architecture.endswith("ForSequenceClassification")
    ):
        return frozenset({"reranking"})
    if (
        pooling != "0"
        or _EMBEDDING_ARCHITECTURE.fullmatch(architecture)
        or "embed" in names.lower()
    ):
        return frozenset({"embedding"})
    abilities: set[Capability] = set()
    templates = [str(value) for key, value in gguf.items() if key.startswith(_TEMPLATE)]
    if templates:
        abilities.add("chat")
        if any(map(_TOOLS.search, templates)):
            abilities.add("tools")
        if any(map(_THINKING.search, templates)):
            abilities.add("thinking")
    tags = {tag.strip() for tag in str(gguf.get("general.tags", "")).split(",")}
    if (
        _VISION_ARCHITECTURE.fullmatch(architecture)
        or tags & {"image-text-to-text", "any-to-any"}
        or any(".vision." in key or key == "clip.has_vision_encoder" for key in gguf)
    ):
        abilities.add("vision")
    if tags & {"audio-text-to-text", "any-to-any"} or "clip.has_audio_encoder" in gguf:
        abilities.add("audio")
    return frozenset(abilities)


_TEMPLATE = "tokenizer.chat_template"
_NAMES = ("name", "basename", "finetune")


# -- context ---------------------------------------------------------------------------------


def _trained_context(config: Mapping[str, Any]) -> int | None:
    gguf = mapping(config.get("gguf"))
    architecture = gguf.get("general.architecture") or config.get("architecture")
    length = written(gguf.get(f"{architecture}.context_length"))
    return length if length is not None and length > 0 else None


def with_configuration(
    model: ModelInfo, configuration: ModelConfiguration | None = None
) -> ModelInfo:
    """Return the model with its effective context size.

    Args:
        model: A model with its packaged context size.
        configuration: The configuration of the model, if it has one.
    """
    size = model.context_size
    if configuration is not None:
        flags = flag_values(configuration.runtime_flags or ())
        flag = flags.get("--ctx-size") or flags.get("-c")  # overrides the runner's own flag
        size = written(flag) or configuration.context_size or size
    if size is None and model.format == "gguf":
        size = LLAMA_CPP_CONTEXT
    trained = model.trained_context
    if trained is not None and (size is None or not 0 < size < trained):
        size = trained  # the engine's maximum, which -1 selects
    return replace(model, context_size=size if size is None or size > 0 else None)


def flag_values(flags: Iterable[str]) -> dict[str, str]:
    """Parse flags with a value: `--ctx-size 8192` or `--ctx-size=8192`."""
    values: dict[str, str] = {}
    name = ""
    for word in flags:
        if word.startswith("-") and not word[1:].isdigit():
            name, equals, value = word.partition("=")
            if equals:
                values[name], name = value, ""
        elif name:
            values[name], name = word, ""
    return values


# -- lenient JSON ----------------------------------------------------------------------------


def mapping(value: object) -> Mapping[str, Any]:
    """Return a JSON object, or an empty mapping for any other value."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> Sequence[Any]:
    """Return a JSON array, or an empty sequence for any other value."""
    return value if isinstance(value, list) else ()


def text(value: object) -> str | None:
    """Return a non-empty string, or `None` for any other value."""
    return value if isinstance(value, str) and value else None


def integer(value: object) -> int | None:
    """Return an integer, or `None` for any other value."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def written(value: object) -> int | None:
    """Convert an integer that is stored as a string, as in GGUF metadata."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value) else None


def _time(value: object) -> datetime | None:
    seconds = integer(value)
    if not seconds:  # 0 means unknown
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return None
