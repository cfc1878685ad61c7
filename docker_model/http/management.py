"""Manage models over the runner's HTTP API, on the I/O thread."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from docker_model._runtime import io_thread
from docker_model._runtime.tasks import SingleFlight
from docker_model._runtime.timeouts import timeout_scope
from docker_model._transport import configuration as configurations
from docker_model._transport import model_data
from docker_model._transport.failure_table import MANAGEMENT
from docker_model._transport.failures import Failure, model_not_found
from docker_model._transport.log import LOG
from docker_model._transport.model_data import integer, mapping, sequence
from docker_model._transport.model_names import same_model, split_tag
from docker_model.errors import (
    GenerationError,
    ModelNotFoundError,
    RunnerUnavailableError,
    UnsupportedParameterError,
)
from docker_model.http import bodies, chats, discovery, failures, observation, pulls
from docker_model.http.connections import ConnectFailed, ConnectionLost, Connections
from docker_model.types import DiskUsage, ModelConfiguration, ModelInfo, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from docker_model._runtime import Sink
    from docker_model._transport.configuration import Configured
    from docker_model.http.discovery import DiscoveryInputs, Endpoint
    from docker_model.http.observation import Observation
    from docker_model.http.request import RequestOptions
    from docker_model.types import FoundModel, Mode, PullProgress, RunningModel

_ADDRESS_HINT = "check that base_url, or MODEL_RUNNER_HOST, is the address of the runner itself"
_PATHS = {"embedding": "/embeddings", "reranking": "/rerank"}
_WELL = range(200, 300)
_NOT_FOUND = 404

# Descriptions of models by runner and name. Only the I/O thread changes these three dicts.
_known: dict[tuple[DiscoveryInputs, str], ModelInfo] = {}
# The observed capabilities of chat models, by runner and id.
_observed: dict[tuple[DiscoveryInputs, str], Observation] = {}
# The configurations that `configure_once` has set, by runner and name.
_configured: dict[tuple[DiscoveryInputs, str], list[ModelConfiguration]] = {}


def known_model(place: DiscoveryInputs, model: str) -> ModelInfo | None:
    """Return the description of a model that this process remembers, without a request."""
    return _known.get((place, model))


def is_configured(place: DiscoveryInputs, model: str, settings: Mapping[str, Any]) -> bool:
    """Whether `configure_once` has set these values for a model; makes no request."""
    return any(
        all(getattr(configuration, key) == settings[key] for key in settings)
        for configuration in _configured.get((place, model), ())
    )


@dataclass(frozen=True, slots=True)
class HttpManagement:
    """The management operations of one runner.

    Attributes:
        options: The settings of requests; `options.timeouts.total` limits each operation.
    """

    options: RequestOptions

    async def list_models(self) -> list[ModelInfo]:
        """List the models of the local store."""
        models = model_data.parse_models(await self._get("/models"))
        configured = await configurations.if_readable(self._configured(""))
        return [
            model_data.with_configuration(model, configurations.select(configured, model))
            for model in models
        ]

    async def inspect(self, name: str) -> ModelInfo:
        """Describe a model, and store the description for this process.

        Raises:
            ModelNotFoundError: If the model is not in the local store.
        """
        model = await self._packaged(name)
        configured = await configurations.if_readable(self._configured(name))
        model = model_data.with_configuration(model, configurations.select(configured, model))
        return self._remember(name, model)

    async def observe(self, name: str) -> ModelInfo:
        """Describe a model, including what only its engine reports. This loads a chat model.

        Raises:
            ModelNotFoundError: If the model is not in the local store.
        """
        model = known_model(self.options.place, name) or await self.inspect(name)
        key = self.options.place, model.id or name
        if key in _observed or _mode(model) != "completion":
            return model
        if (seen := await observation.observe(self.options, name)) is not None:
            _observed[key] = seen
        return self._remember(name, model)

    def _remember(self, name: str, model: ModelInfo) -> ModelInfo:
        seen = _observed.get((self.options.place, model.id or name))
        model = model if seen is None else seen.of(model)
        _known[self.options.place, name] = model
        return model

    async def list_running(self) -> list[RunningModel]:
        """List the loaded models."""
        return [model_data.parse_running(item) for item in await self.loaded()]

    async def loaded(self) -> list[dict[str, Any]]:
        """Return the loaded models as JSON objects of the runner."""
        loaded = sequence(await self._get("/engines/ps"))
        return [item for item in loaded if isinstance(item, dict)]

    async def pull(
        self, name: str, sink: Sink[PullProgress | ModelInfo], token: str | None = None
    ) -> None:
        """Put each step of a pull into `sink`, then the model.

        Raises:
            PullError: If the pull failed.
        """
        async with timeout_scope("total", self.options.timeouts.total):
            endpoint = await self.endpoint()
            headers = self.options.headers_for(endpoint)
            await pulls.pull(endpoint.link, headers, name, sink.put, token)
        sink.put(await self.inspect(name))

    async def preload(self, name: str) -> None:
        """Load a model in its default mode, wait until it is loaded, and observe it."""
        model = await self.inspect(name)
        await chats.preload(self.options, name, _PATHS.get(_mode(model), chats.PATH))
        await self.observe(name)

    async def unload(self, name: str) -> None:
        """Unload a model."""
        await self._send("POST", "/engines/unload", {"models": [name]}, model=name)

    async def configure(self, name: str, changes: ModelConfiguration) -> None:
        """Change the configuration of a model for one mode.

        Raises:
            GenerationError: If the model is in use.
        """
        model = await self._packaged(name)
        changes = configurations.completed(changes, model)
        old = configurations.select(await self._configured(name), model, changes.mode)
        body = configurations.to_request(name, configurations.changed(old, changes))
        await self._send("POST", "/engines/_configure", body, model=name)
        _known.pop((self.options.place, name), None)

    async def configure_once(self, name: str, changes: ModelConfiguration) -> str:
        """Configure a model, unless it is already configured; concurrent calls share this.

        Returns:
            A warning, if the change affects other users; otherwise an empty string.

        Raises:
            GenerationError: If the model is in use.
        """
        warnings: list[str] = []
        flight = io_thread.current().local(SingleFlight)
        key = ("configure", self.options.place, name, changes)
        await flight.do(key, lambda: self._configure_unless(name, changes, warnings.append))
        return "".join(warnings)

    async def _configure_unless(
        self, name: str, changes: ModelConfiguration, warn: Callable[[str], None]
    ) -> None:
        model = await self._packaged(name)
        configured = await self._configured(name)
        required = configurations.required(changes, model, configured)
        old = configurations.select(configured, model, required.mode)
        if not configurations.in_force(old, required):
            loaded = await self._is_loaded(model, required.mode)
            if old is not None or loaded:
                state = "is loaded" if loaded else "was configured by others"
                warning = (
                    f"{name!r} {state}; its configuration now changes for all users of this "
                    f"runner: {configurations.describe(required)}"
                )
                LOG.warning("%s", warning)
                warn(warning)
            await self.configure(name, required)
        _configured.setdefault((self.options.place, name), []).append(changes)
        await self.inspect(name)

    async def _is_loaded(self, model: ModelInfo, mode: Mode | None) -> bool:
        return any(
            item.mode == mode and same_model(item.name, tag)
            for item in await self.list_running()
            for tag in model.tags or (model.name,)
        )

    async def configuration(self, name: str, mode: Mode | None) -> ModelConfiguration | None:
        """Return the configuration of a model, or `None` if the model is not configured."""
        model = await self._packaged(name)
        return configurations.select(await self._configured(name), model, mode)

    async def _configured(self, name: str) -> list[Configured]:
        """Return the configurations of all models or one model; empty before v1.0.10.

        Raises:
            DockerModelError: If the request failed. A change of a configuration would then
                overwrite the values of others.
        """
        query = f"?{urlencode({'model': name})}" if name else ""
        try:
            entries = await self._get(f"/engines/_configure{query}", name)
        except (ModelNotFoundError, RunnerUnavailableError):  # 404 and 405 of old runners
            return []
        return configurations.parse_configurations(entries)

    async def remove(self, name: str, *, force: bool) -> None:
        """Remove a model, or one of its tags.

        Raises:
            ModelNotFoundError: If the model is not in the local store.
        """
        query = urlencode({"force": str(force).lower()})
        await self._send("DELETE", f"/models/{_path(name)}?{query}", model=name)
        _known.pop((self.options.place, name), None)

    async def tag(self, name: str, tag: str) -> None:
        """Add another name to a model."""
        repository, version = split_tag(tag)
        query = urlencode({"repo": repository, "tag": version or "latest"})
        await self._send("POST", f"/models/{_path(name)}/tag?{query}", model=name)

    async def disk_usage(self) -> DiskUsage:
        """Return the used disk space."""
        usage = mapping(await self._get("/engines/df"))
        return DiskUsage(
            models=integer(usage.get("models_disk_usage")) or 0,
            engine=integer(usage.get("default_backend_disk_usage")) or 0,
        )

    async def search(self, term: str, limit: int) -> list[FoundModel]:
        """Raise an error, because the runner has no search.

        Raises:
            UnsupportedParameterError: If called.
        """
        msg = f"the runner's HTTP API cannot search for models (term {term!r}, limit {limit})"
        hint = 'remove transport="http" and base_url, so that the command can search'
        raise UnsupportedParameterError(msg, hint=hint)

    async def status(self) -> Status:
        """Return the state of the runner.

        Raises:
            RunnerUnavailableError: If the runner is not found.
        """
        endpoint = await self.endpoint()
        backends = mapping(await self._get("/engines/status"))
        return Status(
            running=True,
            backends={name: str(state) for name, state in backends.items()},
            endpoint=endpoint.url,
        )

    async def _packaged(self, name: str) -> ModelInfo:
        """Return a model with its packaged context size."""
        model = model_data.parse_model(mapping(await self._get(f"/models/{_path(name)}", name)))
        if not (model.id or model.tags):
            raise model_not_found(name)
        return model

    # -- requests ------------------------------------------------------------------------

    async def endpoint(self) -> Endpoint:
        """Return the address of the runner.

        Raises:
            RunnerUnavailableError: If the runner is not found.
        """
        place = self.options.place
        return discovery.known(place) or await discovery.find(place)

    async def _get(self, path: str, model: str = "") -> Any:
        reply = await self._send("GET", path, model=model)
        try:
            return json.loads(reply)
        except ValueError:
            msg = f"the reply to GET {path.partition('?')[0]} is not JSON"
            raise GenerationError(msg, hint=_ADDRESS_HINT) from None

    async def _send(self, method: str, path: str, body: Any = None, *, model: str = "") -> bytes:
        """Send a request to the runner itself, and return the body of its reply.

        Raises:
            DockerModelError: If the runner rejects the request, or does not respond.
        """
        async with timeout_scope("total", self.options.timeouts.total):
            try:
                status, data = await self._exchange(method, path, body)
            except ConnectFailed:  # the address is possibly outdated
                discovery.forget(self.options.place)
                try:
                    status, data = await self._exchange(method, path, body)
                except ConnectFailed as error:
                    endpoint = await self.endpoint()
                    raise failures.no_connection(endpoint.root) from error
        if status in _WELL:
            return data
        words = data.decode("utf-8", "replace")
        if status == _NOT_FOUND and model:
            raise model_not_found(model)
        named = Failure(path, model, words).match(MANAGEMENT)
        raise named or failures.name_reply(status, words, model)

    async def _exchange(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        endpoint = await self.endpoint()
        headers = self.options.headers_for(endpoint)
        data = None
        if body is not None:
            data = bodies.encode(body)
            headers = {"Content-Type": "application/json", **headers}
        connections = io_thread.current().local(Connections)
        url = endpoint.root + path
        try:
            async with connections.send(endpoint.link, method, url, headers, data) as reply:
                return reply.status, await reply.read()
        except ConnectionLost as error:
            raise failures.no_connection(endpoint.root) from error


def _mode(model: ModelInfo) -> str:
    return configurations.completed(ModelConfiguration(), model).mode or ""


def _path(name: str) -> str:
    """Return a model name for a URL; the runner requires unescaped slashes and colons."""
    return quote(name, safe="/:@[]")
