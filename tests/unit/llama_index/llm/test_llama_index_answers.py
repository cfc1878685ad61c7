"""Prompts and responses of the eight methods."""

from __future__ import annotations

import itertools
import threading

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    ChatMessage,
    ImageBlock,
    TextBlock,
)

from docker_model import InvalidRequestError, Timeouts, UnsupportedParameterError
from docker_model.testing import Reasoning, SimulatedDocker, Text, Usage
from llama_index_docker_model import DockerModelLLM
from tests.support.llama_index_modes import HAS_THINKING, STREAMS, chat_of, needs_tool_calls

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
ENDED = {"model": "ai/smollm2", "finish_reason": "stop"}


async def test_every_method_returns_the_answer(mode, llm, docker):
    responses = await mode(llm, "What is Docker?")
    assert mode.text_of(responses[-1]) == f"You said: {docker.prompts[0]}"
    assert responses[-1].raw == ENDED


async def test_one_call_starts_one_run(mode, llm, docker):
    await mode(llm, "What is Docker?")
    assert docker.prompts == [
        "user: What is Docker?\nassistant:" if mode.is_chat else "What is Docker?"
    ]


@pytest.mark.parametrize("mode", STREAMS, ids=repr)
async def test_pieces_arrive_while_the_model_is_still_generating(mode, llm):
    """The model sends the next word only after the previous one has arrived."""
    words = ["one ", "two ", "three ", "four"]
    arrived = threading.Semaphore(0)

    def speak(prompt):
        for word in words:
            yield Text(word, size=len(word))
            arrived.acquire()

    text = ""
    deltas = []
    with SimulatedDocker(script=speak):
        async for response in mode.iterate(llm):
            arrived.release()
            deltas.append(response.delta)
            text += response.delta
            assert mode.text_of(response) == text
    assert deltas == [*words, ""]


@pytest.mark.parametrize("mode", STREAMS, ids=repr)
async def test_every_chunk_has_its_own_objects(mode, llm, docker):
    """Chat engines modify the message of the last chunk."""
    responses = await mode(llm)
    for first, second in itertools.pairwise(responses):
        assert first.raw is not second.raw
        if mode.is_chat:
            assert first.message is not second.message
            assert first.message.blocks is not second.message.blocks


async def test_usage_is_in_the_response(mode, llm):
    with SimulatedDocker(script=["Hello.", Usage(3, 4)]):
        responses = await mode(llm)
    assert responses[-1].raw == {**ENDED, "usage": USAGE}
    assert all("usage" not in response.raw for response in responses[:-1])


async def test_reasoning_is_in_the_response(mode, llm):
    with SimulatedDocker(script=[Reasoning("Let me think."), Text("Hello.")]):
        responses = await mode(llm)
    last = responses[-1]
    assert mode.text_of(last) == "Hello."
    assert last.raw == {**ENDED, "reasoning": "Let me think."}
    assert last.additional_kwargs == {}
    if mode.is_chat:
        *thinking, text = last.message.blocks
        assert isinstance(text, TextBlock)
        assert [(block.block_type, block.content) for block in thinking] == (
            [("thinking", "Let me think.")] if HAS_THINKING else []
        )
        assert last.message.additional_kwargs == {}
    thoughts = [response.additional_kwargs.get("thinking_delta", "") for response in responses]
    assert "".join(thoughts) == ("Let me think." if mode.is_stream else "")
    for response, thought in zip(responses, thoughts, strict=True):
        assert not (thought and response.delta)


async def test_data_of_an_answer_does_not_leak_into_the_next_turn(mode, llm):
    if not mode.is_chat:
        return
    with SimulatedDocker(script=[Reasoning("secret"), Text("Hello."), Usage(3, 4)]) as docker:
        first = (await mode(llm))[-1]
        await mode(llm)
        llm.chat([*chat_of("hi"), first.message, *chat_of("more")])
        assert docker.prompts[-1] == "user: hi\nassistant: Hello.\nuser: more\nassistant:"


# --- Prompts ---


@pytest.mark.parametrize("name", ["complete", "stream_complete"])
def test_completion_to_prompt_formats_the_prompt(name, docker):
    llm = DockerModelLLM(model="ai/smollm2", completion_to_prompt=lambda prompt: f"<{prompt}>")
    list(getattr(llm, name)("hi"))
    list(getattr(llm, name)("hi", formatted=True))
    list(getattr(llm, name)("hi", True))
    assert docker.prompts == ["<hi>", "hi", "hi"]


def test_messages_to_prompt_formats_the_messages(docker):
    llm = DockerModelLLM(
        model="ai/smollm2", messages_to_prompt=lambda chat: " / ".join(m.content for m in chat)
    )
    llm.chat([*chat_of("one"), *chat_of("two")])
    assert docker.prompts == ["one / two"]


def test_missing_prompt_functions_use_the_defaults(llm, docker):
    llm.messages_to_prompt = llm.completion_to_prompt = None
    llm.complete("hi")
    llm.chat(chat_of("hi"))
    assert docker.prompts == ["hi", "user: hi\nassistant:"]


