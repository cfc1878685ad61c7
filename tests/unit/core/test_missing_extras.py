"""Import errors when a package that belongs to an extra is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BLOCK = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import {package}
"""


def import_without(absent, package):
    """Import a package in a new process, where nothing is imported yet."""
    code = BLOCK.format(package=package, absent=absent)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("package", "absent", "extra"),
    [
        ("langchain_docker_model", "langchain_core", "langchain"),
        ("llama_index_docker_model", "llama_index", "llama-index"),
    ],
)
def test_a_missing_framework_names_the_extra_to_install(package, absent, extra):
    ended = import_without(absent, package)
    assert ended.returncode == 1
    assert f'Hint: pip install "docker-model-llm[{extra}]"' in ended.stderr
    assert f'pip install ".[{extra}]"' in ended.stderr


def test_any_other_missing_module_raises_its_own_error():
    ended = import_without("pydantic", "langchain_docker_model")
    assert "No module named 'pydantic" in ended.stderr
    assert "docker-model-llm" not in ended.stderr
