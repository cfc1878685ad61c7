"""Tool parameters of requests, and warnings about missing tool calls."""

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
_CHARACTERS_A_TOKEN = 8  # more than the average of any tokenizer for JSON and text


def choice_of(
    choice: ToolChoice, tools: Sequence[Mapping[str, Any]]
) -> str | dict[str, Any] | None:
    """Convert a `tool_choice` of any framework to the form of the API.

    Args:
        choice: A mode, the name of a tool, or a dictionary of OpenAI or Anthropic; `True` is
            "any".
        tools: The tools in the form of the API.

    Returns:
        `"auto"`, `"none"`, `"required"`, a dictionary with the name of a tool, or `None`.

    Raises:
        InvalidRequestError: If `choice` is the name of a tool that is not in `tools`.
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
        msg = f"tool_choice is {name!r}, which is not the name of a tool in the request"
        raise InvalidRequestError(msg, hint=f"the tools are {', '.join(names) or 'none'}")
    return {"type": "function", "function": {"name": name}}


def tool_parameters(
    tools: Sequence[Mapping[str, Any]], choice: ToolChoice, *, parallel: bool | None
) -> dict[str, Any]:
    """Return the parameters of a request that describe its tools.

    llama.cpp only supports modes, and treats the name of a tool as "auto". For a tool by name,
    the request therefore contains only this tool, with the mode "required".
    """
    if not tools:
        return {}
    tool_choice = choice_of(choice, tools)
    if isinstance(tool_choice, dict):
        name = tool_choice["function"]["name"]
        tools = [tool for tool in tools if tool["function"]["name"] == name]
        tool_choice = "required"
    parameters = {"tools": list(tools), "tool_choice": tool_choice, "parallel_tool_calls": parallel}
    return {key: value for key, value in parameters.items() if value is not None}


def notice_no_call(
    parameters: Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]],
    reply: Mapping[str, Any],
) -> None:
    """Warn if an answer lacks a required call, or if the prompt cannot have contained the tools.

    The runner reports neither. It ignores tools if the model's chat template does not support
    them, and does not enforce "required".

    Args:
        parameters: The parameters of the request.
        messages: The messages in the form of the API.
        reply: The reply, with its `usage` and, if available, `timings`.
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
            "the prompt did not contain the tools: the model's chat template probably does not "
            "support tools"
        )
    elif parameters.get("tool_choice") == "required":
        problem = (
            "a tool call was required, but the model made no call: the runner does not enforce "
            "it, and ignores tools if the model's chat template does not support them"
        )
    else:
        return
    warnings.warn(f'{problem}; tool_calling="schema" works with every model', stacklevel=2)


def _prompt_tokens(reply: Mapping[str, Any]) -> int | None:
    """Return the length of the prompt in tokens, as llama.cpp counts it.

    `None` for a reply without `timings`, which comes from another or a simulated engine. Its
    counts can have another meaning.
    """
    counts = reply.get("usage") or {}
    return counts.get("prompt_tokens") if reply.get("timings") else None


def is_whole(text: str) -> bool:
    """Whether a text is valid JSON; a truncated answer rarely is."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def without_fence(text: str) -> str:
    """Return the content of a Markdown code block, if the text is only a code block."""
    fenced = _IN_FENCE.fullmatch(text.strip())
    return fenced[1] if fenced else text
