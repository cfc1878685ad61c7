"""Tools and objects: what a function calling model does, over HTTP, and by text otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.llms import LLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.types import PydanticProgramMode

from llama_index_docker_model._fields import Fields

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping, Sequence

    from llama_index.core.base.llms.types import ChatResponse
    from llama_index.core.bridge.pydantic import BaseModel
    from llama_index.core.chat_engine.types import AgentChatResponse
    from llama_index.core.prompts import PromptTemplate
    from llama_index.core.tools import BaseTool

__all__ = ["FunctionCalls"]


class FunctionCalls(Fields):
    """What `DockerModelLLM` does with tools and with classes of objects."""

    # --- Tools ---

    def _prepare_chat_with_tools(  # noqa: PLR0917  core's
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: ARG002, FBT001, FBT002  core's
        allow_parallel_tool_calls: bool = False,  # noqa: FBT001, FBT002  core's
        tool_required: bool = False,  # noqa: FBT001, FBT002  core's
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = list(chat_history or ())  # the caller's list stays as it is
        if user_msg is not None:
            if isinstance(user_msg, str):
                user_msg = ChatMessage(user_msg, role=MessageRole.USER)
            messages.append(user_msg)
        choice = kwargs.pop("tool_choice", None)  # core's programs pass on a `None`
        if not tools:
            return {"messages": messages, **kwargs}
        return {
            "messages": messages,
            "tools": [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools],
            "tool_choice": choice or ("required" if tool_required else "auto"),
            "parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence[BaseTool],  # noqa: ARG002  core's
        allow_parallel_tool_calls: bool = False,  # noqa: FBT001, FBT002  core's
        **kwargs: Any,  # noqa: ARG002  core's
    ) -> ChatResponse:
        """Keep the first call alone where several are not wanted: engines may give them yet."""
        calls = response.message.additional_kwargs.get("tool_calls", ())
        if len(calls) > 1 and not allow_parallel_tool_calls:
            message = response.message
            message.additional_kwargs["tool_calls"] = calls[:1]
            blocks = message.blocks
            later = [block for block in blocks if block.block_type == "tool_call"][1:]
            message.blocks = [block for block in blocks if block not in later]
        return response

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: bool = True,  # noqa: FBT001, FBT002  core's
        **kwargs: Any,  # noqa: ARG002  core's
    ) -> list[ToolSelection]:
        """The calls that an answer, or a stream so far, asks for.

        Args:
            response: The answer; within a stream, arguments may be incomplete.
            error_on_no_tool_call: Whether an answer without calls is an error.
            kwargs: Core's; nothing is made of them.

        Raises:
            ValueError: There are none.
        """
        calls = response.message.additional_kwargs.get("tool_calls", ())
        if not calls and error_on_no_tool_call:
            msg = "the model called no tool"  # core's own models raise the same class
            raise ValueError(msg)
        return [
            ToolSelection(
                tool_id=call["id"],
                tool_name=call["function"]["name"],
                tool_kwargs=_arguments(call["function"]["arguments"]),
            )
            for call in calls
        ]

    def predict_and_call(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> AgentChatResponse:
        """Let the model pick a tool and call it.

        Over the CLI this is a step of a ReAct agent, and core turns every error of that step
        into the text of an answer.
        """
        kwargs = self._with_react_defaults(kwargs)
        return super().predict_and_call(tools, user_msg, chat_history, *args, **kwargs)

    async def apredict_and_call(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> AgentChatResponse:
        """The same, awaited."""
        kwargs = self._with_react_defaults(kwargs)
        return await super().apredict_and_call(tools, user_msg, chat_history, *args, **kwargs)

    def _with_react_defaults(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Core passes on `None` for a formatter or parser not given, and then refuses it."""
        if self.metadata.is_function_calling_model:
            return dict(settings)
        from llama_index.core.agent.react import ReActChatFormatter, ReActOutputParser  # noqa: PLC0415  slow: the agents' whole package

        return {
            "react_chat_formatter": ReActChatFormatter(),
            "output_parser": ReActOutputParser(),
            **settings,
        }

    # --- Objects. Over HTTP the engine holds the answer to the schema, whatever the model. ---

    def structured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> BaseModel:
        """Answer with an object of `output_cls`; its schema is shown to the model, and enforced.

        Over the CLI nothing enforces it, and an answer that does not fit is a `ValueError`.
        `pydantic_program_mode="function"` makes a tool of the class instead.
        """
        llm, llm_kwargs = self._by_schema(output_cls, llm_kwargs)
        answer: BaseModel = LLM.structured_predict(
            llm, output_cls, prompt, llm_kwargs, **prompt_args
        )
        return answer

    async def astructured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> BaseModel:
        """The same, awaited."""
        llm, llm_kwargs = self._by_schema(output_cls, llm_kwargs)
        answer: BaseModel = await LLM.astructured_predict(
            llm, output_cls, prompt, llm_kwargs, **prompt_args
        )
        return answer

    def stream_structured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[BaseModel, None, None]:
        """The same, as it grows."""
        llm, llm_kwargs = self._by_schema(output_cls, llm_kwargs)
        return LLM.stream_structured_predict(llm, output_cls, prompt, llm_kwargs, **prompt_args)

    async def astream_structured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[BaseModel, None]:
        """The same for `async for … in await`."""
        llm, llm_kwargs = self._by_schema(output_cls, llm_kwargs)
        return await LLM.astream_structured_predict(
            llm, output_cls, prompt, llm_kwargs, **prompt_args
        )

    def _by_schema(
        self, output_cls: type[BaseModel], llm_kwargs: dict[str, Any] | None
    ) -> tuple[FunctionCalls, dict[str, Any] | None]:
        """Who is to be asked and with what: core's text program, its answers held to a schema.

        A copy, for core reads the program's mode from the model; the caller's dictionary
        stays as it is.
        """
        over_http = self._way(llm_kwargs or {}) == "http"
        if not over_http or self.pydantic_program_mode is PydanticProgramMode.FUNCTION:
            return self, llm_kwargs
        schema = {"name": output_cls.__name__, "schema": output_cls.model_json_schema()}
        wanted = {"type": "json_schema", "json_schema": schema}
        by_text = self.model_copy(update={"pydantic_program_mode": PydanticProgramMode.LLM})
        return by_text, {"response_format": wanted, **(llm_kwargs or {})}


def _arguments(text: str) -> dict[str, Any]:
    """A call's arguments as far as they can be read; core reports those that are missing."""
    try:
        arguments = parse_partial_json(text)
    except ValueError:
        return {}
    return arguments if isinstance(arguments, dict) else {}
