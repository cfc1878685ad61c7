"""Tool calls with any model, enforced by a JSON schema, without I/O.

Native tool calls require a chat template that includes the tools, and llama.cpp does not enforce
`tool_choice="required"`. A grammar enforces a JSON schema with every model. Therefore the system
message describes the tools, and the schema restricts the reply to one of these objects:

    {"tool": "NAME", "arguments": {…}}    a call, or an array of calls if parallel calls are allowed
    {"answer": "…"}                       text, or an object if the request has a response schema

`plan` converts a request, and `ReplyTranslator` converts the reply to OpenAI's form, complete or
chunk by chunk.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from docker_model.http.json_stream import Arguments, BeginCall, CallReader, Text
from docker_model.http.tools import choice_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = [
    "ReplyTranslator",
    "ending_in_a_question",
    "grammar_schema",
    "plain_turns",
    "plan",
    "show_schema",
    "shown_json",
]

MAX_PARALLEL_CALLS = 8

# Above these limits, the grammar is too large for llama.cpp ("failed to parse grammar").
_MAX_REPETITIONS = 200
_MAX_ENUM_VALUES = 500

_ASK_FOR_JSON = "Now answer in JSON."

# llama.cpp's common/json-schema-to-grammar.cpp enforces only these formats.
_FORMATS = frozenset({"date", "date-time", "time", "uuid"})
_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


# --- Schemas --------------------------------------------------------------------------------------


def grammar_schema(schema: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """Reduce a JSON schema to the parts that llama.cpp's grammar can enforce.

    Patterns, unknown formats, large enumerations and large repetitions are removed. The result
    accepts more values than `schema`, so the values must be validated afterwards.

    Args:
        schema: The schema. References point to its own `$defs` or `definitions`.
        prefix: A prefix for the names in `$defs`, so that several schemas can share one root.

    Returns:
        A schema without annotations. Its `$defs` contain the referenced schemas.
    """
    reduced = _reduce(schema, prefix)
    definitions = {**schema.get("definitions", {}), **schema.get("$defs", {})}
    if definitions and isinstance(reduced, dict):
        reduced["$defs"] = {
            f"{prefix}{name}": _reduce(definition, prefix)
            for name, definition in definitions.items()
        }
    return reduced


def _reduce(schema: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(schema, dict):  # `true` or an invalid schema: any value
        return {}
    if "$ref" in schema:
        _, _, name = str(schema["$ref"]).rpartition("/")
        return {"$ref": f"#/$defs/{prefix}{name}"} if name != "#" else {}
    if "const" in schema:
        return {"const": schema["const"]}
    if "enum" in schema and 0 < len(schema["enum"]) <= _MAX_ENUM_VALUES:
        return {"enum": list(schema["enum"])}
    if alternatives := _alternatives(schema):
        return {"anyOf": [_reduce(branch, prefix) for branch in alternatives]}
    if parts := [part for part in schema.get("allOf") or () if isinstance(part, dict)]:
        reduced = [_reduce(part, prefix) for part in parts]
        return reduced[0] if len(reduced) == 1 else {"allOf": reduced}
    kind = schema.get("type") or _implied_type(schema)
    return {"type": kind, **_limits(kind, schema, prefix)} if kind in _TYPES else {}


def _alternatives(schema: Mapping[str, Any]) -> list[Any]:
    """Return the alternatives of a schema; empty if it has no alternatives."""
    kind = schema.get("type")
    if isinstance(kind, list):
        return [{**schema, "type": name} for name in kind]
    return list(schema.get("anyOf") or schema.get("oneOf") or ())


def _implied_type(schema: Mapping[str, Any]) -> str | None:
    if "properties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return "string" if "enum" in schema else None  # an enumeration that is too large


def _limits(kind: str, schema: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the keywords of a type that the grammar can enforce."""
    if kind == "object":
        return _object_limits(schema, prefix)
    if kind == "array":
        if schema.get("prefixItems"):
            return {"prefixItems": [_reduce(item, prefix) for item in schema["prefixItems"]]}
        limits: dict[str, Any] = {"items": _reduce(schema.get("items", {}), prefix)}
        return limits | _counts(schema, "minItems", "maxItems")
    if kind == "string":
        if schema.get("format") in _FORMATS:
            return {"format": schema["format"]}
        return _counts(schema, "minLength", "maxLength")
    if kind == "integer":
        return _range(schema)
    return {}


