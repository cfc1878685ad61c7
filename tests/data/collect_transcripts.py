"""Merge recorded runs of the real `docker model` into `transcripts.jsonl.gz`.

For maintainers, after new recordings::

    python tests/data/collect_transcripts.py DIRECTORY

`DIRECTORY` has one folder per version of the CLI, with one JSON file per case. Input and output
are kept. Times and the split into chunks are not kept, because they vary. Versions with the same
behavior share one line, so the file shows where they differ.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_name("transcripts.jsonl.gz")

# Records that agree in all of these fields are equal. `requests` and `note` are kept too, from
# the newest version of a group: each request names the version in its User-Agent.
BEHAVIOUR = (
    "case",
    "argv",
    "stdin",
    "stdin_kind",
    "stdin_closed",
    "env",
    "files",
    "pty",
    "ignored",
    "actions",
    "scene",
    "stdout_all",
    "stderr_all",
    "exit_code",
    "signal",
    "variants",
    "any_order",
    "did_not_end",
)
FROM_NEWEST = ("note", "requests", "requests_race")


def age(version: str) -> tuple[bool, tuple[int, ...]]:
    """Return the sort key, oldest first; `head` is newer than every release."""
    return version == "head", tuple(int(n) for n in re.findall(r"\d+", version))


def expand(value: Any) -> Any:
    """Restore long texts, which a recording stores only as digest, head and tail.

    Each long text repeats a short piece, so gzip compresses it well. The frequency of each
    variant is dropped, because it depends on races that differ in every recording.
    """
    if isinstance(value, list):
        return [expand(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "sha256" not in value:
        return {key: expand(item) for key, item in value.items() if key != "seen"}
    period, length = value["head"][:16], value["length"]
    text = (period * (length // len(period) + 1))[: length - 1] + value["tail"][-1]
    if hashlib.sha256(text.encode()).hexdigest() != value["sha256"]:
        msg = f"cannot rebuild a text of {length} characters that begins {value['head']!r}"
        raise ValueError(msg)
    return text


def collect(directory: Path) -> list[dict[str, Any]]:
    """Return one record per distinct behavior, sorted by case, then by age."""
    groups: dict[str, dict[str, Any]] = {}
    for path in sorted(directory.glob("*/*.json"), key=lambda p: (p.stem, age(p.parent.name))):
        recorded = expand(json.loads(path.read_text(encoding="utf-8")))
        record = {key: recorded[key] for key in BEHAVIOUR if key in recorded}
        group = groups.setdefault(json.dumps(record, sort_keys=True), {**record, "versions": []})
        group["versions"].append(recorded["cli_version"])
        group.update({key: recorded[key] for key in FROM_NEWEST if key in recorded})
    return list(groups.values())


def main() -> None:
    """Write the file; the same recordings always give the same bytes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    records = collect(parser.parse_args().directory)
    lines = "".join(json.dumps(r, ensure_ascii=False, sort_keys=True) + "\n" for r in records)
    TARGET.write_bytes(gzip.compress(lines.encode(), mtime=0))
    print(f"{len(records)} records, {TARGET.stat().st_size} bytes")  # noqa: T201 (its report)


if __name__ == "__main__":
    main()
