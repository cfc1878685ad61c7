"""Settings of one call: the model's, with the call's own in their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from llama_index.core.bridge.pydantic import BaseModel, field_validator

import docker_model
from docker_model._setting_names import other_name, setting_hint
from docker_model.client import standby_model_for
from docker_model.errors import InvalidRequestError, UnsupportedParameterError
from docker_model.http.client import Client
from docker_model.http.thinking import check_thinking, thinking_budget, thinking_parameters
from docker_model.options import check_numbers, check_stop, check_timeout, stop_sequences

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from docker_model import DockerModel
    from docker_model.http.thinking import Thinking

__all__ = [
    "ChecksValues",
    "MergedSettings",
    "by_prompt",
    "check_names",
    "client_of",
    "names_for_http",
    "refuse_over_cli",
    "transport_of",
]

TransportName: TypeAlias = Literal["cli", "http"]

# Settings of `docker_model.DockerModel` for the CLI that a single call may be given, too.
_CLI_PER_CALL = frozenset(
    {
        "command",
        "file_references",
        "max_chars",
        "max_concurrency",
        "model",
        "pull",
        "standby",
        "stop",
        "timeout",
    }
)
_CLI = _CLI_PER_CALL | {"env", "on_progress"}

# Core puts a call's keywords into events and traces, where no environment, function or key
# belongs.
_MODEL_ONLY = frozenset(
    {
        "api_key",
        "base_url",
        "context_size",
        "env",
        "headers",
        "is_function_calling_model",
        "keep_alive",
        "on_progress",
        "transport",
        "when_full",
    }
)

# Parameters of the API under the API's own names.
_PARAMETERS = frozenset(
    {
        "chat_template_kwargs",
        "extra_body",
        "frequency_penalty",
        "max_tokens",
        "min_p",
        "presence_penalty",
        "reasoning_effort",
        "repeat_penalty",
        "response_format",
        "seed",
        "temperature",
        "top_k",
        "top_p",
    }
)
_TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
_CALL_ONLY = frozenset({"logit_bias", "logprobs", "top_logprobs", *_TOOLS})
_HTTP_PER_CALL = _PARAMETERS | _CALL_ONLY | {"overflow", "show_schema", "thinking", "tool_calling"}
_HTTP_ONLY = (
    _PARAMETERS
    | _CALL_ONLY
    | {"api_key", "base_url", "context_size", "headers", "is_function_calling_model"}
    | {"keep_alive", "thinking"}
)

# What `tool_calling="schema"` brings to the CLI.
_BY_PROMPT = frozenset({*_TOOLS, "is_function_calling_model", "response_format"})

# Settings that ask for HTTP only with one of their values.
_HTTP_VALUES = {"overflow": "trim", "when_full": "unload"}

# Settings that say how `Client` treats a conversation; they are not sent.
_CONVERSATION = ("overflow", "tool_calling")

# Settings of the CLI alone, with the values that every transport honors.
_CLI_ONLY = {
    "max_chars": (frozenset({None}), "max_tokens= limits the length of an answer"),
    "file_references": (
        frozenset({"escape", "refuse"}),
        "HTTP reads no files: put their text into the prompt",
    ),
}


class ChecksValues(BaseModel):
    """Checks values before pydantic tries each type, since one wrong value needs one message."""

    _check_timeout = field_validator("timeout", mode="before", check_fields=False)(check_timeout)
    _check_stop = field_validator("stop", mode="before", check_fields=False)(check_stop)


@dataclass(frozen=True, slots=True)
class MergedSettings:
    """The settings of one call.

    Attributes:
        values: All settings by name.
        transport: The transport that the call takes.
    """

    values: dict[str, Any]
    transport: TransportName

    @classmethod
    def of(cls, model: Mapping[str, Any], call: Mapping[str, Any]) -> Self:
        """Put the settings of a call in the place of the model's.

        Args:
            model: The model's settings.
            call: The keywords of the call. A `stop` of `None` leaves the model's.

        Raises:
            UnsupportedParameterError: If the transport cannot honor a setting.
            InvalidRequestError: If a keyword can be given only to the model.
            TypeError: If a keyword is unknown.
        """
        _check_call(call, model)
        given = {name: value for name, value in call.items() if (name, value) != ("stop", None)}
        values = {**model, **given}
        refuse_over_cli(values)
        return cls(values, transport_of(values))

    @property
    def enforces_schema(self) -> bool:
        """Whether an answer is held to a schema: by the engine, or by reading it strictly."""
        return self.transport == "http" or by_prompt(self.values)

    def docker_model(self, owner: object) -> DockerModel:
        """Return the model for the CLI; `owner` keeps its standby processes."""
        values = {name: self.values[name] for name in _CLI}
        return standby_model_for(owner, docker_model.DockerModel(**values))

    def client(self) -> Client:
        """Return the client for HTTP."""
        return client_of(self.values)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of a request, and what tells the client how to treat it.

        Raises:
            InvalidRequestError: If a parameter has an invalid value.
        """
        names = sorted(_PARAMETERS | _CALL_ONLY)
        check_numbers(self.values)
        given = {name: self.values.get(name) for name in (*names, *_CONVERSATION)}
        given["stop"] = list(stop_sequences(self.values["stop"]))
        for name, value in thinking_parameters(self.thinking(), None).items():
            if isinstance(value, dict):
                given[name] = {**value, **(given[name] or {})}
            elif given[name] is None:
                given[name] = value
        if not given["tools"]:
            for name in _TOOLS:
                del given[name]
        for name in ("tools", "response_format"):  # of tools and an object, the calls are checked
            if (check := getattr(given.get(name), "check", None)) is not None:
                given.setdefault("check", check)
        if self.values.get("show_schema") is False:
            given["show_schema"] = False
        return {name: value for name, value in given.items() if value not in (None, [])}

    def thinking(self) -> Thinking:
        """Return the setting, which is checked.

        Raises:
            InvalidRequestError: If `thinking` has an unknown value.
        """
        thinking: Thinking = self.values.get("thinking")
        check_thinking(thinking)
        return thinking

    def configuration(self) -> dict[str, Any]:
        """Return what the model is to be configured with before its first request."""
        wanted = {
            "context_size": self.values.get("context_size"),
            "keep_alive": self.values.get("keep_alive"),
            "think": thinking_budget(self.thinking()),
        }
        return {name: value for name, value in wanted.items() if value is not None}

    def refuse_over_http(self) -> None:
        """Raise for a setting that only the CLI honors.

        Raises:
            UnsupportedParameterError: If there is one.
        """
        for name, (honored, remedy) in _CLI_ONLY.items():
            if self.values[name] not in honored:
                msg = f"{name}={self.values[name]!r} works over the CLI, not over HTTP"
                raise UnsupportedParameterError(msg, hint=f"{remedy}; or set transport='cli'")


