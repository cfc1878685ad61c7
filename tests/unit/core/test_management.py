"""Discovery and management of models, each function sync and async."""

import asyncio
import inspect
import sys
import threading

import pytest

from docker_model import management
from docker_model.errors import (
    DockerNotFoundError,
    GenerationError,
    GenerationTimeoutError,
    InvalidRequestError,
    ModelLoadError,
    ModelNotFoundError,
    PluginNotFoundError,
    PullError,
    RunnerUnavailableError,
    UnsupportedParameterError,
)
from docker_model.testing import (
    Downloaded,
    Fail,
    Hang,
    IgnoreSignals,
    Pulled,
    Reply,
    SimulatedDocker,
)
from docker_model.types import PullProgress, RunningModel
from tests.support import other_loop

DOWNLOAD = [Downloaded(1_000_000, 4_000_000), Downloaded(4_000_000, 4_000_000), Pulled()]


@pytest.fixture(params=["sync", "async", "uvloop"])
def call(request):
    """Return a function that calls a function of `management`, sync or async."""
    if request.param == "sync":
        return lambda name, *args, **settings: getattr(management, name)(*args, **settings)
    new_loop = other_loop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(name, *args, **settings):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(getattr(management, f"a{name}")(*args, **settings))

    return run


def test_sync_and_async_functions_have_one_signature():
    for name in management.__all__:
        if not name.startswith("a"):
            sync_function, async_function = (
                getattr(management, name),
                getattr(management, f"a{name}"),
            )
            assert inspect.signature(sync_function) == inspect.signature(async_function)
            assert inspect.iscoroutinefunction(async_function)
            assert {"command", "env", "timeout"} <= inspect.signature(
                sync_function
            ).parameters.keys()


# -- discovery -------------------------------------------------------------------------------


def test_list_returns_every_model(simulate, call):
    simulate(["ai/smollm2", "hf.co/org/model:Q4_K_M"])
    small, other = call("list_models")
    assert small.name == "ai/smollm2"
    assert small.tags == ("docker.io/ai/smollm2:latest",)
    assert small.size == "256.35MiB"
    assert small.created is not None
    assert small.created.tzinfo is not None
    assert other.name == "huggingface.co/org/model:Q4_K_M"


def test_listing_an_empty_store_returns_an_empty_list(simulate, call):
    simulate([])
    assert call("list_models") == []


def test_inspect_returns_the_details_of_a_model(docker, call):
    assert call("inspect_model", "smollm2").name == "ai/smollm2"
    with pytest.raises(ModelNotFoundError, match="docker model pull ai/other") as caught:
        call("inspect_model", "ai/other")
    assert caught.value.model == "ai/other"


def test_status_reports_a_running_runner(docker, call):
    status = call("status")
    assert status.running
    assert status.version.startswith(("v1.", "HEAD"))  # an unreleased version is named HEAD
    assert status.engine == "Docker Engine (Manual Install)"
    assert "llama.cpp" in status.backends
    assert status.endpoint == f"{docker.url}/v1/"
    assert status.problem == ""


@pytest.mark.simulated
@pytest.mark.parametrize(
    ("how", "problem", "version"),
    [
        ("no-docker", "there is no program", None),
        ("no-plugin", "apt-get install docker-model-plugin", None),
        ("no-engine", "Docker daemon does not respond", "v1.2.6"),
        ("refused", "does not respond", "v1.2.6"),
        ("runner-off", "docker desktop enable model-runner", "v1.2.6"),
    ],
)
def test_status_returns_the_problem_instead_of_raising(call, how, problem, version):
    with SimulatedDocker.broken(how):
        status = call("status", transport="cli")
    assert not status.running
    assert problem in status.problem
    assert status.version == version


@pytest.mark.simulated
def test_status_of_an_older_plugin_is_read(simulate, call):
    simulate(version="v0.1.45")
    status = call("status")
    assert status.running
    assert status.engine == "Docker Engine (Manual Install)"  # from the output of `version`


@pytest.mark.parametrize("program", ["pass", "print('help')"])
def test_status_of_another_program_reports_a_problem(call, program):
    status = call("status", command=[sys.executable, "-c", program])
    assert not status.running
    assert "no JSON" in status.problem


def test_list_running_returns_the_loaded_models(simulate, call):
    docker = simulate(["ai/smollm2", "ai/other"])
    assert call("list_running") == []
    call("preload_model", "ai/smollm2")
    assert call("list_running") == [RunningModel("ai/smollm2", "llama.cpp", "completion")]
    call("unload_model", "ai/smollm2")
    assert call("list_running") == []
    assert docker.prompts == []


