"""The parameters that `docker model run` has no way to honour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_docker_model.errors import UnsupportedParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable

# What LangChain's own model classes and the runner's API call them.
KNOWN = frozenset(
    {
        "api_key",
        "base_url",
        "best_of",
        "echo",
        "extra_body",
        "format",
        "frequency_penalty",
        "function_call",
        "functions",
        "grammar",
        "images",
        "keep_alive",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_retries",
        "max_tokens",
        "min_p",
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "model_kwargs",
        "n",
        "n_predict",
        "num_ctx",
        "num_predict",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning",
        "reasoning_effort",
        "repeat_last_n",
        "repeat_penalty",
        "response_format",
        "seed",
        "stream_options",
        "suffix",
        "system",
        "temperature",
        "tfs_z",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "typical_p",
        "user",
    }
)

_LENGTH_LIMITS = frozenset({"max_completion_tokens", "max_tokens", "n_predict", "num_predict"})


def refuse(names: Iterable[str]) -> None:
    """Raise for parameters that the CLI cannot honour, rather than ignore them in silence.

    Raises:
        UnsupportedParameterError: If there is one among `names`.
    """
    refused = sorted(names)
    if not refused:
        return
    msg = f"`docker model run` has no way to honour {', '.join(refused)}"
    hint = "leave it out, or ask the runner's OpenAI-compatible HTTP API, which may have it"
    if not _LENGTH_LIMITS.isdisjoint(refused):
        hint += "; over the CLI, max_chars= limits the length of an answer"
    raise UnsupportedParameterError(msg, hint=hint)
