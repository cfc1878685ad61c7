"""What the settings of all classes share: how they are read, checked and shown."""

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
    """Lists the models of the runner."""

    @staticmethod
    def list_models(
        *, command: str | Sequence[str] | None = None, env: Mapping[str, str] | None = None
    ) -> list[ModelInfo]:
        """List the models that can be used without a pull."""
        with as_langchain_errors():
            return docker_model.list_models(command=command, env=env)

    @staticmethod
    async def alist_models(
        *, command: str | Sequence[str] | None = None, env: Mapping[str, str] | None = None
    ) -> list[ModelInfo]:
        """List the models that can be used without a pull."""
        with as_langchain_errors():
            return await docker_model.alist_models(command=command, env=env)


# --- Checks ---


def _secret(key: Any) -> SecretStr | None:
    if not isinstance(key, str | SecretStr | None):
        msg = f"api_key must be a string, not {type(key).__name__}"
        raise InvalidRequestError(msg, hint='such as api_key="k"')
    return SecretStr(key) if isinstance(key, str) else key


class ChecksValues(BaseModel):
    """Checks values before pydantic tries each type, since one wrong value needs one message."""

    _check_timeout = field_validator("timeout", mode="before", check_fields=False)(check_timeout)
    _check_stop = field_validator("stop", mode="before", check_fields=False)(check_stop)
    _hide_key = field_validator("api_key", mode="before", check_fields=False)(_secret)


class TraceRepr(ChecksValues, Serializable):
    """Shows a model in traces with its fields as they are now."""

    @property
    def _serialized(self) -> dict[str, Any]:
        # Core caches it, and traces would show the old fields of a changed copy.
        return cast("dict[str, Any]", dumpd(self))


def secret_text(key: SecretStr | str | None) -> str | None:
    """Return the key itself."""
    return key.get_secret_value() if isinstance(key, SecretStr) else key


def check_names(owner: type, names: Iterable[str], known: Collection[str]) -> None:
    """Raise for settings that a class does not have.

    Raises:
        UnsupportedParameterError: If there is one; the hint names the setting that may be meant.
    """
    unknown = sorted(set(names) - set(known))
    if not unknown:
        return
    msg = f"{owner.__name__} has no setting {', '.join(unknown)}"
    hints = dict.fromkeys(setting_hint(name, known, owner.__name__) for name in unknown)
    raise UnsupportedParameterError(msg, hint="; ".join(hints))


def refuse_address(settings: Mapping[str, object]) -> None:
    """Raise for the address of an HTTP API, or a key to it, with `transport="cli"`.

    Raises:
        UnsupportedParameterError: If there is one.
    """
    if settings.get("transport") != "cli":
        return
    given = [name for name in ("api_key", "base_url", "headers") if settings.get(name) is not None]
    if given:
        msg = f"transport='cli' cannot use {', '.join(given)}"
        raise UnsupportedParameterError(msg, hint="leave transport out, or set it to 'http'")


def token_ids(tokenizer: Callable[[str], list[int]] | None, text: str) -> list[int]:
    """Return the tokens of `text`.

    Raises:
        NotImplementedError: If there is no tokenizer. LangChain's fallback, GPT-2's, is wrong for
            every model here and may be downloaded on the way.
    """
    if tokenizer is None:
        msg = (
            "there is no tokenizer to count tokens with\n"
            "Hint: pass custom_get_token_ids=, or count with "
            "langchain_core.messages.utils.count_tokens_approximately"
        )
        raise NotImplementedError(msg)
    return tokenizer(text)
