"""Convert error replies to errors: the runner's plain text, and the engines' JSON."""

from __future__ import annotations

import json
import re
from typing import Any

from docker_model._transport.failure_table import (
    CAUSES,
    ENDED_HINT,
    ENGINE_ENDS,
    LOGS_HINT,
    NOT_A_CHAT_MODEL,
    START_HINT,
    Cause,
)
from docker_model._transport.failures import Failure
from docker_model.errors import (
    ContextLengthError,
    DockerModelError,
    GenerationError,
    InvalidRequestError,
    ModelLoadError,
    ModelNotFoundError,
    RunnerUnavailableError,
    UnsupportedParameterError,
)

POOLING_HINT = "`docker model configure --mode embedding {model} -- --pooling mean`"
ADDRESS_HINT = "use an address such as http://host:port, or none to discover the runner"
BAD_REQUEST, SERVER_ERROR, UNAVAILABLE = 400, 500, 503
_TEMPORARY = (429, 502, 503, 504)  # too many requests, or errors of a proxy
_SHOWN = 300  # characters of the engine's message in an error message
_NO_REASON = "no reason given"
_KEPT = 4000  # characters of it in `stderr` and `detail`


_WEB_PAGE = "the server at this address is not Docker Model Runner: it returned a web page"
_REASON = re.compile(r"^\s*[\w.: ]{0,80}?(?:Error|Exception): (?P<reason>.*\S)", re.MULTILINE)


def _rows(*rows: tuple[str, type[DockerModelError], str, str]) -> tuple[Cause, ...]:
    return tuple(Cause(re.compile(row[0], re.MULTILINE), *row[1:]) for row in rows)


_LARGEST_BODY = 10 << 20  # bytes; the runner's limit
_TOO_LARGE = "the request is larger than the runner's limit of 10 MiB"
_SEND_LESS = "send less text, or smaller images"
_TEMPLATE_OF = "the chat template of "
_TEMPLATE = _TEMPLATE_OF + "{model!r} rejected the conversation: {words}"
# Errors of chat templates, each with the rule that the conversation breaks. `Client` converts
# messages to a form that templates accept. These rows are for conversations without an
# acceptable form, and for the templates of other servers.
_COMPLAINTS = _rows(
    *(
        (
            rf"^status=(?:400|500)\n(?P<words>.*(?:{pattern}).*)",
            InvalidRequestError,
            _TEMPLATE,
            hint,
        )
        for pattern, hint in (
            (
                r"roles must alternate|user/assistant",
                "alternate the messages of the user and the assistant",
            ),
            (
                r"[Ss]ystem (?:message|role)|initial optional system",
                "send one system message before all others, or move it into the user's message",
            ),
            (r"[Tt]ool call IDs?", "set the id of each tool call to nine letters and digits"),
            (r"single tool-calls", "send one tool call per message, followed by its result"),
            (
                r"'name' must be provided|resolvable tool name|tool response",
                "set the name of the tool in each tool result",
            ),
            (r"[Nn]o user query|no first user message", "send a message with the role user"),
            (
                r"tool role|[Tt]ool message|tool outputs?\b|no previous assistant message",
                "send each tool result directly after its tool call",
            ),
            (
                r"[Uu]nsupported (?:\w+ )?content block|[Uu]nexpected (?:item|content) type",
                "send only text: this model's chat template does not support other content",
            ),
        )
    ),
    (
        r"JSON schema error at (?P<words>.*)",
        InvalidRequestError,
        "the engine does not support this JSON schema: {words}",
        "remove the unsupported part from the schema",
    ),
    (
        r"^status=[45]00\n(?P<words>.+)\n(?s:.*)(?:Jinja|raise_exc|[Cc]hat template|this template)",
        InvalidRequestError,
        _TEMPLATE,
        "check the messages against the template, which `docker model inspect {model}` shows",
    ),
)

