"""Embeddings of a table of texts on a Ray cluster. Each node uses its own runner.

    docker model pull ai/all-minilm
    pip install ".[langchain]" "ray[data]"
    python embed_ray.py texts.jsonl vectors

`texts.jsonl` has a line such as `{"id": 1, "text": "Whales are mammals."}` for each row, with
unique ids. The script writes the same rows with a column `vector` to the folder `vectors`, as
Parquet files. To continue an interrupted job, run it again. It skips rows with an id in `vectors`.

docs/batch.md describes the setup of the nodes.
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
BATCH = 256  # texts in a request; an interruption loses at most one batch for each node


class Embed:
    """Computes the vectors on a node. Ray pickles this object, with the settings of the model."""

    def __init__(self, embeddings: DockerModelEmbeddings) -> None:
        self.embeddings = embeddings

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Return the columns of the rows with their vectors."""
        texts = [str(text) for text in rows["text"]]
        return rows | {"vector": self.embeddings.embed_documents(texts)}


def ids_in(target: str) -> set[Any]:
    """Return the ids of the rows that are finished."""
    if not list(Path(target).glob("*.parquet")):
        return set()
    return {row["id"] for row in ray.data.read_parquet(target).select_columns(["id"]).iter_rows()}


def run(embeddings: DockerModelEmbeddings, source: str, target: str) -> int:
    """Embed the rows of `source` that are missing in `target`. Return their number."""
    nodes = int(ray.cluster_resources().get(RUNNER, 0))
    if not nodes:
        sys.exit(f"No node has a runner: ray start … --resources='{{\"{RUNNER}\": 1}}'")
    done = ids_in(target)
    missing = ray.data.read_json(source, lines=True).filter(lambda row: row["id"] not in done)
    count = missing.count()
    if not count:
        return 0
    began = time.monotonic()
    missing.repartition(target_num_rows_per_block=BATCH).map_batches(
        Embed,
        fn_constructor_args=(embeddings,),
        batch_size=BATCH,
        concurrency=nodes,
        num_cpus=0,  # the worker only waits for the runner; readers and writers need the CPUs
        resources={RUNNER: 1},  # one worker on each node that has a runner
    ).write_parquet(target)
    seconds = time.monotonic() - began
    print(f"{count} texts on {nodes} nodes in {seconds:.1f} s: {count / seconds:.0f} texts/s")
    return count


def main() -> None:
    """Run the job with the two names from the command line."""
    source, target = sys.argv[1:]
    if "RAY_ADDRESS" in os.environ:
        ray.init()
    else:  # this machine is the cluster
        ray.init(resources={RUNNER: 1})
    run(DockerModelEmbeddings(model="ai/all-minilm"), source, target)


if __name__ == "__main__":
    main()
