"""Every fault in every calling mode: the call ends as listed, and no process is left."""

import pytest

from docker_model import Completion, DockerModel
from docker_model._runtime import child
from docker_model.testing.steps import you_said
from tests.faults.fault_list import CHILD_FAULTS, COMMAND_FAULTS, MODEL_FAULTS, judge
from tests.support.modes import MODES, generate, stream
from tests.support.playing import player


def matrix(faults):
    def decorate(test):
        named = pytest.mark.parametrize("fault", faults, ids=str)
        return pytest.mark.parametrize("mode", MODES)(named(test))

    return decorate


def check(fault, mode, model):
    """Call by `generate` and by `stream`; the pieces must equal the result of the stream."""
    pieces, end = stream(mode, model, fault.prompt)
    judge(fault.end, end)
    text = end.text if isinstance(end, Completion) else getattr(end, "partial", "")
    assert "".join(pieces) == text
    judge(fault.end, generate(mode, model, fault.prompt))


@matrix(MODEL_FAULTS)
def test_a_fault_of_the_model_ends_as_listed(fault, mode, simulate):
    docker = simulate(script=you_said if fault.script is None else fault.script)
    check(fault, mode, DockerModel("ai/smollm2", **fault.settings))
    docker.wait_all_gone()


@pytest.mark.simulated
@matrix(COMMAND_FAULTS)
def test_a_fault_of_the_command_ends_as_listed(fault, mode, simulate, monkeypatch):
    monkeypatch.setattr(child, "EXIT_AFTER_EOF_TIMEOUT", fault.linger)
    docker = simulate(script=fault.script)
    check(fault, mode, DockerModel("ai/smollm2", **fault.settings))
    docker.wait_all_gone()


@matrix(CHILD_FAULTS)
def test_a_fault_of_any_child_ends_as_listed(fault, mode, liveness, monkeypatch):
    monkeypatch.setattr(child, "EXIT_AFTER_EOF_TIMEOUT", fault.linger)
    model = DockerModel(
        "ai/smollm2", command=player(*fault.steps), env=liveness.env, **fault.settings
    )
    check(fault, mode, model)
    if not fault.survives:
        liveness.wait_all_dead(2)
