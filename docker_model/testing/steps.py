"""The steps of simulated answers and pulls, as plain data.

A script is one of these:

* a text, which is the answer and is sent in small pieces;
* a step, or a list of steps that make one answer; a text in the list is a `Text` step;
* a function that takes the prompt and returns a text or steps, or yields steps one by one (it
  runs in a thread of the test's process, so it can wait for events of the test between pieces);
* `InTurn(script, script, …)`, which plays one script per call, for agents and retries.

`max_tokens` in a request ends the answer after that number of pieces. Other parameters do not
change it.

Steps of the model: `Text`, `Reasoning`, `ToolCall`, `Usage`, `Finish`. Steps of the runner:
`Sleep`, `Hang`, `Fail`, `Cut`, `Raw`, `Event`, `Reply`. Steps of the command: `Exit`, `Kill`,
`Stdout`, `Stderr`, `CloseStdout`, `IgnoreSignals`, `Grandchild`. Steps of a pull: `Downloaded`,
`Warn`, `Pulled`, and the steps of the runner except `Event` and `Reply`.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, get_args

__all__ = [
    "CloseStdout", "Cut", "Downloaded", "Event", "Exit", "Fail", "Finish", "Grandchild", "Hang",
    "IgnoreSignals", "InTurn", "Kill", "Pulled", "Raw", "Reasoning", "Reply", "Script", "Sleep",
    "Stderr", "Stdout", "Step", "Text", "ToolCall", "Usage", "Warn", "echo",
]  # fmt: skip

_calls = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Text:
    """A part of the answer, in pieces of `size` characters. Default: 4, but at most 1000 pieces."""

    text: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A part of the model's reasoning before the answer; the attributes are those of `Text`."""

    text: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call by the model. Only HTTP transmits it; the command does not support tools.

    Arguments that are a text are sent unchanged, to simulate invalid JSON. Default of `id`: unique.
    """

    name: str
    arguments: Mapping[str, object] | str = field(default_factory=dict)
    id: str = field(default_factory=lambda: f"call_{next(_calls)}")


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts, which follow the answer. The default of `total_tokens` is the sum."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """The `finish_reason`, such as `"length"`. With `None`, the stream ends without one."""

    reason: str | None = "stop"


@dataclass(frozen=True, slots=True)
class Sleep:
    """A pause of some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """A reply that never continues; the connection stays open."""


@dataclass(frozen=True, slots=True)
class Fail:
    """An error of the runner.

    Before the first piece of an answer this is an HTTP error, and the command exits with code 1.
    Later it is an error event in the stream. The command ignores such an event: it exits with
    code 0 after an incomplete answer.
    """

    message: str = "something went wrong"
    status: int = 500

    @classmethod
    def out_of_memory(cls) -> Fail:
        """Return the error for a model that does not fit into memory."""
        return cls(
            "unable to load runner: error waiting for runner to be ready: "
            "llama.cpp terminated unexpectedly: llama.cpp failed: "
            "not enough GPU memory to load the model (CUDA)"
        )

    @classmethod
    def context_too_long(cls, prompt_tokens: int = 5000, context_size: int = 4096) -> Fail:
        """Return llama.cpp's error for a prompt that is longer than the context."""
        message = "the request exceeds the available context size, try increasing it"
        return cls(
            f'{{"error":{{"code":400,"message":"{message}","type":"exceed_context_size_error",'
            f'"n_prompt_tokens":{prompt_tokens},"n_ctx":{context_size}}}}}',
            400,
        )

    @classmethod
    def not_running(cls) -> Fail:
        """Return the error of a runner that is switched off or still starting."""
        return cls("loading model", 503)


@dataclass(frozen=True, slots=True)
class Cut:
    """A broken connection; the command exits with code 1 and `unexpected EOF`."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes that the runner sends unchanged, to simulate invalid events."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """An event that the runner sends unchanged, such as one with an unusual delta or index."""

    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete HTTP reply of the runner.

    A body that is not a text is sent as JSON. Default of `content_type`: plain text or JSON.
    """

    status: int = 200
    body: Any = ""
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """The command exits immediately with this code."""

    code: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Both processes of the command are killed with SIGKILL, as when memory runs out."""


@dataclass(frozen=True, slots=True)
class Stdout:
    """Bytes that the command writes to stdout unchanged."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Stderr:
    """A text that the command writes to stderr unchanged; a line needs its newline."""

    text: str


