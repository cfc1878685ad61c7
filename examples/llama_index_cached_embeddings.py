"""Embed 10,000 texts in a job that can be interrupted. Each batch is saved to disk.

    docker model pull ai/all-minilm

Stop it with Ctrl-C and start it again. It embeds only the missing batches.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from _run import run
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.schema import TextNode

from llama_index_docker_model import DockerModelEmbedding

TEXTS = 10_000
BATCH = 200
STORE = Path("ingestion-cache")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else TEXTS
    nodes = [
        TextNode(text=f"Order {number} left berth {number % 7} on time.", id_=str(number))
        for number in range(count)
    ]
    model = DockerModelEmbedding(model_name="ai/all-minilm")
    STORE.mkdir(exist_ok=True)
    began = time.monotonic()
    done = 0
    # The key of a cache entry is the texts and the model, so the batches must stay the same. Each
    # batch has its own file, because a common file would be rewritten with each batch.
    for start in range(0, count, BATCH):
        file = STORE / f"{start}.json"
        cache = IngestionCache.from_persist_path(str(file)) if file.exists() else IngestionCache()
        pipeline = IngestionPipeline(transformations=[model], cache=cache)
        done += len(pipeline.run(nodes=nodes[start : start + BATCH]))
        new_file = file.with_suffix(".new")
        cache.persist(str(new_file))
        new_file.replace(file)  # atomically, so that the cache has no incomplete file
    print(f"{done} vectors in {time.monotonic() - began:.1f} s, saved in {STORE}")


if __name__ == "__main__":
    run(main)
