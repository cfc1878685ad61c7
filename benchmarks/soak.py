"""Run thousands of generations with random faults and cancellations, and check for leaks.

    python benchmarks/soak.py --count 10000 --seconds 600

The simulated runner runs in this process and the caller in another one, so that the descriptors,
threads, children and memory of the caller can be measured. Four threads and eight asyncio tasks
generate and stream, with and without standby. The model answers, reasons, hangs, fails, loses its
connection, exits or is killed. The caller reads to the end, leaves early, cancels or times out.
Exit code 0 means that every generation ended as expected and released all resources.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from docker_model import (
    DockerModel,
    EmptyAnswerError,
    GenerationError,
    GenerationTimeoutError,
    ModelLoadError,
    Timeouts,
)
from docker_model._runtime import io_thread, tasks
from docker_model.testing import (
    Cut,
    Exit,
    Fail,
    Hang,
    Kill,
    Reasoning,
    SimulatedDocker,
    Sleep,
    Text,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 4
TASKS = 8
ANSWER = "This is the answer, and it has several pieces."
SAMPLES = 10
END_TIMEOUT = 30.0  # seconds for generations that still run when the time is over

SCENES = {
    "answers": [Text(ANSWER), Usage(5, 10)],
    "thinks": [Reasoning("Hm."), Text(ANSWER)],
    "takes its time": [Text(ANSWER[:10]), Sleep(0.02), Text(ANSWER[10:])],
    "hangs": [Text("some"), Hang()],
    "says nothing": [],
    "fails": [Fail.out_of_memory()],
    "breaks off": [Text("some"), Cut()],
    "exits": [Text("some"), Exit(3)],
    "is killed": [Text("some"), Kill()],
}
# The expected result of a scene that is read to its end.
ENDS = {
    "answers": ANSWER,
    "thinks": ANSWER,
    "takes its time": ANSWER,
    "hangs": GenerationTimeoutError,
    "says nothing": EmptyAnswerError,
    "fails": ModelLoadError,
    "breaks off": GenerationError,
    "exits": GenerationError,
    "is killed": GenerationError,
}
WEIGHTS = [10, 3, 3, 2, 1, 1, 1, 1, 1]
LEAVING = ("reads all", "reads all", "leaves early", "cancels")

MODELS = [
    DockerModel("ai/smollm2", timeout=Timeouts(idle=0.5), standby=standby) for standby in (0, 2)
]


class Wrong(Exception):
    """A generation with an unexpected result."""


class Soak:
    """The caller, which runs generations until the count or the time limit is reached."""

    def __init__(self, count: int, seconds: float, seed: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failures: list[BaseException] = []
        self.done = 0
        self._numbers = iter(range(count))
        self._end = time.monotonic() + seconds
        self._seeds = itertools.count(seed)

    def _plans(self):
        """Yield the next plan of this worker: a model, the model's scene, the caller's mode."""
        chance = random.Random(next(self._seeds))
        for _ in self._numbers:
            if time.monotonic() > self._end or self.failures:
                return
            (scene,) = chance.choices(list(SCENES), WEIGHTS)
            yield chance.choice(MODELS), scene, chance.choice(LEAVING), chance

    def _note(self, scene: str, leaving: str, end: object) -> None:
        expected = ENDS[scene]
        right = end == expected or type(end) is expected
        if leaving != "reads all":
            right = right or end is None or type(end) is TimeoutError
        if not right:
            msg = f"{scene}, {leaving}: {end!r}"
            raise Wrong(msg)
        self.done += 1
        self.outcomes[f"{scene}, {leaving}"] += 1

    def _in_a_thread(self) -> None:
        try:
            for model, scene, leaving, chance in self._plans():
                self._note(scene, leaving, self._sync(model, scene, leaving, chance))
        except Exception as error:  # noqa: BLE001  reported at the end
            self.failures.append(error)

    def _sync(self, model, scene, leaving, chance):
        try:
            if leaving == "reads all":
                if chance.random() < 0.5:
                    return model.generate(scene).text
                return "".join(model.stream(scene))
            stream = model.stream(scene)
            if leaving == "cancels":
                threading.Timer(chance.random() * 0.1, stream.cancel).start()
                for _ in stream:
                    pass
            else:
                for _ in range(chance.randrange(3)):
                    next(stream, None)
        except (GenerationError, GenerationTimeoutError, ModelLoadError) as error:
            return error
        return None

    async def _in_a_task(self) -> None:
        try:
            for model, scene, leaving, chance in self._plans():
                self._note(scene, leaving, await self._async(model, scene, leaving, chance))
        except Exception as error:  # noqa: BLE001  reported at the end
            self.failures.append(error)

    async def _async(self, model, scene, leaving, chance):
        async def whole():
            if chance.random() < 0.5:
                return (await model.agenerate(scene)).text
            return "".join([piece async for piece in model.astream(scene)])

        try:
            if leaving == "reads all":
                return await whole()
            if leaving == "cancels":
                async with asyncio.timeout(chance.random() * 0.1):
                    await whole()
            else:
                stream = model.astream(scene)
                for _ in range(chance.randrange(3)):
                    await anext(stream, None)
        except (GenerationError, GenerationTimeoutError, ModelLoadError, TimeoutError) as error:
            return error
        return None

    def _all_tasks(self) -> None:
        async def main():
            await asyncio.gather(*[self._in_a_task() for _ in range(TASKS)])

        asyncio.run(main())

    def run(self, watch: Callable[[], object]) -> None:
        """Run all workers, and call `watch` regularly."""
        targets = [self._in_a_thread] * THREADS + [self._all_tasks]
        workers = [threading.Thread(target=target, daemon=True) for target in targets]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            watch()
            time.sleep(0.05)
            if time.monotonic() > self._end + END_TIMEOUT:
                self.failures.append(Wrong("a generation did not end"))
                return


def resources() -> tuple[int, int, int, int]:
    """Return the descriptors, threads, children and resident kilobytes of this process."""
    status = Path("/proc/self/status").read_text()
    resident = re.search(r"VmRSS:\s+(\d+)", status)
    return (
        len(os.listdir("/proc/self/fd")) - 1,  # noqa: PTH208  one for this listing itself
        threading.active_count(),
        len(io_thread.current().children),
        int(resident[1]) if resident else 0,
    )


def at_rest() -> tuple[int, int, int, int]:
    """Close standby, wait for all children, and return the resources."""
    for model in MODELS:
        model.close()

    async def all_ended():
        while io_thread.current().children:
            await asyncio.wait([child.ended for child in io_thread.current().children])

    tasks.run_blocking(all_ended())
    gc.collect()
    return resources()


def caller(count: int, seconds: float, seed: int) -> int:
    """Print the resources before, during and after the run; return the exit code."""

    def tell(when: str, figures: tuple[int, int, int, int]) -> None:
        files, threads, children, kilobytes = figures
        print(f"{when:>14} {files:12} {threads:8} {children:9} {kilobytes / 1024:12.1f}")

    print(
        f"{'generations':>14} {'descriptors':>12} {'threads':>8} {'children':>9} {'RSS, MiB':>12}"
    )
    first = Soak(min(100, count), seconds, seed + 1000)
    first.run(lambda: None)
    before = at_rest()
    tell("before", before)

    soak = Soak(count, seconds, seed)
    samples = iter(range(count // SAMPLES, count, max(1, count // SAMPLES)))
    due = next(samples)
    began = time.monotonic()

    def watch() -> None:
        nonlocal due
        if soak.done >= due:
            tell(str(soak.done), resources())
            due = next(samples, count + 1)

    soak.run(watch)
    took = time.monotonic() - began
    after = at_rest()
    tell("after", after)
    print(f"\n{soak.done} generations in {took:.0f} s, seed {seed}:")
    for outcome, times in sorted(soak.outcomes.items()):
        print(f"{times:8} {outcome}")
    for failure in [*first.failures, *soak.failures]:
        print(f"WRONG: {type(failure).__name__}: {failure}")
    flat = after[:3] <= before[:3] and after[3] < before[3] + 20 * 1024
    if not flat:
        print("WRONG: resources have accumulated")
    return 0 if flat and not first.failures and not soak.failures else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=900.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--caller", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.caller:
        return caller(arguments.count, arguments.seconds, arguments.seed)
    with SimulatedDocker(script=SCENES.__getitem__) as docker:
        ended = subprocess.run([sys.executable, __file__, "--caller", *sys.argv[1:]], check=False)
        docker.wait_all_gone()
        print("all processes of all commands have ended")
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())
