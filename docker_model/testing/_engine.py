"""The simulated engine: what llama.cpp counts and refuses, and how its replies are sent."""

from __future__ import annotations

import base64
import json
import re
import struct
import sys
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from docker_model.testing import steps
from docker_model.testing._server import JSON, PLAIN
from docker_model.testing.models import CREATED, POOLING, Template, template_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from docker_model.testing._server import Exchange
    from docker_model.testing._session import RunnerReply
    from docker_model.testing.models import StoredModel

    Body: TypeAlias = Mapping[str, Any]  # of a request or reply
    Client: TypeAlias = Exchange | RunnerReply

FILE = "/models/blobs/sha256/model.gguf"  # the engine's name of every model is its file
PHYSICAL_BATCH = 512
FRAME = {"id": "chatcmpl-1", "created": CREATED, "model": FILE}
EMPTY_MESSAGE: dict[str, Any] = {"role": "assistant", "content": None}
BATCH = 2048  # tokens of the prompt
PIECE_SIZE, MAX_PIECES = 4, 1000  # characters of a piece, and pieces of a text
TOKENS_PER_SECOND = 100.0
MESSAGE_TOKENS, ANSWER_TOKENS = 4, 3
SPECIAL_TOKENS = 2  # such as [CLS] and [SEP]
_TOKEN = re.compile(r"\w+|[^\w\s]")
_KINDS = {400: "invalid_request_error", 500: "server_error", 501: "not_supported_error"}
_PARSER = "Unable to generate parser for this template. Automatic parser generation failed: "


class EngineError(Exception):
    """A refusal by the engine; `reply` is what the client receives."""

    def __init__(self, message: str, status: int = 400, **fields: object) -> None:
        super().__init__(message)
        error = {"code": status, "message": message, "type": _KINDS[status], **fields}
        self.reply = steps.Reply(status, {"error": error})


def count_tokens(value: object) -> int:
    """Return the number of words and punctuation marks of a text, or of a value as JSON."""
    return len(_TOKEN.findall(value if isinstance(value, str) else json.dumps(value)))


def count_chat(body: Body, model: StoredModel, template: str | Template) -> int:
    """Return the tokens of a chat, or refuse it. `template` is for models without their own."""
    template = template_named(model.model.template or template)
    for error in _complaints(body, model, template):
        raise error
    messages = _prepared(body["messages"], template)
    for complaint, refuses in template.rules:
        if refuses(messages):
            msg = f"{_PARSER}{template.source[:40]}...\n^\nError: Jinja Exception: {complaint}"
            raise EngineError(msg)
    tools = body.get("tools") if "tools" in template.source else None
    shown: list[Any] = [tools] if tools else []
    shown += [_text(message) for message in messages]
    shown += [message["tool_calls"] for message in messages if message.get("tool_calls")]
    variables = body.get("chat_template_kwargs") or {}
    if variables.get("enable_thinking") is False and "enable_thinking" in template.source:
        shown.append("<>")  # no thoughts
    return ANSWER_TOKENS + MESSAGE_TOKENS * len(messages) + sum(map(count_tokens, shown))


def check_chat(count: int, model: StoredModel, config: Mapping[str, Any]) -> None:
    """Refuse a model that does not chat, and a prompt that leaves no room for an answer."""
    if model.model.kind != "chat":
        msg = "the current context does not support logits computation. skipping"
        raise EngineError(msg, 500)
    size = model.context_size(config)
    if size is not None and count >= size:
        msg = f"request ({count} tokens) exceeds the available context size ({size} tokens)"
        kind = "exceed_context_size_error"
        raise EngineError(msg, type=kind, n_prompt_tokens=count, n_ctx=size)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    parts = [{"text": content}] if isinstance(content, str) else content
    return "\n".join(part.get("text", "<image>") for part in parts)


def _prepared(messages: Sequence[dict[str, Any]], template: Template) -> list[dict[str, Any]]:
    """Return the messages in the form that llama.cpp passes to the template."""
    roles = {"developer": "system"}
    messages = [{**turn, "role": roles.get(turn["role"], turn["role"])} for turn in messages]
    if not template.system and len(messages) > 1 and messages[0]["role"] == "system":
        system, first, *messages = messages
        messages = [{**first, "content": f"{_text(system)}\n{_text(first)}"}, *messages]
    return messages


