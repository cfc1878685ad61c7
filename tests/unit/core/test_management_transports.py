"""Discovery and management return the same over the command and over HTTP."""

import asyncio
import inspect
from dataclasses import replace

import pytest

import docker_model
from docker_model import (
    Completion,
    DockerModel,
    DockerNotFoundError,
    GenerationError,
    InvalidRequestError,
    ModelConfiguration,
    ModelNotFoundError,
    PluginNotFoundError,
    PullError,
    RunnerUnavailableError,
    UnsupportedParameterError,
    management,
)
from docker_model.testing import (
    Downloaded,
    Pulled,
    Raw,
    Reply,
    SimulatedDocker,
    SimulatedModel,
    Sleep,
)
from tests.support.runner_failures import LISTING


@pytest.fixture(params=["cli", "http"])
def transport(request):
    return request.param


@pytest.fixture
def docker(simulate):
    return simulate(
        [
            SimulatedModel("ai/smollm2", context_size=2048),
            SimulatedModel("ai/minilm", kind="embedding", trained_context=512),
        ]
    )


def test_both_transports_return_the_same_data(docker):
    management.configure_model("ai/smollm2", context_size=1024)
    for ask in (management.list_models, management.list_running):
        assert ask(transport="cli") == ask(transport="http")
    for ask in (management.inspect_model, management.model_configuration):
        assert ask("ai/smollm2", transport="cli") == ask("ai/smollm2", transport="http")
    assert management.inspect_model("ai/smollm2").context_size == 1024


def test_the_context_size_is_known_without_a_request_after_inspect(docker, transport):
    def known(**settings):
        model = management.known_model("ai/smollm2", **settings)
        return model and model.context_size

    assert known() is None
    management.inspect_model("ai/smollm2", transport=transport)
    requests = len(docker.calls), len(docker.requests)
    assert known() == known(transport=transport) == 2048
    assert known(transport="http" if transport == "cli" else "cli") is None
    assert known(base_url="http://127.0.0.1:1") is known(command="other model") is None
    assert (len(docker.calls), len(docker.requests)) == requests
    management.configure_model("ai/smollm2", context_size=1024, transport=transport)
    assert known() is None
    management.inspect_model("ai/smollm2", transport=transport)
    assert known() == 1024


def test_the_command_learns_the_context_size_by_a_call_and_by_warming_up(docker):
    def known():
        return management.known_model("ai/smollm2", transport="cli").context_size

    management.configure_model("ai/smollm2", context_size=1024)
    DockerModel("ai/smollm2").generate("Hi")
    assert known() == 2048  # as it was packaged
    DockerModel("ai/smollm2").warm_up()
    assert known() == 1024
    DockerModel("ai/smollm2").generate("Hi")
    assert known() == 1024


def test_disk_usage_returns_the_size_of_models(docker, transport):
    assert management.disk_usage(transport=transport).models > 1_000_000


def test_a_missing_model_names_similar_models(simulate, transport):
    simulate(["ai/smollm2:360M-Q4_K_M", "ai/qwen3", "hf.co/org/SmolLM2-1.7B:Q8_0"])
    for name, suggestion in (
        ("ai/smollm2", "but 'ai/smollm2:360M-Q4_K_M' is"),
        ("ai/smolm2", "did you mean 'ai/smollm2:360M-Q4_K_M'"),
        ("ai/qwen-3", "did you mean 'ai/qwen3'"),
    ):
        with pytest.raises(ModelNotFoundError) as caught:
            management.inspect_model(name, transport=transport)
        assert suggestion in str(caught.value)
        assert f"docker model pull {name}" in caught.value.hint


def test_configuration_changes_are_returned_by_both_transports(docker, transport):
    management.configure_model("ai/smollm2", keep_alive=60, transport=transport)
    management.configure_model(
        "ai/smollm2",
        context_size=512,
        think=False,
        runtime_flags=["--temp", "0"],
        draft_model="ai/minilm",
        draft_tokens=4,
        draft_min_acceptance=0.5,
        hf_overrides={"a": [1]},
        gpu_memory_utilization=0.8,
        transport=transport,
    )
    assert management.model_configuration("ai/smollm2", transport=transport) == ModelConfiguration(
        context_size=512,
        keep_alive="1m0s",
        think=False,
        mode="completion",
        runtime_flags=("--temp", "0"),
        draft_model="ai/minilm",
        draft_tokens=4,
        draft_min_acceptance=0.5,
        hf_overrides={"a": [1]},
        gpu_memory_utilization=0.8,
    )
    assert management.model_configuration("ai/minilm", transport=transport) is None


