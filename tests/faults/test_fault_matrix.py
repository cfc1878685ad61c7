"""Every fault in every calling mode: the call ends as listed, and no process is left."""

import pytest

from docker_model import Completion, DockerModel
from docker_model._runtime import child
from docker_model.testing.steps import you_said
from tests.conftest import wait_for_children
from tests.faults.fault_list import CHILD_FAULTS, COMMAND_FAULTS, MODEL_FAULTS, check_end
from tests.support.modes import MODES, generate, in_every_mode, stream
from tests.support.platforms import WINDOWS, posix
from tests.support.playing import player, wait_for_end


def parametrize(faults):
    """Return the mark that runs a test with each fault."""
    cases = [pytest.param(it, marks=posix if it.posix else (), id=it.name) for it in faults]
    return pytest.mark.parametrize("fault", cases)


def check(fault, model):
    """Call by `generate` and by `stream`; the pieces must equal the result of the stream."""

    def check_mode(mode):
        pieces, end = stream(mode, model, fault.prompt)
        check_end(fault.end, end)
        text = end.text if isinstance(end, Completion) else getattr(end, "partial", "")
        assert "".join(pieces) == text
        check_end(fault.end, generate(mode, model, fault.prompt))

    in_every_mode(check_mode)


@parametrize(MODEL_FAULTS)
def test_a_fault_of_the_model_ends_as_listed(fault, simulate):
    docker = simulate(script=you_said if fault.script is None else fault.script)
    check(fault, DockerModel("ai/smollm2", **fault.settings))
    docker.wait_all_gone()


@pytest.mark.simulated
@parametrize(COMMAND_FAULTS)
def test_a_fault_of_the_command_ends_as_listed(fault, simulate, monkeypatch):
    monkeypatch.setattr(child, "EXIT_AFTER_EOF_TIMEOUT", fault.linger)
    docker = simulate(script=fault.script)
    check(fault, DockerModel("ai/smollm2", **fault.settings))
    docker.wait_all_gone()


@parametrize(CHILD_FAULTS)
def test_a_fault_of_any_child_ends_as_listed(fault, liveness, monkeypatch):
    monkeypatch.setattr(child, "EXIT_AFTER_EOF_TIMEOUT", fault.linger)
    model = DockerModel(
        "ai/smollm2", command=player(*fault.steps), env=liveness.env, **fault.settings
    )
    check(fault, model)
    wait_for_children()
    if not fault.survives:
        # A child may not have connected before a timeout of its first output.
        is_late = isinstance(fault.end, tuple) and fault.end[1].get("phase") == "first_output"
        is_forked = WINDOWS and ["fork"] in fault.steps  # a grandchild connects itself there
        connections = liveness.connected()
        assert len(connections) == 2 * len(MODES) or is_late or is_forked
        for connection in connections:
            wait_for_end(connection)
