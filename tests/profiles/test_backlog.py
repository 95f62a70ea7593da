"""What waits to be sent for single calls: pure state."""

from concurrent.futures import Future

from bcshopper import SessionClosedError
from bcshopper._profiles.backlog import Backlog


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
