"""Facts about the model: context window, capabilities, tokens; and its configuration."""

from __future__ import annotations

import warnings

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, trim_messages

from docker_model.testing import SimulatedDocker, SimulatedModel
from docker_model.types import ModelInfo
from langchain_docker_model import ChatDockerModel
from langchain_docker_model._profile import known_profile_of
from langchain_docker_model.errors import InvalidRequestError, UnsupportedParameterError
from tests.unit.langchain.chat.modes import MODES, TOOL, answer


@pytest.fixture
def docker():
    models = [
        SimulatedModel("ai/plain", template="smollm2", context_size=512),
        SimulatedModel("ai/thinker", template="qwen3", vision=True),
        SimulatedModel("ai/apart", template="qwen3", gguf={"tokenizer.chat_template": "-"}),
    ]
    with SimulatedDocker(models) as simulated:
        yield simulated


def chat(model="ai/plain", **settings):
    return ChatDockerModel(model=model, transport="http", **settings)


# --- The profile ---


def test_a_profile_without_a_request_has_the_capabilities_of_the_class():
    profile = ChatDockerModel(model="ai/nowhere").profile
    assert profile["tool_calling"] is profile["structured_output"] is True
    assert "max_input_tokens" not in profile


def test_a_profile_of_the_cli_has_no_tools():
    assert ChatDockerModel(model="ai/plain", transport="cli").profile["tool_calling"] is False


async def test_a_profile_has_the_context_window_once_the_model_is_loaded(docker):
    plain, thinker = chat(), chat("ai/thinker")
    plain.warm_up()
    assert plain.profile["max_input_tokens"] == 512
    await thinker.awarm_up()
    assert thinker.profile["max_input_tokens"] == 4096
    assert thinker.profile["reasoning_output"] is True
    assert chat().profile["max_input_tokens"] == 512  # remembered by the process


async def test_a_profile_has_the_context_window_over_the_command(docker):
    warmed, called = (ChatDockerModel(model="ai/plain", transport="cli") for _ in range(2))
    warmed.warm_up()
    assert warmed.profile["max_input_tokens"] == 512
    await called.ainvoke("Hi")
    assert called.profile["max_input_tokens"] == 512
    assert ChatDockerModel(model="ai/plain").profile["max_input_tokens"] == 512


def test_reasoning_is_detected_in_a_separately_packaged_template(docker):
    thinking = chat("ai/apart", thinking=True)
    thinking.invoke("Hi")
    [body] = [
        request.body for request in docker.requests if request.path.endswith("/chat/completions")
    ]
    assert body["chat_template_kwargs"] == {"enable_thinking": True}
    assert chat("ai/apart").profile["reasoning_output"] is True


def test_a_profile_has_the_known_inputs_of_a_model():
    seeing = ModelInfo("ai/x", capabilities=frozenset({"chat", "vision", "audio"}))
    assert {"image_inputs", "audio_inputs"} <= known_profile_of(seeing).keys()
    assert known_profile_of(ModelInfo("ai/x")) == {"name": "ai/x"}
    assert known_profile_of(None) == {}


def test_a_profile_given_by_the_user_is_kept(docker):
    own = chat(profile={"max_input_tokens": 9})
    own.warm_up()
    assert own.profile == {"max_input_tokens": 9}


# --- Tokens ---

CONVERSATION = [
    SystemMessage("Be brief."),
    HumanMessage("What is 2 plus 3?"),
    AIMessage("", tool_calls=[{"name": "add", "args": {"a": 2}, "id": "call00001"}]),
]


def test_token_counts_equal_those_of_the_engine(docker):
    usage = chat().invoke("Three small words").usage_metadata
    assert chat().get_num_tokens("Three small words") == usage["input_tokens"]
    usage = chat("ai/thinker").bind_tools([TOOL]).invoke(CONVERSATION).usage_metadata
    counted = chat("ai/thinker").get_num_tokens_from_messages(CONVERSATION, tools=[TOOL])
    assert counted == usage["input_tokens"]
    assert counted > chat("ai/thinker").get_num_tokens_from_messages(CONVERSATION)


