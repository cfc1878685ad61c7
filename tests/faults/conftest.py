import pytest

from tests.support.playing import Liveness


@pytest.fixture
def liveness():
    it = Liveness()
    yield it
    it.close()
