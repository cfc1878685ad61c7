"""`Client`: chats, embeddings and model management over the runner's HTTP API.

Chat models of frameworks are built on this class. It accepts and returns OpenAI's objects,
with the errors, timeouts and cancellation of this package. It depends on no framework.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from docker_model._transport.command_words import check_runner_settings
from docker_model._transport.environment import HiddenValues
from docker_model._transport.twins import twins
from docker_model.errors import InvalidRequestError
from docker_model.http.addresses import named
from docker_model.options import PullPolicy, Timeouts, WhenFull, check_choice, check_count

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from docker_model.http.discovery import Endpoint
    from docker_model.http.management import HttpManagement
    from docker_model.http.streams import AsyncChatStream, ChatStream
    from docker_model.http.transport import HttpTransport
    from docker_model.types import Mode, ModelConfiguration, ModelInfo, Progress, Ranked

__all__ = ["Client"]

_T = TypeVar("_T")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True)
class Client:
    """A client of the runner's HTTP API.

    Instances are frozen, hashable and picklable. Creating one starts no process or thread and
    does not use the network. The same object works in sync code, any event loop and any thread.

    Args:
        base_url: The address of the API, in any of its usual spellings. `None` discovers it
            from the environment, `docker model status`, Docker's socket and the usual
            addresses.
        api_key: A bearer token, sent only to an address that `base_url` or the environment
            sets, not to one that was discovered. The runner itself needs no key.
        headers: HTTP headers, sent under the same condition; never shown.
        timeout: `Timeouts`, or a number of seconds for the whole call.
        max_retries: The maximum number of retries. A request is only retried if no part of the
            reply was received and the failure can be temporary.
        max_concurrency: The maximum number of simultaneous requests in this process, counted
            over all clients with the same address and limit. Other requests wait in order.
        pull: `"never"`: a missing model is an error; `"missing"`: the runner pulls it first.
        when_full: What to do when the runner has too little memory to load a model. `"error"`
            raises an error. `"unload"` unloads the model that was idle for longest, except one
            with an unlimited `keep_alive`, and retries once. The reply's `docker_model` names
            the unloaded model.
        on_progress: Called with the `Progress` of each call, on a thread of this library. It
            must not block.
        command: The command for `docker model status`, as for `DockerModel`.
        env: Environment variables, added to the caller's environment; never shown.

    Raises:
        InvalidRequestError: If a setting is invalid.
    """

    _: KW_ONLY
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    timeout: Timeouts | float | None = field(default_factory=Timeouts)
    max_retries: int = 2
    max_concurrency: int = 8
    pull: PullPolicy = "never"
    when_full: WhenFull = "error"
    on_progress: Callable[[Progress], object] | None = field(default=None, repr=False)
    command: str | Sequence[str] | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        named(self.base_url, {})
        self._set("timeout", Timeouts.of(self.timeout))
        self._set("headers", _headers(self.headers))
        if self.api_key is not None:
            _check_header("api_key", self.api_key)
        command, env = check_runner_settings(self.command, self.env)
        self._set("command", command)
        self._set("env", env)
        check_choice("pull", self.pull, get_args(PullPolicy))
        check_choice("when_full", self.when_full, get_args(WhenFull))
        check_count("max_retries", self.max_retries, least=0)
        check_count("max_concurrency", self.max_concurrency, least=1)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    # -- chats ---------------------------------------------------------------------------

    def chat(
        self, model: str, messages: Sequence[Mapping[str, Any]], **parameters: Any
    ) -> dict[str, Any]:
        """Answer a conversation, and return the complete answer.

        A plain answer is assembled from a stream. A long answer on a slow machine therefore does
        not exceed the `first_output` and `idle` timeouts, and errors contain the text so far. An
        answer with `tools`, `logprobs` or `n` is not streamed: `first_output` limits its
        complete duration.

        Args:
            model: The model name.
            messages: OpenAI's message objects. They are converted to a form that every engine
                and chat template accepts; see `docker_model.http.messages.prepare`.
            parameters: Parameters of OpenAI's API or of the engine, such as `temperature`,
                `tools`, `response_format` or `min_p`. `None` is the engine's default.
                Parameters in `extra_body=` are sent too, and take precedence.

        Returns:
            OpenAI's reply object. Its `model` is the name in the request, not the file name that
            the engine reports. Reasoning is always in `reasoning_content`, even if the engine
            uses another field.

        Raises:
            DockerModelError: If the request failed.
        """
        from docker_model.http import operations

        return operations.chat(self, model, messages, parameters)

    async def achat(
        self, model: str, messages: Sequence[Mapping[str, Any]], **parameters: Any
    ) -> dict[str, Any]:
        """Await `chat`; canceling the task ends the request."""
        from docker_model.http import operations

        return await operations.achat(self, model, messages, parameters)

    def stream_chat(
        self, model: str, messages: Sequence[Mapping[str, Any]], **parameters: Any
    ) -> ChatStream:
        """Answer a conversation, and return a stream of chunks.

        The arguments are those of `chat`. They are validated immediately, and the request starts
        with the first iteration. Errors of the request are raised during iteration.

        Returns:
            OpenAI's chunk objects. One of the last chunks has the token counts and no choices.
        """
        from docker_model.http import operations

        return operations.stream_chat(self, model, messages, parameters)

    def astream_chat(
        self, model: str, messages: Sequence[Mapping[str, Any]], **parameters: Any
    ) -> AsyncChatStream:
        """Answer a conversation, and return a stream for `async for`; this is not a coroutine."""
        from docker_model.http import operations

        return operations.astream_chat(self, model, messages, parameters)

    # -- embeddings and rerankers ----------------------------------------------------------

    def _embed(
        self,
        model: str,
        texts: Iterable[str],
        *,
        dimensions: int | None = None,
        truncate: bool = False,
    ) -> Coroutine[Any, Any, list[list[float]]]:
        """Embed texts, in batches, with several requests at a time.

        Args:
            model: The model name.
            texts: The texts to embed. They are sent as text, not as token ids, because token ids
                of another vocabulary give wrong vectors without an error.
            dimensions: The length of the vectors, for models that support several lengths.
            truncate: Truncate texts that exceed the model's limit. The engine counts the tokens.

        Returns:
            A vector for each text, in the same order. All vectors have the same length.

        Raises:
            InvalidRequestError: If a text is empty, or if the model is not configured for
                embeddings; the hint contains the command that fixes it.
            ContextLengthError: If a text is too long; the message contains its index.
            UnsupportedParameterError: If the engine ignores `dimensions`.
            DockerModelError: If the runner or the engine rejects the request.
        """
        from docker_model.http import operations

        return operations.embed(self, model, texts, dimensions, truncate=truncate)

    embed, aembed = twins(_embed)

    def _rerank(
        self,
        model: str,
        query: str,
        documents: Iterable[str],
        *,
        top_n: int | None = None,
        force: bool = False,
    ) -> Coroutine[Any, Any, list[Ranked]]:
        """Rank documents by their relevance to a query, in batches.

        Args:
            model: The name of a reranking model.
            query: The query.
            documents: The documents to rank.
            top_n: The maximum number of results, best first; default: all.
            force: Accept a model that is not a reranker according to its metadata. llama.cpp
                then returns meaningless scores.

        Returns:
            The index and score of each document, best first. Equal scores keep the input order.

        Raises:
            InvalidRequestError: If the model is not a reranker.
            ContextLengthError: If a document and the query together are too long.
            DockerModelError: If the runner or the engine rejects the request.
        """
        from docker_model.http import operations

        return operations.rerank(self, model, query, documents, top_n, force=force)

    rerank, arerank = twins(_rerank)

    # -- models --------------------------------------------------------------------------

    def _count_tokens(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        **parameters: Any,
    ) -> Coroutine[Any, Any, int]:
        """Count the tokens of a conversation. The engine counts them.

        The count is `usage.prompt_tokens` of the same chat, including the chat template and the
        tools. The request loads the model.

        Args:
            model: The model name.
            messages: OpenAI's message objects.
            tools: OpenAI's tool objects.
            parameters: Parameters of `chat` that change the prompt: `chat_template_kwargs`,
                `tool_calling`, `response_format`.

        Raises:
            DockerModelError: If the runner or the engine rejects the conversation.
        """
        from docker_model.http import operations

        return operations.count_tokens(self, model, messages, tools, parameters)

    count_tokens, acount_tokens = twins(_count_tokens)

    def _list_models(self) -> Coroutine[Any, Any, list[ModelInfo]]:
        """List the models of the local store."""
        from docker_model.http import operations

        return operations.management(self).list_models()

    list_models, alist_models = twins(_list_models)

    def _inspect_model(self, model: str) -> Coroutine[Any, Any, ModelInfo]:
        """Describe a model, and store the description for `known_model`.

        Raises:
            ModelNotFoundError: If the model is not in the local store.
        """
        return self._manage(model, lambda management: management.inspect(model))

    inspect_model, ainspect_model = twins(_inspect_model)

    def _observe_model(self, model: str) -> Coroutine[Any, Any, ModelInfo]:
        """Describe a model, including what only its engine reports. This loads a chat model.

        Separately packaged chat templates and multimodal projectors are not in the model's
        metadata. The engine is queried once per process and model.

        Raises:
            ModelNotFoundError: If the model is not in the local store.
        """
        return self._manage(model, lambda management: management.observe(model))

    observe_model, aobserve_model = twins(_observe_model)

    def known_model(self, model: str) -> ModelInfo | None:
        """Return the description of a model that this process remembers, without a request.

        `inspect_model`, `observe_model`, `preload_model` and `configure_once` store
        descriptions. A configuration by another process is not visible until one of them is
        called again.
        """
        from docker_model.http import operations

        return operations.known_model(self, model)

    def _preload_model(self, model: str) -> Coroutine[Any, Any, None]:
        """Load a model, and wait until it is loaded.

        Raises:
            ModelNotFoundError: If the model is not in the local store.
            ModelLoadError: If the engine cannot load it.
        """
        return self._manage(model, lambda management: management.preload(model))

    preload_model, apreload_model = twins(_preload_model)

    def _configure_model(self, model: str, **settings: Any) -> Coroutine[Any, Any, None]:
        """Change how the runner starts a model, for all users of the runner.

        Args:
            model: The model name.
            settings: Fields of `ModelConfiguration`; other fields do not change.

        Raises:
            ModelNotFoundError: If the model is not in the local store.
            GenerationError: If the model is in use.
        """
        changes = checked(settings)
        return self._manage(model, lambda management: management.configure(model, changes))

    configure_model, aconfigure_model = twins(_configure_model)

    def _model_configuration(
        self, model: str, *, mode: Mode | None = None
    ) -> Coroutine[Any, Any, ModelConfiguration | None]:
        """Return the configuration of a model, or `None` if the model is not configured.

        Args:
            model: The model name.
            mode: The mode of the configuration; default: the mode that the model is made for.

        Raises:
            ModelNotFoundError: If the model is not in the local store.
        """
        return self._manage(model, lambda management: management.configuration(model, mode))

    model_configuration, amodel_configuration = twins(_model_configuration)

    def configure_once(self, model: str, **settings: Any) -> None:
        """Configure a model, once per process, model and settings, unless already configured.

        Called for the settings of a chat or an embedding model before its first request. Emits
        a `UserWarning` if other users of the runner are affected.

        Args:
            model: The model name.
            settings: Fields of `ModelConfiguration`; if all are `None`, nothing happens.

        Raises:
            ModelNotFoundError: If the model is not in the local store.
            GenerationError: If the model is in use.
        """
        from docker_model._runtime import tasks
        from docker_model.http import operations

        if operations.needs_configuring(self, model, settings):
            changes = checked(settings)
            work = self._manage(model, lambda management: management.configure_once(model, changes))
            _warn(tasks.run_blocking(work))

    async def aconfigure_once(self, model: str, **settings: Any) -> None:
        """Await `configure_once`."""
        from docker_model._runtime import tasks
        from docker_model.http import operations

        if operations.needs_configuring(self, model, settings):
            changes = checked(settings)
            work = self._manage(model, lambda management: management.configure_once(model, changes))
            _warn(await tasks.run_async(work))

    # -- the runner ----------------------------------------------------------------------

    def endpoint(self) -> Endpoint:
        """Return the address of the API; the first call discovers it.

        Raises:
            RunnerUnavailableError: If the API was not found; the error lists the attempts.
        """
        from docker_model.http import operations

        return operations.endpoint(self)

    async def aendpoint(self) -> Endpoint:
        """Await `endpoint`."""
        from docker_model.http import operations

        return await operations.aendpoint(self)

    def engine_log(self, pattern: str = "") -> str:
        """Return the last part of the engine's log, without secrets; empty if there is no log.

        Args:
            pattern: A regular expression; only lines that contain a match are returned.
        """
        from docker_model._runtime import tasks
        from docker_model.http import operations

        return tasks.run_blocking(operations.engine_log(self, pattern))

    @property
    def uses_address_unknown_to_cli(self) -> bool:
        """Whether the configured address is not one that `docker model` uses.

        The command is then not a fallback, because it could send the prompt to another runner.
        """
        from docker_model.http import operations

        address = named(self.base_url, operations.environment(self))
        return address is not None and address.source != "MODEL_RUNNER_HOST"

    def close(self) -> None:
        """Do nothing: over HTTP there are no processes to end."""

    def _manage(
        self, model: str, operation: Callable[[HttpManagement], Coroutine[Any, Any, _T]]
    ) -> Coroutine[Any, Any, _T]:
        from docker_model.http import operations

        return operations.manage(self, model, operation)

    def transport(
        self,
        parameters: Mapping[str, Any] | None = None,
        before: Sequence[Mapping[str, Any]] = (),
        images: Sequence[str] = (),
    ) -> HttpTransport:
        """Return the transport for the prompts of a `DockerModel`.

        Args:
            parameters: The parameters of each request.
            before: The messages before the prompt.
            images: The URLs of images to send with the prompt.
        """
        from docker_model.http import operations

        return operations.transport(self, parameters or {}, before, images)


def checked(settings: Mapping[str, Any]) -> ModelConfiguration:
    """Return settings as a valid `ModelConfiguration`.

    Raises:
        InvalidRequestError: If a value is invalid.
    """
    from docker_model._transport import configuration

    return configuration.checked(**settings)


def _warn(message: str) -> None:
    if message:
        warnings.warn(message, UserWarning, stacklevel=3)


def _headers(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    if not headers:
        return None
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            msg = "headers contains an invalid header name"
            raise InvalidRequestError(msg, hint="names are ASCII letters, digits and dashes")
        _check_header(f"headers[{name!r}]", value)
    return HiddenValues(headers)


def _check_header(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        msg = f"{name} must be a string of printable ASCII characters"
        raise InvalidRequestError(msg, hint="remove line breaks and non-ASCII characters")
