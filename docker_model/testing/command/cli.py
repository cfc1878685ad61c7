"""`docker model`: from a command line to a command.

Two versions are simulated, the newest one and v0.1.40, as far as a calling program can tell them
apart. A version before v0.1.45 behaves as v0.1.40, all others as the newest.
"""

from __future__ import annotations

import http.client
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlsplit

from docker_model.testing.command.process import Canceled, CommandError, CommandProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

OLD_UNTIL = (0, 1, 45)
ENGINE = "http://localhost:12434"
NO_PLUGIN = 125
HELP = "\nRun 'docker --help' for more information\n"
BOLD_NEXT = "\033[1m\nWhat's next:\033[0m\n"
ENABLE = (
    f"{BOLD_NEXT}    Enable Docker Model Runner via the CLI → docker desktop enable model-runner\n"
    "    Enable Docker Model Runner via the GUI → "
    "Go to Settings->AI->Enable Docker Model Runner\n"
)


def rank(version: str) -> tuple[int, ...]:
    """Return a key that puts versions in the order of their release.

    Until February 2026 the plugin had numbers of its own (`p1.0.7`, or `cli-v1.0.7`), which
    the runner's `v1.0.18` follows although both begin with 1.0.
    """
    own = version.startswith(("p", "cli-"))
    numbers = [int(part) for part in version.removeprefix("cli-").lstrip("pv").split(".")]
    return (*numbers[:2], int(not own and numbers[0] > 0), *numbers[2:])


class QueryError(Exception):
    """A request did not get through; the text is Go's own."""


class Unavailable(Exception):  # noqa: N818 - the CLI's own name for a 503
    """HTTP 503, which the CLI takes for "not running" whichever program sends it."""


class FlagError(CommandError):
    """A flag that is unknown or wrong."""


class CutError(Exception):
    """The connection ended before the reply was complete."""


# --- The command line -----------------------------------------------------------------------------


@dataclass(slots=True)
class Flags:
    """What a command line came to.

    Attributes:
        values: Flag name to its text; `"true"` or `"false"` for a switch.
        words: Everything that is no flag, in order.
        before_dashes: How many of the words stood before `--`; `None` without it.
        help: Whether `--help` or `-h` stood there as a word of its own.
    """

    values: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    before_dashes: int | None = None
    help: bool = False

    def text(self, name: str, default: str = "") -> str:
        """Return the flag's value."""
        return self.values.get(name, default)

    def on(self, name: str) -> bool:
        """Return whether the switch is on."""
        return self.values.get(name) == "true"


def parse(args: list[str], known: str) -> Flags:
    """Read a command line as Go's pflag does: flags and words mixed, `--` ends the flags.

    Args:
        args: The words after the command's name.
        known: The flags: `all` for a switch, `color=` with a value, `limit=int` with a number,
            and `q:quiet` for one that has a letter.

    Raises:
        FlagError: If there is a flag that is unknown or wrong.
    """
    kinds, letters = _kinds(known)
    found = Flags()
    rest = list(args)
    while rest and not found.help:
        word = rest.pop(0)
        if word == "--":
            found.before_dashes = len(found.words)
            found.words += rest
            break
        if word.startswith("--"):
            _long(found, word[2:], rest, kinds)
        elif word.startswith("-") and word != "-":
            _short(found, word, rest, kinds, letters)
        else:
            found.words.append(word)
    return found


def _kinds(known: str) -> tuple[dict[str, str | None], dict[str, str]]:
    kinds: dict[str, str | None] = {}
    letters = {}
    for each in known.split():
        letter, colon, flag = each.rpartition(":")
        name, equals, kind = flag.partition("=")
        kinds[name] = kind if equals else None
        if colon:
            letters[letter] = name
    return kinds, letters


def _long(found: Flags, word: str, rest: list[str], kinds: Mapping[str, str | None]) -> None:
    name, equals, value = word.partition("=")
    if name == "help":
        found.help = True
        return
    if name not in kinds:
        msg = f"unknown flag: --{name}"
        raise FlagError(msg)
    if not equals:
        value = "true" if kinds[name] is None else _next(rest, f"--{name}")
    _set(found, name, kinds[name], value)


