"""The four methods of a chat model as one function, and tools to bind."""

from __future__ import annotations

import asyncio

MODES = ("invoke", "ainvoke", "stream", "astream")
NOWHERE = "http://127.0.0.1:9"
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    },
}
OTHER = {"type": "function", "function": {"name": "sub", "parameters": {"type": "object"}}}
ADD = {"type": "function", "id": "1", "function": {"name": "add", "arguments": '{"a": 1}'}}


async def answer(chat, mode, messages="Hi.", **settings):
    """Return the whole answer; the chunks of a stream are added together."""
    match mode:
        case "invoke":
            return chat.invoke(messages, **settings)
        case "ainvoke":
            return await chat.ainvoke(messages, **settings)
        case "stream":
            chunks = await asyncio.to_thread(lambda: list(chat.stream(messages, **settings)))
        case "astream":
            chunks = [chunk async for chunk in chat.astream(messages, **settings)]
    return sum(chunks[1:], chunks[0])
