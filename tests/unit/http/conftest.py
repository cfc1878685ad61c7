import pytest

from docker_model.http import addresses

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    """Remove the variables and configuration that name a runner."""
    for name in addresses.RELEVANT:
        if name not in ("HOME", "DOCKER_HOST"):
            monkeypatch.delenv(name, raising=False)
