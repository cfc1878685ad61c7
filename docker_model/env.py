"""Settings from environment variables, with the names that Compose and Docker's samples use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from docker_model.client import DockerModel
from docker_model.errors import InvalidRequestError
from docker_model.options import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from docker_model.http.addresses import Address

__all__ = ["FromEnv", "from_env", "read_env"]

_YES = frozenset({"true", "1", "yes", "on"})
_NO = frozenset({"false", "0", "no", "off"})


def from_env(name: str = "LLM", **settings: Any) -> DockerModel:
    """Create a `DockerModel` from environment variables.

    Args:
        name: The prefix of the variables. Compose sets `LLM_MODEL` and `LLM_URL` for a model
            called `llm`, and `EMBEDDING_MODEL_MODEL` for a model called `embedding-model`.
        settings: As for `DockerModel`; they take precedence over the environment. Variables in
            `env=` are read too.

    Raises:
        InvalidRequestError: If no variable sets the model, a value is invalid, or
            `USE_MODEL_RUNNER` is false.
    """
    return DockerModel(**read_env(name, settings))


def read_env(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings`, completed from environment variables.

    The first variable that is set provides the value:

    * the model: `<NAME>_MODEL`, `MODEL_RUNNER_MODEL` or `DEFAULT_MODEL`;
    * the address: `<NAME>_URL` or `MODEL_RUNNER_URL`. It becomes `base_url` with
      `MODEL_RUNNER_TYPE=api`, and otherwise `MODEL_RUNNER_HOST` in `env`;
    * the timeout of a whole call, in milliseconds: `LOCAL_MODEL_TIMEOUT`.

    Raises:
        InvalidRequestError: If no variable sets the model, or a value is invalid.
    """
    completed = dict(settings)
    variables = _Variables({**os.environ, **(settings.get("env") or {})})
    transport = _transport(variables)
    prefix = name.upper().replace("-", "_")
    if "model" not in completed:
        completed["model"] = _model(variables, prefix)
    if "timeout" not in completed:
        timeout = _timeout(variables)
        if timeout is not None:
            completed["timeout"] = timeout
    if transport == "http":
        completed.setdefault("transport", "http")
    source, url = variables.first(f"{prefix}_URL", "MODEL_RUNNER_URL")
    if url:
        from docker_model.http.addresses import parse

        address = parse(url, source)
        if completed.get("transport") == "http":
            completed.setdefault("base_url", url)
        else:
            host = _host(source, address)
            completed["env"] = {"MODEL_RUNNER_HOST": host, **(settings.get("env") or {})}
    return completed


class FromEnv:
    """A mixin with `from_env`, for adapter classes that have the settings of `DockerModel`."""

    @classmethod
    def from_env(cls, name: str = "LLM", **settings: Any) -> Self:
        """Create a model from environment variables, as `docker_model.from_env` does.

        Args:
            name: The prefix: Compose sets `LLM_MODEL` and `LLM_URL` for a model called `llm`.
            settings: As for the class; they take precedence over the environment.

        Raises:
            InvalidRequestError: If no variable sets the model, a value is invalid, or
                `USE_MODEL_RUNNER` is false.
        """
        return cast("Callable[..., Self]", cls)(**cls._read_env(name, settings))

    @classmethod
    def _read_env(cls, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Call `read_env`; a subclass can override this to raise its own errors."""
        return read_env(name, settings)


class _Variables:
    """Environment variables; a blank one counts as unset."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def first(self, *names: str) -> tuple[str, str]:
        """Return the first variable that is set, and its value, or two empty strings."""
        for name in names:
            value = self._variables.get(name, "").strip()
            if value:
                return name, value
        return "", ""


def _transport(variables: _Variables) -> str:
    name, value = variables.first("USE_MODEL_RUNNER")
    if value.lower() in _NO:
        msg = f"{name} is false, so Docker Model Runner is disabled"
        raise InvalidRequestError(msg, hint=f"set {name}=true, or create a DockerModel directly")
    if value and value.lower() not in _YES:
        msg = f"{name} must be true or false"
        raise InvalidRequestError(msg, hint=f"set {name}=true or {name}=false")
    name, value = variables.first("MODEL_RUNNER_TYPE")
    if value.lower() in ("api", "http"):
        return "http"
    if value and value.lower() != "cli":
        msg = f"{name} must be the name of a transport"
        raise InvalidRequestError(msg, hint=f"set {name}=cli or {name}=api")
    return "cli"


def _model(variables: _Variables, prefix: str) -> str:
    names = (f"{prefix}_MODEL", "MODEL_RUNNER_MODEL", "DEFAULT_MODEL")
    _, model = variables.first(*names)
    if not model:
        msg = f"no model name: {', '.join(names)} are unset"
        raise InvalidRequestError(msg, hint=f"set {names[0]}=ai/smollm2, or pass model=")
    return model


def _timeout(variables: _Variables) -> Timeouts | None:
    name, value = variables.first("LOCAL_MODEL_TIMEOUT")
    if not value:
        return None
    try:
        return Timeouts(total=float(value) / 1000)
    except ValueError:  # not a number, or not a positive one
        msg = f"{name} must be a positive number of milliseconds"
        raise InvalidRequestError(msg, hint=f"for example {name}=60000") from None


def _host(name: str, address: Address) -> str:
    """Return the address without its path, because the CLI appends its own path."""
    if address.socket is not None:
        msg = f"{name} is the address of a socket, but the CLI connects over TCP"
        raise InvalidRequestError(msg, hint="set MODEL_RUNNER_TYPE=api to use a socket")
    return address.origin
