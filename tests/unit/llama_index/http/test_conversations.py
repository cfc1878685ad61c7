"""Histories of agents, users and other providers, with strict chat templates."""

from __future__ import annotations

import functools
import json
import random

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms import types
from llama_index.core.base.llms.types import (
    AudioBlock,
    CitableBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
)
from llama_index.core.base.llms.types import ChatMessage as Message
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool

from docker_model import GenerationError, InvalidRequestError
from docker_model.testing import (
    Finish,
    InTurn,
    Reasoning,
    SimulatedDocker,
    SimulatedModel,
    Text,
    ToolCall,
)
from llama_index_docker_model import DockerModelLLM
from tests.support.llama_index_modes import (
    HAS_PARALLEL_CALLS,
    HAS_THINKING,
    HAS_TOOL_CALLS,
    agents_of_core,
    needs,
    needs_thinking,
    needs_tool_calls,
)

if HAS_THINKING:
    from llama_index.core.base.llms.types import ThinkingBlock
if HAS_TOOL_CALLS:
    from llama_index.core.base.llms.types import ToolCallBlock
else:
    ToolCallBlock = functools.partial(TextBlock, text="")  # for skipped tests

STRICT = ["gemma", "mistral", "functionary", "qwen3.5"]
templates = pytest.mark.parametrize("template", STRICT)


def simulation(script, template="functionary"):
    return SimulatedDocker([SimulatedModel("ai/model", template=template)], script=script)


def model(**settings):
    settings = {"tool_calling": "native", "max_retries": 0, **settings}
    return DockerModelLLM(model="ai/model", transport="http", **settings)


def sent(docker):
    return docker.requests[-1].body["messages"]


def user(text="q"):
    return Message(text, role="user")


def called(number, arguments, name="add", **more):
    return Message(
        role="assistant",
        blocks=[ToolCallBlock(tool_call_id=number, tool_name=name, tool_kwargs=arguments)],
        **more,
    )


def result(number, text="2"):
    return Message(text, role="tool", additional_kwargs={"tool_call_id": number})


# --- Requests ---


@needs_tool_calls
@templates
@pytest.mark.parametrize(
    "history",
    [
        [Message("s", role="system"), Message("t", role="system"), user()],
        [user("one"), user("two")],
        [Message("a", role="assistant"), user()],
        [user(), Message("a", role="assistant"), Message("b", role="assistant"), user()],
        [user(), Message("a", role="assistant"), Message("later", role="system"), user()],
        [user(), called("call_1", {"a": 1}), result("call_1"), user("and?")],
        [user(), called("call_1", {"a": 1}), user("never mind")],
        [user(), called(None, {"a": 1}), result(""), user("and?")],
        [user(), called("call_1", '{"a": '), result("call_1", "no JSON"), user("again")],
        [result("call_1"), user("and?")],
        [user(), called("1", {"a": 1}), result("1"), called("1", {"a": 2}), result("1"), user()],
        [Message(role="user"), user(), Message(role="assistant"), user("still there?")],
    ],
    ids=[
        *("systems", "users", "assistant-first", "assistants", "late-system", "called"),
        *("no-result", "no-ids", "broken-call", "no-call", "same-id-twice", "empty"),
    ],
)
def test_a_strict_template_accepts_the_history(history, template):
    with simulation("ok", template):
        assert model().chat(history).message.content == "ok"


OPENAI = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
ANTHROPIC = {"id": "call_1", "type": "tool_use", "name": "add", "input": {"a": 1}}
BEDROCK = {"toolUseId": "call_1", "name": "add", "input": {"a": 1}}


class Dumped(BaseModel):
    """An object of a provider's client."""

    id: str = "call_1"
    type: str = "function"
    function: dict = OPENAI["function"]


