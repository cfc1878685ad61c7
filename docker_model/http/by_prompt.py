"""Tool calls and JSON objects from a model that accepts one prompt and returns text.

`docker model run` cannot enforce a schema. The prompt describes the form of the answer, as over
HTTP, and the answer is validated. After an invalid answer, the model receives the error and
answers once more; a second invalid answer is an error.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from docker_model.errors import GenerationError, UnsupportedParameterError
from docker_model.http import tool_schema
from docker_model.http.chat_request import Conversation, asked_again
from docker_model.http.replies import Answer, read_reply
from docker_model.http.schema_check import problem_of
from docker_model.http.tools import without_fence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from docker_model.client import DockerModel
    from docker_model.streams import AsyncTextStream, TextStream
    from docker_model.types import Completion

__all__ = ["BY_PROMPT", "PromptedChat", "PromptedReply", "answer", "answer_async"]

BY_PROMPT = frozenset({"parallel_tool_calls", "response_format", "tool_choice", "tools"})
"""The parameters of the API that the command supports with `tool_calling="schema"`."""

_LIKE_A_CALL = re.compile(r"""["']tool["']\s*:""")
_HTTP_HINT = (
    "remove transport='cli', or set transport='http': the command cannot enforce the form of an "
    "answer, but the runner's HTTP API can, for any model"
)


@dataclass(frozen=True)
class PromptedChat:
    """A chat with tools or a schema, as a prompt.

    Attributes:
        conversation: The chat.
        write_prompt: Converts messages that only contain text to a prompt.
    """

    conversation: Conversation
    write_prompt: Callable[[Sequence[Mapping[str, Any]]], str]

    @classmethod
    def of(
        cls,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        parameters: Mapping[str, Any],
        write_prompt: Callable[[Sequence[Mapping[str, Any]]], str],
    ) -> PromptedChat:
        """Create a chat from a request with the parameters of `Client.chat`.

        Raises:
            UnsupportedParameterError: If `show_schema` is False.
            InvalidRequestError: If the messages or a setting are invalid.
        """
        conversation = Conversation.of(model, messages, parameters)
        if not conversation.show_schema:
            msg = "show_schema=False requires an engine that enforces the schema"
            raise UnsupportedParameterError(msg, hint=_HTTP_HINT)
        return cls(conversation, write_prompt)

    @property
    def prompt(self) -> str:
        """The prompt."""
        messages, _ = self._written
        if not self._wants_calls:  # otherwise they already have this form
            messages = list(tool_schema.plain_turns(messages, wrapped=False))
        return self.write_prompt(messages)

    @property
    def _wants_calls(self) -> bool:
        return self.conversation.has_tools and self.conversation.tool_choice != "none"

    @property
    def _written(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        return self.conversation.written(by_schema=self.conversation.has_tools)

    def repaired(self, completion: Completion) -> PromptedChat | None:
        """Return a chat that shows the model the error in its answer; `None` if correct.

        `None` also for a truncated answer, because the next answer would not be shorter.
        """
        reply, problem = self._read(completion)
        if not problem or completion.finish_reason == "length":
            return None
        invalid = read_reply(reply)[0] if reply else Answer(text=completion.text)
        again = asked_again(self.conversation, invalid, problem)
        return replace(self, conversation=replace(again, check=self.conversation.check))

    def reply(self, completion: Completion) -> dict[str, Any]:
        """Return an answer as OpenAI's reply.

        Raises:
            GenerationError: If the answer is neither a valid call nor a valid answer.
        """
        reply, problem = self._read(completion)
        if not problem:
            return reply
        if completion.finish_reason == "length":
            problem = "it was truncated"
        expected = "a valid tool call" if self._wants_calls else "the requested JSON"
        msg = f"the answer of {self.conversation.model!r} is not {expected}: {problem}"
        raise GenerationError(msg, hint=_HTTP_HINT, partial=completion.text)

    def _read(self, completion: Completion) -> tuple[dict[str, Any], str]:
        """Return an answer as OpenAI's reply, and the error in it, or an empty string.

        The reply is empty if the answer does not have the requested form.
        """
        text, problem = self._json_in(completion.text)
        if problem:
            return {}, problem
        reply = self._as_reply(completion, text)
        check = self.conversation.check
        return reply, check(read_reply(reply)[0]) if check is not None else ""

    def _json_in(self, text: str) -> tuple[str, str]:
        """Return the JSON of an answer, and the error in it, or an empty string."""
        schema = tool_schema.response_schema(self._written[1].get("response_format"))
        if schema is None:
            return text, ""
        try:
            value = json.loads(without_fence(text))
        except ValueError:
            if not self._may_be_prose(text):
                return "", "The reply is not JSON, or there is text around the JSON."
            value = {"answer": text}
        return json.dumps(value, ensure_ascii=False), problem_of(value, schema)

    def _may_be_prose(self, text: str) -> bool:
        """Whether a text that is not JSON is an answer in plain text."""
        parameters = self.conversation.parameters
        required = self.conversation.tool_choice not in (None, "auto")
        free = self._wants_calls and not required and not parameters.get("response_format")
        return free and bool(text.strip()) and not _LIKE_A_CALL.search(text)

    def _as_reply(self, completion: Completion, text: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        if completion.reasoning:
            message["reasoning_content"] = completion.reasoning
        reason = "length" if completion.finish_reason == "length" else "stop"
        reply: dict[str, Any] = {
            "model": completion.model,
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        }
        if completion.usage is not None:
            reply["usage"] = asdict(completion.usage)
        return self.conversation.sent(by_schema=self.conversation.has_tools).reply(reply)


class PromptedReply:
    """The reply to a chat, for which the model can run twice."""

    def __init__(self, model: DockerModel, chat: PromptedChat) -> None:
        self._model = model
        self._chat = chat
        self._stream: TextStream | AsyncTextStream | None = None
        self._canceled = False

    def cancel(self) -> None:
        """End the run immediately; for any thread, never blocks."""
        self._canceled = True
        if self._stream is not None:
            self._stream.cancel()

    def read(self) -> dict[str, Any] | None:
        """Return OpenAI's reply; `None` if it was canceled.

        Raises:
            GenerationError: If the second answer is also invalid.
        """
        chat = self._chat
        completion = self._complete(chat)
        if completion is not None and (again := chat.repaired(completion)) is not None:
            chat, completion = again, self._complete(again)
        return None if completion is None else chat.reply(completion)

    async def read_async(self) -> dict[str, Any] | None:
        """Await the reply; canceling the task ends the run."""
        chat = self._chat
        completion = await self._complete_async(chat)
        if completion is not None and (again := chat.repaired(completion)) is not None:
            chat, completion = again, await self._complete_async(again)
        return None if completion is None else chat.reply(completion)

    def _complete(self, chat: PromptedChat) -> Completion | None:
        with self._model.stream(chat.prompt) as stream:
            self._stream = stream
            if self._canceled:
                return None
            for _ in stream:
                pass
            return stream.completion

    async def _complete_async(self, chat: PromptedChat) -> Completion | None:
        async with self._model.astream(chat.prompt) as stream:
            self._stream = stream
            if self._canceled:
                return None
            async for _ in stream:
                pass
            return stream.completion


def answer(model: DockerModel, chat: PromptedChat) -> dict[str, Any]:
    """Return the answer as OpenAI's reply; repeat the request after an invalid answer.

    Raises:
        GenerationError: If the second answer is also invalid.
    """
    reply = PromptedReply(model, chat).read()
    assert reply is not None  # no other code can cancel it
    return reply


async def answer_async(model: DockerModel, chat: PromptedChat) -> dict[str, Any]:
    """Await `answer`; canceling the task ends the run."""
    reply = await PromptedReply(model, chat).read_async()
    assert reply is not None
    return reply
