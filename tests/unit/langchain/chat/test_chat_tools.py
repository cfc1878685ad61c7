"""Tools: how they are sent, and warnings if the model did not use them."""

from __future__ import annotations

import warnings

import pytest

from langchain_docker_model.errors import InvalidRequestError
from tests.unit.langchain.chat.modes import ADD, MODES, OTHER, TOOL, answer
from tests.unit.langchain.chat.scripted_model import bodies


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, None),
        (False, None),
        ("auto", "auto"),
        ("none", "none"),
        ("any", "required"),
        ("required", "required"),
        (True, "required"),
        ({"type": "any"}, "required"),
        ({"type": "auto"}, "auto"),
    ],
)
def test_tool_choice_is_sent_in_the_form_of_the_api(ask, choice, sent):
    chat, docker = ask({"tool_calls": [ADD]}, tool_calling="native")
    chat.bind_tools([TOOL, OTHER], tool_choice=choice).invoke("Hi.")
    assert bodies(docker)[0].get("tool_choice") == sent
    assert bodies(docker)[0]["tools"] == [TOOL, OTHER]


@pytest.mark.parametrize(
    "choice",
    [
        "add",
        {"type": "function", "function": {"name": "add"}},
        {"type": "tool", "name": "add"},
        {"name": "add"},
    ],
)
def test_a_named_tool_is_the_only_one_sent(ask, choice):
    chat, docker = ask({"tool_calls": [ADD]}, tool_calling="native")
    bound = chat.bind_tools([TOOL, OTHER], tool_choice=choice, parallel_tool_calls=False)
    assert bound.kwargs["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    bound.invoke("Hi.")
    [body] = bodies(docker)
    assert (body["tools"], body["tool_choice"]) == ([TOOL], "required")
    assert body["parallel_tool_calls"] is False


def test_an_unknown_tool_choice_is_refused(ask):
    chat, _ = ask()
    with pytest.raises(InvalidRequestError, match=r"'mul'(?s:.*)add, sub"):
        chat.bind_tools([TOOL, OTHER], tool_choice="mul")


def test_functions_are_accepted_as_tools_of_a_call(ask):
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    chat, docker = ask({"tool_calls": [ADD]}, tool_calling="native")
    chat.bind_tools([add]).invoke("Hi.")
    assert chat.bind(tools=[add]).invoke("Hi.").tool_calls[0]["name"] == "add"
    bound, direct = bodies(docker)
    assert direct["tools"] == bound["tools"]


def test_an_empty_list_of_tools_is_not_sent(ask):
    chat, docker = ask({"content": "{}"})
    bound = chat.bind_tools([], tool_choice="any", response_format={"type": "json_object"})
    bound.invoke("Hi.")
    assert bodies(docker)[0].keys().isdisjoint({"tools", "tool_choice"})
    assert bodies(docker)[0]["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("mode", MODES)
async def test_a_missing_required_call_causes_a_warning(ask, mode):
    chat, _ = ask({"content": "No.", "prompt_tokens": 9999}, tool_calling="native")
    with pytest.warns(UserWarning, match="required, but the model made no call"):
        await answer(chat.bind_tools([TOOL], tool_choice="any"), mode)


@pytest.mark.parametrize("mode", MODES)
async def test_tools_that_the_prompt_did_not_contain_cause_a_warning(ask, mode):
    chat, _ = ask({"content": "No.", "prompt_tokens": 5}, tool_calling="native")
    with pytest.warns(UserWarning, match="did not contain the tools"):
        await answer(chat.bind_tools([TOOL]), mode)


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ({"tool_calls": [ADD], "prompt_tokens": 5}, "any"),
        ({"content": "No.", "prompt_tokens": 9999}, None),
        ({"content": "No.", "prompt_tokens": 5}, "none"),
    ],
)
def test_a_plausible_reply_causes_no_warning(ask, reply, choice):
    chat, _ = ask(reply, tool_calling="native")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chat.bind_tools([TOOL], tool_choice=choice).invoke("Hi.")