@pytest.mark.parametrize(
    "call", [OPENAI, ANTHROPIC, BEDROCK, Dumped()], ids=["openai", "anthropic", "bedrock", "object"]
)
def test_a_call_of_another_provider_is_sent_as_one_call(call):
    history = Message("I add.", role="assistant", additional_kwargs={"tool_calls": [call]})
    with simulation("ok") as docker:
        model().chat([user(), history, result("call_1"), user("and?")])
        _, answer, tool_result, *_ = sent(docker)
    assert answer["content"] == "I add."
    [sent_call] = answer["tool_calls"]
    assert json.loads(sent_call["function"]["arguments"]) == {"a": 1}
    assert (sent_call["id"], sent_call["function"]["name"]) == (tool_result["tool_call_id"], "add")
    assert tool_result["name"] == "add"


@needs_thinking
@needs_tool_calls
def test_reasoning_is_sent_between_a_call_and_its_result():
    message = called("call_1", {"a": 1})
    message.blocks.insert(0, ThinkingBlock(content="I need add."))
    with simulation("ok") as docker:
        model().chat([user(), message, result("call_1")])
        assert sent(docker)[1]["reasoning_content"] == "I need add."


@needs_thinking
def test_a_reasoning_block_without_text_is_skipped():
    answer = Message(role="assistant", blocks=[ThinkingBlock(), TextBlock(text="a")])
    with simulation("ok"):
        assert model().chat([user(), answer, user()]).message.content == "ok"


def test_text_in_documents_and_citable_blocks_is_sent():
    blocks = [
        DocumentBlock(data=b"from a document", document_mimetype="text/plain"),
        CitableBlock(title="t", source="s", content=[TextBlock(text="to be cited")]),
    ]
    with simulation("ok") as docker:
        model().chat([Message(role="user", blocks=blocks)])
        assert sent(docker)[0]["content"] == "from a document\nto be cited"


@pytest.mark.parametrize(
    "block",
    [
        DocumentBlock(data=b"%PDF-1.4", document_mimetype="application/pdf"),
        pytest.param(
            {"block_type": "video", "url": "http://127.0.0.1/x.mp4"},
            marks=needs(hasattr(types, "VideoBlock")),
        ),
    ],
    ids=["document", "video"],
)
def test_an_unsupported_block_of_the_user_is_refused(block):
    message = Message(role="user", blocks=[TextBlock(text="What is this?"), block])
    kind = message.blocks[1].block_type
    with simulation("ok") as docker:
        with pytest.raises(InvalidRequestError, match=kind) as caught:
            model().chat([message])
        assert caught.value.hint
        assert docker.prompts == []


def test_audio_is_sent_as_base64(runner):
    sound = AudioBlock(audio=b"abc", format="wav")
    llm = DockerModelLLM(model="m", base_url=runner.url)
    llm.chat([Message(role="user", blocks=[TextBlock(text="What is this?"), sound])])
    part = runner.bodies[-1]["messages"][0]["content"][1]
    assert part == {"type": "input_audio", "input_audio": {"data": "YWJj", "format": "wav"}}


@pytest.mark.parametrize("mode", ["chat", "stream_chat"])
def test_an_image_over_the_cli_is_refused(mode):
    image = ImageBlock(url="data:image/png;base64,iVBORw0KGgo=")
    llm = DockerModelLLM(model="ai/model", transport="cli")
    with simulation("ok") as docker:
        with pytest.raises(InvalidRequestError, match="image"):
            list(getattr(llm, mode)([Message(role="user", blocks=[image])]))
        assert docker.prompts == []


# --- Replies ---

ran = []


def read(path: str = "made up") -> str:
    """Read a file."""
    ran.append(path)
    return f"content of {path}"


def anything(**settings) -> str:
    """Do something with any argument."""
    ran.append(settings)
    return "done"


@pytest.fixture(autouse=True)
def forget():
    ran.clear()


def is_answered(prompt):
    return any(message["role"] == "tool" for message in prompt.messages)


async def run_agent(llm, *tools, streaming, **settings):
    agent = FunctionAgent(tools=list(tools), llm=llm, streaming=streaming, **settings)
    handler = agent.run("q")
    events = [event async for event in handler.stream_events()]
    return str(await handler), events


both = pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])


