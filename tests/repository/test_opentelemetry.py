"""OpenInference creates the OpenTelemetry spans that the guide describes."""

import json

import pytest

from docker_model.testing import SimulatedDocker
from tests.support.programs import run_python

# Prints each span's name and attributes; a separate program, because instrumentation is global.
PROGRAM = """
import asyncio, json, sys

from openinference.instrumentation.langchain import LangChainInstrumentor
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langchain_docker_model import ChatDockerModel
from llama_index_docker_model import DockerModelLLM

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
LangChainInstrumentor().instrument(tracer_provider=provider)
LlamaIndexInstrumentor().instrument(tracer_provider=provider)

settings = {
    "base_url": sys.argv[1],
    "api_key": "secret-key",
    "headers": {"X-Key": "secret-header"},
    "env": {"TOKEN": "secret-variable"},
}
chat = ChatDockerModel(model="ai/smollm2", **settings)
llm = DockerModelLLM(model="ai/smollm2", **settings)

async def main():
    async for _ in chat.astream("hello"):
        pass
    async for _ in await llm.astream_complete("hello"):
        pass

chat.invoke("hello")
list(chat.stream("hello"))
llm.complete("hello")
list(llm.stream_complete("hello"))
asyncio.run(main())
for span in exporter.get_finished_spans():
    print(json.dumps([span.name, dict(span.attributes)]))
"""


@pytest.fixture(scope="module")
def spans():
    with SimulatedDocker({"ai/smollm2": "Four."}) as docker:
        ended = run_python(["-c", PROGRAM, docker.url])
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_each_call_and_each_stream_has_a_span(spans):
    assert sorted(name for name, _ in spans) == [
        "ChatDockerModel",
        "ChatDockerModel",
        "ChatDockerModel",
        "DockerModelLLM.astream_complete",
        "DockerModelLLM.complete",
        "DockerModelLLM.stream_complete",
    ]


def test_a_span_has_model_prompt_answer_and_token_counts(spans):
    for _, attributes in spans:
        assert attributes["llm.model_name"] == "ai/smollm2"
        assert "hello" in attributes["input.value"]
        assert "Four." in attributes["output.value"]
        assert attributes["llm.token_count.prompt"] > 0
        assert attributes["llm.token_count.completion"] > 0


def test_a_span_has_no_key_no_header_and_no_variable(spans):
    assert "secret" not in json.dumps(spans)
