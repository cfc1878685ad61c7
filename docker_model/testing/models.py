"""Descriptions of the models of a simulated runner."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from docker_model.testing.templates import template_named

if TYPE_CHECKING:
    from docker_model.testing.steps import Script
    from docker_model.testing.templates import Template

CREATED = 1742816981
POOLING = {"none": "0", "mean": "1", "cls": "2", "last": "3", "rank": "4"}
KIND_POOLING = {"chat": "none", "embedding": "mean", "reranker": "rank"}


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """A model in the store, with metadata that describe its capabilities.

    The engine is as strict as with a real model. A model that is described only by its name also
    accepts images and audio, and returns embeddings without a configuration.

    Attributes:
        name: The name of the model, such as `ai/smollm2`.
        script: The script of the answers. Default: the script of the simulation.
        kind: The purpose of the model, as its metadata describe it.
        template: A chat template: a name in `docker_model.testing.TEMPLATES` or a `Template`.
            Default: the template of the simulation.
        trained_context: The number of tokens that the model was trained for.
        context_size: The context size that was packaged with the model. The engine enforces
            a context size only if it was packaged or configured.
        pooling: The pooling of embeddings. The default depends on `kind`: `"none"` for a chat
            model, `"mean"` for an embedding model, `"rank"` for a reranker.
        vision: Whether the engine accepts images for the model.
        audio: Whether the engine accepts audio for the model.
        architecture: Default: `"llama"`, or `"bert"` for embedding models and rerankers.
        gguf: Metadata that replace or extend the default metadata.
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
            template: The chat template of models without their own.
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
    if not {".", ":"} & set(path.partition("/")[0]):  # the name has no registry
        path = f"docker.io/{path}"
    return f"{path}:{tag}"
