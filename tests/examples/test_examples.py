"""Every script and notebook in `examples/` runs unchanged, without Docker and network.

The batch examples run on a cluster, in separate files.
"""

import json
import os
import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

from docker_model.testing import SimulatedDocker, SimulatedModel, ToolCall
from tests.support.programs import run_python

ROOT = Path(__file__).parents[2]
SAID_BY_CORE = "Keyword arguments are not supported when 'run()' is invoked with the 'start_event'"
EXAMPLES = ROOT / "examples"
CORE = tuple(map(int, version("llama-index-core").split(".")[:3]))
NEEDS = {"langchain_agent_limit": "langchain"}  # in addition to the tests' packages
SCRIPTS = [
    pytest.param(
        path,
        id=path.stem,
        marks=[
            pytest.mark.skipif(
                find_spec(NEEDS.get(path.stem, "langchain_core")) is None, reason="not installed"
            ),
            pytest.mark.skipif(
                CORE < (0, 14, 13) and "early_stopping_method" in path.read_text("utf-8"),
                reason="llama-index-core has early_stopping_method since 0.14.13",
            ),
        ],
    )
    for path in sorted(EXAMPLES.glob("*.py"))
    if not re.match("_|batch_|embed_|demo|.*_cached_", path.stem)
]
NOTEBOOKS = list(EXAMPLES.glob("notebooks/*.ipynb"))
# Paths and addresses of the machine that ran a notebook.
PRIVATE = re.compile(r"/(home|root|tmp|usr|work|Users)/|127\.0\.0\.1|localhost|0x[0-9a-f]{6}")
NO_RUNNER = {"DOCKER_MODEL_COMMAND": "no-such docker", "MODEL_RUNNER_HOST": "http://127.0.0.1:1"}
MODELS = ("ai/smollm2", SimulatedModel("ai/all-minilm", kind="embedding"))
LONG = "It goes on. " * 500


def run(*arguments, cwd=None, **variables):
    return run_python(arguments, env=os.environ | variables, cwd=cwd)


def complaints(stderr):
    return [line for line in stderr.splitlines() if not line.startswith(SAID_BY_CORE)]


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_runs_without_docker_when_simulated(script):
    ended = run(script, "--simulate", **NO_RUNNER)
    assert complaints(ended.stderr) == []
    assert ended.returncode == 0
    assert len(ended.stdout.splitlines()) > 2


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_limits_an_answer_without_end(script):
    with SimulatedDocker(models=MODELS, script=LONG) as docker:
        ended = run(script)
        docker.wait_all_gone()
    assert ended.returncode == 0, ended.stderr
    chats = [request for request in docker.requests if request.prompt is not None]
    assert chats
    over_http = [request for request in chats if request.call is None]
    for request in over_http:
        assert request.body["max_tokens"] <= 300
    if not over_http:  # the command has no such limit, so the example cuts the answer
        assert len(ended.stdout) < len(LONG) / 2


@pytest.mark.parametrize("framework", ["langchain", "llama_index"])
def test_an_interrupted_embedding_job_keeps_its_results(framework, tmp_path):
    if framework == "langchain":
        pytest.importorskip("langchain_classic")
    script = EXAMPLES / f"{framework}_cached_embeddings.py"
    seen = []

    def embed(text):
        seen.append(text)
        return [1.0, float(len(seen))]

    with SimulatedDocker(models=MODELS, embed=embed):
        first = run(script, "400", cwd=tmp_path)
        assert first.returncode == 0, first.stderr
        again = run(script, "600", cwd=tmp_path)
        assert again.returncode == 0, again.stderr
    assert len(seen) == len(set(seen)) == 600  # the first 400 were not requested again
    assert "600 vectors" in again.stdout


@pytest.mark.parametrize("name", ["langchain_chain", "langchain_agent", "llama_index_agent"])
def test_an_example_without_a_runner_prints_one_sentence_with_the_fix(name):
    ended = run(EXAMPLES / f"{name}.py", **NO_RUNNER)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    (sentence,) = complaints(ended.stderr)
    assert "--simulate" in sentence


