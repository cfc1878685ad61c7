"""The CLI's changes to a prompt: it includes text files, extracts images and strips white space.

This code follows the behavior of the CLI and shares nothing with this package's prompt guard,
because tests compare the two. Like Go's code, it takes linear time.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from typing import Any

from docker_model.testing.command.process import CommandError

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
_SIGNATURES = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/webp": re.compile(rb"RIFF....WEBPVP", re.DOTALL),
}


def rewrite(prompt: str, directory: str) -> str | list[dict[str, Any]]:
    """Return the content of the message that the CLI sends for this prompt.

    Args:
        prompt: The prompt.
        directory: The command's working directory.

    Raises:
        CommandError: If an image cannot be read; the message is the CLI's.
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
            content = _read(name, directory)
        except (OSError, ValueError):
            continue
        if _image_type(content) or _has_extension(name):
            continue
        text = content.decode("utf-8", "replace").replace("\\", r"\\")
        for written in map(re.escape, (path, name)):
            for pattern in (f'@"{written}"', f"@'{written}'", rf"@{written}(?=[ \t\n\f\r]|\Z)"):
                prompt = re.sub(pattern, text, prompt)
    return prompt


def _take_images(prompt: str, directory: str) -> tuple[str, list[str]]:
    images = []
    for match in list(_IMAGE.finditer(prompt)):
        path = match[1] or match[2] or match[3]
        if not path:
            continue
        name = _ESCAPE.sub(r"\1", path)
        try:
            content = _read(name, directory)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            content = b""
        kind = _image_type(content)
        if not content or not (kind or _has_extension(name)):
            msg = f'failed to process images: couldn\'t process image "{name}"'
            raise CommandError(msg)
        for written in (f"'{name}'", f"'{path}'", name, path):
            prompt = prompt.replace(written, "")
        kind = kind or "application/octet-stream"
        images.append(f"data:{kind};base64,{b64encode(content).decode()}")
    return prompt.strip(GO_SPACE), images


def _read(name: str, directory: str) -> bytes:
    with open(os.path.join(directory, name), "rb") as file:
        return file.read()


def _has_extension(name: str) -> bool:
    return name.lower().endswith((".jpg", ".jpeg", ".png", ".webp"))


def _image_type(content: bytes) -> str:
    """Return the content type of an image, or "", like Go's http.DetectContentType."""
    return next((kind for kind, start in _SIGNATURES.items() if start.match(content)), "")
