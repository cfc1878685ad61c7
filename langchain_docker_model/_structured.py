"""Structured output: schemas in the API's form, and the parsers of the answers."""

from __future__ import annotations

import functools
import inspect
import json
import operator
import types
from enum import Enum
from operator import itemgetter
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
)

import typing_extensions
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessageChunk
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import (
    JsonOutputKeyToolsParser,
    PydanticToolsParser,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel, Field, ValidationError, create_model

from docker_model.http.thoughts import split_thoughts
from docker_model.http.tools import is_whole, without_fence
from langchain_docker_model._replies import REPLACED
from langchain_docker_model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from langchain_core.language_models import BaseChatModel
    from langchain_core.language_models.base import LanguageModelInput
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import Generation
    from pydantic.v1 import BaseModel as BaseModelV1

    from docker_model.http.replies import Answer

__all__ = [
    "Method",
    "Schema",
    "check_of",
    "response_format",
    "structured",
    "tool_of",
]

Method: TypeAlias = Literal["json_schema", "function_calling", "json_mode"]
Schema: TypeAlias = dict[str, Any] | type
_Piece = TypeVar("_Piece")
_UNTITLED = "answer"


def response_format(schema: Schema, *, strict: bool | None = None) -> dict[str, Any]:
    """Return the API's request for JSON that matches `schema`.

    Args:
        schema: A pydantic model (2 or 1), a `TypedDict`, a JSON schema, an OpenAI function or
            tool, or a response format, which stays as it is.
        strict: OpenAI's `strict`. llama.cpp enforces the schema with and without it.
    """
    if isinstance(schema, dict) and schema.get("type") in ("json_object", "json_schema", "text"):
        return schema
    name, json_schema = _name_and_schema(schema)
    described = {"name": name, "schema": json_schema}
    if strict is not None:
        described["strict"] = strict
    return _Checked({"type": "json_schema", "json_schema": described}, model=schema)


def tool_of(
    tool: dict[str, Any] | type | Callable[..., Any] | BaseTool, *, strict: bool | None = None
) -> dict[str, Any]:
    """Return a tool in the API's form."""
    model: object = tool
    if isinstance(tool, BaseTool):
        model = tool.tool_call_schema
    elif isinstance(tool, _Checked):
        model = tool.model
    return _Checked(_converted(_without_typed_dict(tool), strict=strict), model=model)


def _converted(tool: Any, *, strict: bool | None = None) -> dict[str, Any]:
    """Convert a tool or a schema to the API's tool.

    Raises:
        InvalidRequestError: If LangChain cannot convert it.
    """
    problem = "it is an enumeration"
    if not (isinstance(tool, type) and issubclass(tool, Enum)):
        try:
            return convert_to_openai_tool(tool, strict=strict)
        except (TypeError, ValueError) as error:
            problem, _, _ = str(error).partition("\n")
    msg = f"{tool!r} cannot be converted to a tool or a schema: {problem}"
    hint = (
        "pass a pydantic class, a TypedDict, a JSON schema with a title, or a function as a tool; "
        "a list or an enumeration must be a field of a class"
    )
    raise InvalidRequestError(msg, hint=hint)


class _Checked(dict[str, Any]):
    """A response format or a tool in the API's form, and the class that validates the answer.

    Attributes:
        model: The class; `None` if there is nothing to validate with.
        is_parsed: Whether a parser of this module reads the answer.
    """

    def __init__(self, content: Mapping[str, Any], *, model: object) -> None:
        super().__init__(content)
        is_model = isinstance(model, type) and issubclass(model, BaseModel)
        self.model: type[BaseModel] | None = cast("type[BaseModel]", model) if is_model else None
        self.is_parsed = False


def repairs_streams(parameters: Mapping[str, Any]) -> bool:
    """Tell whether a stream can contain a second answer, which the parser then uses."""
    api_format = parameters.get("response_format")
    return isinstance(api_format, _Checked) and api_format.is_parsed


def check_of(parameters: Mapping[str, Any]) -> Callable[[Answer], str] | None:
    """Return a function that describes an invalid answer to the model; `None` if not needed.

    Args:
        parameters: The parameters of the request, such as `tools` and `response_format`.
    """
    api_format = parameters.get("response_format")
    tools = parameters.get("tools") or ()
    models = {
        tool["function"]["name"]: tool.model
        for tool in tools
        if isinstance(tool, _Checked) and tool.model is not None
    }
    format_type = api_format.get("type") if isinstance(api_format, dict) else None
    wants_json = format_type in ("json_object", "json_schema")
    if not (wants_json or tools):
        return None
    model = api_format.model if isinstance(api_format, _Checked) else None

    def check(answer: Answer) -> str:
        for call in answer.calls:
            if call.arguments is None:
                return f"The call of {call.name} is wrong: {call.error}."
            if call.name in models:
                problem = _problem(models[call.name], call.arguments)
                if problem:
                    return f"The arguments of {call.name} are wrong: {problem}"
        if answer.calls or not wants_json or answer.finish_reason == "length":
            return ""
        text = without_fence(split_thoughts(answer.text)[1])
        if not is_whole(text):
            return "The answer is not JSON." if text.strip() else ""
        return _problem(model, json.loads(text)) if model is not None else ""

    return check


def _problem(model: type[BaseModel], value: object) -> str:
    try:
        model.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems
        )
    except Exception as error:  # noqa: BLE001  raised by a validator of the user
        return str(error)
    return ""


