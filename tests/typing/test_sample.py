"""`sample.py`, which `make typecheck` checks, must use every public name."""

import re
from pathlib import Path

import pytest

import docker_model
import docker_model.adapter
import docker_model.testing
import langchain_docker_model
import llama_index_docker_model

SAMPLE = (Path(__file__).parent / "sample.py").read_text()


@pytest.mark.parametrize(
    "package",
    [
        docker_model,
        docker_model.adapter,
        docker_model.testing,
        langchain_docker_model,
        llama_index_docker_model,
    ],
    ids=lambda package: package.__name__,
)
def test_the_sample_uses_every_public_name(package):
    code = SAMPLE.partition("\n\n\n")[2]  # without its imports
    used = set(re.findall(r"\w+", code))
    assert set(package.__all__) - used <= {"__version__"}
