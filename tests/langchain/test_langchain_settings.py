"""Fields, copies, secrets, cache keys and traces: nothing here starts a process but the cache."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.exceptions import ModelInvalidRequestError
from langchain_core.load import dumps
from langchain_core.runnables import ConfigurableField
from pydantic import ValidationError

import docker_model
import langchain_docker_model
from docker_model import InvalidRequestError, Timeouts, UnsupportedParameterError
from langchain_docker_model import DockerModelLLM

SECRET = "s3cr3t-value"


def progress(step):
    """A module-level function, so that it pickles."""


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
    )


def settings(llm: DockerModelLLM) -> docker_model.DockerModel:
    """What a call would be made with."""
    return llm._docker_model({})


# --- Construction ---


def test_the_package_exports():
    assert sorted(langchain_docker_model.__all__) == [
        "ChatDockerModel",
        "DockerModelEmbeddings",
        "DockerModelLLM",
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
    )


@pytest.mark.parametrize("stop", [None, [], "END", ["END", "STOP"], ("END",)])
def test_stop_takes_the_forms_that_langchain_and_docker_model_have(stop):
    llm = DockerModelLLM(model="ai/smollm2", stop=stop)
    assert settings(llm) == docker_model.DockerModel("ai/smollm2", stop=stop or ())


@pytest.mark.parametrize("timeout", [5, 5.0, None, Timeouts(idle=1)])
def test_timeout_takes_the_forms_that_docker_model_has(timeout):
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
        {"on_progress": "no function"},
    ],
    ids=str,
)
def test_what_is_wrong_is_refused_at_construction(wrong):
    with pytest.raises(ValidationError):
        DockerModelLLM(**{"model": "ai/smollm2"} | wrong)


@pytest.mark.parametrize(
    "name",
    ["temperature", "max_tokens", "top_p", "top_k", "seed", "num_predict", "tools", "base_url"],
)
def test_what_the_cli_cannot_honour_is_refused_at_construction(name):
    with pytest.raises(UnsupportedParameterError, match=name) as caught:
        DockerModelLLM(model="ai/smollm2", **{name: 1})
    assert isinstance(caught.value, ModelInvalidRequestError)
    assert "HTTP" in str(caught.value)


def test_a_limit_in_tokens_points_to_the_limit_in_characters():
    with pytest.raises(UnsupportedParameterError, match="max_chars"):
        DockerModelLLM(model="ai/smollm2", max_tokens=100)


def test_importing_and_constructing_starts_nothing():
    code = """
import sys, threading
started = []
sys.addaudithook(lambda event, args: started.append(event) if event in {
    "subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec", "socket.connect"} else None)
from langchain_docker_model import DockerModelLLM
DockerModelLLM(model="ai/smollm2", standby=2, pull="missing")
assert not started, started
assert threading.active_count() == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)


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


def test_changed_copies_and_assignments_are_never_stale():
    llm = full()
    assert llm._serialized  # whatever could be kept is kept now
    changed = llm.model_copy(update={"model": "ai/other"})
    assert settings(changed).model == "ai/other"
    assert "ai/other" in changed._serialized["repr"]
    llm.max_chars = 7
    assert settings(llm).max_chars == 7
    assert llm._identifying_params["max_chars"] == 7


# --- Secrets ---


def test_env_and_on_progress_stay_out_of_everything_shown():
    llm = full()
    shown = [
        repr(llm),
        str(llm),
        dumps(llm),
        repr(llm._serialized),
        llm.model_dump_json(),
        repr(llm._identifying_params),
        repr(llm.asdict()),
        repr(llm._get_ls_params()),
    ]
    for text in shown:
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
    }
    assert full().asdict()["_type"] == "docker_model" == full()._llm_type


def test_langsmith_params():
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


def test_counting_tokens_needs_a_tokenizer_and_says_so():
    llm = DockerModelLLM(model="ai/smollm2")
    with warnings.catch_warnings(), pytest.raises(NotImplementedError, match="approximately"):
        llm.get_num_tokens("three small words")


