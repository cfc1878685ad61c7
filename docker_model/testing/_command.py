"""The behavior of `docker` and its plugin `docker model`, for all commands of this library.

This code runs in the test's process and controls the started program,
`docker_model.testing._program`. It simulates two versions, the newest one and v0.1.40. Versions
before v0.1.45 behave like v0.1.40. A command gets its session, its flags and its words.
"""

from __future__ import annotations

import contextlib
import json
import re
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker_model.testing._session import (
    NOT_RUNNING,
    CommandError,
    Ended,
    RunnerReply,
    Session,
    parse_json,
    refuse,
)
from docker_model.testing.models import normalize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from docker_model.testing._runner import Runner
    from docker_model.testing._session import CommandProcess

NO_PLUGIN = 125
# The flags of `configure`, and their places in the request.
CONFIGURE = {
    "context-size": "context-size",
    "gpu-memory-utilization": "vllm.gpu-memory-utilization",
    "hf_overrides": "vllm.hf-overrides",
    "keep-alive": "keep_alive",
    "mode": "mode",
    "speculative-draft-model": "speculative.draft_model",
    "speculative-min-acceptance-rate": "speculative.min_acceptance_rate",
    "speculative-num-tokens": "speculative.num_tokens",
    "think": "llamacpp.reasoning-budget",
}
TEXTS = ("keep-alive", "mode", "speculative-draft-model")  # the others are JSON values
CHAT = "/engines/v1/chat/completions"
KILO = 1000
IMAGES = (".jpg", ".jpeg", ".png", ".webp")
_REFERENCE = re.compile(r"""@["']?([^\s@"']+)["']?""")


def run_command(process: CommandProcess, runner: Runner) -> None:
    session = Session(process, runner)
    try:
        if not runner.scenario.plugin:
            process.exit(_without_plugin(session))
        process.order("pair", b"deaf" if session.old else b"")
        for step in runner.scenario.startup:
            process.play(step)
        process.exit(_with_plugin(session))
    except Ended:
        pass


def _without_plugin(session: Session) -> int:
    """Run the call like a `docker` without the plugin; return the exit code."""
    flags = [word for word in session.process.call.argv if word.startswith("-")]
    if flags and flags[0] != "--":
        session.process.err(f"unknown flag: {flags[0]}\n\nUsage:  docker [OPTIONS] COMMAND\n")
        return NO_PLUGIN
    session.process.err("docker: unknown command: docker model\n")
    return 1


def _with_plugin(session: Session) -> int:
    """Run a command of the plugin; return the exit code."""
    name, *args = session.process.call.argv[1:] or [""]
    if name not in COMMANDS:
        # The CLI prints its help and exits with code 0.
        session.process.out("Usage:  docker model COMMAND\n")
        return 0
    command, known, known_to_old = COMMANDS[name]
    try:
        flags, words = parse(args, known_to_old if session.old else known)
        command(session, flags, *words)
    except CommandError as error:
        session.process.err(f"{error}\n")
        return 1
    return 0


def parse(args: Sequence[str], known: str) -> tuple[dict[str, str], list[str]]:
    """Return the flags and words of a command line, in any order; `--` ends the flags.

    `known` has the known flags, such as `all` for a switch and `color=` for a flag with a value.
    """
    flags: dict[str, str] = {}
    found: list[str] = []
    words = iter(args)
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if word == "--":
            found += words
        elif not word.startswith("-"):
            found.append(word)
        elif f"{name}=" in known.split():
            flags[name] = value if equals else next(words, "")
        elif name in known.split():
            flags[name] = value or "true"
        else:
            refuse(f"unknown flag: --{name}\n\nUsage:  docker model COMMAND")
    return flags, found


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=4) + "\n"


def _query(path: str, render: Callable[[Any], str] = _json) -> Callable[..., None]:
    """Return a command that prints the value at a path; `{0}` is the first word."""

    def command(session: Session, _flags: object, *words: str) -> None:
        value = session.ask_json("GET", path.format(*words), "the command failed")
        session.process.out(render(value))

    return command


def _running(models: list[dict[str, Any]]) -> str:
    row = "{:40}  {:9}  {:10}  {}\n"
    table = row.format("MODEL NAME", "BACKEND", "MODE", "UNTIL")
    for model in models:
        until = "Loading..." if model.get("loading") else "4 minutes from now"
        name = model["model_name"].lower()
        table += row.format(name, model["backend_name"], model["mode"], until)
    return table


def _disk_usage(usage: dict[str, int]) -> str:
    models, engine = usage["models_disk_usage"], usage["default_backend_disk_usage"]
    return f"TYPE  SIZE\nModels  {_size(models)}\nInference engine  {_size(engine)}\n"


