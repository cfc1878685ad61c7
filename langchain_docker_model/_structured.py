"""Structured output: schemas in the API's form, and the parsers of what comes back."""

from __future__ import annotations

import functools
import inspect
import json
import operator
import types
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
    return _Checked(convert_to_openai_tool(_without_typed_dict(tool), strict=strict), model=model)


class _Checked(dict[str, Any]):
    """A response format or a tool in the API's form, and the class that checks what comes back.

    Attributes:
        model: The class.
        is_parsed: Whether a parser of this module reads the answer.
    """

    def __init__(self, content: Mapping[str, Any], *, model: object) -> None:
        super().__init__(content)
        checks = isinstance(model, type) and issubclass(model, BaseModel)
        self.model: type[BaseModel] | None = cast("type[BaseModel]", model) if checks else None
        self.is_parsed = False


def repairs_streams(parameters: Mapping[str, Any]) -> bool:
    """Tell whether a stream may hold a second answer, which the parser takes for the first."""
    wanted = parameters.get("response_format")
    return isinstance(wanted, _Checked) and wanted.is_parsed


def check_of(parameters: Mapping[str, Any]) -> Callable[[Answer], str] | None:
    """Return what says, for the model, what is wrong with an answer; `None` if all is right.

    Args:
        parameters: Those of the request: `tools` and `response_format`.
    """
    wanted = parameters.get("response_format")
    tools = parameters.get("tools") or ()
    models = {
        tool["function"]["name"]: tool.model
        for tool in tools
        if isinstance(tool, _Checked) and tool.model is not None
    }
    wants_json = isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")
    if not (wants_json or tools):
        return None
    model = wanted.model if isinstance(wanted, _Checked) else None

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
    except Exception as error:  # noqa: BLE001  a validator of the user's
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
        # Not core's conversion, which takes references apart and so has no recursive schemas.
        if issubclass(schema, BaseModel):
            return schema.__name__, schema.model_json_schema()
        return schema.__name__, cast("type[BaseModelV1]", schema).schema()
    function = convert_to_openai_tool(schema)["function"]
    return function["name"], function["parameters"]


# --- Typed dictionaries ---
# Neither core (which does not know `NotRequired`) nor pydantic (before Python 3.12) takes them.


def _without_typed_dict(schema: Any) -> Any:
    """Return a pydantic model for a `TypedDict`, and any other schema as it is."""
    return _model_of(schema) if typing_extensions.is_typeddict(schema) else schema


def _model_of(typed_dict: type) -> type[BaseModel]:
    """Return a pydantic model with the schema of a `TypedDict`.

    A field has a default and a description where it is annotated as LangChain has it:
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
    text = inspect.cleandoc(vars(typed_dict).get("__doc__") or "")  # not that of `dict`
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
    """Replace every `TypedDict` within a type by a model."""
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
    """Return a chain of `chat` that answers with objects of `schema`.

    Raises:
        InvalidRequestError: If there is no such method, or no schema where one is needed.
    """
    if method not in get_args(Method):
        msg = f"method must be one of {', '.join(map(repr, get_args(Method)))}, not {method!r}"
        raise InvalidRequestError(msg, hint="such as method='json_schema'")
    if schema is None and method != "json_mode":
        msg = f"method {method!r} needs a schema"
        raise InvalidRequestError(msg, hint="pass one, or use method='json_mode'")
    shown = {
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
            ls_structured_output_format=shown,
            **kwargs,
        )
    else:
        wanted = _wanted(schema, method, strict=strict)
        wanted.is_parsed = True
        llm = chat.bind(response_format=wanted, ls_structured_output_format=shown, **kwargs)
    parser = _parser_of(schema, tool)
    return _with_raw(llm, parser) if include_raw else llm | parser


def _wanted(schema: Schema | None, method: Method, *, strict: bool | None) -> _Checked:
    """Return the form of the answer that a chain asks for."""
    wanted = {} if schema is None else response_format(schema, strict=strict)
    if method == "json_schema" and isinstance(wanted, _Checked):
        return wanted
    if method == "json_schema":
        return _Checked(wanted, model=None)
    if not isinstance(wanted, _Checked):
        return _Checked({"type": "json_object"}, model=None)
    # An engine that knows no schema here leaves it out; the prompt says which JSON it is.
    return _Checked(
        {"type": "json_object", "schema": wanted["json_schema"]["schema"]}, model=schema
    )


# --- Parsers ---


def _parser_of(schema: Schema | None, tool: Mapping[str, Any] | None) -> Runnable[Any, Any]:
    """Return the parser that makes the schema's objects of an answer.

    Args:
        schema: As given by the user.
        tool: The tool that stands for the schema with `method="function_calling"`.
    """
    model = schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None
    if tool is None:
        return _Json() if model is None else _PydanticJson(pydantic_object=model)
    if model is not None:
        return PydanticToolsParser(tools=[model], first_tool_only=True)
    return JsonOutputKeyToolsParser(key_name=tool["function"]["name"], first_tool_only=True)


class _Json(JsonOutputParser):
    """Refuses an answer that was cut off, and a stream that ends with a wrong object.

    Core closes what is left open in JSON, so that a half would pass for an object, and lets a
    stream whose object does not match end in silence.
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
        yield from super()._transform(_noted(input, pieces))
        self._check_end(pieces)

    async def _atransform(self, input: AsyncIterator[str | BaseMessage]) -> AsyncIterator[Any]:
        pieces: list[str | BaseMessage] = []
        async for parsed in super()._atransform(_noted_async(input, pieces)):
            yield parsed
        self._check_end(pieces)

    def _check_end(self, pieces: list[Any]) -> None:
        """Raise if what came is no whole object; other parts of a chain have no end to check."""
        if pieces and all(isinstance(piece, AIMessageChunk) for piece in pieces):
            whole = sum(pieces[1:], pieces[0])
            self.parse_result([ChatGenerationChunk(message=whole)])


def _noted(pieces: Iterator[_Piece], kept: list[_Piece]) -> Iterator[_Piece]:
    for piece in pieces:
        kept.append(piece)
        yield piece


async def _noted_async(pieces: AsyncIterator[_Piece], kept: list[_Piece]) -> AsyncIterator[_Piece]:
    async for piece in pieces:
        kept.append(piece)
        yield piece


def _repaired(generation: Generation) -> Generation:
    """Return a generation without the answer that a second one takes the place of."""
    message = getattr(generation, "message", None)  # a text, in an answer's place, has none
    before = message.response_metadata.get(REPLACED) if message is not None else None
    if message is None or not before:
        return generation
    text = generation.text[before:]
    return ChatGeneration(message=message.model_copy(update={"content": text}))


def _is_cut_off(generation: Generation) -> bool:
    message = getattr(generation, "message", None)  # a text, in an answer's place, has none
    if message is None or message.response_metadata.get("finish_reason") != "length":
        return False
    return not is_whole(generation.text)  # else its end was the limit


class _PydanticJson(_Json, PydanticOutputParser[Any]):
    pass


def _with_raw(llm: Runnable[Any, Any], parser: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Return a chain that gives the answer beside what was parsed, or the reason for nothing."""
    parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=llm) | parsed.with_fallbacks([failed], exception_key="parsing_error")