@dataclass(frozen=True, slots=True)
class CloseStdout:
    """The command closes its stdout and continues to run."""


@dataclass(frozen=True, slots=True)
class IgnoreSignals:
    """The command ignores SIGTERM, SIGINT and SIGHUP from now on; only SIGKILL ends it."""


@dataclass(frozen=True, slots=True)
class Grandchild:
    """The command starts a process that keeps its stdout and stderr open until it is killed.

    A `detached` process has its own session: a signal to the command's group does not reach it.
    """

    detached: bool = False


@dataclass(frozen=True, slots=True)
class Downloaded:
    """The progress of a pull: `current` of `total` bytes of a layer are downloaded."""

    current: int
    total: int
    layer: str = "sha256:" + "1a" * 32


@dataclass(frozen=True, slots=True)
class Warn:
    """A warning during a pull."""

    message: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """The successful end of a pull."""

    message: str = "Model pulled successfully"


ProcessStep: TypeAlias = (
    Exit | Kill | Stdout | Stderr | CloseStdout | IgnoreSignals | Grandchild | Sleep | Hang
)
RunnerStep: TypeAlias = Sleep | Hang | Fail | Cut | Raw
Step: TypeAlias = (
    Text | Reasoning | ToolCall | Usage | Finish | Event | Reply | RunnerStep | ProcessStep
)
PullStep: TypeAlias = Downloaded | Warn | Pulled | RunnerStep
PULL: tuple[PullStep, ...] = (
    Downloaded(67_000_000, 268_000_000),
    Downloaded(268_000_000, 268_000_000),
    Pulled(),
)
Answer: TypeAlias = str | Step | Iterable[str | Step]


class InTurn:
    """A sequence of scripts, one per call. A call after the last script fails with HTTP 500."""

    def __init__(self, *scripts: Script) -> None:
        self._remaining = deque(map(checked_script, scripts))  # thread-safe
        self._count = len(scripts)

    def take(self) -> Script:
        """Return the next script."""
        try:
            return self._remaining.popleft()
        except IndexError:
            return Fail(f"the script has no answer left for this call (answers: {self._count})")


Script: TypeAlias = str | Step | Sequence[str | Step] | Callable[[str], Answer] | InTurn


def you_said(prompt: str) -> str:
    """Return `You said: ` and the prompt. This is the default script."""
    return f"You said: {prompt}"


def echo(prompt: str) -> str:
    """Return the prompt."""
    return prompt


def letter_counts(text: str) -> list[float]:
    """Return a unit vector of the counts of eight letters; similar texts are close."""
    counts = [1.0 + text.lower().count(letter) for letter in "aeinorst"]
    length = math.hypot(*counts)
    return [count / length for count in counts]


def checked(step: Any, kinds: Any) -> Any:
    """Return the step if it has one of these types; raise a `TypeError` otherwise."""
    if not isinstance(step, kinds):
        names = ", ".join(kind.__name__ for kind in get_args(kinds))
        msg = f"{step!r} is not a step; a step is one of: {names}"
        raise TypeError(msg)
    return step


def checked_script(script: Script) -> Script:
    """Return the script after a check, so that an error shows where the script is written."""
    if callable(script) or isinstance(script, str | InTurn):
        return script
    # An iterator is not a script, because it can be played only once.
    steps = script if isinstance(script, Sequence) else [script]
    return [checked(step, str | Step) for step in steps]


def steps_of(script: Script, prompt: str) -> Generator[Step, None, None]:
    """Yield the steps of the answer to this prompt, each when it is needed."""
    while isinstance(script, InTurn):
        script = script.take()
    answer = script(prompt) if callable(script) else script
    steps = answer if isinstance(answer, Iterable) and not isinstance(answer, str) else [answer]
    for step in steps:
        yield Text(step) if isinstance(step, str) else checked(step, Step)
