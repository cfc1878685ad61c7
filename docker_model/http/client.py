"""`Client`: chats and embeddings over the runner's HTTP API, found without configuration.

The seam for chat models: OpenAI's own objects in and out, with this package's errors, limits
and ways to end a call. Nothing here knows of any framework.
"""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from docker_model._docker_cli.command import split_command
from docker_model._transport.environment import Environment
from docker_model.errors import InvalidRequestError
from docker_model.http.addresses import named
from docker_model.options import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from docker_model.http.discovery import Endpoint
    from docker_model.http.streams import AsyncChatStream, ChatStream
    from docker_model.http.transport import HttpTransport
    from docker_model.options import PullPolicy
    from docker_model.types import PullProgress

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
        pull: `"never"`: a missing model raises; `"missing"`: the runner is told to pull it.
        on_progress: Told of a pull's progress, on a thread of our own.
        command: The command that is asked where the runner is, see `DockerModel`.
        env: Variables laid over the caller's environment; never shown.

    Raises:
        InvalidRequestError: A setting that cannot be.
    """

    _: KW_ONLY
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    timeout: Timeouts | float | None = field(default_factory=Timeouts)
    max_retries: int = 2
    max_concurrency: int = 8
    pull: PullPolicy = "never"
    on_progress: Callable[[PullProgress], object] | None = field(default=None, repr=False)
    command: str | Sequence[str] | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        named(self.base_url, {})
        self._set("timeout", Timeouts.of(self.timeout))
        self._set("headers", _headers(self.headers))
        if self.api_key is not None:
            _check_header("api_key", self.api_key)
        if self.env is not None:
            self._set("env", Environment.of(self.env))
        if self.command is not None:
            words = split_command(self.command, {})
            self._set("command", self.command if isinstance(self.command, str) else words)
        if self.pull not in ("never", "missing"):
            msg = f"pull must be one of 'never', 'missing', not {self.pull!r}"
            raise InvalidRequestError(msg)
        for name, least in (("max_retries", 0), ("max_concurrency", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                msg = f"{name} must be a whole number of at least {least}, not {value!r}"
                raise InvalidRequestError(msg)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    # -- chats ---------------------------------------------------------------------------

    def chat(
        self, model: str, messages: Sequence[Mapping[str, Any]], **parameters: Any
    ) -> dict[str, Any]:
        """Answer a conversation, waiting for the whole answer.

        A plain answer is put together from a stream, so that a long one on a slow machine
        is told from a model that is stuck, and errors hold what there was of it. One with
        `tools`, `logprobs` or `n` comes in one piece, whose first output is its end.

        Args:
            model: The model's name.
            messages: OpenAI's message objects.
            parameters: OpenAI's, and the engine's own, such as `temperature`, `tools`,
                `response_format` or `min_p`. `None` leaves one to the engine. Those in
                `extra_body=` are sent too, and go before the others.

        Returns:
            OpenAI's reply object, with the `model` that was asked for: the engine itself
            says the name of a file. What the model thought is its `reasoning_content`, also
            where the engine has another name for it.

        Raises:
            DockerModelError: See `docker_model.errors`.
        """
        from docker_model.http import operations

        return operations.chat(self, model, messages, parameters)

    async def achat(
        self, model: str, messages: Sequence[Mapping[str, Any]], **parameters: Any
    ) -> dict[str, Any]:
        """The same, awaited; cancelling the call ends the request."""
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
        """The same for `async for`; no coroutine, so there is nothing to await."""
        from docker_model.http import operations

        return operations.astream_chat(self, model, messages, parameters)

    # -- embeddings ----------------------------------------------------------------------

    def embed(
        self, model: str, texts: Sequence[str], *, dimensions: int | None = None
    ) -> list[list[float]]:
        """Embed texts, in batches.

        Args:
            model: The model's name.
            texts: What to embed. They go as text, never as token ids: those of another
                vocabulary give wrong vectors without an error.
            dimensions: How long the vectors are to be, if the model has a choice.

        Returns:
            A vector for each text, in their order, all of one length.

        Raises:
            InvalidRequestError: The model gives no embeddings as it is configured; says
                which command fixes it.
            UnsupportedParameterError: The engine ignores `dimensions`.
            DockerModelError: See `docker_model.errors`.
        """
        from docker_model.http import operations

        return operations.embed(self, model, texts, dimensions)

    async def aembed(
        self, model: str, texts: Sequence[str], *, dimensions: int | None = None
    ) -> list[list[float]]:
        """The same, awaited; cancelling the call ends the request."""
        from docker_model.http import operations

        return await operations.aembed(self, model, texts, dimensions)

    # -- the rest ------------------------------------------------------------------------

    def endpoint(self) -> Endpoint:
        """Where the API is; looked for now, if it is not known yet.

        Raises:
            RunnerUnavailableError: It was not found; says what was tried.
        """
        from docker_model.http import operations

        return operations.endpoint(self)

    async def aendpoint(self) -> Endpoint:
        """The same, awaited."""
        from docker_model.http import operations

        return await operations.aendpoint(self)

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

    def transport(self) -> HttpTransport:
        """This client as the way of a `DockerModel`'s prompts."""
        from docker_model.http import operations

        return operations.transport(self)


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
        raise InvalidRequestError(msg)
