"""`from_env` for every class, with LangChain's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docker_model import env
from langchain_docker_model.errors import as_langchain_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FromEnv"]


class FromEnv(env.FromEnv):
    """See `docker_model.env.FromEnv`."""

    @classmethod
    def _read_env(cls, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        with as_langchain_errors():
            return super()._read_env(name, settings)
