"""Random conversations with tools that are longer than the window of a real engine.

`REAL_CONVERSATIONS` says how many (default 20), and `REAL_FIRST` which is the first, so that a
thousand of them can be run in slices.
"""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess

import pytest

from docker_model import remove_model
from docker_model.http import Client
from docker_model.http.messages import prepare

LOG = logging.getLogger(__name__)
WINDOW = 512
MAX_TOKENS = 8
BUDGET = WINDOW - MAX_TOKENS
BLOCK = BUDGET // 3 * 4  # a block's characters, at four a token: a third of the budget
WORDS = "the model reads long texts about ships, rivers and towns in 1913; naïve 世界"  # any tokens
NAME = "test/window-512"


@pytest.fixture(scope="module")
def small():
    """A model with a window of 512 tokens, made of `REAL_MODEL`."""
    command = ["docker", "model", "package", "--from", os.environ["REAL_MODEL"]]
    subprocess.run([*command, "--context-size", str(WINDOW), NAME], check=True, timeout=60)
    yield NAME
    remove_model(NAME)


def text(rng, most):
    return " ".join(rng.choices(WORDS.split(), k=rng.randint(1, most)))


def tool(name):
    parameters = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [tool("find"), tool("read")]


def conversation(rng):
    """A history of any length, whose last turn may hold calls and their results."""
    messages = [{"role": "system", "content": text(rng, 20)}] if rng.random() < 0.5 else []
    turns = rng.randint(1, 12)
    for turn in range(turns):
        last = turn == turns - 1
        messages.append({"role": "user", "content": text(rng, 40)})
        for number in range(rng.choice([0, 0, 1, 1, 2, 5])):
            calls = [
                {
                    "id": f"call{turn}x{number}x{each}",
                    "type": "function",
                    "function": {
                        "name": rng.choice(TOOLS)["function"]["name"],
                        "arguments": json.dumps({"q": text(rng, 8)}),
                    },
                }
                for each in range(rng.choice([1, 1, 1, 2]))
            ]
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
            messages += [
                {"role": "tool", "tool_call_id": call["id"], "content": text(rng, 20)}
                for call in calls
            ]
        if not last:
            messages.append({"role": "assistant", "content": text(rng, 40)})
    return prepare(messages)


def size(messages):
    """Characters as they count for a block; a template adds 16 tokens of 4 to each message."""
    return sum(
        len(str(message.get("content") or "")) + len(str(message.get("tool_calls") or "")) + 64
        for message in messages
    )


def with_one_more_block(messages, left_out):
    """What would be left if a block less was left out."""
    head = [message for message in messages[:1] if message["role"] == "system"]
    rest = messages[len(head) :]
    last = max(place for place, message in enumerate(rest) if message["role"] == "user")
    if left_out <= last:
        begins = [place for place in range(left_out) if rest[place]["role"] == "user"]
        kept, end = [], left_out
    else:  # within the last turn, whose question stays
        end = left_out + 1
        begins = [place for place in range(last + 1, end) if rest[place]["role"] == "assistant"]
        kept = [rest[last]]
    enough = [place for place in begins if size(rest[place:end]) >= BLOCK]
    if enough:
        return [*head, *kept, *rest[enough[-1] :]]
    return [*head, *(rest[last:] if kept else rest)]


def test_long_conversations_fit_and_keep_all_that_fits(small):
    first = int(os.environ.get("REAL_FIRST", "0"))
    client = Client()
    trimmed = 0
    for seed in range(first, first + int(os.environ.get("REAL_CONVERSATIONS", "20"))):
        rng = random.Random(seed)
        messages = conversation(rng)
        tool_settings = {"tools": TOOLS, "tool_calling": "schema"}
        if rng.random() < 0.3:
            tool_settings["tool_choice"] = "required"
        reply = client.chat(
            small, messages, **tool_settings, overflow="trim", max_tokens=MAX_TOKENS, temperature=0
        )
        assert reply["usage"]["prompt_tokens"] <= BUDGET, seed
        left_out = reply.get("trimmed", 0)
        LOG.info("conversation %d: %d of %d messages left out", seed, left_out, len(messages))
        if left_out:
            trimmed += 1
            more = with_one_more_block(messages, left_out)
            assert client.count_tokens(small, more, **tool_settings) > BUDGET, seed
        else:
            assert client.count_tokens(small, messages, **tool_settings) <= BUDGET, seed
    assert trimmed