@pytest.mark.simulated
@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("no-docker", DockerNotFoundError),
        ("no-plugin", PluginNotFoundError),
        ("no-engine", RunnerUnavailableError),
        ("refused", RunnerUnavailableError),
        ("runner-off", RunnerUnavailableError),
    ],
)
@pytest.mark.parametrize("name", ["list_models", "list_running"])
def test_failures_of_the_runner_raise_their_errors(call, how, kind, name):
    with SimulatedDocker.broken(how), pytest.raises(kind):
        call(name, transport="cli")


def test_settings_of_a_call_are_used(docker, call):
    with pytest.raises(RunnerUnavailableError) as caught:
        call("list_models", env={"MODEL_RUNNER_HOST": "http://secret:pw@127.0.0.1:1"})
    assert "secret" not in str(caught.value)
    with pytest.raises(DockerNotFoundError):
        call("list_models", command="no-such-docker model")
    other = SimulatedDocker(["ai/elsewhere"]).open()
    try:
        (model,) = call("list_models", command=other.command, env=other.env)
    finally:
        other.close()
    assert model.name == "ai/elsewhere"


# -- pull ------------------------------------------------------------------------------------


def test_pull_reports_progress(simulate, call):
    docker = simulate([], pullable={"ai/smollm2": DOWNLOAD})
    steps = []
    model = call("pull_model", "ai/smollm2", on_progress=steps.append)
    assert model.name == "ai/smollm2"
    assert steps == [
        PullProgress("ai/smollm2", "Downloaded 1.00MB of 4.00MB", 1_000_000, 4_000_000),
        PullProgress("ai/smollm2", "Downloaded 4.00MB of 4.00MB", 4_000_000, 4_000_000),
        PullProgress("ai/smollm2", "Model pulled successfully"),
    ]
    assert call("pull_model", "ai/smollm2") == model
    assert docker.prompts == []


def test_progress_is_reported_on_the_callers_thread(simulate, call):
    simulate([], pullable={"ai/smollm2": DOWNLOAD})
    threads = set()
    call("pull_model", "ai/smollm2", on_progress=lambda _: threads.add(threading.current_thread()))
    assert threads == {threading.current_thread()}


def test_an_error_of_on_progress_ends_the_pull(simulate, call):
    docker = simulate([], pullable={"ai/smollm2": [Downloaded(1, 4), Hang()]})

    def enough(step):
        raise KeyError(step.status)

    with pytest.raises(KeyError, match=r"Downloaded 1\.00B of 4\.00B"):
        call("pull_model", "ai/smollm2", on_progress=enough)
    docker.wait_all_gone()


def test_pulling_an_unknown_model_raises_not_found(simulate, call):
    simulate([])
    with pytest.raises(ModelNotFoundError, match="registry"):
        call("pull_model", "ai/nosuch")


def test_a_failed_pull_raises_its_error(simulate, call):
    simulate([], pullable={"ai/smollm2": [Downloaded(1, 4), Fail("no space left on device")]})
    with pytest.raises(PullError, match="not enough disk space") as caught:
        call("pull_model", "ai/smollm2")
    assert "no space left" in caught.value.detail


def test_a_pull_with_exit_code_zero_and_no_model_is_an_error(simulate, call):
    simulate([], pullable={"ai/smollm2": [Downloaded(1, 4)]})
    with pytest.raises(PullError):
        call("pull_model", "ai/smollm2")


def test_a_pull_times_out(simulate, call):
    docker = simulate([], pullable={"ai/smollm2": [Downloaded(1, 4), Hang()]})
    with pytest.raises(GenerationTimeoutError, match="docker model pull") as caught:
        call("pull_model", "ai/smollm2", timeout=1.0)
    assert caught.value.phase == "total"
    docker.wait_all_gone()


async def test_cancelling_a_pull_ends_the_command(simulate):
    docker = simulate([], pullable={"ai/smollm2": [Downloaded(1, 4), Hang()]})
    begun = asyncio.Event()
    pull = asyncio.create_task(
        management.apull_model("ai/smollm2", on_progress=lambda _: begun.set())
    )
    await begun.wait()
    pull.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pull
    await asyncio.to_thread(docker.wait_all_gone)


# -- load, unload, configure -----------------------------------------------------------------


def test_preload_never_pulls(simulate, call):
    docker = simulate([], pullable=["ai/smollm2"])
    with pytest.raises(ModelNotFoundError):
        call("preload_model", "ai/smollm2")
    assert not any(request.path == "/models/create" for request in docker.requests)


