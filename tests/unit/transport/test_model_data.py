"""Parsing of model descriptions, in the shapes that public models have."""

import pytest

from docker_model._transport.model_data import (
    flag_values,
    parse_model,
    parse_models,
    with_configuration,
)
from docker_model.types import ModelConfiguration

ID = "sha256:" + "ab12" * 16

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n'}}{% endfor %}"
)
QWEN_TOOLS = CHATML + "{%- if tools %}{{- '<|im_start|>system\n# Tools' }}{%- endif %}"
QWEN3 = QWEN_TOOLS + "{%- if enable_thinking is defined %}<think>\n\n</think>{% endif %}"
GEMMA3 = (
    "{{ bos_token }}{%- for message in messages -%}{%- for item in message['content'] -%}"
    "{%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}{%- endif -%}{%- endfor -%}"
    "{%- endfor -%}"
)
GPT_OSS = (
    "{%- if reasoning_effort is not defined %}{%- set reasoning_effort = 'medium' %}{%- endif %}"
    "{%- if tools %}# Tools{% endif %}{%- for message in messages %}{{ message.thinking }}"
    "{%- endfor %}"
)
DEEPSEEK = (
    "{% for message in messages %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}{% endfor %}"
)
MISTRAL = "{{ bos_token }}{%- if tools is not none %}[AVAILABLE_TOOLS]{{ tools }}{%- endif %}"


def gguf(architecture, *, length=None, template=None, name="", **more):
    values = {"general.architecture": architecture, "general.name": name}
    if length:
        values[f"{architecture}.context_length"] = str(length)
    if template:
        values["tokenizer.chat_template"] = template
    return {**values, **{key.replace("__", "."): value for key, value in more.items()}}