@agents_of_core
@both
@pytest.mark.parametrize("tool", [read, anything])
@pytest.mark.parametrize(
    "arguments", ['"a"', '["a"]', "5", "nonsense", '{"path": ', '{"path" "a"}']
)
async def test_invalid_arguments_never_run_a_tool(arguments, tool, streaming):
    """The model receives the error as the result of that call, and can try again."""

    def script(prompt):
        if is_answered(prompt):
            return "done"
        return [ToolCall(tool.__name__, arguments)]

    with simulation(script) as docker:
        answer, events = await run_agent(model(), tool, streaming=streaming)
        *_, message, tool_result = sent(docker)
    assert (answer, ran) == ("done", [])
    assert "not a JSON object" in tool_result["content"]
    assert tool_result["tool_call_id"] == message["tool_calls"][0]["id"]
    assert message["tool_calls"][0]["function"]["name"] == tool.__name__
    [failed] = [event for event in events if type(event).__name__ == "ToolCallResult"]
    assert failed.tool_output.is_error


@agents_of_core
@both
@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ("", "made up"),  # no arguments: the tool uses its default
        ("{}", "made up"),
        ('{"path": "a\nb"}', "a\nb"),
        (json.dumps('{"path": "a"}'), "a"),
    ],
)
async def test_readable_arguments_run_the_tool(arguments, path, streaming):
    def script(prompt):
        return "done" if is_answered(prompt) else [ToolCall("read", arguments)]

    with simulation(script):
        answer, _ = await run_agent(model(), read, streaming=streaming)
    assert (answer, ran) == ("done", [path])


@agents_of_core
@both
async def test_a_second_call_is_kept_beside_an_invalid_one(streaming):
    if not (streaming or HAS_PARALLEL_CALLS):
        pytest.skip("this release of core takes one call for each answer")
    calls = [
        ToolCall("read", {"path": "a"}),
        ToolCall("read", "?"),
        ToolCall("read", {"path": "c"}),
    ]

    with simulation(lambda prompt: "done" if is_answered(prompt) else calls) as docker:
        answer, _ = await run_agent(model(), read, streaming=streaming)
        results = [message["content"] for message in sent(docker) if message["role"] == "tool"]
    assert (answer, sorted(ran)) == ("done", ["a", "c"])
    assert [text.split()[0] for text in results] == ["content", "Error:", "content"]


async def test_predict_and_call_raises_for_a_call_with_invalid_arguments():
    tool = FunctionTool.from_defaults(read)
    with simulation([ToolCall("read", "?")]):
        with pytest.raises(GenerationError, match="not a JSON object") as caught:
            await model().apredict_and_call([tool], "q")
        assert (caught.value.partial, ran) == ("?", [])


class City(BaseModel):
    """A city."""

    name: str
    people: int


OSLO = '{"name": "Oslo", "people": 7}'


@pytest.mark.parametrize(
    "thoughts", ["<think>\nIt may be {Oslo}.\n</think>\n\n", "Hm, {}.</think>\n"]
)
def test_reasoning_before_an_object_is_removed(thoughts):
    with simulation(thoughts + OSLO):
        assert model().structured_predict(City, PromptTemplate("q")) == City(name="Oslo", people=7)


MODES = ["structured_predict", "astructured_predict"]
MODES += ["stream_structured_predict", "astream_structured_predict"]


async def objects(mode, llm):
    result = getattr(llm, mode)(City, PromptTemplate("q"))
    if mode.startswith("a"):
        result = await result
    if "stream" not in mode:
        return [result]
    return [part async for part in result] if mode.startswith("a") else list(result)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("script", "message"),
    [
        (['{"name": "Os', Finish("length")], "cut off"),
        ([Reasoning("Hm …"), Finish("length")], "token limit"),
    ],
    ids=["in-json", "in-thoughts"],
)
async def test_an_object_that_was_cut_off_is_an_error(script, message, mode):
    with simulation(script), pytest.raises(GenerationError, match=message) as caught:
        await objects(mode, model())
    assert "max_tokens" in caught.value.hint


