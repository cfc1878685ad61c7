"""The documentation's table of features shows the results of this package.

The cells of other packages come from `python benchmarks/features.py`, which needs them.
"""

import dataclasses
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))

from classes import CONTENDERS  # noqa: E402
from features import cell  # noqa: E402
from rows import ROWS  # noqa: E402

_, TABLE, _ = (ROOT / "docs/comparison.md").read_text().split("<!-- features -->\n")
HEAD, _, *LINES = [[cell.strip() for cell in line.split("|")[1:-1]] for line in TABLE.splitlines()]
CELLS = {row: dict(zip(HEAD[1:], cells, strict=True)) for row, *cells in LINES}
OURS = [contender for contender in CONTENDERS if contender.ours]


def test_every_row_and_every_class_of_ours_is_in_the_table():
    assert list(CELLS) == [row.title for row in ROWS]
    assert {contender.title for contender in OURS} <= set(HEAD)


@pytest.mark.parametrize("contender", OURS, ids=lambda contender: contender.title)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
def test_the_cell_is_the_result_of_its_row(row, contender, monkeypatch):
    monkeypatch.delenv("MODEL_RUNNER_HOST", raising=False)  # every row on the simulation
    monkeypatch.delenv("DOCKER_MODEL_COMMAND", raising=False)
    assert cell(row, contender) == CELLS[row.title][contender.title]


def test_a_package_that_cannot_be_imported_gives_no_cell():
    (ours, *_) = OURS
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        cell(ROWS[0], dataclasses.replace(ours, package="nowhere"))
