"""Embed 10,000 texts in a job that can be interrupted. Each batch is saved to disk.

    docker model pull ai/all-minilm
    pip install langchain-classic

Stop it with Ctrl-C and start it again. It embeds only the missing texts.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from _run import run
from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_classic.storage import LocalFileStore

from langchain_docker_model import DockerModelEmbeddings

TEXTS = 10_000
BATCH = 200
STORE = Path("vectors")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else TEXTS
    texts = [f"Order {number} left berth {number % 7} on time." for number in range(count)]
    model = DockerModelEmbeddings(model="ai/all-minilm")
    embeddings = CacheBackedEmbeddings.from_bytes_store(
        model,
        LocalFileStore(STORE),
        namespace=model.model.replace("/", "-"),  # do not mix vectors of different models
        batch_size=BATCH,
        key_encoder="sha256",
    )
    cached = sum(1 for _ in STORE.glob("*")) if STORE.exists() else 0
    print(f"{cached} vectors are in the cache")
    began = time.monotonic()
    vectors = embeddings.embed_documents(texts)
    print(
        f"{len(vectors)} vectors of {len(vectors[0])} numbers in {time.monotonic() - began:.1f} s"
    )


if __name__ == "__main__":
    run(main)
