"""Answers that are larger than memory allows are kept in a file, unchanged."""

import gc
import pickle
import tempfile
import weakref

import pytest

from docker_model import Completion, DockerModel, Timings
from docker_model._transport.spool import IN_MEMORY, Spool, SpooledCompletion, completion
from docker_model.testing import Text
from tests.support.platforms import posix_only

FIELDS = {
    "reasoning": "",
    "usage": None,
    "finish_reason": "stop",
    "model": "ai/smollm2",
    "timings": Timings(0.0, 0.0, 0.0),
}


def spooled(*parts):
    spool = Spool()
    for part in parts:
        spool.add(part)
    return spool


def test_a_short_text_stays_in_memory():
    spool = spooled("a", "é")
    assert (spool.read(), spool.filed, bool(spool), bool(Spool())) == ("aé", False, True, False)


def test_a_long_text_can_be_read_several_times():
    parts = ["é東" * IN_MEMORY, "b", "c" * (IN_MEMORY + 1), "end"]
    spool = spooled(*parts)
    assert spool.filed
    assert spool.read() == spool.read() == "".join(parts)
    spool.add("more")
    assert spool.read() == "".join(parts) + "more"


def test_a_spool_in_a_reference_cycle_closes_its_file(monkeypatch):
    # Older than the spool, so the collector finalizes it first.
    files = [tempfile.TemporaryFile(buffering=0)]  # noqa: SIM115
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: files.pop())
    spool = spooled("a" * (IN_MEMORY + 1))
    spool.cycle = spool
    file = weakref.ref(spool._file)
    del spool
    gc.collect()  # would warn about an open file
    assert file() is None


FULL_DISK = pytest.param("a disk that is full", marks=posix_only("a limit for the size of files"))


@pytest.fixture(params=["no directory", FULL_DISK])
def no_room(request, monkeypatch):
    if request.param == "no directory":
        monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
        yield
    else:
        import resource  # noqa: PLC0415  does not exist on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (IN_MEMORY * 3 // 2, hard))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("no_room")
def test_memory_is_used_if_no_file_can_be_written():
    parts = ["é" * (IN_MEMORY // 2 + 1), "a" * IN_MEMORY, "b" * IN_MEMORY, "end"]
    spool = spooled(*parts)
    assert spool.read() == spool.read() == "".join(parts)
    spool.add("more")
    assert spool.read() == "".join(parts) + "more"


def test_a_spooled_completion_equals_an_ordinary_one():
    text = "x" * (IN_MEMORY + 1)
    got = completion(spooled(text), **FIELDS)
    plain = Completion(text=text, **FIELDS)
    assert isinstance(got, SpooledCompletion)
    assert got == plain
    assert plain == got
    assert hash(got) == hash(plain)
    assert str(got) == got.text == text
    assert repr(got).endswith(repr(plain).removeprefix("Completion"))
    copy = pickle.loads(pickle.dumps(got))
    assert type(copy) is Completion
    assert copy == plain


def test_a_long_answer_is_complete_in_pieces_and_as_a_whole(simulate):
    simulate({"ai/smollm2": [Text("x" * 3_000_000)]})
    stream = DockerModel("ai/smollm2").stream("go")
    assert sum(map(len, stream)) == 3_000_000
    assert len(stream.completion.text) == 3_000_000
