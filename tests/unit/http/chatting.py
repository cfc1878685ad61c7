"""Run a chat in each calling mode, for tests of the HTTP client."""

from docker_model.http import Client
from tests.support.modes import call

MODEL = "ai/smollm2"
MESSAGES = [{"role": "user", "content": "hi"}]
CLIENT = Client()
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def chat(mode, client, *args, **settings):
    return call(
        mode, lambda: client.chat(*args, **settings), lambda: client.achat(*args, **settings)
    )


def chunks(mode, client, *args, **settings):
    async def asynchronous():
        return [chunk async for chunk in client.astream_chat(*args, **settings)]

    return call(mode, lambda: list(client.stream_chat(*args, **settings)), asynchronous)


def text(chunks):
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)
