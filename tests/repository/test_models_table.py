"""The table of docs/models.md has the rows that its command prints."""

from pathlib import Path

from benchmarks import models
from docker_model.http import Client
from docker_model.testing import SimulatedModel

PAGE = Path(__file__).parents[2] / "docs/models.md"


def cells(table):
    return [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in table.splitlines()
        if row.startswith("|")
    ]


def test_the_table_has_the_rows_of_its_command(simulate):
    simulate(
        [
            SimulatedModel("ai/smollm2", context_size=8192),
            SimulatedModel(
                "ai/smollm2-think", template="qwen3", gguf={"tokenizer.chat_template": ""}
            ),
            SimulatedModel("ai/all-minilm", kind="embedding", trained_context=512),
        ]
    )
    names = ["ai/smollm2", "ai/smollm2-think", "ai/all-minilm"]
    printed = cells(models.table(names, Client()))
    page = PAGE.read_text().partition("benchmarks/models.py")[2]
    page_cells = cells(page.partition("\n\nA missing capability")[0])
    assert [row[:2] for row in page_cells] == [row[:2] for row in printed]
    assert page_cells[0] == printed[0]
    facts = {row[0]: row[2:] for row in printed}
    assert facts["`context_size`, in force"] == ["8192", "4096", "512"]
    assert facts["`tools`, `thinking`, `vision`"] == ["tools", "thinking, tools", "none found"]
    assert facts["`embedding`, `reranking`"] == ["unknown", "unknown", "embedding"]
