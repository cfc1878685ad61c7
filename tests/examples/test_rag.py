"""`examples/rag/` on simulated models, with real vector stores on disk."""

import asyncio
import importlib
import json
import math
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from docker_model import ModelNotFoundError
from docker_model.testing import SimulatedDocker, SimulatedModel

pytest.importorskip("pypdf")
EXAMPLE = Path(__file__).parents[2] / "examples/rag"
ROWS = [json.loads(line) for line in (EXAMPLE / "evaluation.jsonl").read_text().splitlines()]
FRAMEWORKS = {
    "langchain_rag": {"chroma": "langchain_chroma", "qdrant": "langchain_qdrant"},
    "llama_index_rag": {
        "chroma": "llama_index.vector_stores.chroma",
        "qdrant": "llama_index.vector_stores.qdrant",
    },
}
pytestmark = [
    pytest.mark.slow,  # needs the dependency group `rag`
    pytest.mark.filterwarnings("default"),  # warnings of the stores
]


@pytest.fixture(autouse=True)
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield
    for name in ("ask", "evaluate", "folder", "web", *FRAMEWORKS):
        sys.modules.pop(name, None)


def words(text):
    return re.findall(r"\w+", text.lower())


def scripted_embedding():
    """Return a function that embeds a text by the words of the evaluation's sentences.

    Each word of the vocabulary is a dimension, and rare words have more weight (TF-IDF).
    """
    texts = [row["evidence"] + " " + row["question"] for row in ROWS]
    seen = Counter(word for text in texts for word in set(words(text)))
    weights = {word: math.log(len(texts) / count) for word, count in seen.items()}
    places = {word: place for place, word in enumerate(sorted(seen), 1)}

    def embed(text):
        vector = [0.0] * (len(places) + 1)
        vector[0] = 0.01  # no vector is zero
        for word, count in Counter(words(text)).items():
            if word in places:
                vector[places[word]] = weights[word] * (1 + math.log(count))
        length = math.sqrt(sum(number * number for number in vector))
        return [number / length for number in vector]

    return embed


def models(*further):
    return ["ai/smollm2", SimulatedModel("ai/all-minilm", kind="embedding"), *further]


def simulated(*further, **settings):
    return SimulatedDocker(models(*further), embed=scripted_embedding(), **settings)


def opened(name, kind, folder):
    pytest.importorskip(FRAMEWORKS[name][kind])
    return importlib.import_module(name).open_rag(kind, folder)


both = pytest.mark.parametrize("name", FRAMEWORKS)
stores = pytest.mark.parametrize("kind", ["chroma", "qdrant"])


def embedded(docker):
    """Return how many texts were embedded."""
    bodies = [r.body for r in docker.requests if r.path.endswith("/embeddings")]
    inputs = [body["input"] for body in bodies]
    return sum(len(given) if isinstance(given, list) else 1 for given in inputs)


@both
@stores
def test_an_answer_has_its_sources_and_the_store_is_kept(name, kind, tmp_path, capsys):
    question = "Which ship has an elevator from the car deck?"
    with simulated(script="The Borealis.") as docker:
        with opened(name, kind, tmp_path) as rag:
            asyncio.run(importlib.import_module("ask").ask(rag, question))
        out = capsys.readouterr().out
        assert out.startswith("The Borealis.\n\nSources:\n  ")
        assert "fleet.md" in out
        assert question in docker.prompts[-1]
        assert "elevator between the car deck and the saloon" in docker.prompts[-1]
        assert docker.requests[-1].body["max_tokens"] == 120
        first = embedded(docker)
        assert first >= 90
        with opened(name, kind, tmp_path) as rag:
            asyncio.run(rag.find(question))
        assert embedded(docker) < first + 5  # only the question, not the documents


def test_a_partly_filled_store_is_filled_again(tmp_path):
    folder = importlib.import_module("folder")
    place = tmp_path / "store"

    def fill(then=lambda: None):
        with folder.filling(place) as is_new:
            if is_new:
                assert not place.exists()
                place.mkdir()
                then()
        return is_new

    with pytest.raises(KeyError):
        fill({}.popitem)
    assert fill()
    assert not fill()


@both
def test_passages_are_split_by_the_token_count_of_the_model(name):
    with simulated() as docker:
        folder = importlib.import_module("folder")
        passages = importlib.import_module(name).split()
        count = folder.token_counter()
        texts = [importlib.import_module("ask").source_of(passage)[1] for passage in passages]
        assert max(map(count, texts)) <= folder.CHUNK_TOKENS
    assert len(texts) >= 80
    whole = "".join("".join(text.split()) for text in texts)
    for row in ROWS:
        assert "".join(row["evidence"].rstrip(".").split()) in whole
    assert any(request.path.endswith("/count_tokens") for request in docker.requests)


