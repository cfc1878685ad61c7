"""What the CLI makes of a prompt: text files put in, images taken out, blanks cut off.

Written from the behaviour of the CLI and not from this package's own guard, which the tests
hold against it. Linear in the prompt's length, as Go's regular expressions are.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from bisect import bisect_left
from typing import Any

from docker_model.testing.command.process import CommandError

GO_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp")

# Go's \s is these five, and its \b and \w are ASCII.
_INCLUSION = re.compile(r"""@(?:"([^"]+)"|'([^']+)'|([^ \t\n\f\r"']+))""")
_ESCAPE = re.compile(r"\\([ ()\[\]{}$&;'\\*?~])")
_START = re.compile(r"""["']|[a-zA-Z]:[/\\]|[/\\]|\./""")
_EXTENSION = re.compile(r"\.(?:jpg|jpeg|png|webp)\b", re.IGNORECASE | re.ASCII)
_BARRIER = re.compile(r"""[\n"']""")
_NAMED_SO = re.compile(r".+\.(?:jpg|jpeg|png|webp)", re.IGNORECASE | re.ASCII | re.DOTALL)


class PromptError(CommandError):
    """The CLI gives up over a file; the text is its own."""


def rewrite(prompt: str, directory: str) -> str | list[dict[str, Any]]:
    """Return the content of the message that the CLI sends for this prompt.

    Args:
        prompt: The prompt.
        directory: The command's working directory.
    """
    prompt = _include_files(prompt, directory)
    text, images = _take_images(prompt, directory)
    if not images:
        return text
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": image}} for image in images
    ]
    return [*parts, {"type": "text", "text": text}] if text else parts


def _include_files(prompt: str, directory: str) -> str:
    for match in list(_INCLUSION.finditer(prompt)):
        path = match[1] or match[2] or match[3]
        name = _ESCAPE.sub(r"\1", path)
        try:
            with open(os.path.join(directory, name), "rb") as file:
                content = file.read()
        except (OSError, ValueError):
            continue
        if _sniff(content) in IMAGE_TYPES or _has_extension(name):
            continue
        text = content.decode("utf-8", "replace")
        for written in (path, name):
            quoted = re.escape(written)
            for pattern in (f'@"{quoted}"', f"@'{quoted}'", rf"@{quoted}(?=[ \t\n\f\r]|\Z)"):
                prompt = re.sub(pattern, text.replace("\\", r"\\"), prompt)
    return prompt


def _take_images(prompt: str, directory: str) -> tuple[str, list[str]]:
    images = []
    for path in _image_paths(prompt):
        name = _ESCAPE.sub(r"\1", path)
        try:
            image = _data_url(name, directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            verb = "read" if isinstance(error, IsADirectoryError) else "open"
            reason = str(error) if error.errno is None else f"{verb} {name}: {_words(error)}"
            msg = f'failed to process images: couldn\'t process image "{name}": {reason}'
            raise PromptError(msg) from None
        for written in (f"'{name}'", f"'{path}'", name, path):
            prompt = prompt.replace(written, "")
        images.append(image)
    return prompt.strip(GO_SPACE), images


def _words(error: OSError) -> str:
    words = error.strerror or ""
    return words[:1].lower() + words[1:]


def _image_paths(prompt: str) -> list[str]:
    extensions = list(_EXTENSION.finditer(prompt))
    dots = [match.start() for match in extensions]
    barriers = [match.start() for match in _BARRIER.finditer(prompt)]
    paths = []
    at = 0
    while start := _START.search(prompt, at):
        at = start.start() + 1
        if start[0] in "\"'":
            end = prompt.find(start[0], at)
            if end > at and _NAMED_SO.fullmatch(prompt, at, end):
                paths.append(prompt[at:end])
                at = end + 1
            continue
        nearest = bisect_left(dots, start.end())
        barrier = bisect_left(barriers, start.end())
        if nearest == len(dots):
            continue
        if barrier == len(barriers) or dots[nearest] < barriers[barrier]:
            at = extensions[nearest].end()
            paths.append(prompt[start.start() : at])
    return paths


def _data_url(name: str, directory: str) -> str:
    if "\0" in name:
        msg = f"open {name}: invalid argument"
        raise OSError(msg)
    path = os.path.join(directory, name)
    with open(path, "rb", buffering=0) as file:
        content = file.read()
    if not content:
        msg = "EOF"
        raise OSError(msg)
    kind = _sniff(content)
    if kind not in IMAGE_TYPES and not _has_extension(name):
        msg = f"invalid image type for file: {name}"
        raise OSError(msg)
    return f"data:{kind};base64,{b64encode(content).decode()}"


def _has_extension(name: str) -> bool:
    return name.lower().endswith((".jpg", ".jpeg", ".png", ".webp"))


def _sniff(content: bytes) -> str:
    """Return the part of Go's http.DetectContentType that pictures need."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content[:4] == b"RIFF" and content[8:14] == b"WEBPVP":
        return "image/webp"
    return "application/octet-stream"
