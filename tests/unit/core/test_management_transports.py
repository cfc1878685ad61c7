"""Discovery and care by the command and over HTTP: one code for what both return."""

import inspect

import pytest

import docker_model
from docker_model import (
    DockerModel,
    DockerNotFoundError,
    GenerationError,
    InvalidRequestError,
    ModelConfiguration,
    ModelNotFoundError,
    PluginNotFoundError,
    RunnerUnavailableError,
    UnsupportedParameterError,
    management,
)
from docker_model.testing import Downloaded, Pulled, Reply, SimulatedDocker, SimulatedModel


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


def test_both_ways_tell_the_same(docker):
    management.configure_model("ai/smollm2", context_size=1024)
    for ask in (management.list_models, management.list_running):
        assert ask(transport="cli") == ask(transport="http")
    for ask in (management.inspect_model, management.model_configuration):
        assert ask("ai/smollm2", transport="cli") == ask("ai/smollm2", transport="http")
    assert management.inspect_model("ai/smollm2").context_size == 1024


def test_what_was_learned_is_known_without_a_request(docker, transport):
    def known(**settings):
        found = management.known_model("ai/smollm2", **settings)
        return found and found.context_size

    assert known() is None
    management.inspect_model("ai/smollm2", transport=transport)
    asked = len(docker.calls), len(docker.requests)
    assert known() == known(transport=transport) == 2048
    assert known(transport="http" if transport == "cli" else "cli") is None
    assert known(base_url="http://127.0.0.1:1") is known(command="other model") is None
    assert (len(docker.calls), len(docker.requests)) == asked
    management.configure_model("ai/smollm2", context_size=1024, transport=transport)
    assert known() is None
    management.inspect_model("ai/smollm2", transport=transport)
    assert known() == 1024


def test_the_command_learns_the_window_by_a_call_and_by_warming_up(docker):
    def known():
        return management.known_model("ai/smollm2", transport="cli").context_size

    management.configure_model("ai/smollm2", context_size=1024)
    DockerModel("ai/smollm2").generate("Hi")
    assert known() == 2048  # as it was packaged
    DockerModel("ai/smollm2").warm_up()
    assert known() == 1024
    DockerModel("ai/smollm2").generate("Hi")
    assert known() == 1024


def test_disk_usage(docker, transport):
    assert management.disk_usage(transport=transport).models > 1_000_000


def test_a_missing_model_is_told_from_similar_ones(simulate, transport):
    simulate(["ai/smollm2:360M-Q4_K_M", "ai/qwen3", "hf.co/org/SmolLM2-1.7B:Q8_0"])
    for name, said in (
        ("ai/smollm2", "but 'ai/smollm2:360M-Q4_K_M' is"),
        ("ai/smolm2", "did you mean 'ai/smollm2:360M-Q4_K_M'"),
        ("ai/qwen-3", "did you mean 'ai/qwen3'"),
    ):
        with pytest.raises(ModelNotFoundError) as caught:
            management.inspect_model(name, transport=transport)
        assert said in str(caught.value)
        assert f"docker model pull {name}" in caught.value.hint


def test_what_changes_a_model(docker, transport):
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


def test_tagging_and_removing(docker, transport):
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


def test_loading_and_unloading(docker, transport):
    assert management.list_running(transport=transport) == []
    management.preload_model("ai/smollm2", transport=transport)
    assert [one.name for one in management.list_running(transport=transport)] == ["ai/smollm2"]
    management.unload_model("ai/smollm2", transport=transport)
    assert management.list_running(transport=transport) == []


def test_pulling_with_progress_and_a_token(simulate, transport):
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


def test_a_failed_pull_is_an_error(simulate, transport):
    simulate([])
    with pytest.raises(ModelNotFoundError, match="no model"):
        management.pull_model("ai/nothing", transport=transport)


def test_status_over_http(docker):
    status = management.status(transport="http")
    assert status.running
    assert status.backends["llama.cpp"].startswith("Running")
    assert status.endpoint.endswith("/engines/v1")
    assert status.command == ()


def test_status_of_nothing_says_what_to_do():
    status = management.status(base_url="http://127.0.0.1:9")
    assert not status.running
    assert "Hint:" in status.problem


@pytest.mark.simulated
@pytest.mark.parametrize("how", ["no-docker", "no-plugin"])
async def test_without_a_command_http_answers(how):
    with SimulatedDocker.broken(how):
        assert management.list_models() == await management.alist_models()
        assert management.status().running
        with pytest.raises((DockerNotFoundError, PluginNotFoundError)):
            management.list_models(transport="cli")
        with pytest.raises(DockerNotFoundError):
            management.list_models(command="/nowhere/docker model")


def test_without_a_command_and_http_the_command_is_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("MODEL_RUNNER_HOST", "http://127.0.0.1:9")
    monkeypatch.delenv("DOCKER_MODEL_COMMAND", raising=False)
    with pytest.raises(DockerNotFoundError):
        management.list_models()


def test_an_address_means_http(docker):
    assert management.list_models(base_url=docker.url) == management.list_models(transport="http")
    assert not docker.calls
    with pytest.raises(RunnerUnavailableError):
        management.list_models(base_url="http://127.0.0.1:9")
    with pytest.raises(UnsupportedParameterError, match="base_url"):
        management.list_models(base_url=docker.url, transport="cli")
    with pytest.raises(InvalidRequestError, match="transport"):
        management.list_models(transport="grpc")


def test_a_model_in_use_is_not_configured(simulate, transport):
    simulate(replies={"POST /engines/_configure": Reply(409, "runner already active\n")})
    with pytest.raises(GenerationError, match="docker model ps") as caught:
        management.configure_model("ai/smollm2", context_size=512, transport=transport)
    assert "answering a request" in caught.value.message


def test_the_command_alone_searches(docker):
    for settings in ({"transport": "http"}, {"base_url": docker.url}):
        with pytest.raises(UnsupportedParameterError, match="cannot search") as caught:
            management.search_models("smol", **settings)
        assert "docker model search" in caught.value.hint
    for bad in ({"limit": 0}, {"term": 5}, {"term": "a\0"}):
        with pytest.raises(InvalidRequestError):
            management.search_models(**{"term": "a", **bad})


@pytest.mark.parametrize("name", [name for name in management.__all__ if name[0] != "a"])
def test_twins_have_one_signature_and_the_same_documentation(name):
    plain, awaited = getattr(management, name), getattr(management, f"a{name}")
    assert getattr(docker_model, name) is plain
    assert inspect.iscoroutinefunction(awaited)
    assert not inspect.iscoroutinefunction(plain)
    assert (plain.__name__, awaited.__name__) == (name, f"a{name}")
    parameters = inspect.signature(plain).parameters
    assert parameters == inspect.signature(awaited).parameters
    assert {"command", "env", "timeout", "base_url"} <= set(parameters)
    assert plain.__doc__


async def test_ranking_at_the_top(simulate):
    simulate([SimulatedModel("ai/ranker", kind="reranker")])
    texts = ["Bananas are yellow.", "Paris is the capital of France."]
    ranked = docker_model.rerank("ai/ranker", "capital of France", texts)
    assert ranked[0].index == 1
    assert await docker_model.arerank("ai/ranker", "capital of France", texts) == ranked
