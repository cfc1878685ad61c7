"""The prompt guard on Windows: the guard finds each file that the real plugin would read."""

import contextlib

import pytest

from docker_model import DockerModel, DockerModelError, FileReferenceError
from tests.conftest import REAL_COMMAND
from tests.support.platforms import windows

pytestmark = [
    windows,
    pytest.mark.skipif(not REAL_COMMAND, reason="needs the real plugin: DOCKER_MODEL_COMMAND"),
]
CONTENT = "SECRET-CONTENT"
NAMES = [
    "@s.txt", r"@.\s.txt", "@./s.txt", "@S.TXT", "@s.txt.", "@s.txt ", "@s.txt?", "@../work/s.txt",
    "@{full}", "@{drive}s.txt", '@"sub/a b.txt"', r"@sub\a\ b.txt", "@sub", "@nothing.txt", "@NUL",
    "@~/s.txt", "mail a@s.txt",
]  # fmt: skip


@pytest.fixture
def work(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    (folder / "sub").mkdir(parents=True)
    (folder / "s.txt").write_text(CONTENT)
    (folder / "sub" / "a b.txt").write_text(CONTENT)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_the_guard_finds_every_file_that_the_plugin_reads(name, work, docker):
    spelled = name.format(full=work / "s.txt", drive=work.drive)
    prompt = f"look: {spelled} end"
    read = False
    with contextlib.suppress(DockerModelError):  # the plugin fails for some names
        read = CONTENT in DockerModel("ai/smollm2", file_references="allow").generate(prompt).text
    if read:
        with pytest.raises(FileReferenceError):
            DockerModel("ai/smollm2", file_references="refuse").generate(prompt)
    assert CONTENT not in DockerModel("ai/smollm2").generate(prompt).text
