"""Tests against a real runner, which the environment names as for everything else.

`REAL_MODEL` names the chat model, `REAL_RERANKER` a reranker, and `REAL_CHATS` how many random
chats there are.
"""

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    missing = pytest.mark.skip(reason="REAL_MODEL names no model of a real runner")
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
