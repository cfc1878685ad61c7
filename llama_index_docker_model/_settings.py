"""The settings of one call: the model's own, overridden by those of the call."""

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

# Settings of `docker_model.DockerModel` for the CLI that a single call also accepts.
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

# Settings that a call does not accept. Core puts the keywords of a call into events and traces,
# which must not contain environment variables, functions or keys.
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

# Parameters of the API, with the API's names.
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

# Settings that the CLI supports with `tool_calling="schema"`.
_BY_PROMPT = frozenset({*_TOOLS, "is_function_calling_model", "response_format"})

# Settings that require HTTP only with this value.
_HTTP_VALUES = {"overflow": "trim", "when_full": "unload"}

# Settings of `Client` for a conversation; they are not sent.
_CONVERSATION = ("overflow", "tool_calling")

# Settings that only the CLI supports, except for these values, and what to use over HTTP instead.
_CLI_ONLY = {
    "max_chars": (frozenset({None}), "max_tokens= limits the length of an answer"),
    "file_references": (
        frozenset({"escape", "refuse"}),
        "HTTP reads no files: put their text into the prompt",
    ),
}


class ChecksValues(BaseModel):
    """Validates values before pydantic tries each type of a union, for a single error message."""

    _check_timeout = field_validator("timeout", mode="before", check_fields=False)(check_timeout)
    _check_stop = field_validator("stop", mode="before", check_fields=False)(check_stop)


@dataclass(frozen=True, slots=True)
class MergedSettings:
    """The settings of one call.

    Attributes:
        values: All settings by name.
        transport: The transport of the call.
    """

    values: dict[str, Any]
    transport: TransportName

    @classmethod
    def of(cls, model: Mapping[str, Any], call: Mapping[str, Any]) -> Self:
        """Override the model's settings with those of a call.

        Args:
            model: The model's settings.
            call: The keywords of the call. A `stop` of `None` keeps the model's own.

        Raises:
            UnsupportedParameterError: If the transport does not support a setting.
            InvalidRequestError: If a keyword is a setting that only the model accepts.
            TypeError: If a keyword is unknown.
        """
        _check_call(call, model)
        overrides = {name: value for name, value in call.items() if (name, value) != ("stop", None)}
        values = {**model, **overrides}
        refuse_over_cli(values)
        return cls(values, transport_of(values))

    @property
    def enforces_schema(self) -> bool:
        """Whether an object is requested with a JSON schema, which selects HTTP.

        `False` over the CLI, unless the prompt describes the schema.
        """
        if self.transport == "http" or by_prompt(self.values):
            return True
        return self.values["transport"] is None and not self._cli_only()

    def docker_model(self, owner: object) -> DockerModel:
        """Return the model for the CLI; `owner` owns its standby processes."""
        values = {name: self.values[name] for name in _CLI}
        return standby_model_for(owner, docker_model.DockerModel(**values))

    def client(self) -> Client:
        """Return the client for HTTP."""
        return client_of(self.values)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of a request, and the client's settings for the conversation.

        Raises:
            InvalidRequestError: If a parameter has an invalid value.
        """
        names = sorted(_PARAMETERS | _CALL_ONLY)
        check_numbers(self.values)
        parameters = {name: self.values.get(name) for name in (*names, *_CONVERSATION)}
        parameters["stop"] = list(stop_sequences(self.values["stop"]))
        for name, value in thinking_parameters(self.thinking(), None).items():
            if isinstance(value, dict):
                parameters[name] = {**value, **(parameters[name] or {})}
            elif parameters[name] is None:
                parameters[name] = value
        if not parameters["tools"]:
            for name in _TOOLS:
                del parameters[name]
        for name in ("tools", "response_format"):  # the check of tools has priority
            if (check := getattr(parameters.get(name), "check", None)) is not None:
                parameters.setdefault("check", check)
        if self.values.get("show_schema") is False:
            parameters["show_schema"] = False
        return {name: value for name, value in parameters.items() if value not in (None, [])}

    def thinking(self) -> Thinking:
        """Return the validated `thinking` setting.

        Raises:
            InvalidRequestError: If `thinking` has an unknown value.
        """
        thinking: Thinking = self.values.get("thinking")
        check_thinking(thinking)
        return thinking

    def configuration(self) -> dict[str, Any]:
        """Return the configuration to apply to the model before its first request."""
        configuration = {
            "context_size": self.values.get("context_size"),
            "keep_alive": self.values.get("keep_alive"),
            "think": thinking_budget(self.thinking()),
        }
        return {name: value for name, value in configuration.items() if value is not None}

    def refuse_over_http(self) -> None:
        """Raise an error for a setting that only the CLI supports.

        Raises:
            UnsupportedParameterError: If there is one.
        """
        for name in self._cli_only():
            msg = f"{name}={self.values[name]!r} works over the CLI, not over HTTP"
            _, remedy = _CLI_ONLY[name]
            raise UnsupportedParameterError(msg, hint=f"{remedy}; or set transport='cli'")

    def _cli_only(self) -> list[str]:
        """Return the names of the settings with values that only the CLI supports."""
        settings = _CLI_ONLY.items()
        return [name for name, (supported, _) in settings if self.values[name] not in supported]


def client_of(values: Mapping[str, Any]) -> Client:
    """Return a client with a model's settings; creating one takes microseconds."""
    names = Client.__dataclass_fields__.keys() & values.keys()
    return Client(**{name: values[name] for name in names})


