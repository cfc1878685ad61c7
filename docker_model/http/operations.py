"""The operations of a `Client`.

The first call imports this module, because it imports asyncio and httpcore. A program that only
creates clients, or only uses the command, does not wait for these imports.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from docker_model._runtime import Stream, tasks
from docker_model._transport.failures import PATIENCE
from docker_model._transport.model_names import check_model_name
from docker_model.errors import UnsupportedParameterError, install_hint
from docker_model.http import bodies
from docker_model.options import Timeouts

try:
    from docker_model.http import conversation, discovery, embeddings
    from docker_model.http import management as models
    from docker_model.http import rerank as reranking
    from docker_model.http.chat_request import Conversation
    from docker_model.http.discovery import DiscoveryInputs
    from docker_model.http.explanation import explained, read_log_end
    from docker_model.http.request import RequestOptions
    from docker_model.http.room import make_room
    from docker_model.http.streams import AsyncChatStream, ChatStream
    from docker_model.http.transport import HttpTransport
except ModuleNotFoundError as error:
    if error.name != "httpcore":
        raise
    msg = "the HTTP transport requires httpcore, which is not installed"
    raise UnsupportedParameterError(msg, hint=install_hint("http")) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from docker_model.http.client import Client
    from docker_model.http.discovery import Endpoint
    from docker_model.http.management import HttpManagement
    from docker_model.types import ModelInfo, Ranked, RunningModel

_T = TypeVar("_T")


def chat(
    client: Client,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """Answer a conversation, and return the complete answer."""
    return tasks.run_blocking(_chat(client, model, messages, parameters))


async def achat(
    client: Client,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """Await `chat`."""
    return await tasks.run_async(_chat(client, model, messages, parameters))


def stream_chat(
    client: Client,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
) -> ChatStream:
    """Answer a conversation, and return a stream of chunks."""
    return ChatStream(_chat_stream(client, model, messages, parameters))


def astream_chat(
    client: Client,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
) -> AsyncChatStream:
    """Answer a conversation, and return a stream of chunks for `async for`."""
    return AsyncChatStream(_chat_stream(client, model, messages, parameters))


def _chat(
    client: Client,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
) -> Coroutine[Any, Any, dict[str, Any]]:
    check_model_name(model)
    options = _options(client)
    work = conversation.answer(options, Conversation.of(model, messages, parameters))
    return explained(options, model, work)


def _chat_stream(
    client: Client,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
) -> Stream[dict[str, Any]]:
    check_model_name(model)
    request = Conversation.of(model, messages, parameters)
    options, resolved = _options(client), request.resolved()
    if resolved is not None:
        resolved.requests(model, stream=True)  # raises errors of invalid requests now
    return Stream(
        lambda sink: explained(
            options, model, conversation.stream(options, request, resolved, sink)
        )
    )


def embed(
    client: Client,
    model: str,
    texts: Iterable[str],
    dimensions: int | None,
    *,
    truncate: bool,
) -> Coroutine[Any, Any, list[list[float]]]:
    """Return a coroutine that embeds texts."""
    check_model_name(model)
    options = _options(client)
    work = embeddings.embed(options, model, bodies.texts_of(texts), dimensions, truncate=truncate)
    return explained(options, model, work)


def count_tokens(
    client: Client,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    parameters: Mapping[str, Any],
) -> Coroutine[Any, Any, int]:
    """Return a coroutine that counts the tokens of a conversation."""
    check_model_name(model)
    options = _options(client)
    request = Conversation.of(model, messages, {**parameters, "tools": list(tools or ())})
    return explained(options, model, conversation.count_tokens(options, request))


def rerank(
    client: Client,
    model: str,
    query: str,
    documents: Iterable[str],
    top_n: int | None,
    *,
    force: bool,
) -> Coroutine[Any, Any, list[Ranked]]:
    """Return a coroutine that ranks documents by their relevance to a query."""
    check_model_name(model)
    texts = reranking.checked(query, documents, top_n)
    options = _options(client)
    work = reranking.rerank(options, model, query, texts, top_n=top_n, force=force)
    return explained(options, model, work)


def management(client: Client) -> HttpManagement:
    """Return the management operations of the runner."""
    return models.HttpManagement(_options(client))


def manage(
    client: Client, model: str, operation: Callable[[HttpManagement], Coroutine[Any, Any, _T]]
) -> Coroutine[Any, Any, _T]:
    """Return a coroutine that runs an operation on a model and completes its error."""
    check_model_name(model)
    options = _options(client)
    return explained(options, model, operation(models.HttpManagement(options)))


def engine_log(client: Client, pattern: str) -> Coroutine[Any, Any, str]:
    """Return a coroutine that reads the last part of the engine's log."""
    runner = management(client)
    return read_log_end(runner, pattern, runner.options.timeouts.total)


def needs_configuring(client: Client, model: str, settings: Mapping[str, Any]) -> bool:
    """Whether `settings` has values that this process has not configured yet."""
    values = {name: value for name, value in settings.items() if value is not None}
    return bool(values) and not models.is_configured(_place(client), model, values)


def known_model(client: Client, model: str) -> ModelInfo | None:
    """Return the description of a model that this process remembers."""
    return models.known_model(_place(client), model)


def endpoint(client: Client) -> Endpoint:
    """Return the address of the API."""
    place = _place(client)
    known = discovery.known(place)
    return known if known is not None else tasks.run_blocking(discovery.find(place))


async def aendpoint(client: Client) -> Endpoint:
    """Await `endpoint`."""
    place = _place(client)
    known = discovery.known(place)
    return known if known is not None else await tasks.run_async(discovery.find(place))


def transport(
    client: Client,
    parameters: Mapping[str, Any],
    before: Sequence[Mapping[str, Any]],
    images: Sequence[str],
) -> HttpTransport:
    """Return the transport for the prompts of a `DockerModel`."""
    return HttpTransport(_options(client), parameters, tuple(before), tuple(images))


def environment(client: Client) -> dict[str, str]:
    """Return the current environment variables that determine the runner's address."""
    return _place(client).environment


async def _list_running(options: RequestOptions) -> list[RunningModel]:
    patience = Timeouts(total=PATIENCE)
    return await models.HttpManagement(replace(options, timeouts=patience)).list_running()


def _place(client: Client) -> DiscoveryInputs:
    return DiscoveryInputs.of(client.base_url, client.command, client.env)


def _options(client: Client) -> RequestOptions:
    """Return the settings of the client's requests, with the current environment."""
    return RequestOptions(
        place=_place(client),
        api_key=client.api_key,
        headers=tuple((client.headers or {}).items()),
        timeouts=Timeouts.of(client.timeout),
        max_retries=client.max_retries,
        max_concurrency=client.max_concurrency,
        pull=client.pull,
        on_progress=client.on_progress,
        list_running=_list_running,
        make_room=make_room if client.when_full == "unload" else None,
    )
