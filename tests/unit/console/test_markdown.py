"""Markdown of an answer that arrives in pieces, on a terminal with rich."""

import io
import random

import pytest

from docker_model._console.colors import ColorScreen, _end_of_block

ANSWER = """# Containers

A *container* is **isolated**.

1. one
2. two

```python
x = 1

y = 2
```

| name | size |
|---|---|
| a | 1 |

The end: [docs](https://docs.docker.com)."""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def written(monkeypatch, text, seed):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    generator = random.Random(seed)
    writer = ColorScreen(stream).markdown()
    while text:
        size = generator.randint(1, 9)
        writer.write(text[:size])
        text = text[size:]
    writer.end()
    return stream.getvalue()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_final_screen_contains_every_block(monkeypatch, seed):
    monkeypatch.setenv("NO_COLOR", "1")
    screen = written(monkeypatch, ANSWER, seed)
    for words in (
        "Containers",
        "isolated",
        " 1 one",
        " 2 two",
        "x = 1",
        "y = 2",
        "name",
        "The end",
    ):
        assert words in screen
    assert "https://docs.docker.com" in screen  # the target of a link stays visible
    assert "**" not in screen
    assert "```" not in screen.rpartition("y = 2")[2]


def test_escape_sequences_of_an_answer_are_escaped(monkeypatch):
    assert "\x1b]0;" not in written(monkeypatch, "Look: \x1b]0;title\x07 here.\n\nMore.", 1)


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("one\n\ntwo", "one\n"),
        ("one\ntwo", None),
        ("one\n", None),
        ("\n\none", None),
        ("```\na\n\nb\n```\n\nc", "```\na\n\nb\n```\n"),
        ("```\na\n\nb", None),
        ("~~~ py\na\n\n```\n~~~\n\nb", "~~~ py\na\n\n```\n~~~\n"),
    ],
)
def test_a_block_ends_at_a_blank_line_outside_of_fences(text, block):
    place = _end_of_block(text)
    assert (None if place is None else text[:place]) == block
