"""The prompt guard: local files reach the model only if the caller allows it.

The CLI reads the files that a prompt names (:mod:`docker_model._docker_cli.references`), and
a prompt holds text of others: users, retrieved documents, results of tools. The guard
asks the file system what the CLI would ask, and breaks each reference to a file with a space.

The price is one more byte for each file that is named, and for text that only looks like the
path of a picture where the CLI would fail over it.

Its limits:

* It judges the moment of its own check. A file that is created under an *absolute* name between
  that check and the CLI's is read. (Relative names are safe with `"escape"`: the run starts in an
  empty directory. So are the entries of `/proc` of processes that are still to be started.)
* It judges the file systems of this process. Where `command` leads elsewhere (over `ssh`, into a
  container, a sandboxed `docker` with file systems of its own), other names exist.
* On Windows, alternate data streams, short names (`PROGRA~1`) and devices have not been tried.
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

# What Go's `strings.TrimSpace` removes; `str.strip()` would take \x1c to \x1f as well.
_GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_SHOWN = 5  # references in an error's message, each up to
_SHOWN_LENGTH = 200  # characters
_CHOICES = (
    "take them out of the prompt; or let file_references='escape' break them with a space "
    "each, or file_references='allow' send what is in those files to the model"
)


def check_prompt(prompt: str) -> None:
    """Refuse a prompt that cannot be sent.

    Args:
        prompt: The whole text. NUL and control characters are fine: it goes through a pipe.

    Raises:
        InvalidRequestError: If it is not a string, is empty or blank (the CLI would turn to
            interactive mode, or send an empty message), or has a lone surrogate, which
            UTF-8 cannot encode.
    """
    if not isinstance(prompt, str):
        msg = f"the prompt must be a string, not {type(prompt).__name__}"
        raise InvalidRequestError(msg, hint="decode bytes, and join messages to one string")
    if not prompt.strip(_GO_SPACE):
        msg = "the prompt is empty or blank"
        raise InvalidRequestError(msg, hint="give the model something to answer")
    position = _lone_surrogate(prompt)
    if position is not None:
        msg = f"the prompt has a lone surrogate (U+{ord(prompt[position]):04X}) at {position}"
        hint = "decode its source with errors='replace', or drop the character"
        raise InvalidRequestError(msg, hint=hint)


def may_name_files(prompt: str) -> bool:
    """Whether the text has anything that could name a file; looks at no file."""
    return any(True for _ in inclusions(prompt)) or any(True for _ in images(prompt))


def find_references(prompt: str, *, cwd: str) -> tuple[str, ...]:
    """List the local files that the CLI would read, attach or fail over.

    Args:
        prompt: The text as the CLI would get it.
        cwd: The directory that the CLI would run in.

    Returns:
        The paths as they stand in the prompt, in their order, each once.

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
    """Keep the CLI from reading the local files that a prompt names.

    The module's docstring has the limits of this.

    Args:
        prompt: The text, as `check_prompt` lets it pass.
        policy: `"escape"`: one space breaks each reference to a file that exists, and
            everything else stays as it is. `"refuse"`: such a reference is an error.
            `"allow"`: the CLI may read the files.
        cwd: The directory that the run starts in; relative names are judged against it.

    Returns:
        The prompt to send; the same object if nothing had to change.

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
    shown = ", ".join(repr(path[:_SHOWN_LENGTH]) for path in references[:_SHOWN])
    more = f" and {len(references) - _SHOWN} more" if len(references) > _SHOWN else ""
    return f"the prompt names local files, which the CLI would read: {shown}{more}"


def _lone_surrogate(text: str) -> int | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start  # not the error, which has the whole prompt
    return None


def _defused(text: str, files: LocalFiles) -> str:
    """Break references until the CLI's rules find no file in the text.

    A space can make a new reference: after `@`, the rest of a broken path may have another
    `@`; after a picture's path, the line may go on to a longer one. So every round starts from
    the new text. The loop ends because each space ends an `@` or an extension for good, or
    leaves a picture's path without a file until one of those changes it; it takes two or three
    rounds. Pictures come first since their space mostly breaks an `@` before them too.
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
        else:  # too long in any case, or with a NUL
            dots, settled = endings(text, image)
            spots += dots
    return spots
