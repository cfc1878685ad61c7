"""What a simulation remembers of what happened to it."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


REMEMBERED = 10_000
REMEMBERED_BYTES = 64 * 1024 * 1024


@dataclass(eq=False, slots=True)
class Call:
    """One start of the command.

    Attributes:
        argv: The words after the command's own name, `("model", "run", …)`.
        cwd: The directory it ran in.
        env: Its whole environment; not shown by `repr`.
        pid: The process that was started, which plays `docker`.
        plugin_pid: Its child, which plays the plugin; `None` before it is there.
        alive: Whether any process of it is left, grandchildren included.
    """

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str] = field(repr=False)
    pid: int
    plugin_pid: int | None = None
    alive: bool = True


@dataclass(eq=False, slots=True)
class Request:
    """One request to the simulated runner.

    Attributes:
        method: `GET`, `POST`, …
        path: With its query.
        headers: Names in lower case.
        body: The JSON value, `None` without one.
        size: Its bytes.
        call: The command that it came from; `None` for any other client.
        complete: Whether the reply was given to its end, which a client may know before this.
        client_gone: The client hung up before that.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: Any = None
    size: int = 0
    call: Call | None = field(default=None, repr=False)
    complete: bool = False
    client_gone: bool = False

    @property
    def prompt(self) -> str | None:
        """The text of the last message, if this asks a model for an answer."""
        if not self.path.endswith("/chat/completions") or "x-preload-only" in self.headers:
            return None
        parts = self._parts()
        return None if parts is None else "".join(part.get("text", "") for part in parts)

    @property
    def images(self) -> tuple[str, ...]:
        """The pictures of the last message, as `data:` URLs."""
        parts = self._parts() or ()
        return tuple(part["image_url"]["url"] for part in parts if "image_url" in part)

    def _parts(self) -> list[dict[str, Any]] | None:
        match self.body:
            case {"messages": [*_, {"content": str(text)}]}:
                return [{"text": text}]
            case {"messages": [*_, {"content": list(parts)}]}:
                return [part for part in parts if isinstance(part, dict)]
            case {"messages": [*_, {}]}:
                return []
        return None


@dataclass(slots=True)
class Memory:
    """What happened so far; guarded by `changed`, which is notified of everything new."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    requests: deque[Request] = field(default_factory=deque)
    alive: list[Call] = field(default_factory=list)
    plugins: int = 0
    prompts: int = 0
    gone: int = 0
    errors: list[Exception] = field(default_factory=list)
    _bytes: int = 0

    def remember(self, request: Request) -> None:
        """Add a request, and forget the oldest when there are too many or too large ones."""
        self.requests.append(request)
        self.prompts += request.prompt is not None
        self._bytes += request.size
        while self._bytes > REMEMBERED_BYTES or len(self.requests) > REMEMBERED:
            self._bytes -= self.requests.popleft().size
        self.changed.notify_all()


class Prompt(str):
    """The text of the last message, which a script gets, with the request that it came in.

    Attributes:
        request: The request.
        body: Its body, as `model`, `messages` and whatever else the client has sent.
    """

    __slots__ = ("body", "request")

    request: Request
    body: dict[str, Any]

    def __new__(cls, request: Request) -> Self:
        """Take the text out of a request to a chat."""
        prompt = super().__new__(cls, request.prompt or "")
        prompt.request, prompt.body = request, request.body
        return prompt

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All messages of the conversation."""
        messages: list[dict[str, Any]] = self.body["messages"]
        return messages

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tools that the model may call."""
        return self.body.get("tools") or []

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema that the answer is held to; `None` without one."""
        wanted = self.body.get("response_format") or {}
        schema: dict[str, Any] | None = (wanted.get("json_schema") or wanted).get("schema")
        return schema
