"""Parse the output of the commands other than `run`.

Parsing of JSON is lenient, because every version of the CLI forwards the data of every version
of the runner. A value of an unexpected type is treated as unknown. Other lines can precede the
JSON on stdout (`Warning: unable to open context store: …`).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from docker_model._transport import configuration, model_data
from docker_model._transport.model_data import integer, text
from docker_model.errors import PluginNotFoundError
from docker_model.types import (
    DiskUsage,
    FoundModel,
    ModelInfo,
    PullProgress,
    RunningModel,
    Status,
)

if TYPE_CHECKING:
    from docker_model._transport.configuration import Configured

# -- list and inspect ------------------------------------------------------------------------


def parse_models(stdout: str) -> list[ModelInfo]:
    """Parse `list --json`: an array, or `null`, which some servers send for an empty array.

    Raises:
        PluginNotFoundError: If the output has no array. An unknown subcommand prints help and
            exits with code 0.
    """
    return model_data.parse_models(_json(stdout, "list", (list, type(None))))


def parse_model(stdout: str) -> ModelInfo | None:
    """Parse `inspect`; `None` if the object does not describe a model.

    Raises:
        PluginNotFoundError: If the output has no object.
    """
    model = model_data.parse_model(_json(stdout, "inspect", (dict,)))
    return model if model.id or model.tags else None


def _json(stdout: str, command: str, kinds: tuple[type, ...]) -> Any:
    """Return the first JSON value of one of `kinds` at the beginning of a line."""
    decoder = json.JSONDecoder()
    for start in re.finditer(r"^(?=[\[{n])", stdout, re.MULTILINE):
        try:
            value, _ = decoder.raw_decode(stdout, start.start())
        except ValueError:
            continue
        if isinstance(value, kinds):
            return value
    msg = f"`docker model {command}` printed no JSON: the plugin is too old, or another program"
    raise PluginNotFoundError(msg, hint="check `docker model version`, and update the plugin")


# -- status and version ----------------------------------------------------------------------


def parse_status(stdout: str) -> Status:
    """Parse `status --json`.

    Raises:
        PluginNotFoundError: If the output has no object.
    """
    fields = _json(stdout, "status", (dict,))
    backends = fields.get("backends")
    backends = backends if isinstance(backends, dict) else {}
    return Status(
        running=fields.get("running") is True,
        engine=text(fields.get("kind")),
        backends={name: str(state) for name, state in backends.items()},
        # Before v1.0.5 there is only one address, and no kind.
        endpoint=_endpoint(fields.get("endpointHost", fields.get("endpoint"))),
    )


# Addresses that programs on the host cannot use: a path on the Docker socket, and a host name
# for containers. Versions up to v0.1.44 print `http://:0` if the address is unknown.
_NO_ADDRESS = re.compile(r"http://localhost/exp/|http://model-runner\.docker\.internal/|https?://:")


def _endpoint(value: object) -> str | None:
    endpoint = text(value)
    return None if endpoint is None or _NO_ADDRESS.match(endpoint) else endpoint


def parse_version(stdout: str) -> tuple[str | None, str | None]:
    """Parse `version`: the plugin's version and the kind of engine, or `None` if unknown."""
    version = re.search(
        # Since v1.0.30 the output is a block that begins with the client; before, it is a line.
        r"^(?: Version:|Docker Model Runner version) +(\S+)$",
        stdout,
        re.MULTILINE,
    )
    engine = re.search(r"^(?: Engine:|Docker Engine Kind:) +(\w.*)$", stdout, re.MULTILINE)
    return version and version[1], engine and engine[1]


# -- configure show, df and search ------------------------------------------------------------


def parse_configurations(stdout: str) -> list[Configured]:
    """Parse `configure show`.

    Raises:
        PluginNotFoundError: If the output has no array.
    """
    return configuration.parse_configurations(_json(stdout, "configure show", (list, type(None))))


_USAGE = r"^{name} +{size} *$"


