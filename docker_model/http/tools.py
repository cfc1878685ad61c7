"""Tools in a request, and warnings about calls that are missing; pure."""

from __future__ import annotations

import json
import re
import warnings
from typing import TYPE_CHECKING, Any, TypeAlias

from docker_model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["choice_of", "is_whole", "notice_no_call", "tool_parameters", "without_fence"]

ToolChoice: TypeAlias = str | bool | dict[str, Any] | None
_IN_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n?\s*```", re.DOTALL)
_MODES = {"any": "required", "auto": "auto", "none": "none", "required": "required"}
_CHARACTERS_A_TOKEN = 8  # more than any tokenizer gets into one, on the average of JSON and prose


def choice_of(
    choice: ToolChoice, tools: Sequence[Mapping[str, Any]]
) -> str | dict[str, Any] | None:
    """Return a `tool_choice` of any framework as the API writes it.

    Args:
        choice: A mode, the name of a tool, OpenAI's or Anthropic's dictionary; `True` is
            "any".
        tools: The tools in the API's form.

    Returns:
        `"auto"`, `"none"`, `"required"`, a tool by name, or `None` for no choice.

    Raises:
        InvalidRequestError: If it names a tool that is not there.
    """
    if choice is None or choice is False:
        return None
    if choice is True:
        return "required"
    names = [tool["function"]["name"] for tool in tools]
    if isinstance(choice, dict):
        name = choice.get("function", choice).get("name")
        mode = choice.get("type")
        if name is None and mode in _MODES:
            return _MODES[mode]
    elif choice in names:
        name = choice
    elif choice in _MODES:
        return _MODES[choice]
    else:
        name = choice
    if name not in names:
        msg = f"tool_choice names {name!r}, which is not one of the tools"
        raise InvalidRequestError(msg, hint=f"the tools are {', '.join(names) or 'none'}")
    return {"type": "function", "function": {"name": name}}


def tool_parameters(
    tools: Sequence[Mapping[str, Any]], choice: ToolChoice, *, parallel: bool | None
) -> dict[str, Any]:
    """Return the parameters of a request that describe its tools.

    llama.cpp knows the modes alone, and takes a tool by name for "auto". So of the tools
    only the named one is sent, and must be called.
    """
    if not tools:
        return {}
    wanted = choice_of(choice, tools)
    if isinstance(wanted, dict):
        name = wanted["function"]["name"]
        tools = [tool for tool in tools if tool["function"]["name"] == name]
        wanted = "required"
    parameters = {"tools": list(tools), "tool_choice": wanted, "parallel_tool_calls": parallel}
    return {key: value for key, value in parameters.items() if value is not None}


def notice_no_call(
    parameters: Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]],
    reply: Mapping[str, Any],
) -> None:
    """Warn if an answer lacks a required call, or if the model cannot have seen its tools.

    The runner says nothing of either: it drops the tools when the model's chat template has
    no place for them, and "required" is a wish.

    Args:
        parameters: What was asked, beside the messages.
        messages: In the API's words.
        reply: What came: its `usage`, and `timings` where there are any.
    """
    tools = parameters.get("tools")
    if not tools or parameters.get("tool_choice") == "none":
        return
    size = len(json.dumps(tools, ensure_ascii=False))
    size += sum(
        len(message["content"]) for message in messages if isinstance(message["content"], str)
    )
    prompt_tokens = _prompt_tokens(reply)
    if prompt_tokens is not None and prompt_tokens * _CHARACTERS_A_TOKEN < size:
        problem = (
            "the model has not seen its tools: its chat template seems to have no place for them"
        )
    elif parameters.get("tool_choice") == "required":
        problem = (
            "a tool call was demanded and the model made none: the runner does not enforce it, "
            "and drops the tools when the model's chat template has no place for them"
        )
    else:
        return
    warnings.warn(f'{problem}; tool_calling="schema" calls with every model', stacklevel=2)


def _prompt_tokens(reply: Mapping[str, Any]) -> int | None:
    """Return the prompt's length in tokens as llama.cpp counts it.

    What has no `timings` comes from another engine, or a simulated one, whose counts may mean
    something else: `None`.
    """
    counts = reply.get("usage") or {}
    return counts.get("prompt_tokens") if reply.get("timings") else None


def is_whole(text: str) -> bool:
    """Tell whether a text is complete JSON, which an answer that was cut off rarely is."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def without_fence(text: str) -> str:
    """Return what stands in a Markdown code block, if the text is nothing but one."""
    fenced = _IN_FENCE.fullmatch(text.strip())
    return fenced[1] if fenced else text
