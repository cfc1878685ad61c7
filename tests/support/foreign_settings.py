"""Settings of other libraries, with a text that the error about each one must contain."""

from __future__ import annotations

import re

# Settings of ChatOllama, ChatOpenAI, Ollama, OpenAILike, HuggingFaceLLM and others.
OF_CHATS = {
    "num_ctx": "called context_size here",
    "n_ctx": "called context_size here",
    "num_predict": "called max_tokens here",
    "max_new_tokens": "called max_tokens here",
    "max_completion_tokens": "called max_tokens here",
    "request_timeout": "called timeout here",
    "model_name": "called model here",
    "model_id": "called model here",
    "api_base": "called base_url here",
    "openai_api_base": "called base_url here",
    "openai_api_key": "called api_key here",
    "stop_sequences": "called stop here",
    "repetition_penalty": "called repeat_penalty here",
    "default_headers": "called headers here",
    "format": "called response_format here",
    "think": "called thinking here",
    "model_kwargs": "called extra_body here",
    "temprature": "did you mean temperature?",
    "mirostat": "extra_body passes other settings to the engine",
    "num_gpu": "docker_model.configure_model(model, runtime_flags=[...])",
    "validate_model_on_init": "warm_up()",
    "device": "Docker Model Runner stores the model",
}

# Settings of HuggingFaceEmbeddings, OllamaEmbeddings, CohereRerank and others.
OF_EMBEDDINGS_AND_RERANKERS = {
    "model_id": "called model",
    "api_base": "called base_url here",
    "cohere_api_key": "called api_key here",
    "request_timeout": "called timeout here",
    "num_ctx": "docker_model.configure_model(model, context_size=...)",
    "keep_alive": "docker_model.configure_model(model, keep_alive=...)",
    "batch_size": "this package chooses the size of requests",
    "chunk_size": "this package chooses the size of requests",
    "cache_folder": "Docker Model Runner stores the model",
    "encode_kwargs": "help(DockerModel",
}

# Values of the wrong type, and the beginning of the error message.
WRONG_VALUES = {
    "max_tokens": ("five", "max_tokens"),
    "temperature": ("hot", "temperature"),
    "seed": ("x", "seed"),
    "timeout": ((5, 30), "timeout 'total' must be"),
    "stop": (5, "stop must be"),
}


def check_refusal(error, name, advice):
    """Check that an error is one sentence with the name, and one hint that contains `advice`."""
    text = str(error)
    if "validation error" in text:
        assert text.startswith("1 validation error"), text
        text = re.search(r"(?s)Value error, (.*) \[type=", text)[1]
    what, hint = re.split(r"\n\s*Hint: |; ", text, maxsplit=1)
    assert name in what
    assert advice in hint
    assert len(text) < 220, text
