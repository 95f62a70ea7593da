"""What comes after a turn: decided without a database or a store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import BCShopperError, Outcome, Status
from bcshopper.fleet import seconds_left
from bcshopper.fleet._rows import can_use_sqlite
from bcshopper.fleet._work import delay_of, judge

WHY = BCShopperError("the reason")
STATUSES = st.sampled_from([Status.CREATED, Status.REJECTED, Status.UNKNOWN, Status.NOT_SENT])


@given(st.lists(STATUSES, min_size=1, max_size=30), st.integers(0, 10))
def test_every_id_is_noted_or_goes_again(statuses, attempt):
    """Never both, what was not sent is never noted, and the job always moves or waits."""
    rows = [(100 + n, n) for n in range(len(statuses))]
    outcomes = [Outcome(n, status, error=WHY) for n, status in enumerate(statuses)]
    result = judge(rows, reversed(outcomes), start=100, attempt=attempt)
    noted = dict(result.noted)
    assert all(noted[position].item == position - 100 for position in noted)
    left = [status for n, status in enumerate(statuses) if 100 + n not in noted]
    is_final = [s for s in statuses if s in {Status.CREATED, Status.REJECTED}]
    if is_final:
        assert set(left) <= {Status.NOT_SENT}
    else:
        assert not noted
        assert result.attempt == attempt + 1
        doubted = [statuses[position - 100] for position, _ in result.doubts]
        assert doubted == [status for status in statuses if status is Status.UNKNOWN]
    if left:
        assert result.start == 100
        assert result.delay > 0
        assert result.trouble == "the reason"
    else:
        assert (result.start, result.delay, result.trouble) == (rows[-1][0] + 1, 0.0, None)


def test_delays_grow_and_end_after_about_a_day():
    """A store that is looked after in the morning is found waiting."""
    delays = [delay_of(attempt) for attempt in range(1, 152)]
    assert delays[:4] == [5.0, 10.0, 20.0, 40.0]
    assert delays[-1] is None
    assert max(delays[:-1]) == 600.0
    assert 23 * 3600 <= sum(delays[:-1]) <= 25 * 3600


@pytest.mark.parametrize(
    ("ids", "rate", "took", "quota", "expected"),
    [
        (0, None, 0.0, None, 0.0),
        (1000, None, 0.0, None, None),
        (1000, 100.0, 5.0, None, 10.0),
        (1000, 5000.0, 5.0, 5.0, 4.0),  # a burst says less than the quota
        (1000, 100.0, 90.0, 5.0, 10.0),  # but a store can be slower than that
        (1000, 5000.0, 90.0, 5.0, 4.0),
    ],
)
def test_the_time_left_is_what_the_quota_allows_or_the_store_takes(
    ids, rate, took, quota, expected
):
    """Fifty ids a request."""
    assert seconds_left(ids, rate=rate, took=took, quota=quota) == expected


@pytest.mark.parametrize(
    ("python", "version", "can"),
    [((3, 11, 7), (3, 40, 1), True), ((3, 12, 1), (3, 40, 1), False), ((3, 12, 1), (3, 42), True)],
)
def test_the_engine_can_use_any_sqlite_on_python_3_11_and_newer_ones_later(python, version, can):
    """Where it can't, a SQLite database is refused before anything is written there."""
    assert can_use_sqlite(python, version) is can
