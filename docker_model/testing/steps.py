"""The steps that an answer is made of: plain data.

A script is any of these:

* text: the answer, in small pieces;
* a list of steps, which make one answer, and in which text stands for `Text`;
* a function of the prompt that returns one of the two, or yields steps one by one (it runs
  in a thread of the test's process, so it can wait for the test's events between two pieces);
* `InTurn(script, script, …)`: one after the other, for agents and retries.

A step alone is a list of one. A request's `max_tokens` ends the answer after so many pieces. What
else it asks for beyond the prompt (`stop`, a schema) changes nothing of what is said, and is on
record.

What the model says: `Text`, `Reasoning`, `ToolCall`, `Usage`, `Finish`. What the runner does:
`Sleep`, `Hang`, `Fail`, `Cut`, `Raw`, `Event`, `Reply`. What becomes of the command: `Exit`,
`Kill`, `Stdout`, `Stderr`, `CloseStdout`, `IgnoreSignals`, `Grandchild`. A pull is made of
`Downloaded`, `Warn`, `Pulled` and the runner's steps.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, get_args

_calls = itertools.count(1)
_LETTERS = ("aeiou", "bcd", "fgh", "jklm", "npqr", "stv", "wxyz", "0123456789")
SMALL = 4
MOST_PIECES = 1000


@dataclass(frozen=True, slots=True)
class Text:
    """A part of the answer.

    Attributes:
        text: What the model says.
        size: Characters in a piece. Default: 4, and more when that would make over 1000.
    """

    text: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A part of what the model thinks before it answers; attributes as for `Text`."""

    text: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model calls a tool, over HTTP; the command knows no tools.

    Attributes:
        name: The tool's.
        arguments: Its arguments; text is sent as it is, for broken JSON.
        id: The call's; default: one that no other call has.
    """

    name: str
    arguments: Mapping[str, object] | str = field(default_factory=dict)
    id: str = field(default_factory=lambda: f"call_{next(_calls)}")


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts, sent after the answer; the total is the sum unless given."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """The reason that the runner gives for the end.

    Attributes:
        reason: `"length"` when the context is full; `None`: the stream just stops.
    """

    reason: str | None = "stop"


@dataclass(frozen=True, slots=True)
class Sleep:
    """A pause, in seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing more, for ever; the connection stays open."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The runner reports an error.

    Before anything was said it is an HTTP error, and the command ends with exit code 1. After
    that it is an error event in the stream, which the command swallows: it ends with exit
    code 0 and an answer cut short.

    Attributes:
        message: The body, or the event's message.
        status: The HTTP status.
    """

    message: str = "something went wrong"
    status: int = 500

    @classmethod
    def out_of_memory(cls) -> Fail:
        """Fail because the model does not fit into memory."""
        return cls(
            "unable to load runner: error waiting for runner to be ready: "
            "llama.cpp terminated unexpectedly: llama.cpp failed: "
            "not enough GPU memory to load the model (CUDA)"
        )

    @classmethod
    def context_too_long(cls, prompt_tokens: int = 5000, context_size: int = 4096) -> Fail:
        """Fail as llama.cpp does when the prompt is longer than the context."""
        message = "the request exceeds the available context size, try increasing it"
        return cls(
            f'{{"error":{{"code":400,"message":"{message}","type":"exceed_context_size_error",'
            f'"n_prompt_tokens":{prompt_tokens},"n_ctx":{context_size}}}}}',
            400,
        )

    @classmethod
    def not_running(cls) -> Fail:
        """Docker Model Runner is switched off, or still loading."""
        return cls("loading model", 503)


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection breaks: exit code 1, `unexpected EOF`."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes in the runner's stream, as they are: for broken events."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the stream as it is: an unusual delta, or one with another index."""

    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply of the runner, in place of what it would say.

    Attributes:
        status: The HTTP status.
        body: Text, or anything else as JSON.
        content_type: Default: by the kind of `body`.
    """

    status: int = 200
    body: Any = ""
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """The command ends with this code, and says nothing more."""

    code: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Both processes of the command get SIGKILL, as when memory runs out."""


