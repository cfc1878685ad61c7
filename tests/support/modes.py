"""The five calling modes: a result must be the same in all of them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from docker_model import Completion, DockerModelError
from tests.support import other_loop

MODES = ("sync", "asyncio", "uvloop", "running loop", "thread")


def call(mode, sync, asynchronous):
    """Call `sync()` or await `asynchronous()`, depending on the mode."""
    match mode:
        case "sync":
            return sync()
        case "asyncio":
            return asyncio.run(asynchronous())
        case "uvloop":
            return other_loop.run(asynchronous())
        case "running loop":

            async def main():
                return sync()

            return asyncio.run(main())
        case "thread":
            with ThreadPoolExecutor(1) as executor:
                return executor.submit(sync).result()
    raise AssertionError


def generate(mode, model, prompt):
    """Return the completion, or the error, of `generate` or `agenerate`."""
    try:
        return call(mode, lambda: model.generate(prompt), lambda: model.agenerate(prompt))
    except DockerModelError as error:
        return error


def stream(mode, model, prompt):
    """Return the pieces of `stream` or `astream`, and the completion or error at their end."""
    pieces = []

    def sync():
        stream = model.stream(prompt)
        pieces.extend(iter(stream))
        return stream.completion

    async def asynchronous():
        stream = model.astream(prompt)
        async for piece in stream:
            pieces.append(piece)  # noqa: PERF401  a comprehension would lose them with the error
        return stream.completion

    try:
        end = call(mode, sync, asynchronous)
    except DockerModelError as error:
        end = error
    assert isinstance(end, (Completion, DockerModelError))
    return pieces, end


def in_every_mode(check):
    """Call `check(mode)` for all modes concurrently, in threads; a failure names its mode."""
    failures = []
    with ThreadPoolExecutor(len(MODES)) as executor:
        for mode, checked in [(mode, executor.submit(check, mode)) for mode in MODES]:
            if error := checked.exception():
                error.add_note(f"in mode {mode!r}")
                failures.append(error)
    if failures:
        message = f"{len(failures)} of {len(MODES)} modes have failed"
        raise BaseExceptionGroup(message, failures)
