"""The fields of `ChatDockerModel`: validation, secrets, traces and cache keys."""

from __future__ import annotations

import inspect
import pickle

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumps
from pydantic import SecretStr, ValidationError

from docker_model import Timeouts
from langchain_docker_model import ChatDockerModel
from langchain_docker_model.errors import InvalidRequestError, UnsupportedParameterError
from tests.unit.langchain.chat.modes import NOWHERE
from tests.unit.langchain.chat.scripted_model import bodies


@pytest.mark.parametrize(
    "settings",
    [
        {"temprature": 0},
        {"model": "-rm"},
        {"transport": "carrier pigeon"},
        {"max_retries": -1},
        {"timeout": -1},
        {"base_url": "ftp://x"},
        {"base_url": "http://ann:sesame@localhost:1/v1"},
    ],
)
def test_an_invalid_setting_is_refused(settings):
    with pytest.raises(ValidationError) as caught:
        ChatDockerModel(**{"model": "ai/smollm2", "headers": {"X": "sesame"}} | settings)
    assert "sesame" not in str(caught.value)


def test_an_invalid_timeout_gives_a_single_error():
    with pytest.raises(ValidationError) as caught:
        ChatDockerModel(model="ai/smollm2", timeout="soon")
    assert caught.value.error_count() == 1


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("temprature", "temperature"),
        ("num_ctx", "context_size"),
        ("num_predict", "max_tokens"),
        ("max_completion_tokens", "max_tokens"),
        ("model_name", "model"),
        ("request_timeout", "timeout"),
        ("openai_api_base", "base_url"),
        ("default_headers", "headers"),
        ("reasoning", "thinking"),
        ("format", "response_format"),
    ],
)
def test_a_setting_with_another_name_is_refused_with_the_name_used_here(name, meant):
    with pytest.raises(ValidationError, match=rf"{name}(?s:.*)\b{meant}\b"):
        ChatDockerModel(model="ai/smollm2", **{name: 1})


def test_every_setting_has_a_description_and_is_in_the_signature():
    fields = ChatDockerModel.model_fields.keys() - BaseChatModel.model_fields.keys()
    assert all(ChatDockerModel.model_fields[name].description for name in fields)
    assert fields <= inspect.signature(ChatDockerModel).parameters.keys()


@pytest.mark.parametrize("name", ["api_key", "base_url", "headers"])
def test_transport_cli_refuses_an_address_and_a_key(name):
    settings = {name: {"X": "y"} if name == "headers" else NOWHERE}
    with pytest.raises(UnsupportedParameterError, match=name):
        ChatDockerModel(model="ai/smollm2", transport="cli", **settings)
    chat = ChatDockerModel(model="ai/smollm2", **settings)
    chat.transport = "cli"
    with pytest.raises(UnsupportedParameterError, match=name):
        chat.invoke("Hi.")


@pytest.mark.parametrize("name", ["temprature", "api_key", "base_url", "env"])
def test_unknown_keywords_of_a_call_are_refused(ask, name):
    chat, _ = ask()
    with pytest.raises(InvalidRequestError, match=f"{name}(?s:.*)Hint: "):
        chat.invoke("Hi.", **{name: "x"})


def test_secrets_are_never_shown():
    secrets = {
        "api_key": "sesame1",
        "headers": {"X-Key": "sesame2"},
        "env": {"TOKEN": "sesame3"},
    }
    chat = ChatDockerModel(model="ai/smollm2", **secrets)
    text = f"{chat._identifying_params} {chat._get_llm_string()} {chat._get_ls_params()}"
    assert "sesame" not in f"{text} {chat!r} {chat} {dumps(chat)} {chat.model_dump()}"


def test_pickling_keeps_the_secrets(ask):
    chat, docker = ask({"content": "Hello."}, api_key="sesame", env={"A": "b"}, temperature=0)
    copy = pickle.loads(pickle.dumps(chat))
    assert (copy.api_key, copy.env, copy.temperature) == (SecretStr("sesame"), {"A": "b"}, 0)
    assert copy.invoke("Hi.").content == "Hello."
    assert docker.requests[-1].headers["authorization"] == "Bearer sesame"


def test_settings_that_change_the_answer_change_the_cache_key(ask):
    cache = InMemoryCache()
    chat, docker = ask({"content": "Hello."}, cache=cache)
    changed = [{"model": "ai/other"}, {"stop": ["x"]}, {"temperature": 0}, {"seed": 1}]
    others = [chat.model_copy(update=update) for update in changed]
    for variant in (chat, *others, chat, *others):
        variant.invoke("Hi.")
    assert len(bodies(docker)) == 1 + len(others)


def test_langsmith_parameters_contain_the_model_and_the_settings():
    chat = ChatDockerModel(model="ai/smollm2", temperature=0.5, max_tokens=9, stop="END")
    params = chat._get_ls_params()
    assert params == {
        "ls_provider": "docker_model",
        "ls_model_type": "chat",
        "ls_model_name": "ai/smollm2",
        "ls_temperature": 0.5,
        "ls_max_tokens": 9,
        "ls_stop": ["END"],
    }
    params = chat._get_ls_params(stop=["x"], model="ai/other", temperature=0)
    chosen = (params["ls_model_name"], params["ls_temperature"], params["ls_stop"])
    assert chosen == ("ai/other", 0, ["x"])
    assert "docker-model-llm" in chat.metadata["lc_versions"]


def test_a_profile_can_be_given():
    profile = {"tool_calling": False}
    assert ChatDockerModel(model="ai/smollm2", profile=profile).profile == profile


def test_timeout_accepts_a_number_or_timeouts():
    timeouts = Timeouts(first_output=1)
    assert ChatDockerModel(model="ai/smollm2", timeout=timeouts).timeout == timeouts
    assert ChatDockerModel(model="ai/smollm2", timeout=5).timeout == 5