def test_a_failed_preload_raises_its_error(simulate, call):
    failed = Reply(500, Fail.out_of_memory().message)
    simulate(replies={"POST /engines/v1/chat/completions": failed})
    with pytest.raises(ModelLoadError, match="not enough memory"):
        call("preload_model", "ai/smollm2")


@pytest.mark.simulated
def test_preload_with_an_old_plugin_is_unsupported(simulate, call):
    simulate(version="v0.1.44")
    with pytest.raises(UnsupportedParameterError, match=r"v0\.1\.45"):
        call("preload_model", "ai/smollm2")


def test_configure_sets_the_context_size(docker, call):
    call("configure_model", "ai/smollm2", context_size=8192)
    (request,) = [r for r in docker.requests if r.path == "/engines/_configure"]
    assert request.body["context-size"] == 8192


def test_configure_sets_the_embedding_mode(docker, call):
    call("configure_model", "ai/smollm2", mode="embedding", context_size=512)
    (request,) = [r for r in docker.requests if r.path == "/engines/_configure"]
    assert request.body == {
        "model": "ai/smollm2",
        "mode": "embedding",
        "context-size": 512,
        "runtime-flags": ["--pooling", "mean"],
    }


@pytest.mark.parametrize(
    "settings", [{}, {"mode": "chat"}, {"mode": "embedding", "context_size": 0}]
)
def test_an_invalid_configuration_is_refused(docker, call, settings):
    with pytest.raises(InvalidRequestError):
        call("configure_model", "ai/smollm2", **settings)
    assert docker.calls == []


def test_configuring_a_missing_model_raises_not_found(docker, call):
    with pytest.raises(ModelNotFoundError):
        call("configure_model", "ai/nosuch", context_size=8192)


@pytest.mark.simulated
def test_configuring_a_model_in_use_is_an_error(simulate, call):
    simulate(replies={"POST /engines/_configure": Reply(409, "runner already active")})
    with pytest.raises(GenerationError, match="docker model ps"):
        call("configure_model", "ai/smollm2", context_size=8192)


# -- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["inspect_model", "pull_model", "preload_model", "unload_model", "configure_model"],
)
@pytest.mark.parametrize("model", ["", "-model", "../version", "a b", "a?b", "a\0b"])
def test_invalid_names_are_refused_before_a_process_starts(docker, call, name, model):
    settings = {"context_size": 1} if name == "configure_model" else {}
    with pytest.raises(InvalidRequestError):
        call(name, model, **settings)
    assert docker.calls == []


@pytest.mark.parametrize("size", [0, -2, 1.5, True, "8192", None])
def test_invalid_context_sizes_are_refused(docker, call, size):
    with pytest.raises(InvalidRequestError, match="context_size"):
        call("configure_model", "ai/smollm2", context_size=size)
    assert docker.calls == []


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "5", True])
@pytest.mark.parametrize("name", ["list_models", "status"])
def test_invalid_timeouts_are_refused(docker, call, name, timeout):
    with pytest.raises(InvalidRequestError, match="timeout"):
        call(name, timeout=timeout)


# -- time ------------------------------------------------------------------------------------


@pytest.mark.simulated
def test_a_hung_command_times_out_and_is_ended(simulate, call):
    docker = simulate(startup=[IgnoreSignals(), Hang()])
    with pytest.raises(GenerationTimeoutError, match="docker model list"):
        call("list_models", timeout=0.5)
    assert "took longer than 0.5 s" in call("status", timeout=0.5).problem
    docker.wait_all_gone()


def test_concurrent_calls_do_not_wait_for_each_other(docker):
    async def many():
        return await asyncio.gather(*(management.alist_models() for _ in range(8)))

    assert [len(models) for models in asyncio.run(many())] == [1] * 8


@pytest.mark.simulated
@pytest.mark.parametrize("version", ["v0.1.40", "v0.1.46", "v1.0.7", "v1.1.26"])
def test_older_plugins_are_supported(simulate, version):
    simulate(version=version, pullable={"ai/other": DOWNLOAD})
    assert [model.name for model in management.list_models()] == ["ai/smollm2"]
    assert management.inspect_model("ai/smollm2").id is not None
    assert management.status().version == version
    assert management.list_running() == []
    steps = []
    assert management.pull_model("ai/other", on_progress=steps.append).name == "ai/other"
    assert [step.current for step in steps] == [1_000_000, 4_000_000, None]
    management.configure_model("ai/smollm2", context_size=4096)
    management.unload_model("ai/smollm2")
    with pytest.raises(ModelNotFoundError):
        management.inspect_model("ai/nosuch")
