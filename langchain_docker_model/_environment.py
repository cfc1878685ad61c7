"""`from_env`, for every class: settings from environment variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from docker_model.settings import read_env
from langchain_docker_model.errors import as_langchain_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

__all__ = ["FromEnv"]


class FromEnv:
    """A class whose settings have `docker_model.DockerModel`'s names."""

    @classmethod
    def from_env(cls, name: str = "LLM", **settings: Any) -> Self:
        """Make the model that the environment names, as `docker_model.from_env` does.

        Args:
            name: The prefix: `LLM_MODEL` and `LLM_URL` are what Compose makes of a model
                called `llm`.
            settings: As for the class; they go before the environment.

        Raises:
            InvalidRequestError: No model is named, a value is no good, or `USE_MODEL_RUNNER`
                says that Docker Model Runner is not to be used.
        """
        with as_langchain_errors():
            completed = read_env(name, settings)
        return cast("Callable[..., Self]", cls)(**completed)
