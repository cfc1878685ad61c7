"""`ChatDockerModel`'s own promises: what is sent, what comes back, and what is refused."""

from __future__ import annotations

import asyncio
import pickle
import warnings

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from pydantic import BaseModel, SecretStr, ValidationError

from docker_model import Timeouts
from docker_model.http import discovery
from docker_model.testing import Reasoning, SimulatedDocker, Text, Usage
from langchain_docker_model import ChatDockerModel
from langchain_docker_model.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    RunnerUnavailableError,
    UnsupportedParameterError,
)

NOWHERE = "http://127.0.0.1:9"
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    },
}
OTHER = {"type": "function", "function": {"name": "sub", "parameters": {"type": "object"}}}
ADD = {"type": "function", "id": "1", "function": {"name": "add", "arguments": '{"a": 1}'}}
EVERY = {
    "temperature": 0.5,
    "max_tokens": 9,
    "top_p": 0.9,
    "seed": 7,
    "top_k": 40,
    "min_p": 0.1,
    "repeat_penalty": 1.1,
    "presence_penalty": 0.2,
    "frequency_penalty": 0.3,
    "logit_bias": {"15": -1.0},
    "logprobs": True,
    "top_logprobs": 2,
    "reasoning_effort": "low",
    "chat_template_kwargs": {"enable_thinking": False},
    "response_format": {"type": "json_object"},
}

WAYS = ("invoke", "ainvoke", "stream", "astream")


async def answer(chat, way, messages="Hi.", **settings):
    match way:
        case "invoke":
            return chat.invoke(messages, **settings)
        case "ainvoke":
            return await chat.ainvoke(messages, **settings)
        case "stream":
            chunks = await asyncio.to_thread(lambda: list(chat.stream(messages, **settings)))
        case "astream":
            chunks = [chunk async for chunk in chat.astream(messages, **settings)]
    return sum(chunks[1:], chunks[0])


# --- What is sent ---


@pytest.mark.parametrize("way", WAYS)
async def test_every_parameter_is_sent_by_its_name(ask, way):
    chat, runner = ask({"content": "Hello."}, **EVERY, stop="END", extra_body={"mirostat": 2})
    assert (await answer(chat, way)).content == "Hello."
    [body] = runner.bodies
    sent = {name: body[name] for name in EVERY}
    assert sent == EVERY
    assert (body["stop"], body["mirostat"], body["model"]) == (["END"], 2, "ai/smollm2")
    assert body["messages"] == [{"role": "user", "content": "Hi."}]


def test_nothing_is_sent_that_was_not_set(ask):
    chat, runner = ask({"content": "Hello."})
    chat.invoke("Hi.")
    assert runner.bodies[0].keys() - {"stream", "stream_options"} == {"model", "messages"}


@pytest.mark.parametrize("way", WAYS)
async def test_a_calls_settings_take_the_place_of_the_models(ask, way):
    chat, runner = ask({"content": "Hello."}, temperature=1, stop=["a"])
    said = await answer(chat, way, temperature=0, model="ai/other", stop=["b"])
    [body] = runner.bodies
    assert (body["temperature"], body["model"], body["stop"]) == (0, "ai/other", ["b"])
    assert said.response_metadata["model_name"] == "ai/other"


def test_no_stop_in_a_call_is_the_models_own(ask):
    chat, runner = ask({"content": "Hello."}, stop=["a"])
    chat.invoke("Hi.", stop=[])
    assert runner.bodies[0]["stop"] == ["a"]


def test_a_key_goes_to_the_address_that_was_named(ask):
    chat, runner = ask({"content": "Hello."}, api_key="sesame", headers={"X-Team": "blue"})
    chat.invoke("Hi.")
    [headers] = runner.headers
    assert (headers["Authorization"], headers["X-Team"]) == ("Bearer sesame", "blue")


