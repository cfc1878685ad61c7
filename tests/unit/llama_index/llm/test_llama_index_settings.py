"""Construction, assignment, copies and pickles of `DockerModelLLM`."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor

import pytest
from llama_index.core.bridge.pydantic import ValidationError
from llama_index.core.callbacks import CallbackManager
from llama_index.core.extractors import TitleExtractor
from llama_index.core.ingestion import run_transformations
from llama_index.core.llms import LLM
from llama_index.core.schema import TextNode
from llama_index.core.types import PydanticProgramMode

import docker_model
from docker_model import DockerModel, Timeouts, UnsupportedParameterError
from docker_model.testing import SimulatedDocker
from llama_index_docker_model import DockerModelLLM
from tests.support.llama_index_modes import chat_of

SETTINGS = {
    "model": "ai/other",
    "stop": ["x", "y"],
    "max_chars": 100,
    "timeout": Timeouts(idle=7.0, total=70.0),
    "max_concurrency": 3,
    "pull": "missing",
    "file_references": "refuse",
    "standby": 1,
    "command": ["docker", "model"],
    "context_window": 8192,
    "num_output": 512,
    "is_chat_model": False,
    "is_function_calling_model": False,
    "system_prompt": "Be brief.",
    "pydantic_program_mode": PydanticProgramMode.LLM,
}


def shout(prompt):
    return prompt.upper()


def flatten(messages):
    return "|".join(message.content for message in messages)


def note(progress):
    pass


def settings_of(llm):
    return {name: getattr(llm, name) for name in type(llm).model_fields}


# --- Construction ---


def test_the_settings_have_the_defaults_of_docker_model(llm):
    plain = DockerModel("ai/smollm2")
    for name in DockerModel.__dataclass_fields__.keys() - {"_"}:
        assert getattr(llm, name) == getattr(plain, name), name


def test_every_setting_and_every_field_of_the_base_is_accepted():
    settings = dict.fromkeys(LLM.model_fields.keys() - {"pydantic_program_mode"}) | SETTINGS
    llm = DockerModelLLM(**settings, env={"A": "b"}, on_progress=note)
    assert SETTINGS.items() <= settings_of(llm).items()


def test_construction_starts_no_process(docker):
    DockerModelLLM(**SETTINGS)
    assert docker.calls == []


@pytest.mark.parametrize("name", ["temprature", "model_name", "Stop"])
def test_an_unknown_keyword_is_refused(name):
    with pytest.raises(ValidationError, match=name):
        DockerModelLLM(model="ai/smollm2", **{name: "x"})


@pytest.mark.parametrize("name", ["temperature", "top_p", "seed", "tools", "api_key"])
def test_sampling_parameters_are_refused_over_the_cli(name):
    with pytest.raises(UnsupportedParameterError, match=name) as caught:
        DockerModelLLM(model="ai/smollm2", transport="cli", **{name: "x"})
    assert "HTTP" in caught.value.hint


def test_max_tokens_is_refused_over_the_cli_and_points_to_max_chars():
    with pytest.raises(UnsupportedParameterError, match="max_chars"):
        DockerModelLLM(model="ai/smollm2", transport="cli", max_tokens=100)


def test_function_calling_is_refused_over_the_cli():
    with pytest.raises(UnsupportedParameterError, match="ReActAgent"):
        DockerModelLLM(model="ai/smollm2", transport="cli", is_function_calling_model=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", ""),
        ("model", "-x"),
        ("model", "a b"),
        ("stop", [""]),
        ("max_chars", 0),
        ("timeout", -1),
        ("max_concurrency", 0),
        ("pull", "always"),
        ("file_references", "ask"),
        ("standby", -1),
        ("context_window", -1),
    ],
)
def test_an_invalid_setting_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        DockerModelLLM(**{"model": "ai/smollm2", "env": {"TOKEN": "hunter2"}, name: value})


def test_the_error_of_an_invalid_setting_shows_no_secret():
    with pytest.raises(ValueError) as caught:
        DockerModelLLM(model="ai/smollm2", env={"TOKEN": "hunter2"}, standby=-1)
    assert "hunter2" not in str(caught.value)


def test_repr_and_str_show_no_secret():
    llm = DockerModelLLM(model="ai/smollm2", env={"TOKEN": "hunter2"}, on_progress=note)
    assert "hunter2" not in repr(llm) + str(llm)


# --- Metadata ---


def test_reading_metadata_starts_no_process():
    with SimulatedDocker() as docker:
        llm = DockerModelLLM(**SETTINGS)
        for _ in range(1000):
            metadata = llm.metadata
        assert docker.calls == []
    assert metadata.model_name == "ai/other"
    assert metadata.context_window == 8192
    assert metadata.num_output == 512
    assert metadata.is_chat_model is False
    assert metadata.is_function_calling_model is False
    with SimulatedDocker.broken("no-docker"):
        assert DockerModelLLM(model="ai/smollm2").metadata.is_chat_model is True


# --- Assignment ---


def test_settings_may_be_assigned(llm, docker):
    llm.callback_manager = CallbackManager([])
    llm.model = "ai/other"
    llm.max_chars = 3
    assert llm.complete("hi").text == "You"
    assert llm.complete("hi").raw["model"] == "ai/other"
    assert llm.metadata.model_name == "ai/other"


def test_an_invalid_assignment_is_refused_by_the_next_call(llm, docker):
    llm.max_chars = 0
    with pytest.raises(docker_model.InvalidRequestError, match="max_chars"):
        llm.complete("hi")
    assert docker.calls == []


def test_an_unknown_attribute_cannot_be_assigned(llm):
    with pytest.raises(ValueError, match="temprature"):
        llm.temprature = 0.5


# --- Dictionaries ---


def test_a_model_is_restored_from_a_dictionary():
    llm = DockerModelLLM(**SETTINGS)
    again = DockerModelLLM.from_dict(llm.to_dict())
    assert SETTINGS.items() <= settings_of(again).items()


def test_a_model_is_restored_from_json():
    again = DockerModelLLM.from_json(DockerModelLLM(**SETTINGS).to_json())
    assert SETTINGS.items() <= settings_of(again).items()


def test_a_dictionary_contains_no_secret_and_no_function():
    llm = DockerModelLLM(
        model="ai/smollm2", env={"TOKEN": "hunter2"}, on_progress=note, completion_to_prompt=shout
    )
    written = llm.to_dict()
    assert written["class_name"] == "DockerModelLLM"
    assert not {"env", "on_progress", "completion_to_prompt"} & written.keys()
    assert "hunter2" not in json.dumps(written)


# --- Copies and pickles ---


def through_pickle(llm):
    return pickle.loads(pickle.dumps(llm))


@pytest.mark.parametrize(
    "copied",
    [through_pickle, copy.copy, copy.deepcopy, DockerModelLLM.model_copy],
    ids=["pickle", "copy", "deepcopy", "model_copy"],
)
def test_a_copy_keeps_every_setting(copied, docker):
    settings = SETTINGS | {
        "command": docker.command,
        "env": {**docker.env, "TOKEN": "hunter2"},
        "on_progress": note,
        "completion_to_prompt": shout,
        "messages_to_prompt": flatten,
    }
    llm = DockerModelLLM(**settings)
    again = copied(llm)
    assert again is not llm
    assert settings.items() <= settings_of(again).items()
    again.complete("abc")
    again.chat(chat_of("abc"))
    assert docker.prompts == ["ABC", "abc"]


@pytest.mark.parametrize("name", ["completion_to_prompt", "messages_to_prompt", "on_progress"])
def test_pickling_warns_about_a_function_that_cannot_be_pickled(name):
    llm = DockerModelLLM(model="ai/smollm2", env={"TOKEN": "hunter2"}, **{name: lambda _: "x"})
    with pytest.warns(UserWarning, match=name) as caught:
        pickle.dumps(llm)
    assert "hunter2" not in str(caught[0].message)
    assert caught[0].filename == __file__


def test_pickling_does_not_change_the_model(docker):
    """Core removes attributes that cannot be pickled from the living object."""
    llm = DockerModelLLM(model="ai/smollm2", completion_to_prompt=lambda _: "abc")
    with pytest.warns(UserWarning, match="completion_to_prompt"):
        pickle.dumps(llm)
    assert llm.complete("hi").text == "You said: abc"


def test_pickling_with_picklable_functions_causes_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.dumps(DockerModelLLM(model="ai/smollm2", completion_to_prompt=shout))


def ask(llm, prompt):
    return llm.complete(prompt).text


def test_a_worker_process_can_use_the_model(docker):
    """The model with its functions, an answer and an error are pickled between the processes."""
    llm = DockerModelLLM(
        model="ai/smollm2", env=docker.env, completion_to_prompt=shout, max_chars=12
    )
    missing = DockerModelLLM(model="ai/nowhere", env=docker.env)
    titles = [TitleExtractor(llm=llm, nodes=1, show_progress=False)]
    nodes = [TextNode(text="whales", metadata={"title": "?"})]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        assert pool.submit(ask, llm, "hi there").result() == "You said: HI"
        # What an ingestion pipeline with several workers does.
        (titled,) = pool.submit(run_transformations, nodes, titles).result()
        error = pool.submit(ask, missing, "hi").exception()
    assert isinstance(error, docker_model.ModelNotFoundError)
    assert "docker model pull ai/nowhere" in error.hint
    assert "You said: " in titled.metadata["document_title"]


# --- The models behind the command ---


async def test_models_are_listed(docker):
    names = ["ai/other", "ai/smollm2"]
    assert sorted(model.name for model in DockerModelLLM.list_models()) == names
    assert sorted(model.name for model in await DockerModelLLM.alist_models()) == names
    listed = DockerModelLLM.list_models(command=docker.command, env=docker.env)
    assert sorted(model.name for model in listed) == names


async def test_a_model_can_be_used_after_close(llm, docker):
    llm.warm_up()
    await llm.awarm_up()
    assert docker.calls
    llm.close()
    await llm.aclose()
    docker.wait_all_gone(5)
    assert llm.complete("hi").text == "You said: hi"
