"""How good the retrieval and the answers are: a table, and a plot.

    python examples/rag/evaluate.py                  both frameworks, all questions
    python examples/rag/evaluate.py --answers 0      the retrieval alone, which takes seconds

`evaluation.jsonl` has a line for each question: the answer, the file and the sentence that it
stands in. A passage is a hit if that sentence is in it.

* recall@k: the share of questions with a hit among the first k passages.
* MRR: the mean of one over the place of the first hit (0 without one).
* correct: the share of answers that contain the expected words.
* faithful: the share of answers in which every number and name stands in the passages.
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
    """The results so far.

    Attributes:
        places: The place of the first hit for each question, from 1; 0 without one.
        correct: For each answer, whether it has the expected words.
        faithful: For each answer, whether its numbers and names stand in the passages.
    """

    places: list[int] = field(default_factory=list)
    correct: list[bool] = field(default_factory=list)
    faithful: list[bool] = field(default_factory=list)

    def recall(self, k: int) -> float:
        """Return the share of questions with a hit among the first k passages."""
        return share([0 < place <= k for place in self.places])

    def mrr(self) -> float:
        """Return the mean reciprocal rank."""
        return share([1 / place if place else 0 for place in self.places])


def share(values: list[Any]) -> float:
    """Return the mean of a list; 0 for an empty one."""
    return sum(values) / len(values) if values else 0.0


def plain(text: str) -> str:
    """Return a text with single blanks, in lower case."""
    return " ".join(text.lower().split())


def first_hit(evidence: str, passages: list[str]) -> int:
    """Return the place of the first passage with the evidence, from 1; 0 without one."""
    wanted = plain(evidence)
    return next((n for n, text in enumerate(passages, 1) if wanted in plain(text)), 0)


def is_faithful(answer: str, passages: list[str]) -> bool:
    """Whether every number and name of an answer stands in the passages."""
    known = plain(" ".join(passages))
    return all(word.lower() in known for word in NUMBER_OR_NAME.findall(answer.strip()))


async def evaluate(rag: Any, rows: list[dict[str, str]], answers: int) -> Scores:
    """Ask all questions, and have the first few answered."""
    scores = Scores()
    for number, row in enumerate(rows):
        passages = await rag.find(row["question"], MOST)
        texts = [source_of(passage)[1] for passage in passages]
        scores.places.append(first_hit(row["evidence"], texts))
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
            f"{share(seen):.2f} of {len(seen)}" if seen else "not asked"
            for seen in (scores.correct, scores.faithful)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(results: dict[str, Scores], path: Path) -> None:
    """Draw recall@k for each k as an SVG file."""
    import matplotlib as mpl  # noqa: PLC0415  the table does without

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "docker-model-llm"  # the same file each time
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for (name, scores), style in zip(results.items(), ("o-", "s--", "^:", "d-."), strict=False):
        places = range(1, MOST + 1)
        axes.plot(places, [scores.recall(k) for k in places], style, label=name)
    axes.set(xlabel="passages looked at (k)", ylabel="recall@k", ylim=(0, 1.05))
    axes.set_xticks(range(1, MOST + 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Evaluate both frameworks, print the table and write the plot."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--answers", type=int, default=10, help="questions to be answered, too")
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