def _short(
    found: Flags,
    word: str,
    rest: list[str],
    kinds: Mapping[str, str | None],
    letters: Mapping[str, str],
) -> None:
    for at, letter in enumerate(word[1:], start=2):
        if letter == "h":
            found.help = True
            return
        if letter not in letters:
            msg = f"unknown shorthand flag: {letter!r} in {word}"
            raise FlagError(msg)
        name = letters[letter]
        if kinds[name] is not None:
            value = word[at:].removeprefix("=") or _next(rest, f"{letter!r} in {word}")
            _set(found, name, kinds[name], value)
            return
        found.values[name] = "true"


def _next(rest: list[str], flag: str) -> str:
    if not rest:
        msg = f"flag needs an argument: {flag}"
        raise FlagError(msg)
    return rest.pop(0)


def _set(found: Flags, name: str, kind: str | None, value: str) -> None:
    if kind == "int":
        try:
            int(value)
        except ValueError:
            msg = (
                f'invalid argument "{value}" for "--{name}" flag: '
                f'strconv.ParseInt: parsing "{value}": invalid syntax'
            )
            raise FlagError(msg) from None
    found.values[name] = value


# --- Texts ----------------------------------------------------------------------------------------


def next_steps(*steps: str) -> str:
    """Return the block "What's next" without its last newline."""
    return BOLD_NEXT + "\n".join(f"    {step}" for step in steps)


def not_running(*, hint: bool = True) -> CommandError:
    """Return what HTTP 503 becomes."""
    text = "Docker Model Runner is not running. Please start it and try again.\n"
    return CommandError(f"{text}\n{ENABLE.rstrip()}" if hint else text)


def refuse_arguments(command: str, line: str, need: str, end: str = "") -> NoReturn:
    """Refuse too few words, or too many.

    Raises:
        CommandError: In any case.
    """
    msg = (
        f"'docker model {command}' requires {need}\n\nUsage:  docker model {line}\n\n"
        f"See 'docker model {command} --help' for more information{end}"
    )
    raise CommandError(msg)


def go_json(value: Any, indent: int | None = None) -> str:
    """Return JSON with Go's spacing and its escapes."""
    separators = None if indent else (",", ":")
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def json_error(text: str, error: ValueError) -> str:
    """Return what Go says of a text that is no JSON."""
    rest = text[getattr(error, "pos", 0) :].lstrip()
    if not rest:
        return "unexpected end of JSON input"
    context = "object key string" if "property name" in str(error) else "value"
    if "Extra data" in str(error):
        return f"invalid character {rest[0]!r} after top-level value"
    return f"invalid character {rest[0]!r} looking for beginning of {context}"


# --- Requests -------------------------------------------------------------------------------------


