"""Simulated models for tests of chats: a function of the request body returns the answer."""

from __future__ import annotations

import json
import re

from docker_model.testing import Finish, Reasoning, Reply, SimulatedDocker, Text, ToolCall, Usage


def simulated(script):
    """Return a simulation whose models answer each chat with a message of the API.

    The message can have `prompt_tokens` and `finish_reason`, or be an `error` with a `status`.
    """
    return SimulatedDocker(None, script=lambda prompt: steps(script(prompt.body)))


def steps(message):
    if "status" in message:
        yield Reply(message["status"], message["error"])
    if "reasoning_content" in message:
        yield Reasoning(message["reasoning_content"])
    if "content" in message:
        yield Text(message["content"])
    for call in message.get("tool_calls", ()):
        function = call["function"]
        yield ToolCall(function["name"], function["arguments"], call["id"])
    if "finish_reason" in message:
        yield Finish(message["finish_reason"])
    if "prompt_tokens" in message:
        yield Usage(message["prompt_tokens"], 1)


def bodies(docker):
    """Return the bodies of the chat requests that a simulation received."""
    return [request.body for request in docker.requests if request.prompt is not None]


def obedient(body):
    """Answer as the standard suites expect of a model."""
    question = text_of(body["messages"])
    response_format = body.get("response_format", {})
    if response_format.get("type") == "json_schema":
        schema = response_format["json_schema"]["schema"]
        return {"content": json.dumps(instance(schema, question, schema))}
    if response_format.get("type") == "json_object":
        return {"content": json.dumps(dict.fromkeys(re.findall(r"'(\w+)'", question), "well"))}
    tools, choice = body.get("tools"), body.get("tool_choice", "auto")
    assert choice in ("auto", "none", "required")  # llama.cpp knows no others
    answered = body["messages"][-1]["role"] == "tool"
    if tools and choice != "none" and (choice == "required" or not answered):
        function = tools[0]["function"]
        schema = function.get("parameters", {})
        arguments = json.dumps(instance(schema, question, schema), ensure_ascii=False)
        call = {"name": function["name"], "arguments": arguments}
        return {"tool_calls": [{"type": "function", "id": "abc123", "function": call}]}
    text = f"Hello! I hear you: {question}"
    for stop in body.get("stop", ()):
        text = text.partition(stop)[0]
    return {"content": text}


def text_of(messages):
    content = next(message["content"] for message in messages[::-1] if message["role"] == "user")
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


def instance(schema, question, root):
    """Return a value that matches the schema."""
    if "$ref" in schema:
        target = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return instance(target, question, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    choices = [choice for several in ("anyOf", "allOf") for choice in schema.get(several, ())]
    if choices:
        return instance(choices[0], question, root)
    match schema.get("type"):
        case "integer" | "number":
            return int((re.findall(r"\d+", question) or ["1"])[0])
        case "array":
            return [instance(schema.get("items", {}), question, root)]
        case "string":
            return (re.findall(r"'([^']+)'", question) or ["well"])[0]
    properties = schema.get("properties", {})
    return {name: instance(inner, question, root) for name, inner in properties.items()}
