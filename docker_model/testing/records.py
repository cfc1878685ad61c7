"""Records of the commands and requests that a simulation received."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(eq=False, slots=True)
class Call:
    """One start of the command.

    Attributes:
        argv: The arguments of `docker`, `("model", "run", …)`.
        cwd: The working directory.
        env: The complete environment; `repr` omits it.
        pid: The process id of the simulated `docker`.
        plugin_pid: The process id of its child, the simulated plugin; `None` before its start.
        alive: Whether a process of the command still exists, including grandchildren.
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
        path: The path with its query.
        headers: The headers, with names in lower case.
        body: The JSON value of the body, or `None`.
        size: The size of the body in bytes.
        call: The command that sent the request; `None` for other clients.
        complete: Whether the reply was sent completely. A client can receive its end earlier.
        client_gone: Whether the client closed the connection before the end of the reply.
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
        """The text of the last message if this is a chat request, else `None`."""
        if not self.path.endswith("/chat/completions") or "x-preload-only" in self.headers:
            return None
        match self.body:
            case {"messages": [*_, {"content": str(text)}]}:
                return text
            case {"messages": [*_, {"content": list(parts)}]}:
                return "".join(part.get("text", "") for part in parts if isinstance(part, dict))
            case {"messages": [*_, {}]}:
                return ""
        return None


class Prompt(str):
    """The argument of a script function: the text of the last message, with its request.

    Attributes:
        request: The request.
        body: The body of the request, with `model`, `messages` and other parameters.
    """

    __slots__ = ("body", "request")

    request: Request
    body: dict[str, Any]

    def __new__(cls, request: Request) -> Self:
        """Create the prompt of a chat request."""
        prompt = super().__new__(cls, request.prompt or "")
        prompt.request, prompt.body = request, request.body
        return prompt

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All messages of the conversation."""
        return list(self.body["messages"])

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tools that the model can call."""
        return self.body.get("tools") or []

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema of the answer, or `None`."""
        response_format: dict[str, Any] = self.body.get("response_format") or {}
        return (response_format.get("json_schema") or response_format).get("schema")
