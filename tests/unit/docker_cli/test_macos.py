"""The prompt guard on macOS, with the system's answers replaced."""

import errno
import os
import tempfile
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest

from docker_model import DockerModel
from docker_model._docker_cli import local_files, workdir
from docker_model._docker_cli.prompt_guard import find_references, guard
from tests.support.platforms import posix

pytestmark = posix


class FileSystem:
    """A file system that finds a name in any case and normalization, as APFS does."""

    name = "posix"
    R_OK = os.R_OK
    O_RDONLY = os.O_RDONLY
    supports_effective_ids = os.supports_effective_ids

    def __init__(self, *names):
        self._names = {self._folded(name.encode()): name for name in names}
        self.open, self.close = os.open, os.close  # there is neither O_PATH nor O_DIRECTORY

    @staticmethod
    def _folded(name):
        return unicodedata.normalize("NFD", name.decode()).casefold()

    def access(self, path, mode, **_):
        assert mode == os.R_OK
        return self._folded(path) in self._names

    def stat(self, path, **_):
        if self._folded(path) in self._names:
            return SimpleNamespace(st_mode=0o100644, st_dev=1)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")


@pytest.fixture
def apfs(monkeypatch):
    """Put secret files on a file system that finds them under any spelling."""
    names = ("Secret.TXT", unicodedata.normalize("NFD", "caf\u00e9.txt"), "Stra\u00dfe.png")
    monkeypatch.setattr(local_files, "os", FileSystem(*names))
    monkeypatch.setattr(local_files, "_process_file_systems", frozenset)


@pytest.mark.parametrize(
    "prompt",
    [
        "@secret.txt",
        "@SECRET.txt",
        "@caf\u00e9.txt",
        "@cafe\u0301.txt",
        "@CAF\u00c9.TXT",
        "'STRASSE.PNG'",
        "'stra\u00dfe.png'",
    ],
)
def test_a_name_in_another_case_or_normalization_is_found(apfs, prompt, tmp_path):
    cwd = str(tmp_path)
    assert find_references(prompt, cwd=cwd) == (prompt.strip("@'"),)
    guarded = guard(prompt, "escape", cwd=cwd)
    assert guarded.replace(" ", "") == prompt
    assert find_references(guarded, cwd=cwd) == ()


def test_another_name_is_left_unchanged(apfs, tmp_path):
    prompt = "@secret.tx @caf\u00e8.txt 'strase.png'"
    assert guard(prompt, "escape", cwd=str(tmp_path)) is prompt


@pytest.fixture
def linked(tmp_path, monkeypatch):
    """Create a temporary directory behind a link, as /var links to /private/var."""
    real = tmp_path / "private" / "var" / "folders"
    real.mkdir(parents=True)
    (tmp_path / "var").symlink_to(real.parent)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "T").symlink_to(real)
    monkeypatch.setattr(workdir, "_directories", {})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "deeper" / "T"))
    return tmp_path


def test_a_run_and_the_guard_resolve_links_of_the_directory(linked, simulate):
    """The parent of the private directory is its real parent, not the parent of a link."""
    (linked / "private" / "var" / "secret.txt").write_text("SECRET")
    (linked / "deeper" / "decoy.txt").write_text("DECOY")
    docker = simulate()
    assert DockerModel("ai/smollm2").generate("hi @../../secret.txt .").text
    assert docker.prompts == ["hi @ ../../secret.txt ."]
    assert DockerModel("ai/smollm2").generate("hi @../../decoy.txt .").text
    assert docker.prompts[1:] == ["hi @../../decoy.txt ."]
    directory = str(linked / "private" / "var" / "folders")
    runs = [call for call in docker.calls if call.argv[1] == "run"]
    assert {str(Path(call.cwd).parent) for call in runs} == {directory}
    Path(workdir.private_directory()).rmdir()


def test_a_number_in_dev_fd_counts_as_existing(monkeypatch, tmp_path):
    """The command that opens the name has descriptors of its own."""
    monkeypatch.setattr(local_files, "sys", SimpleNamespace(platform="darwin"))
    local_files._process_file_systems.cache_clear()
    try:
        guarded = guard("@/dev/fd/4194304 @/9999/x", "escape", cwd=str(tmp_path))
    finally:
        local_files._process_file_systems.cache_clear()
    assert guarded == "@ /dev/fd/4194304 @/9999/x"
