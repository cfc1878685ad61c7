"""A process from start to end, for commands whose whole output is wanted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from docker_model.process.child import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Finished:
    """What a process left: its code or signal (both `None`: unknown), and its output.

    `stdout` is empty when a callback was given for it; `stderr` is a bounded tail.
    """

    exit_code: int | None
    signal: int | None
    stdout: bytes
    stderr: str


async def run(
    argv: Sequence[str] | Callable[[], Sequence[str]],
    *,
    env: Mapping[str, str],
    cwd: str | Callable[[], str] | None = None,
    stdin: bytes | None = None,
    on_stdout: Callable[[bytes], object] | None = None,
    timeout: float | None = None,  # noqa: ASYNC109  ends the process too, which a caller's could not
) -> Finished:
    """Run a process to its end, on the I/O thread.

    However this is left, by a timeout or a cancellation, the process is being ended.

    Args:
        argv: See `Child.start`.
        env: Its whole environment.
        cwd: See `Child.start`.
        stdin: What it may read; `None` gives it the null device.
        on_stdout: Called with each chunk of output; without it, `stdout` collects them.
        timeout: In seconds; `None` is for ever.

    Raises:
        OSError: It cannot be started.
        TimeoutError: It took longer than `timeout`.
    """
    output = bytearray()
    child = await Child.start(
        argv,
        env=env,
        cwd=cwd,
        on_stdout=on_stdout or output.extend,
        stdin=stdin is not None,
    )
    try:
        if stdin is not None:
            child.write(stdin)
        async with asyncio.timeout(timeout):
            # Shielded, since cancelling a caller must not cancel the child's own future.
            ended = await asyncio.shield(child.ended)
    finally:
        child.end()
    return Finished(ended.code, ended.signal, bytes(output), ended.stderr)
