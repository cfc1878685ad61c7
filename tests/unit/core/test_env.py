"""`from_env`: the order of the variables, and the accepted forms of an address."""

import pytest
from langchain_core.exceptions import ModelInvalidRequestError

import langchain_docker_model
import llama_index_docker_model
from docker_model import DockerModel, Timeouts, from_env
from docker_model.errors import InvalidRequestError

NAMES = (
    "LLM_MODEL",
    "LLM_URL",
    "MODEL_RUNNER_MODEL",
    "MODEL_RUNNER_URL",
    "DEFAULT_MODEL",
    "USE_MODEL_RUNNER",
    "MODEL_RUNNER_TYPE",
    "LOCAL_MODEL_TIMEOUT",
)


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    """Return a function that sets variables; at first all are unset."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    return lambda **values: [monkeypatch.setenv(name, value) for name, value in values.items()]


def test_the_name_of_the_model_is_read_in_order(variables):
    variables(DEFAULT_MODEL="c")
    assert from_env() == DockerModel("c")
    variables(MODEL_RUNNER_MODEL="b")
    assert from_env().model == "b"
    variables(LLM_MODEL=" a ")
    assert from_env().model == "a"
    variables(LLM_MODEL="", MODEL_RUNNER_MODEL=" ")
    assert from_env().model == "c"


def test_prefix_and_name_are_joined(variables):
    variables(EMBEDDING_MODEL_MODEL="ai/embed", EMBEDDING_MODEL_URL="http://h:1/")
    model = from_env("embedding-model")
    assert model.model == "ai/embed"
    assert model.env == {"MODEL_RUNNER_HOST": "http://h:1"}


def test_a_missing_model_name_lists_the_variables_to_set():
    with pytest.raises(InvalidRequestError, match="LLM_MODEL, MODEL_RUNNER_MODEL, DEFAULT_MODEL"):
        from_env()


def test_arguments_take_precedence_over_variables(variables):
    variables(LLM_MODEL="a", LLM_URL="http://h:1", LOCAL_MODEL_TIMEOUT="60000")
    own = {"MODEL_RUNNER_HOST": "http://mine:2", "OTHER": "x"}
    model = from_env(model="mine", timeout=5.0, env=own, stop="END", max_chars=9)
    assert model == DockerModel("mine", timeout=5.0, env=own, stop="END", max_chars=9)
    assert from_env(env={"OTHER": "x"}).env == {"MODEL_RUNNER_HOST": "http://h:1", "OTHER": "x"}


def test_variables_are_read_from_env_too():
    model = from_env(env={"LLM_MODEL": "a", "LLM_URL": "http://h:1"})
    assert model.model == "a"
    assert model.env["MODEL_RUNNER_HOST"] == "http://h:1"


def test_an_unknown_setting_is_a_type_error(variables):
    variables(LLM_MODEL="a")
    with pytest.raises(TypeError):
        from_env(temperatur=0.1)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("http://model-runner.docker.internal/engines/v1/", "http://model-runner.docker.internal"),
        ("http://localhost:12434", "http://localhost:12434"),
        ("http://localhost:12434/engines/llama.cpp/v1", "http://localhost:12434"),
        ("http://localhost:12434/engines/v1/chat/completions", "http://localhost:12434"),
        ("https://runner.example:12444/v1/", "https://runner.example:12444"),
        ("localhost:12434", "http://localhost:12434"),
        ("localhost:12434/v1", "http://localhost:12434"),
        ("tcp://172.17.0.1:12434", "http://172.17.0.1:12434"),
        ("http://[::1]:12434/v1", "http://[::1]:12434"),
        (" http://h:1/ ", "http://h:1"),
    ],
)
@pytest.mark.parametrize("name", ["LLM_URL", "MODEL_RUNNER_URL"])
def test_every_spelling_of_an_address_is_accepted(variables, name, address, host):
    variables(LLM_MODEL="a", **{name: address})
    assert from_env().env == {"MODEL_RUNNER_HOST": host}


def test_llm_url_takes_precedence_over_the_common_variables(variables):
    variables(LLM_MODEL="a", LLM_URL="http://own:1", MODEL_RUNNER_URL="http://common:1")
    assert from_env().env["MODEL_RUNNER_HOST"] == "http://own:1"


@pytest.mark.parametrize(
    "address",
    ["http://secret:port/", "http://:12434/", "ftp://secret/", "http://[secret", "//", "unix:///s"],
)
def test_an_invalid_address_is_refused_and_not_repeated(variables, address):
    variables(LLM_MODEL="a", LLM_URL=address)
    with pytest.raises(InvalidRequestError, match="LLM_URL") as caught:
        from_env()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["false", "0", "no", "OFF", "False"])
def test_use_model_runner_false_is_refused(variables, value):
    variables(LLM_MODEL="a", USE_MODEL_RUNNER=value)
    with pytest.raises(InvalidRequestError, match="USE_MODEL_RUNNER"):
        from_env()


@pytest.mark.parametrize("value", ["true", "1", "YES", "on", "", " "])
def test_use_model_runner_true_is_accepted(variables, value):
    variables(LLM_MODEL="a", USE_MODEL_RUNNER=value, MODEL_RUNNER_TYPE="CLI")
    assert from_env() == DockerModel("a")


def test_invalid_switches_are_refused(variables):
    variables(LLM_MODEL="a", USE_MODEL_RUNNER="maybe")
    with pytest.raises(InvalidRequestError, match="must be true or false"):
        from_env()
    variables(USE_MODEL_RUNNER="true", MODEL_RUNNER_TYPE="carrier pigeon")
    with pytest.raises(InvalidRequestError, match="MODEL_RUNNER_TYPE"):
        from_env()


@pytest.mark.parametrize("value", ["api", "HTTP"])
def test_http_transport_keeps_the_address_unchanged(variables, value):
    variables(LLM_MODEL="a", MODEL_RUNNER_TYPE=value)
    assert from_env() == DockerModel("a", transport="http")
    variables(LLM_URL="http://h:1/engines/v1/")
    assert from_env() == DockerModel("a", transport="http", base_url="http://h:1/engines/v1/")
    assert from_env(base_url="h:2").base_url == "h:2"
    assert from_env(transport="cli").env == {"MODEL_RUNNER_HOST": "http://h:1"}


def test_timeout_is_read_in_milliseconds(variables):
    variables(LLM_MODEL="a", LOCAL_MODEL_TIMEOUT="60000")
    assert from_env().timeout == Timeouts(total=60.0)


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan"])
def test_an_invalid_timeout_is_refused(variables, value):
    variables(LLM_MODEL="a", LOCAL_MODEL_TIMEOUT=value)
    with pytest.raises(InvalidRequestError, match="LOCAL_MODEL_TIMEOUT"):
        from_env()


def test_a_model_from_the_environment_answers(docker, variables):
    variables(LLM_MODEL="ai/smollm2", LLM_URL=f"{docker.url}/engines/v1/")
    assert from_env(env={}).generate("Hi").text == "You said: Hi"


# --- The adapters' classes ---

MAKERS = [
    langchain_docker_model.DockerModelLLM,
    langchain_docker_model.ChatDockerModel,
    langchain_docker_model.DockerModelEmbeddings,
    llama_index_docker_model.DockerModelLLM,
    llama_index_docker_model.DockerModelEmbedding,
]
every_class = pytest.mark.parametrize("made", MAKERS, ids=lambda made: made.__module__)


def name_of(model):
    return "model_name" if "model_name" in type(model).model_fields else "model"


@every_class
def test_each_class_is_created_from_the_environment(made, variables):
    variables(MINE_MODEL="a", MINE_URL="http://h:1/engines/v1", LOCAL_MODEL_TIMEOUT="5000")
    model = made.from_env("mine", command="podman model")
    assert type(model) is made
    assert getattr(model, name_of(model)) == "a"
    assert model.env == {"MODEL_RUNNER_HOST": "http://h:1"}
    assert (model.timeout, model.command) == (Timeouts(total=5.0), "podman model")
    assert getattr(made.from_env(**{name_of(model): "b"}), name_of(model)) == "b"
    variables(MODEL_RUNNER_TYPE="api")
    model = made.from_env("mine")
    assert (model.transport, model.base_url) == ("http", "http://h:1/engines/v1")


@every_class
def test_a_class_without_a_model_name_is_refused(made):
    with pytest.raises(InvalidRequestError, match="MINE_MODEL, MODEL_RUNNER_MODEL") as caught:
        made.from_env("mine")
    if made.__module__.startswith("langchain"):
        assert isinstance(caught.value, ModelInvalidRequestError)
