"""A scripted runner for the benchmarks, in a separate process and without extra pauses.

It implements only the requests of `docker model`, the OpenAI clients and the Ollama client, so that
it adds as little as possible to the measured times. The name of the model is the script. `ai/N-MS`
sends N tokens, MS milliseconds apart (0: as fast as possible). Each token is the time at which it
was sent, in nanoseconds of the monotonic clock, which all processes share. `ai/big-MB` sends MB
megabytes. Every embedding is the same vector, written beforehand.

    python benchmarks/runner.py      prints its address, serves until its stdin is closed
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import struct
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DIMENSIONS = 384
VECTOR = [((7 * place) % 101 - 50) / 1000 for place in range(DIMENSIONS)]
WRITTEN = {
    "float": json.dumps(VECTOR),
    "base64": json.dumps(base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *VECTOR)).decode()),
}
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


async def tokens(model: str) -> AsyncIterator[str]:
    name = model.rpartition("/")[2].partition(":")[0]
    if name.startswith("big-"):
        for _ in range(int(name.removeprefix("big-")) * 125):
            yield "x" * 8000
        return
    match = re.fullmatch(r"(\d+)-(\d+)", name)
    count, pause = (int(match[1]), int(match[2]) / 1000) if match else (3, 0.0)
    for i in range(count):
        if i and pause:
            await asyncio.sleep(pause)
        yield f"{time.monotonic_ns()} "


def head(kind: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def embeddings(texts: list[str], encoding: str) -> bytes:
    vector = WRITTEN[encoding]
    items = (
        f'{{"object":"embedding","index":{index},"embedding":{vector}}}'
        for index in range(len(texts))
    )
    usage = '"usage":{"prompt_tokens":1,"total_tokens":1}'
    reply = f'{{"object":"list","model":"m",{usage},"data":[{",".join(items)}]}}'
    return reply_of(reply.encode())


def whole(value: object) -> bytes:
    return reply_of(json.dumps(value).encode())


def reply_of(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )


def event(choices: list[object], **rest: object) -> bytes:
    reply = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", **rest}
    return chunk(b"data: " + json.dumps({**reply, "choices": choices}).encode() + b"\n\n")


async def openai(model: str) -> AsyncIterator[bytes]:
    began = head("text/event-stream")
    async for token in tokens(model):
        yield began + event([{"index": 0, "delta": {"content": token}, "finish_reason": None}])
        began = b""
    yield event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    yield chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


async def ollama(model: str) -> AsyncIterator[bytes]:
    stamp = {"model": model, "created_at": "2026-01-01T00:00:00Z"}
    began = head("application/x-ndjson")
    async for token in tokens(model):
        line = {**stamp, "message": {"role": "assistant", "content": token}, "done": False}
        yield began + chunk(json.dumps(line).encode() + b"\n")
        began = b""
    last = {**stamp, "message": {"role": "assistant", "content": ""}, "done": True}
    yield chunk(json.dumps({**last, "done_reason": "stop"}).encode() + b"\n") + b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    """One client, which sends requests one after another, each with its length."""

    def __init__(self) -> None:
        self.received = b""
        self.writable = asyncio.Event()
        self.writable.set()
        self.answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport  # asyncio has set TCP_NODELAY

    def connection_lost(self, _: Exception | None) -> None:
        if self.answering is not None:
            self.answering.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        self.received += data
        header, blank_line, rest = self.received.partition(b"\r\n\r\n")
        length = LENGTH.search(header)
        size = int(length[1]) if length else 0
        if not blank_line or len(rest) < size:
            return
        self.received = rest[size:]
        method, path, _ = header.split(b" ", 2)
        body = json.loads(rest[:size]) if size else {}
        if method == b"GET":
            self.transport.write(
                whole({"id": "sha256:" + "a" * 64, "tags": ["m"], "object": "list"})
            )
        elif path.endswith(b"/embeddings"):
            encoding = body.get("encoding_format", "float")
            self.transport.write(embeddings(body["input"], encoding))
        elif path != b"/api/chat" and not (body.get("messages") and body.get("stream")):
            self.transport.write(whole({}))
        else:
            speak = ollama if path == b"/api/chat" else openai
            self.answering = asyncio.create_task(self.answer(speak(body["model"])))

    async def answer(self, parts: AsyncIterator[bytes]) -> None:
        async for part in parts:
            self.transport.write(part)
            await self.writable.wait()


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=512)
    print("http://{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
