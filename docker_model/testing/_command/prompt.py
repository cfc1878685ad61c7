"""The CLI's changes to a prompt: it includes text files, extracts images and strips white space.

This code follows the behavior of the CLI and shares nothing with this package's prompt guard,
because tests compare the two. Like Go's code, it takes linear time.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from docker_model.testing._command.session import refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

GO_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
# Go's \s matches only these five characters, and its \b and \w are ASCII.
_INCLUSION = re.compile(r"""@(?:"([^"]+)"|'([^']+)'|([^ \t\n\f\r"']+))""")
_ESCAPE = re.compile(r"\\([ ()\[\]{}$&;'\\*?~])")
_EXTENSION = r"\.(?i:jpg|jpeg|png|webp)"
_START = r"(?:[a-zA-Z]:[/\\]|[/\\]|\./)"
# The last alternative skips text without an image up to the next quote or newline. This keeps the
# time linear.
_IMAGE = re.compile(
    rf""""([^"]+{_EXTENSION})"|'([^']+{_EXTENSION})'"""
    rf"""|({_START}[^\n"']*?{_EXTENSION}\b)|{_START}[^\n"']*""",
    re.ASCII,
)
_TYPES = {b"\x89PNG\r\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


def rewrite(prompt: str, directory: str) -> str | list[dict[str, Any]]:
    """Return the content of the message that the CLI sends for this prompt.

    Raises:
        CommandError: If an image cannot be read.
    """
    for path, name in _paths(_INCLUSION, prompt):
        try:
            content = _read(name, directory)
        except (OSError, ValueError):
            continue
        if not _image_type(content, name):
            prompt = _include(prompt, path, name, content.decode("utf-8", "replace"))
    images: list[dict[str, Any]] = []
    for path, name in _paths(_IMAGE, prompt):
        try:
            content = _read(name, directory)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            content = b""
        kind = _image_type(content, name)
        if not content or not kind:
            refuse(f'failed to process images: couldn\'t process image "{name}"')
        for written in (f"'{name}'", f"'{path}'", name, path):
            prompt = prompt.replace(written, "")
        url = f"data:{kind};base64,{b64encode(content).decode()}"
        images.append({"type": "image_url", "image_url": {"url": url}})
    text = prompt.strip(GO_SPACE)
    if not images:
        return text
    return [*images, {"type": "text", "text": text}] if text else images


def _paths(pattern: re.Pattern[str], prompt: str) -> Iterator[tuple[str, str]]:
    """Yield each path in the prompt, and the path without backslashes."""
    for groups in pattern.findall(prompt):
        path = "".join(groups)
        if path:
            yield path, _ESCAPE.sub(r"\1", path)


def _read(name: str, directory: str) -> bytes:
    with open(os.path.join(directory, name), "rb") as file:
        return file.read()


def _include(prompt: str, path: str, name: str, text: str) -> str:
    for written in map(re.escape, (path, name)):
        mention = rf"""@"{written}"|@'{written}'|@{written}(?=[ \t\n\f\r]|\Z)"""
        prompt = re.sub(mention, lambda _match: text, prompt)
    return prompt


def _image_type(content: bytes, name: str) -> str:
    """Return the type of an image: by its first bytes, or unknown for the name of an image."""
    unknown = "application/octet-stream" if re.search(rf"{_EXTENSION}\Z", name) else ""
    return next((kind for start, kind in _TYPES.items() if content.startswith(start)), unknown)
