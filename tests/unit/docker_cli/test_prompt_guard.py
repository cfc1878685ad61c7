from __future__ import annotations

import os
import pickle
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docker_model._docker_cli.local_files import LocalFiles, _Windows
from docker_model._docker_cli.prompt_guard import check_prompt, find_references, guard
from docker_model.errors import FileReferenceError, InvalidRequestError
from tests.support.platforms import IS_ROOT, posix_only

pytestmark = posix_only("file names that Windows does not allow")

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc")


@pytest.fixture(scope="module")
def cwd(tmp_path_factory):
    directory = tmp_path_factory.mktemp("work")
    for name in (
        "a.txt",
        "@a.txt",
        "b c.txt",
        "p.png",
        " p.png",
        "q.JPEG",
        "r.png",
        "v\vt.txt",
        "pic 1.webp",
        "two\nlines.png",
        "é.txt",
    ):
        (directory / name).touch()
    (directory / "sub").mkdir()
    (directory / "sub/@x").mkdir()
    (directory / "sub/@x/n.txt").touch()
    (directory / "dir.png").mkdir()
    (directory / "1").mkdir()
    (directory / "dangling.png").symlink_to("nowhere")
    (directory / "link.txt").symlink_to("a.txt")
    return str(directory)


@pytest.mark.parametrize("prompt", ["", " ", "\n\t\v\f\r", "\x85\xa0\u2003\u3000\u2028"])
def test_blank_prompts_are_refused(prompt):
    with pytest.raises(InvalidRequestError, match="blank"):
        check_prompt(prompt)


@pytest.mark.parametrize("prompt", ["x", "\0", "\x1c", "\u200b", "\ufeff", " 😀\r\n", "\x1b[0m"])
def test_any_other_text_is_a_valid_prompt(prompt):
    check_prompt(prompt)


def test_lone_surrogates_are_refused_without_the_prompt_in_the_error():
    with pytest.raises(InvalidRequestError, match=r"U\+DC80.* at 6") as raised:
        check_prompt("secret\udc80 rest")
    assert "secret" not in str(raised.value)
    assert raised.value.__context__ is None  # a UnicodeEncodeError would contain the prompt


ESCAPED = {
    "@a.txt": "@ a.txt",
    "What is in @a.txt?": "What is in @a.txt?",  # the name is `a.txt?`
    "(@a.txt)": "(@a.txt)",
    "me@a.txt\n": "me@ a.txt\n",
    "@'b c.txt' @\"b c.txt\"": "@ 'b c.txt' @ \"b c.txt\"",
    "@b\\ c.txt": "@b\\ c.txt",  # the CLI stops at the blank
    "@'b\\ c.txt'": "@ 'b\\ c.txt'",
    "@@a.txt": "@ @ a.txt",  # the CLI tries the second if the first is no name
    "@v\vt.txt": "@ v\vt.txt",  # \s of Go does not match \v
    "@é.txt @e\u0301.txt": "@ é.txt @e\u0301.txt",
    "@link.txt @sub @missing @": "@ link.txt @sub @missing @",
    "@../": "@../",
    "@sub/@x/n.txt": "@ sub/@x/n.txt",
    "@~/a.txt @$HOME": "@~/a.txt @$HOME",
    "@a.txt\0": "@a.txt\0",  # the CLI reads no file then
    "r.png": "r.png",  # neither `@` nor a path
    "./r.png": "./ r.png",
    "'r.png' \"./r.png\"": "' r.png' \" ./r.png\"",
    "'p.png' ./p.png": "'p. png' ./p. png",  # ` p.png` exists as well
    "'pic 1.webp'": "' pic 1.webp'",
    "'two\nlines.png' ./two\nlines.png": "' two\nlines.png' ./two\nlines.png",
    "in ./pic 1.webp.bak": "in ./ pic 1.webp.bak",
    "./pic\\ 1.webp": "./ pic\\ 1.webp",
    "x/./r.png": "x/./r.png",  # the path begins at the first slash of the line
    "and/or\n./r.png": "and/or\n./ r.png",
    "./r.pngs ./r.png_ ./r.png1": "./r.pngs ./r.png_ ./r.png1",
    "./r.pngé": "./ r.pngé",  # \b of Go matches ASCII only
    "./R.PNG": "./R.PNG",
    "./q.JPEG": "./ q.JPEG",
    "./dir.png": "./ dir.png",  # the CLI would fail
    "./a.txt/x.png": "./ a.txt/x.png",
    "./dangling.png": "./dangling.png",
    "@./q.JPEG": "@./ q.JPEG",  # one space for both rules: the rest is a directory
    "@r.png": "@ r.png",
    "/\0.png x.png\n./q.JPEG": "/\0. png x. png\n./ q.JPEG",  # always fails
    "file://./q.JPEG": "file://./q.JPEG",
}


