"""Trimming: a conversation that is too long loses its oldest turns, and nothing else."""

import asyncio
import itertools
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docker_model.errors import ContextLengthError
from docker_model.http.fitting import at_most_tokens, fit, room_for_answer
from docker_model.http.messages import prepare


def tokens_of(messages):
    """Count four characters as a token, and four tokens for each message."""
    return sum(4 + len(json.dumps(message)) // 4 for message in messages)


def fitted(messages, window, max_tokens=None):
    counted = []

    async def count(some):
        counted.append(len(some))
        return tokens_of(some)

    return asyncio.run(fit(messages, count, window=window, max_tokens=max_tokens)), counted


def turn(number, size=200, calls=0):
    yield {"role": "user", "content": f"question {number} " + "x" * size}
    for call in range(calls):
        call_id = f"c{number}_{call}"
        yield {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": call_id, "function": {"name": "f", "arguments": "{}"}}],
        }
        yield {"role": "tool", "tool_call_id": call_id, "content": "y" * size}
    yield {"role": "assistant", "content": f"answer {number}"}


def conversation(turns, last_calls=0, size=200):
    messages = [{"role": "system", "content": "Be brief."}]
    for number in range(turns):
        messages += turn(number, size=size, calls=number % 3)
    messages += [*turn(turns, size=size, calls=last_calls)][: 1 + 2 * last_calls]
    return prepare(messages)


def test_a_conversation_that_fits_is_kept_whole_after_one_count():
    messages = conversation(2)
    result, counted = fitted(messages, window=10_000)
    assert result.messages == messages
    assert result.left_out == 0
    assert counted == [len(messages)]


def test_the_oldest_turns_are_dropped():
    messages = conversation(30)
    result, counted = fitted(messages, window=1000)
    assert result.left_out == len(messages) - len(result.messages) > 0
    assert result.messages[0] == messages[0]
    assert result.messages[1:] == messages[-len(result.messages) + 1 :]
    assert result.messages[1]["role"] == "user"
    assert tokens_of(result.messages) <= 750
    assert len(counted) < 8


def test_the_first_messages_stay_the_same_while_turns_are_added():
    starts = []
    for turns in range(40, 60):
        result, _ = fitted(conversation(turns, size=100), window=2400)
        starts.append(result.messages[1]["content"])
    assert len(set(starts)) <= 8, "the cut moves with each turn, so no prompt cache can hit"


def test_a_long_sequence_of_tool_calls_loses_its_oldest_calls():
    messages = conversation(0, last_calls=30)
    result, _ = fitted(messages, window=1000)
    question = next(message for message in messages if message["role"] == "user")
    assert question in result.messages
    assert result.messages[-2:] == messages[-2:]
    assert prepare(result.messages) == result.messages


def test_messages_that_must_stay_and_do_not_fit_raise_an_error_with_both_numbers():
    with pytest.raises(ContextLengthError) as caught:
        fitted(conversation(3, size=4000), window=300)
    assert caught.value.context_size == 300
    assert caught.value.prompt_tokens > 300
    assert caught.value.hint


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    turns=st.integers(0, 12),
    last_calls=st.integers(0, 6),
    size=st.integers(0, 400),
    window=st.integers(200, 3000),
    max_tokens=st.none() | st.integers(1, 150),
)
def test_a_trimmed_conversation_fits_and_is_valid(turns, last_calls, size, window, max_tokens):
    messages = conversation(turns, last_calls, size)
    budget = window - room_for_answer(window, max_tokens)
    try:
        result, _ = fitted(messages, window, max_tokens)
    except ContextLengthError as error:
        too_many = error.prompt_tokens
    else:
        too_many = None
    if too_many is not None:
        assert too_many > budget
        return
    left = result.messages
    assert tokens_of(left) <= budget
    assert left[0] == messages[0]
    assert prepare(left) == left
    last_user = next(each for each in reversed(messages) if each["role"] == "user")
    assert last_user in left
    if last_calls:
        assert left[-1] == messages[-1]
    if result.left_out:
        # What fits best begins at some turn. A block less than that is left, or a larger turn.
        starts = [place for place, each in enumerate(messages) if each["role"] == "user"]
        wholes = [[messages[0], *messages[place:]] for place in starts]
        best = max((size for whole in wholes if (size := tokens_of(whole)) <= budget), default=0)
        turns_of = [messages[a:b] for a, b in itertools.pairwise([*starts, len(messages)])]
        gap = max(budget // 3, *map(tokens_of, turns_of))
        assert tokens_of(left) >= best - gap


@pytest.mark.parametrize("text", ["plain words", "日本語" * 20, "🙂"])
def test_no_conversation_has_more_tokens_than_the_quick_bound(text):
    assert at_most_tokens([{"role": "user", "content": text}]) >= len(text.encode())


def test_the_quick_bound_is_unknown_for_images():
    assert at_most_tokens([{"role": "user", "content": [{"type": "image_url"}]}]) is None