def test_tag_and_remove_change_the_list(docker, transport):
    management.tag_model("ai/smollm2", "myorg/helper:v1", transport=transport)
    assert "myorg/helper:v1" in "".join(management.inspect_model("ai/smollm2").tags)
    management.remove_model("ai/smollm2", transport=transport)
    assert management.inspect_model("myorg/helper:v1", transport=transport)
    management.remove_model("myorg/helper:v1", transport=transport)
    names = [model.name for model in management.list_models(transport=transport)]
    assert names == ["ai/minilm"]
    for care in (management.remove_model, management.inspect_model):
        with pytest.raises(ModelNotFoundError):
            care("ai/smollm2", transport=transport)
    with pytest.raises(ModelNotFoundError):
        management.tag_model("ai/smollm2", "ai/other", transport=transport)


def test_load_and_unload_change_the_running_models(docker, transport):
    assert management.list_running(transport=transport) == []
    management.preload_model("ai/smollm2", transport=transport)
    assert [model.name for model in management.list_running(transport=transport)] == ["ai/smollm2"]
    management.unload_model("ai/smollm2", transport=transport)
    assert management.list_running(transport=transport) == []


def test_pull_accepts_a_token_and_reports_progress(simulate, transport):
    steps = [Downloaded(1_000_000, 4_000_000), Pulled()]
    docker = simulate([], pullable={"hf.co/org/private": steps})
    seen = []
    model = management.pull_model(
        "hf.co/org/private", on_progress=seen.append, token="hf_secret", transport=transport
    )
    assert model.tags
    assert seen[0].current == 1_000_000
    if transport == "http":
        (pull,) = [request for request in docker.requests if request.path == "/models/create"]
        assert pull.body["bearer-token"] == "hf_secret"
    else:
        (call,) = [call for call in docker.calls if "pull" in call.argv]
        assert call.env["HF_TOKEN"] == "hf_secret"
        assert "hf_secret" not in " ".join(call.argv)


async def test_pulls_at_the_same_time_are_one_for_the_runner(simulate, transport):
    docker = simulate([], pullable={"ai/other": [Downloaded(1, 2), Sleep(0.5), Pulled()]})
    seen = {"a": [], "b": []}
    pulls = [
        management.apull_model("ai/other", on_progress=steps.append, transport=transport)
        for steps in seen.values()
    ]
    assert [model.name for model in await asyncio.gather(*pulls)] == ["ai/other"] * 2
    assert [len(steps) for steps in seen.values()] == [2, 2]
    assert [request.path for request in docker.requests].count("/models/create") == 1


