"""A runner with scripted replies."""

from __future__ import annotations

import pytest

from tests.unit.llama_index.http.llama_index_scripted import Runner


@pytest.fixture
def runner():
    runner = Runner()
    yield runner
    runner.close()
