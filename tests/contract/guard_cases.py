"""Files worth hiding, and prompts that name them in every way, or nearly."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff\xe0"

# Names of files in the working directory; some differ only where two rules differ.
_TEXTS = (
    "a.txt",
    "a.txt,",
    "b c.txt",
    "c(1).txt",
    "d[x]{y}.txt",
    "e$HOME.txt",
    "f&;.txt",
    "quote'd.txt",
    'double"d.txt',
    "back\\slash.txt",
    "star*?.txt",
    "~",
    "~tilde.txt",
    "@at.txt",
    "tab\tbed.txt",
    "v\vt.txt",
    "line\nbreak.txt",
    "nb\u00a0sp.txt",
    "thin\u2009sp.txt",
    unicodedata.normalize("NFC", "café.txt"),
    unicodedata.normalize("NFD", "naïve.txt"),
    "日本語.txt",
    "emoji😀",
    "dir/n.txt",
    "dir/@types/n.txt",
    "sp ace/n.txt",
    " lead.txt",
    "pic.png.bak",
    "C:\\win.txt",
    "\\root.txt",
    "http:/example.org/x",
)
_PICTURES = (
    "p.png",
    "Q.JPG",
    "r.jpeg",
    "s.WebP",
    " p.png",
    "my pic.png",
    "my pic.png.jpg",
    "p.png and q.png",
    "dir/p.png",
    "sp ace/p.png",
    "par(1).png",
    "é.png",
    "v\vp.png",
    "line\nbreak.png",
    "C:\\win.png",
    "\\root.png",
    "C:/drive.png",
    "http:/example.org/x.png",
)


@dataclass(frozen=True)
class Tree:
    """A tree of files under `root`, with the working directory `cwd` in it."""

    root: Path
    cwd: Path
    names: tuple[str, ...]  # of all files and directories, relative to `cwd`


def secret(name):
    """Return the content of the file `name`, a text that is unique to it."""
    return f"SECRET-{name.encode().hex()}-TERCES"


def make_tree(root):
    cwd = root / "work"
    for name in ("dir/@types", "sp ace", "http:/example.org", "C:", "dir.png", "dir.txt"):
        (cwd / name).mkdir(parents=True)
    for name in _TEXTS:
        (cwd / name).write_text(secret(name))
    for name in _PICTURES:
        start = _JPEG if name.lower().endswith(("jpg", "jpeg")) else _PNG
        (cwd / name).write_bytes(start + secret(name).encode())
    (cwd / "text.png").write_text(secret("text.png"))
    (cwd / "nested.txt").write_text(f"{secret('nested.txt')} ./p.png @a.txt ")
    (cwd / "empty.txt").touch()
    (cwd / "empty.png").touch()
    (root / "outside.txt").write_text(secret("outside.txt"))
    (root / "outside.png").write_bytes(_PNG + secret("outside.png").encode())
    (cwd / "link.txt").symlink_to("../outside.txt")
    (cwd / "link.png").symlink_to(root / "outside.png")
    (cwd / "dangling.png").symlink_to("nowhere")
    (cwd / "loop.png").symlink_to("loop.png")
    (cwd / "uplink").symlink_to("..")
    special = ("text.png", "nested.txt", "empty.txt", "empty.png", "link.txt", "link.png")
    unusual = ("dangling.png", "loop.png", "dir.png", "dir.txt", "dir", "../outside.txt")
    indirect = ("../outside.png", "uplink/outside.txt", "dir/../uplink/work/p.png")
    return Tree(root, cwd, (*_TEXTS, *_PICTURES, *special, *unusual, *indirect))


_MISSING = (
    "missing.txt",
    "missing.png",
    "a.txt/x.png",
    "a.txt/",
    "nodir/p.png",
    f"{'n' * 300}.png",
    f"./{'too long/' * 500}p.png",
    "nul\0.png",
    "p.pngs",
    "p.png\u0301",
    unicodedata.normalize("NFD", "café.txt"),
    unicodedata.normalize("NFC", "naïve.txt"),
    "~/a.txt",
    "~root/p.png",
    "$PWD/a.txt",
    "\\\\host\\share\\p.png",
    "//host/share/p.png",
    "example.com",
    "/",
    "./",
    "..",
)
_GLUE = (" ", " ", " ", "\n", "", "", "\t", "\v", "\f", "\r\n", "\u00a0", "\u2028", "  ")
_NOISE = (
    "What is in",
    "and/or",
    "Hello",
    "user@example.com",
    "user@a.txt",
    "@",
    "@@",
    "@ ",
    '"',
    "'",
    '""',
    "it's",
    '@"',
    "@'",
    "\\",
    "\\\\",
    "\\ ",
    ".",
    "./",
    "/",
    "//",
    "../",
    "C:\\",
    "C:/",
    ".png",
    ".PNG",
    ".jpg.",
    ".webp\u00e9",
    ". png",
    "\0",
    "?",
    "```\n",
    "https://example.org/x.png",
    "file://",
    "\x1b[0m",
    "😀",
    "\u200b",
)
_TRAILING = ("", "", "", "", ",", ".", "?", ")", "'", '"', ":", "é", "_", "s", "\\", "@")


def random_prompt(random, tree):
    """Return a random prompt, which can be blank."""
    parts = []
    for _ in range(random.randint(1, random.choice((2, 4, 10)))):
        kind = random.random()
        if kind < 0.25:
            parts.append(random.choice(_NOISE))
        elif kind < 0.28:
            parts.append("".join(random.choices("@\"'/.\\ \npngjC:a", k=random.randint(1, 12))))
        else:
            parts.append(_reference(random, tree))
        parts.append(random.choice(_GLUE))
    return "".join(parts)


def _reference(random, tree):
    name = random.choice(tree.names if random.random() < 0.75 else _MISSING)
    before = random.choice(("", "", "", "./", "../work/", f"{tree.cwd}/", f"{tree.cwd}/"))
    path = os.path.join(before, name) if before else name  # noqa: PTH118  keeps ./ and //
    change = random.random()
    if change < 0.2:
        path = "".join(f"\\{c}" if c in " ()[]{}$&;'\\*?~" else c for c in path)
    elif change < 0.25:
        path = path.replace("/", "\\")
    elif change < 0.3:
        path = path.swapcase()
    elif change < 0.35:
        at = random.randint(0, len(path))
        path = path[:at] + random.choice(("\n", " ", "@", '"', "\\")) + path[at:]
    opening = random.choice(("", '"', "'"))
    closing = opening if random.random() < 0.9 else ""
    lead = random.choice(("@", "@", "@", "", "", "@@", "@ ", "(@", "file://", "=", "x@"))
    return f"{lead}{opening}{path}{closing}{random.choice(_TRAILING)}"
