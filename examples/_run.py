"""Shared code of the examples: the option `--simulate`, and a short message for errors.

With a real model, `run` only calls `main()` or `asyncio.run(main())`.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from docker_model import DockerModelError
from docker_model.testing import SimulatedDocker, SimulatedModel, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker_model.testing.records import Prompt

SIMULATE = "--simulate"
MODELS = ("ai/smollm2", SimulatedModel("ai/all-minilm", kind="embedding"))
VALUES = {"number": 6, "integer": 6, "boolean": True, "array": [], "object": {}}


def run(main: Callable[[], Any], **simulation: Any) -> None:
    """Run an example's `main`, with a simulated model if the command line has `--simulate`.

    Args:
        main: A function or a coroutine function.
        simulation: Arguments of `SimulatedDocker` that replace the defaults.
    """
    docker: Any = nullcontext()
    if SIMULATE in sys.argv:
        sys.argv.remove(SIMULATE)
        print("(simulated: the answers are in examples/_run.py)\n")
        docker = SimulatedDocker(**{"models": MODELS, "script": answer} | simulation)
    try:
        with docker:
            if inspect.iscoroutinefunction(main):
                asyncio.run(main())
            else:
                main()
    except Exception as error:
        if (message := advice(error)) is None:
            raise
        sys.exit(message)


def advice(error: BaseException | None) -> str | None:
    """Return a message with the fix of a `docker_model` error; `None` for any other error."""
    while error is not None and not isinstance(error, DockerModelError):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    fix = f": {error.hint.rstrip('.')}" if error.hint else ""
    problem = " ".join(error.message.split())
    return f"{problem}{fix}, or add {SIMULATE} to run this example without a model."


def answer(prompt: Prompt) -> Any:
    """Return the simulated model's answer: one tool call, and then the tool's result."""
    if prompt.messages[-1]["role"] == "tool":
        return f"The tool says: {prompt}"
    if prompt.tools:
        function = prompt.tools[0]["function"]
        properties = (function.get("parameters") or {}).get("properties", {})
        return ToolCall(
            function["name"],
            {name: VALUES.get(kind.get("type"), "running") for name, kind in properties.items()},
        )
    if "Action Input" in prompt:  # an agent that calls tools by text
        return "Thought: I can answer without using any more tools.\nAnswer: Forty-two."
    if "commas" in prompt:
        return "Docker, Podman, containerd"
    return f"This is a simulated answer to {len(prompt)} characters."
