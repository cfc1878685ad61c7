"""Random conversations with tools that are longer than the context of a real engine.

`REAL_CONVERSATIONS` is the number of conversations (default 20), and `REAL_FIRST` the first seed.
With both, a thousand conversations can run in several parts.
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
BLOCK = BUDGET // 3 * 4  # characters of a block: a third of the budget, with four per token
WORDS = "the model reads long texts about ships, rivers and towns in 1913; naïve 世界"
NAME = "test/window-512"


@pytest.fixture(scope="module")
def small():
    """Package `REAL_MODEL` with a context of 512 tokens."""
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
    """Return a random history; its last turn can contain calls and their results."""
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
    """Return the number of characters, plus 64 (16 tokens) per message for the template."""
    return sum(
        len(str(message.get("content") or "")) + len(str(message.get("tool_calls") or "")) + 64
        for message in messages
    )


def with_one_more_block(messages, left_out):
    """Return the messages that would remain if one block less was removed."""
    head = [message for message in messages[:1] if message["role"] == "system"]
    rest = messages[len(head) :]
    last = max(place for place, message in enumerate(rest) if message["role"] == "user")
    if left_out <= last:
        begins = [place for place in range(left_out) if rest[place]["role"] == "user"]
        kept, end = [], left_out
    else:  # within the last turn, which keeps its question
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
            longer = with_one_more_block(messages, left_out)
            assert client.count_tokens(small, longer, **tool_settings) > BUDGET, seed
        else:
            assert client.count_tokens(small, messages, **tool_settings) <= BUDGET, seed
    assert trimmed