def _name_and_schema(schema: Schema) -> tuple[str, Any]:
    if isinstance(schema, dict):
        inner = schema.get("function", schema)
        for key in ("schema", "parameters"):
            if "name" in inner and key in inner:
                return inner["name"], inner[key]
        return schema.get("title", _UNTITLED), schema
    schema = cast("type", _without_typed_dict(schema))
    if is_basemodel_subclass(schema):
        # Not core's conversion, which inlines references and so cannot convert recursive schemas.
        if issubclass(schema, BaseModel):
            return schema.__name__, schema.model_json_schema()
        return schema.__name__, cast("type[BaseModelV1]", schema).schema()
    function = _converted(schema)["function"]
    return function["name"], function["parameters"]


# --- Typed dictionaries ---
# Core does not support `NotRequired`; pydantic does not support these classes before Python 3.12.


def _without_typed_dict(schema: Any) -> Any:
    """Return a pydantic model for a `TypedDict`, and any other schema unchanged."""
    return _model_of(schema) if typing_extensions.is_typeddict(schema) else schema


def _model_of(typed_dict: type) -> type[BaseModel]:
    """Return a pydantic model with the schema of a `TypedDict`.

    LangChain's form of annotation sets the default and description of a field:
    `Annotated[int, 7, "How many."]`, with `...` for no default.
    """
    hints = typing_extensions.get_type_hints(typed_dict, include_extras=True)
    total_keys = typed_dict.__required_keys__  # type: ignore[attr-defined]
    fields: dict[str, Any] = {}
    for name, hint in hints.items():
        kind, required, extras = _unwrapped(hint, required=name in total_keys)
        default: Any = ... if required else None
        if extras and not isinstance(extras[0], str) and extras[0] is not ...:
            default, required = extras[0], False
        description = next((extra for extra in extras[-1:] if isinstance(extra, str)), None)
        kind = _without_typed_dicts(kind)
        settings: dict[str, Any] = {"description": description, "alias": name}
        if not required and default is None:
            settings["json_schema_extra"] = _drop_default
        fields[f"field_{len(fields)}"] = (kind, Field(default, **settings))
    text = inspect.cleandoc(vars(typed_dict).get("__doc__") or "")  # not the docstring of `dict`
    return create_model(typed_dict.__name__, __doc__=text or None, **fields)


def _drop_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def _unwrapped(hint: Any, *, required: bool) -> tuple[Any, bool, tuple[Any, ...]]:
    extras: tuple[Any, ...] = ()
    while True:
        origin = get_origin(hint)
        if origin in _REQUIRED:
            required = _REQUIRED[origin]
        elif origin is Annotated:
            extras = (*hint.__metadata__, *extras)
        elif origin is not typing_extensions.ReadOnly:
            return hint, required, extras
        hint = get_args(hint)[0]


_REQUIRED = {
    NotRequired: False,
    typing_extensions.NotRequired: False,
    Required: True,
    typing_extensions.Required: True,
}


