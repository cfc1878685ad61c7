"""Instructions that embedding models expect before queries and texts."""

from __future__ import annotations

import pytest

from docker_model.http.instructions import Instructions, instructions_for

PASSAGES = "Represent this sentence for searching relevant passages: "


@pytest.mark.parametrize(
    ("model", "query", "text"),
    [
        ("ai/nomic-embed-text-v1.5", "search_query: ", "search_document: "),
        ("hf.co/nomic-ai/nomic-embed-text-v2-moe-GGUF", "search_query: ", "search_document: "),
        ("ai/mxbai-embed-large", PASSAGES, ""),
        ("hf.co/Snowflake/snowflake-arctic-embed-m", PASSAGES, ""),
        ("ai/snowflake-arctic-embed-l-v2-vllm", "query: ", ""),
        ("ai/embeddinggemma:300M-Q8_0", "task: search result | query: ", "title: none | text: "),
        ("hf.co/CompendiumLabs/bge-base-en-v1.5-gguf", PASSAGES, ""),
        ("hf.co/gpustack/bge-m3-GGUF", "", ""),
        ("hf.co/intfloat/multilingual-e5-base", "query: ", "passage: "),
        ("ai/all-minilm", "", ""),
        ("ai/smollm2", "", ""),
    ],
)
def test_a_model_family_is_recognized_by_its_name(model, query, text):
    assert instructions_for(model) == Instructions(query, text)


@pytest.mark.parametrize("model", ["ai/qwen3-embedding:0.6B", "multilingual-e5-large-instruct"])
def test_an_instructed_model_gets_its_task(model):
    instructions = instructions_for(model)
    assert instructions.query.startswith("Instruct: Given a web search query")
    assert "\nQuery:" in instructions.query
    assert instructions.text == ""


def test_the_users_instructions_take_precedence_and_may_be_empty():
    own = instructions_for("ai/nomic-embed-text-v1.5", query="", text="doc: ")
    assert own == Instructions("", "doc: ")