def client_of(values: Mapping[str, Any]) -> Client:
    """Make a client of a model's settings, which costs microseconds."""
    names = Client.__dataclass_fields__.keys() & values.keys()
    return Client(**{name: values[name] for name in names})


def names_for_http(values: Mapping[str, Any]) -> list[str]:
    """Return the names of the settings in force that only HTTP honors."""
    names = [name for name in _HTTP_ONLY & values.keys() if _is_set(name, values[name])]
    names += [name for name, value in _HTTP_VALUES.items() if values.get(name) == value]
    return sorted(names)


def transport_of(values: Mapping[str, Any]) -> TransportName:
    """Return the transport that settings ask for."""
    given: TransportName | None = values["transport"]
    return given or ("http" if names_for_http(values) else "cli")


def by_prompt(values: Mapping[str, Any]) -> bool:
    """Tell whether tools and schemas are described in the prompt, over the CLI."""
    return values["transport"] == "cli" and values.get("tool_calling") == "schema"


def _is_set(name: str, value: object) -> bool:
    """Tell whether a value asks for something: zero does, `False` and no tools do not."""
    if name == "thinking":
        return value is not None
    return value is not None and value is not False and value not in ([], ())


def refuse_over_cli(values: Mapping[str, Any]) -> None:
    """Raise for settings that the CLI does not honor, rather than ignore them.

    Raises:
        UnsupportedParameterError: If the transport is the CLI, and there are such settings.
    """
    if values.get("transport") != "cli":
        return
    honored = _BY_PROMPT if by_prompt(values) else frozenset()
    refused = [name for name in names_for_http(values) if name not in honored]
    if not refused:
        return
    msg = f"`docker model run` has no way to honor {', '.join(refused)}"
    hint = "leave it out, or leave out transport='cli': over HTTP the runner takes it"
    if "max_tokens" in refused:
        hint += "; over the CLI, max_chars= limits the length of an answer"
    if "is_function_calling_model" in refused or "tools" in refused:
        hint += (
            "; over the CLI, tool_calling='schema' describes tools in the prompt, which enforces "
            "nothing, and ReActAgent works too"
        )
    raise UnsupportedParameterError(msg, hint=hint)


def check_names(cls: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a pydantic class, whose names are known.

    Raises:
        ValueError: If one is unknown; says which one was meant, as far as one can tell.
    """
    for name in sorted(settings.keys() - cls.model_fields.keys()):
        hint = setting_hint(name, cls.model_fields, cls.__name__)
        msg = f"{cls.__name__} has no setting {name}; {hint}"
        raise ValueError(msg)
    return settings


def _check_call(call: Mapping[str, Any], model: Collection[str]) -> None:
    known = _CLI_PER_CALL | _HTTP_PER_CALL
    of_model = (set(model) | _MODEL_ONLY) - known
    for name in sorted(call.keys() - known):
        hint = setting_hint(name, known, "DockerModelLLM", of_model)
        if name in of_model:
            msg = f"{name} cannot be given to a single call"
            raise InvalidRequestError(msg, hint=hint)
        msg = f"unexpected keyword of a call: {name}"
        if other_name(name):  # other libraries have it, under this name
            raise UnsupportedParameterError(msg, hint=hint)
        msg = f"{msg}; {hint}"
        raise TypeError(msg)
