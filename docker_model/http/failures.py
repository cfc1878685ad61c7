"""Errors for replies that are not answers, from the runner's plain text and engines' JSON."""

from __future__ import annotations

import json
import re
from typing import Any

from docker_model._transport.failure_table import (
    CAUSES,
    ENDED_HINT,
    ENGINE_ENDS,
    LOGS_HINT,
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
ADDRESS_HINT = "an address reads http://host:port; without one the runner is found"
BAD_REQUEST, SERVER_ERROR, UNAVAILABLE = 400, 500, 503
_PASSING = (429, 502, 503, 504)  # too busy, or a proxy has no answer yet
_SHOWN = 300  # characters of the engine's words in a message
_NO_REASON = "it gave no reason"
_KEPT = 4000  # and in `stderr` and `detail`


_WEB_PAGE = "the server at this address answered with a web page: it is no Docker Model Runner"
_REASON = re.compile(r"^\s*[\w.: ]{0,80}?(?:Error|Exception): (?P<reason>.*\S)", re.MULTILINE)


def _rows(*rows: tuple[str, type[DockerModelError], str, str]) -> tuple[Cause, ...]:
    return tuple(Cause(re.compile(row[0], re.MULTILINE), *row[1:]) for row in rows)


_LARGEST_BODY = 10 << 20  # bytes that the runner takes
_TOO_LARGE = "the request is larger than the 10 MiB that the runner takes"
_SEND_LESS = "send less text, or smaller images"
_TEMPLATE_OF = "the chat template of "
_TEMPLATE = _TEMPLATE_OF + "{model!r} does not take this conversation: {words}"
# What chat templates raise, each with what it wants. The messages of `Client` are prepared so
# that templates take them; these are for what no form helps, and for other servers' templates.
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
                "give one message of the user and one of the assistant in turns",
            ),
            (
                r"[Ss]ystem (?:message|role)|initial optional system",
                "give one system message before all others, or put it into the user's message",
            ),
            (r"[Tt]ool call IDs?", "give each tool call an id of nine letters and digits"),
            (r"single tool-calls", "send one tool call in a message, with its result after it"),
            (
                r"'name' must be provided|resolvable tool name|tool response",
                "give each tool result the name of its tool",
            ),
            (r"[Nn]o user query|no first user message", "send a message of the user"),
            (
                r"tool role|[Tt]ool message|tool outputs?\b|no previous assistant message",
                "give each tool result right after the call that it belongs to",
            ),
            (
                r"[Uu]nsupported (?:\w+ )?content block|[Uu]nexpected (?:item|content) type",
                "send text alone: this model's chat template takes nothing else",
            ),
        )
    ),
    (
        r"JSON schema error at (?P<words>.*)",
        InvalidRequestError,
        "the engine cannot hold an answer to this schema: {words}",
        "leave out of the schema what the engine does not know",
    ),
    (
        r"^status=[45]00\n(?P<words>.+)\n(?s:.*)(?:Jinja|raise_exc|[Cc]hat template|this template)",
        InvalidRequestError,
        _TEMPLATE,
        "`docker model inspect {model}` shows the template; it says which messages it takes",
    ),
)

