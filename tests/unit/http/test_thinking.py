"""The `thinking` setting, translated for engines and templates."""

from __future__ import annotations

import pytest

from docker_model import InvalidRequestError, UnsupportedParameterError
from docker_model.http.thinking import check_thinking, thinking_budget, thinking_parameters
from docker_model.types import ModelInfo


def model(*capabilities):
    return ModelInfo("ai/some", capabilities=frozenset(capabilities))


@pytest.mark.parametrize(
    ("thinking", "parameters"),
    [
        (None, {}),
        (False, {"chat_template_kwargs": {"enable_thinking": False}}),
        (0, {"chat_template_kwargs": {"enable_thinking": False}}),
        (True, {"chat_template_kwargs": {"enable_thinking": True}}),
        (512, {"chat_template_kwargs": {"enable_thinking": True}}),
        (
            "low",
            {
                "chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": "low"},
                "reasoning_effort": "low",
            },
        ),
    ],
)
def test_a_thinking_setting_becomes_parameters_of_the_request(thinking, parameters):
    check_thinking(thinking)
    for known in (None, model(), model("chat", "thinking")):
        assert thinking_parameters(thinking, known) == parameters


@pytest.mark.parametrize("thinking", [True, "high", 1])
def test_thinking_is_refused_for_a_model_without_it(thinking):
    with pytest.raises(UnsupportedParameterError, match=r"ai/some.*think") as caught:
        thinking_parameters(thinking, model("chat"))
    assert caught.value.hint


@pytest.mark.parametrize("thinking", [None, False])
def test_disabled_thinking_is_accepted_for_a_model_without_it(thinking):
    thinking_parameters(thinking, model("chat"))


@pytest.mark.parametrize("thinking", ["max", -1, 1.5, []])
def test_an_invalid_value_of_thinking_is_refused_with_a_hint(thinking):
    with pytest.raises(InvalidRequestError, match="thinking") as caught:
        check_thinking(thinking)
    assert "low" in caught.value.hint


def test_only_a_budget_needs_a_configuration():
    settings = (None, True, False, "low", 0, 512)
    assert [thinking_budget(setting) for setting in settings] == [None, None, None, None, None, 512]
