"""Run all benchmarks (`make bench`).

The contenders of each table run in turn, round by round, against one scripted runner in a
separate process; figures are medians. Compare the ratios: absolute times depend on this
machine. DOCKER_MODEL_COMMAND selects the command, `docker model` by default.

    python benchmarks/bench.py [--rounds N] [--only NAME,…] [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import contenders
import report

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
STREAMS = 64
EMBEDDED = [
    f"Ferry number {n} leaves at {n % 24}.{n % 60:02} from berth {n % 3}." for n in range(200)
]


def milliseconds(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1000


def take_turns(runs: dict[str, Callable[[], float]], rounds: int, rest: float = 0.0):
    """Run each contender once per round; return the medians in ms, by name.

    The order changes each time: otherwise the same contender would always follow a process that
    has just ended, or a client that has filled the caches.
    """
    took: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()  # not measured: connections, imports, caches
    for _ in range(rounds):
        for name, run in random.sample(list(runs.items()), len(runs)):
            time.sleep(rest)  # for the standby to refill
            took[name].append(run())
    return {name: milliseconds(values) for name, values in took.items()}


def first_piece(stream) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        pieces = stream("ai/20-0")
        next(pieces)
        took = time.perf_counter() - began
        for _ in pieces:
            pass
        return took

    return run


def whole_call(stream) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        for _ in stream("ai/20-0"):
            pass
        return time.perf_counter() - began

    return run


def sync_streams(url: str):
    return {
        "bare CLI": contenders.bare_cli,
        "bare CLI, started beforehand": contenders.bare_standby(),
        "DockerModel, cold": contenders.ours(),
        "DockerModel, standby": contenders.ours(standby=2),
        "DockerModel, HTTP": contenders.ours(transport="http"),
        "LangChain DockerModelLLM, standby": contenders.langchain_ours(standby=2),
        "LangChain ChatDockerModel, HTTP": contenders.langchain_chat(),
        "httpx": contenders.raw_http(url),
        "ChatOpenAI": contenders.langchain_openai(url),
        "ChatOllama": contenders.langchain_ollama(url),
        "OpenAILike (LlamaIndex)": contenders.openai_like(url),
    }


def bench_first(url: str, rounds: int):
    streams = sync_streams(url)
    return take_turns({n: first_piece(s) for n, s in streams.items()}, rounds, rest=0.15)


def bench_back_to_back(url: str, rounds: int):
    """Measure only HTTP, which needs no preparation between calls."""
    streams = {
        "DockerModel, HTTP": contenders.ours(transport="http"),
        "LangChain ChatDockerModel, HTTP": contenders.langchain_chat(),
        "httpx": contenders.raw_http(url),
        "ChatOpenAI": contenders.langchain_openai(url),
        "ChatOllama": contenders.langchain_ollama(url),
        "OpenAILike (LlamaIndex)": contenders.openai_like(url),
    }
    return take_turns({n: first_piece(s) for n, s in streams.items()}, max(rounds, 100))


def bench_whole(url: str, rounds: int):
    streams = sync_streams(url)
    return take_turns({n: whole_call(s) for n, s in streams.items()}, rounds, rest=0.15)


def bench_async_first(url: str, rounds: int):
    from docker_model import DockerModel
    from langchain_docker_model import ChatDockerModel

    model = DockerModel("ai/20-0", standby=2)
    model.warm_up()
    over_http = DockerModel("ai/20-0", transport="http")
    our_chat = ChatDockerModel(model="ai/20-0")
    chat = contenders.chat_openai(url, "ai/20-0")
    loop = asyncio.new_event_loop()

    def first(make) -> Callable[[], float]:
        async def run() -> float:
            began = time.perf_counter()
            pieces = make()
            await anext(pieces)
            took = time.perf_counter() - began
            async for _ in pieces:
                pass
            return took

        return lambda: loop.run_until_complete(run())

    runs = {
        "DockerModel, standby": first(lambda: model.astream("hi")),
        "DockerModel, HTTP": first(lambda: over_http.astream("hi")),
        "LangChain ChatDockerModel, HTTP": first(lambda: our_chat.astream("hi")),
        "ChatOpenAI": first(lambda: chat.astream("hi")),
    }
    return take_turns(runs, rounds, rest=0.15)


def bench_cold_invoke(url: str, rounds: int):
    from docker_model import DockerModel
    from docker_model._docker_cli.command import child_environment
    from langchain_docker_model import DockerModelLLM

    model, llm = DockerModel("ai/20-0"), DockerModelLLM(model="ai/20-0")
    argv = [*contenders.COMMAND, "run", "--color", "no", "--", "ai/20-0"]
    ours = dict(child_environment())

    def timed(call) -> Callable[[], float]:
        def run() -> float:
            began = time.perf_counter()
            call()
            return time.perf_counter() - began

        return run

    runs = {
        "subprocess.run": timed(
            lambda: subprocess.run(argv, input=b"hi", capture_output=True, check=True)
        ),
        "the same in our environment": timed(
            lambda: subprocess.run(argv, input=b"hi", capture_output=True, check=True, env=ours)
        ),
        "DockerModel.generate": timed(lambda: model.generate("hi")),
        "DockerModelLLM.invoke": timed(lambda: llm.invoke("hi")),
    }
    program = contenders.plugin()
    if program is not None:
        alone = [*program.argv, *argv[len(contenders.COMMAND) :]]
        runs["the plugin's file by itself"] = timed(
            lambda: subprocess.run(
                alone, input=b"hi", capture_output=True, check=True, env=program.env
            )
        )
    return take_turns(runs, max(rounds, 100))  # the result is close to the goal


def bench_token_delay(url: str, rounds: int):
    """Measure the time from sending a token in the runner to its arrival, in microseconds."""
    from docker_model import DockerModel

    name = "ai/150-3"
    model = DockerModel(name, standby=1)
    model.warm_up()
    over_http = DockerModel(name, transport="http")
    chat = contenders.chat_openai(url, name)
    loop = asyncio.new_event_loop()

    def delays(stamp: str) -> list[float]:
        now = time.monotonic_ns()
        return [(now - int(sent)) / 1000 for sent in stamp.split()]

    def sync(stream) -> list[float]:
        return [delay for piece in stream for delay in delays(piece)]

    async def asynchronous(stream) -> list[float]:
        return [delay async for piece in stream for delay in delays(piece)]

    runs = {
        "pipe, read directly": lambda: sync(contenders.bare_cli(name)),
        "DockerModel.stream": lambda: sync(model.stream("hi")),
        "DockerModel.astream": lambda: loop.run_until_complete(asynchronous(model.astream("hi"))),
        "DockerModel.stream, HTTP": lambda: sync(over_http.stream("hi")),
        "ChatOpenAI.stream": lambda: sync(p.content for p in chat.stream("hi")),
    }
    took: dict[str, list[float]] = {n: [] for n in runs}
    for _ in range(max(3, rounds // 8)):
        for n, run in runs.items():
            took[n] += run()[5:]
    return {n: statistics.median(values) for n, values in took.items()}


def bench_concurrent(url: str, rounds: int):
    """Measure 64 answers of 50 tokens, 20 ms apart: 1 s would be ideal."""
    from docker_model import DockerModel

    name = "ai/50-20"
    loop = asyncio.new_event_loop()
    warm = DockerModel(name, standby=STREAMS, max_concurrency=STREAMS)
    cold = DockerModel(name, max_concurrency=STREAMS)
    over_http = DockerModel(name, max_concurrency=STREAMS, transport="http")
    chat = contenders.chat_openai(url, name)

    async def drain(stream) -> None:
        async for _ in stream:
            pass

    def together(make) -> float:
        async def run() -> None:
            await asyncio.gather(*(drain(make()) for _ in range(STREAMS)))

        began = time.perf_counter()
        loop.run_until_complete(run())
        return time.perf_counter() - began

    took: dict[str, list[float]] = {
        "DockerModel, standby": [],
        "DockerModel, HTTP": [],
        "ChatOpenAI": [],
        "DockerModel, cold": [],
    }
    loop.run_until_complete(drain(chat.astream("hi")))
    for _ in range(max(2, rounds // 15)):
        warm.warm_up()
        time.sleep(6)  # 64 starts take 5 s of processor time, which is not measured
        took["DockerModel, standby"].append(together(lambda: warm.astream("hi")))
        warm.close()
        time.sleep(1)
        took["DockerModel, HTTP"].append(together(lambda: over_http.astream("hi")))
        took["ChatOpenAI"].append(together(lambda: chat.astream("hi")))
        took["DockerModel, cold"].append(together(lambda: cold.astream("hi")))
    return {n: milliseconds(values) for n, values in took.items()}


def bench_embed(url: str, rounds: int):
    from docker_model.http import Client

    def timed(embed) -> Callable[[], float]:
        def run() -> float:
            began = time.perf_counter()
            vectors = embed(EMBEDDED)
            took = time.perf_counter() - began
            assert (len(vectors), len(vectors[0])) == (len(EMBEDDED), 384)
            return took

        return run

    model = "ai/embed"
    embedders = contenders.embedders(url, model)
    embedders["DockerModel's Client.embed"] = lambda texts: Client().embed(model, texts)
    return take_turns({name: timed(embed) for name, embed in embedders.items()}, max(rounds, 100))


def bench_parked(url: str, rounds: int):
    """Measure the resident memory of one standby process, in MB."""
    from docker_model import DockerModel

    def processes() -> set[int]:
        return set(descendants(os.getpid(), {"docker", "docker-model"}))

    def parked(command: str | None) -> float:
        others = processes()  # the earlier benchmarks' standby processes
        model = DockerModel("ai/20-0", standby=1, command=command)
        model.warm_up()
        time.sleep(0.5)  # until the command waits for stdin
        size = sum(map(resident_memory, processes() - others))
        model.close()
        time.sleep(0.2)
        return size

    runs = {"DockerModel, `docker` in front": "docker model", "DockerModel": None}
    count = max(3, rounds // 8)
    return {n: statistics.median(parked(c) for _ in range(count)) for n, c in runs.items()}


def descendants(pid: int, names: set[str]) -> list[int]:
    """Return all processes of these names that `pid` and its children have started."""
    pids = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a process just ended
        for folder in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (folder / "children").read_text().split()):
                if Path(f"/proc/{child}/comm").read_text().strip() in names:
                    pids.append(child)
                pids += descendants(child, names)
    return pids


def resident_memory(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Rss:")) / 1024


def bench_memory(url: str, rounds: int):
    """Measure the growth of the peak resident size over an answer of 100 MB, in MB."""
    code = """
