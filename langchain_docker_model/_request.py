"""The settings of one call: the model's own, overridden by those of the call."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from docker_model._setting_names import setting_hint
from docker_model.http.by_prompt import BY_PROMPT
from docker_model.options import check_numbers, stop_sequences
from langchain_docker_model._messages import HTTP_HINT
from langchain_docker_model._structured import response_format, tool_of
from langchain_docker_model.errors import InvalidRequestError, UnsupportedParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from docker_model.http.thinking import Thinking
    from docker_model.options import Timeouts

__all__ = ["CHAT_SETTINGS", "PARAMETERS", "RequestSettings", "log_fallback", "merge", "stops_of"]

_logger = logging.getLogger("docker_model")

# Fields that are parameters of the API, with the same names. The CLI does not support them.
PARAMETERS = (
    "temperature",
    "max_tokens",
    "top_p",
    "seed",
    "top_k",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "n",
    "response_format",
    "reasoning_effort",
    "chat_template_kwargs",
)
# Fields that this package implements itself, over HTTP.
CHAT_SETTINGS = ("tool_calling", "overflow", "show_schema")
_CALL_ONLY = frozenset({"parallel_tool_calls", "tool_choice", "tools"})
_OWN = frozenset({*PARAMETERS, *CHAT_SETTINGS, "extra_body", "model", "thinking", "timeout"})
_OF_CORE = frozenset({"stream"})  # core has already used it to decide whether to stream


@dataclass(frozen=True, slots=True)
class RequestSettings:
    """The settings of one call.

    Attributes:
        model: The model's name.
        stop: Stop sequences.
        timeout: As for `docker_model.DockerModel`.
        parameters: The other parameters, with the API's names.
        chat_settings: Settings of `docker_model.http.Client` for a chat, such as `tool_calling`.
        thinking: Whether the model thinks, at which level, or for how many tokens.
    """

    model: str
    stop: list[str]
    timeout: Timeouts | float | None
    parameters: dict[str, Any]
    chat_settings: dict[str, Any] = field(default_factory=dict)
    thinking: Thinking = None

    @property
    def body(self) -> dict[str, Any]:
        """The request body without the model and the messages."""
        stop = {"stop": self.stop} if self.stop else {}
        return {**self.parameters, **stop, **self.chat_settings}

    @property
    def tool_names(self) -> list[str]:
        """The names of the tools."""
        return [tool["function"]["name"] for tool in self.parameters.get("tools") or ()]

    @property
    def wants_json(self) -> bool:
        """Whether the answer must be JSON."""
        api_format = self.parameters.get("response_format")
        return isinstance(api_format, dict) and api_format.get("type") != "text"

    def check_usable_by_cli(self, others: Iterable[str], cause: Exception | None) -> None:
        """Raise an error for settings that `docker model run` cannot use.

        Args:
            others: The names of other settings that only HTTP supports.
            cause: The error because of which HTTP is not used.

        Raises:
            UnsupportedParameterError: If there are such settings.
        """
        unusable = {*self.parameters, *others}
        if self.chat_settings["tool_calling"] == "schema":
            unusable -= BY_PROMPT
        if not unusable:
            return
        msg = f"`docker model run` cannot use {', '.join(sorted(unusable))}"
        hint = HTTP_HINT
        if cause is not None:  # the HTTP API was not found
            msg = f"{str(cause).partition('Hint: ')[0].rstrip()}\n{msg}, which HTTP can"
            hint = getattr(cause, "hint", "") or HTTP_HINT
        if unusable <= BY_PROMPT:
            hint += "; tool_calling='schema' describes them in the prompt, which enforces nothing"
        raise UnsupportedParameterError(msg, hint=hint) from cause

    def check_streamable(self) -> None:
        """Raise an error if several answers are requested, which a stream would mix.

        Raises:
            UnsupportedParameterError: If `n` is more than one.
        """
        if self.parameters.get("n", 1) > 1:
            msg = f"n={self.parameters['n']} cannot be streamed: it would mix the answers"
            raise UnsupportedParameterError(msg, hint="use generate(), or leave n out")


def log_fallback(model: str, cause: Exception) -> None:
    """Log why the command is used for a model in place of HTTP."""
    reason, _, _ = str(cause).partition("\n")
    _logger.info("%s; using the command for %r", reason, model)


def merge(
    own: Mapping[str, Any], stop: list[str] | None, given: Mapping[str, Any]
) -> RequestSettings:
    """Override the model's settings with those of a call.

    Args:
        own: The model's fields.
        stop: The call's stop sequences; if it has none, the model's own are used.
        given: The call's keywords.

    Raises:
        InvalidRequestError: If a keyword is not a setting of a call, or has an invalid value.
    """
    _check_names(given, own)
    settings = {name: given.get(name, own[name]) for name in _OWN}
    parameters = {name: settings[name] for name in PARAMETERS if settings[name] is not None}
    check_numbers(parameters)
    if "response_format" in parameters:
        parameters["response_format"] = response_format(parameters["response_format"])
    if given.get("tools"):
        parameters |= {name: given[name] for name in _CALL_ONLY if given.get(name) is not None}
        parameters["tools"] = [tool_of(tool) for tool in given["tools"]]
    return RequestSettings(
        model=settings["model"],
        stop=stops_of(stop) or stops_of(own["stop"]),
        timeout=settings["timeout"],
        parameters=parameters | (settings["extra_body"] or {}),
        chat_settings={name: settings[name] for name in CHAT_SETTINGS},
        thinking=settings["thinking"],
    )


def _check_names(names: Iterable[str], own: Iterable[str]) -> None:
    known = _OWN | _CALL_ONLY | {"stop"}
    unknown = sorted(set(names) - known - _OF_CORE)
    if not unknown:
        return
    msg = f"a call has no setting {', '.join(unknown)}"
    of_model = set(own) - known
    hints = (setting_hint(name, known, "ChatDockerModel", of_model) for name in unknown)
    raise InvalidRequestError(msg, hint="; ".join(dict.fromkeys(hints)))


def stops_of(stop: Any) -> list[str]:
    """Return stop sequences as a list.

    Raises:
        InvalidRequestError: If one is empty or not a string.
    """
    return list(stop_sequences(stop))
