"""The hint of a timeout names the setting of the class that limits the length of an answer."""

import pytest

from docker_model import DockerModel, GenerationTimeoutError
from docker_model.testing import Hang, SimulatedDocker
from langchain_docker_model import ChatDockerModel

MODEL = "ai/smollm2"


@pytest.mark.parametrize(
    ("ask", "hint"),
    [
        (
            lambda: DockerModel(MODEL, timeout=2).generate("Hi"),
            ", or limit the answer with max_chars",
        ),
        (
            lambda: DockerModel(MODEL, timeout=2, transport="http").generate("Hi"),
            ", or limit the answer with max_chars",
        ),
        (
            lambda: ChatDockerModel(model=MODEL, timeout=2).invoke("Hi"),
            ", or limit the answer with max_tokens",
        ),
        (
            lambda: list(ChatDockerModel(model=MODEL, timeout=2).stream("Hi")),
            ", or limit the answer with max_tokens",
        ),
    ],
    ids=["command", "http", "chat", "chat-stream"],
)
def test_a_total_timeout_names_the_setting_that_caps_an_answer(ask, hint):
    with (
        SimulatedDocker({MODEL: ["On and on. ", Hang()]}),
        pytest.raises(GenerationTimeoutError) as caught,
    ):
        ask()
    assert caught.value.phase == "total"
    assert caught.value.hint == f"raise timeout or timeout.total{hint}"
