"""Faults as data: the behavior of the child or of the model, and the expected end of the call.

The end is the answer's text, or the class of the error with its attributes.
"""

from dataclasses import dataclass, field
from typing import Any
from unittest.mock import ANY

from docker_model import (
    ContextLengthError,
    DockerModelError,
    EmptyAnswerError,
    GenerationError,
    GenerationTimeoutError,
    ModelLoadError,
    ModelNotFoundError,
    RunnerUnavailableError,
    Timeouts,
)
from docker_model.testing import (
    CloseStdout,
    Cut,
    Exit,
    Fail,
    Finish,
    Grandchild,
    Hang,
    IgnoreSignals,
    Kill,
    Raw,
    Reasoning,
    Sleep,
    Stderr,
    Stdout,
    Text,
    Usage,
)

MB = 1_000_000


@dataclass(frozen=True)
class Fault:
    """One fault and the expected end of the call.

    The fault is a `script` of the simulated model, or `steps` of the player. `settings` are the
    settings of the `DockerModel`.
    """

    name: str
    end: str | tuple[type[DockerModelError], dict[str, Any]]
    script: Any = None
    steps: tuple[Any, ...] = ()
    prompt: str = "hi"
    settings: dict[str, Any] = field(default_factory=dict)
    linger: float = 60.0
    survives: bool = False  # the child left the process group, so it cannot be killed
    posix: bool = False  # needs signals, sessions or non-blocking pipes

    def __str__(self) -> str:
        return self.name


def error(kind=GenerationError, **attributes):
    return kind, attributes


def failed(exit_code, **attributes):
    return error(exit_code=exit_code, signal=None, **attributes)


def died(signal, **attributes):
    return error(exit_code=None, signal=signal, **attributes)


def timed_out(phase, partial="", **limits):
    end = error(GenerationTimeoutError, phase=phase, partial=partial)
    return {"end": end, "settings": {"timeout": Timeouts(**limits)}}


def check_end(expected, end):
    """Compare the end of a call with the expected end."""
    if isinstance(expected, tuple):
        kind, attributes = expected
        assert type(end) is kind, end
        for name, value in attributes.items():
            assert value is ANY or getattr(end, name) == value, name
    elif isinstance(end, DockerModelError):
        raise end
    elif expected is not ANY:
        assert len(end.text) == len(expected)
        assert end.text == expected


LINGERED = error(exit_code=None, signal=None, partial="all")
EXHAUSTED = "panic: runtime error\n\ngoroutine 1 [running]:\n"


def of_two_megabytes(prompt):
    return "ok" if prompt == "y" * 2 * MB else "another prompt"


# Faults of the model or its runner; the result is the same with the real command.
MODEL_FAULTS = [
    Fault("hangs before output", script=[Hang()], **timed_out("first_output", first_output=0.5)),
    Fault(
        "hangs after output", script=[Text("some"), Hang()], **timed_out("idle", "some", idle=0.3)
    ),
    Fault(
        "sends small pieces forever",
        script=[Text("x"), Sleep(0.05)] * 600,
        **timed_out("total", ANY, total=0.6),
    ),
    Fault(
        "thinks forever",
        script=[Reasoning("x"), Sleep(0.05)] * 600,
        **timed_out("total", total=0.6),
    ),
    Fault("sends no output", error(EmptyAnswerError, exit_code=0, partial=""), script=[]),
    Fault("stops without a reason", "some", script=[Text("some"), Finish(None)]),
    Fault(
        "an error event in the stream is swallowed by the command",
        error(EmptyAnswerError, exit_code=0),
        script=[Raw(b": ping\n\n"), Fail("boom")],
    ),
    Fault("the connection breaks off", failed(1, partial="some"), script=[Text("some"), Cut()]),
    Fault(
        "an event line longer than 64 KiB",
        failed(1, partial="some"),
        script=[Text("some"), Sleep(0.05), Raw(b"data: " + b"x" * 70_000 + b"\n\n")],
    ),
    Fault("out of memory", error(ModelLoadError), script=[Fail.out_of_memory()]),
    Fault(
        "context too long",
        error(ContextLengthError, prompt_tokens=5000, context_size=4096),
        script=[Fail.context_too_long()],
    ),
    Fault("the runner is switched off", error(RunnerUnavailableError), script=[Fail.not_running()]),
    Fault("a megabyte without a newline", "x" * MB, script=[Text("x" * MB, 1000)]),
    Fault(
        "an endless answer with max_chars",
        "x" * 1000,
        script=[Text("x" * 100)] * 600 + [Hang()],
        settings={"max_chars": 1000},
    ),
    Fault("a prompt of two megabytes", "ok", prompt="y" * 2 * MB, script=of_two_megabytes),
    Fault("a NUL in the prompt", "You said: a\0b", prompt="a\0b"),
    Fault(
        "NUL, colors and line ends in the answer",
        "\0 \x1b[31mred\x1b[0m \r\n \r \n end",
        script=[Text("\0 \x1b[31mred\x1b[0m \r\n \r \n end", 1)],
    ),
    Fault(
        "a later line like the notice of a pull",
        "Hm.\nUnable to find model 'ai/smollm2' locally. Pulling from the server.",
        script=[Text("Hm.\nUnable to find model 'ai/smollm2' locally. Pulling from the server.")],
    ),
    Fault(
        "the notice of another model's pull",
        "Unable to find model 'ai/other' locally. Pulling from the server.",
        script=[Text("Unable to find model 'ai/other' locally. Pulling from the server.")],
    ),
    Fault("usage with a wrong sum", "ok", script=[Text("ok"), Usage(1, 2, 3)]),
]

