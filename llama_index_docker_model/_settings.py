"""Settings of one call: the model's, with the call's own in their place."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import docker_model
from docker_model.client import standby_model_for
from docker_model.errors import InvalidRequestError, UnsupportedParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from docker_model import DockerModel
    from docker_model.http.client import Client

__all__ = [
    "MergedSettings",
    "check_names",
    "client_of",
    "names_for_http",
    "refuse_over_cli",
    "refuse_renamed",
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
    {"api_key", "base_url", "env", "is_function_calling_model", "on_progress", "transport"}
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
_HTTP_ONLY = _PARAMETERS | _CALL_ONLY | {"api_key", "base_url", "is_function_calling_model"}

# Settings of `docker_model.http.Client`.
_CLIENT = (
    *("base_url", "api_key", "timeout", "max_retries"),
    *("max_concurrency", "pull", "on_progress", "command", "env", "headers"),
)

# Names that LlamaIndex's other classes have, and the name here; empty if there is none.
_RENAMED = {
    "additional_kwargs": "extra_body",
    "api_base": "base_url",
    "generate_kwargs": "extra_body",
    "json_mode": "response_format",
    "keep_alive": "",
    "max_completion_tokens": "max_tokens",
    "max_new_tokens": "max_tokens",
    "n": "",
    "num_ctx": "context_window",
    "num_predict": "max_tokens",
    "thinking": "reasoning_effort",
}
_SAME = {
    "api_base": ("base_url",),
    "default_headers": ("headers",),
    "model": ("model_name",),
    "model_name": ("model",),
    "request_timeout": ("timeout",),
}

# Settings of the CLI alone, with the values that every transport honors.
_CLI_ONLY = {
    "max_chars": (frozenset({None}), "max_tokens= limits the length of an answer"),
    "file_references": (
        frozenset({"escape", "refuse"}),
        "HTTP reads no files: put their text into the prompt",
    ),
}


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
        _check_call(call)
        given = {name: value for name, value in call.items() if (name, value) != ("stop", None)}
        values = {**model, **given}
        needs_http = names_for_http(values)
        if values["transport"] == "cli":
            refuse_over_cli(needs_http)
        return cls(values, values["transport"] or ("http" if needs_http else "cli"))

    def docker_model(self, owner: object) -> DockerModel:
        """Return the model for the CLI; `owner` keeps its standby processes."""
        values = {name: self.values[name] for name in _CLI}
        return standby_model_for(owner, docker_model.DockerModel(**values))

    def client(self) -> Client:
        """Return the client for HTTP."""
        return client_of(self.values)

    def parameters(self) -> dict[str, Any]:
        """Return what a request says beside the model and the messages.

        Raises:
            InvalidRequestError: If `tool_choice` names a tool that is not among the tools.
            UnsupportedParameterError: If HTTP cannot honor a setting.
        """
        self.refuse_over_http()
        stop = self.values["stop"]
        body = {name: self.values.get(name) for name in sorted(_PARAMETERS | _CALL_ONLY)}
        body["stop"] = [stop] if isinstance(stop, str) else list(stop or ())
        tools, choice, parallel = (body.pop(name) for name in _TOOLS)
        if tools:
            from docker_model.http.tools import tool_parameters  # noqa: PLC0415  not for the CLI

            body |= tool_parameters(tools, choice, parallel=parallel)
        return {name: value for name, value in body.items() if value not in (None, [])}

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
    from docker_model.http.client import Client  # noqa: PLC0415  not for the CLI

    return Client(**{name: values[name] for name in _CLIENT if name in values})


def names_for_http(values: Mapping[str, Any]) -> list[str]:
    """Return the names of the settings in force that only HTTP honors."""
    return sorted(name for name in _HTTP_ONLY & values.keys() if _is_set(values[name]))


def _is_set(value: object) -> bool:
    """Tell whether a value asks for something: zero does, `False` and no tools do not."""
    return value is not None and value is not False and value not in ([], ())


def refuse_over_cli(names: Iterable[str]) -> None:
    """Raise for settings that the CLI does not honor, rather than ignore them.

    Raises:
        UnsupportedParameterError: If there are names.
    """
    refused = list(names)
    if not refused:
        return
    msg = f"`docker model run` has no way to honor {', '.join(refused)}"
    hint = "leave it out, or leave out transport='cli': over HTTP the runner takes it"
    if "max_tokens" in refused:
        hint += "; over the CLI, max_chars= limits the length of an answer"
    if "is_function_calling_model" in refused or "tools" in refused:
        hint += "; ReActAgent works over the CLI too"
    raise UnsupportedParameterError(msg, hint=hint)


def refuse_renamed(names: Iterable[str]) -> None:
    """Raise for names of LlamaIndex's other classes that have another name here, or none.

    Raises:
        UnsupportedParameterError: If there is one.
    """
    refused = sorted(_RENAMED.keys() & set(names))
    if not refused:
        return
    msg = f"DockerModelLLM has no setting {', '.join(refused)}"
    known = [f"{_RENAMED[name]}= for {name}=" for name in refused if _RENAMED[name]]
    hint = f"use {', '.join(known)} (HTTP)" if known else "leave it out"
    raise UnsupportedParameterError(msg, hint=hint)


def check_names(cls: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a pydantic class, whose names are known.

    Raises:
        ValueError: If one is unknown; says which one was meant, as far as one can tell.
    """
    for name in sorted(settings.keys() - cls.model_fields.keys()):
        hint = _meant(name, cls.model_fields)
        msg = f"{cls.__name__} has no setting {name}; {hint or f'see help({cls.__name__})'}"
        raise ValueError(msg)
    return settings


def _meant(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    for other in _SAME.get(name, ()):
        if other in known:
            return f"use {other}="
    close = get_close_matches(name.lower(), known, 1)
    return f"did you mean {close[0]}?" if close else ""


def _check_call(call: Mapping[str, Any]) -> None:
    refuse_renamed(call)
    known = _CLI_PER_CALL | _PARAMETERS | _CALL_ONLY
    unknown = sorted(call.keys() - known - _MODEL_ONLY)
    if unknown:
        msg = f"unexpected keyword of a call: {unknown[0]}"
        if hint := _meant(unknown[0], known):
            msg += f"; {hint}"
        raise TypeError(msg)
    private = sorted(call.keys() & _MODEL_ONLY)
    if private:
        msg = f"{', '.join(private)} cannot be given to a single call, whose keywords are traced"
        raise InvalidRequestError(msg, hint="set it on the model")