import resource, sys
from docker_model import DockerModel
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
"".join(DockerModel("ai/big-1").stream("hi"))
before = peak()
size = sum(map(len, DockerModel("ai/big-100").stream("hi")))
assert size == 100_000_000, size
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {"DockerModel.stream": float(done.stdout)}


def bench_imports(url: str, rounds: int):
    """Measure the processor time in addition to a bare interpreter, in ms."""
    programs = {
        "bare Python": "pass",
        "docker_model": "import docker_model",
        "asyncio": "import asyncio",
        "langchain_core's BaseLLM and BaseChatModel": (
            "from langchain_core.language_models import BaseLLM, BaseChatModel"
        ),
        "langchain_docker_model": "import langchain_docker_model",
        "llama_index.core.llms": "import llama_index.core.llms",
        "llama_index_docker_model": "import llama_index_docker_model",
        "langchain_openai": "import langchain_openai",
    }

    # Compile byte code once, as an installer does.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def run(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, env=env)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    took = take_turns({n: (lambda c=c: run(c)) for n, c in programs.items()}, max(5, rounds // 2))
    bare = took.pop("bare Python")
    return {n: value - bare for n, value in took.items()}


BENCHES = {
    "first": bench_first,
    "back_to_back": bench_back_to_back,
    "whole": bench_whole,
    "async_first": bench_async_first,
    "cold_invoke": bench_cold_invoke,
    "token_delay": bench_token_delay,
    "concurrent": bench_concurrent,
    "embed": bench_embed,
    "parked": bench_parked,
    "memory": bench_memory,
    "imports": bench_imports,
}


