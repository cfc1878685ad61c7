"""A chat request and its streamed answer, printed as the plugin prints it."""

from __future__ import annotations

from .faults import play_comment
from .gojson import JsonError, loads
from .http import CutError, Reply
from .process import Canceled
from .texts import err, out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .session import Session

LONGEST_LINE = 64 * 1024  # of Go's bufio.Scanner, the line's end included
MOST_TOOL_ROUNDS = 10


class ChatError(Exception):
    """The answer ended too early; the text is the CLI's own."""


class Chat:
    """One prompt and its answer."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._features = session.features
        self._state = ""
        self._usage: dict[str, int] | None = None
        self._finish = ""
        self._calls: dict[int, dict[str, Any]] = {}

    def run(self, path: str, model: str, content: Any) -> None:
        """Ask, and print the answer up to its last newline.

        Args:
            path: `/engines/v1/chat/completions`, or what `--openaiurl` makes of it.
            model: The model's name.
            content: The prompt: text, or a list of parts when there are images.

        Raises:
            ChatError: For everything that ends an answer too early.
            QueryError: The request did not get through.
            Unavailable: HTTP 503.
        """
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        rounds = 0
        while True:
            self._state, self._finish, self._calls = "", "", {}
            body = {"model": model, "messages": messages, "stream": True}
            reply = self._session.client.request("POST", path, body, cancel=True)
            if reply.status != 200:  # noqa: PLR2004 - HTTP's own number
                msg = f"error response: status={reply.status} body={reply.read()}"
                raise ChatError(msg)
            self._read(reply)
            if self._finish != "tool_calls" or not self._calls:
                break
            rounds += 1
            if rounds >= MOST_TOOL_ROUNDS:
                msg = f"tool call loop exceeded {MOST_TOOL_ROUNDS} iterations"
                raise ChatError(msg)
            messages += self._tool_messages()
        if self._usage and self._features.usage_line:
            numbers = (
                self._usage.get(key, 0)
                for key in ("prompt_tokens", "completion_tokens", "total_tokens")
            )
            out("\n\nToken usage: {} prompt + {} completion = {} total".format(*numbers))

    def _tool_messages(self) -> list[dict[str, Any]]:
        # Without --websearch the plugin knows no tool, and says so to the model.
        calls = [self._calls[index] for index in sorted(self._calls)]
        answers = [
            {
                "role": "tool",
                "content": f"unknown tool: {call['function']['name']}",
                "tool_call_id": call["id"],
            }
            for call in calls
        ]
        return [{"role": "assistant", "tool_calls": calls}, *answers]

    def _read(self, reply: Reply) -> None:
        lines = _Lines(reply)
        try:
            if self._features.plain_lines_shown:
                lines.skip_progress()
                events = reply.content_type.startswith("text/event-stream")
                if not (events or lines.start(5) == b"data:"):
                    self._whole(lines.rest())
                    return
            self._events(lines)
        except _TooLongError:
            msg = "error reading response stream: bufio.Scanner: token too long"
            raise ChatError(msg) from None
        except CutError:
            msg = "error reading response stream: unexpected EOF"
            raise ChatError(msg) from None
        except Canceled:
            why = "context canceled"
            if reply.untouched and self._features.plain_lines_shown:
                peer = self._session.client.address
                why = f"read tcp {reply.own_address()}->{peer}: use of closed network connection"
            msg = f"error reading response stream: {why}"
            raise ChatError(msg) from None
        finally:
            reply.close()

    def _events(self, lines: _Lines) -> None:
        while (line := lines.next()) not in (None, b"data: [DONE]"):
            if line.startswith(b": "):
                play_comment(line, self._session.plugin)
            elif line.startswith(b"data: "):
                self._event(line[6:].decode("utf-8", "replace"))

    def _whole(self, text: str) -> None:
        try:
            reply = loads(text)
        except JsonError as error:
            msg = f"error parsing response: {error}"
            raise ChatError(msg) from None
        for choice in reply.get("choices", ())[:1]:
            out(choice["message"].get("content") or "")
        self._usage = reply.get("usage") or self._usage

    def _event(self, text: str) -> None:
        try:
            event = loads(text)
        except JsonError as error:
            msg = f"error parsing stream response: {error}"
            raise ChatError(msg) from None
        self._usage = event.get("usage") or self._usage
        for choice in (event.get("choices") or ())[:1]:
            self._finish = choice.get("finish_reason") or self._finish
            delta = choice.get("delta") or {}
            if self._features.tool_calls_answered:
                self._gather(delta.get("tool_calls") or ())
            self._think(delta.get("reasoning_content") or "")
            self._say(delta.get("content") or "")

    def _gather(self, parts: Any) -> None:
        for part in parts:
            empty = {"id": "", "type": "function", "index": part.get("index", 0)}
            call = self._calls.setdefault(
                part.get("index", 0), {**empty, "function": {"name": "", "arguments": ""}}
            )
            call["id"] = part.get("id") or call["id"]
            function = part.get("function") or {}
            call["function"]["name"] = function.get("name") or call["function"]["name"]
            call["function"]["arguments"] += function.get("arguments") or ""

    def _think(self, text: str) -> None:
        if not text:
            return
        if self._state == "content":
            out("\n\n")
        if self._state != "reasoning":
            out("Thinking:\n")
        self._state = "reasoning"
        out(text)

    def _say(self, text: str) -> None:
        if not text:
            return
        if self._state == "reasoning":
            out("\n\n--\n\n" if self._features.usage_line else "\n\n")
        self._state = "content"
        out(text)


class _TooLongError(Exception):
    pass


class _Lines:
    """The body line by line, as they arrive."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._parts: list[bytes] = []
        self._buffer = b""
        self._open = True

    def _more(self) -> bool:
        if not self._open:
            return False
        data = self._reply.chunk()
        self._open = bool(data)
        self._buffer += data
        return self._open

    def start(self, size: int) -> bytes:
        """The next bytes, without taking them."""
        while len(self._buffer) < size and self._more():
            pass
        return self._buffer[:size]

    def next(self) -> bytes | None:
        """The next line without its end; `None` after the last."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched >= LONGEST_LINE:
                raise _TooLongError
            if not self._more():
                line, self._buffer = self._buffer, b""
                return line.rstrip(b"\r") or None
        if end >= LONGEST_LINE:
            raise _TooLongError
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line.removesuffix(b"\r")

    def rest(self) -> str:
        while self._more():
            pass
        return self._buffer.decode("utf-8", "replace")

    def skip_progress(self) -> None:
        """Show plain lines that come before the answer on stderr, as the CLI does."""
        while (first := self.start(1)) and first not in (b"{", b":"):
            if self.start(5) == b"data:":
                return
            line = self.next()
            if line:
                err(line.decode("utf-8", "replace") + "\n")
