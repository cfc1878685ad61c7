"""Names of settings from other libraries, and misspelled ones: what the user meant; pure."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from docker_model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["name_model", "setting_hint"]

# What LangChain's, LlamaIndex's, Ollama's and OpenAI's classes call it, and what it is here. Of
# several names the first is taken that the class has.
_ELSEWHERE: dict[str, tuple[str, ...]] = {
    "additional_kwargs": ("extra_body",),
    "api_base": ("base_url",),
    "async_client_kwargs": ("headers", "timeout"),
    "client_kwargs": ("headers", "timeout"),
    "context_window": ("context_size",),
    "default_headers": ("headers",),
    "disable_thinking": ("thinking",),
    "enable_thinking": ("thinking",),
    "endpoint": ("base_url",),
    "format": ("response_format",),
    "host": ("base_url",),
    "json_mode": ("response_format",),
    "max_completion_tokens": ("max_tokens", "max_chars"),
    "max_new_tokens": ("max_tokens", "max_chars"),
    "max_output_tokens": ("max_tokens", "max_chars"),
    "max_tokens": ("max_tokens", "max_chars"),
    "max_tokens_to_sample": ("max_tokens", "max_chars"),
    "model_id": ("model", "model_name"),
    "model_kwargs": ("extra_body",),
    "model_name": ("model",),
    "model_path": ("model", "model_name"),
    "n_ctx": ("context_size",),
    "n_predict": ("max_tokens", "max_chars"),
    "num_ctx": ("context_size",),
    "num_output": ("max_tokens", "max_chars"),
    "num_predict": ("max_tokens", "max_chars"),
    "openai_api_base": ("base_url",),
    "openai_api_key": ("api_key",),
    "ollama_additional_kwargs": ("extra_body",),
    "options": ("extra_body",),
    "query_prefix": ("query_instruction",),
    "embed_instruction": ("text_instruction",),
    "reasoning": ("thinking", "reasoning_effort"),
    "repetition_penalty": ("repeat_penalty",),
    "request_timeout": ("timeout",),
    "response_schema": ("response_format",),
    "stop_sequences": ("stop",),
    "sync_client_kwargs": ("headers", "timeout"),
    "think": ("thinking",),
    "thinking_budget": ("thinking",),
    "url": ("base_url",),
}


def setting_hint(name: str, known: Collection[str]) -> str:
    """Say what a user who wrote `name` may have meant.

    Args:
        name: A setting that a class does not have.
        known: The settings that it has.

    Returns:
        A hint for an error; empty if nothing comes close.
    """
    meant = next((here for here in _ELSEWHERE.get(name, ()) if here in known), None)
    if meant is not None:
        return f"{name} is called {meant} here"
    close = get_close_matches(name, known, n=1, cutoff=0.75)
    return f"did you mean {close[0]}?" if close else ""


def name_model(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return settings in which the model, given as `model` or `model_name`, is called `name`.

    Raises:
        InvalidRequestError: If both are given.
    """
    given = [spelling for spelling in ("model", "model_name") if spelling in settings]
    if len(given) > 1:
        msg = "model and model_name are two names of one setting, and both are given"
        raise InvalidRequestError(msg, hint=f"give {name} alone")
    return {name if key in given else key: value for key, value in settings.items()}
