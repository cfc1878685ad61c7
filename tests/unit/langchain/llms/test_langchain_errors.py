"""Each error is an error of docker_model and of LangChain."""

from __future__ import annotations

import pickle

import pytest
from langchain_core import exceptions as langchain

import docker_model
from docker_model import errors as core
from langchain_docker_model import errors as ours

# The table of the public interface.
EXPECTED = {
    "ContextLengthError": (langchain.ContextOverflowError, False),
    "DockerModelError": (langchain.ModelError, False),
    "DockerNotFoundError": (langchain.ModelError, False),
    "EmptyAnswerError": (langchain.ModelAPIError, True),
    "FileReferenceError": (langchain.ModelInvalidRequestError, False),
    "GenerationError": (langchain.ModelAPIError, True),
    "GenerationTimeoutError": (langchain.ModelTimeoutError, True),
    "InvalidRequestError": (langchain.ModelInvalidRequestError, False),
    "ModelLoadError": (langchain.ModelError, False),
    "ModelNotFoundError": (langchain.ModelNotFoundError, False),
    "PluginNotFoundError": (langchain.ModelError, False),
    "PullError": (langchain.ModelAPIError, True),
    "ResourceError": (langchain.ModelAPIError, True),
    "RunnerUnavailableError": (langchain.ModelConnectionError, True),
    "UnsupportedParameterError": (langchain.ModelInvalidRequestError, False),
}


def raised(error: Exception) -> BaseException:
    with pytest.raises(BaseException) as caught, ours.as_langchain_errors():
        raise error
    return caught.value


def test_every_error_of_docker_model_is_in_the_table():
    assert sorted(EXPECTED) == sorted(core.__all__)
    assert sorted([*EXPECTED, "as_langchain_errors"]) == sorted(ours.__all__)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_error_is_converted_to_its_langchain_class(name):
    original = getattr(core, name)("what happened", hint="do this")
    error = raised(original)
    in_langchain, retryable = EXPECTED[name]
    assert type(error) is getattr(ours, name)
    assert isinstance(error, type(original))
    assert isinstance(error, in_langchain)
    assert error.is_retryable is retryable
    assert str(error) == str(original)
    assert error.__cause__ is original


@pytest.mark.parametrize("name", EXPECTED)
def test_an_error_keeps_its_builtin_base(name):
    builtin = [base for base in getattr(core, name).__mro__ if base.__module__ == "builtins"]
    assert issubclass(getattr(ours, name), tuple(builtin[:-3]) or Exception)
    assert not issubclass(getattr(ours, name), RuntimeError)


def test_subclasses_stay_subclasses():
    assert issubclass(ours.FileReferenceError, ours.InvalidRequestError)
    assert issubclass(ours.UnsupportedParameterError, ours.InvalidRequestError)
    assert issubclass(ours.EmptyAnswerError, ours.GenerationError)


def test_an_error_keeps_the_attributes_of_the_original():
    original = core.GenerationError("cut off", exit_code=1, stderr="oops", partial="so far")
    original.add_note("while testing")
    error = raised(original)
    assert (error.exit_code, error.signal, error.stderr, error.partial) == (
        1,
        None,
        "oops",
        "so far",
    )
    assert error.__notes__ == ["while testing"]


@pytest.mark.parametrize("name", EXPECTED)
def test_an_error_is_picklable(name):
    error = raised(getattr(core, name)("what happened", hint="do this"))
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_an_unknown_subclass_is_converted_to_its_nearest_base():
    class NewTimeoutError(docker_model.GenerationTimeoutError):
        pass

    error = raised(NewTimeoutError("late", phase="idle"))
    assert type(error) is ours.GenerationTimeoutError
    assert error.phase == "idle"


def test_a_converted_error_is_raised_unchanged():
    error = ours.ModelNotFoundError("gone", model="ai/x")
    assert raised(error) is error
    assert error.__cause__ is None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit, ZeroDivisionError])
def test_other_exceptions_are_raised_unchanged(kind):
    error = kind()
    assert raised(error) is error
