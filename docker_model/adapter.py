"""The names of the original CLI adapter guide, over `DockerModel`.

Code written for the guide runs unchanged, with one difference: an error is raised where the
guide's adapter returned its text as an answer, or an empty list of models.
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
        model: The name, such as `ai/smollm2`.
        settings: As for `DockerModel`.
    """

    def __init__(self, model: str, **settings: Any) -> None:
        self.model = model
        self._model = DockerModel(model, **settings)

    @staticmethod
    async def get_available_models() -> list[str]:
        """List the names of the models in the local store.

        Raises:
            DockerModelError: If they cannot be listed; an empty list means an empty store.
        """
        return [model.name for model in await alist_models()]

    async def generate(
        self, prompt: str, *, stop: str | Sequence[str] | None = None, **parameters: Any
    ) -> str:
        """Answer `prompt`, and return the text of the answer.

        Args:
            prompt: What the model reads.
            stop: Where the answer ends.
            parameters: Refused: `docker model run` takes no temperature or the like.

        Raises:
            UnsupportedParameterError: If there are parameters.
            DockerModelError: If there is no answer.
        """
        _refuse(parameters)
        return (await self._model.agenerate(prompt, stop=stop)).text

    def stream_generate(
        self, prompt: str, *, stop: str | Sequence[str] | None = None, **parameters: Any
    ) -> AsyncTextStream:
        """Answer `prompt` piece by piece, for `async for`."""
        _refuse(parameters)
        return self._model.astream(prompt, stop=stop)

    def get_capabilities(self) -> dict[str, Any]:
        """Return what the guide's adapter says of itself.

        `max_tokens` is `None`, because the CLI does not limit an answer.
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
        msg = f"`docker model run` has no way to honor {names}"
        hint = "pass sampling parameters to create_modelrunner_cli_adapter, which then uses HTTP"
        raise UnsupportedParameterError(msg, hint=hint)


async def create_modelrunner_cli_adapter(
    model: str, **settings: Any
) -> DockerModelRunnerCLIAdapter:
    """Make an adapter; a coroutine because the guide's code awaits it."""
    return DockerModelRunnerCLIAdapter(model, **settings)
