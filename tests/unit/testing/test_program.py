"""Parts of the simulated program: parsing of flags, prompts, and imports."""

from __future__ import annotations

import time

import pytest

from docker_model.testing import SimulatedDocker
from docker_model.testing._command import parse, with_files
from docker_model.testing._session import CommandError
from tests.unit.testing.calling import MODEL, call


def test_flags_are_accepted_between_words_until_two_dashes():
    known_flags = "color= all"
    flags, words = parse(["a", "--color=no", "b", "--all", "--", "--x"], known_flags)
    assert words == ["a", "b", "--x"]
    assert flags == {"color": "no", "all": "true"}
    with pytest.raises(CommandError, match="unknown flag: --x\n"):
        parse(["--x=1"], known_flags)


@pytest.mark.parametrize("text", ["/" * 1_000_000, '"' * 1_000_000, "/a.pn" * 200_000])
def test_a_large_prompt_is_rewritten_in_linear_time(text):
    start = time.process_time()
    assert with_files(text, "/") == text
    assert time.process_time() - start < 5.0  # a backtracking expression takes minutes


SLOW_TO_LOAD = {"enum", "re", "json", "socket", "signal", "typing", "pathlib", "dataclasses"}


def test_the_program_imports_no_slow_module():
    with SimulatedDocker() as docker:
        python, *options = docker.command
        command = [python, "-X", "importtime", *options]
        completed = call(_Command(command), "run", MODEL, "hi")
    loaded = {line.rpartition("|")[2].strip() for line in completed.stderr.splitlines()}
    assert completed.stdout == "You said: hi\n"
    assert "_socket" in loaded
    assert not loaded & SLOW_TO_LOAD
    assert "docker_model" not in loaded


class _Command:
    def __init__(self, command):
        self.command = command
