"""A table of texts turned into vectors on a Ray cluster; each node asks its own runner.

    docker model pull ai/all-minilm
    pip install ".[langchain,http]" "ray[data]"
    python embed_ray.py texts.jsonl vectors

`texts.jsonl` has a line such as `{"id": 1, "text": "Whales are mammals."}` for each row; the ids
differ. `vectors`, a folder of Parquet files, gets the same rows with a column `vector`. A job
that was interrupted can be continued: run it again, and rows whose id is there are skipped.

How to set up the nodes: docs/batch.md.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import ray
import ray.data

from langchain_docker_model import DockerModelEmbeddings

RUNNER = "docker_model_runner"  # a resource of the nodes that have a runner
BATCH = 256  # texts that a worker embeds at once; a block of this size is what may be lost


class Embed:
    """What travels to each node: the model's settings. The node's own runner answers."""

    def __init__(self, embeddings: DockerModelEmbeddings) -> None:
        self.embeddings = embeddings

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Give the rows, column by column, with their vectors."""
        texts = [str(text) for text in rows["text"]]
        return rows | {"vector": self.embeddings.embed_documents(texts)}


def ids_in(target: str) -> set[Any]:
    """Return the ids of the rows that are done."""
    if not list(Path(target).glob("*.parquet")):
        return set()
    return {row["id"] for row in ray.data.read_parquet(target).select_columns(["id"]).iter_rows()}


def run(embeddings: DockerModelEmbeddings, source: str, target: str) -> int:
    """Embed the rows of `source` that `target` has not; return how many they were."""
    nodes = int(ray.cluster_resources().get(RUNNER, 0))
    if not nodes:
        sys.exit(f"No node has a runner: ray start … --resources='{{\"{RUNNER}\": 1}}'")
    done = ids_in(target)
    left = ray.data.read_json(source, lines=True).filter(lambda row: row["id"] not in done)
    count = left.count()
    if not count:
        return 0
    began = time.monotonic()
    left.repartition(target_num_rows_per_block=BATCH).map_batches(
        Embed,
        fn_constructor_args=(embeddings,),
        batch_size=BATCH,
        concurrency=nodes,
        num_cpus=0,  # it waits for the runner, and must not take a CPU from reading and writing
        resources={RUNNER: 1},  # one on each node that has a runner
    ).write_parquet(target)
    seconds = time.monotonic() - began
    print(f"{count} texts on {nodes} nodes in {seconds:.1f} s: {count / seconds:.0f} texts/s")
    return count


def main() -> None:
    """Take the two names from the command line."""
    source, target = sys.argv[1:]
    if "RAY_ADDRESS" in os.environ:
        ray.init()
    else:  # this machine is the cluster
        ray.init(resources={RUNNER: 1})
    run(DockerModelEmbeddings(model="ai/all-minilm"), source, target)


if __name__ == "__main__":
    main()