def _found(models: list[object]) -> str:
    return _json(models) if models else "No models found\n"


def _remove(session: Session, flags: Mapping[str, str], model: str) -> None:
    force = flags.get("force", "false")
    session.ask("DELETE", f"/models/{model}?force={force}", "Failed to remove model")


def _tag(session: Session, _flags: object, source: str, target: str) -> None:
    name, _, label = normalize(target).rpartition(":")
    session.ask("POST", f"/models/{source}/tag?repo={name}&tag={label}", "failed to tag model")


def _unload(session: Session, flags: Mapping[str, str], *models: str) -> None:
    body = {"all": "all" in flags, "models": list(models)}
    reply = session.ask_json("POST", "/engines/unload", "Failed to unload models", body)
    session.process.out(f"Unloaded {reply['unloaded_runners']} model(s).\n")


def _status(session: Session, _flags: object) -> None:
    if session.no_engine:  # other commands ignore this without MODEL_RUNNER_NO_AUTO_INSTALL
        socket = session.env["DOCKER_HOST"]
        refuse(f"failed to connect to the docker API at {socket}; check if the daemon is running")
    failed = "Failed to get Docker Model Runner status"
    state: dict[str, Any] = {"running": True, "backends": {}}
    try:
        session.ask("GET", "/models", failed)
        with contextlib.suppress(ValueError):
            state["backends"] = json.loads(session.ask("GET", "/engines/status", failed))
    except CommandError as error:
        if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        state["running"] = False
    if session.old:
        state["endpoint"] = f"{session.base}/engines/v1/"
    else:
        state |= {"kind": session.kind, "endpointHost": f"{session.base}/v1/"}
    session.process.out(_json(state))


def _version(session: Session, _flags: object) -> None:
    text = "Client:\n Version:    {}\n\nServer:\n Engine:     {}\n"
    if session.old:
        text = "Docker Model Runner version {}\nDocker Engine Kind: {}\n"
    session.process.out(text.format(session.version, session.kind))


def _configure(session: Session, flags: Mapping[str, str], model: str, *words: str) -> None:
    if model == "show" and session.old and words:
        refuse(f"Exactly one model must be specified, got 2: [show {' '.join(words)}]")
    if model == "show" and not session.old:
        _query("/engines/_configure?model={0}")(session, flags, *words, "")
        return
    body: dict[str, Any] = {"model": model}
    if words:
        body["runtime-flags"] = list(words)
    for flag, text in flags.items():
        *group, key = CONFIGURE[flag].split(".")
        value = text if flag in TEXTS else json.loads(text)
        if flag == "think":
            value = -1 if value else 0
        (body.setdefault(group[0], {}) if group else body)[key] = value
    session.ask("POST", "/engines/_configure", "the configuration was refused", body)


def _run(session: Session, flags: Mapping[str, str], model: str, *words: str) -> None:
    """Run `docker model run MODEL [PROMPT]`, with the steps in the order of the real command."""
    detached = "detach" in flags
    typed = "" if detached else session.process.read_stdin()
    prompt = "\n\n".join(filter(None, (" ".join(words), typed)))
    try:
        session.ask_json("GET", f"/models/{model}", "Failed to inspect model")
    except CommandError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        session.process.out(f"Unable to find model '{model}' locally. Pulling from the server.\n")
        _pull(session, model)
    if detached:
        session.headers = {**session.headers, "x-preload-only": "true"}
        reply = RunnerReply(session.process)
        session.send(reply, "POST", CHAT, {"model": model, "messages": [], "stream": False})
        reply.check("Failed to load model: preload failed")
    elif prompt:
        try:
            _answer(session, model, prompt)
        except CommandError as error:
            refuse(f"Failed to generate a response: {error}")
        session.process.out("\n")
    else:
        refuse("inappropriate ioctl for device")


def _answer(session: Session, model: str, prompt: str) -> None:
    content = prompt if session.old else with_files(prompt, session.process.call.cwd)
    body = {"model": model, "messages": [{"role": "user", "content": content}], "stream": True}
    printer = _Printer(session)
    reply = RunnerReply(session.process, printer.take, cancel=True)
    session.send(reply, "POST", CHAT, body)
    if reply.status == HTTPStatus.SERVICE_UNAVAILABLE:
        refuse(NOT_RUNNING)
    if reply.status != HTTPStatus.OK:
        refuse(f"error response: status={reply.status} body={reply.text}")
    if reply.close_connection and not printer.is_done:
        refuse("error reading response stream: unexpected EOF")
    printer.end()


