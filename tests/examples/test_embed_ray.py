"""The embedding example on a local Ray cluster of two nodes with a runner."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from docker_model.testing import SimulatedDocker, SimulatedModel
from langchain_docker_model import DockerModelEmbeddings

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")
cluster_utils = pytest.importorskip("ray.cluster_utils")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("default"),  # warnings of Ray
]

EXAMPLE = Path(__file__).parents[2] / "examples/embed_ray.py"
MODEL = SimulatedModel("ai/all-minilm", kind="embedding")


@pytest.fixture
def example():
    spec = importlib.util.spec_from_file_location("embed_ray", EXAMPLE)
    sys.modules["embed_ray"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Load it like a script, as `__main__`: workers cannot import it.
    ray.cloudpickle.register_pickle_by_value(module)
    yield module
    ray.cloudpickle.unregister_pickle_by_value(module)
    del sys.modules["embed_ray"]


def write(path, count):
    lines = [json.dumps({"id": i, "text": f"text {i}"}) for i in range(count)]
    path.write_text("\n".join(lines) + "\n")


def test_each_row_is_embedded_once_and_a_second_run_continues(example, tmp_path, capsys):
    seen = []

    def embed(text):
        seen.append(text)
        return [1.0, float(text.removeprefix("text "))]

    source, target = tmp_path / "texts.jsonl", tmp_path / "vectors"
    with (
        SimulatedDocker(MODEL, embed=embed) as first,
        SimulatedDocker(MODEL, embed=embed) as second,
    ):
        cluster = cluster_utils.Cluster()
        try:
            cluster.add_node(num_cpus=1)  # the head node, without a runner
            for docker in (first, second):
                cluster.add_node(num_cpus=1, resources={example.RUNNER: 1}, env_vars=docker.env)
            ray.init(address=cluster.address)
            embeddings = DockerModelEmbeddings(model="ai/all-minilm")

            write(source, 1000)
            assert example.run(embeddings, str(source), str(target)) == 1000
            assert "texts/s" in capsys.readouterr().out
            assert first.requests
            assert second.requests
            write(source, 1500)  # as if the first run had been interrupted
            assert example.run(embeddings, str(source), str(target)) == 500
            assert example.run(embeddings, str(source), str(target)) == 0
            assert len(seen) == len(set(seen)) == 1500
            rows = ray.data.read_parquet(str(target)).take_all()
            assert sorted(row["id"] for row in rows) == list(range(1500))
            assert all(list(row["vector"]) == [1.0, float(row["id"])] for row in rows)
        finally:
            ray.shutdown()
            cluster.shutdown()
