"""Evaluate the retrieval and the answers. Print a table and draw a plot.

    python examples/rag/evaluate.py                  both frameworks, all questions
    python examples/rag/evaluate.py --answers 0      only the retrieval, which takes seconds

`evaluation.jsonl` has a line for each question, with the answer, the file, and the sentence that
contains the answer. A passage is a hit if it contains that sentence.

* recall@k: the share of questions with a hit among the first k passages.
* MRR: the mean reciprocal rank of the first hit (0 without a hit).
* correct: the share of answers that contain the expected words.
* faithful: the share of answers with only numbers and names that the passages contain.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ask import source_of

HERE = Path(__file__).parent
MOST = 5
FRAMEWORKS = {"LangChain": "langchain_rag", "LlamaIndex": "llama_index_rag"}
NUMBER_OR_NAME = re.compile(r"\d[\d.,]*\d|\d|(?<!^)(?<![.!?] )\b[A-Z][a-z]+")


@dataclass
class Scores:
    """The results of the evaluated questions.

    Attributes:
        ranks: The rank of the first hit for each question, from 1; 0 without a hit.
        correct: For each answer, whether it contains the expected words.
        faithful: For each answer, whether the passages contain its numbers and names.
    """

    ranks: list[int] = field(default_factory=list)
    correct: list[bool] = field(default_factory=list)
    faithful: list[bool] = field(default_factory=list)

    def recall(self, k: int) -> float:
        """Return the share of questions with a hit among the first k passages."""
        return mean([0 < rank <= k for rank in self.ranks])

    def mrr(self) -> float:
        """Return the mean reciprocal rank."""
        return mean([1 / rank if rank else 0 for rank in self.ranks])


def mean(values: list[Any]) -> float:
    """Return the mean of a list; 0 for an empty list."""
    return sum(values) / len(values) if values else 0.0


def plain(text: str) -> str:
    """Return a text in lower case with single spaces."""
    return " ".join(text.lower().split())


def first_hit(evidence: str, passages: list[str]) -> int:
    """Return the rank of the first passage with the evidence, from 1; 0 without a hit."""
    sentence = plain(evidence)
    return next((n for n, text in enumerate(passages, 1) if sentence in plain(text)), 0)


def is_faithful(answer: str, passages: list[str]) -> bool:
    """Return whether the passages contain every number and name of an answer."""
    source = plain(" ".join(passages))
    return all(word.lower() in source for word in NUMBER_OR_NAME.findall(answer.strip()))


async def evaluate(rag: Any, rows: list[dict[str, str]], answers: int) -> Scores:
    """Find passages for all questions, and answer the first `answers` of them."""
    scores = Scores()
    for number, row in enumerate(rows):
        passages = await rag.find(row["question"], MOST)
        texts = [source_of(passage)[1] for passage in passages]
        scores.ranks.append(first_hit(row["evidence"], texts))
        if number < answers:
            pieces = [piece async for piece in rag.answer(row["question"], passages[:3])]
            answer = "".join(pieces)
            scores.correct.append(plain(row["answer"]) in plain(answer))
            scores.faithful.append(is_faithful(answer, [row["question"], *texts[:3]]))
    return scores


def table(results: dict[str, Scores]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| | recall@1 | recall@3 | recall@5 | MRR | correct | faithful |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, scores in results.items():
        figures = [scores.recall(1), scores.recall(3), scores.recall(5), scores.mrr()]
        cells = [f"{figure:.2f}" for figure in figures]
        cells += [
            f"{mean(values):.2f} of {len(values)}" if values else "not asked"
            for values in (scores.correct, scores.faithful)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(results: dict[str, Scores], path: Path) -> None:
    """Draw recall@k for each k as an SVG file."""
    import matplotlib as mpl  # noqa: PLC0415  the table does not need it

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "docker-model-llm"  # for a reproducible file
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for (name, scores), style in zip(results.items(), ("o-", "s--", "^:", "d-."), strict=False):
        counts = range(1, MOST + 1)
        axes.plot(counts, [scores.recall(k) for k in counts], style, label=name)
    axes.set(xlabel="passages looked at (k)", ylabel="recall@k", ylim=(0, 1.05))
    axes.set_xticks(range(1, MOST + 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Evaluate both frameworks, print the table and write the plot."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--answers", type=int, default=10, help="the number of questions to answer")
    parser.add_argument("--store", choices=["chroma", "qdrant"], default="chroma")
    parser.add_argument("--plot", type=Path, default=HERE / "recall.svg")
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=list(FRAMEWORKS))
    options = parser.parse_args()
    rows = [
        json.loads(line) for line in (HERE / "evaluation.jsonl").read_text("utf-8").splitlines()
    ]
    results = {}
    for name in options.frameworks:
        module = importlib.import_module(FRAMEWORKS[name])
        with module.open_rag(options.store) as rag:
            results[name] = asyncio.run(evaluate(rag, rows, options.answers))
    print(f"{len(rows)} questions, {options.store}\n\n{table(results)}")
    plot(results, options.plot)
    print(f"\nplot: {options.plot}")


if __name__ == "__main__":
    main()
