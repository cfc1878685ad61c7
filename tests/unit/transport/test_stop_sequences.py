"""`Cutter`, compared with a plain search in the whole text."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from docker_model._transport.stop_sequences import Cutter


def cut(
    pieces: list[str], stops: tuple[str, ...] = (), max_chars: int | None = None
) -> tuple[str, str | None]:
    cutter = Cutter(stops, max_chars)
    text = "".join([*map(cutter.feed, pieces), cutter.flush()])
    return text, cutter.finish_reason


def cut_whole(text: str, stops: tuple[str, ...], max_chars: int | None) -> tuple[str, str | None]:
    begins = [begin for stop in stops if (begin := text.find(stop)) >= 0]
    if begins and (max_chars is None or min(begins) <= max_chars):
        return text[: min(begins)], "stop_sequence"
    if max_chars is not None and len(text) > max_chars:
        return text[:max_chars], "length"
    return text, None


@given(
    pieces=st.lists(st.text("ab", max_size=4), max_size=8),
    stops=st.lists(st.text("ab", min_size=1, max_size=5), max_size=4).map(tuple),
    max_chars=st.none() | st.integers(1, 12),
)
@example(pieces=["abcd", "ex"], stops=("bcdef", "cd"), max_chars=None)
@example(pieces=["ab", "cd", "ef"], stops=("cdef", "d"), max_chars=3)
def test_every_split_gives_the_result_of_the_plain_search(
    pieces: list[str], stops: tuple[str, ...], max_chars: int | None
) -> None:
    assert cut(pieces, stops, max_chars) == cut_whole("".join(pieces), stops, max_chars)


@given(
    pieces=st.lists(st.text("ab", max_size=4), max_size=8),
    stops=st.lists(st.text("ab", min_size=1, max_size=5), max_size=4).map(tuple),
    max_chars=st.none() | st.integers(1, 12),
)
def test_text_is_released_as_soon_as_it_is_certain(
    pieces: list[str], stops: tuple[str, ...], max_chars: int | None
) -> None:
    """After each piece, all text that every continuation would release has been released."""
    cutter = Cutter(stops, max_chars)
    given_out = text = ""
    for piece in pieces:
        given_out += cutter.feed(piece)
        text += piece
        # Either nothing follows, or the rest of a stop that the text ends within, or a
        # character that is in no stop.
        endings = ["", "!", *(stop[n:] for stop in stops for n in range(len(stop)))]
        outcomes = [cut_whole(text + ending, stops, max_chars) for ending in endings]
        certain = min((outcome for outcome, _ in outcomes), key=len)
        assert all(outcome.startswith(certain) for outcome, _ in outcomes)
        assert given_out == certain
        if len(set(outcomes)) == 1 and outcomes[0][1] is not None:
            assert cutter.finish_reason == outcomes[0][1]
        else:
            assert cutter.finish_reason is None


def test_pieces_are_unchanged_without_stops_and_limits() -> None:
    piece = "abc"
    assert Cutter((), None).feed(piece) is piece


def test_the_stop_that_begins_first_is_used_even_if_another_is_complete_earlier() -> None:
    cutter = Cutter(("END OF ALL", "OF"), None)
    assert cutter.feed("The END OF") == "The "
    assert cutter.finish_reason is None
    assert cutter.feed(" ALL and more") == ""
    assert cutter.finish_reason == "stop_sequence"


def test_the_later_stop_is_used_if_the_earlier_one_is_not_completed() -> None:
    cutter = Cutter(("END OF ALL", "OF"), None)
    assert [cutter.feed("The END OF"), cutter.feed(" it")] == ["The ", "END "]
    assert cutter.finish_reason == "stop_sequence"


def test_the_later_stop_is_used_at_the_end_of_the_answer() -> None:
    cutter = Cutter(("END OF ALL", "OF"), None)
    assert [cutter.feed("The END OF"), cutter.flush()] == ["The ", "END "]
    assert cutter.finish_reason == "stop_sequence"


def test_pieces_after_the_end_are_dropped() -> None:
    cutter = Cutter(("stop",), None)
    assert [cutter.feed(piece) for piece in ("a st", "op b", " c", "stop")] == ["a ", "", "", ""]
    assert cutter.flush() == ""


def test_a_stop_at_the_beginning_gives_an_empty_answer() -> None:
    assert cut(["User:", " hi"], ("User:",)) == ("", "stop_sequence")


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["abc"], ("abc", None)),
        (["abc", ""], ("abc", None)),
        (["ab", "cd"], ("abc", "length")),
        (["abc", "STOP"], ("abc", "stop_sequence")),
        (["abcST", "OP"], ("abc", "stop_sequence")),
        (["abcST"], ("abc", "length")),
        (["abcS", "."], ("abc", "length")),
        (["abcdSTOP"], ("abc", "length")),
        (["東京都"], ("東京都", None)),
        (["👩👩👩", "👩"], ("👩👩👩", "length")),
    ],
)
def test_max_chars_cuts_the_text(pieces: list[str], expected: tuple[str, str | None]) -> None:
    assert cut(pieces, ("STOP",), 3) == expected


def test_max_chars_is_reached_with_the_first_excess_character() -> None:
    cutter = Cutter((), 3)
    assert cutter.feed("abc") == "abc"
    assert cutter.finish_reason is None
    assert cutter.feed("d") == ""
    assert cutter.finish_reason == "length"


def test_the_worst_stops_and_texts_take_linear_time() -> None:
    # Comparing the stops again for every piece would take minutes, not half a second.
    length = 100_000
    stop = "a" * length + "b"
    assert cut(["a"] * length + ["b"], (stop,)) == ("", "stop_sequence")
    assert cut(["a"] * (length + 5) + ["b"], (stop,)) == ("aaaaa", "stop_sequence")
    assert cut(["a"] * length + ["c"], (stop, "c")) == ("a" * length, "stop_sequence")
    assert cut(["a" * (length - 1) + "c"] * 5, (stop,)) == (("a" * (length - 1) + "c") * 5, None)