@pytest.mark.parametrize("prompt", ESCAPED)
def test_a_space_breaks_each_reference_and_nothing_else(prompt, cwd):
    guarded = guard(prompt, "escape", cwd=cwd)
    assert guarded == ESCAPED[prompt]
    assert find_references(guarded, cwd=cwd) == ()
    assert (guarded is prompt) == (guarded == prompt)


def test_relative_names_are_resolved_in_the_directory_of_the_run(cwd, tmp_path):
    prompt = f"@a.txt ./p.png @../a.txt @{cwd}/a.txt"
    assert guard(prompt, "escape", cwd=str(tmp_path)) == f"@a.txt ./p.png @../a.txt @ {cwd}/a.txt"


def test_refuse_lists_the_references_in_order(cwd):
    prompt = "'q.JPEG' @a.txt @missing ./dir.png @'b c.txt' @a.txt"
    with pytest.raises(FileReferenceError) as raised:
        guard(prompt, "refuse", cwd=cwd)
    error = pickle.loads(pickle.dumps(raised.value))
    assert error.references == ("q.JPEG", "a.txt", "./dir.png", "b c.txt")
    assert "'b c.txt'" in str(error)
    assert "file_references='escape'" in error.hint
    assert guard("@missing", "refuse", cwd=cwd) == "@missing"


def test_refusing_many_references_gives_a_short_message(cwd):
    prompt = " ".join(f"@./{'./' * n}a.txt" for n in range(500))
    with pytest.raises(FileReferenceError) as raised:
        guard(prompt, "refuse", cwd=cwd)
    assert len(raised.value.references) == 500
    assert len(str(raised.value)) < 2000
    assert "and 495 more" in str(raised.value)


def test_allow_sends_the_prompt_unchanged(cwd):
    prompt = "@a.txt ./p.png"
    assert guard(prompt, "allow", cwd=cwd) is prompt


def test_no_file_is_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo")  # opening it would wait for a writer
    os.mkfifo(tmp_path / "fifo.png")
    assert guard("@fifo ./fifo.png", "escape", cwd=str(tmp_path)) == "@ fifo ./ fifo.png"


def test_a_socket_is_not_included_and_is_broken_as_an_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("s", "s.png"):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(name)
    assert guard("@s ./s.png", "escape", cwd=str(tmp_path)) == "@s ./ s.png"


@pytest.mark.skipif(IS_ROOT, reason="root reads everything")
def test_an_unreadable_file_is_not_included_and_is_broken_as_an_image(tmp_path):
    for name in ("a", "a.png"):
        (tmp_path / name).touch(mode=0)
    assert guard("@a ./a.png", "escape", cwd=str(tmp_path)) == "@a ./ a.png"


def test_a_relative_name_may_be_as_long_as_the_system_allows(cwd):
    # Joined to the name of the directory, it would be too long and count as missing.
    name = "./" * 2040 + "a.txt"
    assert find_references(f"@{name}", cwd=cwd) == (name,)
    too_long = "./" * 2050 + "a.txt"
    assert find_references(f"@{too_long}", cwd=cwd) == ()


def test_an_image_with_a_name_that_is_too_long_is_broken_at_every_extension(cwd):
    name = f"/{'x' * 5000}"
    prompt = f"{name}.png or .jpg\n'{name}.png' x.png"
    guarded = guard(prompt, "escape", cwd=cwd)
    assert guarded == f"{name}. png or . jpg\n'{name}. png' x.png"


