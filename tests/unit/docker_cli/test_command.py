"""The program, the arguments and the environment of a command."""

import os
import pickle
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docker_model._docker_cli import command
from docker_model._docker_cli.command import (
    candidates,
    child_environment,
    desktop_folders,
    located,
)
from docker_model._transport import environment
from docker_model._transport.command_words import split_command
from docker_model._transport.environment import Environment
from docker_model.errors import (
    DockerNotFoundError,
    InvalidRequestError,
    UnsupportedParameterError,
)
from docker_model.types import ModelConfiguration
from tests.support.platforms import posix_only

# The rules of Windows are tested as data, with `windows=True`.
pytestmark = posix_only("executable files without a suffix")


@pytest.fixture(autouse=True)
def no_command(monkeypatch):
    for name in ("DOCKER_MODEL_COMMAND", "NO_COLOR", "GOGC", "MODEL_RUNNER_NO_AUTO_INSTALL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def programs(tmp_path):
    """Create a directory of executable programs."""
    for name in ("docker", "docker-model", "wrapper"):
        path = tmp_path / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    (tmp_path / "not-executable").write_text("")
    (tmp_path / "directory").mkdir()
    return tmp_path


def prefix(setting, programs, **env):
    return command_prefix(setting, {"PATH": str(programs), **env})


def command_prefix(setting, env):
    return tuple(located(split_command(setting, env), env))


# -- the command -----------------------------------------------------------------------------


def test_the_default_command_is_docker_model(programs):
    assert prefix(None, programs) == (f"{programs}/docker", "model")


@pytest.mark.parametrize("setting", ["wrapper 'a b' c", ["wrapper", "a b", "c"]])
def test_a_setting_is_split_as_a_shell_does(programs, setting):
    assert prefix(setting, programs) == (f"{programs}/wrapper", "a b", "c")


def test_the_variable_is_used_without_a_setting(programs):
    assert prefix(None, programs, DOCKER_MODEL_COMMAND="wrapper x")[1:] == ("x",)
    assert prefix("docker model", programs, DOCKER_MODEL_COMMAND="wrapper x")[1:] == ("model",)


def test_a_blank_variable_counts_as_unset(programs):
    assert prefix(None, programs, DOCKER_MODEL_COMMAND=" ") == (f"{programs}/docker", "model")


@pytest.mark.parametrize(
    "setting", ["", "  ", [], [""], ["docker", 1], ["docker", "a\0"], 'docker "model', "a\0b"]
)
def test_an_empty_command_is_refused(programs, setting):
    with pytest.raises(InvalidRequestError):
        prefix(setting, programs)


def test_an_unclosed_quotation_in_the_variable_names_the_variable(programs):
    with pytest.raises(InvalidRequestError, match="DOCKER_MODEL_COMMAND cannot be split"):
        prefix(None, programs, DOCKER_MODEL_COMMAND="docker 'model")


def test_relative_names_are_resolved_in_the_callers_directory(programs, monkeypatch):
    monkeypatch.chdir(programs)
    absolute = (f"{programs}/wrapper",)
    assert prefix("./wrapper", programs) == absolute
    assert command_prefix("wrapper", {"PATH": f"/nonexistent{os.pathsep}."}) == absolute


def test_directories_and_plain_files_on_path_are_skipped(programs, tmp_path_factory):
    first = tmp_path_factory.mktemp("first")
    (first / "docker").mkdir()
    (first / "wrapper").write_text("")
    path = {"PATH": f"{first}{os.pathsep}{programs}"}
    assert command_prefix("docker", path) == (f"{programs}/docker",)
    assert command_prefix("wrapper", path) == (f"{programs}/wrapper",)


@pytest.mark.parametrize("setting", ["nothing", "./nothing", "directory", "/nonexistent/docker"])
def test_a_missing_program_is_an_error(programs, setting):
    with pytest.raises(DockerNotFoundError, match="there is no program") as caught:
        prefix(setting, programs)
    assert "docs.docker.com" in caught.value.hint


def test_a_program_that_is_not_executable_is_an_error(programs):
    with pytest.raises(DockerNotFoundError, match="is not executable") as caught:
        prefix("not-executable", programs)
    assert caught.value.hint == f"chmod +x {programs}/not-executable"


def test_an_unset_path_means_the_systems_default():
    assert command_prefix("sh", {}) == ("/bin/sh",)


# -- Docker Desktop --------------------------------------------------------------------------


def test_docker_is_found_in_the_folder_of_docker_desktop(programs, monkeypatch):
    """A program started from the Dock of macOS has a short PATH."""
    home = programs / "home"
    docker = home / ".docker" / "bin" / "docker"
    docker.parent.mkdir(parents=True)
    (programs / "docker").rename(docker)
    monkeypatch.setattr(command, "_SYSTEM", "darwin")
    nowhere_else = str(programs)
    isfile = os.path.isfile
    monkeypatch.setattr(os.path, "isfile", lambda p: p.startswith(nowhere_else) and isfile(p))
    assert prefix(None, programs, HOME=str(home)) == (str(docker), "model")
    with pytest.raises(DockerNotFoundError, match="no program 'docker-other' on PATH"):
        prefix("docker-other", programs, HOME=str(home))


def test_path_takes_precedence_over_docker_desktops_folders(programs, monkeypatch):
    monkeypatch.setattr(command, "_SYSTEM", "darwin")
    assert prefix(None, programs, HOME="/Users/me") == (f"{programs}/docker", "model")


def test_the_folders_of_docker_desktop_are_known_for_each_system():
    assert desktop_folders({"PROGRAMFILES": r"D:\Programs"}, "win32") == [
        r"D:\Programs\Docker\Docker\resources\bin"
    ]
    assert desktop_folders({}, "win32") == []
    assert desktop_folders({"HOME": "/Users/me"}, "darwin") == [
        "/usr/local/bin",
        "/Users/me/.docker/bin",
        "/opt/homebrew/bin",
        "/Applications/Docker.app/Contents/Resources/bin",
    ]
    assert desktop_folders({"HOME": "/home/me"}, "linux") == []


def test_the_placeholder_of_docker_desktop_in_wsl_is_named(programs):
    """The PATH of Windows is a part of the distribution's."""
    folder = programs / "mnt" / "c" / "Program Files" / "Docker" / "Docker" / "resources" / "bin"
    folder.mkdir(parents=True)
    (programs / "docker").rename(folder / "docker")
    with pytest.raises(DockerNotFoundError, match="integration is disabled") as caught:
        prefix(None, folder)
    assert "WSL integration" in caught.value.hint
    (programs / "docker").write_text("#!/bin/sh\n")
    (programs / "docker").chmod(0o755)
    path = {"PATH": f"{folder}{os.pathsep}{programs}"}
    assert command_prefix(None, path) == (f"{programs}/docker", "model")


# -- Windows ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("docker model", ("docker", "model")),
        (r"C:\Tools\docker.exe model", (r"C:\Tools\docker.exe", "model")),
        (r'"C:\Program Files\docker.exe"  model', (r"C:\Program Files\docker.exe", "model")),
        (r"\\server\share\docker.exe 'a b'", (r"\\server\share\docker.exe", "'a", "b'")),
        (r'x "a\\" "b \"c\"" ""', ("x", "a\\", 'b "c"', "")),
        (r"C:\Docker\DOCKER-MODEL.EXE", (r"C:\Docker\DOCKER-MODEL.EXE", "model")),
    ],
)
def test_a_command_is_split_by_the_rules_of_windows(command, words):
    assert split_command(command, {}, windows=True) == words
    assert split_command(None, {"DOCKER_MODEL_COMMAND": command}, windows=True) == words