def names_for_http(values: Mapping[str, Any]) -> list[str]:
    """Return the names of the settings that are set and that only HTTP supports."""
    names = [name for name in _HTTP_ONLY & values.keys() if _is_set(name, values[name])]
    names += [name for name, value in _HTTP_VALUES.items() if values.get(name) == value]
    return sorted(names)


def transport_of(values: Mapping[str, Any]) -> TransportName:
    """Return the transport that the settings select."""
    transport: TransportName | None = values["transport"]
    return transport or ("http" if names_for_http(values) else "cli")


def by_prompt(values: Mapping[str, Any]) -> bool:
    """Tell whether tools and schemas are described in the prompt, over the CLI."""
    return values["transport"] == "cli" and values.get("tool_calling") == "schema"


def _is_set(name: str, value: object) -> bool:
    """Tell whether a value has an effect: zero does; `False` and an empty list do not."""
    if name == "thinking":
        return value is not None
    return value is not None and value is not False and value not in ([], ())


def refuse_over_cli(values: Mapping[str, Any]) -> None:
    """Raise an error for settings that the CLI does not support.

    Raises:
        UnsupportedParameterError: If the transport is the CLI, and there are such settings.
    """
    if values.get("transport") != "cli":
        return
    supported = _BY_PROMPT if by_prompt(values) else frozenset()
    refused = [name for name in names_for_http(values) if name not in supported]
    if not refused:
        return
    msg = f"`docker model run` does not support {', '.join(refused)}"
    hint = "leave it out, or leave out transport='cli': the HTTP API supports it"
    if "max_tokens" in refused:
        hint += "; over the CLI, max_chars= limits the length of an answer"
    if "is_function_calling_model" in refused or "tools" in refused:
        hint += (
            "; over the CLI, tool_calling='schema' describes tools in the prompt, which enforces "
            "nothing, and ReActAgent works too"
        )
    raise UnsupportedParameterError(msg, hint=hint)


def check_names(cls: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Check the names of the settings of a pydantic class, and return the settings.

    Raises:
        ValueError: If a name is unknown; the message suggests a similar setting.
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
        if other_name(name):  # a setting of other libraries
            raise UnsupportedParameterError(msg, hint=hint)
        msg = f"{msg}; {hint}"
        raise TypeError(msg)
