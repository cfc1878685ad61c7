"""Shared code of the examples: `--simulate`, and one sentence if no model is available.

An example does not need it: `main()`, or `asyncio.run(main())`, is all that `run` does with a
model at hand.
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
    """Run an example's `main`; on a simulated model if the command line has `--simulate`.

    Args:
        main: A function or a coroutine function.
        simulation: Arguments of `SimulatedDocker`, where the usual ones do not fit.
    """
    docker: Any = nullcontext()
    if SIMULATE in sys.argv:
        sys.argv.remove(SIMULATE)
        print("(simulated: the answers are written in examples/_run.py)\n")
        docker = SimulatedDocker(**{"models": MODELS, "script": says} | simulation)
    try:
        with docker:
            if inspect.iscoroutinefunction(main):
                asyncio.run(main())
            else:
                main()
    except Exception as error:
        if (sentence := advice(error)) is None:
            raise
        sys.exit(sentence)


def advice(error: BaseException | None) -> str | None:
    """Return what to do about an error of `docker_model`; `None` for any other error."""
    while error is not None and not isinstance(error, DockerModelError):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    fix = f": {error.hint.rstrip('.')}" if error.hint else ""
    problem = " ".join(error.message.split())
    return f"{problem}{fix}, or add {SIMULATE} to run this example without a model."


def says(prompt: Prompt) -> Any:
    """Answer as the simulated model: a tool is called once, and its result is the answer."""
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
