"""Print the table of docs/models.md: facts about models, each with its source.

    python benchmarks/models.py ai/smollm2 ai/smollm2-tools ai/all-minilm

The script loads each model, because the engine shows facts that the metadata do not contain.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from docker_model.http import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker_model.types import ModelConfiguration, ModelInfo

    Value = Callable[[ModelInfo, ModelConfiguration | None], object]

HELLO = [{"role": "user", "content": "Hello"}]
ENGINES = frozenset({"tools", "thinking", "vision"})
FACTS: dict[str, tuple[str, Value]] = {
    "`tags`": (
        "the local store",
        lambda info, _: ", ".join(tag.removeprefix("docker.io/") for tag in info.tags),
    ),
    "`format`": ("packaged", lambda info, _: info.format),
    "`architecture`": ("packaged, from the model's file", lambda info, _: info.architecture),
    "`parameters`": ("packaged, from the model's file", lambda info, _: info.parameters),
    "`quantization`": ("packaged, from the model's file", lambda info, _: info.quantization),
    "`size`": ("packaged", lambda info, _: info.size),
    "`trained_context`": (
        "the model's file, `{architecture}.context_length`",
        lambda info, _: info.trained_context,
    ),
    "`context_size`, in force": (
        "the configuration, else packaged, else the engine's 4096; at most `trained_context`",
        lambda info, _: info.context_size,
    ),
    "`chat` in `capabilities`": (
        "the model's file has a chat template",
        lambda info, _: "yes" if "chat" in info.capabilities else "unknown",
    ),
    "`embedding`, `reranking`": (
        "the model's file: its pooling, its architecture or its name",
        lambda info, _: (
            ", ".join(sorted(info.capabilities & {"embedding", "reranking"})) or "unknown"
        ),
    ),
    "`tools`, `thinking`, `vision`": (
        "the model's file; after loading, the engine's token counts of short prompts",
        lambda info, _: ", ".join(sorted(info.capabilities & ENGINES)) or "none found",
    ),
    "configuration": (
        "the runner, by `model_configuration`",
        lambda _, configuration: "none" if configuration is None else configuration,
    ),
}


def table(names: list[str], client: Client) -> str:
    """Return the table in Markdown."""
    rows = [["fact", "source", *(f"`{name}`" for name in names)]]
    rows.append(["---"] * len(rows[0]))
    models = []
    for name in names:
        client.preload_model(name)
        info = client.known_model(name)
        assert info is not None
        models.append((info, client.model_configuration(name)))
    for fact, (source, value) in FACTS.items():
        rows.append([fact, source, *(str(value(*model) or "unknown") for model in models)])
    counts = [
        client.count_tokens(name, HELLO) if "chat" in info.capabilities else "-"
        for name, (info, _) in zip(names, models, strict=True)
    ]
    rows.append(['tokens of "Hello"', "the engine counts, with its chat template", *counts])
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


if __name__ == "__main__":
    print(table(sys.argv[1:], Client()))
