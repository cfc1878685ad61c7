from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_model._transport.model_names import (
    canonical,
    check_model_name,
    display_name,
    same_model,
)
from docker_model.errors import InvalidRequestError

DIGITS = "ab12" * 16

TAKEN = [
    "ai/smollm2",
    "ai/smollm2:360M-Q4_K_M",
    "ai/SmolLM2",
    "smollm2",
    "smollm2:latest",
    "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M",
    "huggingface.co/bartowski/Llama-3.2-1B-Instruct-GGUF",
    "docker.io/ai/smollm2:latest",
    "index.docker.io/ai/smollm2",
    "localhost:5000/team/model",
    "registry.example.com:5000/Team/Embed:v1",
    "[::1]:5000/team/model:v1",
    f"ai/smollm2@sha256:{DIGITS}",
    f"ai/smollm2:360M@sha256:{DIGITS}",
    f"sha256:{DIGITS}",
    DIGITS,
    DIGITS[:12],
    "nvcr.io/other/model",
    "ai/export:latest",
    "export",
]


@pytest.mark.parametrize("name", TAKEN)
def test_a_valid_model_name_is_passed_unchanged(name):
    assert check_model_name(name) is name


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        (" ai/smollm2", "contains ' '"),
        ("ai/smollm2\n", r"contains '\\n'"),
        ("ai/smol\0lm2", r"contains '\\x00'"),
        ("ai/smol\x1b[0mlm2", r"contains '\\x1b'"),
        ("ai/smollm2?x=1", r"contains '\?'"),
        ("ai/smollm2#x", "contains '#'"),
        ("ai/smol%2Flm2", "contains '%'"),
        ("ai\\smollm2", r"contains '\\\\'"),
        ("ai/smollm²", "contains '²'"),
        ("ai/\udc80", r"contains '\\udc80'"),
        ("../version", r"contains '\.\.'"),
        ("ai/../../version", r"contains '\.\.'"),
        ("--help", "begins with '-'"),
        ("-d", "begins with '-'"),
        ("/version", "an empty part"),
        ("ai//smollm2", "an empty part"),
        ("ai/", "an empty part"),
        ("https://hf.co/org/model", "an empty part"),
        ("./smollm2", "begins with"),
        ("ai/smollm2/export", "add ':latest'"),
        ("a" * 513, "longer than 512"),
        ("nvcr.io/nim/google/gemma-3-1b-it:latest", "NVIDIA NIM"),
    ],
)
def test_a_name_with_another_meaning_is_refused_with_the_reason(name, fault):
    with pytest.raises(InvalidRequestError, match=fault) as raised:
        check_model_name(name)
    assert raised.value.hint
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("gemma3", "ai/gemma3:latest"),
        ("gemma3:v1", "ai/gemma3:v1"),
        ("gemma3:", "ai/gemma3:latest"),
        ("ai/Gemma3:Q4_K_M", "ai/gemma3:Q4_K_M"),
        ("myorg/model", "myorg/model:latest"),
        ("docker.io/ai/smollm2:latest", "ai/smollm2:latest"),
        ("index.docker.io/smollm2", "ai/smollm2:latest"),
        ("hf.co/Org/M:Q4_K_M", "huggingface.co/org/m:Q4_K_M"),
        ("huggingface.co/org/m", "huggingface.co/org/m:latest"),
        ("localhost:5000/model", "localhost:5000/model:latest"),
        (f"ai/smollm2@sha256:{DIGITS}", f"ai/smollm2@sha256:{DIGITS}"),
        (f"smollm2:v1@sha256:{DIGITS}", f"ai/smollm2:v1@sha256:{DIGITS}"),
        (f"sha256:{DIGITS}", f"sha256:{DIGITS}"),
        (DIGITS, f"sha256:{DIGITS}"),
        (DIGITS[:12], DIGITS[:12]),
        (DIGITS[:11], f"ai/{DIGITS[:11]}:latest"),
        (DIGITS[:12].upper(), f"ai/{DIGITS[:12]}:latest"),
    ],
)
def test_a_name_has_its_canonical_form(name, form):
    assert canonical(name) == form


@pytest.mark.parametrize(
    ("name", "other_name", "same"),
    [
        ("smollm2", "docker.io/ai/smollm2:latest", True),
        ("ai/smollm2", "ai/smollm2:360M", False),
        ("ai/smollm2:q4", "ai/smollm2:Q4", False),
        ("hf.co/Org/M", "huggingface.co/org/m:latest", True),
        ("smollm2", "myorg/smollm2", False),
        (DIGITS, f"sha256:{DIGITS}", True),
        (DIGITS[:12], f"sha256:{DIGITS}", True),
        (DIGITS[:12], f"sha256:{DIGITS[1:]}a", False),
        (f"ai/smollm2@sha256:{DIGITS}", DIGITS, True),
        (DIGITS, "ai/smollm2", False),
        ("ai/smollm2", "ai/gemma3", False),
    ],
)
def test_names_of_the_same_model_are_equal(name, other_name, same):
    assert same_model(name, other_name) is same
    assert same_model(other_name, name) is same


@pytest.mark.parametrize(
    ("tags", "model_id", "name"),
    [
        (["docker.io/ai/smollm2:latest"], f"sha256:{DIGITS}", "ai/smollm2"),
        (["ai/smollm2:latest"], None, "ai/smollm2"),
        (["docker.io/ai/qwen3:0.6B-Q4_K_M", "ai/qwen3"], None, "ai/qwen3:0.6B-Q4_K_M"),
        (["docker.io/myorg/m:latest"], None, "myorg/m"),
        (["huggingface.co/org/m:Q4_K_M"], None, "huggingface.co/org/m:Q4_K_M"),
        (
            ["registry.example.com:5000/Team/Embed:v1"],
            None,
            "registry.example.com:5000/Team/Embed:v1",
        ),
        (["docker.io/ab12ab12ab12:latest"], None, "docker.io/ab12ab12ab12:latest"),
        ([], f"sha256:{DIGITS}", f"sha256:{DIGITS}"),
        ([], None, ""),
    ],
)
def test_the_display_name_is_the_shortest_tag_or_the_id(tags, model_id, name):
    assert display_name(tags, model_id) == name


PART = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
REGISTRY = st.sampled_from(
    ["", "docker.io/", "index.docker.io/", "hf.co/", "HF.co/", "localhost:5000/", "[::1]:80/"]
)
TAG = st.sampled_from(
    ["", ":latest", ":", ":v1", ":Q4_K_M", f"@sha256:{DIGITS}", f":v1@sha256:{DIGITS}"]
)
IDS = st.sampled_from([DIGITS, DIGITS[:12], f"sha256:{DIGITS}"])
PATH = st.lists(PART | IDS, min_size=1, max_size=3).map("/".join)
NAMES = st.builds("{}{}{}".format, REGISTRY, PATH, TAG).filter(lambda name: ".." not in name)


@given(name=NAMES | IDS)
def test_the_canonical_form_of_a_canonical_form_is_the_form_itself(name):
    form = canonical(name)
    assert canonical(form) == form
    assert same_model(name, form)
    assert check_model_name(form) == form


@given(tag=NAMES)
def test_a_display_name_means_the_tag_it_was_made_of(tag):
    name = display_name([tag], None)
    assert canonical(name) == canonical(tag)
    assert len(name) <= len(tag)


@given(name=st.text(max_size=20))
def test_any_text_is_accepted_unchanged_or_refused(name):
    try:
        assert check_model_name(name) is name
    except InvalidRequestError:
        return
    assert same_model(name, name)
