"""Failures of the command are raised as errors of docker_model and of LangChain."""

from __future__ import annotations

import pickle
import time

import pytest
from langchain_core import exceptions as langchain

import docker_model
from docker_model.testing import Cut, Fail, InTurn, SimulatedDocker, Sleep, Text
from langchain_docker_model import DockerModelLLM
from tests.unit.langchain.llms.modes import MODES, ask


async def error_of(llm, mode, prompt="hi"):
    """Return the error that a call raises."""
    with pytest.raises(docker_model.DockerModelError) as caught:
        await ask(llm, mode, prompt)
    return caught.value


@pytest.mark.parametrize("mode", MODES)
async def test_a_missing_model_raises_not_found(mode, docker):
    error = await error_of(DockerModelLLM(model="ai/not-there"), mode)
    assert isinstance(error, docker_model.ModelNotFoundError)
    assert isinstance(error, langchain.ModelNotFoundError)
    assert not error.is_retryable
    assert "docker model pull ai/not-there" in str(error)
    assert docker.prompts == []


@pytest.mark.parametrize("mode", MODES)
async def test_a_missing_docker_raises_not_found(mode):
    error = await error_of(
        DockerModelLLM(model="ai/smollm2", command="/no/such/docker model"), mode
    )
    assert isinstance(error, docker_model.DockerNotFoundError)
    assert isinstance(error, FileNotFoundError)
    assert isinstance(error, langchain.ModelError)


@pytest.mark.parametrize("mode", MODES)
async def test_a_missing_runner_is_unavailable(mode):
    with SimulatedDocker.broken("runner-off"):
        error = await error_of(DockerModelLLM(model="ai/smollm2"), mode)
    assert isinstance(error, docker_model.RunnerUnavailableError)
    assert isinstance(error, ConnectionError)
    assert isinstance(error, langchain.ModelConnectionError)
    assert error.is_retryable


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_that_fails_halfway_has_the_text_so_far(mode):
    with SimulatedDocker(script=[Text("So far"), Cut()]):
        error = await error_of(DockerModelLLM(model="ai/smollm2"), mode)
    assert isinstance(error, docker_model.GenerationError)
    assert isinstance(error, langchain.ModelAPIError)
    assert error.partial == "So far"
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.partial) == (type(error), str(error), "So far")


@pytest.mark.parametrize("mode", MODES)
async def test_a_timeout_names_its_phase(mode):
    with SimulatedDocker(script=[Text("So far"), Sleep(60)]) as docker:
        llm = DockerModelLLM(model="ai/smollm2", timeout=docker_model.Timeouts(idle=0.3))
        error = await error_of(llm, mode)
        docker.wait_all_gone()
    assert isinstance(error, TimeoutError)
    assert isinstance(error, langchain.ModelTimeoutError)
    assert error.phase == "idle"


@pytest.mark.parametrize("mode", MODES)
async def test_empty_output_is_an_error(mode):
    with SimulatedDocker(script=[]):
        error = await error_of(DockerModelLLM(model="ai/smollm2"), mode)
    assert isinstance(error, docker_model.EmptyAnswerError)
    assert isinstance(error, langchain.ModelAPIError)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("prompt", ["", " \n", "\ud800"], ids=ascii)
async def test_an_invalid_prompt_is_refused(mode, prompt, docker):
    error = await error_of(DockerModelLLM(model="ai/smollm2"), mode, prompt)
    assert isinstance(error, docker_model.InvalidRequestError)
    assert isinstance(error, langchain.ModelInvalidRequestError)
    assert docker.prompts == []


async def test_failures_to_list_models_are_raised():
    with SimulatedDocker.broken("runner-off"):
        with pytest.raises(langchain.ModelConnectionError):
            DockerModelLLM.list_models()
        with pytest.raises(langchain.ModelConnectionError):
            await DockerModelLLM.alist_models()


def slow_but_for_one(prompt):
    return [Fail("boom")] if prompt == "fails" else [Text("So far"), Sleep(60)]


@pytest.mark.parametrize("position", [0, 1, 5])
async def test_the_first_prompt_that_fails_cancels_the_others(position):
    """The position does not matter; some calls are running and some are in the queue."""
    prompts = ["slow"] * 6
    prompts[position] = "fails"
    with SimulatedDocker(script=slow_but_for_one) as docker:
        llm = DockerModelLLM(model="ai/smollm2", max_concurrency=6)
        began = time.monotonic()
        with pytest.raises(docker_model.GenerationError):
            llm.batch(prompts)
        docker.wait_all_gone()
        with pytest.raises(docker_model.GenerationError):
            await llm.abatch(prompts)
        docker.wait_all_gone()
        assert time.monotonic() - began < 50


def test_batch_can_return_exceptions(docker):
    llm = DockerModelLLM(model="ai/not-there")
    answers = llm.batch(["a", "b"], return_exceptions=True)
    assert all(isinstance(answer, langchain.ModelNotFoundError) for answer in answers)


async def test_retries_and_fallbacks_depend_on_the_error_class(docker):
    missing = DockerModelLLM(model="ai/not-there")
    llm = DockerModelLLM(model="ai/smollm2")
    fallback = missing.with_fallbacks([llm], exceptions_to_handle=(langchain.ModelNotFoundError,))
    assert fallback.invoke("hi") == llm.invoke("hi")
    assert "".join(fallback.stream("hi")) == llm.invoke("hi")
    assert await fallback.ainvoke("hi") == llm.invoke("hi")
    with SimulatedDocker(script=InTurn([Fail("boom")], "now it works")):
        retrying = llm.with_retry(
            retry_if_exception_type=(langchain.ModelAPIError,), wait_exponential_jitter=False
        )
        assert retrying.invoke("hi") == "now it works"
