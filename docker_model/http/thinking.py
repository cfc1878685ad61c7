"""Convert the setting `thinking` to the parameters of engines and chat templates, without I/O.

Templates such as Qwen's read `enable_thinking`; the template of gpt-oss and its engines read
`reasoning_effort`. A budget in tokens is a command-line option of llama.cpp, so it is part of
the model's configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from docker_model.errors import InvalidRequestError, UnsupportedParameterError

if TYPE_CHECKING:
    from docker_model.types import ModelInfo

__all__ = ["Thinking", "check_thinking", "thinking_budget", "thinking_parameters"]

Thinking: TypeAlias = bool | Literal["low", "medium", "high"] | int | None
_LEVELS = ("low", "medium", "high")


def check_thinking(thinking: object) -> None:
    """Validate the setting.

    Raises:
        InvalidRequestError: If the value is not a bool, a level or a budget.
    """
    if thinking is None or isinstance(thinking, bool) or thinking in _LEVELS:
        return
    if isinstance(thinking, int) and thinking >= 0:
        return
    msg = f"thinking must be True, False, a level or a budget in tokens, not {thinking!r}"
    hint = f"the levels are {', '.join(map(repr, _LEVELS))}; a budget is a whole number such as 512"
    raise InvalidRequestError(msg, hint=hint)


def thinking_parameters(thinking: Thinking, model: ModelInfo | None) -> dict[str, Any]:
    """Return the parameters of a request for a `thinking` setting.

    Args:
        thinking: The setting.
        model: The description of the model; `None` if it is unknown.

    Raises:
        UnsupportedParameterError: If thinking is requested, but the model's metadata show that it
            cannot think.
    """
    if thinking is None:
        return {}
    if thinking is False or thinking == 0:
        return {"chat_template_kwargs": {"enable_thinking": False}}
    if model is not None and model.capabilities and "thinking" not in model.capabilities:
        msg = f"{model.name!r} cannot think, so thinking={thinking!r} is not supported"
        hint = "omit thinking, or use a model that can think, such as ai/qwen3"
        raise UnsupportedParameterError(msg, hint=hint)
    variables: dict[str, Any] = {"enable_thinking": True}
    if isinstance(thinking, str):
        variables["reasoning_effort"] = thinking
        return {"chat_template_kwargs": variables, "reasoning_effort": thinking}
    return {"chat_template_kwargs": variables}


def thinking_budget(thinking: Thinking) -> int | None:
    """Return the budget in tokens to configure as `think`, or `None` without a budget."""
    if isinstance(thinking, bool) or not isinstance(thinking, int) or thinking == 0:
        return None
    return thinking
