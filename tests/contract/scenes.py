"""Converts the scene of a transcript to a script of the simulation."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from docker_model.testing import (
    Cut,
    Downloaded,
    Fail,
    Finish,
    Hang,
    InTurn,
    Pulled,
    Raw,
    Reasoning,
    Reply,
    SimulatedDocker,
    Sleep,
    Text,
    Usage,
    Warn,
)

if TYPE_CHECKING:
    from tests.support.transcripts import Transcript

# A replay waits for this fraction of the recorded pauses.
PACE = 0.25
ROUTES = {
    "status": "GET /engines/status",
    "df": "GET /engines/df",
    "ps": "GET /engines/ps",
    "unload": "POST /engines/unload",
    "configs": "GET /engines/_configure",
    "version": "GET /version",
}
CHAT = "POST /engines/v1/chat/completions"
# The runner of the recorder answered at every path and for every model; a real runner does not.
ANSWERED = {
    "run-host-with-path": CHAT.replace("/engines/v1/", "/engines/v1/engines/v1/"),
    "run-missing-pull-breaks-off": CHAT,
}


def simulate(transcript: Transcript, version: str) -> SimulatedDocker:
    """Return a simulation that behaves like the runner of a transcript."""
    if transcript.case.startswith(("absent-plugin", "broken-plugin")):
        return SimulatedDocker.broken("no-plugin")
    defaults = {"unload": {"unloaded_runners": 1}, "version": {"version": "v1.2.6"}}
    scene = defaults | transcript.scene
    replies = {
        route: Reply(reply["status"], reply.get("json", reply.get("body")), reply.get("type"))
        for route, reply in scene.get("http", {}).items()
    }
    replies |= {ROUTES[key]: Reply(body=_with_times(scene[key])) for key in ROUTES if key in scene}
    chat = scene.get("chat", [])
    for step in chat:
        if "json" in step:
            replies[CHAT] = Reply(body=step["json"])
    if transcript.case in ANSWERED:
        events = b"".join(_event({"content": step["content"]}) for step in chat).decode()
        replies[ANSWERED[transcript.case]] = Reply(body=events, content_type="text/event-stream")
    pull = [step for part in scene.get("pull", ()) for step in _pull_step(part)]
    missing = scene.get("missing", transcript.argv[-1:] if "pull" in scene else ())
    script = _echo if {"echo": True} in chat else [s for part in chat for s in _chat_step(part)]
    if any("tool_calls" in step for step in chat):
        script = InTurn(script, "after 1 tool round")
    return SimulatedDocker(
        scene.get("models"),
        script=script,
        pullable=dict.fromkeys(missing, pull),
        replies=replies,
        version=version,
    )


def _with_times(value: Any) -> Any:
    """Replace texts such as `NOW-90` with a time, here 90 seconds ago."""
    match value:
        case list():
            return [_with_times(item) for item in value]
        case dict():
            return {key: _with_times(item) for key, item in value.items()}
        case str() if value.startswith("NOW-"):
            return (datetime.now(UTC) - timedelta(seconds=int(value[4:]))).isoformat()
    return value


def _echo(prompt: str) -> list[Text]:
    return [Text("You said: " + prompt, size=4)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else value["repeat"] * value["times"]


def _event(delta: dict[str, Any]) -> bytes:
    event = {"choices": [{"index": 0, "delta": delta}]}
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def _chat_step(step: dict[str, Any]) -> list[Any]:
    match step:
        case {"content": content}:
            return [Text(_text(content), size=1 << 20)]
        case {"reasoning": text}:
            return [Reasoning(text, size=1 << 20)]
        case {"burst": [text, times]}:
            text = _text(text)
            return [Text(text * times, size=len(text))]
        case {"delta": _} | {"split": _} | {"tool_calls": _}:
            return _event_step(step)
        case {"usage": [prompt, completion]}:
            return [Usage(prompt, completion)]
        case {"finish": reason}:
            return [Finish(reason)]
        case {"no_done": True}:
            return [Finish(None)]
    return _runner_step(step)


def _event_step(step: dict[str, Any]) -> list[Any]:
    """Return raw bytes for an event for which a script has no step."""
    match step:
        case {"delta": delta}:
            return [Raw(_event(delta))]
        case {"tool_calls": calls}:
            return [Raw(_event({"tool_calls": calls})), Finish("tool_calls")]
    data = _event({"content": step["split"]})
    return [Raw(data[at : at + 7]) for at in range(0, len(data), 7)]


def _pull_step(step: dict[str, Any]) -> list[Any]:
    match step:
        case {"progress": [current, total]}:
            return [Downloaded(current, total)]
        case {"success": message}:
            return [Pulled(message)]
        case {"warning": message}:
            return [Warn(message)]
        case {"error": message}:
            return [Fail(message)]
    return _runner_step(step)


def _runner_step(step: dict[str, Any]) -> list[Any]:
    match step:
        case {"raw": text}:
            return [Raw(text.encode())]
        case {"sleep_ms": milliseconds}:
            return [Sleep(milliseconds / 1000 * PACE)]
        case {"hang": True}:
            return [Hang()]
        case {"cut": True}:
            return [Cut()]
        case {"http": reply}:
            return [Fail(reply["body"], reply["status"])]
        case {"json": _}:
            return []
    raise AssertionError(step)
