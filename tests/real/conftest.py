"""Tests with a real runner, found by the usual environment variables.

`REAL_MODEL` is the chat model, `REAL_RERANKER` the reranker, and `REAL_CHATS` the number of random
chats.
"""

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    missing = pytest.mark.skip(reason="needs a real runner: REAL_MODEL is not set")
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(1800))
            if "REAL_MODEL" not in os.environ:
                item.add_marker(missing)


@pytest.fixture
def model():
    return os.environ["REAL_MODEL"]


@pytest.fixture
def chats():
    return int(os.environ.get("REAL_CHATS", "170"))
