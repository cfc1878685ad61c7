"""The names of the original CLI adapter guide, over `DockerModel`.

Code written for the guide runs unchanged but for this: an error is raised, where the
guide's adapter gave its text as an answer, or an empty list of models.
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
    """A model of Docker Model Runner behind the guide's five names.

    Args:
        model: The name, such as `ai/smollm2`.
        settings: As for `DockerModel`.
    """

    def __init__(self, model: str, **settings: Any) -> None:
        self.model = model
        self._model = DockerModel(model, **settings)

    @staticmethod
    async def get_available_models() -> list[str]:
        """The names of the models of the local store.

        Raises:
            DockerModelError: They cannot be told. An empty list means that there are none.
        """
        return [model.name for model in await alist_models()]

    async def generate(
        self, prompt: str, *, stop: str | Sequence[str] | None = None, **parameters: Any
    ) -> str:
        """Answer `prompt`; the answer's text.

        Args:
            prompt: What the model is to read.
            stop: Where the answer ends.
            parameters: None: `docker model run` takes no temperature or the like.

        Raises:
            UnsupportedParameterError: There are parameters.
            DockerModelError: See `docker_model.errors`.
        """
        _refuse(parameters)
        return (await self._model.agenerate(prompt, stop=stop)).text

    def stream_generate(
        self, prompt: str, *, stop: str | Sequence[str] | None = None, **parameters: Any
    ) -> AsyncTextStream:
        """The same piece by piece, for `async for`."""
        _refuse(parameters)
        return self._model.astream(prompt, stop=stop)

    def get_capabilities(self) -> dict[str, Any]:
        """What the model can do, as far as the CLI can tell.

        `max_tokens` is `None`: the guide's 2048 was made up, and the CLI caps nothing.
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
        msg = f"`docker model run` has no way to honour {names}"
        hint = "leave it out; sampling parameters need the HTTP transport"
        raise UnsupportedParameterError(msg, hint=hint)


async def create_modelrunner_cli_adapter(
    model: str, **settings: Any
) -> DockerModelRunnerCLIAdapter:
    """Make an adapter. There is nothing to await; the guide's code does so all the same."""
    return DockerModelRunnerCLIAdapter(model, **settings)
