"""Prompts of frameworks fit the context of a real model; run with a small and a large model."""

import logging

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from llama_index.core import Document, Settings, SummaryIndex
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.response_synthesizers import CompactAndRefine, TreeSummarize

from langchain_docker_model import ChatDockerModel
from llama_index_docker_model import DockerModelLLM

LOG = logging.getLogger(__name__)
TEXT = (
    "The harbor opens at six and closes at ten. Ships with cargo wait at berth three until the "
    "tide is high. "
)
SHORT = {"temperature": 0, "max_tokens": 24, "timeout": 400}


def tides(day: str) -> str:
    """Tell the tides of a day."""
    return f"On {day}: {TEXT * 3}"


class PromptTokens(BaseEventHandler):
    """Collects the prompt tokens that the engine counted."""

    counts: list[int]

    def handle(self, event, **_):
        raw = getattr(getattr(event, "response", None), "raw", None)
        usage = raw.get("usage") if isinstance(raw, dict) else None
        if usage:
            self.counts.append(usage["prompt_tokens"])


@pytest.fixture
def llm(model, monkeypatch):
    llm = DockerModelLLM(model=model, **SHORT)
    llm.warm_up()
    monkeypatch.setattr("llama_index.core.global_tokenizer", llm.tokenizer)
    monkeypatch.setattr(Settings, "_tokenizer", llm.tokenizer)
    return llm


@pytest.mark.parametrize("synthesizer", [TreeSummarize, CompactAndRefine])
def test_a_summary_index_fits(llm, synthesizer):
    window = llm.metadata.context_window
    document = Document(text=TEXT * (window // 20))  # longer than the window
    splitter = SentenceSplitter(chunk_size=window // 4, chunk_overlap=0)
    index = SummaryIndex.from_documents([document], transformations=[splitter])
    # By default, 500 tokens are kept free for an answer to refine.
    room = {} if synthesizer is TreeSummarize else {"response_padding_size": 32}
    handler = PromptTokens(counts=[])
    get_dispatcher().add_event_handler(handler)
    engine = index.as_query_engine(llm=llm, response_synthesizer=synthesizer(llm=llm, **room))
    assert str(engine.query("When does the harbor open?"))
    LOG.info("%s: prompts of %s tokens, window %d", synthesizer.__name__, handler.counts, window)
    assert len(handler.counts) > 1
    assert window // 2 < max(handler.counts) <= window - SHORT["max_tokens"]


def test_an_agent_that_talks_for_long_fits(model):
    chat = ChatDockerModel(model=model, overflow="trim", **SHORT)
    chat.warm_up()
    window = chat.profile["max_input_tokens"]
    counts = []

    class Counts(BaseCallbackHandler):
        def on_llm_end(self, response, **_):
            [[generation]] = response.generations
            counts.append(generation.message.usage_metadata["input_tokens"])

    agent = create_agent(chat, [tides], system_prompt="Answer briefly.")
    # Longer than the context, so that the oldest turns are removed.
    history = [(role, TEXT * (window // 250)) for _ in range(6) for role in ("user", "assistant")]
    messages = [*history, ("user", "When does the harbor open?")]
    assert chat.get_num_tokens_from_messages(messages) > window
    agent.invoke({"messages": messages}, {"callbacks": [Counts()], "recursion_limit": 8})
    LOG.info("agent: prompts of %s tokens, window %d", counts, window)
    assert counts
    assert max(counts) <= window - SHORT["max_tokens"]
