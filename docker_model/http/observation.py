"""Detect the capabilities of a loaded chat model with its engine, on the I/O thread.

Separately packaged chat templates and multimodal projectors are not in the metadata. The token
counts of short conversations show the capabilities: a template that includes tools makes the
prompt longer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from docker_model._transport.log import LOG
from docker_model.errors import DockerModelError, UnsupportedParameterError
from docker_model.http.tokens import counted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from docker_model.http.request import RequestOptions
    from docker_model.types import Capability, ModelInfo

    Count = Callable[..., Awaitable[int]]

__all__ = ["Observation", "observe", "shows_tools"]

_USER = {"role": "user", "content": "Hi"}
_TOOL = {"type": "function", "function": {"name": "a", "description": "a", "parameters": {}}}
_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAC"
    "hwGA60e6kgAAAABJRU5ErkJggg=="
)
_IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": _PIXEL}}]}


@dataclass(frozen=True, slots=True)
class Observation:
    """The capabilities that the model has, and those that it does not have."""

    present: frozenset[Capability]
    absent: frozenset[Capability]

    def of(self, model: ModelInfo) -> ModelInfo:
        """Return the model with these capabilities."""
        return replace(model, capabilities=(model.capabilities | self.present) - self.absent)


async def shows_tools(count: Count, tool: Mapping[str, Any]) -> bool:
    """Whether a model's chat template includes tools, which makes the prompt longer.

    Args:
        count: Counts the tokens of messages and `tools`.
        tool: The tool for the test.
    """
    with_tool, without = await asyncio.gather(count([_USER], tools=[tool]), count([_USER]))
    return with_tool > without


async def observe(options: RequestOptions, model: str) -> Observation | None:
    """Detect the capabilities of a chat model, which loads it; `None` if counting fails.

    If a template ignores the switch for thinking and keeps earlier reasoning, the result for
    thinking is unknown, and the metadata decide.
    """

    async def count(messages: Sequence[Mapping[str, Any]], **arguments: Any) -> int:
        return await counted(options, model, messages, **arguments)

    def switched(*, thinking: bool) -> dict[str, Any]:
        return {"parameters": {"chat_template_kwargs": {"enable_thinking": thinking}}}

    try:
        tools, on, off, answered, thought = await asyncio.gather(
            shows_tools(count, _TOOL),
            count([_USER], **switched(thinking=True)),
            count([_USER], **switched(thinking=False)),
            count(_turns("Hi")),
            count(_turns("<think>\nA greeting, it seems.\n</think>\n\nHi")),
        )
    except DockerModelError as error:
        LOG.info("cannot detect the capabilities of %r: %s", model, type(error).__name__)
        return None
    seen: dict[Capability, bool | None] = {
        "tools": tools,
        "thinking": on != off or thought == answered or None,
        "vision": await _takes_images(options, model),
    }
    LOG.info("detected capabilities of %r: %s", model, seen)
    return Observation(
        frozenset(name for name, observed in seen.items() if observed),
        frozenset(name for name, observed in seen.items() if observed is False),
    )


async def _takes_images(options: RequestOptions, model: str) -> bool | None:
    try:
        await counted(options, model, [_IMAGE])
    except UnsupportedParameterError:
        return False
    except DockerModelError:
        return None
    return True


def _turns(answer: str) -> list[dict[str, str]]:
    return [_USER, {"role": "assistant", "content": answer}, _USER]