def _without_typed_dicts(kind: Any) -> Any:
    """Replace every `TypedDict` in a type annotation with a pydantic model."""
    kind = _without_typed_dict(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if not inner or origin is Literal:
        return kind
    if origin is Annotated:
        return Annotated[(_without_typed_dicts(inner[0]), *kind.__metadata__)]
    replaced = tuple(_without_typed_dicts(argument) for argument in inner)
    if origin in (Union, types.UnionType):
        return functools.reduce(operator.or_, replaced)
    return origin[replaced] if origin is not None else kind


# --- Chains ---


def structured(
    chat: BaseChatModel,
    schema: Schema | None,
    *,
    method: Method,
    include_raw: bool,
    strict: bool | None,
    **kwargs: Any,
) -> Runnable[LanguageModelInput, Any]:
    """Return a chain of `chat` that answers with objects that match `schema`.

    Raises:
        InvalidRequestError: If `method` is unknown, or `schema` is missing where required.
    """
    if method not in get_args(Method):
        msg = f"method must be one of {', '.join(map(repr, get_args(Method)))}, not {method!r}"
        raise InvalidRequestError(msg, hint="such as method='json_schema'")
    if schema is None and method != "json_mode":
        msg = f"method {method!r} needs a schema"
        raise InvalidRequestError(msg, hint="pass one, or use method='json_mode'")
    traced_format = {
        "kwargs": {"method": method, "strict": strict},
        "schema": _without_typed_dict(schema),
    }
    tool = None
    if method == "function_calling":
        assert schema is not None
        tool = tool_of(schema)
        llm = chat.bind_tools(
            [tool],
            tool_choice=tool["function"]["name"],
            strict=strict,
            ls_structured_output_format=traced_format,
            **kwargs,
        )
    else:
        checked = _checked_format(schema, method, strict=strict)
        checked.is_parsed = True
        llm = chat.bind(
            response_format=checked, ls_structured_output_format=traced_format, **kwargs
        )
    parser = _parser_of(schema, tool)
    return _with_raw(llm, parser) if include_raw else llm | parser


def _checked_format(schema: Schema | None, method: Method, *, strict: bool | None) -> _Checked:
    """Return the response format that a chain requests."""
    api_format = {} if schema is None else response_format(schema, strict=strict)
    if method == "json_schema" and isinstance(api_format, _Checked):
        return api_format
    if method == "json_schema":
        return _Checked(api_format, model=None)
    if not isinstance(api_format, _Checked):
        return _Checked({"type": "json_object"}, model=None)
    # Engines that do not support a schema here ignore it; the prompt then describes the JSON.
    return _Checked(
        {"type": "json_object", "schema": api_format["json_schema"]["schema"]}, model=schema
    )


# --- Parsers ---


def _parser_of(schema: Schema | None, tool: Mapping[str, Any] | None) -> Runnable[Any, Any]:
    """Return the parser that converts an answer to objects of the schema.

    Args:
        schema: The user's schema.
        tool: The tool made from the schema; only for `method="function_calling"`.
    """
    model = schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None
    if tool is None:
        return _Json() if model is None else _PydanticJson(pydantic_object=model)
    if model is not None:
        return PydanticToolsParser(tools=[model], first_tool_only=True)
    return JsonOutputKeyToolsParser(key_name=tool["function"]["name"], first_tool_only=True)


class _Json(JsonOutputParser):
    """Raises an error for an answer that was cut off, and for a stream with an invalid object.

    Core completes cut-off JSON, so that a part of an object would pass as the whole object. Core
    also ends a stream silently if its object does not match the schema.
    """

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        repaired = _repaired(result[0])
        if not partial and _is_cut_off(repaired):
            msg = (
                "the answer was cut off before its JSON was complete\n"
                "Hint: raise max_tokens, or the model's context size"
            )
            raise OutputParserException(msg, llm_output=repaired.text)
        return super().parse_result([repaired], partial=partial)

    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[Any]:
        pieces: list[str | BaseMessage] = []
        yield from super()._transform(_recording(input, pieces))
        self._check_end(pieces)

    async def _atransform(self, input: AsyncIterator[str | BaseMessage]) -> AsyncIterator[Any]:
        pieces: list[str | BaseMessage] = []
        async for parsed in super()._atransform(_recording_async(input, pieces)):
            yield parsed
        self._check_end(pieces)

    def _check_end(self, pieces: list[Any]) -> None:
        """Raise an error if the chunks of a model are not one complete object.

        Other inputs of the parser, such as strings, are not checked.
        """
        if pieces and all(isinstance(piece, AIMessageChunk) for piece in pieces):
            whole = sum(pieces[1:], pieces[0])
            self.parse_result([ChatGenerationChunk(message=whole)])


def _recording(pieces: Iterator[_Piece], recorded: list[_Piece]) -> Iterator[_Piece]:
    for piece in pieces:
        recorded.append(piece)
        yield piece


async def _recording_async(
    pieces: AsyncIterator[_Piece], recorded: list[_Piece]
) -> AsyncIterator[_Piece]:
    async for piece in pieces:
        recorded.append(piece)
        yield piece


def _repaired(generation: Generation) -> Generation:
    """Return a generation without the text of a first answer that a second answer replaces."""
    message = getattr(generation, "message", None)  # a plain-text generation has no message
    replaced_length = message.response_metadata.get(REPLACED) if message is not None else None
    if message is None or not replaced_length:
        return generation
    text = generation.text[replaced_length:]
    return ChatGeneration(message=message.model_copy(update={"content": text}))


def _is_cut_off(generation: Generation) -> bool:
    message = getattr(generation, "message", None)  # a plain-text generation has no message
    if message is None or message.response_metadata.get("finish_reason") != "length":
        return False
    return not is_whole(generation.text)  # complete JSON can end exactly at the limit


class _PydanticJson(_Json, PydanticOutputParser[Any]):
    pass


def _with_raw(llm: Runnable[Any, Any], parser: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Return a chain with the answer, and either the parsed object or the parsing error."""
    parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=llm) | parsed.with_fallbacks([failed], exception_key="parsing_error")
