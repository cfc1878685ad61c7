"""The pytest plugin `docker_model.testing.pytest_plugin`."""

import os

from docker_model import DockerModel
from tests.support.programs import run_python

pytest_plugins = ["docker_model.testing.pytest_plugin"]


def test_the_fixture_is_an_open_simulation_that_echoes(simulated_docker):
    assert DockerModel("ai/smollm2").generate("Hi").text == "You said: Hi"
    assert simulated_docker.prompts == ["Hi"]


def test_the_fixture_restores_the_environment_after_changes_by_a_test(tmp_path):
    program = tmp_path / "test_it.py"
    program.write_text(
        "import os\n"
        "pytest_plugins = ['docker_model.testing.pytest_plugin']\n"
        "def test_it(monkeypatch, simulated_docker):\n"
        "    monkeypatch.setenv('MODEL_RUNNER_HOST', 'http://127.0.0.1:1')\n"
        "    monkeypatch.delenv('DOCKER_MODEL_COMMAND')\n"
        "def test_after_it():\n"
        "    assert not {'MODEL_RUNNER_HOST', 'DOCKER_MODEL_COMMAND'} & set(os.environ)\n"
    )
    own = ("MODEL_RUNNER_HOST", "DOCKER_MODEL_COMMAND")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    completed = run_python(["-m", "pytest", "-p", "no:cacheprovider", program], env=environment)
    assert "2 passed" in completed.stdout, completed.stdout
