"""Which keywords a model and a call may be given, and which way they lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docker_model.errors import InvalidRequestError, UnsupportedParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What a single call may be given in the place of the model's own setting.
_PER_CALL = frozenset(
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

# All settings of `docker_model.DockerModel` for the CLI. Core puts a call's keywords into
# events and traces, where neither an environment nor a function belongs, nor a key.
SETTINGS = _PER_CALL | {"env", "on_progress"}
_PRIVATE = frozenset(
    {"api_key", "base_url", "env", "is_function_calling_model", "on_progress", "transport"}
)

# What the API and the fields call the same.
PARAMETERS = frozenset(
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
# And what only calls have.
_OF_TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
_OF_CALLS = frozenset({"logit_bias", "logprobs", "top_logprobs", *_OF_TOOLS})
_HTTP_ONLY = PARAMETERS | _OF_CALLS | {"api_key", "base_url", "is_function_calling_model"}

# What LlamaIndex's other classes take, and the name for it here if there is one.
_ELSEWHERE = {
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

# What only the CLI can do, with the values that ask for nothing.
_CLI_ONLY = {
    "max_chars": (frozenset({None}), "max_tokens= limits the length of an answer"),
    "file_references": (
        frozenset({"escape", "refuse"}),
        "it reads no files: put their text into the prompt",
    ),
}


def asks_for_http(settings: Mapping[str, Any]) -> list[str]:
    """The names among `settings` that only the API can honour; `None` asks for nothing."""
    return sorted(name for name in _HTTP_ONLY & settings.keys() if _asks(settings[name]))


def _asks(value: object) -> bool:
    """Zero asks for something; no tools, or `False`, do not."""
    return value is not None and value is not False and value not in ([], ())


def refuse_over_cli(names: Iterable[str]) -> None:
    """Raise for what the CLI cannot honour, rather than ignore it in silence.

    Raises:
        UnsupportedParameterError: If there is any.
    """
    refused = list(names)
    if not refused:
        return
    msg = f"`docker model run` has no way to honour {', '.join(refused)}"
    hint = "leave it out, or leave out transport='cli': over HTTP the runner takes it"
    if "max_tokens" in refused:
        hint += "; over the CLI, max_chars= limits the length of an answer"
    if "is_function_calling_model" in refused or "tools" in refused:
        hint += "; ReActAgent works over the CLI too"
    raise UnsupportedParameterError(msg, hint=hint)


def refuse_over_http(settings: Mapping[str, Any]) -> None:
    """Raise for what the API cannot honour.

    Raises:
        UnsupportedParameterError: If there is any.
    """
    for name, (idle, remedy) in _CLI_ONLY.items():
        if settings[name] not in idle:
            msg = f"{name}={settings[name]!r} is for the CLI, and other settings ask for HTTP"
            raise UnsupportedParameterError(msg, hint=f"{remedy}; transport='cli' has it")


def refuse_foreign(names: Iterable[str]) -> None:
    """Raise for what goes by another name here, or by none.

    Raises:
        UnsupportedParameterError: If there is any.
    """
    refused = sorted(_ELSEWHERE.keys() & set(names))
    if not refused:
        return
    msg = f"there is no {', '.join(refused)} here, on either transport"
    known = [f"{_ELSEWHERE[name]}= for {name}=" for name in refused if _ELSEWHERE[name]]
    hint = f"use {', '.join(known)} (HTTP)" if known else "leave it out"
    raise UnsupportedParameterError(msg, hint=hint)


def check_call(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check the keywords of a single call.

    Returns:
        Those that take the place of the model's own: not a `stop` of `None`, which says that
        none is given.

    Raises:
        UnsupportedParameterError: One that no transport has.
        InvalidRequestError: One that only the model may have.
        TypeError: One that nobody has heard of.
    """
    refuse_foreign(settings)
    unknown = sorted(settings.keys() - _PER_CALL - PARAMETERS - _OF_CALLS - _PRIVATE)
    if unknown:
        msg = f"unexpected keyword of a call: {', '.join(unknown)}"
        raise TypeError(msg)
    private = sorted(settings.keys() & _PRIVATE)
    if private:
        msg = f"{', '.join(private)} cannot be given to a single call, whose keywords are traced"
        raise InvalidRequestError(msg, hint="set it on the model")
    return {name: value for name, value in settings.items() if (name, value) != ("stop", None)}


def body_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a request says beside model and messages.

    Args:
        settings: The model's, with the call's in their place.

    Raises:
        InvalidRequestError: The choice names a tool that is not there.
    """
    stop = settings["stop"]
    body = {name: settings.get(name) for name in sorted(PARAMETERS | _OF_CALLS)}
    body["stop"] = [stop] if isinstance(stop, str) else list(stop or ())
    tools, choice, parallel = (body.pop(name) for name in _OF_TOOLS)
    if tools:
        from docker_model.http.tools import tool_parameters  # noqa: PLC0415  not for the CLI

        body |= tool_parameters(tools, choice, parallel=parallel)
    return {name: value for name, value in body.items() if value not in (None, [])}
