"""The class and function of the original CLI adapter guide, built on `DockerModel`.

Code written for the guide runs unchanged, with one difference: errors are raised. The guide's
adapter returned the text of an error as the answer, or an empty list of models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docker_model.client import DockerModel
from docker_model.errors import UnsupportedParameterError
from docker_model.management import alist_models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docker_model.streams import AsyncTextStream

__all__ = ["DockerModelRunnerCLIAdapter", "create_modelrunner_cli_adapter"]


class DockerModelRunnerCLIAdapter:
    """A model of Docker Model Runner with the methods of the guide's adapter.

    Args:
        model: The model name, such as `ai/smollm2`.
        settings: As for `DockerModel`.
    """

    def __init__(self, model: str, **settings: Any) -> None:
        self.model = model
        self._model = DockerModel(model, **settings)

    @staticmethod
    async def get_available_models() -> list[str]:
        """List the names of the models in the local store.

        Raises:
            DockerModelError: If listing fails; an empty list means an empty store.
        """
        return [model.name for model in await alist_models()]

    async def generate(
        self, prompt: str, *, stop: str | Sequence[str] | None = None, **parameters: Any
    ) -> str:
        """Answer `prompt`, and return the text of the answer.

        Args:
            prompt: The prompt.
            stop: Stop sequences.
            parameters: Not supported: `docker model run` has no sampling parameters.

        Raises:
            UnsupportedParameterError: If parameters are passed.
            DockerModelError: If the call fails.
        """
        _refuse(parameters)
        return (await self._model.agenerate(prompt, stop=stop)).text

    def stream_generate(
        self, prompt: str, *, stop: str | Sequence[str] | None = None, **parameters: Any
    ) -> AsyncTextStream:
        """Answer `prompt`, and return a stream of text for `async for`."""
        _refuse(parameters)
        return self._model.astream(prompt, stop=stop)

    def get_capabilities(self) -> dict[str, Any]:
        """Return the capabilities, in the format of the guide's adapter.

        `max_tokens` is `None`, because the CLI does not limit the length of an answer.
        """
        return {
            "streaming": True,
            "max_tokens": None,
            "provider": "docker_model",
            "model": self.model,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"


def _refuse(parameters: dict[str, Any]) -> None:
    if parameters:
        names = ", ".join(sorted(parameters))
        msg = f"`docker model run` does not support {names}"
        hint = "pass sampling parameters to create_modelrunner_cli_adapter, which then uses HTTP"
        raise UnsupportedParameterError(msg, hint=hint)


async def create_modelrunner_cli_adapter(
    model: str, **settings: Any
) -> DockerModelRunnerCLIAdapter:
    """Create an adapter. This is a coroutine because the guide's code awaits it."""
    return DockerModelRunnerCLIAdapter(model, **settings)
