"""Fields, copies, secrets, cache keys and traces; only the cache test starts a process."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
from langchain_core.exceptions import ModelInvalidRequestError
from langchain_core.language_models import LLM
from langchain_core.load import dumps
from langchain_core.load.serializable import Serializable
from pydantic import Field, ValidationError, computed_field

import docker_model
import langchain_docker_model
from docker_model import Timeouts, UnsupportedParameterError
from langchain_docker_model import ChatDockerModel, DockerModelLLM

SECRET = "s3cr3t-value"


LLM_SETTINGS = DockerModelLLM.model_fields.keys() - LLM.model_fields.keys()


def progress(step):
    """Do nothing: a module-level function, which can be pickled."""


def full() -> DockerModelLLM:
    return DockerModelLLM(
        model="ai/smollm2",
        stop=["END"],
        max_chars=100,
        timeout=Timeouts(total=9),
        max_concurrency=3,
        pull="missing",
        on_progress=progress,
        file_references="refuse",
        standby=0,
        command=("docker", "-c", "gpu", "model"),
        env={"TOKEN": SECRET},
        transport="http",
        base_url="http://localhost:12434",
        api_key=SECRET,
    )


def settings(llm: DockerModelLLM) -> docker_model.DockerModel:
    """Return the settings that a call would use."""
    return llm._docker_model({})


# --- Construction ---


def test_the_package_exports_its_public_names():
    assert sorted(langchain_docker_model.__all__) == [
        "ChatDockerModel",
        "DockerModelEmbeddings",
        "DockerModelLLM",
        "DockerModelRerank",
        "__version__",
    ]
    assert langchain_docker_model.__version__ == docker_model.__version__


def test_the_defaults_are_those_of_docker_model():
    assert settings(DockerModelLLM(model="ai/smollm2")) == docker_model.DockerModel("ai/smollm2")


def test_every_setting_of_docker_model_is_a_field():
    assert settings(full()) == docker_model.DockerModel(
        "ai/smollm2",
        stop=["END"],
        max_chars=100,
        timeout=Timeouts(total=9),
        max_concurrency=3,
        pull="missing",
        on_progress=progress,
        file_references="refuse",
        standby=0,
        command=("docker", "-c", "gpu", "model"),
        env={"TOKEN": SECRET},
        transport="http",
        base_url="http://localhost:12434",
        api_key=SECRET,
    )
    chats = ChatDockerModel.model_fields.keys() - LLM_SETTINGS  # such as temperature
    assert docker_model.DockerModel.__dataclass_fields__.keys() - chats == LLM_SETTINGS


@pytest.mark.parametrize("stop", [None, [], "END", ["END", "STOP"], ("END",)])
def test_stop_accepts_a_text_or_a_sequence(stop):
    llm = DockerModelLLM(model="ai/smollm2", stop=stop)
    assert settings(llm) == docker_model.DockerModel("ai/smollm2", stop=stop or ())


@pytest.mark.parametrize("timeout", [5, 5.0, None, Timeouts(idle=1)])
def test_timeout_accepts_the_forms_of_docker_model(timeout):
    llm = DockerModelLLM(model="ai/smollm2", timeout=timeout)
    assert settings(llm).timeout == Timeouts.of(timeout)


@pytest.mark.parametrize(
    "wrong",
    [
        {"modle": "ai/smollm2"},
        {"model": "-rf"},
        {"model": "a b"},
        {"model": None},
        {"max_chars": -1},
        {"max_concurrency": 0},
        {"timeout": -1},
        {"pull": "always"},
        {"file_references": "ignore"},
        {"standby": -1},
        {"command": 7},
        {"env": {"A": 1}},
        {"transport": "pigeon"},
        {"base_url": "ftp://x"},
        {"on_progress": "no function"},
    ],
    ids=str,
)
def test_an_invalid_setting_is_refused_at_construction(wrong):
    with pytest.raises(ValidationError):
        DockerModelLLM(**{"model": "ai/smollm2"} | wrong)


@pytest.mark.parametrize(
    "name",
    ["temperature", "max_tokens", "top_p", "top_k", "seed", "num_predict", "tools"],
)
def test_sampling_parameters_are_refused_at_construction(name):
    with pytest.raises(UnsupportedParameterError, match=name) as caught:
        DockerModelLLM(model="ai/smollm2", **{name: 1})
    assert isinstance(caught.value, ModelInvalidRequestError)
    assert "HTTP" in str(caught.value)


def test_a_subclass_can_add_fields(docker):
    class WithField(DockerModelLLM):
        system: str = ""

        def _generate(self, prompts, *args, **kwargs):
            return super()._generate(
                [f"{self.system} {prompt}" for prompt in prompts], *args, **kwargs
            )

    polite = WithField(model="ai/smollm2", system="Please.")
    assert polite.invoke("hi") == "You said: Please. hi"
    assert polite.invoke("hi", system="Now.") == "You said: Now. hi"
    with pytest.raises(UnsupportedParameterError):
        WithField(model="ai/smollm2", temperature=1)


@pytest.mark.parametrize("given", [{"base_url": "http://x"}, {"api_key": SECRET}], ids=list)
def test_transport_cli_refuses_an_address_and_a_key(given):
    with pytest.raises(UnsupportedParameterError, match=next(iter(given))):
        DockerModelLLM(model="ai/smollm2", transport="cli", **given)
    llm = DockerModelLLM(model="ai/smollm2", **given)
    with pytest.raises(UnsupportedParameterError, match=next(iter(given))):
        llm.invoke("hi", transport="cli")


def test_max_tokens_is_refused_and_points_to_max_chars():
    with pytest.raises(UnsupportedParameterError, match="max_chars"):
        DockerModelLLM(model="ai/smollm2", max_tokens=100)


# --- Copies ---


COPIES = {
    "pickle": lambda llm: pickle.loads(pickle.dumps(llm)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda llm: llm.model_copy(),
    "model_copy(deep)": lambda llm: llm.model_copy(deep=True),
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_keep_every_setting(how):
    llm = full()
    duplicate = COPIES[how](llm)
    assert duplicate == llm
    assert settings(duplicate) == settings(llm)
    duplicate.model = "ai/other"
    assert settings(duplicate).model == "ai/other"
    assert settings(llm).model == "ai/smollm2"


def test_changed_copies_and_assignments_take_effect():
    llm = full()
    assert llm._serialized  # fills every cache
    changed = llm.model_copy(update={"model": "ai/other"})
    assert settings(changed).model == "ai/other"
    assert "ai/other" in changed._serialized["repr"]
    llm.max_chars = 7
    assert settings(llm).max_chars == 7
    assert llm._identifying_params["max_chars"] == 7


class Own(DockerModelLLM):
    """A class of a user."""

    colour: str = "blue"
    sizes: list[int] = Field(default_factory=list)

    @computed_field
    @property
    def shade(self) -> str:
        return f"dark {self.colour}"


@pytest.mark.parametrize(
    "llm",
    [
        DockerModelLLM(model="ai/smollm2"),
        full(),
        Own(model="ai/smollm2"),
        Own(model="ai/smollm2", colour="red", sizes=[1], tags=["a"], metadata={"b": 1}),
        ChatDockerModel(model="ai/smollm2"),
        ChatDockerModel(model="ai/smollm2", temperature=0, stop=["END"], extra_body={"a": 1}),
    ],
)
def test_repr_equals_that_of_core(llm):
    assert llm.__repr_args__() == Serializable.__repr_args__(llm)
    assert llm._serialized["repr"] == repr(llm)


# --- Secrets ---


def test_env_and_on_progress_are_never_shown():
    llm = full()
    texts = [
        repr(llm),
        str(llm),
        dumps(llm),
        repr(llm._serialized),
        llm.model_dump_json(),
        repr(llm._identifying_params),
        repr(llm.asdict()),
        repr(llm._get_ls_params()),
    ]
    for text in texts:
        assert SECRET not in text
        assert "TOKEN" not in text
        assert "progress" not in text


def test_an_error_at_construction_shows_no_env():
    with pytest.raises(ValidationError) as caught:
        DockerModelLLM(model="-rf", env={"TOKEN": SECRET})
    assert SECRET not in str(caught.value)
    with pytest.raises(UnsupportedParameterError) as caught:
        DockerModelLLM(model="ai/smollm2", temperature=1, env={"TOKEN": SECRET})
    assert SECRET not in str(caught.value)


# --- Identity ---


def test_identifying_params_hold_what_changes_the_answer_and_no_more():
    assert full()._identifying_params == {
        "model": "ai/smollm2",
        "stop_sequences": ["END"],
        "max_chars": 100,
        "file_references": "refuse",
        "command": ("docker", "-c", "gpu", "model"),
        "transport": "http",
        "base_url": "http://localhost:12434",
    }
    assert full().asdict()["_type"] == "docker_model" == full()._llm_type


def test_langsmith_parameters_contain_the_model():
    llm = DockerModelLLM(model="ai/smollm2", stop="END")
    assert llm._get_ls_params() == {
        "ls_provider": "docker_model",
        "ls_model_type": "llm",
        "ls_model_name": "ai/smollm2",
        "ls_stop": ["END"],
    }
    called = llm._get_ls_params(stop=["X"], model="ai/other")
    assert called["ls_stop"] == ["X"]
    assert called["ls_model_name"] == "ai/other"
    assert "ls_stop" not in DockerModelLLM(model="ai/smollm2")._get_ls_params()


def test_traces_name_the_version():
    versions = DockerModelLLM(model="ai/smollm2", metadata={"a": 1}).metadata["lc_versions"]
    assert versions["docker-model-llm"] == langchain_docker_model.__version__
    assert "langchain-core" in versions


# --- Token counting ---


def test_counting_tokens_over_the_cli_is_an_error():
    llm = DockerModelLLM(model="ai/smollm2", transport="cli")
    with pytest.raises(UnsupportedParameterError) as caught:
        llm.get_num_tokens("three small words")
    assert "HTTP" in caught.value.hint


def test_the_runner_sends_no_token_ids():
    with warnings.catch_warnings(), pytest.raises(NotImplementedError, match="get_num_tokens"):
        DockerModelLLM(model="ai/smollm2").get_token_ids("three small words")


def test_counting_tokens_uses_the_tokenizer_of_the_user():
    llm = DockerModelLLM(
        model="ai/smollm2", custom_get_token_ids=lambda text: [len(word) for word in text.split()]
    )
    assert llm.get_num_tokens("three small words") == 3


@pytest.mark.parametrize("transport", [None, "http"])
def test_token_counts_equal_those_of_the_engine(docker, transport):
    llm = DockerModelLLM(model="ai/smollm2", transport="http")
    used = llm.generate(["three small words"]).llm_output["token_usage"]
    counting = DockerModelLLM(model="ai/smollm2", transport=transport)
    assert counting.get_num_tokens("three small words") == used["prompt_tokens"]
    assert counting.get_num_tokens("") == 0
    assert docker.calls == []
