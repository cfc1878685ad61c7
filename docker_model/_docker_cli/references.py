r"""The CLI's rules for local files in a prompt, as pure functions of the text.

Since plugin v0.1.46 (unchanged up to v1.2.6), `docker model run` processes a prompt in two
steps, which no option disables:

1. *Inclusions*: an `@` followed by a quoted or an unquoted word. If the word is the path of a
   readable file, the reference is replaced with the content of the file.
2. *Images*, in the result of the first step: quoted or unquoted paths with the extension of an
   image. An existing file is attached. A missing file is ignored. Any other result of the file
   system (a directory, a name that is too long) fails the run.

The CLI uses Go's regular expressions, which find the leftmost match in linear time. The
patterns here find the same matches without backtracking: quantifiers are possessive, or the
examined text is consumed with or without a match. In Go, `\s` and `\b` only match ASCII, and
`\s` does not match `\v`.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Image", "Inclusion", "endings", "images", "inclusions", "normalized"]

_INCLUSION = re.compile(r"""@(?:"([^"]++)"|'([^']++)'|([^\t\n\f\r "']++))""")

_EXTENSION = re.compile(r"\.(?i:jpe?g|png|webp)\b", re.ASCII)


def _quoted(quote: str, name: str) -> str:
    """Return the pattern of a quoted image path with a non-empty name before the extension."""
    return (
        rf"{quote}(?P<{name}>[^{quote}]++){quote}"
        rf"(?:(?<=[^{quote}]\.(?i:jpg|png){quote})|(?<=[^{quote}]\.(?i:jpeg|webp){quote}))"
    )


# An unquoted path extends from the first possible beginning to the first extension on the
# line. If no extension follows before the end of the line or a quotation mark, later beginnings
# in this text have no extension either. The match then consumes the text, without `end`.
_IMAGE = re.compile(
    _quoted('"', "double")
    + "|"
    + _quoted("'", "single")
    + rf"""|(?P<lead>[a-zA-Z]:[/\\]|[/\\]|\./)[^\n"']*?"""
    rf"""(?:(?P<end>{_EXTENSION.pattern})|(?=[\n"'])|\Z)""",
    re.ASCII,
)

_BARE_PATH_END = re.compile(r"""[\n"']""")

_ESCAPED = re.compile(r"\\([ ()\[\]{}$&;'\\*?~])")


class Inclusion(NamedTuple):
    """An `@` reference.

    Attributes:
        path: The path as written in the text, without quotation marks.
        at: The offset after its `@`, where a space breaks the reference.
    """

    path: str
    at: int


class Image(NamedTuple):
    r"""A path with the extension of an image.

    Attributes:
        path: The path as written in the text, without quotation marks.
        at: The offset of the path.
        lead: The length of the prefix that identifies a path: `/`, `./`, `C:\`; 0 if quoted.
    """

    path: str
    at: int
    lead: int

    @property
    def middle(self) -> int:
        """The offset where a space changes the path but not where it begins and ends."""
        return self.at + self.lead

    @property
    def spoiled(self) -> str:
        """The path with a space at `middle`."""
        return f"{self.path[: self.lead]} {self.path[self.lead :]}"


def inclusions(text: str) -> Iterator[Inclusion]:
    """Yield the `@` references that the CLI would look up, in the order of the text."""
    if "@" in text:
        for match in _INCLUSION.finditer(text):
            yield Inclusion(match[match.lastindex or 0], match.start() + 1)


def images(text: str) -> Iterator[Image]:
    """Yield the image paths that the CLI would look up, in the order of the text."""
    if _EXTENSION.search(text) is None:
        return
    for match in _IMAGE.finditer(text):
        kind = match.lastgroup
        if kind == "end":
            yield Image(match[0], match.start(), len(match["lead"]))
        elif kind != "lead":  # a beginning without an end
            yield Image(match[kind or 0], match.start() + 1, 0)


def endings(text: str, image: Image) -> tuple[list[int], int]:
    """Return the offsets for spaces after which no path begins at the start of `image`.

    A space in its own extension is not enough: the CLI would then use the next extension on the
    line as the end of the path.

    Returns:
        The offsets, and the end of the text for which they are complete.
    """
    after = image.at + len(image.path)
    if not image.lead:
        return [image.at + image.path.rindex(".") + 1], after
    stop = _BARE_PATH_END.search(text, after)
    end = stop.start() if stop else len(text)
    dots = [match.start() + 1 for match in _EXTENSION.finditer(text, image.middle, end)]
    return dots, end


def normalized(path: str) -> str:
    """Return the file name that the CLI looks up: the path without backslash escapes."""
    return _ESCAPED.sub(itemgetter(1), path) if "\\" in path else path