def test_an_unclosed_quotation_is_refused_on_windows():
    with pytest.raises(InvalidRequestError, match="No closing quotation"):
        split_command('"C:\\docker.exe model', {}, windows=True)


TEXT = st.text('ab \t"\\:/', max_size=12)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXT.filter(bool), st.lists(TEXT, min_size=1, max_size=4))
def test_splitting_on_windows_is_the_inverse_of_joining(program, arguments):
    words = [program, *arguments]
    assert split_command(subprocess.list2cmdline(words), {}, windows=True) == tuple(words)


def test_candidates_on_windows_have_a_suffix():
    path = r"C:\a;D:\b"
    assert candidates("docker", path, windows=True) == [
        *(rf"C:\a\docker{suffix}" for suffix in (".exe", ".com", ".bat", ".cmd")),
        *(rf"D:\b\docker{suffix}" for suffix in (".exe", ".com", ".bat", ".cmd")),
    ]
    assert candidates("Docker.EXE", path, windows=True) == [r"C:\a\Docker.EXE", r"D:\b\Docker.EXE"]
    for program in (
        r"C:\x\docker.exe",
        "C:/x/docker.exe",
        r"\\server\x\docker.exe",
        "C:docker.exe",
    ):
        assert candidates(program, path, windows=True) == [program]
    assert candidates("docker", "/a:/b", windows=False) == ["/a/docker", "/b/docker"]
    assert candidates("./docker", "/a:/b", windows=False) == ["./docker"]