def machine() -> str:
    version = subprocess.run(
        [*contenders.COMMAND, "version"], capture_output=True, text=True, check=True
    )
    output = version.stdout.splitlines()
    lines = [line.split(":", 1)[1].strip() for line in output if "Version:" in line]
    plugin = f"`docker model` {lines[0]}" if lines else "the simulated `docker`"
    python, system = platform.python_version(), platform.system()
    return f"{plugin}, Python {python}, {os.cpu_count()} processors, {system}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=40)
    options.add_argument("--only", default=",".join(BENCHES))
    options.add_argument("--write", action="store_true", help="write RESULTS.md and plot.svg")
    chosen = options.parse_args()
    with subprocess.Popen(
        [sys.executable, str(HERE / "runner.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as runner:
        assert runner.stdout is not None
        url = runner.stdout.readline().decode().strip()
        os.environ["MODEL_RUNNER_HOST"] = url
        results = {}
        for name in chosen.only.split(","):
            results[name] = BENCHES[name](url, chosen.rounds)
            print(report.table(name, results[name]), flush=True)
        assert runner.stdin is not None
        runner.stdin.close()
    if chosen.write:
        (HERE / "RESULTS.md").write_text(report.page(results, machine(), chosen.rounds))
        (HERE / "plot.svg").write_text(report.plot(results["first"]))


if __name__ == "__main__":
    main()
