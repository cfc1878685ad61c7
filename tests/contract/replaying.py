"""Replays the recorded calls of the real command on the simulated command."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

from tests.contract.scenes import simulate
from tests.support.platforms import WINDOWS
from tests.support.transcripts import Ending, Transcript

if TYPE_CHECKING:
    from pathlib import Path

    from docker_model.testing import SimulatedDocker

# Seconds; the recorder waited longer. They are enough for the processes to react to an action.
SETTLED = 0.1
HANGS = 0.3
OUTLIVES = 1.0
REFUSED = "127.0.0.1:1"
LONG_FLAGS = {"-d": "--detach", "-f": "--force"}  # the simulation has only the long flags


def needs_posix(transcript: Transcript) -> bool:
    """Tell whether a call gets a signal, ignores one, has no stdin or loses its stdout."""
    actions = [action["do"] for action in transcript.actions]
    signals = any(action.startswith("SIG") or action == "close stdout" for action in actions)
    return signals or bool(transcript.ignored) or transcript.stdin_kind == "closed"


class Replay:
    """The replay of one call, including the files of its working directory."""

    def __init__(self, transcript: Transcript, docker: SimulatedDocker, home: Path) -> None:
        self.transcript = transcript
        self.docker = docker
        self.home = home
        self.cwd = home / "cwd"
        self.cwd.mkdir(parents=True)
        self.stdout = bytearray()
        self.stdout_grew = threading.Condition()

    def fill(self, text: str) -> str:
        """Replace the placeholders with the real values."""
        runner = self.docker.url.removeprefix("http://")
        for placeholder, value in (
            ("<DIR>", str(self.cwd)),
            ("<HOME>", str(self.home)),
            ("RUNNER", runner),
            ("REFUSED", REFUSED),
        ):
            # Not in the names of variables, such as MODEL_RUNNER_HOST.
            text = re.sub(rf"(?<![A-Z_]){placeholder}(?![A-Z_])", value.replace("\\", r"\\"), text)
        return text

    def fill_bytes(self, data: bytes) -> bytes:
        return self.fill(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def fill_all(self, value: Any) -> Any:
        match value:
            case str():
                return self.fill(value)
            case list():
                return [self.fill_all(item) for item in value]
            case dict():
                return {key: self.fill_all(item) for key, item in value.items()}
        return value

    def run(self) -> tuple[Ending | None, bytes]:
        """Run the call; return its ending, or `None` if it did not end, and its stdout so far."""
        self._write_files()
        stdin = self._stdin()
        try:
            process = subprocess.Popen(
                [*self._shell(), *self.docker.command, *self._arguments()],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._env(),
                cwd=self.cwd,
                start_new_session=True,
            )
        finally:
            if not isinstance(stdin, int):
                stdin.close()
        with process:
            return self._wait_for_end(process)

    def _wait_for_end(self, process: subprocess.Popen[bytes]) -> tuple[Ending | None, bytes]:
        stderr: list[bytes] = []
        readers = [
            threading.Thread(target=self._collect, args=(process,)),
            threading.Thread(target=lambda: stderr.append(process.stderr.read())),
        ]
        closes = any(action["do"] == "close stdout" for action in self.transcript.actions)
        if closes:
            readers[0] = threading.Thread(target=lambda: None)
        for reader in readers:
            reader.start()
        try:
            if process.stdin and self.transcript.stdin:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(self.fill_bytes(self.transcript.stdin))
                    process.stdin.flush()
            if process.stdin and self.transcript.stdin_closed:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
            self._act(process)
            if self.transcript.did_not_end:
                expected = self.fill_bytes(self.transcript.ending.stdout)
                with self.stdout_grew:
                    self.stdout_grew.wait_for(lambda: len(self.stdout) >= len(expected), 60)
                time.sleep(HANGS)
                return (None if process.poll() is None else self._ending(process, b"")), self.stdout
            process.wait(60)
        finally:
            if process.returncode is None or self.transcript.did_not_end:
                self._end_all(process)
            # Processes that outlive `docker` end on their own, or are killed as in the recording.
            readers[0].join(OUTLIVES)
            self._end_all(process)
            for reader in readers:
                reader.join()
        return self._ending(process, stderr[0]), bytes(self.stdout)

    def _end_all(self, process: subprocess.Popen[bytes]) -> None:
        if WINDOWS:
            process.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def _ending(self, process: subprocess.Popen[bytes], stderr: bytes) -> Ending:
        code = process.returncode
        name = signal.Signals(-code).name if code < 0 else None
        return Ending(bytes(self.stdout), stderr, None if code < 0 else code, name)

    def _collect(self, process: subprocess.Popen[bytes]) -> None:
        while data := process.stdout.read1():
            with self.stdout_grew:
                self.stdout += data
                self.stdout_grew.notify_all()

    def _act(self, process: subprocess.Popen[bytes]) -> None:
        for action in self.transcript.actions:
            self._wait_for(action["when"], process)
            match action["do"]:
                case "close stdout":
                    process.stdout.close()
                case "close stdin":
                    process.stdin.close()
                case "write stdin":
                    process.stdin.write(action["text"].encode())
                    process.stdin.flush()
                case name:
                    with contextlib.suppress(ProcessLookupError):
                        self._kill(action["to"], signal.Signals[name])

    def _kill(self, target: str, number: signal.Signals) -> None:
        call = self.docker.calls[0]
        match target:
            case "docker":
                os.kill(call.pid, number)
            case "plugin":
                os.kill(call.plugin_pid, number)
            case "group":
                os.killpg(call.pid, number)

    def _wait_for(self, when: dict[str, Any], process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 60
        if "stdout" in when:
            expected = when["stdout"].encode()
            if any(action["do"] == "close stdout" for action in self.transcript.actions):
                while expected not in self.stdout:
                    self.stdout += process.stdout.read1()
            with self.stdout_grew:
                assert self.stdout_grew.wait_for(lambda: expected in self.stdout, 60)
        if "request" in when:
            while not any(when["request"] in r.path for r in self.docker.requests):
                assert time.monotonic() < deadline
                time.sleep(0.005)
        if when.keys() & {"after_ms", "then_ms"}:
            while not (self.docker.calls and self.docker.calls[0].plugin_pid):
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(SETTLED)

    def _write_files(self) -> None:
        for name, content in self.transcript.files.items():
            path = self.home / name[2:] if name.startswith("~/") else self.cwd / name
            path.parent.mkdir(parents=True, exist_ok=True)
            text = content.get("text", "") if isinstance(content, dict) else content
            data = base64.b64decode(content["b64"]) if "b64" in content else text.encode()
            path.write_bytes(data)

    def _stdin(self) -> Any:
        match self.transcript.stdin_kind:
            case "pipe":
                return subprocess.PIPE
            case "file":
                path = self.home / "stdin"
                path.write_bytes(self.transcript.stdin)
                return path.open("rb")
        return subprocess.DEVNULL

    def _shell(self) -> list[str]:
        """Return a shell that ignores signals or closes stdin, and then executes the command."""
        ignored = " ".join(name.removeprefix("SIG") for name in self.transcript.ignored)
        closed = self.transcript.stdin_kind == "closed"
        if not (ignored or closed):
            return []
        trap = f"trap '' {ignored}; " if ignored else ""
        return ["/bin/sh", "-c", f'{trap}exec "$0" "$@"' + (" <&-" if closed else "")]

    def _arguments(self) -> list[str]:
        return [LONG_FLAGS.get(word, self.fill(word)) for word in self.transcript.argv[2:]]

    def _env(self) -> dict[str, str]:
        base = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}
        if WINDOWS:  # without it, a process can open no socket
            base["SYSTEMROOT"] = os.environ["SYSTEMROOT"]
        return base | {name: self.fill(value) for name, value in self.transcript.env.items()}


def replay(transcript: Transcript, version: str, home: Path) -> tuple[Replay, Ending | None]:
    """Replay a call on a new simulation; return the replay and its ending."""
    with contextlib.closing(simulate(transcript, version).open()) as docker:
        played = Replay(transcript, docker, home)
        ending, _ = played.run()
    return played, ending