def test_every_role_is_sent_to_the_model(llm, docker):
    roles = ["system", "developer", "user", "assistant", "function", "tool", "chatbot", "model"]
    llm.chat([ChatMessage(role=role, content=f"from {role}") for role in roles])
    for role in roles:
        assert f"{role}: from {role}" in docker.prompts[0]


def test_the_prompt_may_be_a_keyword(llm, docker):
    assert llm.complete(prompt="hi").text == "You said: hi"
    assert (
        "".join(response.delta for response in llm.stream_complete(prompt="hi")) == "You said: hi"
    )


def test_a_missing_or_repeated_prompt_is_refused(llm):
    for method in (llm.complete, llm.stream_complete):
        with pytest.raises(ValueError, match="No prompt"):
            method()
        with pytest.raises(TypeError):
            method("hi", prompt="hi")


IMAGE = ImageBlock(url="http://localhost/x.png")
SOUND = AudioBlock(url="http://localhost/x.wav")
CALL = {"block_type": "tool_call", "tool_name": "add", "tool_kwargs": {}}


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        (IMAGE, "image"),
        (SOUND, "audio"),
        pytest.param(CALL, "tool_call", marks=needs_tool_calls),
    ],
)
async def test_unsupported_blocks_are_refused_over_the_cli(block, kind, mode, llm, docker):
    if not mode.is_chat:
        return
    llm.transport = "cli"
    chat = [ChatMessage(role="user", blocks=[TextBlock(text="What is this?"), block])]
    with pytest.raises(InvalidRequestError, match=kind):
        await mode(llm, chat)
    assert docker.calls == []


def test_blocks_without_text_are_skipped(llm, docker):
    blocks = [
        TextBlock(text="hi"),
        CachePoint(cache_control=CacheControl(type="ephemeral")),
    ]
    if HAS_THINKING:
        blocks.insert(0, {"block_type": "thinking", "content": "hmm"})
    llm.chat([ChatMessage(role="user", blocks=blocks)])
    assert docker.prompts == ["user: hi\nassistant:"]


@pytest.mark.parametrize("chat", [[], [ChatMessage(role="user")], chat_of(" \n")])
async def test_an_empty_chat_is_refused(chat, mode, llm, docker):
    if not mode.is_chat:
        return
    with pytest.raises(InvalidRequestError, match="empty"):
        await mode(llm, chat)
    assert docker.calls == []


async def test_a_blank_prompt_is_refused(mode, llm, docker):
    with pytest.raises(InvalidRequestError):
        await mode(llm, " ")
    assert docker.calls == []


async def test_a_file_reference_in_a_prompt_is_not_read(mode, llm, docker, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("hunter2")
    await mode(llm, f"What is in @{secret}?")
    assert "hunter2" not in docker.prompts[0]
    assert str(secret) in docker.prompts[0]


# --- Settings of a single call ---


async def test_a_stop_sequence_cuts_the_answer(mode, llm):
    with SimulatedDocker(script="Thought: yes\nObservation: 4, and more"):
        whole = await mode(llm)
        responses = await mode(llm, stop="\nObservation:")
        several = await mode(llm, stop=["nowhere", ": yes"])
    assert whole[-1].raw["finish_reason"] == "stop"
    assert mode.text_of(responses[-1]) == "Thought: yes"
    assert responses[-1].raw["finish_reason"] == "stop_sequence"
    assert mode.text_of(several[-1]) == "Thought"


async def test_stop_of_a_call_replaces_that_of_the_model(mode):
    llm = DockerModelLLM(model="ai/smollm2", stop="b")
    with SimulatedDocker(script="abcdef"):
        assert mode.text_of((await mode(llm))[-1]) == "a"
        assert mode.text_of((await mode(llm, stop="d"))[-1]) == "abc"
        assert mode.text_of((await mode(llm, stop=()))[-1]) == "abcdef"
        assert mode.text_of((await mode(llm, stop=None))[-1]) == "a"  # the model's own is used


async def test_other_settings_of_a_call_are_used(mode, llm, docker):
    responses = await mode(
        llm, "hi there", max_chars=3, model="ai/other", timeout=Timeouts(total=60)
    )
    assert mode.text_of(responses[-1]) == "You"
    assert all(response.raw["model"] == "ai/other" for response in responses)
    assert responses[-1].raw["finish_reason"] == "length"
    assert llm.model == "ai/smollm2"


async def test_an_invalid_setting_of_a_call_is_refused(mode, llm, docker):
    with pytest.raises(InvalidRequestError, match="max_chars"):
        await mode(llm, max_chars=0)
    with pytest.raises(InvalidRequestError, match="env"):
        await mode(llm, env={"TOKEN": "hunter2"})
    llm.transport = "cli"
    with pytest.raises(UnsupportedParameterError, match="temperature") as caught:
        await mode(llm, temperature=0.5)
    assert "HTTP" in caught.value.hint
    with pytest.raises(UnsupportedParameterError, match="max_chars"):
        await mode(llm, max_tokens=5)
    with pytest.raises(TypeError, match="tempratur"):
        await mode(llm, tempratur=0.5)
    assert docker.calls == []