@dataclass(slots=True)
class HttpReply:
    """A reply whose body is still to be read.

    Attributes:
        status: The number.
        reason: The number and its words, such as `500 Internal Server Error`.
        content_type: Its header, empty when there is none.
    """

    response: http.client.HTTPResponse
    connection: Any
    process: CommandProcess
    cancel: bool

    @property
    def status(self) -> int:
        """The number."""
        return self.response.status

    @property
    def reason(self) -> str:
        """The number and its words, such as `500 Internal Server Error`."""
        return f"{self.response.status} {self.response.reason}"

    @property
    def content_type(self) -> str:
        """The header's value, empty without one."""
        return self.response.getheader("Content-Type", "")

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of the body as they arrive.

        Raises:
            CutError: If the connection ended too early.
            Canceled: If that was asked for with the request.
            Ended: If the command has ended.
        """
        with self.process.interrupting(self.connection, cancel=self.cancel):
            while True:
                try:
                    data = self.response.read1(1 << 16)
                except (OSError, http.client.HTTPException, ValueError):
                    raise CutError from None
                self.process.check(cancel=self.cancel)
                if not data:
                    return
                yield data

    def read(self) -> str:
        """Return the whole rest of the body, and hang up."""
        try:
            return b"".join(self.chunks()).decode("utf-8", "replace")
        finally:
            self.close()

    def close(self) -> None:
        """Hang up."""
        self.response.close()
        self.connection.close()


class Session:
    """One call: its process, its version, and the runner that it talks to.

    Attributes:
        process: The command's processes.
        env: Their environment.
        version: The plugin's version.
        old: Whether the version behaves as v0.1.40.
        retry_wait: Seconds before the first retry of a pull.
        base: The runner's address, without a slash at the end.
        kind: `Docker Engine`, or `Docker Engine (Manual Install)` with MODEL_RUNNER_HOST.
    """

    def __init__(
        self, process: CommandProcess, version: str, address: str, key: str, retry_wait: float
    ) -> None:
        """Find the runner, by the same variables as the real CLI.

        Args:
            process: See above.
            version: See above.
            address: Where the simulated engine's runner listens.
            key: Tells the runner which call its requests come from.
            retry_wait: See above.
        """
        self.process = process
        self.env = process.call.env
        self.version = version.removeprefix("cli-").replace("p", "v", 1)
        self.old = is_old(version)
        self.retry_wait = retry_wait
        self._headers = {
            "User-Agent": f"docker-model-cli/{self.version}",
            "X-Simulated-Call": key,
        }
        host = self.env.get("MODEL_RUNNER_HOST", "")
        if host and "://" not in host:
            host = f"http://{host}"
        self.kind = "Docker Engine (Manual Install)" if host else "Docker Engine"
        self.base = (host or ENGINE).rstrip("/")
        socket_path = self.env.get("DOCKER_HOST", "").removeprefix("unix://")
        self._engine_gone = bool(
            not host and socket_path.startswith("/") and not os.path.exists(socket_path)  # noqa: PTH110 - a string of the program's
        )
        # Where the engine's address leads, which is not the simulation's own.
        self._instead = "" if self._engine_gone else address if not host else None

    def redirect(self, base: str) -> None:
        """Talk to another server from now on."""
        self.base, self._instead = base, None

    def need_engine(self, *, status: bool = False) -> None:
        """Look for the Docker daemon, where a command does.

        Args:
            status: Whether the command asks the daemon in any case.

        Raises:
            CommandError: If the daemon does not answer.
        """
        if not self._engine_gone:
            return
        if not self.env.get("MODEL_RUNNER_NO_AUTO_INSTALL"):
            what = (
                "unable to initialize standalone model runner: "
                "unable to identify existing standalone model runner"
            )
        elif status and not self.old:
            what = (
                "unable to get standalone model runner info: unable to find standalone model runner"
            )
        else:
            return
        address = self.env["DOCKER_HOST"]
        path = address.removeprefix("unix://")
        reason = (
            f"Cannot connect to the Docker daemon at {address}. Is the docker daemon running?"
            if self.old
            else f"failed to connect to the docker API at {address}; check if the path is correct "
            f"and if the daemon is running: dial unix {path}: connect: no such file or directory"
        )
        msg = (
            f"{what}: unable to prune stopped model runner containers: "
            f"unable to identify model runner containers: {reason}"
        )
        raise CommandError(msg)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        cancel: bool = False,
        accept_503: bool = False,
    ) -> HttpReply:
        """Send a request and read the reply's head.

        Args:
            method: `GET`, …
            path: With its query.
            body: Sent as JSON; `None` for none.
            headers: Sent beside those of every request.
            cancel: Whether the request ends when `docker` is going.
            accept_503: Whether HTTP 503 is a reply like any other.

        Raises:
            QueryError: If no server listens there, or the reply's head never came.
            Unavailable: If the reply is HTTP 503.
            Ended: If the command has ended.
        """
        verb = method[0] + method[1:].lower()
        where = f'error querying {path}: {verb} "{self.base}{path}": '
        url = urlsplit(self.base)
        peer = url.netloc if self._instead is None else self._instead
        data = None if body is None else go_json(body).encode()
        json_type = {} if body is None else {"Content-Type": "application/json"}
        connection = http.client.HTTPConnection(peer or "127.0.0.1:1")
        try:
            self.process.check(cancel=cancel)
            connection.connect()
            link = connection.sock
            with self.process.interrupting(link, cancel=cancel):
                sent = {**self._headers, **json_type, **(headers or {}), "Connection": "close"}
                connection.request(method, url.path + quote(path, "/?=&:@%"), data, sent)
                response = connection.getresponse()
        except Canceled:
            connection.close()
            raise QueryError(where + "context canceled") from None
        except http.client.HTTPException:
            connection.close()
            raise QueryError(where + "EOF") from None
        except OSError as error:
            connection.close()
            host = url.netloc.replace("localhost", "127.0.0.1")
            if isinstance(error, ConnectionResetError | BrokenPipeError):
                raise QueryError(where + "EOF") from None
            if isinstance(error, ConnectionError):
                msg = f"{where}dial tcp {host}: connect: connection refused"
            else:
                msg = f"{where}dial tcp: lookup {url.hostname}: no such host"
            raise QueryError(msg) from None
        reply = HttpReply(response, link, self.process, cancel)
        if reply.status == http.HTTPStatus.SERVICE_UNAVAILABLE and not accept_503:
            reply.close()
            raise Unavailable
        return reply

    def fetch(self, path: str, failed: str, what: str = "models") -> Any:
        """GET a JSON value.

        Args:
            path: Of the URL.
            failed: How the text of an error begins.
            what: What the CLI says that it failed to list, when the runner refuses.

        Returns:
            The value; `None` for HTTP 404.

        Raises:
            CommandError: If there is none.
        """
        text = ""
        try:
            reply = self.request("GET", path)
            text = reply.read()
            reply.close()
            if reply.status == http.HTTPStatus.NOT_FOUND:
                return None
            if reply.status != http.HTTPStatus.OK:
                msg = f"{failed}: failed to list {what}: {reply.reason}"
                raise CommandError(msg)
            return json.loads(text)
        except Unavailable:
            raise not_running() from None
        except ValueError as error:
            msg = f"{failed}: failed to unmarshal response body: {json_error(text, error)}"
            raise CommandError(msg) from None
        except QueryError as error:
            msg = f"{failed}: {error}"
            raise CommandError(msg) from None


def is_old(version: str) -> bool:
    """Return whether a version behaves as v0.1.40."""
    numbers = rank(version)
    return (numbers[0], numbers[1], numbers[-1]) < OLD_UNTIL


# --- Dispatch -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand.

    Attributes:
        run: What it does.
        line: Its usage line.
        flags: Its flags, as `parse` takes them.
    """

    run: Callable[[Session, Flags], None]
    line: str
    flags: str = ""


