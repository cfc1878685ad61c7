"""The rules of the house: who may import whom, and what importing may not do."""

import ast
import importlib
import pkgutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("docker_model", "langchain_docker_model", "llama_index_docker_model")

# The core from the bottom to the top: a part imports those above it in this list, and its own.
LAYERS = (
    {"_version", "errors"},
    {"options", "types", "_runtime"},
    {"_transport", "streams"},
    {"_docker_cli"},
    {"http"},
    {"_engine"},
    {"client", "management"},
    {"env", "adapter", "models"},
    {"_console"},
    {"__main__"},
)
# A part that knows nothing of the others, nor they of it.
APART = {"testing"}

# Whatever is not Python's own.
REQUIREMENTS = {
    "docker_model._console.colors": {"rich"},
    "docker_model._console.completion": {"argcomplete"},
    "docker_model.http": {"httpcore"},
    "docker_model.testing.program.docker": {"simulated"},  # beside it: a program on its own
    "docker_model.testing.pytest_plugin": {"pytest"},
    "langchain_docker_model": {"langchain_core", "pydantic"},
    "llama_index_docker_model": {"llama_index"},
}
# Of the core, the adapters see what users see; all else is reached through it.
PUBLIC = {"_version", "client", "errors", "management", "options"}
PUBLIC |= {"env", "streams", "types"}
PUBLIC |= {"http", "http.client", "http.tools"}  # the way to what the command cannot do

LONGEST = 700  # lines of a file


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for name in PACKAGES for path in (ROOT / name).rglob("*.py")}


@cache
def imports(module, *, later=True):
    """What a module imports, `later` within functions too; submodules by their full name."""
    found = set()
    waiting = [ast.parse(FILES[module].read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not later:
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".")
                package = package[: len(package) - node.level + (FILES[module].stem == "__init__")]
                base = ".".join([*package, base]).rstrip(".")
            for alias in node.names:
                name = f"{base}.{alias.name}"
                found.add(name if name in FILES else base)
    return found


def part(module):
    """`cli` of `docker_model._docker_cli.run`; the core's front door is `""`."""
    return f"{module}.".split(".")[1]


@pytest.mark.parametrize("module", [name for name in FILES if name.startswith("docker_model.")])
def test_imports_point_down(module):
    own = part(module)
    imported = {part(name) for name in imports(module) if name.startswith("docker_model")}
    if own in APART:
        assert imported <= {own, "_version"}
        return
    heights = {name: height for height, layer in enumerate(LAYERS) for name in layer}
    assert own in heights, f"{own} has no place in LAYERS yet"
    assert {name for name in imported - {own, ""} if heights[name] >= heights[own]} == set()
    if "" in imported:  # that loads everything, so only the top may do it
        assert own in {"_console", "__main__"}


@pytest.mark.parametrize("module", [name for name in FILES if part(name) not in APART])
def test_nothing_depends_on_the_simulation(module):
    assert "testing" not in {part(name) for name in imports(module) if name in FILES}


@pytest.mark.parametrize("module", [name for name in FILES if "_docker_model" in name])
def test_adapters_come_in_by_the_front_door(module):
    others = {name for name in imports(module) if name.split(".")[0] != module.split(".")[0]}
    core = {name for name in others if name.split(".")[0] == "docker_model"}
    assert core <= {"docker_model", *(f"docker_model.{name}" for name in PUBLIC)}
    assert not {name.split(".")[0] for name in others} & set(PACKAGES[1:])


@pytest.mark.parametrize("module", FILES)
def test_only_what_is_required_is_imported(module):
    own = set(PACKAGES) | sys.stdlib_module_names
    for name, required in REQUIREMENTS.items():
        if f"{module}.".startswith(f"{name}."):
            own |= required
    assert {name.split(".")[0] for name in imports(module)} <= own


def test_there_are_no_circles():
    done, path = set(), []

    def visit(module):
        assert module not in path, " imports ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for other in sorted(imports(module, later=False) & FILES.keys()):
                visit(other)
            done.add(path.pop())

    for module in FILES:
        visit(module)


@pytest.mark.parametrize("module", FILES)
def test_a_file_can_be_read_in_one_sitting(module):
    assert len(FILES[module].read_text().splitlines()) <= LONGEST


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
        raise SystemExit(f"importing {sys.argv[1]} did {event}")

sys.addaudithook(watch)
__import__(sys.argv[1])
print(*sys.modules)
"""


def modules_loaded_by(package):
    ended = subprocess.run(
        [sys.executable, "-c", WATCH, package],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=90,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return set(ended.stdout.split())


@pytest.mark.parametrize("package", [*PACKAGES, "docker_model.testing"])
def test_importing_starts_no_process_thread_or_connection(package):
    assert package in modules_loaded_by(package)


def test_importing_the_core_loads_nothing_heavy():
    heavy = {"asyncio", "subprocess", "socket", "httpcore", "rich", "pydantic", "json", "argparse"}
    heavy |= {"langchain_core", "llama_index"}
    heavy |= {f"docker_model.{later}" for later in ("_engine", "management", "streams", "types")}
    assert modules_loaded_by("docker_model") & heavy == set()


@pytest.mark.parametrize("module", FILES)
def test_what_a_module_offers_is_there(module):
    if "testing.program" in module or module.endswith("__main__"):
        return  # run, not imported
    loaded = importlib.import_module(module)
    offered = getattr(loaded, "__all__", ())
    assert [name for name in offered if not hasattr(loaded, name)] == []
    assert len(set(offered)) == len(offered)


def test_the_front_door_has_every_error_and_everything_public():
    core = importlib.import_module("docker_model")
    for part_of_it in ("errors", "management", "streams", "client"):
        offered = importlib.import_module(f"docker_model.{part_of_it}").__all__
        assert set(offered) <= set(core.__all__)


def test_each_package_of_the_wheel_says_that_it_is_typed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(shipped) == set(PACKAGES)
    assert all((ROOT / name / "py.typed").exists() for name in shipped)
    assert {found.name for found in pkgutil.iter_modules([str(ROOT)])} >= set(PACKAGES)


def test_the_lowest_versions_that_are_promised_are_those_of_the_matrix():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = settings["project"]["optional-dependencies"]
    makefile = (ROOT / "Makefile").read_text()
    assert extras["langchain"] == ["langchain-core>=1.6.0,<2"]
    assert "langchain-core==1.6.0" in makefile
    assert extras["llama-index"] == ["llama-index-core>=0.14,<0.15"]
    assert "llama-index-core==0.14.0" in makefile
