"""The batch example on a local Ray cluster of two nodes with a runner and one without."""

import importlib.util
import json
import sys
import threading
from pathlib import Path

import pytest

from docker_model.testing import Cut, Fail, SimulatedDocker
from langchain_docker_model import DockerModelLLM

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")
cluster_utils = pytest.importorskip("ray.cluster_utils")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("default"),  # warnings of Ray
]

TOO_LONG = "the request exceeds the available context size, try increasing it"
EXAMPLE = Path(__file__).parents[2] / "examples/batch_ray.py"


@pytest.fixture
def example():
    spec = importlib.util.spec_from_file_location("batch_ray", EXAMPLE)
    sys.modules["batch_ray"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Load it like a script, as `__main__`: workers cannot import it.
    ray.cloudpickle.register_pickle_by_value(module)
    yield module
    ray.cloudpickle.unregister_pickle_by_value(module)
    del sys.modules["batch_ray"]


class Answers:
    """A model that echoes its prompt; it crashes at the first "crash", and refuses "too long"."""

    def __init__(self):
        self._crashed = threading.Event()
        self.mended = False

    def __call__(self, prompt):
        if prompt == "crash" and not self._crashed.is_set():
            self._crashed.set()
            return [Cut()]
        if prompt == "too long" and not self.mended:
            return [Fail(TOO_LONG, 400)]
        return f"heard {prompt}"


def rows(folder):
    lines = [line for file in folder.glob("*.json*") for line in file.read_text().splitlines()]
    return {row["id"]: row for row in map(json.loads, lines)}


def test_each_node_uses_its_own_runner_and_no_row_is_lost(example, tmp_path):
    prompts = [f"prompt {number}" for number in range(200)] + ["crash", "too long"]
    source = tmp_path / "prompts.jsonl"
    source.write_text(
        "\n".join(json.dumps({"id": i, "prompt": p}) for i, p in enumerate(prompts)) + "\n"
    )
    answers = Answers()
    with SimulatedDocker(script=answers) as first, SimulatedDocker(script=answers) as second:
        cluster = cluster_utils.Cluster()
        try:
            cluster.add_node(num_cpus=1)  # the head node, without a runner
            for docker in (first, second):
                cluster.add_node(num_cpus=1, resources={example.RUNNER: 1}, env_vars=docker.env)
            ray.init(address=cluster.address)
            llm = DockerModelLLM(model="ai/smollm2")

            assert example.run(llm, str(source), str(tmp_path / "first")) == 1
            prompts_seen = [*first.prompts, *second.prompts]
            assert first.prompts
            assert second.prompts
            assert sorted(set(prompts_seen)) == sorted(prompts)
            assert len(prompts_seen) == len(prompts) + 1  # the second attempt after the crash
            answered = rows(tmp_path / "first")
            assert [answered[i]["prompt"] for i in range(len(prompts))] == prompts
            for row in answered.values():
                if row["prompt"] == "too long":
                    assert row["result"] == ""
                    assert "context" in row["error"]
                else:
                    assert (row["result"], row["error"]) == (f"heard {row['prompt']}", "")

            answers.mended = True
            assert example.run(llm, str(tmp_path / "first"), str(tmp_path / "second")) == 0
            assert "too long" in (first.prompts[-1], second.prompts[-1])
            assert len(first.prompts) + len(second.prompts) == len(prompts_seen) + 1
            assert [row["result"] for _, row in sorted(rows(tmp_path / "second").items())] == [
                f"heard {prompt}" for prompt in prompts
            ]
        finally:
            ray.shutdown()
            cluster.shutdown()


def test_a_cluster_without_a_runner_names_the_problem(example, tmp_path):
    ray.init(num_cpus=1)
    try:
        with pytest.raises(SystemExit, match="docker_model_runner"):
            example.run(DockerModelLLM(model="ai/smollm2"), "any", "any")
    finally:
        ray.shutdown()