def dispatch(
    session: Session, commands: Mapping[str, Command], aliases: Mapping[str, str], words: list[str]
) -> int:
    """Run a command line of the plugin; returns the exit code."""
    process = session.process
    name = aliases.get(words[0], words[0]) if words else ""
    command = commands.get(name)
    try:
        if command is None:
            # Not an error for the CLI: it prints its help, unless there is a flag.
            parse(words, "")
            process.out("Usage:  docker model COMMAND\n\nDocker Model Runner\n")
            return 0
        flags = parse(words[1:], command.flags)
        if flags.help:
            process.out(f"Usage:  docker model {command.line}\n")
        else:
            command.run(session, flags)
    except FlagError as error:
        usage, of = (f" {command.line}", f" {name}") if command else ("", "")
        process.err(
            f"{error}\n\nUsage:  docker model{usage}\n\n"
            f"Run 'docker model{of} --help' for more information\n"
        )
        return 1
    except CommandError as error:
        process.err(f"{error}\n")
        return 1
    return 0


def without_plugin(process: CommandProcess, words: list[str]) -> int:
    """Do what `docker` itself makes of the call; returns the exit code."""
    for word in words:
        if word == "--":
            break
        if word in ("--help", "-h"):
            process.out("Usage:  docker [OPTIONS] COMMAND\n\nA self-sufficient runtime\n")
            return 0
        if word.startswith("-"):
            name = word.partition("=")[0]
            long = word.startswith("--")
            unknown = f"flag: {name}" if long else f"shorthand flag: {word[1]!r} in {word}"
            process.err(f"unknown {unknown}\n\nUsage:  docker [OPTIONS] COMMAND [ARG...]\n{HELP}")
            return NO_PLUGIN
    process.err(f"docker: unknown command: docker model\n{HELP}")
    return 1