def test_several_answers_at_once(ask):
    chat, _ = ask({"content": "Hello."}, n=2)
    [several] = chat.generate([[HumanMessage("Hi.")]]).generations
    assert [one.text for one in several] == ["Hello.", "Hello."]
    with pytest.raises(UnsupportedParameterError, match="n=2"):
        list(chat.stream("Hi."))


# --- What comes back ---


@pytest.mark.parametrize("way", WAYS)
async def test_reasoning_usage_and_the_engines_timings(ask, way):
    chat, _ = ask({"content": "Hello.", "reasoning_content": "Be polite.", "prompt_tokens": 7})
    said = await answer(chat, way)
    assert [block["type"] for block in said.content_blocks] == ["reasoning", "text"]
    assert said.usage_metadata["input_tokens"] == 7
    metadata = said.response_metadata
    assert metadata["timings"]["predicted_per_second"] == 123.25
    assert metadata["model_name"] == "ai/smollm2"  # the engine says the name of a file
    assert metadata["model_provider"] == "docker_model"
    assert metadata["finish_reason"] == "stop"


def test_usage_of_several_prompts_is_summed(ask):
    chat, _ = ask({"content": "Hello.", "prompt_tokens": 7})
    output = chat.generate([[HumanMessage("Hi.")], [HumanMessage("Ho.")]]).llm_output
    assert output["model_name"] == "ai/smollm2"
    assert output["token_usage"]["prompt_tokens"] == 14


@pytest.mark.parametrize("way", WAYS)
async def test_errors_are_langchains_too(ask, way):
    chat, _ = ask({"status": 404, "error": "error while getting model: model not found"})
    with pytest.raises(ModelNotFoundError, match="docker model pull ai/smollm2"):
        await answer(chat, way)


async def test_leaving_a_stream_early(ask):
    chat, _ = ask({"content": "word " * 1000})
    for _ in chat.stream("Hi."):
        break
    async for _ in chat.astream("Hi."):
        break


# --- Tools ---


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, None),
        (False, None),
        ("auto", "auto"),
        ("none", "none"),
        ("any", "required"),
        ("required", "required"),
        (True, "required"),
        ({"type": "any"}, "required"),
        ({"type": "auto"}, "auto"),
    ],
)
def test_modes_of_choosing_a_tool(ask, choice, sent):
    chat, runner = ask({"tool_calls": [ADD]})
    chat.bind_tools([TOOL, OTHER], tool_choice=choice).invoke("Hi.")
    assert runner.bodies[0].get("tool_choice") == sent
    assert runner.bodies[0]["tools"] == [TOOL, OTHER]