# The patterns match a text of three parts: `status=…`, a line with the reason, and the body.
_CAUSES = (
    *ENGINE_ENDS,
    *_rows(
        (
            r"^status=\d+\n.*\n\s*<(?i:!doctype|html)",
            RunnerUnavailableError,
            _WEB_PAGE,
            ADDRESS_HINT,
        ),
    ),
    NOT_A_CHAT_MODEL,
    *_rows(
        (
            # Without a configuration for reranking, the runner uses the one for chats.
            r"does not support [Rr]eranking",
            InvalidRequestError,
            "the configuration of {model!r} sets another pooling than reranking needs",
            "`docker model configure --mode reranking {model}`, or set auto_configure=True",
        ),
        (
            r"Pooling type 'none'|does not support [Ee]mbeddings|not an? embedding model",
            InvalidRequestError,
            "{model!r} is a chat model, or is not configured for embeddings",
            f"{POOLING_HINT}, or use an embedding model such as ai/mxbai-embed-large",
        ),
        (
            r"input \(\d+ tokens\) is too large to process",
            ContextLengthError,
            "a text is longer than the engine's batch size",
            f"embed shorter texts, or {POOLING_HINT[:-1]} --ubatch-size {{enough}}`",
        ),
        (
            r"request too large|^status=413$",
            InvalidRequestError,
            _TOO_LARGE,
            _SEND_LESS,
        ),
    ),
    # The rows of the CLI's table for messages of the runner or the engine, which it forwards.
    *(
        cause
        for cause in CAUSES
        if cause.error
        in (ContextLengthError, ModelLoadError, ModelNotFoundError, RunnerUnavailableError)
    ),
    *_rows(
        (
            r"^status=404\n.*model.*(?:not found|does not exist)",
            ModelNotFoundError,
            "the model {model!r} does not exist on this server",
            "`docker model pull {model}`",
        ),
        (
            r"^status=(?:3\d\d|404|405)$",
            RunnerUnavailableError,
            "there is no Docker Model Runner at this address, or it does not support this request",
            ADDRESS_HINT,
        ),
        (
            r"^status=(?P<status>40[13])$",
            InvalidRequestError,
            "the server at this address rejected the request (HTTP {status})",
            "pass the correct key as api_key=; Docker Model Runner itself needs no key",
        ),
        (
            r"^status=429$",
            GenerationError,
            "the runner is too busy (HTTP 429)",
            "try again later, or lower max_concurrency",
        ),
        (
            r"(?:image|video) input is not supported",
            UnsupportedParameterError,
            "{model!r} does not accept images",
            "use a model that accepts images, such as ai/gemma3",
        ),
        (
            r"audio input is not supported",
            UnsupportedParameterError,
            "{model!r} does not accept audio",
            "use a model that accepts audio",
        ),
    ),
    *_COMPLAINTS,
    *_rows(
        (
            # "Failed to parse input at pos …" is about the model's answer, not the request.
            r"^status=\d+\n(?P<words>.*[Ff]ailed to parse (?!input\b).*)",
            InvalidRequestError,
            "the engine could not parse the request: {words}",
            "check the messages, tools and schema of the request",
        ),
        (
            r"produced output that does not match the expected|Failed to parse input at pos",
            GenerationError,
            "the engine could not parse a tool call that {model!r} generated",
            'try again, raise max_tokens, or set tool_calling="schema"',
        ),
        (
            r"^status=501\n(?P<words>.*)",
            UnsupportedParameterError,
            "the engine does not support this request: {words}",
            LOGS_HINT,
        ),
        (
            r"^status=4\d\d\n(?P<words>.*)",
            InvalidRequestError,
            "the engine rejected the request: {words}",
            LOGS_HINT,
        ),
        (
            r"^status=(?P<status>.*)\n(?P<words>.+)",
            GenerationError,
            "the engine failed (HTTP {status}): {words}",
            LOGS_HINT,
        ),
    ),
)


