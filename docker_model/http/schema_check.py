"""Validate values against the schemas of `docker_model.http.tool_schema`, without I/O.

For answers whose schema no grammar has enforced. Only the keywords that `grammar_schema` keeps
are supported; string formats are not checked.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from docker_model.http.tool_schema import shown_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["problem_of"]

_Problem = tuple[tuple[str, ...], str]  # the path of a value, and the error in it

# The message of each limit, and the comparison of a number or a length with the limit.
_LIMITS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": ("must be at least {}", operator.ge),
    "maximum": ("must be at most {}", operator.le),
    "exclusiveMinimum": ("must be more than {}", operator.gt),
    "exclusiveMaximum": ("must be less than {}", operator.lt),
    "minItems": ("must have at least {} items", operator.ge),
    "maxItems": ("must have at most {} items", operator.le),
    "minLength": ("must have at least {} characters", operator.ge),
    "maxLength": ("must have at most {} characters", operator.le),
}
_TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
    "null": (type(None),),
}


def problem_of(value: Any, schema: Mapping[str, Any]) -> str:
    """Return the errors in a value as text for the model; empty if it matches the schema."""
    problems = list(_problems(value, schema, schema.get("$defs", {}), ()))
    return "; ".join(dict.fromkeys(_in_words(problem) for problem in problems))


def _in_words(problem: _Problem) -> str:
    place, message = problem
    return f"{'.'.join(place)}: {message}" if place else message


def _problems(
    value: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any], place: tuple[str, ...]
) -> Iterator[_Problem]:
    if "$ref" in schema:
        _, _, name = schema["$ref"].rpartition("/")
        yield from _problems(value, definitions.get(name, {}), definitions, place)
    elif "const" in schema or "enum" in schema:
        allowed = [schema["const"]] if "const" in schema else schema["enum"]
        if not any(_same(value, option) for option in allowed):
            yield place, f"must be {' or '.join(map(shown_json, allowed))}"
    elif "anyOf" in schema:
        yield from _nearest(
            [list(_problems(value, branch, definitions, place)) for branch in schema["anyOf"]]
        )
    elif "allOf" in schema:
        for part in schema["allOf"]:
            yield from _problems(value, part, definitions, place)
    elif "type" in schema and not _is_of_type(value, schema["type"]):
        yield place, f"must be of type {schema['type']}"
    else:
        yield from _inner_problems(value, schema, definitions, place)


def _nearest(branches: list[list[_Problem]]) -> list[_Problem]:
    """Return the problems of the branch that a value matches best; empty if a branch matches.

    If several branches match equally well, their messages are joined.
    """
    if not all(branches):
        return []
    depth = max(len(problems[0][0]) for problems in branches)
    nearest = [problems for problems in branches if len(problems[0][0]) == depth]
    if len(nearest) == 1:
        return nearest[0]
    places = {problems[0][0] for problems in nearest}
    messages = " or ".join(dict.fromkeys(problems[0][1] for problems in nearest))
    return [(places.pop(), messages)] if len(places) == 1 else nearest[0]


def _inner_problems(
    value: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any], place: tuple[str, ...]
) -> Iterator[_Problem]:
    measure = len(value) if isinstance(value, (str, list)) else value
    for name in _LIMITS.keys() & schema.keys():
        words, holds = _LIMITS[name]
        if not holds(measure, schema[name]):
            yield place, words.format(schema[name])
    if isinstance(value, dict):
        yield from _object_problems(value, schema, definitions, place)
    elif isinstance(value, list):
        heads = schema.get("prefixItems", [])
        if heads and len(value) != len(heads):
            yield place, f"must have {len(heads)} items"
        for number, inner in enumerate(value):
            item = heads[number] if number < len(heads) else schema.get("items", {})
            yield from _problems(inner, item, definitions, (*place, str(number)))


def _object_problems(
    value: dict[str, Any],
    schema: Mapping[str, Any],
    definitions: Mapping[str, Any],
    place: tuple[str, ...],
) -> Iterator[_Problem]:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield (*place, name), "is missing"
    more = schema.get("additionalProperties", {})
    for name, inner in value.items():
        if name not in known and more is False:
            yield (*place, name), "is not in the schema"
        else:
            inner_schema = known.get(name, more)
            yield from _problems(inner, inner_schema or {}, definitions, (*place, name))


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _is_of_type(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, _TYPES.get(kind, ()))
