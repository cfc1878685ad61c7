"""Command lines as Go's pflag reads them: flags and words mixed, `--` ends the flags."""

from __future__ import annotations


class FlagError(Exception):
    """A flag that is unknown or wrong; the text is the CLI's own."""


class Flags:
    """What a command line came to.

    Attributes:
        values: Flag name to its text; `"true"` or `"false"` for a switch.
        words: Everything that is no flag, in order.
        help: `--help` or `-h` stood there as a word of its own.
    """

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.words: list[str] = []
        self.help = False

    def text(self, name: str, default: str = "") -> str:
        """The flag's value."""
        return self.values.get(name, default)

    def on(self, name: str) -> bool:
        """Whether the switch is on."""
        return self.values.get(name) == "true"


def parse(args: list[str], known: dict[str, str], shorts: dict[str, str]) -> Flags:
    """Read `args`.

    Args:
        args: The words after the command's name.
        known: Flag name to its kind: `"string"`, `"int"` or `"bool"`.
        shorts: Letter to flag name.

    Returns:
        What was found; parsing stops at `--help`.

    Raises:
        FlagError: As pflag would put it.
    """
    found = Flags()
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--":
            found.words += rest
            break
        if word.startswith("--"):
            _long(found, word[2:], rest, known)
        elif word.startswith("-") and word != "-":
            _short(found, word, rest, known, shorts)
        else:
            found.words.append(word)
        if found.help:
            break
    return found


def _long(found: Flags, word: str, rest: list[str], known: dict[str, str]) -> None:
    name, equals, value = word.partition("=")
    if name == "help":
        found.help = True
        return
    kind = known.get(name)
    if kind is None:
        msg = f"unknown flag: --{name}"
        raise FlagError(msg)
    if not equals:
        if kind == "bool":
            value = "true"
        elif rest:
            value = rest.pop(0)
        else:
            msg = f"flag needs an argument: --{name}"
            raise FlagError(msg)
    _set(found, name, kind, value)


def _short(
    found: Flags, word: str, rest: list[str], known: dict[str, str], shorts: dict[str, str]
) -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter == "h":
            found.help = True
            return
        if letter not in shorts:
            msg = f"unknown shorthand flag: {letter!r} in {word}"
            raise FlagError(msg)
        name = shorts[letter]
        if known[name] == "bool":
            found.values[name] = "true"
            continue
        value = letters.removeprefix("=") if letters else rest.pop(0) if rest else None
        if value is None:
            msg = f"flag needs an argument: {letter!r} in {word}"
            raise FlagError(msg)
        _set(found, name, known[name], value)
        return


def _set(found: Flags, name: str, kind: str, value: str) -> None:
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
