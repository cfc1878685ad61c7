"""Print the table of features in docs/comparison.md, by testing each row with each class.

    python benchmarks/features.py [--only TEXT] [--row TEXT]

All classes use the same runner: the real one at MODEL_RUNNER_HOST for rows that work with every
model, and the simulated runner of `docker_model.testing` for faults and scripted answers. `yes`:
the feature works. `if set`: it works with a setting of `classes.py` that is not the default. `no`:
the class does not have the feature, or returned no result. A name is the error that was raised.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

from classes import CONTENDERS, Contender, NotOffered
from ollama_api import ollama_api
from rows import ABSENT, MODEL, ROWS, UNUSED_ADDRESS, Row, Scene, answers, in_kind, name_of

from docker_model.testing import SimulatedDocker

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 60.0
# Block requests to the internet, which a class without an address can send.
CLOSED = {
    "HTTP_PROXY": UNUSED_ADDRESS,
    "HTTPS_PROXY": UNUSED_ADDRESS,
    "ALL_PROXY": UNUSED_ADDRESS,
    "NO_PROXY": "127.0.0.1,localhost",
}
FOREIGN = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "OLLAMA_HOST", "OLLAMA_API_KEY")


@contextlib.contextmanager
def environment() -> Iterator[None]:
    """Remove proxies and addresses from the environment, and restore it at the end."""
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
    """Yield the real runner where it can show the row, and otherwise a simulated one."""
    with environment(), contextlib.ExitStack() as stack:
        real = os.environ.get("MODEL_RUNNER_HOST")
        if real and row.real:
            yield Scene(contender, None, real, real)
            return
        script = (lambda _: in_kind(scene.last_body())) if row.script is in_kind else row.script
        docker = SimulatedDocker([MODEL], script=script, pullable=[ABSENT], replies=row.replies)
        stack.enter_context(docker)
        ollama = stack.enter_context(ollama_api(docker.url.removeprefix("http://")))
        yield (scene := Scene(contender, docker, docker.url, ollama))


def attempt(row: Row, contender: Contender, settings: dict[str, Any]) -> str:
    """Return the cell for one row and one class with these settings.

    Raises:
        ImportError: If a dependency of a package is missing.
    """
    results: list[bool | str | ImportError] = []

    def run(scene: Scene) -> None:
        try:
            results.append(row.run(scene, settings))
        # A base class raises NotImplementedError for a missing feature; other classes do not have
        # the method.
        except (NotOffered, NotImplementedError, AttributeError):
            results.append(False)
        except ImportError as error:
            results.append(error)
        except Exception as error:  # noqa: BLE001  the name of the error is the result
            results.append(name_of(error))

    with runner(row, contender) as scene:
        # A class that hangs blocks only its own thread.
        thread = threading.Thread(target=run, args=(scene,), daemon=True)
        thread.start()
        thread.join(TIMEOUT)
    result = results[0] if results else "hangs"
    if isinstance(result, ImportError):
        raise result
    return {True: "yes", False: "no"}.get(result, str(result))  # type: ignore[call-overload]


def cell(row: Row, contender: Contender) -> str:
    """Return the cell for one row and one class, by default or with the feature enabled."""
    result = attempt(row, contender, {})
    settings = contender.switches.get(row.key)
    if result.startswith("yes") or settings is None:
        return result
    return "if set" if attempt(row, contender, dict(settings)) == "yes" else result


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", default="", help="a part of the class's title")
    options.add_argument("--row", default="", help="a part of the row's title")
    chosen = options.parse_args()
    columns = [contender for contender in CONTENDERS if chosen.only in contender.title]
    rows = [row for row in ROWS if chosen.row in row.title]
    first = Row("answers", "", answers, "Yes.", real=True, replies=None)
    silent = {
        contender.title: result
        for contender in columns
        if (result := attempt(first, contender, {})) != "yes"
    }
    for line in table([contender for contender in columns if contender.title not in silent], rows):
        print(line, flush=True)
    for title, result in silent.items():
        print(f"\nNot in the table, because this runner did not answer it: {title} ({result}).")


def table(columns: list[Contender], rows: list[Row]) -> Iterator[str]:
    """Return the table's lines, in Markdown."""
    yield f"| | {' | '.join(contender.title for contender in columns)} |"
    yield "|---" * (1 + len(columns)) + "|"
    for row in rows:
        cells = [cell(row, contender) for contender in columns]
        yield f"| {row.title} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
