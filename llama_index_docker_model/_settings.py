"""Which keywords a model and a call may be given."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

# All settings of `docker_model.DockerModel`. Core puts a call's keywords into events and
# traces, where neither an environment nor a function belongs.
SETTINGS = _PER_CALL | {"env", "on_progress"}

# What LlamaIndex's other classes and the runner's HTTP API take, and the CLI does not.
_UNSUPPORTED = frozenset(
    {
        "additional_kwargs",
        "api_base",
        "api_key",
        "base_url",
        "frequency_penalty",
        "generate_kwargs",
        "json_mode",
        "keep_alive",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_new_tokens",
        "max_retries",
        "max_tokens",
        "min_p",
        "n",
        "num_ctx",
        "num_predict",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "repeat_penalty",
        "response_format",
        "seed",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
    }
)
_LENGTH_LIMITS = frozenset({"max_completion_tokens", "max_new_tokens", "max_tokens", "num_predict"})


def refuse_unsupported(names: Iterable[str]) -> None:
    """Raise for what the CLI cannot honour, rather than ignore it in silence.

    Raises:
        UnsupportedParameterError: If there is such a name among `names`.
    """
    refused = sorted(_UNSUPPORTED.intersection(names))
    if not refused:
        return
    msg = f"`docker model run` has no way to honour {', '.join(refused)}"
    hint = "leave it out, or ask the runner's OpenAI-compatible HTTP API, which may have it"
    if not _LENGTH_LIMITS.isdisjoint(refused):
        hint += "; over the CLI, max_chars= limits the length of an answer"
    raise UnsupportedParameterError(msg, hint=hint)


def check_call(settings: Mapping[str, object]) -> None:
    """Check the keywords of a single call.

    Raises:
        UnsupportedParameterError: One that the CLI has no way to honour.
        InvalidRequestError: One that only the model may have.
        TypeError: One that nobody has heard of.
    """
    refuse_unsupported(settings)
    unknown = sorted(settings.keys() - SETTINGS)
    if unknown:
        msg = f"unexpected keyword of a call: {', '.join(unknown)}"
        raise TypeError(msg)
    private = sorted(settings.keys() - _PER_CALL)
    if private:
        msg = f"{', '.join(private)} cannot be given to a single call, whose keywords are traced"
        raise InvalidRequestError(msg, hint="set it on the model")
