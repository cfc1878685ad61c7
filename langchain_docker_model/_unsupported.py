"""What cannot be honoured: the parameters that a prompt and its one text have no place for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_docker_model.errors import UnsupportedParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What LangChain's own model classes and the runner's API call them.
KNOWN = frozenset(
    {
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
    """Raise for parameters that `DockerModelLLM` cannot honour, rather than ignore them in silence.

    Raises:
        UnsupportedParameterError: If there is one among `names`.
    """
    refused = sorted(names)
    if not refused:
        return
    msg = f"DockerModelLLM has no way to honour {', '.join(refused)}"
    hint = "leave it out, or take ChatDockerModel: the runner's HTTP API may have it"
    if not _LENGTH_LIMITS.isdisjoint(refused):
        hint += "; max_chars= limits the length of an answer here"
    raise UnsupportedParameterError(msg, hint=hint)


def refuse_address(settings: Mapping[str, object]) -> None:
    """Raise for the address of an HTTP API, or a key to it, where the CLI was asked for.

    Raises:
        UnsupportedParameterError: `transport` is `"cli"`, and there is one.
    """
    if settings.get("transport") != "cli":
        return
    given = [name for name in ("api_key", "base_url", "headers") if settings.get(name) is not None]
    if given:
        msg = f"transport='cli' has no way to honour {', '.join(given)}"
        raise UnsupportedParameterError(msg, hint="leave transport out, or make it 'http'")
