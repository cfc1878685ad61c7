"""`Client`: chats and embeddings over the runner's HTTP API, found without configuration.

The seam for chat models: OpenAI's own objects in and out, with this package's errors, limits
and ways to end a call. Nothing here knows of any framework.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from docker_model._transport.command_words import check_runner_settings
from docker_model._transport.environment import Environment
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

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True)
class Client:
    """A way to the runner's HTTP API.

    Frozen, hashable, picklable and cheap: making one starts no process, thread or network
    use, and the same object works from sync code, any event loop and any thread.

    Args:
        base_url: The API's address, in any of its usual spellings. `None`: it is found, by the
            environment, `docker model status`, Docker's socket and the usual addresses.
        api_key: Sent as a bearer token to an address that you have named, by `base_url` or
            the environment, and to none that was found. The runner itself wants none.
        headers: Sent in the same way; never shown.
        timeout: `Timeouts`, or a number of seconds for the whole call.
        max_retries: Further attempts where nothing had been received and the next one may
            well succeed.
        max_concurrency: Requests at once in this process, among all to the same place with
            the same limit; the rest wait, first come first served.
        pull: `"never"`: a missing model raises; `"missing"`: the runner pulls it first.
        when_full: What happens when the runner has no memory left to load a model: `"error"`, or
            `"unload"`: the model that was idle for longest is unloaded, unless it is kept for
            ever, and the request is made once more. The reply's `docker_model` says so.
        on_progress: Called with the `Progress` of each call, on a thread of the library. It must
            not block.
        command: The command that is asked where the runner is, see `DockerModel`.
        env: Variables laid over the caller's environment; never shown.

    Raises:
        InvalidRequestError: If a setting is not valid.
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
        """Answer a conversation, waiting for the whole answer.

        A plain answer is assembled from a stream: a long answer on a slow machine is then not
        taken for a stuck model, and errors contain the text so far. An answer with `tools`,
        `logprobs` or `n` comes in one piece, whose first output is its end.

        Args:
            model: The model's name.
            messages: OpenAI's message objects. They are sent in a form that any engine and chat
                template takes, see `docker_model.http.messages.prepare`.
            parameters: OpenAI's, and the engine's own, such as `temperature`, `tools`,
                `response_format` or `min_p`. `None` leaves one to the engine. Those in
                `extra_body=` are sent too, and go before the others.

        Returns:
            OpenAI's reply object, with the `model` that was asked for: the engine itself
            says the name of a file. What the model thought is its `reasoning_content`, also
            where the engine has another name for it.

        Raises:
            DockerModelError: If the request failed.
        """
        from docker_model.http import operations

        return operations.chat(self, model, messages, parameters)

    async def achat(
        self, model: str, messages: Sequence[Mapping[str, Any]], **parameters: Any
    ) -> dict[str, Any]:
        """Answer a conversation; cancelling the call ends the request."""
        from docker_model.http import operations

        return await operations.achat(self, model, messages, parameters)

    def stream_chat(
        self, model: str, messages: Sequence[Mapping[str, Any]], **parameters: Any
    ) -> ChatStream:
        """Answer a conversation piece by piece.

        The request starts when the first piece is asked for; it is checked now. Takes what
        `chat` does; errors of the answer are raised while iterating.

        Returns:
            OpenAI's chunk objects; one of the last has the token counts, and no choices.
        """
        from docker_model.http import operations

        return operations.stream_chat(self, model, messages, parameters)

    def astream_chat(
        self, model: str, messages: Sequence[Mapping[str, Any]], **parameters: Any
    ) -> AsyncChatStream:
        """Answer a conversation piece by piece, for `async for`; not a coroutine."""
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
        """Embed texts, in batches, a few of them at once.

        Args:
            model: The model's name.
            texts: What to embed. They are sent as text, never as token ids: those of another
                vocabulary give wrong vectors without an error.
            dimensions: How long the vectors must be, if the model has a choice.
            truncate: Cut texts that are longer than the model takes; the engine counts.

        Returns:
            A vector for each text, in their order, all of one length.

        Raises:
            InvalidRequestError: If a text is empty, or the model gives no embeddings as it is
                configured; says which command fixes it.
            ContextLengthError: If a text is too long; names it by its place.
            UnsupportedParameterError: If the engine ignores `dimensions`.
            DockerModelError: If the runner or the engine refuses the request.
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
        """Rank documents by their relevance for a query, in batches.

        Args:
            model: A reranker's name.
            query: What to look for.
            documents: What to rank.
            top_n: How many of the best to return; default: all.
            force: Also ask a model that is no reranker by its own data. llama.cpp answers with
                scores that mean nothing.

        Returns:
            The documents' places and scores, best first; equal scores stay in their order.

        Raises:
            InvalidRequestError: If the model is no reranker.
            ContextLengthError: If a document and the query are too long together.
            DockerModelError: If the runner or the engine refuses the request.
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
        """Count the tokens of a conversation exactly as the engine does.

        The count is `usage.prompt_tokens` of the same chat: the chat template and the tools
        are included. Loads the model, if it is not loaded.

        Args:
            model: The model's name.
            messages: OpenAI's message objects.
            tools: OpenAI's tool objects.
            parameters: What else changes the prompt, as in `chat`: `chat_template_kwargs`,
                `tool_calling`, `response_format`.

        Raises:
            DockerModelError: If the runner or the engine refuses the conversation.
        """
        from docker_model.http import operations

        return operations.count_tokens(self, model, messages, tools, parameters)

    count_tokens, acount_tokens = twins(_count_tokens)

    def _list_models(self) -> Coroutine[Any, Any, list[ModelInfo]]:
        """List the models of the local store."""
        return self._management().list_models()

    list_models, alist_models = twins(_list_models)

    def _inspect_model(self, model: str) -> Coroutine[Any, Any, ModelInfo]:
        """Describe a model, and remember it for `known_model`.

        Raises:
            ModelNotFoundError: If the model is not in the local store.
        """
        return self._management(model).inspect(model)

    inspect_model, ainspect_model = twins(_inspect_model)

    def _observe_model(self, model: str) -> Coroutine[Any, Any, ModelInfo]:
        """Describe a model with what its engine shows of it, which loads a chat model.

        A chat template or a multimodal projector that was packaged apart is not in the model's
        metadata. The engine is asked once for each process and model.

        Raises:
            ModelNotFoundError: If the model is not in the local store.
        """
        return self._management(model).observe(model)

    observe_model, aobserve_model = twins(_observe_model)

    def known_model(self, model: str) -> ModelInfo | None:
        """Return what this process has learned of a model; never asks the runner.

        `inspect_model`, `observe_model`, `preload_model` and `configure_once` learn. A
        configuration by another process is not noticed until one of them is called again.
        """
        from docker_model.http import operations

        return operations.known_model(self, model)

    def _preload_model(self, model: str) -> Coroutine[Any, Any, None]:
        """Load a model, and wait until it is loaded.

        Raises:
            ModelNotFoundError: If the model is not in the local store.
            ModelLoadError: If the engine cannot load it.
        """
        return self._management(model).preload(model)

    preload_model, apreload_model = twins(_preload_model)

    def _configure_model(self, model: str, **settings: Any) -> Coroutine[Any, Any, None]:
        """Change how the runner starts a model, for all of the runner's users.

        Args:
            model: The model's name.
            settings: The fields of `ModelConfiguration`; the others stay as they are.

        Raises:
            ModelNotFoundError: If the model is not in the local store.
            GenerationError: If the model is in use.
        """
        return self._management(model).configure(model, checked(settings))

    configure_model, aconfigure_model = twins(_configure_model)

    def _model_configuration(
        self, model: str, *, mode: Mode | None = None
    ) -> Coroutine[Any, Any, ModelConfiguration | None]:
        """Return the configuration of a model; `None` if it has none.

        Args:
            model: The model's name.
            mode: What the configuration is for; default: what the model is for.

        Raises:
            ModelNotFoundError: If the model is not in the local store.
        """
        return self._management(model).configuration(model, mode)

    model_configuration, amodel_configuration = twins(_model_configuration)

    def configure_once(self, model: str, **settings: Any) -> None:
        """Configure a model unless it is, once for each process, model and settings.

        For settings of a chat or an embedding model, before its first request. Warns with
        `UserWarning` if this changes what other users of the runner see.

        Args:
            model: The model's name.
            settings: The fields of `ModelConfiguration`; nothing happens if all are `None`.

        Raises:
            ModelNotFoundError: If the model is not in the local store.
            GenerationError: If the model is in use.
        """
        from docker_model._runtime import tasks
        from docker_model.http import operations

        if operations.needs_configuring(self, model, settings):
            work = self._management(model).configure_once(model, checked(settings))
            _warn(tasks.run_blocking(work))

    async def aconfigure_once(self, model: str, **settings: Any) -> None:
        """Await `configure_once`."""
        from docker_model._runtime import tasks
        from docker_model.http import operations

        if operations.needs_configuring(self, model, settings):
            work = self._management(model).configure_once(model, checked(settings))
            _warn(await tasks.run_async(work))

    # -- the rest ------------------------------------------------------------------------

    def endpoint(self) -> Endpoint:
        """Return where the API is, looking for it if it is not known yet.

        Raises:
            RunnerUnavailableError: If it was not found; the error lists what was tried.
        """
        from docker_model.http import operations

        return operations.endpoint(self)

    async def aendpoint(self) -> Endpoint:
        """Return where the API is, looking for it if it is not known yet."""
        from docker_model.http import operations

        return await operations.aendpoint(self)

    def engine_log(self, pattern: str = "") -> str:
        """Return the end of the engine's log, without secrets; empty if the runner keeps none.

        Args:
            pattern: A regular expression; lines in which it is not found are left out.
        """
        from docker_model._runtime import tasks
        from docker_model.http import operations

        return tasks.run_blocking(operations.engine_log(self, pattern))

    @property
    def uses_address_unknown_to_cli(self) -> bool:
        """Whether an address is named that `docker model` does not look at.

        A prompt for it must not go to the command instead, which may ask another runner.
        """
        from docker_model.http import operations

        address = named(self.base_url, operations.environment(self))
        return address is not None and address.source != "MODEL_RUNNER_HOST"

    def close(self) -> None:
        """Do nothing: over HTTP there are no processes to end."""

    def _management(self, model: str | None = None) -> HttpManagement:
        from docker_model.http import operations

        return operations.management(self, model)

    def transport(
        self,
        parameters: Mapping[str, Any] | None = None,
        before: Sequence[Mapping[str, Any]] = (),
        images: Sequence[str] = (),
    ) -> HttpTransport:
        """Return the transport of a `DockerModel`'s prompts.

        Args:
            parameters: What to send along with each prompt.
            before: The messages before the prompt.
            images: The addresses of images that belong to the prompt.
        """
        from docker_model.http import operations

        return operations.transport(self, parameters or {}, before, images)


def checked(settings: Mapping[str, Any]) -> ModelConfiguration:
    """Return a configuration of what a user gave.

    Raises:
        InvalidRequestError: If a value cannot be used.
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
            msg = "headers has a name that is no header's name"
            raise InvalidRequestError(msg, hint="names are ASCII letters, digits and dashes")
        _check_header(f"headers[{name!r}]", value)
    return Environment.of(headers)  # which never shows what it holds


def _check_header(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        msg = f"{name} must be a string of printable ASCII characters"
        raise InvalidRequestError(msg, hint="leave out line ends, blanks and quotation marks")
