"""The fixture for users' own tests."""

from docker_model import DockerModel

pytest_plugins = ["docker_model.testing.pytest_plugin"]


def test_the_fixture_is_an_open_simulation(simulated_docker):
    assert DockerModel("ai/smollm2").generate("Hi").text == "You said: Hi"
    assert simulated_docker.prompts == ["Hi"]
