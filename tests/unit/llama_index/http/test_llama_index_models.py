"""Facts that `DockerModelLLM` learns about its model, token counts, and configuration."""

from __future__ import annotations

import pickle

import pytest
from llama_index.core.base.llms.types import ChatMessage as Message
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool

import docker_model
from docker_model import (
    ContextLengthError,
    InvalidRequestError,
    UnsupportedParameterError,
)
from docker_model.testing import SimulatedDocker, SimulatedModel
from llama_index_docker_model import DockerModelLLM
from tests.support.llama_index_modes import MODES

every_way = pytest.mark.parametrize("mode", MODES, ids=repr)


@pytest.fixture
def docker():
    models = [
        SimulatedModel("ai/small", context_size=512),
        SimulatedModel("ai/large", context_size=8192),
        SimulatedModel("ai/thinker", template="qwen3"),
        SimulatedModel("ai/apart", template="qwen3", gguf={"tokenizer.chat_template": "-"}),
    ]
    with SimulatedDocker(models) as simulated:
        yield simulated


def http(name="ai/small", **settings):
    return DockerModelLLM(model=name, transport="http", **settings)


def window(llm):
    return llm.metadata.context_window, llm.metadata.num_output


# --- The window ---


def test_the_context_window_is_a_constant_before_the_model_is_inspected(docker):
    assert window(http()) == (4096, 256 + 64)
    assert docker.requests == docker.calls == []


@every_way
async def test_the_context_window_is_known_after_a_call_by_the_command(mode, docker):
    llm = DockerModelLLM(model="ai/small", transport="cli")
    await mode(llm)
    started = len(docker.calls)
    assert window(llm) == (512, 128 + 64)
    assert len(docker.calls) == started


def test_the_context_window_is_known_after_inspect_model(docker):
    docker_model.inspect_model("ai/small")  # by the command
    assert window(DockerModelLLM(model="ai/small", transport="cli")) == (512, 128 + 64)
    assert window(http()) == (512, 128 + 64)
    assert window(http(base_url="http://127.0.0.1:1")) == (4096, 256 + 64)


@every_way
async def test_thinking_is_read_from_the_template_of_the_engine(mode, docker):
    await mode(http("ai/apart"), thinking=True)
    [body] = bodies(docker, "/chat/completions")
    assert body["chat_template_kwargs"] == {"enable_thinking": True}


@every_way
async def test_the_context_window_is_known_after_a_call(mode, docker):
    llm = http()
    await mode(llm)
    requests = len(docker.requests)
    assert window(llm) == (512, 128 + 64)
    assert len(docker.requests) == requests


@pytest.mark.parametrize("transport", ["cli", "http"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_the_context_window_is_known_after_warming_up(transport, is_async, docker):
    for name, expected in (("ai/small", (512, 128 + 64)), ("ai/large", (8192, 256 + 64))):
        llm = DockerModelLLM(model=name, transport=transport)
        if is_async:
            await llm.awarm_up()
        else:
            llm.warm_up()
        assert window(llm) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"context_window": 2048}, (2048, 256 + 64)),
        ({"context_size": 1024}, (1024, 256 + 64)),
        ({"context_size": 400}, (400, 100 + 50)),
        ({"num_output": 300}, (4096, 300)),
        ({"max_tokens": 100}, (4096, 100 + 64)),
        ({"max_tokens": 100_000}, (4096, 2048 + 64)),
        ({"max_tokens": -1}, (4096, 256 + 64)),
    ],
)
def test_settings_take_precedence_over_known_values(settings, expected):
    assert window(http(**settings)) == expected


@pytest.mark.parametrize("name", ["ai/small", "ai/large"])
def test_prompts_are_packed_to_fit_the_context_window(name, docker):
    llm = http(name, max_tokens=20)
    llm.warm_up()
    helper = PromptHelper.from_llm_metadata(llm.metadata, tokenizer=llm.tokenizer)
    prompt = PromptTemplate("Sum up.\n{context_str}\nIn one sentence:")
    texts = [" ".join(["word"] * 300) for _ in range(4)]
    packed = helper.repack(prompt, texts, llm=llm)
    assert len(packed) > 1 if name == "ai/small" else len(packed) == 1
    for text in packed:
        chat = [Message(prompt.format(context_str=text), role="user")]
        tokens = llm.get_num_tokens_from_messages(chat)
        assert tokens <= llm.metadata.context_window - llm.max_tokens


# --- Tokens ---


def lookup(key: str) -> str:
    """Look a key up."""
    return key


def test_tokens_of_a_chat_equal_those_of_the_engine(docker):
    llm = http("ai/large", tool_calling="native")
    chat = [Message("Be brief.", role="system"), Message("What is 2 + 2?", role="user")]
    tool = FunctionTool.from_defaults(lookup)
    plain, with_tools = llm.chat(chat), llm.chat_with_tools([tool], chat_history=chat)
    assert llm.get_num_tokens_from_messages(chat) == plain.raw["usage"]["prompt_tokens"]
    counted = llm.get_num_tokens_from_messages(chat, [tool])
    assert counted == with_tools.raw["usage"]["prompt_tokens"]


