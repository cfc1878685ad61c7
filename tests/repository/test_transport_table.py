"""The documentation's table of transports matches the results of this test.

Each capability is tried on both transports, with the classes that have it. It works, as the answer
or the request shows; it raises `UnsupportedParameterError`; or it returns a description. Run as a
program, this file prints the table.
"""

from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from docker_model import DockerModel, UnsupportedParameterError
from docker_model.testing import Hang, Reasoning, SimulatedDocker, Text, ToolCall
from langchain_docker_model import ChatDockerModel
from llama_index_docker_model import DockerModelLLM

PAGE = Path(__file__).parents[2] / "docs" / "transports.md"
MODEL = "ai/smollm2"
TRANSPORTS = {"cli": "the command", "http": "HTTP"}
WORKS = "works"
PIXEL = (
    b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    b"+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SAMPLING = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.1,
    "seed": 7,
    "repeat_penalty": 1.1,
    "presence_penalty": 0.2,
    "frequency_penalty": 0.3,
    "reasoning_effort": "low",
    "chat_template_kwargs": {"enable_thinking": False},
    "extra_body": {"mirostat": 2},
}


class City(BaseModel):
    """A city."""

    name: str


def add(a: int) -> int:
    """Add."""
    return a


def last_body(docker):
    """Return the body of the last chat request."""
    return [
        request.body for request in docker.requests if request.path.endswith("/chat/completions")
    ][-1]


def say(docker, prompt):
    if prompt == "Leave":
        yield Text("On and on. ")
        yield Hang()
    body = last_body(docker)
    if body.get("tools"):
        yield ToolCall("add", {"a": 1})
    elif body.get("response_format"):
        yield Text('{"name": "Paris"}')
    else:
        yield Reasoning("Hm.")
        yield Text("Yes.")


def together(*modes):
    """Run all modes; either all of them work, or all raise the same error."""
    refusals = []
    for mode in modes:
        try:
            mode()
        except UnsupportedParameterError as error:
            refusals.append(error)
    assert len(refusals) in (0, len(modes)), refusals
    if refusals:
        raise refusals[0]


# --- The capabilities ---


def answers(transport, _):
    model = DockerModel(MODEL, transport=transport)
    assert model.generate("Hi").text == "".join(model.stream("Hi")) == "Yes."
    assert ChatDockerModel(model=MODEL, transport=transport).invoke("Hi").text == "Yes."
    assert DockerModelLLM(model=MODEL, transport=transport).complete("Hi").text == "Yes."


def left_early(transport, docker):
    with DockerModel(MODEL, transport=transport).stream("Leave") as stream:
        assert next(stream)
    docker.wait_gone()


def reasoning(transport, _):
    assert DockerModel(MODEL, transport=transport).generate("Hi").reasoning == "Hm."


def cut(transport, _):
    completion = DockerModel(MODEL, transport=transport).generate("Hi", stop="s.")
    assert (completion.text, completion.finish_reason) == ("Ye", "stop_sequence")
    completion = DockerModel(MODEL, transport=transport, max_chars=2).generate("Hi")
    assert (completion.text, completion.finish_reason) == ("Ye", "length")


def pulled(transport, _):
    steps = []
    settings = {"transport": transport, "pull": "missing", "on_progress": steps.append}
    for name, ask in (
        ("ai/core", lambda name: DockerModel(name, **settings).generate("Hi").text),
        ("ai/chat", lambda name: ChatDockerModel(model=name, **settings).invoke("Hi").text),
        ("ai/llama", lambda name: DockerModelLLM(model=name, **settings).complete("Hi").text),
    ):
        steps.clear()
        assert ask(name) == "Yes."
        assert {step.model for step in steps} == {name}


def usage(transport, _):
    reported = DockerModel(MODEL, transport=transport).generate("Hi").usage
    return WORKS if reported else "if the engine sends it without a request for it"


def roles(transport, docker):
    ChatDockerModel(model=MODEL, transport=transport).invoke(
        [SystemMessage("Be brief."), HumanMessage("Hi")]
    )
    sent = [message["role"] for message in last_body(docker)["messages"]]
    chat = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Hi")]
    DockerModelLLM(model=MODEL, transport=transport).chat(chat)
    assert sent == [message["role"] for message in last_body(docker)["messages"]]
    return WORKS if sent == ["system", "user"] else "flattened into one prompt"


def parameters(**given):
    def mode(make, method, transport, name, docker):
        def go():
            model = make(model=MODEL, transport=transport, **{name: given[name]})
            getattr(model, method)("Hi")
            sent = given[name] if name == "extra_body" else {name: given[name]}
            assert last_body(docker).items() >= sent.items()

        return go

    def honoured(transport, docker):
        classes = ((ChatDockerModel, "invoke"), (DockerModelLLM, "complete"))
        together(*(mode(*call, transport, name, docker) for call in classes for name in given))

    return honoured