def name_reply(status: int, body: str, model: str, partial: str = "") -> DockerModelError:
    """Return the error for an error reply.

    Args:
        status: The HTTP status.
        body: The body: plain text, or an engine's JSON.
        model: The model name that the caller passed.
        partial: The text of the answer so far.
    """
    text = f"status={status}\n{_brief(_words(body)) or _NO_REASON}\n{body[:_KEPT]}"
    named = Failure("run", model, text, partial).match(_CAUSES)
    assert named is not None  # the last row matches every status
    return named


def is_complaint(error: DockerModelError) -> bool:
    """Whether the model's chat template rejected this form of the conversation."""
    return error.message.startswith(_TEMPLATE_OF)


def name_event(error: Any, model: str, partial: str) -> DockerModelError:
    """Return the error for an error event in a stream.

    Args:
        error: The `error` field of the event: an object or a string.
        model: The model name that the caller passed.
        partial: The text of the answer so far.
    """
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and code >= BAD_REQUEST else 500
    body = error if isinstance(error, str) else json.dumps({"error": error})
    return name_reply(status, body, model, partial)


def broken_off(model: str, partial: str, why: object) -> GenerationError:
    """Return the error for a connection that ended before the answer was complete."""
    msg = f"the answer of {model!r} is incomplete: {why}"
    return GenerationError(msg, hint=ENDED_HINT, partial=partial)


def lost(model: str, size: int, why: object) -> DockerModelError:
    """Return the error for a connection that ended before a reply arrived.

    Args:
        model: The model name that the caller passed.
        size: The size of the request in bytes. The runner closes the connection while it
            receives a request that is too large, and its reply is lost.
        why: The reason.
    """
    if size > _LARGEST_BODY:
        return InvalidRequestError(_TOO_LARGE, hint=_SEND_LESS)
    return broken_off(model, "", why)


def no_choices(model: str) -> GenerationError:
    """Return the error for a reply without an answer."""
    msg = f"the reply for {model!r} contains no answer: it has no choices"
    return GenerationError(msg, hint=LOGS_HINT)


def web_page() -> RunnerUnavailableError:
    """Return the error for an HTML page, which comes from another server."""
    return RunnerUnavailableError(_WEB_PAGE, hint=ADDRESS_HINT)


def no_connection(address: str) -> RunnerUnavailableError:
    """Return the error for a runner that no longer responds."""
    msg = f"Docker Model Runner does not respond at {address}"
    return RunnerUnavailableError(msg, hint=START_HINT)


def is_loading(status: int, body: str) -> bool:
    """Whether the engine is still loading the model."""
    return status == UNAVAILABLE and "loading" in body.lower()


def is_temporary(status: int, body: str) -> bool:
    """Whether an error is temporary, so that the same request can succeed soon.

    A 500 with an empty body comes from the runner's proxy: the engine had closed the connection
    that the proxy reused. A 500 with a text comes from the engine and is permanent.
    """
    empty_500 = status == SERVER_ERROR and not body.strip()
    return status in _TEMPORARY or empty_500


def _words(body: str) -> str:
    """Return the engine's message from its JSON, or the whole plain text."""
    try:
        content = json.loads(body)
    except ValueError:
        return body
    if isinstance(content, dict):
        content = content.get("error", content.get("message", content.get("detail")))
        if isinstance(content, dict):
            content = content.get("message", content.get("msg"))
    if isinstance(content, list):  # FastAPI's
        problems = (item.get("msg") if isinstance(item, dict) else item for item in content)
        content = "; ".join(str(problem) for problem in problems if problem)
    return content if isinstance(content, str) else ""


def _brief(words: str) -> str:
    """Return one line for an error message: the reason in a traceback, or the first line.

    In a traceback, the reason is the last line of the form "…Error: reason". JSON after the
    reason is a quotation of the request, and is removed.
    """
    reasons = _REASON.findall(words)
    line = reasons[-1] if reasons else words.strip().partition("\n")[0]
    while reason := _REASON.match(line):
        line = reason["reason"]  # "Jinja Exception: …" after "Error: "
    line = line.partition("{")[0].strip() or line.strip()
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