@both
def test_a_pulled_reranker_is_used(name, tmp_path):
    reranker = SimulatedModel("ai/some-reranker", kind="reranker")
    with simulated(reranker, score=lambda _, text: 9.0 if "brass" in text else 0.0) as docker:
        with opened(name, "qdrant", tmp_path) as rag:
            passages = asyncio.run(rag.find("What were tickets made of until 1966?"))
        text = importlib.import_module("ask").source_of(passages[0])[1]
    assert "brass" in text
    assert any(request.path.endswith("/rerank") for request in docker.requests)


@both
def test_the_variables_of_compose_select_the_runner_and_the_models(name, tmp_path, monkeypatch):
    compose = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())
    names = {key: compose["models"][key]["model"] for key in compose["services"]["web"]["models"]}
    reranker = SimulatedModel(names["reranker"], kind="reranker")
    with simulated(reranker) as docker:
        for key, model in names.items():
            monkeypatch.setenv(f"{key.upper()}_MODEL", model)
            monkeypatch.setenv(f"{key.upper()}_URL", f"{docker.url}/engines/v1/")
        monkeypatch.setenv("MODEL_RUNNER_HOST", "http://127.0.0.1:9")
        with opened(name, "chroma", tmp_path) as rag:
            asyncio.run(importlib.import_module("ask").ask(rag, "Which ship has an elevator?"))
    paths = {
        request.body["model"]: request.path.rpartition("/")[2]
        for request in docker.requests
        if request.method == "POST"
    }
    assert paths == {
        names["chat"]: "completions",
        names["embedding"]: "embeddings",
        names["reranker"]: "rerank",
    }


def test_the_evaluation_writes_a_table_and_a_plot(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("langchain_qdrant")
    evaluate = importlib.import_module("evaluate")
    monkeypatch.setattr(importlib.import_module("folder"), "STORE", tmp_path)
    plot = tmp_path / "recall.svg"
    arguments = ["--answers", "2", "--store", "qdrant", "--plot", str(plot)]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments, "--frameworks", "LangChain"])
    with simulated(script="It takes 312 passengers."):
        evaluate.main()
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith("| LangChain"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert float(cells[1]) > 0.5
    assert cells[5] == "0.50 of 2"
    assert "<svg" in plot.read_text()


def test_the_figures_of_the_evaluation_are_calculated():
    evaluate = importlib.import_module("evaluate")
    passages = ["The sea is  deep.", "Ships\nsail on\nthe sea.", "Fish swim."]
    assert evaluate.first_hit("ships sail on the sea.", passages) == 2
    assert evaluate.first_hit("no such words", passages) == 0
    scores = evaluate.Scores(ranks=[1, 2, 0, 4])
    assert [scores.recall(k) for k in (1, 3, 5)] == [0.25, 0.5, 0.75]
    assert scores.mrr() == pytest.approx((1 + 1 / 2 + 1 / 4) / 4)
    assert evaluate.is_faithful("It was the Aurora in 1987.", ["Aurora, built in 1987"])
    assert not evaluate.is_faithful("It was the Aurora in 1988.", ["Aurora, built in 1987"])
    assert not evaluate.is_faithful("It was the Borealis.", ["Aurora, built in 1987"])


def test_the_evaluation_set_quotes_the_documents():
    folder = importlib.import_module("folder")
    texts = {name: " ".join(text.split()) for name, text in folder.read_folder().items()}
    assert {Path(name).suffix for name in texts} == {".md", ".pdf"}
    assert sum(len(text.split("\n\n")) - 1 for text in folder.read_folder().values()) >= 100
    assert len(ROWS) >= 50
    for row in ROWS:
        assert row["evidence"] in texts[row["source"]]
        assert row["answer"] in row["evidence"]


def test_a_missing_embedding_model_names_the_command_that_pulls_it(tmp_path):
    pytest.importorskip("langchain_chroma")
    with SimulatedDocker("ai/smollm2"), pytest.raises(ModelNotFoundError) as caught:
        opened("langchain_rag", "chroma", tmp_path).__enter__()
    assert caught.value.hint == "`docker model pull ai/all-minilm`"
    assert not (tmp_path / "langchain-chroma/complete").exists()
