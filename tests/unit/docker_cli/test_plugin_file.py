"""Location of the plugin's file, and reasons to keep `docker` in front of it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from docker_model._docker_cli import plugin_file
from docker_model._docker_cli.plugin_file import (
    METADATA_ARGUMENT,
    Front,
    PluginFile,
    check_docker,
    check_metadata,
    config_folder,
    find_plugin,
    parse_config,
    plugin_paths,
)
from tests.support.platforms import IS_ROOT, WINDOWS
from tests.support.platforms import windows as needs_windows

ELF = b"\x7fELF\x02\x01\x01"
OTHER_FILES = "POSIX only: executable files without a suffix"
METADATA = {"SchemaVersion": "0.1.0", "Vendor": "Docker Inc.", "Version": "v1.2.6"}


def program(path, data=ELF, mode=0o755):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return path


class Machine:
    """A file system with its own `docker`, configuration and system folders."""

    def __init__(self, folder):
        self.folder = folder
        self.docker = program(folder / "bin" / "docker")
        self.config = folder / "config"
        self.config.mkdir()
        self.system = [folder / "local", folder / "usr"]
        self.env = {"PATH": str(folder / "bin"), "DOCKER_CONFIG": str(self.config)}

    def configure(self, **config):
        (self.config / "config.json").write_text(json.dumps(config))

    def find(self):
        return find_plugin(self.env)

    def path(self):
        plugin_file = self.find()
        assert isinstance(plugin_file, PluginFile), plugin_file
        return plugin_file.path

    def reason(self):
        front = self.find()
        assert isinstance(front, Front), front
        return front.reason


@pytest.fixture
def machine(tmp_path, monkeypatch):
    if WINDOWS:
        pytest.skip(OTHER_FILES)
    machine = Machine(tmp_path)
    monkeypatch.setattr(plugin_file, "_SYSTEM_FOLDERS", tuple(map(str, machine.system)))
    return machine


# -- which file ------------------------------------------------------------------------------


def test_folders_are_searched_in_the_order_of_docker(machine):
    machine.configure(cliPluginsExtraDirs=[str(machine.folder / "a"), str(machine.folder / "b")])
    own = machine.config / "cli-plugins"
    folders = [machine.folder / "a", machine.folder / "b", own, *machine.system]
    files = [program(folder / "docker-model") for folder in folders]
    for file in files:
        assert machine.path() == str(file)
        file.unlink()
    assert machine.reason() == "no plugin folder has the file docker-model"


def test_the_system_folders_are_those_of_docker():
    assert plugin_paths({}, "/home/me/.docker", ["/extra"], windows=False) == [
        "/extra/docker-model",
        "/home/me/.docker/cli-plugins/docker-model",
        "/usr/local/lib/docker/cli-plugins/docker-model",
        "/usr/local/libexec/docker/cli-plugins/docker-model",
        "/usr/lib/docker/cli-plugins/docker-model",
        "/usr/libexec/docker/cli-plugins/docker-model",
    ]


def test_windows_has_its_own_folders_and_suffix():
    env = {"PROGRAMDATA": r"C:\ProgramData", "PROGRAMFILES": r"C:\Program Files"}
    assert plugin_paths(env, r"C:\Users\me\.docker", [r"D:\extra"], windows=True) == [
        r"D:\extra\docker-model.exe",
        r"C:\Users\me\.docker\cli-plugins\docker-model.exe",
        r"C:\ProgramData\Docker\cli-plugins\docker-model.exe",
        r"C:\Program Files\Docker\cli-plugins\docker-model.exe",
    ]
    assert plugin_paths({}, r"C:\d", [], windows=True) == [r"C:\d\cli-plugins\docker-model.exe"]


@needs_windows
def test_the_plugin_of_windows_is_found_next_to_the_configuration(tmp_path):
    config = tmp_path / "config"
    docker = program(tmp_path / "bin" / "docker.exe", b"MZ")
    env = {"PATH": str(tmp_path / "bin"), "DOCKER_CONFIG": str(config)}
    assert find_plugin(env) == Front("no plugin folder has the file docker-model")
    file = program(config / "cli-plugins" / "docker-model.exe", b"MZ")
    plugin_file = find_plugin(env)
    assert isinstance(plugin_file, PluginFile)
    assert (plugin_file.path, plugin_file.docker) == (str(file), str(docker))
    os.utime(file, ns=(1, 1))
    assert find_plugin(env).stamp != plugin_file.stamp


@pytest.mark.parametrize("config", ["plugins", "./plugins", r"C:plugins"])
def test_a_relative_folder_keeps_docker_in_front(config):
    for windows in (False, True):
        front = plugin_paths({}, config, [], windows=windows)
        assert isinstance(front, Front)
        assert "relative" in front.reason


def test_the_configuration_is_in_the_home_directory_by_default():
    assert config_folder({"HOME": "/home/me"}, home="/else", windows=False) == "/home/me/.docker"
    assert config_folder({"HOME": ""}, home="/else", windows=False) == "/else/.docker"
    named = {"HOME": "/home/me", "DOCKER_CONFIG": "/config"}
    assert config_folder(named, home="/else", windows=False) == "/config"
    blank = {"HOME": "/home/me", "DOCKER_CONFIG": ""}
    assert config_folder(blank, home="/else", windows=False) == "/home/me/.docker"
    windows = {"USERPROFILE": r"C:\Users\me", "HOME": "/cygwin"}
    assert config_folder(windows, home=r"C:\else", windows=True) == r"C:\Users\me\.docker"


def test_the_home_directory_is_found_without_home_in_the_environment(machine, monkeypatch):
    monkeypatch.setenv("HOME", str(machine.folder / "home"))
    file = program(machine.folder / "home" / ".docker" / "cli-plugins" / "docker-model")
    del machine.env["DOCKER_CONFIG"]
    assert machine.path() == str(file)


def test_a_valid_link_is_followed_and_a_dead_link_is_skipped(machine):
    own = machine.config / "cli-plugins"
    target = program(machine.folder / "versions" / "docker-model-1.2.6")
    own.mkdir()
    (own / "docker-model").symlink_to(target)
    system = program(machine.system[0] / "docker-model")
    assert machine.path() == str(own / "docker-model")
    target.unlink()
    assert machine.path() == str(system)


def test_docker_desktops_integration_in_wsl_is_found(machine):
    """Docker Desktop mounts links: `docker` in /usr/bin, the plugin in /usr/local/lib."""
    tools = machine.folder / "mnt" / "wsl" / "docker-desktop" / "cli-tools" / "usr"
    docker = program(tools / "bin" / "docker")
    plugin = program(tools / "local" / "lib" / "docker" / "cli-plugins" / "docker-model")
    machine.docker.unlink()
    machine.docker.symlink_to(docker)
    machine.system[0].mkdir()
    (machine.system[0] / "docker-model").symlink_to(plugin)
    plugin_file = machine.find()
    assert (plugin_file.path, plugin_file.docker) == (
        f"{machine.system[0]}/docker-model",
        str(machine.docker),
    )
    tools.rename(machine.folder / "unmounted")  # the integration is turned off: dead links
    assert machine.reason() == "no plugin folder has the file docker-model"


def test_the_folder_inside_docker_desktop_on_macos_is_read_from_the_configuration(machine):
    """`docker` searches the folder only if `cliPluginsExtraDirs` contains it."""
    folder = machine.folder / "Applications/Docker.app/Contents/Resources/cli-plugins"
    file = program(folder / "docker-model")
    assert machine.reason() == "no plugin folder has the file docker-model"
    machine.configure(cliPluginsExtraDirs=[str(folder)], currentContext="desktop-linux")
    assert machine.path() == str(file)


def test_only_the_first_file_is_considered(machine):
    """`docker` ignores all other files, and reports an unknown command."""
    first = machine.config / "cli-plugins" / "docker-model"
    program(machine.system[0] / "docker-model")
    first.mkdir(parents=True)
    assert machine.reason() == f"{first} is not a regular file"
    first.rmdir()
    program(first, mode=0o644)
    assert machine.reason() == f"{first} is not executable"


def test_a_file_in_place_of_a_folder_keeps_docker_in_front(machine):
    program(machine.config / "cli-plugins")
    program(machine.system[0] / "docker-model")
    assert "cannot be examined" in machine.reason()


@pytest.mark.skipif(not IS_ROOT, reason="needs root, to be somebody else for a moment")
@pytest.mark.parametrize("locked", ["file", "folder"])
def test_a_plugin_that_only_root_can_read_keeps_docker_in_front(machine, locked):
    file = program(machine.config / "cli-plugins" / "docker-model", mode=0o700)
    if locked == "folder":
        file.chmod(0o755)
        file.parent.chmod(0o700)
    for folder in (machine.folder, *list(machine.folder.parents)[:-2]):
        folder.chmod(0o755)
    assert machine.path() == str(file)
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        reason = getattr(machine.find(), "reason", "")
        os._exit(0 if "not executable" in reason or "cannot be examined" in reason else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_every_change_of_the_file_changes_its_stamp(machine):
    file = program(machine.config / "cli-plugins" / "docker-model")
    stamps = [machine.find().stamp]
    os.utime(file, ns=(1, 1))
    stamps.append(machine.find().stamp)
    file.write_bytes(ELF + b"more")
    os.utime(file, ns=(1, 1))
    stamps.append(machine.find().stamp)
    other = program(machine.folder / "new", ELF + b"most")
    os.utime(other, ns=(1, 1))
    other.rename(file)
    stamps.append(machine.find().stamp)
    file.chmod(0o700)
    stamps.append(machine.find().stamp)
    assert len(set(stamps)) == 5
    assert machine.find().stamp == stamps[-1]


# -- the configuration -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "extra"),
    [
        (b"", ()),
        (b" \n", ()),
        (b"null", ()),
        (b"{}", ()),
        (b'{"cliPluginsExtraDirs": null}', ()),
        (b'{"cliPluginsExtraDirs": ["/a", "/b"]}', ("/a", "/b")),
        (b'{"CLIPLUGINSEXTRADIRS": ["/a"], "auths": {}}', ("/a",)),
        (b'{"aliases": {}, "cliPluginsExtraDirs": ["/a"]} trailing', ("/a",)),
        (b'{"aliases": {"builder": "buildx"}, "cliPluginsExtraDirs": ["/a"]}', ("/a",)),
    ],
)
def test_extra_folders_are_read_from_the_configuration(text, extra):
    assert parse_config(text) == extra


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b'{"cliPluginsExtraDirs": "/a"}', "not a list of paths"),
        (b'{"cliPluginsExtraDirs": [1]}', "not a list of paths"),
        (b'{"aliases": {"builder": "image"}}', "aliases"),
        (b'{"aliases": {"builder": "buildx", "model": "other"}}', "aliases"),
        (b'{"aliases": ["builder"]}', "aliases"),
    ],
)
def test_an_unsupported_configuration_keeps_docker_in_front(text, reason):
    front = parse_config(text)
    assert isinstance(front, Front)
    assert reason in front.reason


def test_a_missing_configuration_counts_as_empty(machine):
    file = program(machine.config / "cli-plugins" / "docker-model")
    assert machine.path() == str(file)
    (machine.config / "config.json").symlink_to(machine.folder / "nothing")
    assert machine.path() == str(file)


def test_an_unreadable_configuration_keeps_docker_in_front(machine):
    program(machine.config / "cli-plugins" / "docker-model")
    (machine.config / "config.json").mkdir()
    assert "config.json cannot be read" in machine.reason()


# -- the metadata ----------------------------------------------------------------------------


def metadata(**fields):
    return json.dumps({**METADATA, **fields}).encode()


def test_metadata_that_every_docker_accepts_is_accepted():
    assert check_metadata(metadata()) is None
    assert check_metadata(b'{"schemaversion": "0.1.0", "VENDOR": "me"}\n') is None


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        (b"", "no metadata"),
        (b"Docker Model Runner\n\nUsage:", "no metadata"),
        (b"[]", "no metadata"),
        (b"null", "no metadata"),
        (metadata() + b"more", "no metadata"),
        (metadata(SchemaVersion=None), "SchemaVersion is None"),
        (metadata(SchemaVersion=""), "SchemaVersion is ''"),
        (metadata(SchemaVersion=0.1), "SchemaVersion is 0.1"),
        (metadata(SchemaVersion="0.2.0"), "SchemaVersion is '0.2.0'"),  # refused before v28.4.1
        (metadata(SchemaVersion="2.0.0"), "SchemaVersion is '2.0.0'"),
        (metadata(Vendor=""), "no Vendor"),
        (metadata(Vendor=None), "no Vendor"),
    ],
)
def test_invalid_metadata_keeps_docker_in_front(printed, reason):
    front = check_metadata(printed)
    assert isinstance(front, Front)
    assert reason in front.reason


# -- docker itself ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resolved", "head"),
    [
        ("/usr/bin/docker", ELF),
        ("/Applications/Docker.app/Contents/Resources/bin/docker", b"\xcf\xfa\xed\xfe"),
        ("/Applications/Docker.app/Contents/Resources/bin/com.docker.cli", b"\xca\xfe\xba\xbe"),
        (r"C:\Program Files\Docker\Docker\resources\bin\docker.exe", b"MZ\x90"),
    ],
)
def test_the_program_of_docker_need_not_be_in_front(resolved, head):
    assert check_docker("docker", resolved, head) is None


@pytest.mark.parametrize(
    ("resolved", "head", "reason"),
    [
        ("/usr/bin/docker", b"#!/b", "is a script"),
        ("/usr/bin/podman", ELF, "is /usr/bin/podman"),
        ("/usr/bin/snap", ELF, "is /usr/bin/snap"),
        ("/usr/local/bin/docker-podman.sh", b"#!/b", "is a script"),
        (r"C:\shims\docker.cmd", b"@ech", "docker.cmd"),
        ("/usr/bin/docker", b"exec", "not a binary"),
        ("/usr/bin/docker", b"", "not a binary"),
    ],
)
def test_another_docker_stays_in_front(resolved, head, reason):
    front = check_docker("/usr/bin/docker", resolved, head)
    assert isinstance(front, Front)
    assert reason in front.reason


def test_a_script_and_a_link_to_podman_stay_in_front(machine):
    program(machine.config / "cli-plugins" / "docker-model")
    program(machine.docker, b'#!/bin/sh\nexec podman "$@"\n')
    assert machine.reason() == f"{machine.docker} is a script"
    machine.docker.unlink()
    machine.docker.symlink_to(program(machine.folder / "bin" / "podman"))
    assert machine.reason() == f"{machine.docker} is {machine.folder}/bin/podman"


def test_the_plugin_is_found_without_docker(machine):
    file = program(machine.config / "cli-plugins" / "docker-model")
    plugin_file = machine.find()
    assert (plugin_file.path, plugin_file.docker) == (str(file), str(machine.docker))
    machine.docker.unlink()
    plugin_file = machine.find()
    assert (plugin_file.path, plugin_file.docker) == (str(file), None)


# -- compared with the real docker -----------------------------------------------------------

REAL_DOCKER = next(
    (path for path in map(Path, ("/usr/bin/docker", "/usr/local/bin/docker")) if path.exists()),
    None,
)
PLUGIN = """#!/bin/sh
if [ "$1" = docker-cli-plugin-metadata ]; then echo '{metadata}'; exit {code}; fi
echo "$0" "$@"
"""


def plugin(path, mode=0o755, code=0, **fields):
    text = PLUGIN.format(metadata=json.dumps({**METADATA, **fields}), code=code)
    return program(path, text.encode(), mode)


def no_plugin(m):
    pass


def own(m):
    plugin(m.config / "cli-plugins" / "docker-model")


def extra_before_own(m):
    m.configure(cliPluginsExtraDirs=[str(m.folder / "none"), str(m.folder / "extra")])
    plugin(m.folder / "extra" / "docker-model")
    own(m)


def lower_case_key(m):
    extra_before_own(m)
    m.configure(cliplugINSextradirs=[str(m.folder / "extra")])


def more_than_one_value(m):
    extra_before_own(m)
    with (m.config / "config.json").open("a") as file:
        file.write(" nonsense")


def dead_link_in_extra(m):
    extra_before_own(m)
    (m.folder / "extra" / "docker-model").unlink()
    (m.folder / "extra" / "docker-model").symlink_to(m.folder / "gone")


def live_link(m):
    (m.config / "cli-plugins").mkdir()
    plugin(m.folder / "anything")
    (m.config / "cli-plugins" / "docker-model").symlink_to(m.folder / "anything")


def alias_of_docker_desktop(m):
    own(m)
    m.configure(aliases={"builder": "buildx"})


def directory_in_extra(m):
    extra_before_own(m)
    (m.folder / "extra" / "docker-model").unlink()
    (m.folder / "extra" / "docker-model").mkdir()


def not_executable(m):
    plugin(m.config / "cli-plugins" / "docker-model", mode=0o644)


def metadata_that_fails(m):
    plugin(m.config / "cli-plugins" / "docker-model", code=1)


def no_schema_version(m):
    plugin(m.config / "cli-plugins" / "docker-model", SchemaVersion="")


def schema_version_of_the_future(m):
    plugin(m.config / "cli-plugins" / "docker-model", SchemaVersion="2.0.0")


def no_vendor(m):
    plugin(m.config / "cli-plugins" / "docker-model", Vendor="")


def broken_configuration(m):
    extra_before_own(m)
    (m.config / "config.json").write_text('{"cliPluginsExtraDirs": [')


def alias(m):
    own(m)
    m.configure(aliases={"model": "other"})


def builder_is_a_command_of_docker(m):
    own(m)
    m.configure(aliases={"builder": "image"})


RUNS = [
    own,
    extra_before_own,
    lower_case_key,
    more_than_one_value,
    dead_link_in_extra,
    live_link,
    alias_of_docker_desktop,
]
DOES_NOT_RUN = [
    no_plugin,
    directory_in_extra,
    not_executable,
    metadata_that_fails,
    no_schema_version,
    schema_version_of_the_future,
    no_vendor,
    alias,
    builder_is_a_command_of_docker,
]


@pytest.mark.skipif(WINDOWS, reason=OTHER_FILES)
@pytest.mark.skipif(REAL_DOCKER is None, reason="no docker on this machine")
@pytest.mark.parametrize("arrange", [*RUNS, *DOES_NOT_RUN, broken_configuration])
def test_the_real_docker_runs_the_same_file(tmp_path, arrange):
    machine = Machine(tmp_path)
    machine.env["PATH"] = f"{REAL_DOCKER.parent}:/usr/bin:/bin"
    arrange(machine)
    plugin_file = machine.find()
    if arrange is no_plugin and isinstance(plugin_file, PluginFile):
        pytest.skip("the plugin is in a folder of the system")
    if isinstance(plugin_file, PluginFile):
        metadata_run = subprocess.run(
            [plugin_file.path, METADATA_ARGUMENT], capture_output=True, check=False
        )
        plugin_file = (
            check_metadata(metadata_run.stdout if metadata_run.returncode == 0 else b"")
            or plugin_file
        )
    command = ["docker", "model", "list", "-q"]
    docker = subprocess.run(command, capture_output=True, text=True, env=machine.env, check=False)
    if arrange in RUNS:
        assert docker.stdout == f"{plugin_file.path} model list -q\n"
    else:
        assert isinstance(plugin_file, Front)
        assert docker.returncode == 0 if arrange is broken_configuration else docker.returncode