def with_files(prompt: str, directory: str) -> str:
    """Return the prompt with the text files that it references, as the CLI sends it.

    Names have no blanks, and images are not sent. The tests of the prompt guard have all rules.
    """

    def include(match: re.Match[str]) -> str:
        try:
            data = Path(directory, match[1]).read_bytes()
        except (OSError, ValueError):
            return match[0]
        return match[0] if match[1].lower().endswith(IMAGES) else data.decode("utf-8", "replace")

    return _REFERENCE.sub(include, prompt).strip()


class _Printer:
    """Prints the events of a streamed answer."""

    def __init__(self, session: Session) -> None:
        self.is_done = False  # whether the last event was received
        self._process, self._old = session.process, session.old
        self._has_begun = session.old
        self._state = ""
        self._usage: dict[str, int] | None = None

    def take(self, line: bytes) -> None:
        """Print the event in a line of the stream."""
        self.is_done = self.is_done or line.rstrip(b"\r") == b"data: [DONE]"
        text = line.decode("utf-8", "replace")
        if line.startswith(b"data: ") and not self.is_done:
            self._event(parse_json(text[6:], "error parsing stream response"))
        elif line and not self._has_begun and not line.startswith((b":", b"data:")):
            # Lines before the stream report the installation of a backend.
            self._process.err(text + "\n")
            return
        self._has_begun = self._has_begun or bool(line)

    def end(self) -> None:
        """Print the token usage."""
        if self._usage and not self._old:
            keys = ("prompt_tokens", "completion_tokens", "total_tokens")
            text = "\n\nToken usage: {} prompt + {} completion = {} total"
            self._process.out(text.format(*(self._usage.get(key, 0) for key in keys)))

    def _event(self, event: dict[str, Any]) -> None:
        self._usage = event.get("usage") or self._usage
        for choice in (event.get("choices") or ())[:1]:
            delta = choice.get("delta") or {}
            self._print("reasoning", delta.get("reasoning_content") or "")
            self._print("content", delta.get("content") or "")

    def _print(self, state: str, text: str) -> None:
        if not text:
            return
        before = ""
        if state != self._state:
            between = "\n\n" if self._old else "\n\n--\n\n"
            before = {"reasoning": between, "content": "\n\n"}.get(self._state, "")
            before += "Thinking:\n" if state == "reasoning" else ""
        self._state = state
        self._process.out(before + text)


def _pull(session: Session, model: str) -> None:
    """Pull a model and print the progress in the format for pipes.

    A signal to `docker` does not cancel a pull.
    """
    layers: dict[str, int] = {}
    end = ""

    def show(line: bytes) -> None:
        nonlocal end
        with contextlib.suppress(ValueError):  # ignore lines that are not JSON
            match json.loads(line):
                case {"type": "progress", "total": total, "layer": layer}:
                    layers[layer.get("id", "")] = layer["current"]
                    done = sum(layers.values())
                    session.process.out(f"Downloaded {_size(done)} of {_size(total)}\n")
                case {"type": "success", "message": message}:
                    end = message
                case {"type": "error", "message": message}:
                    refuse(f"Failed to pull model: {message}")
                case {"type": "warning", "message": message}:
                    session.process.err(f"Warning: {message}\n")

    reply = RunnerReply(session.process, show)
    session.send(reply, "POST", "/models/create", {"from": model})
    if reply.close_connection:
        refuse("Failed to pull model: unexpected EOF")
    reply.check(f"Failed to pull model: pulling {model} failed")
    session.process.out(f"{end}\n")


def _size(number: float) -> str:
    """Return a number of bytes with a unit, such as `1.50MB`."""
    units = ["GB", "MB", "kB", "B"]
    while number >= KILO and len(units) > 1:
        number /= KILO
        units.pop()
    return f"{number:.2f}{units[-1]}"


# Each command's function, its flags in the form of `parse`, and its flags in v0.1.40.
COMMANDS: dict[str, tuple[Callable[..., None], str, str]] = {
    "configure": (_configure, " ".join(f"{flag}=" for flag in CONFIGURE), "context-size="),
    "df": (_query("/engines/df", _disk_usage), "", ""),
    "inspect": (_query("/models/{0}"), "", ""),
    "list": (_query("/models"), "json", "json"),
    "ps": (_query("/engines/ps", _running), "", ""),
    "pull": (lambda session, _flags, model: _pull(session, model), "", ""),
    "rm": (_remove, "force", "force"),
    "run": (_run, "color= detach", ""),
    "search": (_query("/simulated/search?q={0}", _found), "limit= json", ""),
    "status": (_status, "json", "json"),
    "tag": (_tag, "", ""),
    "unload": (_unload, "all", "all"),
    "version": (_version, "", ""),
}