# Faults of `docker` and its plugin.
COMMAND_FAULTS = [
    Fault("exits before any output", failed(3, partial=""), script=[Exit(3)]),
    Fault("exits after some output", failed(4, partial="some"), script=[Text("some"), Exit(4)]),
    Fault("exits with 137", failed(137), script=[Exit(137)]),
    Fault("exits with docker's code for a signal", failed(255), script=[Text("some"), Exit(255)]),
    Fault(
        "a message and an exit",
        failed(7, stderr="odd", partial=""),
        script=[Stderr("odd\n"), Exit(7)],
    ),
    Fault(
        "a crash of the plugin",
        failed(2, stderr=EXHAUSTED.strip()),
        script=[Stderr(EXHAUSTED), Exit(2)],
    ),
    Fault("killed", died(9, partial="some"), script=[Text("some"), Kill()], posix=True),
    Fault(
        "ignores signals",
        script=[IgnoreSignals(), Text("some"), Hang()],
        **timed_out("idle", "some", idle=0.3),
    ),
    Fault(
        "a grandchild holds the pipes", "some", script=[Grandchild(), Text("some"), Finish("stop")]
    ),
    Fault(
        "closes stdout and continues",
        LINGERED,
        script=[Text("all"), CloseStdout(), Hang()],
        linger=0.2,
    ),
    Fault(
        "closes stdout and ends", "all", script=[Text("all"), CloseStdout(), Sleep(0.1), Exit(0)]
    ),
    Fault(
        "the notice of this model's pull",
        error(ModelNotFoundError, model="ai/smollm2"),
        script=[
            Stdout(b"Unable to find model 'ai/smollm2' locally. Pulling from the server.\n"),
            Hang(),
        ],
    ),
    Fault(
        "a warning before the answer",
        "ok",
        script=[Stdout(b"Warning: unable to open context store: x\n"), Text("ok")],
    ),
]

# Faults that any child can have with its pipes, its signals and its descendants.
CHILD_FAULTS = [
    Fault(
        "a segmentation fault",
        died(11, partial="some"),
        steps=(["write", 1, "some"], ["signal", 11]),
        posix=True,
    ),
    Fault(
        "stops itself",
        steps=(["write", 1, "some"], ["signal", 19]),
        posix=True,
        **timed_out("idle", "some", idle=0.3),
    ),
    Fault(
        "ignores signals, reads nothing and writes nothing",
        steps=(["ignore", 15], ["ignore", 2], ["ignore", 1], ["wait"]),
        posix=True,
        **timed_out("first_output", first_output=1.5),
    ),
    Fault(
        "a daemon that closes the pipes",
        "all",
        steps=(
            ["write", 1, "all"],
            ["fork"],
            ["setsid"],
            ["close", 0],
            ["close", 1],
            ["close", 2],
            ["wait"],
        ),
        survives=True,
        posix=True,
    ),
    Fault(
        "a daemon that holds stdout",
        "all",
        steps=(["write", 1, "all"], ["fork"], ["setsid"], ["wait"]),
        survives=True,
        posix=True,
    ),
    Fault(
        "a grandchild that continues to write",
        ANY,
        steps=(["write", 1, "all"], ["fork"], ["drip", 1, "x" * 1000, 0.02]),
    ),
    Fault(
        "bytes that are not UTF-8",
        "a\ufffdb\ufffd\ufffd",
        steps=(["write", 1, "a\xffb\xc0\x80"],),
    ),
    Fault(
        "characters a byte at a time",
        "naïve 東京 👩‍👩‍👧",
        steps=(["drip", 1, "naïve 東京 👩‍👩‍👧".encode().decode("latin-1"), 0.002],),
    ),
    Fault("an end inside a character", "a\ufffd", steps=(["write", 1, "a\xe6\x9d"],)),
    Fault("five megabytes", "x" * 5 * MB, steps=(["read"], ["write", 1, "x" * 10_000, 500])),
    Fault(
        "ten megabytes on stderr",
        "ok",
        steps=(["read"], ["write", 2, "x" * 10_000, 1000], ["write", 1, "ok"]),
    ),
    Fault(
        "a megabyte on stderr before it reads",
        "ok",
        steps=(["write", 2, "x" * 1000, 1000], ["read"], ["write", 1, "ok"]),
        prompt="y" * MB,
    ),
    Fault(
        "a megabyte on stdout before it reads",
        "x" * MB,
        steps=(["write", 1, "x" * 1000, 1000], ["read"]),
        prompt="y" * 5 * MB,
    ),
    Fault(
        "much output on stdout and stderr in turn",
        "x" * 300_000,
        steps=(["write", 1, "x" * 100, 100], ["write", 2, "e" * 100, 1000]) * 30,
    ),
    Fault(
        "closes both outputs and continues",
        LINGERED,
        steps=(["write", 1, "all"], ["close", 1], ["close", 2], ["wait"]),
        linger=0.2,
    ),
    Fault(
        "ends without output or end of line",
        error(EmptyAnswerError, exit_code=0, partial=""),
        steps=(["read"],),
    ),
    Fault(
        "only white space from the command",
        error(EmptyAnswerError),
        steps=(["write", 1, "\n"],),
    ),
    Fault(
        "does not read its input and answers",
        "ok",
        steps=(["write", 1, "ok"],),
        prompt="y" * 10 * MB,
    ),
    Fault(
        "does not read its input and hangs",
        steps=(["wait"],),
        prompt="y" * 10 * MB,
        **timed_out("first_output", first_output=0.5),
    ),
    Fault(
        "closes its input immediately",
        "ok",
        steps=(["close", 0], ["write", 1, "ok"]),
        prompt="y" * 10 * MB,
    ),
    Fault(
        "a non-blocking stdout",
        "x" * MB,
        steps=(["nonblocking", 1], ["write", 1, "x" * 1000, 1000]),
        posix=True,
    ),
]