async def test_an_error_of_one_callback_leaves_the_pull_of_the_other_alone(simulate, transport):
    simulate([], pullable={"ai/other": [Downloaded(1, 2), Sleep(0.5), Pulled()]})

    def fail(_step):
        raise KeyError

    model = DockerModel("ai/other", pull="missing", transport=transport)
    failing = replace(model, on_progress=fail)
    answers = await asyncio.gather(
        failing.agenerate("a"), model.agenerate("b"), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [KeyError, Completion]


def test_the_command_refuses_a_token_that_it_would_not_use(simulate):
    simulate([], pullable=["registry.test/org/private"])
    with pytest.raises(UnsupportedParameterError, match="only for Hugging Face") as caught:
        management.pull_model("registry.test/org/private", token="t0ken")
    assert 'transport="http"' in caught.value.hint
    assert "t0ken" not in str(caught.value)
    assert management.pull_model("registry.test/org/private", token="t0ken", transport="http").tags


@pytest.mark.parametrize("words", ["Unauthorized", "Model not found"])
def test_a_refusal_of_hugging_face_names_the_token(simulate, transport, words):
    simulate([], pullable={"hf.co/org/private": [Raw(LISTING), Raw(f"{words}\n".encode())]})
    with pytest.raises((PullError, ModelNotFoundError)) as caught:
        management.pull_model("hf.co/org/private", transport=transport)
    if transport == "cli":  # the command prints nothing and exits with code 0
        assert "is not in the local store" in caught.value.message
    assert ("token=" in caught.value.hint) == (transport == "cli" or words == "Unauthorized")


def test_a_failed_pull_is_an_error(simulate, transport):
    simulate([])
    with pytest.raises(ModelNotFoundError, match="no model"):
        management.pull_model("ai/nothing", transport=transport)


def test_status_over_http_reports_the_runner(docker):
    status = management.status(transport="http")
    assert status.running
    assert status.backends["llama.cpp"].startswith("Running")
    assert status.endpoint.endswith("/engines/v1")
    assert status.command == ()


def test_status_without_a_runner_has_a_hint():
    status = management.status(base_url="http://127.0.0.1:9")
    assert not status.running
    assert "Hint:" in status.problem


@pytest.mark.simulated
@pytest.mark.parametrize("how", ["no-docker", "no-plugin"])
async def test_http_is_used_if_the_command_is_missing(how):
    with SimulatedDocker.broken(how):
        assert management.list_models() == await management.alist_models()
        assert management.status().running
        with pytest.raises((DockerNotFoundError, PluginNotFoundError)):
            management.list_models(transport="cli")
        with pytest.raises(DockerNotFoundError):
            management.list_models(command="/nowhere/docker model")


def test_a_missing_command_is_named_if_http_is_missing_too(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("MODEL_RUNNER_HOST", "http://127.0.0.1:9")
    monkeypatch.delenv("DOCKER_MODEL_COMMAND", raising=False)
    with pytest.raises(DockerNotFoundError):
        management.list_models()


def test_a_base_url_selects_http(docker):
    assert management.list_models(base_url=docker.url) == management.list_models(transport="http")
    assert not docker.calls
    with pytest.raises(RunnerUnavailableError):
        management.list_models(base_url="http://127.0.0.1:9")
    with pytest.raises(UnsupportedParameterError, match="base_url"):
        management.list_models(base_url=docker.url, transport="cli")
    with pytest.raises(InvalidRequestError, match="transport"):
        management.list_models(transport="grpc")


def test_configuring_a_model_in_use_is_an_error(simulate, transport):
    simulate(replies={"POST /engines/_configure": Reply(409, "runner already active\n")})
    with pytest.raises(GenerationError, match="docker model ps") as caught:
        management.configure_model("ai/smollm2", context_size=512, transport=transport)
    assert "answering a request" in caught.value.message


def test_a_configuration_that_cannot_be_read_is_not_overwritten(simulate, transport, caplog):
    docker = simulate(replies={"GET /engines/_configure": Reply(500, "boom")})
    for call in (
        lambda: management.configure_model("ai/smollm2", context_size=512, transport=transport),
        lambda: management.model_configuration("ai/smollm2", transport=transport),
    ):
        with pytest.raises(GenerationError, match="HTTP 500"):
            call()
    assert {request.method for request in docker.requests} == {"GET"}
    caplog.set_level("INFO", "docker_model")
    assert management.inspect_model("ai/smollm2", transport=transport).name == "ai/smollm2"
    assert any("configuration of models could not be read" in text for text in caplog.messages)


def test_a_runner_without_stored_configurations_can_be_configured(simulate, transport):
    docker = simulate(replies={"GET /engines/_configure": Reply(404, "not found")})
    management.configure_model("ai/smollm2", context_size=512, transport=transport)
    assert docker.requests[-1].path == "/engines/_configure"
    assert management.model_configuration("ai/smollm2", transport=transport) is None


def test_search_needs_the_command(docker):
    for settings in ({"transport": "http"}, {"base_url": docker.url}):
        with pytest.raises(UnsupportedParameterError, match="cannot search") as caught:
            management.search_models("smol", **settings)
        assert "the command can search" in caught.value.hint
    for bad in ({"limit": 0}, {"term": 5}, {"term": "a\0"}):
        with pytest.raises(InvalidRequestError):
            management.search_models(**{"term": "a", **bad})


@pytest.mark.parametrize("name", [name for name in management.__all__ if name[0] != "a"])
def test_sync_and_async_functions_have_one_signature_and_documentation(name):
    plain, awaited = getattr(management, name), getattr(management, f"a{name}")
    assert getattr(docker_model, name) is plain
    assert inspect.iscoroutinefunction(awaited)
    assert not inspect.iscoroutinefunction(plain)
    assert (plain.__name__, awaited.__name__) == (name, f"a{name}")
    parameters = inspect.signature(plain).parameters
    assert parameters == inspect.signature(awaited).parameters
    assert {"command", "env", "timeout", "base_url"} <= set(parameters)
    assert plain.__doc__


async def test_rerank_puts_the_best_document_first(simulate):
    simulate([SimulatedModel("ai/ranker", kind="reranker")])
    texts = ["Bananas are yellow.", "Paris is the capital of France."]
    ranked = docker_model.rerank("ai/ranker", "capital of France", texts)
    assert ranked[0].index == 1
    assert await docker_model.arerank("ai/ranker", "capital of France", texts) == ranked


def test_a_reply_that_is_not_json_is_an_error(simulate):
    simulate(replies={"GET /engines/ps": Reply(200, "<p>Welcome</p>", "text/html")})
    with pytest.raises(GenerationError, match="the reply to GET /engines/ps is not JSON") as caught:
        management.list_running(transport="http")
    assert "MODEL_RUNNER_HOST" in caught.value.hint


def test_a_runner_that_has_stopped_is_named_by_its_address():
    with SimulatedDocker() as docker:
        assert len(management.list_models(base_url=docker.url)) == 1
    with pytest.raises(RunnerUnavailableError, match=docker.url):
        management.list_models(base_url=docker.url)
