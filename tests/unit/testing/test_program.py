"""The simulated program's own parts."""

from __future__ import annotations

import json
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_model.testing import SimulatedDocker
from docker_model.testing.program.simulated import gojson
from docker_model.testing.program.simulated.flags import FlagError, parse
from docker_model.testing.program.simulated.prompt import rewrite
from tests.unit.testing.calling import MODEL, call

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


@given(values)
def test_json_is_json(value):
    assert json.loads(gojson.dumps(value)) == value
    assert json.loads(gojson.dumps(value, 4)) == value
    assert gojson.loads(json.dumps(value)) == value


def test_json_looks_like_gos():
    text = gojson.dumps({"a<b": ["é&", {}], "c": []}, 2)
    assert text == '{\n  "a\\u003cb": [\n    "é\\u0026",\n    {}\n  ],\n  "c": []\n}'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{oops", "invalid character 'o' looking for beginning of object key string"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ("<html>", "invalid character '<' looking for beginning of value"),
        ("[1", "unexpected end of JSON input"),
        ("", "unexpected end of JSON input"),
        ("1 2", "invalid character '2' after top-level value"),
    ],
)
def test_json_errors_are_gos(text, why):
    with pytest.raises(gojson.JsonError) as error:
        gojson.loads(text)
    assert str(error.value) == why


def test_flags_are_pflags():
    known = {"color": "string", "all": "bool", "n": "int", "quiet": "bool"}
    shorts = {"q": "quiet", "c": "color"}
    flags = parse(["a", "--color=no", "-q", "-cyes", "-", "--all", "--", "--x"], known, shorts)
    assert flags.words == ["a", "-", "--x"]
    assert flags.values == {"color": "yes", "quiet": "true", "all": "true"}
    for words, why in (
        (["--x=1"], "unknown flag: --x"),
        (["-qx"], "unknown shorthand flag: 'x' in -qx"),
        (["--color"], "flag needs an argument: --color"),
        (["-c"], "flag needs an argument: 'c' in -c"),
        (["--n", "one"], 'invalid argument "one" for "--n" flag'),
    ):
        with pytest.raises(FlagError) as error:
            parse(words, known, shorts)
        assert str(error.value).startswith(why)


@pytest.mark.parametrize("text", ["/" * 1_000_000, '"' * 1_000_000, "/a.pn" * 200_000])
def test_a_large_prompt_is_rewritten_in_linear_time(text):
    start = time.process_time()
    assert rewrite(text) == text
    assert time.process_time() - start < 5.0  # a backtracking expression takes minutes


SLOW_TO_LOAD = {"enum", "re", "json", "socket", "signal", "typing", "pathlib", "dataclasses"}


def test_the_program_loads_next_to_nothing():
    with SimulatedDocker() as docker:
        python, *options = docker.command
        docker_py = options.index(next(word for word in options if word.endswith("docker.py")))
        command = [python, "-X", "importtime", *options[:docker_py], *options[docker_py:]]
        done = call(_With(command), "run", MODEL, "hi")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.stdout == "You said: hi\n"
    assert "_socket" in loaded
    assert not loaded & SLOW_TO_LOAD
    assert "docker_model" not in loaded


class _With:
    def __init__(self, command):
        self.command = command


def test_importing_the_program_for_tests_starts_nothing():
    assert "docker_model.testing.program.simulated.main" not in sys.modules
