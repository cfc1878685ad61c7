r"""The CLI's rules for local files in a prompt, as functions of text alone.

Before a prompt goes to the model, `docker model run` (since plugin v0.1.46, unchanged to
v1.2.6) goes over it twice, with no switch to turn it off:

1. *Inclusions*: an `@` followed by a quoted or a plain word. If that names a file that can
   be read, the reference is replaced by the file's content.
2. *Images*, in the text that the first step left: quoted or bare paths that end like a
   picture. A file that exists is attached, a missing one is ignored, and any other answer of
   the file system (a directory, a name too long) fails the run.

The CLI matches with Go's regular expressions, which find the leftmost match, in time that
grows with the text. The patterns here find the same matches and are written so that
Python's backtracking has nothing to try again: quantifiers are possessive, or the text that was
looked at is consumed, with a match or without. Go's `\s` and `\b` know ASCII alone, and not `\v`.
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
    """Return the pattern of a quoted image path, with something before the extension."""
    return (
        rf"{quote}(?P<{name}>[^{quote}]++){quote}"
        rf"(?:(?<=[^{quote}]\.(?i:jpg|png){quote})|(?<=[^{quote}]\.(?i:jpeg|webp){quote}))"
    )


# A bare path runs from the first thing that may begin one to the first extension on the
# line. Where none follows before the line's end or a quote, no later beginning in between
# has one either, so the match takes that text along, without `end`.
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
        path: The path as it stands in the text, without quotes.
        at: The offset after its `@`, where one space ends the reference.
    """

    path: str
    at: int


class Image(NamedTuple):
    r"""A path that ends like a picture.

    Attributes:
        path: As it stands in the text, without quotes.
        at: The offset at which it begins.
        lead: The length of its beginning that marks a path: `/`, `./`, `C:\`; 0 if quoted.
    """

    path: str
    at: int
    lead: int

    @property
    def middle(self) -> int:
        """The offset where one space turns it into another path of the same extent."""
        return self.at + self.lead

    @property
    def spoiled(self) -> str:
        """The path with that space."""
        return f"{self.path[: self.lead]} {self.path[self.lead :]}"


def inclusions(text: str) -> Iterator[Inclusion]:
    """Yield the `@` references that the CLI would look up, in their order."""
    if "@" in text:
        for match in _INCLUSION.finditer(text):
            yield Inclusion(match[match.lastindex or 0], match.start() + 1)


def images(text: str) -> Iterator[Image]:
    """Yield the image paths that the CLI would look up, in their order."""
    if _EXTENSION.search(text) is None:
        return
    for match in _IMAGE.finditer(text):
        kind = match.lastgroup
        if kind == "end":
            yield Image(match[0], match.start(), len(match["lead"]))
        elif kind != "lead":  # a beginning without an end
            yield Image(match[kind or 0], match.start() + 1, 0)


def endings(text: str, image: Image) -> tuple[list[int], int]:
    """Find where spaces must stand so that no path at all begins where `image` does.

    A space in its extension alone would make the CLI go on to the next one on the line.

    Returns:
        The offsets, and the offset up to which this settles the text.
    """
    after = image.at + len(image.path)
    if not image.lead:
        return [image.at + image.path.rindex(".") + 1], after
    stop = _BARE_PATH_END.search(text, after)
    end = stop.start() if stop else len(text)
    dots = [match.start() + 1 for match in _EXTENSION.finditer(text, image.middle, end)]
    return dots, end


def normalized(path: str) -> str:
    """Return the name that the CLI looks up: the path without its backslash escapes."""
    return _ESCAPED.sub(itemgetter(1), path) if "\\" in path else path