def test_counting_tokens_with_the_users_tokenizer():
    llm = DockerModelLLM(
        model="ai/smollm2", custom_get_token_ids=lambda text: [len(word) for word in text.split()]
    )
    assert llm.get_num_tokens("three small words") == 3


# --- Settings of a call, and the cache ---


@pytest.fixture
def llm(docker):
    return DockerModelLLM(model="ai/smollm2", cache=InMemoryCache())


@pytest.mark.parametrize("name", ["temperature", "foo"])
async def test_what_cannot_be_honoured_is_refused_by_every_call(llm, name):
    llm.invoke("hi")  # it would be in the cache
    calls = [
        lambda: llm.invoke("hi", **{name: 1}),
        lambda: llm.batch(["hi"], **{name: 1}),
        lambda: list(llm.stream("hi", **{name: 1})),
        lambda: list(llm.bind(**{name: 1}).stream("hi")),
        lambda: llm._call("hi", **{name: 1}),
        lambda: list(llm._stream("hi", **{name: 1})),
    ]
    for call in calls:
        with pytest.raises(UnsupportedParameterError, match=name) as caught:
            call()
        assert isinstance(caught.value, ModelInvalidRequestError)
    with pytest.raises(UnsupportedParameterError, match=name):
        await llm.ainvoke("hi", **{name: 1})
    with pytest.raises(UnsupportedParameterError, match=name):
        _ = [piece async for piece in llm.astream("hi", **{name: 1})]


async def test_a_bad_setting_of_a_call_is_an_invalid_request(llm):
    with pytest.raises(InvalidRequestError) as caught:
        llm.invoke("hi", max_chars=-1)
    assert isinstance(caught.value, ModelInvalidRequestError)
    with pytest.raises(InvalidRequestError):
        _ = [piece async for piece in llm.astream("hi", max_chars=-1)]


async def test_a_calls_own_settings_take_the_place_of_the_models(llm):
    whole = llm.invoke("hi")
    assert llm.invoke("hi", max_chars=3) == whole[:3]
    assert await llm.ainvoke("hi", max_chars=4) == whole[:4]
    assert "".join(llm.stream("hi", max_chars=5)) == whole[:5]
    assert "".join([piece async for piece in llm.astream("hi", max_chars=6)]) == whole[:6]
    assert llm.bind(max_chars=2).batch(["hi", "ho"]) == [whole[:2], whole[:2]]
    assert llm._call("hi", max_chars=1) == whole[:1]
    assert llm.max_chars is None


async def test_a_configurable_field(docker):
    llm = DockerModelLLM(model="ai/smollm2", env={"A": "b"}).configurable_fields(
        max_chars=ConfigurableField(id="length")
    )
    whole = llm.invoke("hi")
    configured = llm.with_config(configurable={"length": 3})
    assert configured.invoke("hi") == whole[:3]
    assert await configured.ainvoke("hi") == whole[:3]


def test_the_cache_answers_a_second_time(llm, docker):
    assert llm.invoke("hi") == llm.invoke("hi")
    assert len(docker.prompts) == 1


@pytest.mark.parametrize(
    "other",
    [{"model": "ai/other"}, {"stop": ["i"]}, {"max_chars": 3}, {"file_references": "allow"}],
    ids=str,
)
def test_the_cache_tells_models_and_settings_apart(llm, docker, other):
    """Fields, settings of a call and bound ones alike."""
    llm.invoke("hi")
    DockerModelLLM(model="ai/smollm2", cache=llm.cache).invoke("hi")
    assert len(docker.prompts) == 1
    llm.model_copy(update=other).invoke("hi")
    assert len(docker.prompts) == 2
    again = InMemoryCache()
    llm.cache = again
    llm.invoke("hi")
    llm.invoke("hi", **other)
    assert len(docker.prompts) == 4
    llm.bind(**other).invoke("hi")
    assert len(docker.prompts) == 4


def test_the_cache_keeps_a_models_stop_and_a_calls_apart(llm, docker):
    llm.stop = ["said"]
    first = llm.invoke("hi")
    llm.stop = ["You"]
    assert llm.invoke("hi") != first
