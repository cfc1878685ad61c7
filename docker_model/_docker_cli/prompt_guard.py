"""The prompt guard: the CLI reads local files for a prompt only if the caller allows it.

The CLI reads the files that a prompt names (:mod:`docker_model._docker_cli.references`). A
prompt can contain untrusted text: user input, retrieved documents, results of tools. The guard
makes the same file lookups as the CLI, and breaks each reference to a file with a space.

This adds one byte for each file reference. It also adds one byte for each text that looks like
an image path and would make the CLI fail.

The guard has these limits:

* The result is only valid at the time of the check. If another process creates a file with an
  *absolute* name before the CLI's own check, the CLI reads it. (With `"escape"`, relative names
  are safe, because the run starts in an empty directory. Entries of `/proc` of processes that
  start later are safe too.)
* The guard checks the file systems of this process. Other files exist if `command` runs
  elsewhere: over `ssh`, in a container, or as a sandboxed `docker`.
* On Windows, alternate data streams, short names (`PROGRA~1`) and devices are not tested.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from docker_model._docker_cli.local_files import LocalFiles
from docker_model._docker_cli.references import endings, images, inclusions
from docker_model.errors import FileReferenceError, InvalidRequestError

if TYPE_CHECKING:
    from docker_model.options import FileReferences

__all__ = ["check_prompt", "find_references", "guard"]

# The characters that Go's `strings.TrimSpace` removes; `str.strip()` also removes \x1c to \x1f.
_GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_SHOWN = 5  # the maximum number of references in an error message
_SHOWN_LENGTH = 200  # the maximum length of each of them, in characters
_CHOICES = (
    "remove them from the prompt; or set file_references='escape' to break each of them with a "
    "space, or file_references='allow' to send the contents of the files to the model"
)


def check_prompt(prompt: str) -> None:
    """Reject a prompt that cannot be sent.

    Args:
        prompt: The prompt. NUL and control characters are valid, because it is sent in a pipe.

    Raises:
        InvalidRequestError: If the prompt is not a string, is blank (the CLI would start its
            interactive mode or send an empty message), or contains a lone surrogate, which
            UTF-8 cannot encode.
    """
    if not isinstance(prompt, str):
        msg = f"the prompt must be a string, not {type(prompt).__name__}"
        raise InvalidRequestError(msg, hint="decode bytes, and join messages to one string")
    if not prompt.strip(_GO_SPACE):
        msg = "the prompt is empty or blank"
        raise InvalidRequestError(msg, hint="pass a prompt with text")
    position = _lone_surrogate(prompt)
    if position is not None:
        msg = f"the prompt has a lone surrogate (U+{ord(prompt[position]):04X}) at {position}"
        hint = "decode the source with errors='replace', or remove the character"
        raise InvalidRequestError(msg, hint=hint)


def may_name_files(prompt: str) -> bool:
    """Whether the prompt contains text with the form of a file reference; accesses no files."""
    return any(True for _ in inclusions(prompt)) or any(True for _ in images(prompt))


def find_references(prompt: str, *, cwd: str) -> tuple[str, ...]:
    """List the local files in a prompt that the CLI would read or attach, or that make it fail.

    Args:
        prompt: The text that the CLI would receive.
        cwd: The directory that the CLI would run in.

    Returns:
        The paths as written in the prompt, in their order, without duplicates.

    Raises:
        OSError: If `cwd` cannot be opened.
    """
    with LocalFiles(cwd) as files:
        references = [(at, path) for path, at in inclusions(prompt) if files.read(path)]
        references += [
            (image.at, image.path) for image in images(prompt) if files.attached(image.path)
        ]
    return tuple(dict.fromkeys(path for _, path in sorted(references)))


def guard(prompt: str, policy: FileReferences, *, cwd: str) -> str:
    """Return a prompt for which the CLI reads no local files.

    The docstring of the module describes the limits.

    Args:
        prompt: A prompt that `check_prompt` accepts.
        policy: `"escape"`: a space breaks each reference to an existing file; other text does
            not change. `"refuse"`: a reference to an existing file is an error. `"allow"`: the
            CLI may read the files.
        cwd: The working directory of the run; relative names refer to it.

    Returns:
        The prompt to send; the same object if it did not change.

    Raises:
        FileReferenceError: If the policy is `"refuse"` and the prompt names a file.
        OSError: If `cwd` cannot be opened.
    """
    if policy == "allow":
        return prompt
    if policy == "escape":
        with LocalFiles(cwd) as files:
            return _defused(prompt, files)
    references = find_references(prompt, cwd=cwd)
    if references:
        raise FileReferenceError(_naming(references), hint=_CHOICES, references=references)
    return prompt


def _naming(references: tuple[str, ...]) -> str:
    paths = ", ".join(repr(path[:_SHOWN_LENGTH]) for path in references[:_SHOWN])
    others = f" and {len(references) - _SHOWN} more" if len(references) > _SHOWN else ""
    return f"the prompt names local files, which the CLI would read: {paths}{others}"


def _lone_surrogate(text: str) -> int | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start  # not the exception, which contains the whole prompt
    return None


def _defused(text: str, files: LocalFiles) -> str:
    """Break references until the CLI's rules find no file in the text.

    A space can create a new reference: a broken `@` path can contain another `@`, and a broken
    image path can become part of a longer path on the same line. Every round therefore parses
    the new text. The loop terminates: each space permanently disables an `@` or an extension,
    or leaves an image path without a file until one of the others changes it. Two or three
    rounds are typical. Images come first, because their space usually also breaks a preceding
    `@`.
    """
    while spots := _image_spots(text, files) or _inclusion_spots(text, files):
        text = " ".join(text[start:end] for start, end in pairwise([0, *spots, len(text)]))
    return text


def _inclusion_spots(text: str, files: LocalFiles) -> list[int]:
    return [at for path, at in inclusions(text) if files.read(path)]


def _image_spots(text: str, files: LocalFiles) -> list[int]:
    spots: list[int] = []
    settled = 0
    for image in images(text):
        if image.at < settled or not files.attached(image.path):
            continue
        if not files.attached(image.spoiled):
            spots.append(image.middle)
        else:  # the name is too long with or without the space, or contains NUL
            dots, settled = endings(text, image)
            spots += dots
    return spots