def from_messages_api(body: Body) -> Body:
    """Convert a request of the Messages API, which counts tokens, to the body of a chat.

    llama.cpp accepts OpenAI's messages there, but tools have Anthropic's form.
    """
    names = {"input_schema": "parameters"}
    tools = [
        {"type": "function", "function": {names.get(key, key): tool[key] for key in tool}}
        for tool in body.get("tools") or ()
    ]
    return {**body, "tools": tools}


def _complaints(body: Body, model: StoredModel, template: Template) -> Iterator[EngineError]:
    messages = body["messages"]
    for message in messages:
        calls = message.get("tool_calls") or ()
        if not message.keys() & {"content", "tool_calls"}:
            yield EngineError("Message must contain either 'content' or 'tool_calls'!")
        keys = ("role", "reasoning_content", "name", "tool_call_id")
        texts = [message.get(key, "") for key in keys] + [call.get("id", "") for call in calls]
        if not all(isinstance(text, str) for text in texts):
            why = "[json.exception.type_error.302] type must be string, but is null"
            yield EngineError(f"Failed to parse messages: {why}", 500)
        yield from _of_content(message.get("content"), model)
        for call in calls if "tools" in template.source else ():
            yield from _of_arguments(call["function"]["arguments"])
    roles = [message["role"] for message in messages]
    if roles[-2:] == ["assistant"] * 2:
        yield EngineError("Cannot have 2 or more assistant messages at the end of the list.")
    if roles[-1:] == ["assistant"] and messages[-1].get("tool_calls"):
        yield EngineError("Cannot continue an assistant message that contains tool calls.")
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        yield EngineError(f"Invalid tool_choice: {choice}")


def _of_content(content: object, model: StoredModel) -> Iterator[EngineError]:
    images = not model.strict or model.model.vision
    accepted = {"text": True, "image_url": images, "image": images, "input_audio": not model.strict}
    for kind in [part["type"] for part in content] if isinstance(content, list) else ():
        if kind not in accepted:
            yield EngineError("unsupported content[].type")
        elif not accepted[kind]:
            hint = "hint: if this is unexpected, you may need to provide the mmproj"
            name = "audio" if kind == "input_audio" else "image"
            yield EngineError(f"{name} input is not supported - {hint}", 500)


def _of_arguments(arguments: object) -> Iterator[EngineError]:
    try:
        json.loads(arguments) if isinstance(arguments, str) else None
    except ValueError as error:
        why = f"[json.exception.parse_error.101] {error}"
        yield EngineError(f"Failed to parse tool call arguments as JSON: {why}", 500)


class Limits:
    """The limits of a model that is loaded for embeddings or reranking."""

    def __init__(self, model: StoredModel, mode: str, config: Mapping[str, Any]) -> None:
        flags = " ".join(config.get("runtime-flags") or ()).replace("=", " ").split()
        values = dict(pairwise(flags))
        pooling = POOLING[model.model.kind] if model.strict else "mean"
        self.pooling = values.get("--pooling", "rank" if mode == "reranking" else pooling)
        batch = int(values.get("--ubatch-size", PHYSICAL_BATCH))
        self._size = min(batch, model.model.trained_context)

    def count(self, texts: Sequence[str]) -> dict[str, int]:
        """Return the usage of texts, or refuse a text that is too long."""
        counts = [count_tokens(text) + SPECIAL_TOKENS for text in texts]
        if max(counts, default=0) > self._size:
            hint = f"increase the physical batch size (current batch size: {self._size})"
            msg = f"input ({max(counts)} tokens) is too large to process. {hint}"
            raise EngineError(msg, 500)
        return {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}


def embeddings(body: Body, limits: Limits, embed: Callable[[str], Sequence[float]]) -> Body:
    """Return the reply with the vectors of texts, or refuse the request."""
    if limits.pooling == "none":
        msg = "Pooling type 'none' is not OAI compatible. Please use a different pooling type"
        raise EngineError(msg)
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    usage = limits.count(texts)
    data: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        vector: Any = [float(number) for number in embed(text)]
        if limits.pooling == "rank":  # a reranker computes only scores
            vector = [0.0] * len(vector)
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    return {"object": "list", "model": FILE, "data": data, "usage": usage}


