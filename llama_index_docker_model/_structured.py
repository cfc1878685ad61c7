"""Structured output: objects of a user's class from a chat with a JSON schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.bridge.pydantic import ValidationError
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictInProgressEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.program.utils import create_flexible_model

from docker_model.errors import GenerationError
from docker_model.http.chat_request import correction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping

    from llama_index.core.base.llms.types import ChatResponse
    from llama_index.core.bridge.pydantic import BaseModel
    from llama_index.core.llms import LLM
    from llama_index.core.prompts import BasePromptTemplate

    from docker_model.http.replies import Answer

__all__ = ["ObjectRequest"]

dispatcher = get_dispatcher(__name__)


class _ObjectFormat(dict[str, Any]):
    """A `response_format` with a method that describes an invalid answer to the model."""

    def __init__(self, output_cls: type[BaseModel]) -> None:
        named = {"name": output_cls.__name__, "schema": output_cls.model_json_schema()}
        super().__init__(type="json_schema", json_schema=named)
        self._output_cls = output_cls

    def check(self, answer: Answer) -> str:
        """Describe the problems of an answer; empty if it is valid or was cut off."""
        if answer.finish_reason == "length":
            return ""
        try:
            self._output_cls.model_validate_json(_object_in(answer.text))
        except ValidationError as error:
            return _problem(error)
        return ""


@dataclass(frozen=True, slots=True)
class ObjectRequest:
    """A chat that the model answers with an object.

    Attributes:
        llm: The model.
        output_cls: The object's class.
        messages: The chat.
        settings: The keywords of the call, including the schema.
    """

    llm: LLM
    output_cls: type[BaseModel]
    messages: list[ChatMessage]
    settings: dict[str, Any]

    @classmethod
    def of(
        cls,
        llm: LLM,
        output_cls: type[BaseModel],
        prompt: BasePromptTemplate,
        settings: Mapping[str, Any] | None,
        prompt_args: Mapping[str, Any],
    ) -> Self:
        """Create the request for a prompt; the caller's dictionaries are not changed."""
        dispatcher.event(
            LLMStructuredPredictStartEvent(
                output_cls=output_cls, template=prompt, template_args=dict(prompt_args)
            )
        )
        messages = prompt.format_messages(llm=llm, **prompt_args)
        messages = llm._extend_messages(messages)  # noqa: SLF001  as core's own programs do
        merged = {"response_format": _ObjectFormat(output_cls), **(settings or {})}
        return cls(llm, output_cls, list(messages), merged)

    def predict(self) -> BaseModel:
        """Return the object."""
        return _ended(self._read(self.llm.chat(self.messages, **self.settings)))

    async def predict_async(self) -> BaseModel:
        """Return the object, awaited."""
        return _ended(self._read(await self.llm.achat(self.messages, **self.settings)))

    def stream(self) -> Generator[BaseModel, None, None]:
        """Yield growing objects; the last one is complete and valid."""
        partial: BaseModel | None = None
        for response in self.llm.stream_chat(self.messages, **self.settings):
            if (grown := self._read_partial(response, partial)) is not None:
                partial = grown
                yield grown
        try:
            answer = self._read(response)
        except ValidationError as error:
            repair = self._repair_messages(response, error)
            answer = self._read(self.llm.chat(repair, **self._unchecked()))
        yield _ended(answer)

    async def stream_async(self) -> AsyncGenerator[BaseModel, None]:
        """Yield growing objects, for `async for`; the last one is complete and valid."""
        partial: BaseModel | None = None
        async for response in await self.llm.astream_chat(self.messages, **self.settings):
            if (grown := self._read_partial(response, partial)) is not None:
                partial = grown
                yield grown
        try:
            answer = self._read(response)
        except ValidationError as error:
            repair = self._repair_messages(response, error)
            answer = self._read(await self.llm.achat(repair, **self._unchecked()))
        yield _ended(answer)

    def _read(self, response: ChatResponse) -> BaseModel:
        """Parse the object of a whole answer.

        Raises:
            GenerationError: If the answer was cut off before its JSON was complete.
            ValidationError: If the answer does not match the class.
        """
        text = response.message.content or ""
        try:
            return self.output_cls.model_validate_json(_object_in(text))
        except ValidationError:
            if (response.raw or {}).get("finish_reason") != "length":
                raise
            msg = "the answer was cut off before its JSON was complete"
            hint = "raise max_tokens, or the model's context size"
            raise GenerationError(msg, hint=hint, partial=text) from None

    def _read_partial(self, response: ChatResponse, before: BaseModel | None) -> BaseModel | None:
        """Parse a partial object, in which every field can be missing.

        Returns:
            The partial object; `None` if it is the same as before.
        """
        text = response.message.content or ""
        if "{" not in text:
            return None
        try:
            fields = parse_partial_json(text[text.index("{") :])
            partial: BaseModel = create_flexible_model(self.output_cls).model_validate(fields)
        except ValueError:
            return None
        if before is not None and partial.model_dump() == before.model_dump():
            return None
        dispatcher.event(LLMStructuredPredictInProgressEvent(output=partial))
        return partial

    def _repair_messages(self, response: ChatResponse, error: ValidationError) -> list[ChatMessage]:
        """Return the messages that ask the model to correct its answer."""
        return [
            *self.messages,
            ChatMessage(response.message.content or "", role=MessageRole.ASSISTANT),
            ChatMessage(correction(_problem(error)), role=MessageRole.USER),
        ]

    def _unchecked(self) -> dict[str, Any]:
        """Return the settings for the last attempt, without the check that asks again."""
        return {**self.settings, "response_format": dict(self.settings["response_format"])}


def _problem(error: ValidationError) -> str:
    """Describe an invalid answer to the model."""
    problems = [
        f"- {'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    ]
    return "\n".join(["This answer does not match the JSON schema.", *problems])


def _ended(answer: BaseModel) -> BaseModel:
    dispatcher.event(LLMStructuredPredictEndEvent(output=answer))
    return answer


def _object_in(text: str) -> str:
    """Return the JSON object in a text; the text can also have a Markdown code block."""
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text
