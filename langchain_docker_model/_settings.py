"""Code for settings that all classes share: reading, validation and tracing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langchain_core.load import dumpd
from langchain_core.load.serializable import Serializable
from pydantic import BaseModel, SecretStr, field_validator

import docker_model
from docker_model import env
from docker_model._setting_names import setting_hint
from docker_model.options import check_stop, check_timeout
from langchain_docker_model.errors import (
    InvalidRequestError,
    UnsupportedParameterError,
    as_langchain_errors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from docker_model.options import TransportName
    from docker_model.types import ModelInfo

__all__ = [
    "ChecksValues",
    "FromEnv",
    "ListsModels",
    "TraceRepr",
    "check_names",
    "refuse_address",
    "secret_text",
    "token_ids",
]


class FromEnv(env.FromEnv):
    """`docker_model.env.FromEnv` with LangChain's errors."""

    @classmethod
    def _read_env(cls, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        with as_langchain_errors():
            return super()._read_env(name, settings)


class ListsModels:
    """Methods that list the models of the runner."""

    @staticmethod
    def list_models(
        *,
        command: str | Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        transport: TransportName | None = None,
        base_url: str | None = None,
    ) -> list[ModelInfo]:
        """List the models that can be used without a pull."""
        with as_langchain_errors():
            return docker_model.list_models(
                command=command, env=env, transport=transport, base_url=base_url
            )

    @staticmethod
    async def alist_models(
        *,
        command: str | Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        transport: TransportName | None = None,
        base_url: str | None = None,
    ) -> list[ModelInfo]:
        """List the models that can be used without a pull."""
        with as_langchain_errors():
            return await docker_model.alist_models(
                command=command, env=env, transport=transport, base_url=base_url
            )


# --- Checks ---


def _secret(key: Any) -> SecretStr | None:
    if not isinstance(key, str | SecretStr | None):
        msg = f"api_key must be a string, not {type(key).__name__}"
        raise InvalidRequestError(msg, hint='for example api_key="k"')
    return SecretStr(key) if isinstance(key, str) else key


class ChecksValues(BaseModel):
    """Validates values before pydantic tries each type of a union, for a single error message."""

    _check_timeout = field_validator("timeout", mode="before", check_fields=False)(check_timeout)
    _check_stop = field_validator("stop", mode="before", check_fields=False)(check_stop)
    _hide_key = field_validator("api_key", mode="before", check_fields=False)(_secret)


class TraceRepr(ChecksValues, Serializable):
    """Traces a model with the current values of its fields."""

    @property
    def _serialized(self) -> dict[str, Any]:
        # Core caches this value, so traces of a changed copy would show the old fields.
        return cast("dict[str, Any]", dumpd(self))


def secret_text(key: SecretStr | str | None) -> str | None:
    """Return the API key as plain text."""
    return key.get_secret_value() if isinstance(key, SecretStr) else key


def check_names(owner: type, names: Iterable[str], known: Collection[str]) -> None:
    """Raise an error for settings that a class does not have.

    Raises:
        UnsupportedParameterError: If there is one; the hint suggests a similar setting.
    """
    unknown = sorted(set(names) - set(known))
    if not unknown:
        return
    msg = f"{owner.__name__} has no setting {', '.join(unknown)}"
    hints = dict.fromkeys(setting_hint(name, known, owner.__name__) for name in unknown)
    raise UnsupportedParameterError(msg, hint="; ".join(hints))


def refuse_address(settings: Mapping[str, object]) -> None:
    """Raise an error for `base_url`, `api_key` or `headers` with `transport="cli"`.

    Raises:
        UnsupportedParameterError: If one of them is set.
    """
    if settings.get("transport") != "cli":
        return
    names = [name for name in ("api_key", "base_url", "headers") if settings.get(name) is not None]
    if names:
        msg = f"transport='cli' cannot use {', '.join(names)}"
        raise UnsupportedParameterError(msg, hint="leave transport out, or set it to 'http'")


def token_ids(tokenizer: Callable[[str], list[int]] | None, text: str) -> list[int]:
    """Return the token ids of `text`.

    Raises:
        NotImplementedError: If there is no tokenizer. LangChain's default is the tokenizer of
            GPT-2, which is wrong for these models and might have to be downloaded.
    """
    if tokenizer is None:
        msg = (
            "no tokenizer is configured, and the runner sends no token ids\n"
            "Hint: pass custom_get_token_ids=, or count with get_num_tokens(), which needs no ids"
        )
        raise NotImplementedError(msg)
    return tokenizer(text)
