r"""A simple reference implementation of what `docker model run` does to a prompt.

The tests of the guard compare the guard with this module, and the contract test compares this
module with the real command. It reads files as the command does, and does not run in linear time.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

_INCLUSION = re.compile(r"""@(?:"([^"]+)"|'([^']+)'|([^\t\n\f\r "']+))""")
_SUFFIX = r"\.(?i:jpg|jpeg|png|webp)"
_IMAGE = re.compile(
    rf""""([^"]+?{_SUFFIX})"|'([^']+?{_SUFFIX})'"""
    rf"""|((?:[a-zA-Z]:[/\\]|[/\\]|\./)[^\n"']*?{_SUFFIX}\b)""",
    re.ASCII,
)
_ESCAPES = [f"\\{character}" for character in " ()[]{}$&;'\\*?~"]
_PICTURE_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


@dataclass(frozen=True)
class Outcome:
    """The result of processing a prompt.

    `touched`: the paths, as written in the prompt, of files that were read or caused a failure.
    """

    text: str
    images: tuple[bytes, ...] = ()
    failed: bool = False
    touched: tuple[str, ...] = ()


def trimmed(text):
    return text.strip(_GO_SPACE)


def process(prompt, cwd):
    """Process a prompt like the command, started in `cwd`."""
    text, read = _include(prompt, cwd)
    return _attach(text, cwd, read)


def unescaped(path):
    out, at = [], 0
    while at < len(path):
        if path[at : at + 2] in _ESCAPES:
            at += 1
        out.append(path[at])
        at += 1
    return "".join(out)


def _open(name, cwd):
    if "\0" in name:
        raise OSError
    return open(os.path.join(os.fsencode(cwd), name.encode()), "rb")  # noqa: PTH118, PTH123  as bytes


def _include(prompt, cwd):
    read = []
    text = prompt
    for groups in _INCLUSION.findall(prompt):
        path = next(filter(None, groups))
        name = unescaped(path)
        try:
            with _open(name, cwd) as file:
                content = file.read()
        except OSError:
            continue
        read.append(path)
        if content.startswith(_PICTURE_STARTS) or re.search(_SUFFIX + r"\Z", name):
            continue
        inserted = content.decode(errors="replace")
        for variant in (path, name):
            for quote in "\"'":
                text = text.replace(f"@{quote}{variant}{quote}", inserted)
            plain = rf"@{re.escape(variant)}(?=[\t\n\f\r ]|\Z)"
            text = inserted.join(re.split(plain, text))
    return text, read


def _attach(text, cwd, read):
    images = []
    touched = list(read)
    for groups in _IMAGE.findall(text):
        path = next(filter(None, groups))
        name = unescaped(path)
        try:
            with _open(name, cwd) as file:
                content = file.read()
        except FileNotFoundError:
            continue
        except OSError:
            return Outcome("", failed=True, touched=(*touched, path))
        touched.append(path)
        if not content:
            return Outcome("", failed=True, touched=tuple(touched))
        for mention in (f"'{name}'", f"'{path}'", name, path):
            text = text.replace(mention, "")
        images.append(content)
    return Outcome(trimmed(text), tuple(images), touched=tuple(touched))