def _object_limits(schema: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    more = schema.get("additionalProperties")
    properties = schema.get("properties")
    if not properties and (more is True or (more is None and properties is None)):
        return {}  # any object
    properties = properties or {}
    limits: dict[str, Any] = {
        "properties": {name: _reduce(value, prefix) for name, value in properties.items()}
    }
    required = [name for name in schema.get("required") or () if name in properties]
    if required:
        limits["required"] = required
    limits["additionalProperties"] = _reduce(more, prefix) if isinstance(more, dict) else False
    return limits


def _counts(schema: Mapping[str, Any], least: str, most: str) -> dict[str, int]:
    """Return the two limits of a count; empty if they exclude each other.

    With an unsatisfiable length of a string, llama.cpp does not terminate.
    """
    limits = {
        name: schema[name]
        for name in (least, most)
        if type(schema.get(name)) is int and 0 <= schema[name] <= _MAX_REPETITIONS
    }
    return limits if limits.get(least, 0) <= limits.get(most, _MAX_REPETITIONS) else {}


def _range(schema: Mapping[str, Any]) -> dict[str, int]:
    """Return the limits of an integer; empty if they exclude each other.

    With an unsatisfiable range, llama.cpp returns HTTP 500.
    """
    limits = {
        name: schema[name]
        for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
        if type(schema.get(name)) is int
    }
    least = max(limits.get("minimum", -math.inf), limits.get("exclusiveMinimum", -math.inf) + 1)
    most = min(limits.get("maximum", math.inf), limits.get("exclusiveMaximum", math.inf) - 1)
    return limits if least <= most else {}


def reply_schema(
    tools: Sequence[Mapping[str, Any]],
    *,
    required: bool,
    parallel: bool,
    answer: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Build the schema of a reply that calls a tool or answers.

    Args:
        tools: OpenAI's tool objects.
        required: Whether the reply must call a tool.
        parallel: Whether the reply can contain several calls.
        answer: The response schema; `None` for an answer in plain text.
    """
    definitions: dict[str, Any] = {}
    calls = []
    for number, tool in enumerate(tools):
        function = tool["function"]
        parameters = grammar_schema(
            {"type": "object", "properties": {}, **(function.get("parameters") or {})},
            prefix=f"t{number}_",
        )
        definitions |= parameters.pop("$defs", {})
        calls.append(_object(tool={"const": function["name"]}, arguments=parameters))
    call = calls[0] if len(calls) == 1 else {"anyOf": calls}
    branches = [call] if calls else []
    if parallel and calls:
        # A single call remains an object, because small models rarely call tools in an array.
        definitions["call"] = call
        call = {"$ref": "#/$defs/call"}
        several = {"type": "array", "items": call, "minItems": 1, "maxItems": MAX_PARALLEL_CALLS}
        branches = [call, several]
    if not required:
        # Without a minimum length, a small model often returns an empty answer.
        final: dict[str, Any] = {"type": "string", "minLength": 1}
        if answer is not None:
            final = grammar_schema(answer, prefix="answer_")
            definitions |= final.pop("$defs", {})
        branches.append(_object(answer=final))
    schema = branches[0] if len(branches) == 1 else {"anyOf": branches}
    return {**schema, "$defs": definitions} if definitions else schema


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


# --- Text for the model ---------------------------------------------------------------------------


def _without_titles(schema: Any) -> Any:
    """Remove titles, which pydantic adds to every property, to shorten the prompt."""
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: {key: _without_titles(inner) for key, inner in value.items()}
        if name in ("properties", "$defs") and isinstance(value, dict)
        else _without_titles(value)
        for name, value in schema.items()
        if name != "title"
    }


def shown_json(value: Any) -> str:
    """Encode a value as JSON for the model."""
    return json.dumps(value, ensure_ascii=False)


def show_schema(schema: Mapping[str, Any]) -> str:
    """Return an instruction for the model to answer with an object of a schema."""
    return (
        "Answer with one JSON object that follows this JSON schema, and with nothing else:\n"
        f"{shown_json(_without_titles(schema))}"
    )


def _instructions(
    tools: Sequence[Mapping[str, Any]],
    *,
    required: bool,
    parallel: bool,
    answer: Mapping[str, Any] | None,
) -> str:
    lines = ["You can use these tools:"]
    for tool in tools:
        function = tool["function"]
        parameters = _without_titles(function.get("parameters") or {})
        lines.append(f"- {function['name']}: {function.get('description') or ''}".rstrip(": "))
        lines.append(f"  arguments: {shown_json(parameters.get('properties') or {})}")
        if parameters.get("required"):
            lines.append(f"  required: {', '.join(parameters['required'])}")
        if parameters.get("$defs"):
            lines.append(f"  definitions: {shown_json(parameters['$defs'])}")
    call = '{"tool": "NAME", "arguments": {…}}'
    lines += ["", "Reply with JSON and nothing else."]
    lines.append(f"To use a tool, reply with: {call}")
    if parallel:
        lines.append(f"To use several tools at once, reply with an array: [{call}, …]")
    if required:
        lines.append("You must use a tool now.")
    elif answer is None:
        # With words instead of the ellipsis, a small model would answer with these words.
        lines.append('To answer the user, reply with: {"answer": "…"}')
        lines.append("Use a tool only if it helps. Once you know the result, answer.")
    else:
        lines.append('To answer the user, reply with {"answer": OBJECT}, where OBJECT follows')
        lines.append(shown_json(_without_titles(answer)))
        lines.append("Use a tool first if it helps. Once you know its result, answer.")
    return "\n".join(lines)


def plain_turns(
    messages: Iterable[Mapping[str, Any]], *, wrapped: bool
) -> Iterator[dict[str, Any]]:
    """Yield prepared messages with calls and results as text, for any chat template.

    Args:
        messages: The result of `docker_model.http.messages.prepare`.
        wrapped: Whether the assistant's text has the form `{"answer": …}`, the form of the reply.
    """
    for message in messages:
        if message["role"] == "tool":
            name = message.get("name") or "the tool"
            yield {"role": "user", "content": _prefixed(f"Result of {name}: ", message["content"])}
            continue
        if message["role"] != "assistant":
            yield dict(message)
            continue
        calls = [
            {
                "tool": call["function"]["name"],
                "arguments": json.loads(call["function"]["arguments"] or "{}"),
            }
            for call in message.get("tool_calls") or ()
        ]
        text = _text_of(message.get("content"))
        if calls:
            spelled = shown_json(calls[0] if len(calls) == 1 else calls)
            yield {"role": "assistant", "content": spelled}
        else:
            yield {
                "role": "assistant",
                "content": shown_json({"answer": _as_json(text)}) if wrapped else text,
            }


def _as_json(text: str) -> Any:
    """Parse text that is a JSON object, so that the prompt shows an object and not a string."""
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content or () if part.get("type") == "text")


def _prefixed(prefix: str, content: Any) -> Any:
    if isinstance(content, str):
        return prefix + content
    return [{"type": "text", "text": prefix.rstrip()}, *content]


def with_system_text(messages: Sequence[Mapping[str, Any]], text: str) -> list[dict[str, Any]]:
    """Return the messages with `text` at the end of the system message."""
    first, rest = {"role": "system", "content": ""}, list(messages)
    if rest and rest[0]["role"] == "system":
        first, rest = dict(rest[0]), rest[1:]
    given = _text_of(first["content"])
    first["content"] = f"{given}\n\n{text}" if given else text
    return [first, *(dict(message) for message in rest)]


def ending_in_a_question(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return messages that end with a user message, for a reply with a schema.

    llama.cpp continues an assistant message at the end, and fails with "Failed to initialize
    samplers" if the grammar does not accept this message. The last message therefore is a user
    message, unless the assistant message begins an object that the reply must complete.
    """
    listed = [dict(message) for message in messages]
    if listed and listed[-1]["role"] == "assistant" and not _is_begun(listed[-1]):
        listed.append({"role": "user", "content": _ASK_FOR_JSON})
    return listed


def _is_begun(message: Mapping[str, Any]) -> bool:
    text = _text_of(message.get("content"))
    return text.lstrip().startswith("{") and isinstance(_as_json(text), str)


# --- Requests and replies -------------------------------------------------------------------------


def response_schema(response_format: Any) -> dict[str, Any] | None:
    """Return the JSON schema in a `response_format`, or `None`."""
    if not isinstance(response_format, dict):
        return None
    if response_format.get("type") == "json_object":
        return response_format.get("schema") or {"type": "object"}
    if response_format.get("type") != "json_schema":
        return None
    held = response_format.get("json_schema") or response_format
    schema = held.get("schema")
    return schema if isinstance(schema, dict) else {"type": "object"}


def as_response_format(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the `response_format` that enforces a schema."""
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "strict": True, "schema": schema},
    }


def plan(
    messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Convert a request with tools to a request with a schema for tool calls.

    Args:
        messages: The result of `docker_model.http.messages.prepare`.
        parameters: The parameters of the request, with `tools` and optionally `tool_choice`,
            `parallel_tool_calls` and `response_format`.

    Returns:
        The messages and the parameters to send.

    Raises:
        InvalidRequestError: If `tool_choice` is the name of an unknown tool.
    """
    tools = list(parameters.get("tools") or ())
    rest = {
        name: value
        for name, value in parameters.items()
        if name not in ("tools", "tool_choice", "parallel_tool_calls")
    }
    choice = choice_of(parameters.get("tool_choice"), tools)
    if choice == "none" or not tools:
        return list(plain_turns(messages, wrapped=False)), rest
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        tools = [tool for tool in tools if tool["function"]["name"] == name]
    required = choice == "required" or isinstance(choice, dict)
    answer = response_schema(parameters.get("response_format"))
    parallel = parameters.get("parallel_tool_calls") is True
    callable_tools = tools if required or not _repeats_a_call(messages) else []
    schema = reply_schema(callable_tools, required=required, parallel=parallel, answer=answer)
    text = _instructions(tools, required=required, parallel=parallel, answer=answer)
    rest["response_format"] = as_response_format(schema, "reply")
    turns = ending_in_a_question(list(plain_turns(messages, wrapped=True)))
    return with_system_text(turns, text), rest


def _repeats_a_call(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the latest call repeats a call since the last user message.

    A small model can repeat a call indefinitely although it has the result. The schema then only
    allows an answer.
    """
    calls: list[tuple[str, str]] = []
    for message in messages:
        if message["role"] == "user":
            calls = []
        for call in message.get("tool_calls") or ():
            calls.append((call["function"]["name"], call["function"]["arguments"]))
    return len(calls) > len(set(calls)) and calls[-1] in calls[:-1]


class ReplyTranslator:
    """Converts the chunks of a reply with `plan`'s schema to OpenAI's chunks.

    Another reply, from an engine that does not enforce the schema, remains text.
    """

    def __init__(self) -> None:
        self._readers: dict[int, CallReader] = {}
        self._called: set[int] = set()

    def chunk(self, chunk: Mapping[str, Any]) -> dict[str, Any]:
        """Convert a chunk of a stream."""
        return {**chunk, "choices": [self._choice(choice) for choice in chunk.get("choices") or ()]}

    def reply(self, reply: Mapping[str, Any]) -> dict[str, Any]:
        """Convert a complete reply."""
        choices = []
        for choice in reply.get("choices") or ():
            message = choice.get("message") or {}
            text = _text_of(message.get("content"))
            translated = self._choice({**choice, "delta": {"content": text}})
            delta = translated.pop("delta")
            calls = _joined_calls(delta.get("tool_calls") or ())
            translated["message"] = {
                **message,
                "content": delta.get("content") or None,
                **({"tool_calls": calls} if calls else {}),
            }
            choices.append(translated)
        return {**reply, "choices": choices}

    def _choice(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        index = choice.get("index") or 0
        delta = dict(choice.get("delta") or {})
        reader = self._readers.setdefault(index, CallReader())
        text = delta.pop("content", None)
        events = reader.feed(text) if isinstance(text, str) else []
        if choice.get("finish_reason"):
            events = [*events, *reader.close()]
        content = "".join(event.text for event in events if isinstance(event, Text))
        if content:
            delta["content"] = content
        calls = [_piece(event) for event in events if not isinstance(event, Text)]
        if calls:
            delta["tool_calls"] = calls
            self._called.add(index)
        translated = {**choice, "delta": delta}
        if choice.get("finish_reason") == "stop" and index in self._called:
            translated["finish_reason"] = "tool_calls"
        return translated


def _piece(event: BeginCall | Arguments) -> dict[str, Any]:
    if isinstance(event, BeginCall):
        return {
            "index": event.index,
            "id": f"call_{uuid4().hex[:24]}",
            "type": "function",
            "function": {"name": event.name, "arguments": ""},
        }
    return {"index": event.index, "function": {"arguments": event.text}}


def _joined_calls(pieces: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    calls: dict[int, dict[str, Any]] = {}
    for piece in pieces:
        index = piece["index"]
        if index not in calls:
            calls[index] = {key: value for key, value in piece.items() if key != "index"}
        else:
            calls[index]["function"]["arguments"] += piece["function"]["arguments"]
    return list(calls.values())
