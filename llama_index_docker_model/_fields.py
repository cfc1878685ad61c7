"""The fields of `DockerModelLLM`, what is shown of them, and the way to the model they lead to."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence  # noqa: TC003  pydantic evaluates the fields
from typing import TYPE_CHECKING, Any, Literal

from llama_index.core.bridge.pydantic import ConfigDict, Field, model_validator
from llama_index.core.constants import DEFAULT_NUM_OUTPUTS
from llama_index.core.llms import LLMMetadata
from llama_index.core.llms.function_calling import FunctionCallingLLM

import docker_model
from docker_model.client import standby_model_for
from docker_model.env import FromEnv
from docker_model.options import FileReferences, PullPolicy, Timeouts
from docker_model.types import PullProgress  # noqa: TC001  pydantic reads it
from llama_index_docker_model._settings import (
    SETTINGS,
    asks_for_http,
    refuse_foreign,
    refuse_over_cli,
    refuse_over_http,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from docker_model import DockerModel
    from docker_model.http.client import Client
    from docker_model.types import ModelInfo

__all__ = ["Fields"]

# Over HTTP nothing but a question loads a model.
_SHORTEST = ({"role": "user", "content": "Hi"},)

# What the runner's engine takes for a model that was neither packaged nor configured with a size.
_ENGINE_CONTEXT = 4096


class Fields(FromEnv, FunctionCallingLLM):
    """What there is to set, what is shown of it, and how the model is reached."""

    # A refused setting's error would otherwise show the others, `env` among them.
    model_config = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True
    )

    model: str
    """The model's name exactly as `docker model run` takes it."""

    stop: str | Sequence[str] | None = ()
    """Stop sequences: the earliest match ends the answer and is not part of it."""

    max_chars: int | None = None
    """Ends the answer after so many characters (`finish_reason` is then `"length"`)."""

    timeout: Timeouts | float | None = Timeouts()
    """Seconds for each phase of a call; a plain number is for the whole call."""

    max_concurrency: int = 8
    """Runs at once in this process, over all models with the same command and `env`."""

    pull: PullPolicy = "never"
    """What to do about a missing model: `"never"` raises, `"missing"` pulls it first."""

    on_progress: Callable[[PullProgress], object] | None = Field(
        default=None, repr=False, exclude=True
    )
    """Called with the steps of a pull."""

    file_references: FileReferences = "escape"
    """What to do about local files that the prompt names, and that the CLI would send along."""

    standby: int = 0
    """Started `docker model run` processes that are kept waiting for a prompt."""

    command: str | Sequence[str] | None = None
    """The command in place of `docker model`, such as `("docker", "-c", "gpu", "model")`."""

    env: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Environment variables laid over the caller's; never shown, traced or put into `to_dict`."""

    transport: Literal["cli", "http"] | None = None
    """The way to the model; `None`: the CLI, unless something was asked that only HTTP can do."""

    base_url: str | None = None
    """The runner's address for HTTP; `None`: it is found."""

    api_key: str | None = Field(default=None, repr=False, exclude=True)
    """Sent only to an address that you have named; never shown, traced or put into `to_dict`."""

    max_retries: int = 2
    """Over HTTP: further attempts where nothing was received and the next may succeed."""

    temperature: float | None = None
    """This and the following are the API's parameters; `None` leaves one to the engine."""

    max_tokens: int | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None

    extra_body: dict[str, Any] | None = None
    """What else your engine knows, sent as it is."""

    context_window: int = Field(default=_ENGINE_CONTEXT, gt=0)
    """Tokens that prompt and answer may have together; LlamaIndex packs prompts to fit.

    The default is the engine's own. `docker_model.inspect_model(name).context_size` is the size
    that a model was packaged with, `docker model configure --context-size` sets another.
    """

    num_output: int = DEFAULT_NUM_OUTPUTS
    """Tokens that LlamaIndex leaves for the answer when it packs a prompt."""

    is_chat_model: bool = True
    """Whether LlamaIndex words its prompts as chats; every model here has a chat template."""

    is_function_calling_model: bool | None = None
    """Whether LlamaIndex sends tools; `None`: over HTTP it does.

    The CLI has none, and some chat templates neither: there, agents take their text form,
    `ReActAgent`. `True` makes HTTP the transport.
    """

    if not TYPE_CHECKING:  # type checkers make the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            # Not a validator: pydantic would turn this error into its own.
            refuse_foreign(settings)
            if settings.get("transport") == "cli":
                refuse_over_cli(asks_for_http(settings))
            super().__init__(**settings)
            if self._way({}) == "http":
                refuse_over_http(self.__dict__)

    @model_validator(mode="after")
    def _check_docker_model_settings(self) -> Self:
        self._docker_model({})
        self._client({})
        return self

    @classmethod
    def class_name(cls) -> str:
        """The name under which `to_dict` writes this class."""
        return "DockerModelLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex asks before each call; from the fields alone, starts nothing."""
        over_http = self.transport == "http" or (
            self.transport is None and bool(asks_for_http(self.__dict__))
        )
        return LLMMetadata(
            context_window=self.context_window,
            num_output=self.max_tokens or self.num_output,
            is_chat_model=self.is_chat_model,
            is_function_calling_model=over_http and self.is_function_calling_model is not False,
            model_name=self.model,
        )

    def to_payload(self) -> dict[str, Any]:
        """What observability sees; tracers look for `model`, which core leaves out."""
        return {
            "class_name": self.class_name(),
            **self.metadata.model_dump(),
            "model": self.model,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Pickle, and tell of the functions that core drops from the state.

        The other end would use the defaults in their place, and answer differently. Core
        drops them from the live object too, whose own dictionary it takes for the state;
        so it gets a copy.
        """
        state: dict[str, Any] = super(Fields, self.model_copy()).__getstate__()
        lost = sorted(self.__dict__.keys() - state["__dict__"].keys() - {"callback_manager"})
        if lost:
            warnings.warn(
                f"{', '.join(lost)} cannot be pickled, and the copy will be without: "
                "use functions and classes from a module's top level",
                stacklevel=2,
            )
        return state

    # --- The models behind the command ---

    @staticmethod
    def list_models(
        *, command: str | Sequence[str] | None = None, env: Mapping[str, str] | None = None
    ) -> list[ModelInfo]:
        """The models that can be used without a pull."""
        return docker_model.list_models(command=command, env=env)

    @staticmethod
    async def alist_models(
        *, command: str | Sequence[str] | None = None, env: Mapping[str, str] | None = None
    ) -> list[ModelInfo]:
        """The models that can be used without a pull."""
        return await docker_model.alist_models(command=command, env=env)

    def warm_up(self) -> None:
        """Load the model and fill the standby, so that the first answer comes soon."""
        if self._way({}) == "http":
            self._client({}).chat(self.model, _SHORTEST, max_tokens=1)
        else:
            self._docker_model({}).warm_up()

    async def awarm_up(self) -> None:
        """Load the model and fill the standby, so that the first answer comes soon."""
        if self._way({}) == "http":
            await self._client({}).achat(self.model, _SHORTEST, max_tokens=1)
        else:
            await self._docker_model({}).awarm_up()

    def close(self) -> None:
        """End the processes in standby; the model stays usable."""
        self._docker_model({}).close()

    async def aclose(self) -> None:
        """End the processes in standby; the model stays usable."""
        self.close()

    # --- The way to the model ---

    def _way(self, settings: Mapping[str, Any]) -> str:
        """The transport of a call with these settings.

        Raises:
            UnsupportedParameterError: One that the chosen transport cannot honour.
        """
        asked = asks_for_http({**self.__dict__, **settings})
        if self.transport == "cli":
            refuse_over_cli(asked)
        return self.transport or ("http" if asked else "cli")

    def _client(self, settings: Mapping[str, Any]) -> Client:
        """Make the way to the API from the fields; it costs microseconds."""
        from docker_model.http.client import Client  # noqa: PLC0415  not for the CLI

        settings = {**self.__dict__, **settings}
        names = (
            *("base_url", "api_key", "timeout", "max_retries"),
            *("max_concurrency", "pull", "on_progress", "command", "env"),
        )
        return Client(**{name: settings[name] for name in names})

    def _docker_model(self, settings: Mapping[str, Any]) -> DockerModel:
        """Make the model from the fields, which are assignable; it costs microseconds."""
        own = {name: getattr(self, name) for name in SETTINGS}
        given = {name: settings[name] for name in SETTINGS & settings.keys()}
        return standby_model_for(self, docker_model.DockerModel(**{**own, **given}))
