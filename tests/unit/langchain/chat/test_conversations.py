"""Histories of agents and other providers, with strict chat templates."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Literal, NotRequired, Required, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import ToolException, tool
from pydantic import BaseModel

from docker_model.testing import (
    TEMPLATES,
    Fail,
    Finish,
    Reasoning,
    SimulatedDocker,
    SimulatedModel,
    Text,
    ToolCall,
)
from langchain_docker_model import ChatDockerModel
from langchain_docker_model.errors import EmptyAnswerError

# --- Blocks of other providers in a history ---

ADD = {"name": "add", "args": {"a": 1, "b": 2}, "id": "call_1", "type": "tool_call"}
BROKEN = {"name": "add", "args": '{"a": ', "id": "call_2", "type": "invalid_tool_call", "error": ""}
RESULT = ToolMessage("3", tool_call_id="call_1", name="add")

ANSWERS = {
    "OpenAI's responses": AIMessage(
        [
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "Hm"}],
            },
            {"type": "text", "text": "I add.", "annotations": []},
            {
                "type": "function_call",
                "id": "fc_1",
                "call_id": "call_1",
                "name": "add",
                "arguments": '{"a": 1, "b": 2}',
            },
        ],
        tool_calls=[ADD],
    ),
    "Anthropic": AIMessage(
        [
            {"type": "thinking", "thinking": "Hm", "signature": "xx"},
            {"type": "redacted_thinking", "data": "xx"},
            {"type": "text", "text": "I add."},
            {"type": "tool_use", "id": "call_1", "name": "add", "input": {"a": 1, "b": 2}},
        ],
        tool_calls=[ADD],
    ),
    "Anthropic's own tools": AIMessage(
        [
            {
                "type": "server_tool_use",
                "id": "srv_1",
                "name": "web_search",
                "input": {"query": "q"},
            },
            {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []},
            {"type": "text", "text": "I add.", "citations": [{"type": "web", "url": "http://x"}]},
        ],
        tool_calls=[ADD],
    ),
    "Gemini": AIMessage(
        [
            {"type": "thinking", "thinking": "Hm"},
            {"type": "text", "text": "I add."},
            {"functionCall": {"name": "add", "args": {"a": 1, "b": 2}}},
        ],
        tool_calls=[ADD],
    ),
    "Bedrock": AIMessage(
        [
            {"type": "reasoning_content", "reasoning_content": {"text": "Hm", "signature": "x"}},
            {"type": "text", "text": "I add."},
            {"type": "tool_use", "id": "call_1", "name": "add", "input": {"a": 1, "b": 2}},
        ],
        tool_calls=[ADD],
    ),
    "LangChain's own blocks": AIMessage(
        [
            {"type": "reasoning", "reasoning": "Hm"},
            {"type": "text", "text": "I add."},
            {"type": "tool_call", "id": "call_1", "name": "add", "args": {"a": 1, "b": 2}},
        ],
        tool_calls=[ADD],
        response_metadata={"output_version": "v1"},
    ),
    "a refusal": AIMessage(
        [{"type": "text", "text": "I add."}, {"type": "refusal", "refusal": " Or not."}],
        tool_calls=[ADD],
    ),
    "a block that nobody knows": AIMessage(
        [
            {"type": "text", "text": "I add."},
            {"type": "non_standard", "value": {"type": "sketch", "lines": []}},
        ],
        tool_calls=[ADD],
    ),
    "a call without an id": AIMessage("I add.", tool_calls=[{**ADD, "id": None}]),
    "a call that was cut off": AIMessage("I add.", tool_calls=[ADD], invalid_tool_calls=[BROKEN]),
}

QUESTION = HumanMessage("What is 1 plus 2?")
HISTORIES = {
    **{name: [QUESTION, answer, RESULT, HumanMessage("And?")] for name, answer in ANSWERS.items()},
    "two questions in a row": [QUESTION, HumanMessage("And 2 plus 3?")],
    "system messages in between": [
        SystemMessage("Be brief."),
        QUESTION,
        AIMessage("3"),
        SystemMessage("Be polite."),
        HumanMessage("And?"),
    ],
    "an answer that comes first": [AIMessage("Hello!"), QUESTION],
    "nothing but instructions": [SystemMessage("Be brief.")],
    "two answers in a row": [QUESTION, AIMessage("Well,"), AIMessage("3"), HumanMessage("And?")],
    "an empty answer": [QUESTION, AIMessage(""), HumanMessage("And?")],
    "a call without its result": [QUESTION, AIMessage("", tool_calls=[ADD]), HumanMessage("And?")],
    "a result without its call": [RESULT, HumanMessage("And?")],
    "a result before anything was asked": [AIMessage("", tool_calls=[ADD]), RESULT],
    "results in another order": [
        QUESTION,
        AIMessage("", tool_calls=[ADD, {**ADD, "id": "call_2"}]),
        ToolMessage("4", tool_call_id="call_2"),
        ToolMessage("3", tool_call_id="call_1"),
    ],
    "the same id twice": [QUESTION, AIMessage("", tool_calls=[ADD]), RESULT] * 2,
    "an image as a result": [
        QUESTION,
        AIMessage("", tool_calls=[ADD]),
        ToolMessage([{"type": "text", "text": "See:"}], tool_call_id="call_1", status="error"),
    ],
}


@pytest.fixture(params=TEMPLATES)
def template(request):
    return request.param


@pytest.mark.parametrize("name", HISTORIES)
def test_every_template_accepts_every_history(template, name):
    with SimulatedDocker([SimulatedModel("m", template=template, script="ok")]) as docker:
        chat = ChatDockerModel(model="m", max_retries=0)
        assert chat.invoke(HISTORIES[name]).content == "ok"
        assert "".join(chunk.text for chunk in chat.stream(HISTORIES[name])) == "ok"
    sent = json.dumps(docker.requests[-1].body["messages"])
    for message in HISTORIES[name]:
        if isinstance(message, HumanMessage):
            assert message.text in sent


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_of_another_provider_is_sent_as_text_and_one_call(name):
    with SimulatedDocker([SimulatedModel("m", script="ok")]) as docker:
        ChatDockerModel(model="m").invoke([QUESTION, ANSWERS[name], RESULT])
    _, answer, *results = docker.requests[-1].body["messages"]
    assert answer["content"].startswith("I add.")
    called = [call["function"]["name"] for call in answer["tool_calls"]]
    assert called == ["add"] * (2 if "cut off" in name else 1) or len(results) > 1
    assert results[0]["tool_call_id"] == answer["tool_calls"][0]["id"]
    assert results[0]["content"] == "3"


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def test_a_local_model_continues_the_history_of_another_provider():
    class Cloud(ChatDockerModel):
        """A model that calls a tool, and fails at the next question."""

        def _generate(self, messages, stop=None, run_manager=None, **settings):
            if isinstance(messages[-1], ToolMessage):
                msg = "over quota"
                raise ConnectionError(msg)
            return self._create_result()

        def _create_result(self):
            from langchain_core.outputs import ChatGeneration, ChatResult  # noqa: PLC0415

            answer = ANSWERS["OpenAI's responses"]
            return ChatResult(generations=[ChatGeneration(message=answer.model_copy())])

    with SimulatedDocker([SimulatedModel("m", template="gemma", script='{"answer": "ok"}')]):
        fallback = ModelFallbackMiddleware(ChatDockerModel(model="m"))
        agent = create_agent(Cloud(model="cloud"), [add], middleware=[fallback])
        *_, result, last = agent.invoke({"messages": [QUESTION]})["messages"]
    assert (result.content, last.content) == ("3", "ok")


# --- Structured answers ---


class City(BaseModel):
    """A city."""

    name: str
    people: int


OSLO = '{"name": "Oslo", "people": 7}'


def city(script, schema=City, **settings):
    with SimulatedDocker({"m": script}):
        return ChatDockerModel(model="m").with_structured_output(schema, **settings).invoke("q")


@pytest.mark.parametrize(
    "script",
    [
        OSLO,
        f"<think>\nIt may be {{Oslo}}, or {{}} …\n</think>\n\n{OSLO}",
        f"Is it {{}}?\n</think>{OSLO}",
        [Reasoning("Is it {}?"), OSLO],
        [Reasoning(OSLO)],
        [OSLO, Finish("length")],
    ],
)
def test_an_object_is_found_after_and_within_reasoning(script):
    assert city(script) == City(name="Oslo", people=7)


def test_an_answer_with_only_reasoning_is_no_object():
    with pytest.raises(EmptyAnswerError, match="only reasoning"):
        city([Reasoning("Hm …")])


def test_an_invalid_object_is_corrected_once():
    prompts = []

    def script(prompt):
        prompts.append(prompt)
        return OSLO if len(prompts) > 1 else '{"name": "Oslo", "people": "many"}'

    assert city(script) == City(name="Oslo", people=7)
    assert "people" in prompts[1].messages[-1]["content"]


class Address(TypedDict):
    """An address."""

    street: str


class Person(TypedDict, total=False):
    """A person."""

    name: Required[str]
    age: int
    home: Required[Address | None]
    role: Required[Literal["guest", "host"]]


class Guest(TypedDict):
    name: str
    age: NotRequired[int]


def test_optional_fields_of_a_typed_dictionary_are_not_required():
    with SimulatedDocker({"m": '{"name": "Ann"}'}) as docker:
        for schema in (Guest, Person):
            answer = ChatDockerModel(model="m").with_structured_output(schema).invoke("q")
            assert answer == {"name": "Ann"}
        sent = [request.body for request in docker.requests if request.body]
        bodies = [body for body in sent if "response_format" in body]
    guest, person = (body["response_format"]["json_schema"]["schema"] for body in bodies)
    assert guest["required"] == ["name"]
    assert guest["properties"]["age"]["type"] == "integer"
    assert sorted(person["required"]) == ["home", "name", "role"]
    assert person["properties"]["role"]["enum"] == ["guest", "host"]


# --- Agents ---


class Tools:
    """Tools that record their arguments."""

    def __init__(self):
        self.calls = []

        @tool
        def add(a: int, b: int) -> int:
            """Add two numbers."""
            self.calls.append(("add", {"a": a, "b": b}))
            return a + b

        @tool
        def delete(path: str = "everything") -> str:
            """Delete a file."""
            self.calls.append(("delete", {"path": path}))
            return "deleted"

        @tool
        def now() -> str:
            """Tell the time."""
            self.calls.append(("now", {}))
            return "noon"

        @tool
        def fly(to: str) -> str:
            """Fly to a place; always fails."""
            self.calls.append(("fly", {"to": to}))
            msg = "there are no wings"
            raise ToolException(msg)

        fly.handle_tool_error = True
        self.all = [add, delete, now, fly]


class Model:
    """A model that calls tools, correctly and incorrectly, and stops after a few rounds."""

    def __init__(self, random):
        self.random = random
        self.replies = []  # the right calls of each reply

    @property
    def calls(self):
        return [call for reply in self.replies for call in reply]

    def __call__(self, prompt):
        last = str(prompt.messages[-1]["content"])
        if "Reply again, and correct this." in last:
            self.replies.pop()  # no tool was run
        rounds = json.dumps(prompt.body["messages"]).count("noon") + len(self.replies) % 4
        if not prompt.body.get("tools") and not prompt.schema:
            return "Bare words."
        if rounds >= 3 or self.random.random() < 0.2:
            self.replies.append([])
            return '{"answer": "Done."}' if prompt.schema else "Done."
        return self._by_schema() if prompt.schema else self._natively()

    def _right(self):
        name, arguments = self.random.choice(
            [
                ("add", {"a": self.random.randint(0, 9), "b": 2}),
                ("delete", {"path": 'a "b"\n✓'}),
                ("now", {}),
                ("fly", {"to": "Oslo"}),
            ]
        )
        return name, arguments

    def _by_schema(self):
        name, arguments = self._right()
        if self.random.random() < 0.2:
            self.replies.append([])
            return [f'{{"tool": "{name}", "argum', Finish("length")]
        self.replies.append([(name, arguments)])
        return json.dumps({"tool": name, "arguments": arguments})

    def _natively(self):
        wrong = ['{"path": ', "{'path': 'a'}", '"a"', "[1]", '{"path": "a" and more', "path=a"]
        steps, right = [], []
        for _ in range(self.random.choice([1, 1, 2, 3])):
            if self.random.random() < 0.25:
                steps.append(ToolCall("delete", self.random.choice(wrong)))
                continue
            name, arguments = self._right()
            right.append((name, arguments))
            text = json.dumps(arguments, ensure_ascii=self.random.random() < 0.5)
            text = text.replace("\\n", "\n") if self.random.random() < 0.5 else text
            if not arguments:
                text = self.random.choice(["", "{}", "null"])
            steps.append(ToolCall(name, self.random.choice([text, json.dumps(text)])))
        if self.random.random() < 0.3:
            steps.insert(0, Text("Let me see. "))
        if self.random.random() < 0.3:
            steps.insert(0, Reasoning("Hm."))
        self.replies.append(right)
        return steps


def run_agent(agent, messages, mode):
    state = {"messages": messages}
    if mode == "invoke":
        return agent.invoke(state)["messages"]
    if mode == "ainvoke":
        return asyncio.run(agent.ainvoke(state))["messages"]
    *_, (_, last) = (
        part
        for part in agent.stream(state, stream_mode=["messages", "values"])
        if part[0] == "values"
    )
    return last["messages"]


@pytest.mark.parametrize(("seed", "count"), [(0, 3), pytest.param(1, 20, marks=pytest.mark.slow)])
def test_agents_run_every_valid_call_once_and_no_invalid_call(template, seed, count):
    random = Random(f"{template} {seed}")
    for _ in range(count):
        tools, model = Tools(), Model(random)
        simulated = SimulatedModel("m", template=template, script=model, context_size=8192)
        with SimulatedDocker([simulated]):
            chat = ChatDockerModel(model="m", max_retries=0)
            agent = create_agent(chat, tools.all, system_prompt=random.choice([None, "Be brief."]))
            messages = list(random.choice(list(HISTORIES.values())))
            for question in ("Go.", "Go on.", "And now?"):
                mode = random.choice(["invoke", "ainvoke", "stream"])
                messages = run_agent(agent, [*messages, HumanMessage(question)], mode)
                assert isinstance(messages[-1], AIMessage)
        assert sorted(map(str, tools.calls)) == sorted(map(str, model.calls))


def test_an_engine_failure_during_an_agents_conversation_is_retried():
    replies = iter([ToolCall("add", {"a": 1, "b": 2}), Fail("slot busy", 503), Text("3")])
    with SimulatedDocker({"m": lambda _: [next(replies)]}):
        agent = create_agent(ChatDockerModel(model="m"), [add])
        assert agent.invoke({"messages": [QUESTION]})["messages"][-1].content == "3"