# model: (config, context size in force, trained context, capabilities)
MODELS = {
    "ai/smollm2": (
        {"format": "gguf", "architecture": "llama", "quantization": "IQ2_XXS/Q4_K_M"}
        | {"parameters": "361.82M", "size": "256.35MiB"}
        | {"gguf": gguf("llama", length=8192, template=CHATML, name="Smollm2 360M 8k Lc100K")},
        4096,
        8192,
        {"chat"},
    ),
    "ai/qwen2.5": (
        {"format": "gguf", "architecture": "qwen2", "context_size": 16384}
        | {"gguf": gguf("qwen2", length=32768, template=QWEN_TOOLS, name="Qwen2.5 7B Instruct")},
        16384,
        32768,
        {"chat", "tools"},
    ),
    "ai/qwen3": (
        {"format": "gguf", "architecture": "qwen3", "context_size": 40960}
        | {"gguf": gguf("qwen3", length=40960, template=QWEN3, name="Qwen3 8B")},
        40960,
        40960,
        {"chat", "tools", "thinking"},
    ),
    "ai/gpt-oss": (
        {"format": "gguf", "architecture": "gpt-oss", "quantization": "MXFP4"}
        | {"gguf": gguf("gpt-oss", length=131072, template=GPT_OSS, name="Gpt-Oss-20B")},
        4096,
        131072,
        {"chat", "tools", "thinking"},
    ),
    "ai/deepseek-r1-distill-llama": (
        {"format": "gguf", "architecture": "llama"}
        | {"gguf": gguf("llama", length=131072, template=DEEPSEEK)},
        4096,
        131072,
        {"chat", "thinking"},
    ),
    "ai/gemma3 (4B, with images)": (
        {"format": "gguf", "architecture": "gemma3", "context_size": 131072}
        | {
            "gguf": gguf("gemma3", length=131072, template=GEMMA3, name="Gemma 3 4b It")
            | {"general.tags": "image-text-to-text"}
        },
        131072,
        131072,
        {"chat", "vision"},
    ),
    "ai/gemma3:270M (the same template, no images)": (
        {"format": "gguf", "architecture": "gemma3"}
        | {"gguf": gguf("gemma3", length=32768, template=GEMMA3) | {"general.tags": "gemma"}},
        4096,
        32768,
        {"chat"},
    ),
    "hf.co/ggml-org/Qwen2.5-VL-7B-Instruct-GGUF": (
        {"format": "gguf", "architecture": "qwen2vl"}
        | {"gguf": gguf("qwen2vl", length=128000, template=CHATML)},
        4096,
        128000,
        {"chat", "vision"},
    ),
    "hf.co/ggml-org/ultravox-v0_5-llama-3_2-1b-GGUF": (
        {"format": "gguf", "architecture": "llama"}
        | {
            "gguf": gguf("llama", length=131072, template=CHATML)
            | {"general.tags": "audio-text-to-text, transformers"}
        },
        4096,
        131072,
        {"chat", "audio"},
    ),
    "hf.co/mistralai/Devstral-Small-2507_gguf": (
        {"format": "gguf", "architecture": "llama"}
        | {"gguf": gguf("llama", length=131072, template=MISTRAL)},
        4096,
        131072,
        {"chat", "tools"},
    ),
    "ai/all-minilm": (
        {"format": "gguf", "architecture": "bert", "parameters": "22.57M"}
        | {"gguf": gguf("bert", length=512, bert__pooling_type="1", name="all-MiniLM-L6-v2")},
        512,
        512,
        {"embedding"},
    ),
    "ai/nomic-embed-text-v1.5": (
        {"format": "gguf", "architecture": "nomic-bert"}
        | {"gguf": gguf("nomic-bert", length=2048) | {"nomic-bert.pooling_type": "1"}},
        2048,
        2048,
        {"embedding"},
    ),
    "ai/embeddinggemma": (
        {"format": "gguf", "architecture": "gemma-embedding", "context_size": 2048}
        | {"gguf": gguf("gemma-embedding", length=2048)},
        2048,
        2048,
        {"embedding"},
    ),
    "ai/qwen3-embedding (it has a chat template)": (
        {"format": "gguf", "architecture": "qwen3"}
        | {"gguf": gguf("qwen3", length=40960, template=QWEN3, qwen3__pooling_type="3")},
        4096,
        40960,
        {"embedding"},
    ),
    "ai/qwen3-reranker": (
        {"format": "gguf", "architecture": "qwen3", "context_size": 40960}
        | {
            "gguf": gguf("qwen3", length=40960, template=QWEN3, qwen3__pooling_type="4")
            | {"qwen3.classifier.output_labels": "yes, no"}
        },
        40960,
        40960,
        {"reranking"},
    ),
    "hf.co/gpustack/bge-reranker-v2-m3-GGUF": (
        {"format": "gguf", "architecture": "bert"}
        | {"gguf": gguf("bert", length=8192, name="Bge Reranker v2 M3")},
        4096,
        8192,
        {"reranking"},
    ),
    "ai/smollm2-vllm": (
        {"format": "safetensors", "architecture": "LlamaForCausalLM", "context_size": 8192}
        | {"safetensors": {"format": "pt", "tensor_count": "290"}},
        8192,
        None,
        set(),
    ),
    "ai/bge-m3-vllm": (
        {"format": "safetensors", "architecture": "XLMRobertaModel"} | {"safetensors": {}},
        None,
        None,
        {"embedding"},
    ),
    "ai/qwen3-reranker-vllm": (
        {"format": "safetensors", "architecture": "Qwen3ForSequenceClassification"},
        None,
        None,
        {"reranking"},
    ),
    "ai/stable-diffusion": (
        {"format": "dduf", "size": "6.94GB", "diffusers": {"layout": "dduf"}},
        None,
        None,
        set(),
    ),
    "an architecture that nobody knows": (
        {"format": "gguf", "architecture": "zeta9"} | {"gguf": {"general.architecture": "zeta9"}},
        4096,
        None,
        set(),
    ),
    "a model without a config": (None, None, None, set()),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_public_model_is_parsed(name):
    config, context_size, trained, capabilities = MODELS[name]
    fields = {"id": ID, "tags": ["docker.io/ai/model:latest"], "created": 1, "config": config}
    model = with_configuration(parse_model(fields))
    assert model.context_size == context_size
    assert model.trained_context == trained
    assert model.capabilities == frozenset(capabilities)


@pytest.mark.parametrize(
    "config",
    [
        [],
        "gguf",
        {"gguf": []},
        {"gguf": {"general.architecture": 3, "llama.context_length": "8192"}},
        {"format": "gguf", "architecture": "llama", "gguf": {"llama.context_length": "much"}},
        {"architecture": "llama", "gguf": {"llama.context_length": "-5", "general.tags": None}},
    ],
)
def test_values_of_an_unexpected_kind_are_unknown(config):
    model = with_configuration(parse_model({"id": ID, "config": config}))
    assert model.trained_context is None
    assert model.capabilities == frozenset()


def test_an_empty_store_may_be_null():
    assert parse_models(None) == []
    assert [model.id for model in parse_models([{"id": ID}, "nonsense"])] == [ID]


@pytest.mark.parametrize(
    ("packaged", "trained", "configuration", "in_force"),
    [
        (None, 8192, None, 4096),
        (2048, 8192, None, 2048),
        (2048, 8192, ModelConfiguration(context_size=6000), 6000),
        (2048, 8192, ModelConfiguration(keep_alive="5m"), 2048),
        (None, 8192, ModelConfiguration(context_size=-1), 8192),
        (None, 8192, ModelConfiguration(context_size=100_000), 8192),
        (-1, 8192, None, 8192),
        (None, 512, None, 512),
        (None, 8192, ModelConfiguration(runtime_flags=("--ctx-size", "1024")), 1024),
        (None, 8192, ModelConfiguration(context_size=64, runtime_flags=("-c=1024",)), 1024),
        (None, None, ModelConfiguration(context_size=-1), None),
    ],
)
def test_the_configured_context_size_takes_precedence(packaged, trained, configuration, in_force):
    config = {"format": "gguf", "architecture": "llama", "context_size": packaged}
    if trained:
        config["gguf"] = gguf("llama", length=trained)
    model = parse_model({"id": ID, "config": config})
    assert model.context_size == packaged
    assert with_configuration(model, configuration).context_size == in_force


def test_flags_are_read_in_both_forms():
    words = ["--pooling", "mean", "--jinja", "--temp=0.7", "--top-k", "-1", "-c", "512"]
    assert flag_values(words) == {
        "--pooling": "mean",
        "--temp": "0.7",
        "--top-k": "-1",
        "-c": "512",
    }
