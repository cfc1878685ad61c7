"""The settings of a call: the model's own, and in their place those given to the call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_docker_model._structured import response_format
from langchain_docker_model.errors import InvalidRequestError, UnsupportedParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from docker_model.options import Timeouts

# What the API and the fields call the same; none of it can be said over the CLI.
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
_OF_CALLS = frozenset({"parallel_tool_calls", "tool_choice", "tools"})
_OWN = frozenset({*PARAMETERS, "extra_body", "model", "timeout"})
_CORES = frozenset({"stream"})  # whether to stream, which core has decided when it gets here


@dataclass(frozen=True, slots=True)
class Call:
    """One call's settings.

    Attributes:
        model: The model's name.
        stop: Stop sequences.
        timeout: As for `docker_model.DockerModel`.
        parameters: What else the request says, by the API's names.
    """

    model: str
    stop: list[str]
    timeout: Timeouts | float | None
    parameters: dict[str, Any]

    @property
    def body(self) -> dict[str, Any]:
        """The request, but for its model and messages."""
        return {**self.parameters, **({"stop": self.stop} if self.stop else {})}

    def refuse_several(self) -> None:
        """Raise for a stream of several answers.

        Raises:
            UnsupportedParameterError: Their pieces would be joined to one.
        """
        if self.parameters.get("n", 1) > 1:
            msg = f"n={self.parameters['n']} cannot be streamed: it would mix the answers"
            raise UnsupportedParameterError(msg, hint="use generate(), or leave n out")


def call_of(own: Mapping[str, Any], stop: list[str] | None, given: Mapping[str, Any]) -> Call:
    """Lay a call's settings over the model's own.

    Args:
        own: The model's fields.
        stop: The call's stop sequences; none given means the model's own.
        given: The call's keywords.

    Raises:
        InvalidRequestError: A keyword that no call takes.
    """
    check_names(given)
    settings = {name: given.get(name, own[name]) for name in _OWN}
    parameters = {name: settings[name] for name in PARAMETERS if settings[name] is not None}
    if "response_format" in parameters:
        parameters["response_format"] = response_format(parameters["response_format"])
    if given.get("tools"):
        from docker_model.http.tools import tool_parameters  # noqa: PLC0415  not for the CLI

        parameters |= tool_parameters(
            given["tools"], given.get("tool_choice"), parallel=given.get("parallel_tool_calls")
        )
    return Call(
        model=settings["model"],
        stop=stops_of(stop) or stops_of(own["stop"]),
        timeout=settings["timeout"],
        parameters=parameters | (settings["extra_body"] or {}),
    )


def check_names(names: Iterable[str]) -> None:
    """Raise for a keyword that no call takes.

    Raises:
        InvalidRequestError: If there is such a keyword.
    """
    unknown = sorted(set(names) - _OWN - _OF_CALLS - _CORES)
    if unknown:
        msg = f"a call does not take {', '.join(unknown)}"
        hint = "set it on the model; what only your engine knows goes into extra_body="
        raise InvalidRequestError(msg, hint=hint)


def stops_of(stop: Any) -> list[str]:
    """Stop sequences as a list, whichever way they were given."""
    return [stop] if isinstance(stop, str) else list(stop or ())