@pytest.mark.parametrize(
    "choice",
    [
        "add",
        {"type": "function", "function": {"name": "add"}},
        {"type": "tool", "name": "add"},
        {"name": "add"},
    ],
)
def test_a_tool_by_name_is_the_only_one_sent(ask, choice):
    chat, runner = ask({"tool_calls": [ADD]})
    bound = chat.bind_tools([TOOL, OTHER], tool_choice=choice, parallel_tool_calls=False)
    assert bound.kwargs["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    bound.invoke("Hi.")
    [body] = runner.bodies
    assert (body["tools"], body["tool_choice"]) == ([TOOL], "required")
    assert body["parallel_tool_calls"] is False


def test_a_tool_that_is_not_there(ask):
    chat, _ = ask()
    with pytest.raises(InvalidRequestError, match=r"'mul'(?s:.*)add, sub"):
        chat.bind_tools([TOOL, OTHER], tool_choice="mul")


def test_no_tools_at_all(ask):
    chat, runner = ask({"content": "{}"})
    bound = chat.bind_tools([], tool_choice="any", response_format={"type": "json_object"})
    bound.invoke("Hi.")
    assert runner.bodies[0].keys().isdisjoint({"tools", "tool_choice"})
    assert runner.bodies[0]["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("way", WAYS)
async def test_a_demanded_call_that_did_not_come(ask, way):
    chat, _ = ask({"content": "No.", "prompt_tokens": 9999})
    with pytest.warns(UserWarning, match="demanded and the model made none"):
        await answer(chat.bind_tools([TOOL], tool_choice="any"), way)


@pytest.mark.parametrize("way", WAYS)
async def test_tools_that_cannot_have_been_seen(ask, way):
    chat, _ = ask({"content": "No.", "prompt_tokens": 5})
    with pytest.warns(UserWarning, match="has not seen its tools"):
        await answer(chat.bind_tools([TOOL]), way)


@pytest.mark.parametrize(
    ("said", "choice"),
    [
        ({"tool_calls": [ADD], "prompt_tokens": 5}, "any"),
        ({"content": "No.", "prompt_tokens": 9999}, None),
        ({"content": "No.", "prompt_tokens": 5}, "none"),
    ],
)
def test_nothing_to_warn_of(ask, said, choice):
    chat, _ = ask(said)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chat.bind_tools([TOOL], tool_choice=choice).invoke("Hi.")


# --- Structure ---


class Tree(BaseModel):
    """A tree."""

    name: str
    leaves: list[Tree] = []


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("include_raw", [False, True])
def test_what_does_not_parse(ask, method, include_raw):
    call = {**ADD, "function": {"name": "Tree", "arguments": '{"leaves": 3}'}}
    chat, _ = ask({"content": '{"leaves": 3}', "tool_calls": [call]})
    structured = chat.with_structured_output(Tree, method=method, include_raw=include_raw)
    if include_raw:
        result = structured.invoke("Hi.")
        assert isinstance(result["raw"], AIMessage)
        assert result["parsed"] is None
        assert "Tree" in str(result["parsing_error"])
    else:
        with pytest.raises(ValueError, match="Tree"):
            structured.invoke("Hi.")


def test_a_recursive_schema_keeps_its_references(ask):
    chat, runner = ask({"content": '{"name": "a", "leaves": [{"name": "b"}]}'})
    tree = chat.with_structured_output(Tree, strict=True).invoke("Hi.")
    assert tree == Tree(name="a", leaves=[Tree(name="b")])
    wanted = runner.bodies[0]["response_format"]["json_schema"]
    assert (wanted["name"], wanted["strict"]) == ("Tree", True)
    assert "$defs" in wanted["schema"]


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, "answer"),
        ({"title": "Sum", "type": "object", "properties": {}}, "Sum"),
        (TOOL, "add"),
        (TOOL["function"], "add"),
        ({"name": "sum", "schema": {"type": "object"}}, "sum"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}, "x"),
    ],
)
def test_schemas_in_every_form(ask, schema, name):
    chat, runner = ask({"content": '{"a": 1}'})
    assert chat.with_structured_output(schema).invoke("Hi.") == {"a": 1}
    assert runner.bodies[0]["response_format"]["json_schema"]["name"] == name


def test_json_without_a_schema(ask):
    chat, runner = ask({"content": '{"a": 1}'})
    assert chat.with_structured_output(method="json_mode").invoke("Hi.") == {"a": 1}
    assert runner.bodies[0]["response_format"] == {"type": "json_object"}
    for wrong in ({"method": "guess"}, {"method": "json_schema"}):
        with pytest.raises(InvalidRequestError, match="method"):
            chat.with_structured_output(**wrong)


def test_a_schema_as_the_models_own_format(ask):
    chat, runner = ask({"content": "{}"}, response_format=Tree)
    chat.invoke("Hi.")
    assert runner.bodies[0]["response_format"]["json_schema"]["name"] == "Tree"


# --- Without an API: the CLI ---


@pytest.fixture
def docker(monkeypatch):
    """A simulated `docker` whose runner's API only the command itself finds."""
    said = [Reasoning("Hm."), Text("Hello."), Usage(7, 5)]
    with SimulatedDocker(models=("ai/smollm2",), script=said) as simulated:
        yield simulated