def rank(body: Body, limits: Limits, score: Callable[[str, str], float]) -> Body:
    """Return the reply with the scores of documents, best first, or refuse the request."""
    if limits.pooling != "rank":
        msg = "This server does not support reranking. Start it with `--reranking`"
        raise EngineError(msg, 501)
    query, documents = body["query"], body["documents"]
    usage = limits.count([f"{query} {document}" for document in documents])
    results = [
        {"index": index, "relevance_score": float(score(query, document))}
        for index, document in enumerate(documents)
    ]
    results.sort(key=lambda result: -result["relevance_score"])
    results = results[: body.get("top_n", len(results))]
    return {"model": FILE, "object": "list", "usage": usage, "results": results}


def shared_words(query: str, document: str) -> float:
    """Return the default score: -5 if the document has no word of the query, 5 if it has all."""
    words, others = ({*_TOKEN.findall(text.lower())} for text in (query, document))
    return 10 * len(words & others) / (len(words) or 1) - 5


def send_reply(client: Client, reply: steps.Reply) -> None:
    text = isinstance(reply.body, str)
    kind = reply.content_type or (PLAIN if text else JSON)
    client.reply(reply.status, kind, reply.body.encode() if text else _dump(reply.body))


class Stream:
    """A streamed reply; its head is sent with the first piece, so that a `Fail` can precede it."""

    content_type = JSON

    def __init__(self, client: Client) -> None:
        self._client = client
        self._streamed = True
        self._begun = False

    def play(self, script: Iterable[steps.RunnerStep]) -> None:
        if not any(map(self._is_last, script)):
            self._send(b"")

    def _begin(self) -> None:
        if self._streamed and not self._begun:
            self._begun = True
            self._client.begin(self.content_type)

    def _send(self, data: bytes) -> None:
        """Send a piece; an empty piece ends the reply."""
        self._begin()
        if self._streamed:
            self._client.piece(data)

    def _is_last(self, step: Any) -> bool:
        """Play a step of the runner or the command. Return whether it ends the reply."""
        match step:
            case steps.Raw(data):
                self._send(data)
                return False
            case steps.Hang():
                self._begin()
                self._client.wait(None)
            case steps.Cut():
                self._begin()
                self._client.close_connection = True
            case steps.Fail(message, status) if self._begun:
                self._send(self._error(message, status))
                self._send(b"")
            case steps.Fail(message, status):
                kind = JSON if message.startswith("{") else PLAIN
                send_reply(self._client, steps.Reply(status, message, kind))
            case steps.Reply():
                send_reply(self._client, step)
            case steps.Sleep(seconds):
                self._client.wait(seconds)
                return False
            case _:
                self._client.play(step)
                return False
        return True

    def _error(self, message: str, _status: int) -> bytes:
        """Return an error in the form for the middle of a stream."""
        return _dump({"type": "error", "message": message}) + b"\n"


