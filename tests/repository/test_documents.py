"""The snippets and commands of the README and the guides run as shown."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import docker_model
import langchain_docker_model
import llama_index_docker_model
from docker_model.testing import SimulatedDocker
from tests.support.programs import run_python

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples/README.md",
    ROOT / "examples/rag/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/upstream").glob("*.md")),
]
FENCE = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

# Commands that another test runs, or no test: they install something, need the real Docker, or
# are this test suite itself. Tests still check that each target, file and script exists.
NOT_RUN = (
    "pip ",
    "docker ",
    "make",
    "export ",
    "git ",
    "DOCKER_",
    ".venv/bin/",
    "ray ",
    "RAY_ADDRESS=",
    "eval ",
    "docker-model-llm ",  # the installed name of `python -m docker_model`
    "MODEL_RUNNER_HOST=http://localhost:12434 python benchmarks/",  # takes minutes
    "python benchmarks/models.py",  # tests/repository/test_models_table.py
    "REAL_MODEL=",  # needs a real runner
    "python examples/rag/",  # tests/examples/test_rag.py
    "python examples/embed_ray.py",  # tests/examples/test_embed_ray.py
    "python examples/batch_ray.py",  # tests/examples/test_batch_ray.py runs it on a cluster
)


def blocks(page, language):
    text = page.read_text()
    for match in FENCE.finditer(text):
        if match[2] == language:
            indent, body = match[1], match[3]
            line = text.count("\n", 0, match.start()) + 1
            yield line, "".join(row.removeprefix(indent) for row in body.splitlines(keepends=True))


def every(language):
    return [
        pytest.param(page, line, body, id=f"{page.relative_to(ROOT)}:{line}")
        for page in PAGES
        if page.exists()
        for line, body in blocks(page, language)
    ]


@pytest.mark.parametrize(("page", "line", "code"), every("python"))
def test_a_snippet_runs(page, line, code, tmp_path):
    with SimulatedDocker(models=("ai/smollm2", "ai/qwen3", "ai/all-minilm")) as docker:
        if re.search(r"^(async )?def test_", code, re.MULTILINE):
            tests = tmp_path / "test_snippet.py"
            tests.write_text(code)
            pytest_alone = ["-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio"]
            ended = run_python([*pytest_alone, tests], cwd=tmp_path)
        else:
            ended = run_python(["-c", code], cwd=tmp_path)
        docker.wait_all_gone()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""


def run_shell(command):
    python = f'python() {{ {shlex.quote(sys.executable)} "$@"; }}'
    return subprocess.run(
        ["sh", "-c", f"{python}\n{command}"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def commands():
    places = {}
    for page, line, body in (each.values for each in every("console")):
        for row in body.splitlines():
            if row.startswith("$ "):
                places.setdefault(row[2:], f"{page.relative_to(ROOT)}:{line}")
    return places


@pytest.mark.parametrize("command", [row for row in commands() if not row.startswith(NOT_RUN)])
def test_a_command_runs_and_prints(command):
    words = shlex.split(command)
    with SimulatedDocker(pullable=("ai/smollm2",)):
        if words[0] == "python" and not set("|<>;&$*") & set(command):
            ended = run_python(words[1:], cwd=ROOT)
        else:
            ended = run_shell(command)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout


def test_the_output_of_check_is_as_shown():
    ((_, shown),) = blocks(ROOT / "docs/console.md", "text")
    with SimulatedDocker(models=()) as docker:
        output = run_python(["-m", "docker_model", "check"]).stdout
    command = f"{' '.join(docker.command)} (set by command= or DOCKER_MODEL_COMMAND)"
    usual = "/usr/libexec/docker/cli-plugins/docker-model model (without docker in front)"
    output = output.replace(command, usual)
    assert output.replace(docker.url, "http://127.0.0.1:12434") == shown


def test_every_make_target_in_the_documents_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documents = " ".join(page.read_text() for page in PAGES if page.exists())
    named = set(re.findall(r"`make ([a-z-]+)`", documents))
    for command in commands():
        match = re.search(r"(?:^|[\w\"] )make ([a-z -]+)$", command)
        named |= set(match[1].split()) if match else set()
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("name", ["architecture.md", "way-of-a-prompt.svg"])
def test_every_module_that_the_architecture_names_exists(name):
    named = set(re.findall(r"[\w/]+\.py\b", (ROOT / "docs" / name).read_text()))
    roots = (ROOT, ROOT / "docker_model")
    assert named
    assert [path for path in named if not any((root / path).exists() for root in roots)] == []


def test_every_extra_in_the_documents_exists():
    extras = (ROOT / "pyproject.toml").read_text().partition("optional-dependencies]")[2]
    for command in commands():
        match = re.match(r"pip install \"(?:\.|docker-model-llm)\[([^]]*)\]\"", command)
        for extra in match[1].split(",") if match else ():
            assert f"\n{extra} = " in extras


def test_every_error_is_in_the_table():
    errors = set(docker_model.errors.__all__) - {"DockerModelError"}
    assert (
        set(re.findall(r"^\| `(\w+Error)`", (ROOT / "docs/errors.md").read_text(), re.MULTILINE))
        == errors
    )


def test_every_setting_is_in_the_table():
    settings = set(docker_model.DockerModel.__dataclass_fields__) - {"model"}
    section = (ROOT / "docs/settings.md").read_text().partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(settings)


@pytest.mark.parametrize("package", [langchain_docker_model, llama_index_docker_model])
def test_every_setting_of_an_adapter_class_is_in_a_table(package):
    cells = re.findall(r"^\| (`.+?) \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    documented = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    exported = [getattr(package, name) for name in package.__all__ if "Event" not in name]
    settings = {
        name
        for cls in exported
        for name in getattr(cls, "model_fields", {})
        if not any(name in getattr(base, "model_fields", {}) for base in foreign_bases(cls))
    }
    assert len(settings) > 20
    assert settings - documented == {"model"}


def foreign_bases(cls):
    return [base for base in cls.__mro__ if "docker_model" not in base.__module__]


@pytest.mark.parametrize("page", [page for page in PAGES if page.exists()], ids=lambda p: p.name)
def test_every_link_between_files_has_a_target(page):
    for target in LINK.findall(page.read_text()):
        if not target.startswith(("http", "#", "mailto:")):
            assert (page.parent / target.partition("#")[0]).exists(), target