@needs_proc
@pytest.mark.parametrize(
    "path",
    [
        "/proc/4194304/environ",  # no process has this number
        "/proc/self/task/4194304/environ",
        "/proc/4194304/root/x.png",
        "/dev/fd/4194304",
        "/proc/self/cwd/../missing",
        "/dev/fd/../cwd/../missing",
        "../../../../../../../../../../../../proc/4194304/environ",
    ],
)
def test_names_in_proc_that_a_new_process_may_add_count_as_existing(path, cwd):
    for prompt in (f"@{path}", f'"{path}/x.png"'):
        guarded = guard(prompt, "escape", cwd=cwd)
        assert guarded != prompt
        assert find_references(guarded, cwd=cwd) == ()


@needs_proc
def test_numbers_outside_of_proc_are_ordinary_names(cwd):
    prompt = f"@/proc/missing @/2024/x @{cwd}/1/x @1/2/3 './1/2024.png'"
    assert guard(prompt, "escape", cwd=cwd) is prompt
    maze = f"@{cwd}/{'1/../' * 17}x"  # checking every step would take too long
    assert guard(maze, "escape", cwd=cwd) == maze.replace("@", "@ ")


def test_a_directory_that_cannot_be_searched_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        guard("@a.txt", "escape", cwd=str(tmp_path / "gone"))


@pytest.mark.parametrize("unit", ["/", "@", '"', "\"'", "./", "/\n", "\\", "/a.png", '@"', "@'a "])
def test_the_time_grows_linearly_with_the_prompt(unit, cwd):
    many = unit * (300_000 // len(unit))
    began = time.thread_time()
    for picture in (" /x/a.png", "\n/x/a.png"):
        guard(many + picture, "escape", cwd=cwd)
    assert time.thread_time() - began < 10  # a third of a second; an hour if it were quadratic


@pytest.mark.parametrize("unit", ["@{}/a.txt ", "{}/p.png\n", "'{}/dir.png'", "/\0{}.png.png "])
def test_the_time_grows_linearly_with_the_number_of_references(unit, cwd):
    prompt = unit.format(cwd) * 10_000
    began = time.thread_time()
    guarded = guard(prompt, "escape", cwd=cwd)
    assert time.thread_time() - began < 10
    assert len(guarded) >= len(prompt) + 10_000


PIECES = ["@", '"', "'", "/", "./", "\\", " ", "\n", ".", ".png", "a.txt", "p.png", "b c.txt"]


@settings(max_examples=500, deadline=None)
@given(parts=st.lists(st.sampled_from([*PIECES, "sub/@x/n.txt", "dir.png", "\0", "C:"])))
def test_a_guarded_prompt_has_no_reference_and_differs_only_in_spaces(cwd, parts):
    prompt = "".join(parts)
    guarded = guard(prompt, "escape", cwd=cwd)
    assert find_references(guarded, cwd=cwd) == ()
    assert guarded.replace(" ", "") == prompt.replace(" ", "")
    assert guard(guarded, "escape", cwd=cwd) is guarded
    assert (guarded is prompt) == (find_references(prompt, cwd=cwd) == ())


def test_a_windows_server_name_is_never_looked_up(tmp_path):
    there = tmp_path / "a.txt"
    there.touch()
    files = _Windows(str(tmp_path))
    for share in ("\\\\host\\share\\a", "//host/share/a", "\\/host", "x" * 300):
        assert files.reads(share)
        assert not files.misses(share)
    assert (files.reads("a.txt"), files.misses("a.txt")) == (True, False)
    assert (files.reads("b.txt"), files.misses("b.txt")) == (False, True)
    assert (files.reads("."), files.misses(".")) == (False, False)
    assert (files.reads("a.txt/b"), files.misses("a.txt/b")) == (False, False)


def test_each_name_is_looked_up_once(cwd):
    with LocalFiles(cwd) as files:
        assert [files.read("a.txt") for _ in range(100)] == [True] * 100
        assert files.read.cache_info().misses == 1