def test_a_batch_file_is_refused_on_windows(programs, monkeypatch):
    monkeypatch.setattr(command, "_WINDOWS", True)
    (programs / "docker.cmd").write_text("@docker %*")
    (programs / "docker.cmd").chmod(0o755)
    with pytest.raises(DockerNotFoundError, match="is a batch file") as caught:
        located([f"{programs}/docker.cmd"], {})
    assert ".exe" in caught.value.hint


def test_names_of_variables_are_case_insensitive_on_windows():
    variables = {"Path": "1", "PATH": "2", "HF_Token": "3"}
    assert environment._canonical(variables, windows=True) == {"PATH": "2", "HF_TOKEN": "3"}
    assert environment._canonical(variables, windows=False) == variables


# -- the plugin's own file -------------------------------------------------------------------


def test_the_plugin_file_is_run_as_docker_runs_it(programs):
    file = str(programs / "docker-model")
    assert prefix(file, programs) == (file, "model")
    assert prefix([file, "model"], programs) == (file, "model")
    variable = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND"
    assert child_environment({}, file)[variable] == "docker"
    assert child_environment({"DOCKER_MODEL_COMMAND": file})[variable] == "docker"
    assert child_environment({variable: "mine"}, file)[variable] == "mine"
    assert variable not in child_environment({}, "docker model")


# -- the environment -------------------------------------------------------------------------


def test_defaults_are_set_unless_the_environment_has_them(monkeypatch):
    assert child_environment().items() >= {
        ("MODEL_RUNNER_NO_AUTO_INSTALL", "1"),
        ("DOCKER_MODEL_NO_WEBSEARCH", "1"),
        ("NO_COLOR", "1"),
        ("GOGC", "400"),
    }
    monkeypatch.setenv("GOGC", "100")
    assert child_environment()["GOGC"] == "100"
    assert child_environment({"GOGC": "off", "NO_COLOR": ""})["GOGC"] == "off"
    assert child_environment({"NO_COLOR": ""})["NO_COLOR"] == ""


def test_the_callers_environment_is_inherited_and_unchanged(monkeypatch):
    monkeypatch.setenv("MINE", "1")
    before = dict(os.environ)
    assert child_environment({"MINE": "2", "OTHER": "3"}).items() >= {("MINE", "2"), ("OTHER", "3")}
    assert dict(os.environ) == before


def test_repr_of_an_environment_hides_its_values():
    env = Environment({"HF_TOKEN": "secret"})
    assert "secret" not in f"{env!r}{env}"
    assert env["HF_TOKEN"] == "secret"
    assert dict(env) == {"HF_TOKEN": "secret"}