# A text is `status=…`, a line of the engine's words, and the body as it came.
_CAUSES = (
    *ENGINE_ENDS,
    *_rows(
        (
            r"^status=\d+\n.*\n\s*<(?i:!doctype|html)",
            RunnerUnavailableError,
            _WEB_PAGE,
            ADDRESS_HINT,
        ),
        (
            r"does not support (?:logits computation|(?:[Cc]hat )?[Cc]ompletions)",
            InvalidRequestError,
            "{model!r} is an embedding model, or is configured as one: it cannot chat",
            "take a chat model such as ai/smollm2; this one is for embed() and embeddings classes",
        ),
        (
            r"Pooling type 'none'|does not support [Ee]mbeddings|not an? embedding model",
            InvalidRequestError,
            "{model!r} is a chat model, or is not configured to give embeddings",
            f"{POOLING_HINT}, or take an embedding model such as ai/mxbai-embed-large",
        ),
        (
            r"input \(\d+ tokens\) is too large to process",
            ContextLengthError,
            "a text is longer than the engine embeds at once",
            f"embed shorter pieces, or {POOLING_HINT[:-1]} --ubatch-size {{enough}}`",
        ),
        (
            r"request too large|^status=413$",
            InvalidRequestError,
            _TOO_LARGE,
            _SEND_LESS,
        ),
    ),
    # What the CLI passes on of them; the rest of its table is of its own making.
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
            "the model {model!r} is not there",
            "`docker model pull {model}`",
        ),
        (
            r"^status=(?:3\d\d|404|405)$",
            RunnerUnavailableError,
            "there is no Docker Model Runner at this address, or one that cannot do this",
            ADDRESS_HINT,
        ),
        (
            r"^status=40[13]$",
            InvalidRequestError,
            "the server at this address does not let us in",
            "give the right key as api_key=; Docker Model Runner itself wants none",
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
            "{model!r} takes no images",
            "take a model that does, such as ai/gemma3",
        ),
        (
            r"audio input is not supported",
            UnsupportedParameterError,
            "{model!r} takes no audio",
            "take a model that does",
        ),
    ),
    *_COMPLAINTS,
    *_rows(
        (
            # Not "Failed to parse input at pos …": that is the model's answer.
            r"^status=\d+\n(?P<words>.*[Ff]ailed to parse (?!input\b).*)",
            InvalidRequestError,
            "the engine could not read the request: {words}",
            "look at the messages, tools and schema that were sent",
        ),
        (
            r"produced output that does not match the expected|Failed to parse input at pos",
            GenerationError,
            "the engine could not read what {model!r} wrote as a tool call",
            'try again, raise max_tokens, or set tool_calling="schema"',
        ),
        (
            r"^status=501\n(?P<words>.*)",
            UnsupportedParameterError,
            "the engine cannot do that: {words}",
            LOGS_HINT,
        ),
        (
            r"^status=4\d\d\n(?P<words>.*)",
            InvalidRequestError,
            "the engine refused the request: {words}",
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
    """Return the error for a reply that is not an answer.

    Args:
        status: Its HTTP status.
        body: Its text: plain, or an engine's JSON.
        model: The name as the caller gave it.
        partial: The answer's text so far.
    """
    text = f"status={status}\n{_brief(_words(body)) or _NO_REASON}\n{body[:_KEPT]}"
    named = Failure("run", model, text, partial).named(_CAUSES)
    assert named is not None  # the last row is for every status
    return named


def is_complaint(error: DockerModelError) -> bool:
    """Tell whether the model's chat template refused the conversation in this form."""
    return error.message.startswith(_TEMPLATE_OF)


def name_event(error: Any, model: str, partial: str) -> DockerModelError:
    """Return the error for an error object within a stream.

    Args:
        error: What the event says of it: an object, or just text.
        model: The name as the caller gave it.
        partial: The answer's text so far.
    """
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and code >= BAD_REQUEST else 500
    body = error if isinstance(error, str) else json.dumps({"error": error})
    return name_reply(status, body, model, partial)


def broken_off(model: str, partial: str, why: object) -> GenerationError:
    """Return the error for a connection that ended before the answer did."""
    msg = f"the answer of {model!r} broke off: {why}"
    return GenerationError(msg, hint=ENDED_HINT, partial=partial)


def lost(model: str, size: int, why: object) -> DockerModelError:
    """Return the error for a connection that ended before there was a reply.

    Args:
        model: The name as the caller gave it.
        size: The size of the request in bytes. The runner closes the connection while it still
            receives a request that is too large, and its reply is lost.
        why: The reason.
    """
    if size > _LARGEST_BODY:
        return InvalidRequestError(_TOO_LARGE, hint=_SEND_LESS)
    return broken_off(model, "", why)


def no_choices(model: str) -> GenerationError:
    """Return the error for a reply without an answer in it."""
    msg = f"the reply for {model!r} holds no answer: it has no choices"
    return GenerationError(msg, hint=LOGS_HINT)


def web_page() -> RunnerUnavailableError:
    """Return the error for a page of HTML from some other server."""
    return RunnerUnavailableError(_WEB_PAGE, hint=ADDRESS_HINT)


def no_connection(address: str) -> RunnerUnavailableError:
    """Return the error for a runner that no longer answers."""
    msg = f"Docker Model Runner does not answer at {address}"
    return RunnerUnavailableError(msg, hint=START_HINT)


def is_loading(status: int, body: str) -> bool:
    """Tell whether the engine is still loading the model."""
    return status == UNAVAILABLE and "loading" in body.lower()


def is_passing(status: int, body: str) -> bool:
    """Tell whether the same request may well be answered a moment later.

    The runner's 500 with an empty body is its proxy's: the engine had closed the connection
    that it wanted to use. One with a text is an engine's, and would come again.
    """
    empty_500 = status == SERVER_ERROR and not body.strip()
    return status in _PASSING or empty_500


def _words(body: str) -> str:
    """Return the engine's message from its JSON, or all of a plain text."""
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
    """Return one line for an error message: the reason in a long text, or the first line.

    Engines put traces around the reason, which is then the last that calls itself an error.
    They quote the request as JSON after a line, which stays out.
    """
    reasons = _REASON.findall(words)
    line = reasons[-1] if reasons else words.strip().partition("\n")[0]
    while reason := _REASON.match(line):
        line = reason["reason"]  # "Jinja Exception: …" after "Error: "
    line = line.partition("{")[0].strip() or line.strip()
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