def parse_disk_usage(stdout: str) -> DiskUsage:
    """Parse the table of `df`; an engine that uses no space has no row.

    Raises:
        PluginNotFoundError: If the output has no table; versions before v0.1.25 print help.
    """
    models, engine = (
        re.search(_USAGE.format(name=name, size=_SIZE), stdout, re.MULTILINE)
        for name in ("Models", "Inference engine")
    )
    if models is None:
        _refuse_table("df")
    return DiskUsage(_bytes(*models.groups()), _bytes(*engine.groups()) if engine else 0)


def parse_search(stdout: str) -> list[FoundModel]:
    """Parse `search --json`, which prints a sentence if there is no match.

    Raises:
        PluginNotFoundError: If the output has no array.
    """
    if re.search(r"^No models found", stdout, re.MULTILINE):
        return []
    results = _json(stdout, "search", (list, type(None)))
    return [_found(item) for item in results or () if isinstance(item, dict)]


def _found(item: dict[str, Any]) -> FoundModel:
    name, source = text(item.get("Name")) or "", text(item.get("Source")) or ""
    backend = text(item.get("Backend"))
    return FoundModel(
        # `pull` needs this prefix, which is missing in the JSON but not in the table.
        name=f"hf.co/{name}" if source == "HuggingFace" else name,
        description=text(item.get("Description")) or "",
        source=source,
        downloads=integer(item.get("Downloads")),
        stars=integer(item.get("Stars")),
        official=item.get("Official") is True,
        updated=text(item.get("UpdatedAt")),
        backend=None if backend == "unknown" else backend,
        size=integer(item.get("Size")) or None,  # 0 means unknown
    )


# -- ps --------------------------------------------------------------------------------------


def parse_running(stdout: str) -> list[RunningModel]:
    """Parse the table of `ps` by the positions of its headings; the last column is ignored.

    Names are shortened, because versions differ in how they print `docker.io/ai/…:latest`.

    Raises:
        PluginNotFoundError: If the output has no table; versions before v0.1.25 print help.
    """
    lines = iter(stdout.splitlines())
    for header in lines:
        if header.startswith("MODEL NAME"):
            break
    else:
        _refuse_table("ps")
    # The last column is LAST USED up to v1.0.14, and UNTIL in later versions.
    columns = [cell.start() for cell in re.finditer(r"(?<!\S)\S+(?: \S+)*", header)][:4]
    name, backend, mode, last = columns
    return [
        RunningModel(
            name=model_data.loaded_name(line[name:backend].strip()),
            backend=line[backend:mode].strip(),
            mode=line[mode:last].strip(),
            loading=line[last:].startswith("Loading"),
        )
        for line in lines
        if line.strip()
    ]


def _refuse_table(command: str) -> NoReturn:
    msg = f"`docker model {command}` printed no table: the plugin is too old, or another program"
    raise PluginNotFoundError(msg, hint="check `docker model version`, and update the plugin")


# -- pull ------------------------------------------------------------------------------------

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LINE_END = re.compile(r"[\r\n]")  # v0.1.30 and older rewrite a line with `\r`
_SIZE = r"(\d+(?:\.\d+)?) ?([kMGTPEZY]?B)"
_DOWNLOADED = re.compile(rf"Downloaded:? {_SIZE}(?: of {_SIZE})?")
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")


class PullOutput:
    """Parses the stdout of a pull as it arrives. Sizes are totals of all layers.

    Args:
        model: The model name that the caller passed.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._rest = ""

    def feed(self, data: bytes) -> list[PullProgress]:
        """Return the steps that `data` completes."""
        *lines, self._rest = _LINE_END.split(self._rest + data.decode("utf-8", "replace"))
        stripped = (_ANSI.sub("", line).strip() for line in lines)
        return [self._progress(line) for line in stripped if line]

    def _progress(self, line: str) -> PullProgress:
        match = _DOWNLOADED.fullmatch(line)
        if match is None:
            return PullProgress(self._model, line)
        current, unit, total, total_unit = match.groups()
        return PullProgress(
            self._model,
            line,
            _bytes(current, unit),
            (_bytes(total, total_unit) or None) if total is not None else None,  # 0 is unknown
        )


def _bytes(number: str, unit: str) -> int:
    scale: int = 1000 ** _UNITS.index(unit)
    return round(float(number) * scale)