def tools(transport, _):
    def langchain():
        chat = ChatDockerModel(model=MODEL, transport=transport).bind_tools([add])
        assert chat.invoke("Use it").tool_calls[0]["args"] == {"a": 1}

    def llama_index():
        llm = DockerModelLLM(model=MODEL, transport=transport)
        response = llm.chat_with_tools([FunctionTool.from_defaults(add)], user_msg="Use it")
        assert llm.get_tool_calls_from_response(response)[0].tool_kwargs == {"a": 1}

    together(langchain, llama_index)


def schema(transport, docker):
    response_format = {"type": "json_schema", "json_schema": {"schema": City.model_json_schema()}}

    def langchain():
        chat = ChatDockerModel(model=MODEL, transport=transport).with_structured_output(City)
        assert chat.invoke("Which?") == City(name="Paris")

    def llama_index():
        llm = DockerModelLLM(model=MODEL, transport=transport, response_format=response_format)
        assert llm.complete("Which?").text == '{"name": "Paris"}'

    together(langchain, llama_index)
    sent = last_body(docker)["response_format"]["json_schema"]["schema"]
    assert sent["properties"] == {"name": {"type": "string"}}


def images(transport, docker):
    def langchain():
        block = {"type": "image", "base64": PIXEL.decode(), "mime_type": "image/png"}
        message = HumanMessage([{"type": "text", "text": "What?"}, block])
        ChatDockerModel(model=MODEL, transport=transport).invoke([message])
        assert last_body(docker)["messages"][0]["content"][1]["type"] == "image_url"

    def llama_index():
        blocks = [TextBlock(text="What?"), ImageBlock(image=PIXEL, image_mimetype="image/png")]
        llm = DockerModelLLM(model=MODEL, transport=transport)
        llm.chat([ChatMessage(role="user", blocks=blocks)])
        assert last_body(docker)["messages"][0]["content"][1]["type"] == "image_url"

    together(langchain, llama_index)


def address(transport, docker):
    together(
        lambda: DockerModel(MODEL, transport=transport, base_url=docker.url).generate("Hi"),
        lambda: DockerModel(MODEL, transport=transport, api_key="sesame").generate("Hi"),
    )


def standby(transport, docker):
    with_standby = DockerModel(MODEL, transport=transport, standby=1)
    with_standby.warm_up()
    with_standby.close()
    return WORKS if docker.calls else "ignored, because no process is needed"


CAPABILITIES = {
    "complete answers and streams": answers,
    "leaving early ends the model's work": left_early,
    "reasoning separate from the answer": reasoning,
    "`stop`, `max_chars`": cut,
    '`pull="missing"`': pulled,
    "token usage": usage,
    "roles of a chat": roles,
    ", ".join(f"`{name}`" for name in SAMPLING): parameters(**SAMPLING),
    "`max_tokens`": parameters(max_tokens=9),
    "tools": tools,
    "answers that follow a JSON schema": schema,
    "images": images,
    "`base_url`, `api_key`": address,
    "`standby`": standby,
}


def result_of(name, transport):
    """Return the result of a capability on a transport, as the table describes it."""
    with SimulatedDocker(
        [MODEL], pullable=["ai/core", "ai/chat", "ai/llama"], script=lambda p: say(docker, p)
    ) as docker:
        try:
            return CAPABILITIES[name](transport, docker) or WORKS
        except UnsupportedParameterError:
            return "`UnsupportedParameterError`"


def shown():
    """Return the rows of the table by the names of their capabilities."""
    table = PAGE.read_text().split("<!-- transports -->")[1]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.split("\n")[1:-1]]
    assert rows[0] == ["", *TRANSPORTS.values()]
    return {name: dict(zip(TRANSPORTS, cells, strict=True)) for name, *cells in rows[2:]}


def test_the_table_lists_all_capabilities():
    assert list(shown()) == list(CAPABILITIES)


@pytest.mark.simulated
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", CAPABILITIES)
def test_the_table_shows_the_result_of_each_capability(name, transport):
    assert result_of(name, transport) == shown()[name][transport]


if __name__ == "__main__":
    rows = [["", *TRANSPORTS.values()], ["---"] * (1 + len(TRANSPORTS))]
    rows += [
        [name, *(result_of(name, transport) for transport in TRANSPORTS)] for name in CAPABILITIES
    ]
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))  # noqa: T201  it is a script
