"""An error in the caller's `on_progress` function ends the pull."""

import pytest

from docker_model import DockerModel
from docker_model.testing import Downloaded, Hang
from tests.support.modes import MODES, call


class OwnError(Exception):
    pass


@pytest.mark.parametrize("kind", [OwnError, BrokenPipeError, TimeoutError, KeyError])
@pytest.mark.parametrize("mode", MODES)
def test_an_error_of_the_callback_ends_the_pull_and_is_raised_unchanged(kind, mode, simulate):
    docker = simulate(["ai/other"], pullable={"ai/smollm2": [Downloaded(1, 2), Hang()]})

    def on_progress(_):
        raise kind("boom")  # noqa: EM101

    model = DockerModel("ai/smollm2", pull="missing", on_progress=on_progress)
    with pytest.raises(kind) as caught:
        call(mode, lambda: "".join(model.stream("hi")), lambda: model.agenerate("hi"))
    assert (type(caught.value), caught.value.args) == (kind, ("boom",))
    docker.wait_all_gone()
    assert docker.prompts == []
