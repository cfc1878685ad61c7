"""LlamaIndex tools in the API's form, and the tool calls of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.bridge.pydantic import ValidationError
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json

from docker_model.errors import GenerationError
from docker_model.http.replies import read_arguments
from llama_index_docker_model._messages import NOT_AN_OBJECT, not_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llama_index.core.base.llms.types import ChatResponse
    from llama_index.core.tools import BaseTool

    from docker_model.http.replies import Answer, ToolCall

__all__ = ["ToolList", "chat_with_tools", "first_call_only", "for_one_step", "selections"]

# Marks the calls of `predict_and_call`, which has no agent that asks the model again.
_REPAIRED = "repair_tool_calls"
_CHOICE = "tool_choice"


class ToolList(list[dict[str, Any]]):
    """OpenAI's tool objects with the classes of their arguments.

    This is a list because core puts the keywords of a call into its events.

    Args:
        tools: The LlamaIndex tools.
        repaired: Whether to ask the model once more after a whole answer with invalid calls.
            Agents ask again themselves.
    """

    def __init__(self, tools: Sequence[BaseTool] | None, *, repaired: bool = False) -> None:
        tools = tools or ()
        super().__init__(tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools)
        self._classes = {tool.metadata.get_name(): tool.metadata.fn_schema for tool in tools}
        self.check = self._check if repaired else None

    def _check(self, answer: Answer) -> str:
        """Describe the invalid calls of an answer to the model; empty if all calls are valid."""
        if answer.finish_reason == "length":
            return ""  # the next answer would be cut off too
        return "\n".join(self.problems(answer.calls).values())

    def problems(self, calls: Iterable[ToolCall]) -> dict[str, str]:
        """Return the problems of invalid calls, by call id."""
        problems = {call.id: self._problem(call) for call in calls}
        return {call_id: problem for call_id, problem in problems.items() if problem}

    def _problem(self, call: ToolCall) -> str:
        """Describe why a call is invalid, because core does not check the arguments."""
        if call.name not in self._classes:
            return f"There is no tool {call.name!r}. The tools are: {', '.join(self._classes)}."
        if call.arguments is None:
            return NOT_AN_OBJECT
        arguments_class = self._classes[call.name]
        try:
            if arguments_class is not None:
                arguments_class.model_validate(call.arguments)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False)
            listed = "; ".join(
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems
            )
            return f"The arguments of {call.name} are not valid: {listed}."
        return ""


def chat_with_tools(
    tools: Sequence[BaseTool],
    user_msg: str | ChatMessage | None,
    chat_history: Sequence[ChatMessage] | None,
    *,
    parallel: bool,
    required: bool,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the keywords for `chat`; the caller's list and dictionary are not changed."""
    messages = list(chat_history or ())
    if isinstance(user_msg, str):
        user_msg = ChatMessage(user_msg, role=MessageRole.USER)
    if user_msg is not None:
        messages.append(user_msg)
    others = {name: value for name, value in settings.items() if name not in (_REPAIRED, _CHOICE)}
    if not tools:
        return {"messages": messages, **others}
    return {
        "messages": messages,
        "tools": ToolList(tools, repaired=settings.get(_REPAIRED, False)),
        # Core's programs can pass `None`.
        "tool_choice": settings.get(_CHOICE) or ("required" if required else "auto"),
        "parallel_tool_calls": parallel,
        **others,
    }


def for_one_step(settings: Mapping[str, Any], *, native: bool) -> dict[str, Any]:
    """Return the keywords for `predict_and_call`.

    Args:
        settings: The user's keywords.
        native: Whether tools are sent. Otherwise core uses a ReAct agent and needs a formatter
            and a parser, because it does not accept its own default of `None` for them.
    """
    if native:
        return {_REPAIRED: True, **settings}
    from llama_index.core.agent.react import ReActChatFormatter, ReActOutputParser  # noqa: PLC0415  slow: imports all agents

    return {
        "react_chat_formatter": ReActChatFormatter(),
        "output_parser": ReActOutputParser(),
        **settings,
    }


def first_call_only(response: ChatResponse) -> ChatResponse:
    """Remove all calls except the first, because some engines ignore `parallel_tool_calls`."""
    message = response.message
    calls = message.additional_kwargs.get("tool_calls", ())
    if len(calls) > 1:
        message.additional_kwargs["tool_calls"] = calls[:1]
        later = [block for block in message.blocks if block.block_type == "tool_call"][1:]
        message.blocks = [block for block in message.blocks if block not in later]
    return response


def selections(response: ChatResponse, *, strict: bool) -> list[ToolSelection]:
    """Return the tool calls in an answer, or in the part of a stream received so far.

    Args:
        response: The answer; in a stream, arguments can be incomplete.
        strict: Whether an answer without calls, or with an invalid call, is an error.

    Raises:
        ValueError: If there are no calls.
        GenerationError: If a call names an unknown tool, or its arguments are invalid.
    """
    calls = response.message.additional_kwargs.get("tool_calls") or [
        {
            "id": block.tool_call_id or "",
            "function": {"name": block.tool_name, "arguments": block.tool_kwargs},
        }
        for block in response.message.blocks
        if block.block_type == "tool_call"
    ]
    if not calls and strict:
        msg = "the model called no tool"  # core's own models also raise `ValueError`
        raise ValueError(msg)
    raw = response.raw if isinstance(response.raw, dict) else {}
    if raw.get("finish_reason", "") is None:
        return [_partial(call) for call in calls]
    problems = raw.get("invalid_calls", {})
    return [_selection(call, problems.get(call["id"], ""), strict=strict) for call in calls]


def _partial(call: Mapping[str, Any]) -> ToolSelection:
    function = call["function"]
    try:
        arguments = parse_partial_json(function["arguments"])
    except ValueError:
        arguments = {}
    return ToolSelection(tool_id=call["id"], tool_name=function["name"], tool_kwargs=arguments)


def _selection(call: Mapping[str, Any], problem: str, *, strict: bool) -> ToolSelection:
    name = call["function"]["name"]
    arguments, text = read_arguments(call["function"]["arguments"])
    if arguments is None:
        problem, arguments = problem or NOT_AN_OBJECT, {"unreadable_arguments": text}
    if problem and strict:
        msg = f"the model called {name!r}, which cannot run: {problem}"
        raise GenerationError(msg, hint="try again, or use a larger model", partial=text)
    if problem:
        name = not_run(name, problem)
    return ToolSelection(tool_id=call["id"], tool_name=name, tool_kwargs=arguments)
