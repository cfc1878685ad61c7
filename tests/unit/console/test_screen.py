"""Wrapping of an answer between words, for any split into pieces."""

import io
import random

import pytest

from docker_model._console.check import gpu
from docker_model._console.screen import Screen, Wrapped


class Terminal(io.StringIO):
    def isatty(self):
        return True


def wrapped(text, width, monkeypatch, seed=None):
    monkeypatch.setenv("COLUMNS", str(width))
    stream = Terminal()
    out = Wrapped(Screen(stream))
    generator = random.Random(seed)
    while text:
        size = len(text) if seed is None else generator.randint(1, 7)
        out.write(text[:size])
        text = text[size:]
    out.end()
    return stream.getvalue()


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one two three four", "one two \nthree \nfour"),
        ("one\n\ntwo three", "one\n\ntwo three"),
        ("a-very-long-word-that-fits-nowhere", "a-very-long-word-that-fits-nowhere"),
        ("日本 日本語 日本", "日本 \n日本語 \n日本"),
        ("    some indented code stays", "    some indented code stays"),
        ("| a | table | row | stays |", "| a | table | row | stays |"),
        ("```\nfenced code that is long\n```\n", "```\nfenced code that is long\n```\n"),
        ("```\ncode\n```\nand then words again", "```\ncode\n```\nand then \nwords \nagain"),
    ],
)
def test_lines_are_wrapped_between_words(text, shown, seed, monkeypatch):
    assert wrapped(text, 9, monkeypatch, seed) == shown


def test_a_pipe_is_not_wrapped():
    stream = io.StringIO()
    out = Wrapped(Screen(stream))
    out.write("word " * 100)
    out.end()
    assert stream.getvalue() == "word " * 100


def test_a_message_is_wrapped_only_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    for stream, lines in ((Terminal(), 3), (io.StringIO(), 1)):
        Screen(stream).paragraph("It failed, and this is what helps: do it once more, please.")
        assert len(stream.getvalue().splitlines()) == lines


# What a real runner logs on a machine without a GPU: when it starts, and when a model is loaded.
NO_GPU = 'time=2026-11-29T03:40:40.197Z level=INFO msg="installed llama-server" gpuSupport=false'
NO_GPU_LOADED = 'msg="warning: no usable GPU found, --gpu-layers option will be ignored"'


@pytest.mark.parametrize(
    ("state", "log", "guess"),
    [
        ("Running: llama.cpp latest-cuda (sha256:ab12)", "", "GPU by CUDA"),
        ("Running: llama.cpp latest-metal", "", "GPU by METAL"),
        ("Running: llama.cpp b9879", "load_tensors: offloaded 25/25 layers to GPU", "25 of 25"),
        ("Running: llama.cpp latest-cuda", "load_tensors: offloaded 0/25 layers to GPU", "no GPU"),
        ("Running: llama.cpp latest-cuda", NO_GPU_LOADED, "no GPU"),
        ("Running: llama.cpp latest-cpu", f"{NO_GPU}\n{NO_GPU_LOADED}", "no GPU"),
        ("Running: llama.cpp latest-cpu", NO_GPU, "no GPU"),
        ("Running: llama.cpp b9879", NO_GPU.replace("false", "true"), "GPU"),
        ("Running: llama.cpp latest-cuda", NO_GPU.replace("false", "true"), "GPU by CUDA"),
        ("Running: llama.cpp b9879", "nothing of the kind", ""),
    ],
)
def test_the_use_of_a_gpu_is_read_from_the_log(state, log, guess):
    assert gpu(state, log).startswith(guess)
    assert bool(gpu(state, log)) == bool(guess)