def test_equal_environments_are_equal_hashable_and_picklable():
    environment, equal = Environment({"A": "1", "B": "2"}), Environment({"B": "2", "A": "1"})
    assert environment == equal == {"A": "1", "B": "2"}
    assert hash(environment) == hash(equal)
    assert environment != Environment({"A": "1"})
    assert pickle.loads(pickle.dumps(environment)) == environment
    assert Environment.of(environment) is environment
    assert Environment.of(None) == {}
    with pytest.raises(TypeError):
        environment["A"] = "3"


def test_an_environment_is_independent_of_its_source():
    source = {"A": "1"}
    env = Environment(source)
    source["A"] = "2"
    assert env["A"] == "1"


def test_an_unpickled_environment_has_the_hash_of_this_process():
    # Hashes of strings differ between processes; a copied hash would never match.
    script = (
        "import pickle, sys; from docker_model._docker_cli.command import Environment;"
        "env = pickle.load(sys.stdin.buffer); sys.exit(hash(env) != hash(Environment(env)))"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps(Environment({"A": "1"})),
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )


@pytest.mark.parametrize(
    "env", [{"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {1: "x"}, {"A": 1}, {"A": "secret\0"}]
)
def test_invalid_variables_are_refused_without_their_values(env):
    with pytest.raises(InvalidRequestError) as caught:
        Environment.of(env)
    assert "secret" not in str(caught.value)


# -- arguments -------------------------------------------------------------------------------


def test_arguments_of_each_command_are_built():
    assert command.run_arguments("ai/smollm2") == ["run", "--color", "no", "--", "ai/smollm2"]
    assert command.run_arguments("m", color=False) == ["run", "--", "m"]
    assert command.preload_arguments("m") == ["run", "--detach", "--", "m"]
    assert command.color_help_arguments() == ["run", "--color", "no", "--help"]
    assert command.list_arguments() == ["list", "--json"]
    assert command.inspect_arguments("m") == ["inspect", "m"]
    assert command.status_arguments() == ["status", "--json"]
    assert command.version_arguments() == ["version"]
    assert command.ps_arguments() == ["ps"]
    assert command.pull_arguments("m") == ["pull", "m"]
    assert command.unload_arguments("m") == ["unload", "m"]
    assert command.configurations_arguments() == ["configure", "show", ""]
    assert command.configurations_arguments("m") == ["configure", "show", "m"]
    assert command.remove_arguments("m", force=False) == ["rm", "m"]
    assert command.remove_arguments("m", force=True) == ["rm", "--force", "m"]
    assert command.tag_arguments("m", "n") == ["tag", "m", "n"]
    assert command.disk_usage_arguments() == ["df"]
    assert command.search_arguments("-x", 5) == ["search", "--json", "--limit", "5", "--", "-x"]


def test_arguments_of_a_whole_configuration_are_built():
    configuration = ModelConfiguration(
        context_size=-1,
        keep_alive=90,
        think=False,
        mode="reranking",
        runtime_flags=("--temp", "0"),
        draft_model="ai/draft",
        draft_tokens=4,
        draft_min_acceptance=0.5,
        hf_overrides={"a": [1]},
        gpu_memory_utilization=0.8,
    )
    assert command.configure_arguments("m", configuration) == [
        "configure",
        "--context-size=-1",
        "--keep-alive=90s",
        "--speculative-draft-model=ai/draft",
        "--speculative-num-tokens=4",
        "--speculative-min-acceptance-rate=0.5",
        '--hf_overrides={"a": [1]}',
        "--gpu-memory-utilization=0.8",
        "--think=false",
        "--mode=reranking",
        "m",
        "--",
        "--temp",
        "0",
    ]


def test_a_thinking_budget_is_refused_by_the_command():
    with pytest.raises(UnsupportedParameterError, match="think") as caught:
        command.configure_arguments("m", ModelConfiguration(think=512))
    assert "http" in caught.value.hint
