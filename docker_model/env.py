"""Settings from environment variables, as Compose, Docker's samples and the guide name them."""

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
    """Make the model that the environment names.

    Args:
        name: The prefix. Compose sets `LLM_MODEL` and `LLM_URL` for a model called `llm`, and
            `EMBEDDING_MODEL_MODEL` for one called `embedding-model`.
        settings: As for `DockerModel`; they take precedence over the environment. Variables
            are read from `env=` too.

    Raises:
        InvalidRequestError: If no model is named, a value cannot be used, or
            `USE_MODEL_RUNNER` is false.
    """
    return DockerModel(**read_env(name, settings))


def read_env(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Complete `settings` from the environment, as `from_env` does.

    The model is in `<NAME>_MODEL`, `MODEL_RUNNER_MODEL` or `DEFAULT_MODEL`, the runner in
    `<NAME>_URL` or `MODEL_RUNNER_URL`, whose host becomes `MODEL_RUNNER_HOST` in `env`;
    `LOCAL_MODEL_TIMEOUT` holds milliseconds for a whole call. With `MODEL_RUNNER_TYPE=api` the
    address becomes `base_url`.

    Raises:
        InvalidRequestError: If no model is named, or a value cannot be used.
    """
    completed = dict(settings)
    variables = _Variables({**os.environ, **(settings.get("env") or {})})
    wanted = _transport(variables)
    prefix = name.upper().replace("-", "_")
    if "model" not in completed:
        completed["model"] = _model(variables, prefix)
    if "timeout" not in completed:
        timeout = _timeout(variables)
        if timeout is not None:
            completed["timeout"] = timeout
    if wanted == "http":
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
    """`from_env` for a class whose settings have `DockerModel`'s names: an adapter's."""

    @classmethod
    def from_env(cls, name: str = "LLM", **settings: Any) -> Self:
        """Make the model that the environment names, as `docker_model.from_env` does.

        Args:
            name: The prefix: Compose sets `LLM_MODEL` and `LLM_URL` for a model called `llm`.
            settings: As for the class; they take precedence over the environment.

        Raises:
            InvalidRequestError: If no model is named, a value cannot be used, or
                `USE_MODEL_RUNNER` is false.
        """
        return cast("Callable[..., Self]", cls)(**cls._read_env(name, settings))

    @classmethod
    def _read_env(cls, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Complete the settings; a class may raise its own errors instead."""
        return read_env(name, settings)


class _Variables:
    """Environment variables; a blank one counts as unset."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def first(self, *names: str) -> tuple[str, str]:
        """Return the first of `names` that is set, and its value; else two empty strings."""
        for name in names:
            value = self._variables.get(name, "").strip()
            if value:
                return name, value
        return "", ""


def _transport(variables: _Variables) -> str:
    name, value = variables.first("USE_MODEL_RUNNER")
    if value.lower() in _NO:
        msg = f"{name} is false, so Docker Model Runner is not to be used"
        raise InvalidRequestError(msg, hint=f"set {name}=true, or make a DockerModel yourself")
    if value and value.lower() not in _YES:
        msg = f"{name} is neither true nor false"
        raise InvalidRequestError(msg, hint=f"set {name}=true or {name}=false")
    name, value = variables.first("MODEL_RUNNER_TYPE")
    if value.lower() in ("api", "http"):
        return "http"
    if value and value.lower() != "cli":
        msg = f"{name} is not the name of a transport"
        raise InvalidRequestError(msg, hint=f"set {name}=cli or {name}=api")
    return "cli"


def _model(variables: _Variables, prefix: str) -> str:
    names = (f"{prefix}_MODEL", "MODEL_RUNNER_MODEL", "DEFAULT_MODEL")
    _, model = variables.first(*names)
    if not model:
        msg = f"none of {', '.join(names)} is set"
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
        raise InvalidRequestError(msg, hint=f"such as {name}=60000") from None


def _host(name: str, address: Address) -> str:
    """Return the address without its path, after which the CLI would put its own."""
    if address.socket is not None:
        msg = f"{name} names a socket, and the CLI reaches a runner over TCP"
        raise InvalidRequestError(msg, hint="set MODEL_RUNNER_TYPE=api to use a socket")
    return address.origin