def test_tokens_of_a_text_are_counted_without_the_template(docker):
    llm = http()
    assert [llm.get_num_tokens(text) for text in ("", "one", "one two, three")] == [0, 1, 4]
    tokenizer = pickle.loads(pickle.dumps(llm.tokenizer))
    assert len(tokenizer("one two")) == 2
    requests = len(docker.requests)
    assert len(tokenizer("one two")) == 2
    assert len(docker.requests) == requests  # remembered


def test_a_memory_keeps_as_many_tokens_as_the_engine_counts(docker):
    memory = ChatMemoryBuffer.from_defaults(token_limit=6, tokenizer_fn=http().tokenizer)
    memory.put(Message("one two three four", role="user"))
    memory.put(Message("five six seven", role="assistant"))
    memory.put(Message("eight", role="user"))
    assert [message.content for message in memory.get()][-1] == "eight"
    assert len(memory.get()) < 3


def test_counting_tokens_over_the_cli_names_the_alternative():
    llm = DockerModelLLM(model="ai/small", transport="cli")
    for count in (llm.get_num_tokens, lambda _: llm.get_num_tokens_from_messages([])):
        with pytest.raises(UnsupportedParameterError, match="count") as caught:
            count("text")
        assert "HTTP" in caught.value.hint


# --- Configuration ---


def bodies(docker, path):
    matching = [
        request.body
        for request in docker.requests
        if request.method == "POST" and request.path.endswith(path)
    ]
    docker.requests.clear()
    return matching


@every_way
async def test_the_model_is_configured_once_before_the_first_call(mode, docker):
    llm = http("ai/large", context_size=1024, keep_alive="10m")
    await mode(llm)
    await mode(llm)
    [body] = bodies(docker, "/_configure")
    assert (body["context-size"], body["keep_alive"]) == (1024, "10m")
    assert llm.metadata.context_window == 1024


@every_way
@pytest.mark.parametrize(
    ("thinking", "sent"),
    [(True, {"enable_thinking": True}), (False, {"enable_thinking": False})],
)
async def test_thinking_sets_the_variable_of_the_template(mode, thinking, sent, docker):
    await mode(http("ai/thinker"), thinking=thinking)
    [body] = bodies(docker, "/chat/completions")
    assert body["chat_template_kwargs"] == sent


@every_way
async def test_thinking_is_refused_for_a_model_without_it(mode, docker):
    with pytest.raises(UnsupportedParameterError, match="think"):
        await mode(http(), thinking=True)
    assert docker.prompts == []
    assert await mode(http(), thinking=False)


def test_a_thinking_budget_is_configured(docker):
    http("ai/thinker", thinking=256).complete("hi")
    [body] = bodies(docker, "/_configure")
    assert body["llamacpp"] == {"reasoning-budget": 256}


@every_way
async def test_an_unknown_level_of_thinking_is_refused(mode, docker):
    with pytest.raises(InvalidRequestError, match="thinking"):
        await mode(http("ai/thinker"), thinking="very much")


@pytest.mark.parametrize(
    "setting",
    [
        ("thinking", False),
        ("context_size", 1024),
        ("keep_alive", 0),
        ("overflow", "trim"),
        ("when_full", "unload"),
        ("headers", {"X": "y"}),
    ],
    ids=lambda setting: setting[0],
)
def test_settings_of_http_are_refused_by_the_cli(setting):
    setting, name = dict([setting]), setting[0]
    assert DockerModelLLM(model="ai/small", **setting).metadata.is_function_calling_model
    with pytest.raises(UnsupportedParameterError, match=name):
        DockerModelLLM(model="ai/small", transport="cli", **setting)


# --- Chats that are too long ---

LONG = [
    Message("Be brief.", role="system"),
    *(
        Message(f"{number} {'word ' * 60}", role=role)
        for number in range(6)
        for role in ("user", "assistant")
    ),
    Message("The last question", role="user"),
]


def test_a_chat_that_is_too_long_is_refused_before_it_is_sent(docker):
    with pytest.raises(ContextLengthError, match="context has 512") as caught:
        http().chat(LONG)
    assert caught.value.prompt_tokens > caught.value.context_size == 512
    assert docker.prompts == []


def test_the_oldest_turns_of_a_chat_that_is_too_long_are_dropped(docker):
    response = http(overflow="trim").chat(LONG)
    assert response.raw["trimmed"] > 0
    messages = bodies(docker, "/chat/completions")[-1]["messages"]
    assert messages[0] == {"role": "system", "content": "Be brief."}
    assert messages[-1] == {"role": "user", "content": "The last question"}


# --- Secrets ---


def test_headers_are_sent_and_not_shown(runner):
    llm = DockerModelLLM(model="m", base_url=runner.url, headers={"X-Key": "hunter2"})
    llm.complete("hi")
    assert runner.headers["x-key"] == "hunter2"
    assert "hunter2" not in f"{llm!r} {llm.to_dict()} {llm.to_payload()}"


def test_every_setting_has_a_description():
    for name, field in DockerModelLLM.model_fields.items():
        assert field.description or name in FunctionCallingLLM.model_fields, name