@pytest.mark.parametrize("way", WAYS)
async def test_a_conversation_over_the_cli(docker, way):
    chat = ChatDockerModel(model="ai/smollm2", transport="cli")
    said = await answer(chat, way, [SystemMessage("Be brief."), HumanMessage("Hi.")])
    assert said.content == "Hello."
    assert docker.prompts == ["Be brief.\n\nHi."]
    assert [block["type"] for block in said.content_blocks] == ["reasoning", "text"]
    assert said.usage_metadata["total_tokens"] == 12
    said.response_metadata.pop("token_usage", None)  # of a whole answer, in core's older words
    assert said.response_metadata == {
        "model_name": "ai/smollm2",
        "model_provider": "docker_model",
        "finish_reason": "stop",
    }


@pytest.mark.parametrize("way", WAYS)
async def test_without_an_api_the_cli_is_asked(docker, no_endpoint, way):
    assert (await answer(ChatDockerModel(model="ai/smollm2"), way)).content == "Hello."
    assert docker.prompts == ["Hi."]


@pytest.mark.parametrize("variable", ["MODEL_RUNNER_URL", "LLM_URL"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_prompt_for_a_dead_address_does_not_go_elsewhere(docker, way, variable):
    chat = ChatDockerModel(model="ai/smollm2", env={"MODEL_RUNNER_HOST": "", variable: NOWHERE})
    with pytest.raises(RunnerUnavailableError, match=f"{variable} \\({NOWHERE}\\)"):
        await answer(chat, way)
    assert docker.prompts == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_search_in_vain_is_not_repeated_by_each_call(way, monkeypatch):
    searches = []

    async def run(self):
        searches.append(self)

    monkeypatch.setattr(discovery.Search, "run", run)
    env = {"MODEL_RUNNER_HOST": "", "DOCKER_CONTEXT": way}  # a place that no other test has
    chat = ChatDockerModel(model="ai/smollm2", env=env)
    for _ in range(3):
        with pytest.raises(UnsupportedParameterError):
            await answer(chat, way, temperature=0)
    assert len(searches) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_what_the_cli_cannot_honour(no_endpoint, way):
    chat = ChatDockerModel(model="ai/smollm2", temperature=0)
    with pytest.raises(UnsupportedParameterError, match=r"temperature, tools(?s:.*)HTTP") as caught:
        await answer(chat.bind_tools([TOOL]), way)
    assert isinstance(caught.value.__cause__, RunnerUnavailableError | ConnectionError)


@pytest.mark.parametrize("settings", [{"transport": "http"}, {"base_url": NOWHERE}])
@pytest.mark.parametrize("way", WAYS)
async def test_who_wants_http_gets_no_cli(docker, no_endpoint, settings, way):
    chat = ChatDockerModel(model="ai/smollm2", max_retries=0, **settings)
    with pytest.raises(RunnerUnavailableError):
        await answer(chat, way)
    assert docker.prompts == []


@pytest.fixture
def no_endpoint(monkeypatch):
    """The runner's API is nowhere; `docker model run` works all the same."""

    async def find(*_):
        raise discovery.nowhere([])

    monkeypatch.setattr(discovery.Endpoints, "find", find)


# --- Settings ---


@pytest.mark.parametrize(
    "settings",
    [
        {"temprature": 0},
        {"model": "-rm"},
        {"transport": "carrier pigeon"},
        {"max_retries": -1},
        {"timeout": -1},
        {"base_url": "ftp://x"},
        {"base_url": "http://ann:sesame@localhost:1/v1"},
        {"transport": "cli", "base_url": NOWHERE},
        {"transport": "cli", "api_key": "sesame"},
    ],
)
def test_settings_that_cannot_be(settings):
    with pytest.raises(ValidationError) as caught:
        ChatDockerModel(**{"model": "ai/smollm2", "headers": {"X": "sesame"}} | settings)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("name", ["temprature", "api_key", "base_url", "env"])
def test_keywords_that_no_call_takes(ask, name):
    chat, _ = ask()
    with pytest.raises(InvalidRequestError, match=f"{name}(?s:.*)extra_body"):
        chat.invoke("Hi.", **{name: "x"})


def test_secrets_are_never_shown():
    secrets = {
        "api_key": "sesame1",
        "headers": {"X-Key": "sesame2"},
        "env": {"TOKEN": "sesame3"},
    }
    chat = ChatDockerModel(model="ai/smollm2", **secrets)
    shown = f"{chat._identifying_params} {chat._get_llm_string()} {chat._get_ls_params()}"
    assert "sesame" not in f"{shown} {chat!r} {chat} {dumps(chat)} {chat.model_dump()}"


def test_it_pickles_with_its_secrets(ask):
    chat, runner = ask({"content": "Hello."}, api_key="sesame", env={"A": "b"}, temperature=0)
    copy = pickle.loads(pickle.dumps(chat))
    assert (copy.api_key, copy.env, copy.temperature) == (SecretStr("sesame"), {"A": "b"}, 0)
    assert copy.invoke("Hi.").content == "Hello."
    assert runner.headers[0]["Authorization"] == "Bearer sesame"


def test_what_changes_the_answer_changes_the_cache_key(ask):
    cache = InMemoryCache()
    chat, runner = ask({"content": "Hello."}, cache=cache)
    changed = [{"model": "ai/other"}, {"stop": ["x"]}, {"temperature": 0}, {"seed": 1}]
    others = [chat.model_copy(update=update) for update in changed]
    for one in (chat, *others, chat, *others):
        one.invoke("Hi.")
    assert len(runner.bodies) == 1 + len(others)


def test_what_is_traced():
    chat = ChatDockerModel(model="ai/smollm2", temperature=0.5, max_tokens=9, stop="END")
    params = chat._get_ls_params()
    assert params == {
        "ls_provider": "docker_model",
        "ls_model_type": "chat",
        "ls_model_name": "ai/smollm2",
        "ls_temperature": 0.5,
        "ls_max_tokens": 9,
        "ls_stop": ["END"],
    }
    params = chat._get_ls_params(stop=["x"], model="ai/other", temperature=0)
    chosen = (params["ls_model_name"], params["ls_temperature"], params["ls_stop"])
    assert chosen == ("ai/other", 0, ["x"])
    assert "docker-model-llm" in chat.metadata["lc_versions"]


def test_a_profile_is_the_users():
    assert ChatDockerModel(model="ai/smollm2").profile is None
    profile = {"tool_calling": True}
    assert ChatDockerModel(model="ai/smollm2", profile=profile).profile == profile


def test_phases_and_numbers_as_timeouts():
    timeouts = Timeouts(first_output=1)
    assert ChatDockerModel(model="ai/smollm2", timeout=timeouts).timeout == timeouts
    assert ChatDockerModel(model="ai/smollm2", timeout=5).timeout == 5


def test_tokens_are_not_counted_with_a_strangers_tokenizer():
    with pytest.raises(NotImplementedError, match="count_tokens_approximately"):
        ChatDockerModel(model="ai/smollm2").get_num_tokens("Hi.")
    chat = ChatDockerModel(model="ai/smollm2", custom_get_token_ids=lambda text: [1] * len(text))
    assert chat.get_num_tokens("Hi.") == 3


# --- Pulling ---


@pytest.mark.parametrize("way", WAYS)
async def test_a_missing_model_is_pulled_when_that_is_wanted(serve, way):
    with SimulatedDocker(models=(), pullable=("ai/smollm2",)) as docker:
        steps = []
        runner = serve(
            lambda _: (
                {"content": "Hello."} if steps else {"status": 404, "error": "model not found"}
            )
        )
        docker_settings = {"command": docker.command, "env": docker.env}
        chat = ChatDockerModel(
            model="ai/smollm2",
            base_url=runner.url,
            pull="missing",
            on_progress=steps.append,
            **docker_settings,
        )
        assert (await answer(chat, way)).content == "Hello."
        assert steps[-1].model == "ai/smollm2"
