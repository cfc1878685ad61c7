"""Rules of the repository that no linter checks. Import rules: `[tool.importlinter]`."""

import ast
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from docker_model import errors

ROOT = Path(__file__).parents[2]
PACKAGES = ("docker_model", "langchain_docker_model", "llama_index_docker_model")
LONGEST = 700  # lines of a file


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for name in PACKAGES for path in (ROOT / name).rglob("*.py")}


def test_no_file_is_too_long():
    lengths = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


WATCH = """
import sys

# No socket.bind: urllib3, which LangChain brings, binds one to ::1 to learn of IPv6.
STARTS = {
    "subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system",
    "os.exec", "_thread.start_new_thread", "socket.connect", "socket.getaddrinfo",
    "socket.sendto", "urllib.Request",
}

def watch(event, arguments):
    if event in STARTS:
        raise SystemExit(f"{sys.argv[1:]} did {event}")

sys.addaudithook(watch)
package = __import__(sys.argv[1])
print(*sys.modules)
exec(sys.argv[2])
"""


SETTINGS = "(model='ai/smollm2', standby=2, pull='missing')"
CONSTRUCT = {
    "docker_model": f"package.DockerModel{SETTINGS}",
    "docker_model.testing": "package.testing.SimulatedDocker()",
    "langchain_docker_model": f"package.DockerModelLLM{SETTINGS}",
    "llama_index_docker_model": f"package.DockerModelLLM{SETTINGS}",
}


@cache
def modules_loaded_by(package):
    ended = subprocess.run(
        [sys.executable, "-c", WATCH, package, CONSTRUCT[package]],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if "COVERAGE" not in name},
        timeout=90,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return set(ended.stdout.split())


@pytest.mark.parametrize("package", CONSTRUCT)
def test_importing_and_constructing_start_no_process_thread_or_connection(package):
    loaded = modules_loaded_by(package)
    assert package in loaded
    assert package == "langchain_docker_model" or "langchain_core" not in loaded


def test_importing_the_core_loads_nothing_heavy():
    heavy = {"asyncio", "subprocess", "socket", "httpcore", "rich", "pydantic", "json", "argparse"}
    heavy |= {"langchain_core", "llama_index"}
    heavy |= {f"docker_model.{later}" for later in ("_engine", "management", "streams", "types")}
    assert modules_loaded_by("docker_model") & heavy == set()


def test_everything_in_all_exists():
    for module in FILES:
        if module.endswith(("testing._program", "testing._start", "__main__")):
            continue  # programs, which are not imported
        if module.endswith(("windows", "named_pipes")) and sys.platform != "win32":
            continue  # their base classes exist on Windows only
        loaded = importlib.import_module(module)
        offered = getattr(loaded, "__all__", ())
        assert [name for name in offered if not hasattr(loaded, name)] == [], module
        assert len(set(offered)) == len(offered), module


def test_the_top_package_exports_every_error_and_public_name():
    core = importlib.import_module("docker_model")
    for part_of_it in ("errors", "management", "streams", "client"):
        offered = importlib.import_module(f"docker_model.{part_of_it}").__all__
        assert set(offered) <= set(core.__all__)


def test_each_package_of_the_wheel_has_type_information():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(shipped) == set(PACKAGES)
    assert all((ROOT / name / "py.typed").exists() for name in shipped)
    assert {module.name for module in pkgutil.iter_modules([str(ROOT)])} >= set(PACKAGES)


def test_the_lowest_promised_versions_are_in_the_test_matrix():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = settings["project"]["optional-dependencies"]
    makefile = (ROOT / "Makefile").read_text()
    assert "langchain-core>=1.6.0,<2" in extras["langchain"]
    assert "langchain-core==1.6.0" in makefile
    assert "llama-index-core>=0.14,<0.15" in extras["llama-index"]
    assert "llama-index-core==0.14.0" in makefile


# --- Docstrings and errors ----------------------------------------------------------------------


@cache
def docstrings():
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno}", ast.get_docstring(node))
        for path in FILES.values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and ast.get_docstring(node)
    ]


def test_no_docstring_begins_with_the_same():
    folders = (*PACKAGES, "tests", "examples", "benchmarks")
    texts = {path: path.read_text() for name in folders for path in (ROOT / name).rglob("*.py")}
    assert sum(text.count('"""') for text in texts.values()) > 2000
    begins = re.compile(r'"""\s*The same\b')
    assert [str(path) for path, text in texts.items() if begins.search(text)] == []


def test_no_docstring_only_refers_to_another():
    empty = re.compile(
        r"(?:See `[^`]*`|The same\b[^.]*|As `[^`]*`)[.;]?\Z|(?:See `|The same[,. ]|It is none)"
    )
    assert [where for where, text in docstrings() if empty.match(text)] == []


def test_entries_of_raises_begin_with_if():
    wrong = []
    for where, text in docstrings():
        _, _, section = text.partition("Raises:\n")
        entries = re.findall(r"^    (\w+): (.*)", section.partition("\n\n")[0], re.MULTILINE)
        wrong += [f"{where} {name}: {reason}" for name, reason in entries if reason[:3] != "If "]
    assert wrong == []


ERRORS = {
    name for name in errors.__all__ if issubclass(getattr(errors, name), errors.DockerModelError)
}


def test_every_error_that_is_raised_has_a_hint():
    without = []
    for path in FILES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name not in ERRORS:
                continue
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            hint = keywords.get("hint")
            blank = isinstance(hint, ast.Constant) and not hint.value
            if None not in keywords and (hint is None or blank):
                without.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert without == []
