"""Hints for unknown settings: names from other libraries, and misspelled names."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from docker_model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["name_model", "other_name", "setting_hint"]

# Names of settings in LangChain, LlamaIndex, Ollama and OpenAI, and their names in this package.
# Of several names, the first name that the class has is used.
_ANSWER_LENGTH = ("max_tokens", "max_chars")
_MODEL = ("model", "model_name")
_CLIENT = ("headers", "timeout")
_ELSEWHERE: dict[str, tuple[str, ...]] = {
    "additional_kwargs": ("extra_body",),
    "api_base": ("base_url",),
    "api_token": ("api_key",),
    "async_client_kwargs": _CLIENT,
    "azure_endpoint": ("base_url",),
    "callback_manager": ("callbacks",),
    "client_kwargs": _CLIENT,
    "cohere_api_key": ("api_key",),
    "context_window": ("context_size",),
    "default_headers": ("headers",),
    "deployment_name": _MODEL,
    "disable_thinking": ("thinking",),
    "embed_instruction": ("text_instruction",),
    "embed_model": _MODEL,
    "enable_thinking": ("thinking",),
    "endpoint": ("base_url",),
    "engine": _MODEL,
    "format": ("response_format",),
    "host": ("base_url",),
    "huggingfacehub_api_token": ("api_key",),
    "json_mode": ("response_format",),
    "max_completion_tokens": _ANSWER_LENGTH,
    "max_length": _ANSWER_LENGTH,
    "max_new_tokens": _ANSWER_LENGTH,
    "max_output_tokens": _ANSWER_LENGTH,
    "max_tokens": _ANSWER_LENGTH,
    "max_tokens_to_sample": _ANSWER_LENGTH,
    "model_id": _MODEL,
    "model_kwargs": ("extra_body",),
    "model_name": ("model",),
    "model_path": _MODEL,
    "model_type": _MODEL,
    "n_ctx": ("context_size",),
    "n_predict": _ANSWER_LENGTH,
    "num_ctx": ("context_size",),
    "num_output": _ANSWER_LENGTH,
    "num_predict": _ANSWER_LENGTH,
    "ollama_additional_kwargs": ("extra_body",),
    "openai_api_base": ("base_url",),
    "openai_api_key": ("api_key",),
    "options": ("extra_body",),
    "query_prefix": ("query_instruction",),
    "reasoning": ("thinking", "reasoning_effort"),
    "repetition_penalty": ("repeat_penalty",),
    "request_timeout": ("timeout",),
    "rerank_model": _MODEL,
    "response_schema": ("response_format",),
    "stop_sequences": ("stop",),
    "stop_tokens": ("stop",),
    "stop_words": ("stop",),
    "sync_client_kwargs": _CLIENT,
    "text_prefix": ("text_instruction",),
    "think": ("thinking",),
    "thinking_budget": ("thinking",),
    "truncation": ("truncate",),
    "url": ("base_url",),
}

# Hints for settings without an equivalent in this package.
_INSTEAD = {
    **dict.fromkeys(
        ("device", "device_map", "torch_dtype", "cache_folder", "trust_remote_code"),
        "remove it: Docker Model Runner stores the model, and chooses the device",
    ),
    **dict.fromkeys(
        ("main_gpu", "n_batch", "n_gpu_layers", "n_threads", "num_batch", "num_gpu", "num_thread"),
        "docker_model.configure_model(model, runtime_flags=[...]) sets the engine's flags",
    ),
    **dict.fromkeys(
        ("batch_size", "chunk_size", "embed_batch_size", "max_chunks_per_doc"),
        "remove it: this package chooses the size of requests",
    ),
    **dict.fromkeys(("stream", "streaming"), "remove it, and call stream()"),
    **dict.fromkeys(("system", "system_prompt"), "begin the messages with a system message"),
    "validate_model_on_init": "remove it, and call warm_up() to load the model",
}
_OF_THE_RUNNER = ("context_size", "keep_alive")  # settings of configure_model


def other_name(name: str, known: Collection[str] | None = None) -> str | None:
    """Return the name of another library's setting in this package, or `None`.

    Args:
        name: The setting of the other library.
        known: The settings of a class; default: those of any class.
    """
    names = _ELSEWHERE.get(name, ())
    return next((own_name for own_name in names if known is None or own_name in known), None)


def setting_hint(
    name: str, known: Collection[str], owner: str, of_model: Collection[str] = ()
) -> str:
    """Return a hint for an unknown setting.

    Args:
        name: A setting that a class, or one of its calls, does not have.
        known: The settings that it has.
        owner: The class.
        of_model: For a call: the settings of the model, which the call does not accept.

    Returns:
        A hint for an error, which is never empty.
    """
    if (own_name := other_name(name, known)) is not None:
        return f"{name} is called {own_name} here"
    own_name = name if name in of_model else other_name(name, of_model)
    if own_name is not None:
        renamed = "" if own_name == name else f"{name} is called {own_name} here; "
        return f"{renamed}set it on the model: {owner}({own_name}=...)"
    own_name = other_name(name) or name
    if own_name in _OF_THE_RUNNER:
        return f"docker_model.configure_model(model, {own_name}=...) sets it for all users"
    if name in _INSTEAD:
        return _INSTEAD[name]
    if close := get_close_matches(name, known, n=1, cutoff=0.75):
        return f"did you mean {close[0]}?"
    extra = "; extra_body passes other settings to the engine" if "extra_body" in known else ""
    return f"help({owner}) lists the settings{extra}"


def name_model(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return settings with the key `name` instead of `model` or `model_name`.

    Raises:
        InvalidRequestError: If both `model` and `model_name` are set.
    """
    keys = [key for key in ("model", "model_name") if key in settings]
    if len(keys) > 1:
        msg = "model and model_name are two names of one setting, and both are set"
        raise InvalidRequestError(msg, hint=f"pass only {name}")
    return {name if key in keys else key: value for key, value in settings.items()}
