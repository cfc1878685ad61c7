"""Model names: validate, compare and shorten them.

Requests always contain the name that the caller passed. The other forms are only for
comparison and display. The rules are those of Docker Model Runner's normalization.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from docker_model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["canonical", "check_model_name", "display_name", "same_model"]

_LONGEST = 512  # more than a registry's limits, 456 in total: name 255, tag 128, digest 71
_SHOWN = 80  # characters of an invalid name in its error message
_NIM = "nvcr.io/nim/"
HUGGING_FACE = "huggingface.co/"

# Strings, not compiled patterns: `re` compiles them on first use, which keeps the import fast.
# `[` and `]` are for a registry at an IPv6 address.
_PART = r"[A-Za-z0-9_\[][A-Za-z0-9_.:@\[\]-]*"
_NAME = rf"{_PART}(?:/{_PART})*"
_FOREIGN = r"[^A-Za-z0-9_.:@\[\]/-]"

_DEFAULT_REGISTRY = r"\A(?:(?:index\.)?docker\.io/)+"
_SHORT_ID = r"[0-9a-f]{12}"
_LONG_ID = r"(?:sha256:)?([0-9a-f]{64})"


def check_model_name(name: str) -> str:
    """Reject a string that the CLI would not interpret as a model name.

    The name becomes an argument of the CLI, where a leading dash makes it a flag. The CLI then
    inserts it unescaped into the path of a URL, where `..`, `?`, `#` and `%` address another
    resource. For example, `docker model inspect ../version` succeeds, with an empty model.

    Args:
        name: `ai/smollm2`, `hf.co/org/model:Q4_K_M`, `registry:5000/org/model`,
            `ai/smollm2@sha256:…`, `smollm2`, an id of 12 or 64 hexadecimal digits.

    Returns:
        The name, unchanged.

    Raises:
        InvalidRequestError: If the name is invalid; the message contains the reason.
    """
    if not isinstance(name, str):
        msg = f"the model name must be a string, not {type(name).__name__}"
        raise InvalidRequestError(msg, hint="for example ai/smollm2; see `docker model list`")
    if name.startswith(_NIM):
        msg = f"{name[:_SHOWN]!r} is an NVIDIA NIM, which the CLI runs in a separate container"
        raise InvalidRequestError(msg, hint="run the NIM yourself and use its OpenAI endpoint")
    fault = _fault(name)
    if fault:
        msg = f"the model name {name[:_SHOWN]!r} {fault}"
        hint = "a name looks like ai/smollm2 or hf.co/org/model:Q4_K_M; see `docker model list`"
        raise InvalidRequestError(msg, hint=hint)
    return name


def _fault(name: str) -> str:
    if not name.strip():
        return "is empty"
    foreign = re.search(_FOREIGN, name)
    if foreign:
        return f"contains {foreign[0]!r}"
    if ".." in name:
        return "contains '..'"
    if not re.fullmatch(_NAME, name):
        return "has an empty part, or a part that begins with '-', '.', ':' or '@'"
    if name.endswith("/export"):
        return "would make the runner send the whole model: add ':latest'"
    if len(name) > _LONGEST:
        return f"is longer than {_LONGEST} characters"
    return ""


def canonical(name: str) -> str:
    """Return the canonical form of a name, which is equal for all names of one model.

    The form has no Docker Hub registry, `huggingface.co` instead of `hf.co`, the default
    organization `ai/`, the default tag `:latest`, and lower case except for the tag. An id of
    64 digits gets the prefix `sha256:`; an id of 12 digits does not change.

    Args:
        name: A name that `check_model_name` accepts, or a tag from `docker model list --json`
            of any version.
    """
    if re.fullmatch(_SHORT_ID, name):
        return name
    long_id = re.fullmatch(_LONG_ID, name)
    if long_id:
        return f"sha256:{long_id[1]}"
    name, at, digest = name.partition("@")
    path, tag = split_tag(name)
    path = re.sub(_DEFAULT_REGISTRY, "", path.lower())
    if path.startswith("hf.co/"):
        path = HUGGING_FACE + path.removeprefix("hf.co/")
    if "/" not in path:
        path = f"ai/{path}"
    if not at:
        return f"{path}:{tag or 'latest'}"
    return f"{path}:{tag}@{digest}" if tag else f"{path}@{digest}"


def split_tag(name: str) -> tuple[str, str]:
    """Split a name into path and tag. The colon before a port does not begin a tag."""
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, "")


def same_model(name: str, other: str) -> bool:
    """Whether two names refer to the same model, judged by the names only.

    An id matches its own prefix, and a name with the same id after `@sha256:`.
    """
    name, other = canonical(name), canonical(other)
    if name == other:
        return True
    one_id, other_id = _id_digits(name), _id_digits(other)
    return bool(one_id and other_id) and (
        one_id.startswith(other_id) or other_id.startswith(one_id)
    )


def _id_digits(name: str) -> str:
    if re.fullmatch(_SHORT_ID, name):
        return name
    long_id = re.fullmatch(_LONG_ID, name.rpartition("@")[2])
    return long_id[1] if long_id else ""


def display_name(tags: Sequence[str], model_id: str | None) -> str:
    """Return the short name of a model: its first tag without the defaults, else its id.

    Args:
        tags: The tags in the output of `docker model list --json`.
        model_id: The id in the output; `None` if it has no id.
    """
    if not tags:
        return model_id or ""
    short = re.sub(_DEFAULT_REGISTRY, "", tags[0]).removesuffix(":latest")
    # Without its defaults, a name can look like an id, or like a name with other defaults.
    return short if canonical(short) == canonical(tags[0]) else tags[0]
