"""A scripted runner for the benchmarks: its own process, no pauses but those asked for.

Speaks what `docker model`, the OpenAI clients and the Ollama client need. The model's name is
the script: `ai/N-MS` says N tokens, MS milliseconds apart (0: as fast as it can), each of them
the time at which it was sent, in nanoseconds of the monotonic clock that all processes share;
`ai/big-MB` says so many megabytes.

    python benchmarks/runner.py      prints its address, serves until its stdin is closed
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def tokens(model: str) -> AsyncIterator[str]:
    name = model.rpartition("/")[2].partition(":")[0]
    if name.startswith("big-"):
        for _ in range(int(name.removeprefix("big-")) * 125):
            yield "x" * 8000
        return
    found = re.fullmatch(r"(\d+)-(\d+)", name)
    count, pause = (int(found[1]), int(found[2]) / 1000) if found else (3, 0.0)
    for i in range(count):
        if i and pause:
            await asyncio.sleep(pause)
        yield f"{time.monotonic_ns()} "


def head(kind: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def whole(value: object) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )


def event(choices: list[object], **rest: object) -> bytes:
    reply = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", **rest}
    return chunk(b"data: " + json.dumps({**reply, "choices": choices}).encode() + b"\n\n")


async def openai(model: str, writer: asyncio.StreamWriter) -> None:
    writer.write(head("text/event-stream"))
    async for token in tokens(model):
        writer.write(event([{"index": 0, "delta": {"content": token}, "finish_reason": None}]))
        await writer.drain()
    writer.write(event([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    writer.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")


async def ollama(model: str, writer: asyncio.StreamWriter) -> None:
    writer.write(head("application/x-ndjson"))
    stamp = {"model": model, "created_at": "2026-01-01T00:00:00Z"}
    async for token in tokens(model):
        message = {"role": "assistant", "content": token}
        writer.write(
            chunk(json.dumps({**stamp, "message": message, "done": False}).encode() + b"\n")
        )
        await writer.drain()
    last = {**stamp, "message": {"role": "assistant", "content": ""}, "done": True}
    writer.write(chunk(json.dumps({**last, "done_reason": "stop"}).encode() + b"\n") + b"0\r\n\r\n")


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while line := await reader.readline():
            method, path, _ = line.decode().split()
            length = 0
            while (header := await reader.readline()).strip():
                name, _, value = header.decode().partition(":")
                if name.lower() == "content-length":
                    length = int(value)
            body = json.loads(await reader.readexactly(length)) if length else {}
            if method == "GET":
                writer.write(whole({"id": "sha256:" + "a" * 64, "tags": ["m"], "object": "list"}))
            elif path == "/api/chat":
                await ollama(body["model"], writer)
            elif not body.get("messages") or not body.get("stream"):
                writer.write(whole({}))
            else:
                await openai(body["model"], writer)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=512)
    print("http://{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
