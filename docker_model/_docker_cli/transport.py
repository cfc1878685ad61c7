"""The transport that answers prompts with `docker model run`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from docker_model._docker_cli import management
from docker_model._docker_cli.prompt_guard import guard, may_name_files
from docker_model._docker_cli.request import CliRequest
from docker_model._docker_cli.shared_state import SharedState
from docker_model._runtime import io_thread
from docker_model._transport.failures import PATIENCE, explain
from docker_model.errors import (
    DockerModelError,
    ModelNotFoundError,
    ResourceError,
    UnsupportedParameterError,
)

if TYPE_CHECKING:
    from docker_model._docker_cli.request import RunOptions
    from docker_model._transport.protocol import Receiver, Request
    from docker_model.options import FileReferences
    from docker_model.types import Completion


@dataclass(frozen=True, slots=True)
class CliTransport:
    """Answers requests through `docker model run`.

    Attributes:
        options: The settings of the runs.
        file_references: The policy of the prompt guard.
    """

    options: RunOptions
    file_references: FileReferences

    def prepare(self, request: Request) -> Request:
        """Apply the prompt guard, so that the CLI reads no local files that the prompt names.

        Raises:
            FileReferenceError: If the prompt names a file and the policy is `"refuse"`.
            ResourceError: If the file system cannot be read.
        """
        if not self.needs_file_check(request):
            return request
        try:
            prompt = guard(request.prompt, self.file_references, cwd=self.options.cwd())
        except OSError as error:
            # The prompt possibly names a file, so it is not sent.
            msg = f"the prompt cannot be searched for local files: {error.strerror}"
            raise ResourceError(msg, hint="close files, or raise `ulimit -n`") from error
        return replace(request, prompt=prompt)

    def needs_file_check(self, request: Request) -> bool:
        """Whether the prompt possibly names local files; does not access files."""
        return self.file_references != "allow" and may_name_files(request.prompt)

    async def generate(self, request: Request, receiver: Receiver) -> Completion:
        """Answer `request`, and pass the pieces to `receiver` as they arrive.

        Raises:
            DockerModelError: If the run fails.
        """
        try:
            return await CliRequest(self.options, request, receiver).completion()
        except DockerModelError as error:
            await self._explain(error, request.model)
            raise

    async def warm_up(self, model: str) -> None:
        """Load `model` and start the standby processes, so that the next answer begins sooner.

        Raises:
            DockerModelError: If the model is missing or cannot be loaded.
        """
        try:
            await self._warm_up(model)
        except DockerModelError as error:
            await self._explain(error, model)
            raise

    async def _warm_up(self, model: str) -> None:
        options = self.options
        spec = options.spec
        shared = io_thread.current().local(SharedState)
        asked_at = asyncio.get_running_loop().time()
        try:
            await management.ManagementCommands(spec, timeout=None).inspect(model)
        except ModelNotFoundError:
            if options.pull == "never":
                raise
            await management.pull(spec, model, options.on_progress)
        shared.presence.remember(spec, model, asked_at, options.remembered)
        pool = shared.pool(spec, model, options.cwd, options.owner)
        try:
            await management.preload(spec, model)
        except UnsupportedParameterError:  # an old CLI loads the model in the first run
            if pool is not None:
                await shared.detect_color(spec, model)
        if pool is not None:
            await pool.fill()

    async def _explain(self, error: DockerModelError, model: str) -> None:
        commands = management.ManagementCommands(self.options.spec, PATIENCE)
        await explain(error, model, commands)