class ChatReply(Stream):
    """One answer, streamed or complete, depending on `stream` in the request."""

    content_type = "text/event-stream"

    def __init__(self, client: Client, body: Body, prompt_tokens: int) -> None:
        super().__init__(client)
        self._streamed = bool(body.get("stream"))
        self._choices = body.get("n") or 1
        self._prompt_tokens = prompt_tokens
        self._include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self._return_progress = bool(body.get("return_progress"))
        self._role_sent = False
        self._texts: dict[str, list[str]] = {}  # by field of the message
        self._calls: list[dict[str, Any]] = []
        self._pieces = 0
        limit = body.get("max_tokens")
        self._max_pieces = limit if isinstance(limit, int) and limit > 0 else sys.maxsize
        self._usage: steps.Usage | None = None
        self._finish: str | None = "stop"

    def play(self, script: Iterable[steps.Step]) -> None:
        for step in script:
            # Progress begins after a pause, which simulates the loading of the model.
            if self._return_progress and not isinstance(step, steps.Sleep):
                self._progress()
            if self._play(step):
                return
            if self._pieces == self._max_pieces:
                self._finish = "length"
                break
        if not self._streamed:
            texts = {field: "".join(written) for field, written in self._texts.items()}
            message: dict[str, Any] = {**EMPTY_MESSAGE, **texts}
            message |= {"tool_calls": self._calls} if self._calls else {}
            choice = {"finish_reason": self._finish, "message": message}
            choices = [{"index": index, **choice} for index in range(self._choices)]
            reply = {**FRAME, "object": "chat.completion", "choices": choices, **self._counts()}
            send_reply(self._client, steps.Reply(body=reply))
            return
        if self._finish is not None:
            self._delta({}, finish_reason=self._finish)
            if self._usage or self._include_usage:
                self._event({"choices": [], **self._counts()})
            self._send(b"data: [DONE]\n\n")
        self._send(b"")

    def _progress(self) -> None:
        self._return_progress = False
        self._role_sent = True
        total = self._prompt_tokens
        for done in [*range(BATCH, total, BATCH), total]:
            progress = {"total": total, "cache": 0, "processed": done}
            choice = {"index": 0, "finish_reason": None, "delta": EMPTY_MESSAGE}
            self._event({"choices": [choice], "prompt_progress": progress})

    def _play(self, step: steps.Step) -> bool:
        """Play one step. Return whether it ends the reply."""
        match step:
            case steps.Text(text, size):
                self._write("content", text, size)
            case steps.Reasoning(text, size):
                self._write("reasoning_content", text, size)
            case steps.ToolCall():
                self._call(step)
            case steps.Event(data):
                self._event(data)
            case steps.Usage():
                self._usage = step
            case steps.Finish(reason):
                self._finish = reason
            case _:
                return self._is_last(step)
        return False

    def _write(self, field: str, text: str, size: int | None) -> None:
        written = self._texts.setdefault(field, [])
        for piece in self._tokens(text, size):
            self._delta({field: piece})
            written.append(piece)

    def _tokens(self, text: str, size: int | None = None) -> Iterator[str]:
        """Yield pieces of a text up to `max_tokens`; a piece counts as a token."""
        size = size or max(PIECE_SIZE, -(-len(text) // MAX_PIECES))
        for at in islice(range(0, len(text), size), self._max_pieces - self._pieces):
            self._pieces += 1
            yield text[at : at + size]

    def _call(self, call: steps.ToolCall) -> None:
        text, index = call.arguments, len(self._calls)
        text = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
        tokens = list(self._tokens(text))
        start = {"id": call.id, "type": "function"}
        self._calls.append({**start, "function": {"name": call.name, "arguments": "".join(tokens)}})
        self._finish = "tool_calls"
        function = {"name": call.name, "arguments": ""}
        self._delta({"tool_calls": [{"index": index, **start, "function": function}]})
        for piece in tokens:
            self._delta({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})

    def _delta(self, delta: dict[str, Any], finish_reason: str | None = None) -> None:
        deltas = [delta] if self._role_sent else [EMPTY_MESSAGE, delta]
        self._role_sent = True
        for part in deltas:
            end = finish_reason if part is delta else None
            self._event({"choices": [{"index": 0, "finish_reason": end, "delta": part}]})

    def _event(self, event: Mapping[str, Any]) -> None:
        if self._streamed:
            chunk = {**FRAME, "object": "chat.completion.chunk", **event}
            self._send(b"data: " + _dump(chunk) + b"\n\n")

    def _counts(self) -> dict[str, Any]:
        usage = self._usage or steps.Usage(self._prompt_tokens, self._pieces)
        prompt, completion, total = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
        total = prompt + completion if total is None else total
        counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
        speed = {"predicted_n": completion, "predicted_per_second": TOKENS_PER_SECOND}
        return {"usage": counts, "timings": {"prompt_n": prompt, **speed}}

    def _error(self, message: str, status: int) -> bytes:
        error = {"code": status, "message": message, "type": "server_error"}
        return b"data: " + _dump({"error": error}) + b"\n\n"


def pull_steps(
    script: Iterable[steps.PullStep], pulled: Callable[[], object]
) -> Iterator[steps.RunnerStep]:
    """Convert the steps of a pull. Call `pulled` before the last line: the client uses it then."""
    for step in script:
        match step:
            case steps.Downloaded(current, total, layer):
                part = {"id": layer, "size": total, "current": current}
                line = {"type": "progress", "total": total, "pulled": current, "layer": part}
            case steps.Warn(message):
                line = {"type": "warning", "message": message}
            case steps.Pulled(message):
                pulled()
                line = {"type": "success", "message": message}
            case _:
                yield step
                continue
        yield steps.Raw(_dump(line) + b"\n")


def _dump(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")
