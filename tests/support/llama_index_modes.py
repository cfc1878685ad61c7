"""The eight methods of a LlamaIndex LLM, called in the same way by tests."""

from __future__ import annotations

import inspect
from importlib.util import find_spec

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms import types
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.program import LLMTextCompletionProgram


def chat_of(text):
    return [ChatMessage(role="user", content=text)]


class Method:
    """One of the eight methods; a call returns its responses as a list."""

    def __init__(self, name):
        self.name = name
        self.is_async = name.startswith("a")
        self.is_chat = "chat" in name
        self.is_stream = "stream" in name

    def __repr__(self):
        return self.name

    def begin(self, llm, prompt="hi", **kwargs):
        """Call the method; return its response, generator or coroutine."""
        if self.is_chat and isinstance(prompt, str):
            prompt = chat_of(prompt)
        return getattr(llm, self.name)(prompt, **kwargs)

    async def __call__(self, llm, prompt="hi", **kwargs):
        return [response async for response in self.iterate(llm, prompt, **kwargs)]

    async def iterate(self, llm, prompt="hi", **kwargs):
        result = self.begin(llm, prompt, **kwargs)
        if self.is_async:
            result = await result
        if not self.is_stream:
            yield result
        elif self.is_async:
            async for response in result:
                yield response
        else:
            for response in result:
                yield response

    @staticmethod
    def text_of(response):
        return response.message.content if hasattr(response, "message") else response.text


MODES = [
    Method(prefix + stream + kind)
    for prefix in ("", "a")
    for stream in ("", "stream_")
    for kind in ("complete", "chat")
]
STREAMS = [mode for mode in MODES if mode.is_stream]


# Agents and workflows of core call deprecated functions.
agents_of_core = pytest.mark.filterwarnings("ignore::DeprecationWarning")

# Features that the first releases of core 0.14 do not have.
HAS_PAYLOAD = hasattr(LLM, "to_payload")
HAS_THINKING = hasattr(types, "ThinkingBlock")
HAS_TOOL_CALLS = hasattr(types, "ToolCallBlock")
# An agent that does not stream ends each step with one call, whatever its settings are.
HAS_PARALLEL_CALLS = "parallel" in inspect.getsource(FunctionAgent._get_response)


def needs(feature):
    return pytest.mark.skipif(not feature, reason="this release of core does not have the feature")


needs_rate_limiter = needs("rate_limiter" in LLM.model_fields)
needs_tool_calls = needs(HAS_TOOL_CALLS)
needs_thinking = needs(HAS_THINKING)
needs_text_program_streams = needs("stream_call" in vars(LLMTextCompletionProgram))
needs_steps_outside_a_run = needs(find_spec("llama_index.core.agent.workflow.agent_context"))
