"""The guard compared with the command that reads the files, and with a plain copy of its rules.

The command is the real one in front of the simulated runner (see `tests/conftest.py`). Without
`docker` in front, the tests take a third of the time.
"""

from __future__ import annotations

import base64
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from docker_model._docker_cli.command_spec import CommandSpec
from docker_model._docker_cli.prompt_guard import find_references, guard
from docker_model._runtime import tasks
from docker_model.errors import FileReferenceError
from tests.conftest import REAL_COMMAND
from tests.contract import guard_cases, guard_oracle
from tests.contract.guard_oracle import Outcome
from tests.support.platforms import posix_only
from tests.support.transcripts import load

pytestmark = posix_only("file names that Windows does not allow")
CONCURRENT_RUNS = 8
needs_real_command = pytest.mark.skipif(
    not REAL_COMMAND, reason="the simulated command reads only files with a simple name"
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return guard_cases.make_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    return tmp_path_factory.mktemp("private")


@pytest.fixture
def send(simulate):
    """Return a function that runs the command with prompts, each in its own directory.

    It returns what the model receives for each prompt.
    """
    docker = simulate(models=None, script=[])
    program = tasks.run_blocking(CommandSpec.of(None, None).program())

    def run(model, prompt, cwd):
        return subprocess.run(
            [*program.argv, "run", "--", model],
            input=prompt.encode(),
            cwd=cwd,
            env=program.env,
            capture_output=True,
            check=False,
        )

    def send(requests, name="ai/guard"):
        models = [f"{name}:{number}" for number in range(len(requests))]
        prompts, directories = zip(*requests, strict=True)
        with ThreadPoolExecutor(CONCURRENT_RUNS) as pool:
            runs = list(pool.map(run, models, prompts, directories))
        received = {request.body["model"]: request for request in docker.requests if request.body}
        return [_outcome(run, received.get(model)) for model, run in zip(models, runs, strict=True)]

    return send


def _outcome(run, request):
    if request is None:
        assert run.returncode == 1
        assert b"failed to process images" in run.stderr
        return Outcome("", failed=True)
    assert (run.returncode, run.stderr) == (0, b"")
    parts = [part for part in request.body["messages"][-1]["content"] if isinstance(part, dict)]
    urls = [part["image_url"]["url"] for part in parts if "image_url" in part]
    return Outcome(request.prompt, tuple(map(from_data_url, urls)))


def from_data_url(url):
    return base64.b64decode(url.partition(",")[2])


def make_prompts(tree, seed, count):
    generator = random.Random(seed)
    prompts = []
    while len(prompts) < count:
        prompt = guard_cases.random_prompt(generator, tree)
        if guard_oracle.trimmed(prompt):
            prompts.append(prompt)
    return prompts


def only_spaces_added(before, after):
    at = 0
    for character in after:
        if before[at : at + 1] == character:
            at += 1
        elif character != " ":
            return False
    return at == len(before)


def check_guard(prompt, cwd):
    """Compare the guard with the rules in one directory, and return the guarded prompt."""
    expected = guard_oracle.process(prompt, cwd)
    references = find_references(prompt, cwd=str(cwd))
    assert bool(references) == bool(expected.touched)
    assert expected.touched[:1] == () or expected.touched[0] in references
    if references:
        with pytest.raises(FileReferenceError) as refused:
            guard(prompt, "refuse", cwd=str(cwd))
        assert refused.value.references == references
    else:
        assert guard(prompt, "refuse", cwd=str(cwd)) is prompt
    assert guard(prompt, "allow", cwd=str(cwd)) is prompt

    guarded = guard(prompt, "escape", cwd=str(cwd))
    assert find_references(guarded, cwd=str(cwd)) == ()
    assert guard_oracle.process(guarded, cwd) == Outcome(guard_oracle.trimmed(guarded))
    assert only_spaces_added(prompt, guarded)
    assert (guarded is prompt) == (not references)
    return guarded


def check_command(prompts, tree, private, send):
    """Compare the rules with the command, for each prompt without and with the guard."""
    reference = "@a.txt"
    [probe] = send([(reference, tree.cwd)], name="ai/probe")
    if probe.text == reference:  # before v0.1.46
        pytest.skip("this version of the plugin reads no file that a prompt names")
    expected = {}
    for number, prompt in enumerate(prompts):
        outcome = guard_oracle.process(prompt, tree.cwd)
        expected[prompt, tree.cwd] = replace(outcome, touched=())
        directory = private if number % 2 else tree.cwd
        guarded = check_guard(prompt, directory)
        expected[guarded, directory] = Outcome(guard_oracle.trimmed(guarded))
    for request, outcome in zip(expected, send(list(expected)), strict=True):
        assert outcome == expected[request], request


@needs_real_command
@pytest.mark.timeout(600)
def test_guard_agrees_with_the_command(tree, private, send):
    check_command(make_prompts(tree, "ordinary", 300), tree, private, send)


@needs_real_command
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(40))
def test_guard_agrees_with_the_command_for_many_prompts(tree, private, send, seed):
    check_command(make_prompts(tree, f"long {seed}", 500), tree, private, send)


RECORDED = [t for t in load("run-file-*", version="v1.2.6") if t.stdin is not None]


@pytest.mark.parametrize("recorded", RECORDED, ids=str)
def test_the_rules_agree_with_the_recorded_command(recorded, tmp_path):
    cwd = tmp_path / "cwd"  # recorded prompts contain this name
    cwd.mkdir()
    for name, content in recorded.files.items():
        if not name.startswith("~"):
            path = cwd / name
            path.parent.mkdir(exist_ok=True)
            is_text = isinstance(content, str)
            path.write_bytes(content.encode() if is_text else base64.b64decode(content["b64"]))
    prompt = recorded.stdin.decode().replace("<DIR>", str(cwd))
    check_guard(prompt, cwd)
    outcome = guard_oracle.process(prompt, cwd)
    assert outcome.failed == (recorded.ending.exit_code == 1)
    messages = [r["body"]["messages"] for r in recorded.requests if r["method"] == "POST"]
    if messages and "dollar" not in recorded.case:  # the command interprets `$1` in a file's text
        content = messages[0][0]["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        assert outcome.text == text.replace("<DIR>", str(cwd))
        images = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        assert outcome.images == tuple(map(from_data_url, images))


@pytest.mark.parametrize("seed", range(2))
def test_guard_agrees_with_the_rules(tree, private, seed):
    for prompt in make_prompts(tree, seed, 400):
        check_guard(prompt, tree.cwd)
        check_guard(prompt, private)


def test_random_prompts_cover_the_rules(tree):
    outcomes = [guard_oracle.process(prompt, tree.cwd) for prompt in make_prompts(tree, 0, 1000)]
    assert sum(bool(outcome.touched) for outcome in outcomes) > 300
    assert sum(not outcome.touched for outcome in outcomes) > 300
    assert sum(outcome.failed for outcome in outcomes) > 50
    assert sum(bool(outcome.images) for outcome in outcomes) > 150
    assert sum("SECRET" in outcome.text for outcome in outcomes) > 100