@dataclass(frozen=True, slots=True)
class Stdout:
    """Bytes on the command's stdout, as they are."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Stderr:
    """Text on the command's stderr, as it is: a line needs its newline."""

    text: str


@dataclass(frozen=True, slots=True)
class CloseStdout:
    """The command closes its stdout and runs on."""


@dataclass(frozen=True, slots=True)
class IgnoreSignals:
    """The command no longer ends on SIGTERM, SIGINT or SIGHUP; SIGKILL is what is left."""


@dataclass(frozen=True, slots=True)
class Grandchild:
    """The command leaves a process behind that holds its stdout and stderr.

    It lives until it is killed, or until the simulation ends.

    Attributes:
        detached: It has a session of its own, so that a signal to the group does not reach it.
    """

    detached: bool = False


@dataclass(frozen=True, slots=True)
class Downloaded:
    """In a pull: so many bytes are there, of so many."""

    current: int
    total: int
    layer: str = "sha256:" + "1a" * 32


@dataclass(frozen=True, slots=True)
class Warn:
    """In a pull: a warning."""

    message: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """The end of a pull."""

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
    """One script after the other; a call after the last one fails with HTTP 500.

    Attributes:
        scripts: All of them.
    """

    def __init__(self, *scripts: Script) -> None:
        self.scripts = tuple(map(checked_script, scripts))
        self._rest = iter(self.scripts)
        self._lock = threading.Lock()

    def take(self) -> Script:
        """Return the script whose turn it is."""
        over = Fail(f"the script has {len(self.scripts)} answers, and this is one more")
        with self._lock:
            return next(self._rest, over)


Script: TypeAlias = str | Step | Sequence[str | Step] | Callable[[str], Answer] | InTurn


def you_said(prompt: str) -> str:
    """Return the default script."""
    return f"You said: {prompt}"


def echo(prompt: str) -> str:
    """Repeat the prompt and nothing else."""
    return prompt


def letters(text: str) -> list[float]:
    """Return a vector of eight numbers, of length 1, which is alike for texts of alike letters."""
    counted = [1.0 + sum(text.lower().count(letter) for letter in group) for group in _LETTERS]
    length = math.hypot(*counted)
    return [number / length for number in counted]


def checked(step: Any, kinds: Any) -> Any:
    """Return the step, if it is one of these kinds.

    Raises:
        TypeError: If it is no such step.
    """
    if not isinstance(step, kinds):
        names = ", ".join(kind.__name__ for kind in get_args(kinds))
        msg = f"{step!r} is not a step; a step is one of: {names}"
        raise TypeError(msg)
    return step


def checked_script(script: Script) -> Script:
    """Check a script where it is written, not where it would be played.

    Raises:
        TypeError: If it is no script, or contains what is no step.
    """
    if callable(script) or isinstance(script, str | InTurn):
        return script
    # An iterator is no script: it would have nothing more to say the second time.
    steps = script if isinstance(script, Sequence) else [script]
    return [checked(step, str | Step) for step in steps]


def steps_of(script: Script, prompt: str) -> Generator[Step, None, None]:
    """Return the steps of the answer to this prompt, from a script that is asked step by step."""
    while isinstance(script, InTurn):
        script = script.take()
    answer = script(prompt) if callable(script) else script
    steps = answer if isinstance(answer, Iterable) and not isinstance(answer, str) else [answer]
    for step in steps:
        yield Text(step) if isinstance(step, str) else checked(step, Step)


def pieces(text: str, size: int | None) -> Iterator[str]:
    """Return the text in pieces of so many characters."""
    size = size or max(SMALL, -(-len(text) // MOST_PIECES))
    return (text[at : at + size] for at in range(0, len(text), size))
