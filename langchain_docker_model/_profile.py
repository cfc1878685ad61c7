"""A model's capabilities as LangChain's model profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.language_models import ModelProfile

if TYPE_CHECKING:
    from docker_model.types import ModelInfo

__all__ = ["known_profile_of", "profile_of"]


def profile_of(transport: str | None, tool_calling: str) -> ModelProfile:
    """Return the part of the profile that is the same for every model."""
    over_http = transport != "cli"
    calls_tools = over_http or tool_calling == "schema"
    profile: ModelProfile = {
        "open_weights": True,
        "text_inputs": True,
        "text_outputs": True,
        "temperature": over_http,
        "tool_calling": calls_tools,
        "tool_choice": calls_tools,
        "tool_call_streaming": over_http,
        "structured_output": calls_tools,
    }
    if "mid_conversation_system_messages" in ModelProfile.__annotations__:
        profile["mid_conversation_system_messages"] = False  # langchain-core 1.6.0 warns of it
    return profile


def known_profile_of(model: ModelInfo | None) -> ModelProfile:
    """Return the part of the profile from the model's metadata; empty if that is unknown."""
    if model is None:
        return {}
    profile: ModelProfile = {"name": model.name}
    if model.context_size is not None:
        profile["max_input_tokens"] = model.context_size
    # The model can have more capabilities than its metadata lists, so none is set to `False`.
    if "vision" in model.capabilities:
        profile["image_inputs"] = profile["image_url_inputs"] = True
        profile["image_tool_message"] = True
    if "audio" in model.capabilities:
        profile["audio_inputs"] = True
    if "thinking" in model.capabilities:
        profile["reasoning_output"] = True
    return profile
