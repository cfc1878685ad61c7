"""Structured output: schemas in the API's form, and the parsers for what comes back."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from langchain_core.exceptions import OutputParserException
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import (
    JsonOutputKeyToolsParser,
    PydanticToolsParser,
)
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_openai_function
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel

from docker_model.http.tools import is_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.outputs import Generation
    from pydantic.v1 import BaseModel as BaseModelV1

Method: TypeAlias = Literal["json_schema", "function_calling", "json_mode"]
Schema: TypeAlias = dict[str, Any] | type
_UNTITLED = "answer"


def response_format(schema: Schema, *, strict: bool | None = None) -> dict[str, Any]:
    """A request for JSON that matches `schema`.

    Args:
        schema: A pydantic model (2 or 1), a `TypedDict`, a JSON schema, an OpenAI function or
            tool, or a response format, which passes as it is.
        strict: OpenAI's wish for a narrower schema. llama.cpp holds to it either way.
    """
    if isinstance(schema, dict) and schema.get("type") in ("json_object", "json_schema", "text"):
        return schema
    name, json_schema = _name_and_schema(schema)
    described = {"name": name, "schema": json_schema}
    if strict is not None:
        described["strict"] = strict
    return {"type": "json_schema", "json_schema": described}


def _name_and_schema(schema: Schema) -> tuple[str, Any]:
    if isinstance(schema, dict):
        inner = schema.get("function", schema)
        for key in ("schema", "parameters"):
            if "name" in inner and key in inner:
                return inner["name"], inner[key]
        return schema.get("title", _UNTITLED), schema
    if is_basemodel_subclass(schema):
        # Not core's conversion, which takes references apart and so has no recursive schemas.
        if issubclass(schema, BaseModel):
            return schema.__name__, schema.model_json_schema()
        return schema.__name__, cast("type[BaseModelV1]", schema).schema()
    function = convert_to_openai_function(schema)
    return function["name"], function["parameters"]


def parser_of(schema: Schema | None, tool: Mapping[str, Any] | None) -> Runnable[Any, Any]:
    """What makes the schema's objects of an answer.

    Args:
        schema: As given by the user.
        tool: The tool that the schema became, if it was asked for as one.
    """
    model = schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None
    if tool is None:
        return _Json() if model is None else _PydanticJson(pydantic_object=model)
    if model is not None:
        return PydanticToolsParser(tools=[model], first_tool_only=True)
    return JsonOutputKeyToolsParser(key_name=tool["function"]["name"], first_tool_only=True)


class _Json(JsonOutputParser):
    """Refuses an answer that was cut off.

    Core closes what is left open in JSON, so that a half would pass for an object.
    """

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        if not partial and _is_cut_off(result[0]):
            msg = (
                "the answer was cut off before its JSON was complete\n"
                "Hint: raise max_tokens, or the model's context size"
            )
            raise OutputParserException(msg, llm_output=result[0].text)
        return super().parse_result(result, partial=partial)


def _is_cut_off(generation: Generation) -> bool:
    message = getattr(generation, "message", None)  # a text, in an answer's place, has none
    if message is None or message.response_metadata.get("finish_reason") != "length":
        return False
    return not is_whole(generation.text)  # else its end was the limit


class _PydanticJson(_Json, PydanticOutputParser[Any]):
    pass


def with_raw(llm: Runnable[Any, Any], parser: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """The answer itself beside what was made of it, or the reason why nothing was."""
    parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=llm) | parsed.with_fallbacks([failed], exception_key="parsing_error")
