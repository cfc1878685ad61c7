"""The transport that answers prompts over the runner's HTTP API."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from docker_model._transport.collector import Collector
from docker_model._transport.failure_table import LOGS_HINT
from docker_model.errors import EmptyAnswerError
from docker_model.http import bodies, chats
from docker_model.http.explanation import explained
from docker_model.http.messages import prepare
from docker_model.http.replies import ending_of, words_of
from docker_model.http.request import HttpRequest
from docker_model.types import ReasoningDelta, TextDelta, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker_model._transport.protocol import Receiver, Request
    from docker_model.http.request import RequestOptions
    from docker_model.types import Completion


@dataclass(frozen=True, slots=True)
class HttpTransport:
    """Answers requests over the runner's HTTP API.

    Attributes:
        options: The settings of requests.
        parameters: The parameters of each request, such as `temperature`.
        before: The messages before the prompt.
        images: The URLs of images to send with the prompt.
    """

    options: RequestOptions
    parameters: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[Mapping[str, Any], ...] = ()
    images: tuple[str, ...] = ()

    def prepare(self, request: Request) -> Request:
        """Return the request unchanged, because the API does not read local files."""
        return request

    def needs_file_check(self, _request: Request) -> bool:
        """Return False, because the API does not read local files."""
        return False

    async def generate(self, request: Request, receiver: Receiver) -> Completion:
        """Answer a request, and pass its events to `receiver`.

        This package applies the stop sequences and `max_chars`. The engine would also apply stop
        sequences to the reasoning, and does not report which answers they ended.
        """
        progress = self.options.on_progress is not None
        messages = self._messages(request.prompt)
        body = bodies.chat(request.model, messages, self.parameters, stream=True, progress=progress)
        answer = Collector(request, receiver, asyncio.get_running_loop().time())

        def take(chunk: dict[str, Any], _: int) -> bool:
            _collect(chunk, answer)
            return answer.over

        call = HttpRequest(
            self.options,
            request.model,
            chats.PATH,
            body,
            partial=lambda: answer.text,
            cap="max_chars",
        )
        await explained(self.options, request.model, call.stream(receiver, take))
        answer.end()
        if answer.empty:
            msg = f"{request.model!r} ended its answer without any output"
            raise EmptyAnswerError(msg, hint=f"try again, or rephrase the prompt; {LOGS_HINT}")
        return answer.completion(call.started)

    def _messages(self, prompt: str) -> list[dict[str, Any]]:
        message: dict[str, Any] = {"role": "user", "content": prompt}
        if self.images:
            images = [{"type": "image_url", "image_url": {"url": url}} for url in self.images]
            message["content"] = [{"type": "text", "text": prompt}, *images]
        return prepare([*self.before, message]) if self.before or self.images else [message]

    async def warm_up(self, model: str) -> None:
        """Load `model`, so that the next answer does not wait for it.

        Raises:
            DockerModelError: If the request failed.
        """
        await explained(self.options, model, chats.preload(self.options, model))


def _collect(chunk: dict[str, Any], answer: Collector) -> None:
    for choice in (chunk.get("choices") or ())[:1]:
        text, reasoning = words_of(choice.get("delta") or {}, legacy=choice.get("text"))
        if reasoning:
            answer.take(ReasoningDelta(reasoning))
        if text:
            answer.take(TextDelta(text))
        answer.full = answer.full or ending_of(choice) == "length"
    usage = _usage(chunk.get("usage"))
    if usage is not None:
        answer.take(usage)


def _usage(counts: object) -> Usage | None:
    if not isinstance(counts, dict):
        return None
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    numbers = [number for name in names if isinstance(number := counts.get(name), int)]
    return Usage(*numbers) if len(numbers) == len(names) else None
