"""The documentation's table of features: each cell is what came of one row tried with one class.

    python benchmarks/features.py [--only TEXT] [--row TEXT]

All classes ask the same runner. It is the real one that MODEL_RUNNER_HOST names for what any
model can show, and else, as for faults and for what a model has to say, the simulated runner
of `docker_model.testing`. `yes`: it worked; `if set`: with a setting of `classes.py` that is
not the default; `no`: it is not offered, or nothing came of it; a name is the error it ended in.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

from classes import CONTENDERS, Contender, NotOffered
from ollama_api import ollama_api
from rows import ABSENT, MODEL, NOBODY, ROWS, Row, Scene, answers, in_kind, name_of

from docker_model.testing import SimulatedDocker

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60.0
# Nothing of this leaves the machine: a class without an address may ask somebody on the internet.
CLOSED = {
    "HTTP_PROXY": NOBODY,
    "HTTPS_PROXY": NOBODY,
    "ALL_PROXY": NOBODY,
    "NO_PROXY": "127.0.0.1,localhost",
}
FOREIGN = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "OLLAMA_HOST", "OLLAMA_API_KEY")


@contextlib.contextmanager
def environment() -> Iterator[None]:
    """Lend the caller's environment without proxies and addresses, and give it back."""
    saved = dict(os.environ)
    for name in FOREIGN:
        os.environ.pop(name, None)
    os.environ.update(CLOSED)
    os.environ.update({name.lower(): value for name, value in CLOSED.items()})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


@contextlib.contextmanager
def runner(row: Row, contender: Contender) -> Iterator[Scene]:
    """Give the real runner where it can show the row, and otherwise a simulated one."""
    with environment(), contextlib.ExitStack() as stack:
        real = os.environ.get("MODEL_RUNNER_HOST")
        if real and row.real:
            yield Scene(contender, None, real, real)
            return
        script = (lambda _: in_kind(scene.asked())) if row.script is in_kind else row.script
        docker = SimulatedDocker([MODEL], script=script, pullable=[ABSENT], replies=row.replies)
        stack.enter_context(docker)
        ollama = stack.enter_context(ollama_api(docker.url.removeprefix("http://")))
        yield (scene := Scene(contender, docker, docker.url, ollama))


def attempt(row: Row, contender: Contender, settings: dict[str, Any]) -> str:
    """Return the cell for one row and one class with these settings."""
    found: list[bool | str] = []

    def run(scene: Scene) -> None:
        try:
            found.append(row.run(scene, settings))
        # A base class raises the second where its subclass has nothing of the kind; others
        # have no such method at all.
        except (NotOffered, NotImplementedError, AttributeError):
            found.append(False)
        except Exception as error:  # noqa: BLE001  it is what a user would see
            found.append(name_of(error))

    with runner(row, contender) as scene:
        # A class that hangs holds its own thread and not the others.
        thread = threading.Thread(target=run, args=(scene,), daemon=True)
        thread.start()
        thread.join(PATIENCE)
    result = found[0] if found else "hangs"
    return {True: "yes", False: "no"}.get(result, str(result))  # type: ignore[call-overload]


def cell(row: Row, contender: Contender) -> str:
    """Return the cell for one row and one class, by default or with what switches it on."""
    found = attempt(row, contender, {})
    settings = contender.switches.get(row.key)
    if found.startswith("yes") or settings is None:
        return found
    return "if set" if attempt(row, contender, dict(settings)) == "yes" else found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", default="", help="a part of the class's title")
    options.add_argument("--row", default="", help="a part of the row's title")
    chosen = options.parse_args()
    columns = [one for one in CONTENDERS if chosen.only in one.title]
    rows = [one for one in ROWS if chosen.row in one.title]
    first = Row("answers", "", answers, "Yes.", real=True, replies=None)
    silent = {one.title: said for one in columns if (said := attempt(first, one, {})) != "yes"}
    for line in table([one for one in columns if one.title not in silent], rows):
        print(line, flush=True)
    for title, said in silent.items():
        print(f"\nNot in the table, as it got no answer from this runner: {title} ({said}).")


def table(columns: list[Contender], rows: list[Row]) -> Iterator[str]:
    """Return the table's lines, in Markdown."""
    yield f"| | {' | '.join(one.title for one in columns)} |"
    yield "|---" * (1 + len(columns)) + "|"
    for one in rows:
        cells = [cell(one, contender) for contender in columns]
        yield f"| {one.title} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
