"""`ChatDockerModel`: a local model of Docker Model Runner as a LangChain chat model."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, get_args

from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_docker_model._chat_settings import ChatSettings
from langchain_docker_model._structured import Method, Schema, parser_of, response_format, with_raw
from langchain_docker_model._tokens import token_ids
from langchain_docker_model.errors import InvalidRequestError, as_langchain_errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from langchain_core.callbacks import (
        AsyncCallbackManagerForLLMRun,
        CallbackManagerForLLMRun,
    )
    from langchain_core.language_models.base import LanguageModelInput
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

__all__ = ["ChatDockerModel"]


class ChatDockerModel(ChatSettings):
    """A local model of Docker Model Runner as a chat model.

    It asks the runner's HTTP API, which it finds by itself: the model's name is all it needs.
    Where no API is found it asks through `docker model run`, which has no roles (the
    conversation is written out as one prompt, see `langchain_docker_model._flatten`) and no
    parameters, tools, schemas or images: those raise `UnsupportedParameterError` there.

    Constructing one starts nothing; it pickles, and works from any thread and event loop.
    Errors are `docker_model`'s and LangChain's at once: see `langchain_docker_model.errors`.
    The parameters and `model`, `timeout` and `extra_body` may also be given to a call
    (`chat.invoke(messages, temperature=0)`), where they take the place of the model's own.

    Example:
        ```python
        from langchain_docker_model import ChatDockerModel

        chat = ChatDockerModel(model="ai/smollm2", temperature=0)
        chat.invoke([("system", "Be brief."), ("human", "What is a container?")])
        ```
    """

    # --- Tools and structure ---

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """A model that may call these tools.

        Args:
            tools: Functions, LangChain's tools, pydantic models, or the API's dictionaries.
                None at all is no error.
            tool_choice: `"auto"`, `"none"`, `"any"` (or `"required"`, or `True`): one must be
                called; the name of the tool that must be, as text or in a dictionary. The
                runner does not enforce it: a warning tells when no call came.
            strict: Whether the arguments are to match exactly, where the engine asks.
            **kwargs: Settings of the calls, such as `parallel_tool_calls`.
        """
        from docker_model.http.tools import choice_of  # noqa: PLC0415  not for the CLI

        formatted = [convert_to_openai_tool(tool, strict=strict) for tool in tools]
        with as_langchain_errors():
            choice = choice_of(tool_choice, formatted) if formatted else None
        said = {} if choice is None else {"tool_choice": choice}
        return super().bind(tools=formatted, **said, **kwargs)

    def with_structured_output(
        self,
        schema: Schema | None = None,
        *,
        method: Method = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """A model that answers with objects of `schema`.

        Args:
            schema: A pydantic model (2 or 1), whose instances it then gives; a `TypedDict`, a
                JSON schema or an OpenAI tool, for dictionaries.
            method: `"json_schema"`: the engine holds the answer to the schema, whatever the
                model. It does not show it to the model: say in the prompt what is wanted.
                `"function_calling"`: the schema is a tool. `"json_mode"`: any JSON; the prompt
                must say which.
            include_raw: Give `{"raw": …, "parsed": …, "parsing_error": …}` and raise nothing
                for an answer that does not parse.
            strict: As in `bind_tools`.
            **kwargs: Settings of the calls.

        Raises:
            InvalidRequestError: No such method, or no schema where one is needed.
        """
        if method not in get_args(Method):
            msg = f"method must be one of {', '.join(map(repr, get_args(Method)))}, not {method!r}"
            raise InvalidRequestError(msg)
        if schema is None and method != "json_mode":
            msg = f"method {method!r} needs a schema"
            raise InvalidRequestError(msg, hint="pass one, or use method='json_mode'")
        shown = {
            "kwargs": {"method": method, "strict": strict},
            "schema": schema,
        }
        tool = None
        if method == "function_calling":
            assert schema is not None
            tool = convert_to_openai_tool(schema)
            llm = self.bind_tools(
                [schema],
                tool_choice=tool["function"]["name"],
                strict=strict,
                ls_structured_output_format=shown,
                **kwargs,
            )
        else:
            wanted = (
                response_format(schema, strict=strict)
                if schema is not None and method == "json_schema"
                else {"type": "json_object"}
            )
            llm = self.bind(response_format=wanted, ls_structured_output_format=shown, **kwargs)
        parser = parser_of(schema, tool)
        return with_raw(llm, parser) if include_raw else llm | parser

    def get_token_ids(self, text: str) -> list[int]:
        """The tokens of `text`, by `custom_get_token_ids`.

        Raises:
            NotImplementedError: It is not set.
        """
        return token_ids(self.custom_get_token_ids, text)

    # --- What core asks of a chat model ---

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None]) -> dict[str, Any]:
        usage: dict[str, int] = {}
        for output in llm_outputs:  # `None` for an answer that came from the cache
            for key, count in ((output or {}).get("token_usage") or {}).items():
                if isinstance(count, int):
                    usage[key] = usage.get(key, 0) + count
        return {"model_name": self.model, **({"token_usage": usage} if usage else {})}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002  core's signature
        **kwargs: Any,
    ) -> ChatResult:
        with as_langchain_errors():
            return self._way(self._call(stop, kwargs)).generate(messages)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002  core's signature
        **kwargs: Any,
    ) -> ChatResult:
        with as_langchain_errors():
            way = await self._away(self._call(stop, kwargs))
            return await way.agenerate(messages)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with as_langchain_errors():
            for chunk in self._way(self._call(stop, kwargs)).stream(messages):
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk]:
        with as_langchain_errors():
            way = await self._away(self._call(stop, kwargs))
            async with aclosing(way.astream(messages)) as chunks:
                async for chunk in chunks:
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