@pytest.mark.parametrize("mode", MODES)
async def test_an_object_that_does_not_match_is_repaired_once(mode):
    def script(prompt):
        corrected = "people" in prompt.messages[-1]["content"]
        return OSLO if corrected else '{"name": "Oslo", "people": "many"}'

    with simulation(script) as docker:
        parts = await objects(mode, model())
        assert parts[-1] == City(name="Oslo", people=7)
        assert len(docker.prompts) == 2
        correction = docker.prompts[-1]
    assert correction.startswith("This answer does not match the JSON schema.\n- people: ")
    assert correction.endswith("\nReply again, and correct this.")
    with simulation('{"name": "Oslo"}') as docker:
        with pytest.raises(ValueError, match="people"):
            await objects(mode, model())
        assert len(docker.prompts) == 2


@pytest.mark.parametrize("mode", MODES[2:])
async def test_a_streamed_object_grows(mode):
    with simulation([Text(OSLO, size=3)]):
        *partial, whole = await objects(mode, model())
    assert whole == City(name="Oslo", people=7)
    assert len(partial) > 1
    assert partial[0].people is None


# --- Random conversations ---


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    ran.append((a, b))
    return a + b


def fail(text: str) -> str:
    """Fail."""
    ran.append(text)
    msg = f"no {text}"
    raise ValueError(msg)


def now() -> str:
    """Tell the time."""
    ran.append(())
    return "noon"


GIVEN = {"add": ['{"a": 1}', '{"a": 2, "b": 3}'], "fail": ['{"text": "x"}'], "now": ["{}", ""]}
BROKEN = ["nonsense", '"a"', "[1]", '{"a": ', "null null", '{"a"}']
NONSENSE = ["the end", "</tool_call>", "{", "add(1)", "<think>", "🤷"]


def random_calls(chance):
    """Return random calls, valid and invalid, and the number of valid ones."""
    calls, good = [], 0
    for _ in range(chance.randint(1, 3)):
        name = chance.choice([*GIVEN, "unknown"])
        is_good = chance.random() < 0.7
        good += is_good and name in GIVEN
        calls.append(ToolCall(name, chance.choice(GIVEN.get(name, ["{}"]) if is_good else BROKEN)))
    thoughts = [Reasoning("I need a tool.")] * chance.randint(0, 1)
    return [*thoughts, *[Text("Well.")] * chance.randint(0, 1), *calls], good


def random_history(chance):
    """Return a random history of another model."""
    parts = [
        [Message("s", role="system")],
        [user("before"), user("again")],
        [Message("an answer", role="assistant")],
        [
            Message("", role="assistant", additional_kwargs={"tool_calls": [OPENAI]}),
            result("call_1"),
        ],
        [Message("", role="assistant", additional_kwargs={"tool_calls": [ANTHROPIC]})],
        [Message("", role="assistant", additional_kwargs={"tool_calls": [BEDROCK]}), result("")],
        [result("nowhere")],
    ]
    if HAS_TOOL_CALLS:
        parts += [[called("x", "{", "fail"), result("x", "no JSON")], [called(None, {"a": 1})]]
    if HAS_THINKING:
        parts.append([Message(role="assistant", blocks=[ThinkingBlock(content="hm")])])
    return [message for _ in range(chance.randint(0, 4)) for message in chance.choice(parts)]


@agents_of_core
@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 20))]
)
async def test_random_conversations_lose_no_call_and_invent_no_arguments(seed):
    """Run ten conversations for each seed, on a strict template."""
    chance = random.Random(seed)
    runs = []
    for _ in range(10):
        answers = [random_calls(chance) for _ in range(chance.randint(0, 3))]
        end = chance.choice(NONSENSE)  # text without a call ends the run of an agent
        runs.append(([calls for calls, _ in answers], sum(good for _, good in answers), end))
    script = InTurn(*(step for calls, _, end in runs for step in (*calls, end)))
    with simulation(script, STRICT[seed % len(STRICT)]):
        for _, good, end in runs:
            ran.clear()
            streaming = chance.random() < 0.5 or not HAS_PARALLEL_CALLS
            agent = FunctionAgent(tools=[add, fail, now], llm=model(), streaming=streaming)
            workflow = AgentWorkflow(agents=[agent]) if chance.random() < 0.5 else agent
            answer = await workflow.run("q", chat_history=random_history(chance))
            assert (str(answer), len(ran)) == (end, good)
