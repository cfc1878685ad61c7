"""The behavior of `docker` and its plugin `docker model`, for all commands of this library.

This code runs in the test's process and controls the started program,
`docker_model.testing._program`. It simulates two versions, the newest one and v0.1.40. Versions
before v0.1.45 behave like v0.1.40. A command gets its session, its flags and its words.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from docker_model.testing._command.run import pull, run, size
from docker_model.testing._command.session import UNAVAILABLE, CommandError, Ended, Session, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from docker_model.testing._command.session import CommandProcess
    from docker_model.testing._runner import Runner

NO_PLUGIN = 125
WITHOUT_ENGINE = ("search", "version")
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
    words = session.process.call.argv
    before = words[: words.index("--")] if "--" in words else words
    flag = next((word for word in before if word.startswith("-")), None)
    if flag is None:
        session.process.err("docker: unknown command: docker model\n")
        return 1
    session.process.err(f"unknown flag: {flag}\n\nUsage:  docker [OPTIONS] COMMAND [ARG...]\n")
    return NO_PLUGIN


def _with_plugin(session: Session) -> int:
    """Run a command of the plugin; return the exit code."""
    name, *args = session.process.call.argv[1:] or [""]
    if name not in COMMANDS:
        # The CLI prints its help and exits with code 0.
        session.process.out("Usage:  docker model COMMAND\n")
        return 0
    command, known, known_to_old = COMMANDS[name]
    try:
        if name not in WITHOUT_ENGINE:
            session.need_engine(always=name == "status")
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
    return f"TYPE  SIZE\nModels  {size(models)}\nInference engine  {size(engine)}\n"


def _found(models: list[object]) -> str:
    return _json(models) if models else "No models found\n"


def _remove(session: Session, flags: Mapping[str, str], model: str) -> None:
    force = flags.get("force", "false")
    session.ask("DELETE", f"/models/{model}?force={force}", "Failed to remove model")


def _tag(session: Session, _flags: object, source: str, target: str) -> None:
    name, colon, label = target.rpartition(":")
    if not colon or "/" in label:
        name, label = target, "latest"
    path = f"/models/{source}/tag?repo={name}&tag={label}"
    session.ask("POST", path, "failed to tag model")


def _unload(session: Session, flags: Mapping[str, str], *models: str) -> None:
    body = {"all": "all" in flags, "models": list(models)}
    reply = session.ask_json("POST", "/engines/unload", "Failed to unload models", body)
    session.process.out(f"Unloaded {reply['unloaded_runners']} model(s).\n")


def _status(session: Session, _flags: object) -> None:
    failed = "Failed to get Docker Model Runner status"
    state: dict[str, Any] = {"running": True, "backends": {}}
    try:
        session.ask("GET", "/models", failed)
        with contextlib.suppress(ValueError):
            state["backends"] = json.loads(session.ask("GET", "/engines/status", failed))
    except CommandError as error:
        if error.status != UNAVAILABLE:
            raise
        state["running"] = False
    if session.old:
        state["endpoint"] = f"{session.base}/engines/v1/"
    else:
        state |= {"kind": session.kind, "endpointHost": f"{session.base}/v1/"}
    session.process.out(_json(state))


def _version(session: Session, _flags: object) -> None:
    own, kind = session.version, session.kind
    text = f"Docker Model Runner version {own}\nDocker Engine Kind: {kind}\n"
    if not session.old:
        text = f"Client:\n Version:    {own}\n\nServer:\n Engine:     {kind}\n"
    session.process.out(text)


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


# Each command's function, its flags in the form of `parse`, and its flags in v0.1.40.
COMMANDS: dict[str, tuple[Callable[..., None], str, str]] = {
    "configure": (_configure, " ".join(f"{flag}=" for flag in CONFIGURE), "context-size="),
    "df": (_query("/engines/df", _disk_usage), "", ""),
    "inspect": (_query("/models/{0}"), "", ""),
    "list": (_query("/models"), "json", "json"),
    "ps": (_query("/engines/ps", _running), "", ""),
    "pull": (lambda session, _flags, model: pull(session, model), "", ""),
    "rm": (_remove, "force", "force"),
    "run": (run, "color= detach", ""),
    "search": (_query("/simulated/search?q={0}", _found), "limit= json", ""),
    "status": (_status, "json", "json"),
    "tag": (_tag, "", ""),
    "unload": (_unload, "all", "all"),
    "version": (_version, "", ""),
}
