"""Compare the retrieval and speed of embeddings with the OpenAI clients on a real runner.

    python benchmarks/retrieval.py --texts 10000

Recall: every paragraph of `examples/rag/documents` is a passage, and the questions are from
`examples/rag/evaluation.jsonl`. Only the cosine similarity ranks the passages. Speed: the classes
embed short texts in turns of `--turn` texts, so that all classes run under the same load. On a CPU,
the engine takes nearly all of the time, so the table also shows the CPU time of this process.

The script needs `ai/all-minilm`, the dependency groups `bench` and `rag`, and the address of the
runner in `MODEL_RUNNER_HOST`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from contenders import embedders

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Vectors = Sequence[Sequence[float]]
    Embed = Callable[[list[str]], Vectors]

RAG = Path(__file__).parents[1] / "examples/rag"
MODEL = "ai/all-minilm"


def recall(embed: Embed) -> tuple[float, float]:
    """Return recall@1 and recall@3."""
    import numpy as np

    sys.path.insert(0, str(RAG))
    from folder import read_folder

    passages = [
        paragraph for text in read_folder().values() for paragraph in text.strip().split("\n\n")
    ]
    rows = [json.loads(line) for line in (RAG / "evaluation.jsonl").read_text().splitlines()]
    texts = np.array(embed(passages))
    questions = np.array(embed([row["question"] for row in rows]))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    best = np.argsort(-(questions @ texts.T), axis=1)[:, :3]
    places = [
        next((n for n, i in enumerate(ranked) if row["evidence"] in passages[i]), 9)
        for row, ranked in zip(rows, best, strict=True)
    ]
    return sum(place < 1 for place in places) / len(rows), sum(p < 3 for p in places) / len(rows)


def speed(embeds: dict[str, Embed], count: int, turn: int) -> dict[str, tuple[float, float]]:
    """Return each class's texts per second, and its own CPU time in ms for 200 texts."""
    texts = [
        f"Ferry number {n} leaves at {n % 24}.{n % 60:02} from berth {n % 3}." for n in range(count)
    ]
    seconds, worked = dict.fromkeys(embeds, 0.0), dict.fromkeys(embeds, 0.0)
    for start in range(0, count, turn):
        order = list(embeds)
        shift = start // turn % len(order)
        for name in order[shift:] + order[:shift]:
            began, cpu = time.perf_counter(), time.process_time()
            embeds[name](texts[start : start + turn])
            seconds[name] += time.perf_counter() - began
            worked[name] += time.process_time() - cpu
    return {name: (count / seconds[name], worked[name] / count * 200_000) for name in embeds}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--turn", type=int, default=500)
    options = parser.parse_args()
    embeds = embedders(os.environ["MODEL_RUNNER_HOST"], MODEL)
    recalls = {}
    for name, embed in embeds.items():
        recalls[name] = recall(embed)
        print(f"{name}: {recalls[name]}", file=sys.stderr, flush=True)
    rates = speed(embeds, options.texts, options.turn)
    print("| | recall@1 | recall@3 | texts/s | own CPU, ms for 200 texts |\n|---|---|---|---|---|")
    for name, (first, three) in recalls.items():
        rate, cpu = rates[name]
        print(f"| {name} | {first:.3f} | {three:.3f} | {rate:.0f} | {cpu:.0f} |", flush=True)


if __name__ == "__main__":
    main()
