"""What waits to be sent for single calls: pure state."""

import math
from concurrent.futures import Future

from hypothesis import given
from hypothesis import strategies as st

from bcshopper import SessionClosedError
from bcshopper._profiles.backlog import Backlog, Turns


def test_who_waits_for_room_is_told_of_the_end_once_and_nothing_is_left_to_send():
    """As are those whose ids wait to be sent."""
    backlog = Backlog(delete_capacity=49, count_searchable=len, max_delay=0.05, max_pending=1)
    calls = [backlog.ask(backlog.creates, n, 0.0, Future()) for n in (1, 2, 3)]
    calls += [backlog.ask(backlog.lookups, n, 0.0, Future()) for n in (4, 5)]
    error = SessionClosedError("over")
    given = backlog.end(error)
    assert sorted(id(call) for call, _ in given) == sorted(map(id, calls))
    assert all(answer is error for _, answer in given)
    assert backlog.take(100.0, hurry=True) is None


@given(st.lists(st.integers(0, 20), max_size=60))
def test_the_oldest_turn_that_is_open_is_known_in_whatever_order_they_open(history):
    """Creates that are held open their turns late: a delete still waits for each earlier one."""
    turns, are_open = Turns(), set()
    for turn in history:
        if turn in are_open:
            turns.close(turn)
        else:
            turns.open(turn)
        are_open ^= {turn}
        assert turns.oldest == min(are_open, default=math.inf)