@pytest.mark.filterwarnings("ignore:the prompt did not contain the tools")
@pytest.mark.parametrize("tool_calling", ["auto", "native", "schema"])
def test_tools_are_counted_in_the_form_the_model_sees(docker, tool_calling):
    for model in ("ai/thinker", "ai/plain"):  # with and without tools in the template
        model_chat = chat(model, tool_calling=tool_calling)
        usage = model_chat.bind_tools([TOOL]).invoke("What is 2 plus 3?").usage_metadata
        messages = [HumanMessage("What is 2 plus 3?")]
        assert model_chat.get_num_tokens_from_messages(messages, [TOOL]) == usage["input_tokens"]


def test_empty_input_has_zero_tokens(docker):
    assert chat().get_num_tokens("") == chat().get_num_tokens_from_messages([]) == 0


def test_messages_are_trimmed_by_exact_counts(docker):
    messages = [HumanMessage("one two three"), AIMessage("four"), HumanMessage("five six")]
    least = chat().get_num_tokens_from_messages(messages[-1:])
    kept = trim_messages(messages, max_tokens=least, token_counter=chat(), start_on="human")
    assert kept == messages[-1:]


def test_a_tokenizer_given_by_the_user_is_used():
    own = ChatDockerModel(model="ai/plain", custom_get_token_ids=lambda text: [1] * len(text))
    assert own.get_num_tokens("Hi.") == 3
    assert own.get_token_ids("Hi.") == [1, 1, 1]


def test_counting_tokens_over_the_cli_names_the_alternative(docker):
    with pytest.raises(UnsupportedParameterError, match=r"HTTP(?s:.*)count_tokens_approximately"):
        ChatDockerModel(model="ai/plain", transport="cli").get_num_tokens("Hi.")


def test_token_ids_need_a_tokenizer_from_the_user():
    with pytest.raises(NotImplementedError, match="custom_get_token_ids"):
        ChatDockerModel(model="ai/plain").get_token_ids("Hi.")


# --- Thinking and configuration ---


@pytest.mark.parametrize("mode", MODES)
async def test_thinking_sets_the_variable_of_the_template(docker, mode):
    thinker = chat("ai/thinker", thinking=True)
    await answer(thinker, mode)
    assert docker.requests[-1].body["chat_template_kwargs"] == {"enable_thinking": True}
    await answer(thinker, mode, thinking=False)
    assert docker.requests[-1].body["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize("mode", MODES)
async def test_thinking_is_refused_for_a_model_without_it(docker, mode):
    with pytest.raises(UnsupportedParameterError, match="think"):
        await answer(chat(thinking="high"), mode)
    assert await answer(chat(thinking=False), mode)


def test_template_variables_of_the_user_take_precedence_over_thinking(docker):
    variables = {"enable_thinking": False, "tone": "dry"}
    chat("ai/thinker", thinking=True, chat_template_kwargs=variables).invoke("Hi.")
    assert docker.requests[-1].body["chat_template_kwargs"] == variables


@pytest.mark.parametrize("thinking", ["much", -1, 1.5])
def test_an_invalid_value_of_thinking_is_refused(thinking):
    with pytest.raises(ValueError, match="thinking"):
        chat(thinking=thinking)


async def test_a_context_size_is_configured_before_the_first_request(docker):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        configured = chat("ai/thinker", context_size=1024)
        await configured.ainvoke("Hi.")
    assert configured.profile["max_input_tokens"] == 1024


@pytest.mark.parametrize("setting", [{"thinking": True}, {"context_size": 9}, {"overflow": "trim"}])
def test_settings_of_http_are_refused_by_the_cli(docker, setting):
    with pytest.raises(InvalidRequestError, match=next(iter(setting))):
        ChatDockerModel(model="ai/plain", transport="cli", **setting).invoke("Hi.")


# --- Management ---


async def test_models_are_listed_and_a_closed_chat_answers_again(docker):
    assert {model.name for model in ChatDockerModel.list_models()} == {
        "ai/plain",
        "ai/thinker",
        "ai/apart",
    }
    over_http = {"transport": "http", "base_url": docker.url}
    assert len(ChatDockerModel.list_models(**over_http)) == 3
    assert len(await ChatDockerModel.alist_models(**over_http)) == 3
    cli_chat = ChatDockerModel(model="ai/plain", transport="cli", standby=1)
    assert cli_chat.invoke("Hi.").content
    cli_chat.close()
    await cli_chat.aclose()
    assert (await cli_chat.ainvoke("Hi.")).content
    cli_chat.close()