def test_an_example_without_its_model_names_the_pull_command():
    with SimulatedDocker(models="ai/other"):
        ended = run(EXAMPLES / "langchain_chat.py")
    assert ended.returncode == 1
    assert "`docker model pull ai/smollm2`" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_the_demo_without_docker_uses_the_simulated_one():
    ended = run(EXAMPLES / "demo.py", DOCKER_MODEL_COMMAND="no-such-docker model")
    assert complaints(ended.stderr) == []
    assert ended.returncode == 0
    for line in (
        "get-started",
        "simulated",
        "ai/smollm2",
        "Podman",
        "A model is unloaded",
        "canceled",
    ):
        assert line in ended.stdout


def test_the_demo_describes_the_model_it_uses():
    with SimulatedDocker(models=("ai/found-here", "ai/embed-only"), script="One, two."):
        ended = run(EXAMPLES / "demo.py")
    assert ended.returncode == 0
    assert "real docker model v1.2.6" in " ".join(ended.stdout.split())
    assert "found-here and a parser" in ended.stdout
    assert "361.82M parameters: it writes fluently" in " ".join(ended.stdout.split())


def test_the_demo_without_a_model_uses_the_simulated_one():
    only = SimulatedModel("ai/embed-only", kind="embedding")
    with SimulatedDocker(models=(only,)) as docker:
        ended = run(EXAMPLES / "demo.py")
    assert ended.returncode == 0
    assert "docker model pull" in ended.stdout
    assert docker.prompts == []  # the demo's own simulation answered


@pytest.mark.parametrize("notebook", sorted(NOTEBOOKS), ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, tmp_path):
    with SimulatedDocker(models=MODELS, script=agent_or_echo) as docker:
        ended = run("-m", "IPython", "--no-banner", notebook, IPYTHONDIR=str(tmp_path))
        docker.wait_all_gone()
    assert ended.returncode == 0, ended.stdout
    assert complaints(ended.stderr) == []
    assert docker.prompts


@pytest.mark.parametrize("notebook", sorted(NOTEBOOKS), ids=lambda path: path.stem)
def test_a_notebook_contains_output_of_the_real_engine(notebook):
    cells = nbformat.read(notebook, as_version=4)
    assert set(cells.metadata) == {"kernelspec", "language_info"}
    outputs = [output for cell in cells.cells for output in cell.get("outputs", ())]
    assert {output.output_type for output in outputs} == {"stream", "execute_result"}
    text = "".join(output.get("text", "") + str(output.get("data", "")) for output in outputs)
    assert "ai/smollm2" in text
    assert "You said: " not in text  # the echo of the simulation
    assert not PRIVATE.search(text)
    for cell in cells.cells:
        assert not cell.metadata  # for example the time of execution
        for output in cell.get("outputs", ()):
            assert output.get("name") != "stderr"


def agent_or_echo(prompt):
    """Answer for every example: call a tool once, follow a schema, echo any other prompt."""
    if prompt.tools and prompt.messages[-1]["role"] != "tool":
        return ToolCall(prompt.tools[0]["function"]["name"], {"item": "mug"})
    if prompt.schema is not None:
        return json.dumps(instance_of(prompt.schema, prompt.schema.get("$defs", {})))
    if "Action Input" in prompt:
        return "Thought: I can answer without using any more tools.\nAnswer: Forty-two."
    return f"You said: {prompt}"


def instance_of(schema, definitions):
    """Return a value that a simple JSON schema takes."""
    if "$ref" in schema:
        return instance_of(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "const" in schema:
        return schema["const"]
    if "anyOf" in schema:
        return instance_of(schema["anyOf"][0], definitions)
    if "properties" in schema:
        return {
            name: instance_of(field, definitions) for name, field in schema["properties"].items()
        }
    return {"string": "mug", "integer": 3, "array": []}[schema["type"]]
