"""One call: its process, its version, and the runner that it talks to."""

from __future__ import annotations

import os

from .http import Client
from .texts import CommandError, no_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .process import Plugin
    from .versions import Features

ENGINE = "http://localhost:12434"


class Session:
    """What every command works with.

    Attributes:
        plugin: This process.
        features: What its version can do.
        client: Requests to it.
        kind: `Docker Engine`, or `Docker Engine (Manual Install)` with MODEL_RUNNER_HOST.
    """

    def __init__(self, plugin: Plugin, features: Features, address: str, call: str) -> None:
        """Find the runner, by the same variables as the real CLI.

        Args:
            plugin: See above.
            features: See above.
            address: Where the simulated engine's runner listens.
            call: Which call of the simulation this is, told to the runner.

        Raises:
            CommandError: MODEL_RUNNER_HOST is no address (old versions).
        """
        self.plugin = plugin
        self.features = features
        headers = {
            "User-Agent": f"docker-model-cli/{features.version}",
            "X-Simulated-Call": call,
        }
        host = os.environ.get("MODEL_RUNNER_HOST", "")
        if host and "://" not in host:
            if not features.host_without_scheme:
                msg = (
                    "unable to detect model runner context: invalid model runner URL "
                    f'({host}): parse "{host}": first path segment in URL cannot contain colon'
                )
                raise CommandError(msg)
            host = f"http://{host}"
        self.kind = "Docker Engine (Manual Install)" if host else "Docker Engine"
        self._engine_gone = not host and _engine_gone()
        self.client = Client(
            (host or ENGINE).rstrip("/"),
            plugin,
            headers,
            "" if self._engine_gone else address if not host else None,
        )

    def need_engine(self) -> None:
        """Raise what a command says that finds no Docker daemon and wants to install a runner."""
        if self._engine_gone and not os.environ.get("MODEL_RUNNER_NO_AUTO_INSTALL"):
            msg = (
                "unable to initialize standalone model runner: "
                "unable to identify existing standalone model runner"
            )
            raise no_engine(msg, new=self.features.new_engine_text)

    def need_engine_for_status(self) -> None:
        """The same for `status`, which asks the daemon in any case."""
        self.need_engine()
        if self._engine_gone and self.features.status_asks_daemon:
            msg = (
                "unable to get standalone model runner info: unable to find standalone model runner"
            )
            raise no_engine(msg, new=self.features.new_engine_text)


def _engine_gone() -> bool:
    docker_host = os.environ.get("DOCKER_HOST", "")
    path = docker_host.removeprefix("unix://")
    return path != docker_host and not os.path.exists(path)  # noqa: PTH110 - pathlib costs 10 ms
