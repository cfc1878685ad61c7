"""Tools: what is sent of them, and what is said when they were not used."""

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
def test_modes_of_choosing_a_tool(ask, choice, sent):
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
def test_a_tool_by_name_is_the_only_one_sent(ask, choice):
    chat, docker = ask({"tool_calls": [ADD]}, tool_calling="native")
    bound = chat.bind_tools([TOOL, OTHER], tool_choice=choice, parallel_tool_calls=False)
    assert bound.kwargs["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    bound.invoke("Hi.")
    [body] = bodies(docker)
    assert (body["tools"], body["tool_choice"]) == ([TOOL], "required")
    assert body["parallel_tool_calls"] is False


def test_a_tool_that_is_not_there(ask):
    chat, _ = ask()
    with pytest.raises(InvalidRequestError, match=r"'mul'(?s:.*)add, sub"):
        chat.bind_tools([TOOL, OTHER], tool_choice="mul")


def test_no_tools_at_all(ask):
    chat, docker = ask({"content": "{}"})
    bound = chat.bind_tools([], tool_choice="any", response_format={"type": "json_object"})
    bound.invoke("Hi.")
    assert bodies(docker)[0].keys().isdisjoint({"tools", "tool_choice"})
    assert bodies(docker)[0]["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("mode", MODES)
async def test_a_demanded_call_that_did_not_come(ask, mode):
    chat, _ = ask({"content": "No.", "prompt_tokens": 9999}, tool_calling="native")
    with pytest.warns(UserWarning, match="demanded and the model made none"):
        await answer(chat.bind_tools([TOOL], tool_choice="any"), mode)


@pytest.mark.parametrize("mode", MODES)
async def test_tools_that_cannot_have_been_seen(ask, mode):
    chat, _ = ask({"content": "No.", "prompt_tokens": 5}, tool_calling="native")
    with pytest.warns(UserWarning, match="has not seen its tools"):
        await answer(chat.bind_tools([TOOL]), mode)


@pytest.mark.parametrize(
    ("said", "choice"),
    [
        ({"tool_calls": [ADD], "prompt_tokens": 5}, "any"),
        ({"content": "No.", "prompt_tokens": 9999}, None),
        ({"content": "No.", "prompt_tokens": 5}, "none"),
    ],
)
def test_nothing_to_warn_of(ask, said, choice):
    chat, _ = ask(said, tool_calling="native")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chat.bind_tools([TOOL], tool_choice=choice).invoke("Hi.")
