"""Token counts, compared with the usage of answers of a real engine."""

import json
import random
import re

import pytest

from docker_model.http import Client

WORDS = re.findall(
    r"\S+",
    "ship harbor tide cargo of 12:45 3.14159 naïve Grüße 港口 порт 🚢 👩\u200d👩\u200d👧 e\u0301 "
    "<|im_end|> <think> </think> {} \\n ``` def f(x): # --- https://example.org/?q=1&r=2 مرفأ",
)


def chat_of(seed):
    """Return the messages and the tools of a random chat."""
    rng = random.Random(seed)

    def text(most=10):
        gap = rng.choice([" ", " ", "\n", "  "])
        return gap.join(rng.choices(WORDS, k=rng.randint(1, most)))

    tools = [tool(rng, number) for number in range(rng.choice([0, 0, 1, 3]))]
    messages = [{"role": "system", "content": text()}] if rng.random() < 0.5 else []
    for turn in range(rng.randint(1, 3)):
        parts = [{"type": "text", "text": text(5)} for _ in range(rng.randint(1, 2))]
        messages.append({"role": "user", "content": rng.choice([text(), text(), parts])})
        if tools and rng.random() < 0.5:
            messages += called(rng, tools, f"call_{seed}_{turn}", text)
        messages.append({"role": "assistant", "content": text()})
    messages.append({"role": "user", "content": text()})
    return messages, tools


def tool(rng, number):
    """Return a tool with random parameters."""
    names = rng.sample(["city", "day", "limit", "größe"], k=rng.randint(0, 3))
    properties = {
        name: {"type": rng.choice(["string", "integer"]), "description": f"The {name}."}
        for name in names
    }
    return {
        "type": "function",
        "function": {
            "name": f"tool_{number}",
            "description": rng.choice(["Look something up.", "Zähle Schiffe 🚢."]),
            "parameters": {"type": "object", "properties": properties, "required": names[:1]},
        },
    }


def called(rng, tools, identity, text):
    """Return a random tool call and its result."""
    name = rng.choice(tools)["function"]["name"]
    arguments = json.dumps({"city": text(3), "limit": rng.randint(1, 99)})
    call = {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
    return [
        {"role": "assistant", "content": rng.choice([None, text(5)]), "tool_calls": [call]},
        {"role": "tool", "tool_call_id": identity, "name": name, "content": text(5)},
    ]


@pytest.mark.parametrize("tool_calling", ["native", "auto"])
def test_counts_equal_the_prompt_tokens_of_the_answers(model, chats, tool_calling):
    client = Client(timeout=120)
    different = []
    for seed in range(chats // 2):
        messages, tools = chat_of(f"{tool_calling}-{seed}")
        settings = {"tool_calling": tool_calling, "tools": tools or None}
        counted = client.count_tokens(model, messages, **settings)
        reply = client.chat(model, messages, **settings, max_tokens=1)
        used = reply["usage"]["prompt_tokens"]
        if counted != used:
            different.append((seed, counted, used))
    assert not different
