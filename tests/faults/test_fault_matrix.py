"""Every fault in every way to call: it ends as specified, and nothing of it lives on."""

import pytest

from docker_model import Completion, DockerModel
from docker_model._runtime import child
from docker_model.testing.steps import you_said
from tests.faults.fault_list import CHILD_FAULTS, COMMAND_FAULTS, MODEL_FAULTS, judge
from tests.support.modes import WAYS, generate, stream
from tests.support.playing import player


def matrix(faults):
    def decorate(test):
        named = pytest.mark.parametrize("fault", faults, ids=str)
        return pytest.mark.parametrize("way", WAYS)(named(test))

    return decorate


def check(fault, way, model):
    """Call by `generate` and by `stream`; the pieces must equal the result of the stream."""
    pieces, end = stream(way, model, fault.prompt)
    judge(fault.end, end)
    said = end.text if isinstance(end, Completion) else getattr(end, "partial", "")
    assert "".join(pieces) == said
    judge(fault.end, generate(way, model, fault.prompt))


@matrix(MODEL_FAULTS)
def test_a_fault_of_the_model_ends_as_listed(fault, way, simulate):
    docker = simulate(script=you_said if fault.script is None else fault.script)
    check(fault, way, DockerModel("ai/smollm2", **fault.settings))
    docker.wait_all_gone()


@pytest.mark.simulated
@matrix(COMMAND_FAULTS)
def test_a_fault_of_the_command_ends_as_listed(fault, way, simulate, monkeypatch):
    monkeypatch.setattr(child, "EXIT_AFTER_EOF_TIMEOUT", fault.linger)
    docker = simulate(script=fault.script)
    check(fault, way, DockerModel("ai/smollm2", **fault.settings))
    docker.wait_all_gone()


@matrix(CHILD_FAULTS)
def test_a_fault_of_any_child_ends_as_listed(fault, way, liveness, monkeypatch):
    monkeypatch.setattr(child, "EXIT_AFTER_EOF_TIMEOUT", fault.linger)
    model = DockerModel(
        "ai/smollm2", command=player(*fault.steps), env=liveness.env, **fault.settings
    )
    check(fault, way, model)
    if not fault.survives:
        liveness.wait_all_dead(2)
