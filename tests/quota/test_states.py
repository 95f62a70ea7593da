"""What the quota's local state answers, to the request and to the second: pure tables."""

import math

import pytest

from bcshopper import QuotaPolicy, QuotaSnapshot
from bcshopper._quota.leased import Grant, LeasedQuota
from bcshopper._quota.local import MARGIN, LocalQuota

ROOM = 1000  # requests at once: here, only the quota counts
BURST = QuotaPolicy(max_concurrent=ROOM)
SMOOTH = QuotaPolicy(pacing="smooth", max_concurrent=ROOM)
WINDOW = 30.0


def snapshot(left, *, limit=10, reset=10.0):
    return QuotaSnapshot(limit, left, WINDOW, reset)


def known(left, *, limit=10, reset=10.0):
    """A state whose first request went out at 0 and was answered at once."""
    state = LocalQuota(uniform=lambda low, high: high)
    state.started(0.0, BURST)
    state.finished(0.0, 0.0, 200, snapshot(left, limit=limit, reset=reset), None)
    return state


def free():
    """A state of a store without a quota."""
    state = LocalQuota(uniform=lambda low, high: high)
    state.started(0.0, BURST)
    state.finished(0.0, 0.0, 200, None, None)
    return state


def send(state, number, now=0.0, policy=BURST):
    for _ in range(number):
        assert state.delay(now, policy) <= 0
        state.started(now, policy)


def answer(state, number, now=0.0, status=200, quota=None, asked=None):
    for _ in range(number):
        state.finished(now, now, status, quota, asked)


def test_a_spent_window_is_waited_for_to_its_end_and_a_margin():
    """Not a moment longer; then one goes, to see, and the others wait for its answer."""
    state = known(0)
    assert state.delay(4.0, BURST) == 10 + MARGIN - 4
    assert state.delay(10.0, BURST) == MARGIN
    assert state.delay(10 + MARGIN, BURST) == 0
    state.started(10 + MARGIN, BURST)
    assert state.delay(10 + MARGIN, BURST) == 10
    assert state.delay(11 + MARGIN, BURST) == 9
    assert state.delay(20 + MARGIN, BURST) == 0


@pytest.mark.parametrize("new", [LocalQuota, lambda: LeasedQuota(1.0, ROOM)])
def test_what_this_process_sends_is_counted_from_the_first_request_on(new):
    """Also where nothing is known of a quota."""
    state = new()
    assert state.sent == 0
    for number in range(1, 4):
        state.started(0.0, BURST)
        state.finished(0.0, 0.0, 200, None, None)
        assert state.sent == number


@pytest.mark.parametrize(("share", "number"), [(1.0, 9), (0.5, 4), (0.39, 2), (0.01, 0)])
def test_a_share_of_a_window_is_all_that_is_used(share, number):
    """Rounded down, the request that asked first included; one is always allowed."""
    state = known(9)
    policy = QuotaPolicy(share=share)
    send(state, number, policy=policy)
    assert state.delay(0.0, policy) == 10 + MARGIN
    assert state.delay(10 + MARGIN, policy) == 0


def test_a_request_that_did_not_go_out_takes_nothing():
    """Neither of the window nor of the turn to look first."""
    state = known(9)
    policy = QuotaPolicy(share=0.2)
    send(state, 1, policy=policy)
    assert state.delay(0.0, policy) > 0
    state.withdrawn()
    assert (state.delay(0.0, policy), state.sent) == (0, 1)
    state = known(0)
    state.started(11.0, BURST)
    assert state.delay(11.0, BURST) == 10
    state.withdrawn()
    assert state.delay(11.0, BURST) == 0
    state = known(1)
    send(state, 1)
    assert state.delay(0.0, BURST) == math.inf
    state.withdrawn()
    assert state.delay(0.0, BURST) == 0


def test_smooth_pacing_leaves_the_same_gap_before_each():
    """What is left of the window, by what is left in it."""
    state = known(10, limit=11)
    send(state, 1, 0.0, SMOOTH)
    for second in range(1, 9):
        assert state.delay(second - 0.25, SMOOTH) == pytest.approx(0.25)
        assert state.delay(second, SMOOTH) == pytest.approx(0)
        state.started(float(second), SMOOTH)
    assert state.delay(5.0, BURST) == 0  # others need not keep to it


def test_smooth_pacing_makes_up_for_what_was_not_used():
    """A slot that nobody took is no reason to be late for the next."""
    state = known(10, limit=11)
    send(state, 1, 0.0, SMOOTH)
    state.started(5.0, SMOOTH)  # 4 s late: 8 are left for 5 s
    assert state.delay(5.0, SMOOTH) == pytest.approx(5 / 9)
    state = known(10, limit=11)
    state.started(10.1, SMOOTH)  # the window is over, but for the margin
    assert state.delay(10.1, SMOOTH) == 0


def test_smooth_pacing_begins_anew_in_a_new_window():
    """A slot of the window before is none of this one."""
    state = known(3, limit=4)
    send(state, 1, 9.0, SMOOTH)
    state.started(10.5, BURST)
    state.finished(10.5, 10.5, 200, snapshot(3, limit=4, reset=29.5), None)
    assert state.delay(10.5, SMOOTH) == 0


@pytest.mark.parametrize(
    ("ahead", "waits"),
    [(0, 0), (2, 0), (3, 10.25), (7, 10.25), (8, 40.25), (12, 40.25), (13, 70.25)],
)
def test_who_comes_knows_how_long_it_will_take(ahead, waits):
    """3 of 5 are left: three now, five in the next window, five in the one after it."""
    state = known(3, limit=5)
    assert state.wait_for(0.0, BURST, ahead) == waits
    assert state.wait_for(4.0, BURST, ahead) == max(0, waits - 4)
    assert state.wait_for(10.25, BURST, ahead) == 0


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_who_fits_into_a_window_that_has_just_begun_does_not_wait(ahead):
    """Not even for the margin after its end."""
    assert known(3, limit=5, reset=WINDOW).wait_for(0.0, BURST, ahead) == 0


def test_what_others_sent_beyond_a_share_takes_nothing_from_the_next_window():
    """Who may use a fifth comes after those who used all: one of five goes in each window."""
    state = known(4, limit=5)
    send(state, 3)
    assert [state.wait_for(0.0, QuotaPolicy(share=0.2), n) for n in (0, 1)] == [10.25, 40.25]


def test_what_is_in_flight_counts_for_who_comes():
    """And a share, and a pause that lasts longer."""
    state = known(4, limit=5)
    send(state, 2)
    assert [state.wait_for(0.0, BURST, ahead) for ahead in (0, 1, 2)] == [0, 0, 10.25]
    answer(state, 2)  # without a word of the quota: they may be counted, or not
    assert [state.wait_for(0.0, BURST, ahead) for ahead in (1, 2)] == [0, 10.25]
    state = known(3)  # others took six
    send(state, 1)
    assert [state.wait_for(0.0, BURST, ahead) for ahead in (1, 2)] == [0, 10.25]
    state = known(3, limit=5)
    assert state.wait_for(0.0, QuotaPolicy(share=0.2), 0) == 10.25  # one of one was sent
    assert state.wait_for(0.0, QuotaPolicy(share=0.2), 1) == 40.25
    send(state, 1)
    answer(state, 1, status=503, asked=20.0)
    assert state.wait_for(0.0, BURST, 0) == 20
    assert state.wait_for(0.0, BURST, 3) == 20
    assert state.wait_for(5.0, BURST, 8) == 35.25
    assert free().wait_for(0.0, BURST, 1000) == 0


def test_the_reason_names_what_is_left():
    """By the API's count or ours, whichever is less; nothing once the window is over."""
    state = known(4, limit=5)
    assert state.reason(0.0) == "4 of 5 requests are left in the window"
    send(state, 3)
    assert state.reason(0.0) == "1 of 5 requests are left in the window"
    assert state.reason(10.2) is not None
    assert state.reason(10.25) is None
    assert free().reason(0.0) is None
    state.finished(0.0, 0.0, 429, snapshot(3, limit=5), 12.0)
    assert state.reason(11.9) == "the API answered 429 or 503, or fails"
    assert state.reason(12.0) is None
    state = known(3, limit=5)
    state.sent = 7  # the limit was lowered meanwhile
    assert state.reason(0.0) == "0 of 5 requests are left in the window"


def test_a_429_spends_the_window_whatever_it_says_is_left():
    """It waits for the window's end, or for longer if that is asked for."""
    for asked, waits in [(None, 10.25), (5.0, 10.25), (10.0, 10.25), (12.0, 12.0)]:
        state = known(5)
        answer(state, 1, status=429, quota=snapshot(5), asked=asked)
        assert state.delay(0.0, BURST) == waits
    for status in (200, 503):
        state = known(5)
        answer(state, 1, status=status, quota=snapshot(5), asked=12.0)
        assert state.delay(0.0, BURST) == 0


def test_a_pause_ends_when_it_should():
    """At that very moment one may go, and half as many as before at once."""
    state = free()
    send(state, 9)
    answer(state, 1, now=1.0, status=503)
    assert state.delay(1.5, BURST) == 0.5
    assert state.delay(2.0, BURST) == math.inf  # 8 are in flight, and 4.5 may be
    answer(state, 4, now=2.0)
    assert state.ceiling == pytest.approx(4.5 + 1 / 4.5 + 1 / 4.72 + 1 / 4.93 + 1 / 5.14, abs=0.01)
    assert state.delay(2.0, BURST) == 0  # 4 are in flight, and 5 may be
    state.started(2.0, BURST)
    assert state.delay(2.0, BURST) == math.inf


def test_an_overload_is_over_after_an_answer():
    """The next pause begins at a second again; one that is under way is not begun anew."""
    state = free()
    for second, lasts in [(10.0, 1), (11.0, 2), (13.0, 4)]:
        send(state, 1, second)
        answer(state, 1, second, status=429)
        assert state.delay(second, BURST) == lasts
    state.started(16.9, BURST)
    answer(state, 1, 16.9, status=503)  # of those that went out together
    assert state.delay(16.9, BURST) == pytest.approx(0.1)
    send(state, 1, 17.0)
    answer(state, 1, 17.0, status=404)
    send(state, 1, 18.0)
    answer(state, 1, 18.0, status=503)
    assert state.delay(18.0, BURST) == 1


@pytest.mark.parametrize("status", [200, 204, 404, 422, 499, 429, 500, 502, 503, 599])
def test_an_answer_that_itself_tells_of_trouble_ends_no_series(status):
    """A 429 or any 5xx, with the quota's headers as without."""
    state = known(5)
    send(state, 2)
    answer(state, 1, status=503)
    answer(state, 1, status=status, quota=snapshot(5))
    send(state, 1, 20.0)
    answer(state, 1, 20.0, status=503)
    assert state.delay(20.0, BURST) == (2 if status == 429 or status >= 500 else 1)


def fail(state, now):
    """A request goes out, and no answer comes."""
    send(state, 1, now)
    state.failed(now)
    state.finished(now, now, None, None, None, failed=True)


def test_a_few_failures_in_a_row_are_an_accident_and_more_make_all_pause():
    """Each one after that for longer; an answer that is no failure ends the series."""
    state = free()
    for now in (1.0, 2.0, 3.0, 4.0):
        fail(state, now)
        assert state.delay(now, BURST) == 0
    assert state.ceiling is None
    for now, pause in [(5.0, 1), (6.0, 2), (8.0, 4)]:
        fail(state, now)
        assert state.delay(now, BURST) == pause
    assert state.reason(8.0) == "the API answered 429 or 503, or fails"
    assert state.ceiling == 1
    send(state, 1, 12.0)
    answer(state, 1, 12.0)
    for now in (13.0, 14.0, 15.0, 16.0):
        fail(state, now)
        assert state.delay(now, BURST) == 0
    fail(state, 17.0)
    assert state.delay(17.0, BURST) == 1


def test_a_pause_is_drawn_from_its_upper_half():
    """So that those who paused together do not come back together."""
    drawn = []
    state = LocalQuota(uniform=lambda low, high: drawn.append((low, high)) or low)
    state.started(0.0, BURST)
    answer(state, 1, status=503)
    assert drawn == [(0.5, 1.0)]
    assert state.delay(0.0, BURST) == 0.5


def test_one_at_a_time_is_the_least_and_32_the_most():
    """A ceiling grows by one with each round of answers, until it is none."""
    state = free()
    send(state, 1)
    answer(state, 1, status=503)
    assert state.ceiling == 1
    sizes = []
    while state.ceiling is not None:
        sizes.append(state.ceiling)
        send(state, 1, 100.0)
        answer(state, 1, 100.0)
    assert sizes[1] == 2
    assert sizes[-1] <= 32 < sizes[-1] + 1 / sizes[-1]
    send(state, 100, 100.0)


@pytest.mark.parametrize(
    ("now", "reset", "is_of"),
    [(0.0, 4.0, "this"), (5.0, 10.0, "this"), (6.0, 19.0, "this"), (6.0, 19.5, "next"),
     (12.0, -16.5, "this"), (12.0, -17.5, "last")],
)  # fmt: skip
def test_an_answer_is_of_the_window_whose_end_is_next_to_what_it_says(now, reset, is_of):
    """This one ends at 10 and lasts 30 s: what ends more than 15 s off is another one."""
    state = known(5)
    before = state.snapshot
    state.started(now, BURST)
    state.finished(now, 0.0, 200, snapshot(7, reset=reset), None)
    if is_of == "last":
        assert state.snapshot is before
    else:
        assert state.snapshot.remaining == 7
        assert state.sent == (2 if is_of == "this" else 1)
        left = 5 if is_of == "this" else 7
        if now + reset > 0:
            assert state.reason(min(now, 3.0)) == f"{left} of 10 requests are left in the window"


def test_the_earliest_end_that_an_answer_tells_is_the_best():
    """Each was under way for a while."""
    state = known(0)
    for now, reset, waits in [(1.0, 9.5, 9.25), (1.0, 8.5, 8.75), (2.0, 9.0, 7.75)]:
        state.started(now, BURST)
        state.finished(now, 0.0, 200, snapshot(0, reset=reset), None)
        assert state.delay(now, BURST) == pytest.approx(waits)


def test_a_new_limit_is_believed_at_once_and_the_same_only_downwards():
    """What is left can only fall in a window, but for a limit that was raised."""
    state = known(5)
    state.started(1.0, BURST)
    state.finished(1.0, 1.0, 200, snapshot(8, reset=9.0), None)
    assert state.reason(1.0) == "5 of 10 requests are left in the window"
    state.started(1.0, BURST)
    state.finished(1.0, 1.0, 200, snapshot(90, limit=100, reset=9.0), None)
    assert state.reason(1.0) == "90 of 100 requests are left in the window"


@pytest.mark.parametrize(("left", "at_once"), [(9, 9), (8, 4), (4, 2)])
def test_where_others_are_seen_half_of_what_is_left_may_be_in_flight(left, at_once):
    """9 of 10 after our first is all ours; fewer tells of another app."""
    state = known(left)
    send(state, at_once)
    assert state.delay(0.0, BURST) > 0


def test_others_are_seen_for_one_window_only():
    """They may have gone."""
    state = known(4)
    state.started(10.25, BURST)
    state.finished(10.25, 10.25, 200, snapshot(9, reset=29.75), None)
    send(state, 9, 10.25)


def test_what_was_in_flight_at_a_windows_turn_counts_for_the_new_one():
    """The API may count it there."""
    state = known(9)
    send(state, 3, 9.0)
    state.finished(10.5, 10.4, 200, snapshot(9, reset=29.5), None)
    assert state.sent == 3  # the answered one, and two in flight


def test_a_window_that_lasts_longer_than_announced_is_given_that_time_from_then_on():
    """At most 2.5 s from one window to the next; how long this one takes is seen, as it must be."""
    state = known(0)
    state.started(10.25, BURST)
    state.finished(10.25, 10.25, 429, snapshot(0, reset=0.5), None)
    assert state.delay(10.25, BURST) == pytest.approx(1.0)  # a second after the one that saw it
    state.started(11.25, BURST)
    state.finished(11.25, 11.25, 200, snapshot(0, reset=30.0), None)
    assert state.delay(11.25, BURST) == pytest.approx(30 + 1.25)
    for now in (42.5, 43.5, 44.5):
        assert state.delay(now, BURST) <= 0
        state.started(now, BURST)
        state.finished(now, now, 429, snapshot(0, reset=-(now - 41.25)), None)
    assert state.delay(44.5, BURST) == pytest.approx(1.0)
    state.started(45.5, BURST)
    state.finished(45.5, 45.5, 200, snapshot(0, reset=30.0), None)
    assert state.delay(45.5, BURST) == pytest.approx(30 + 2.5)


def test_what_a_session_shows_of_a_window_that_is_over_is_not_below_zero():
    """Whatever the answer says."""
    state = known(5)
    state.started(11.0, BURST)
    state.finished(11.0, 11.0, 200, snapshot(5, reset=-1.0), None)
    assert state.snapshot == snapshot(5, reset=0.0)


def test_an_api_that_no_longer_speaks_of_a_quota_has_none():
    """Once the window is over that it spoke of; an error that says nothing changes nothing."""
    state = known(5)
    state.started(1.0, BURST)
    state.finished(1.0, 1.0, 200, None, None)
    assert state.snapshot is not None
    state.started(10.25, BURST)
    state.finished(10.25, 10.25, 503, None, None)
    assert state.snapshot is not None
    state.started(10.25, BURST)
    state.finished(10.25, 10.25, 200, None, None)
    assert state.snapshot is None
    state.ceiling = None
    send(state, 100, 12.0)


def test_a_request_without_an_answer_leaves_the_turn_to_look_to_the_next():
    """And tells nothing else."""
    state = LocalQuota()
    send(state, 1)
    assert state.delay(0.5, BURST) == 9.5
    state.finished(0.5, 0.0, None, None, None)
    send(state, 1, 0.5)
    assert state.delay(0.5, BURST) == 10
    state.finished(0.5, 0.5, 200, None, None)
    send(state, 50, 0.5)


def test_what_was_leased_of_a_spent_window_is_worth_nothing():
    """A 429 spends it for all, whatever is left by the headers; the others hear of it at once."""
    state = LeasedQuota(1.0, ROOM)
    report = state.report(0.0, 5)
    grant = Grant(window=1, slots=ROOM, granted=5, valid=20.0, known=True, quota=snapshot(5))
    state.granted(0.0, report, grant)
    assert state.delay(0.0, BURST) == 0
    state.started(0.0, BURST)
    assert state.due(0.0, 0) > 0
    state.finished(0.0, 0.0, 429, snapshot(4), None)
    assert state.due(0.0, 0) == 0
    assert state.report(0.0, 0).told.remaining == 0
    assert state.delay(0.0, BURST) == 10 + MARGIN


def leasing(granted=10, *, now=0.0, limit=100, policy=BURST, started=0, **more):
    """A state that has leased so many of a window of 30 s that ends in 20, and started some."""
    state = LeasedQuota(1.0, ROOM, uniform=lambda low, high: high)
    report = state.report(now, granted)
    quota = snapshot(limit, limit=limit, reset=20.0)
    told = {"slots": ROOM, "granted": granted, "valid": 5.0, "known": True, "quota": quota, **more}
    grant = Grant(window=1, **told)
    state.granted(now, report, grant)
    send(state, started, now, policy)
    return state


@pytest.mark.parametrize(("seconds", "wanted"), [(0.5, 12), (1.0, 9), (2.0, 4), (30.0, 0)])
def test_as_many_are_leased_as_a_lease_lasts_for_at_the_pace_so_far(seconds, wanted):
    """6 in these seconds, for 1.5 s, a twentieth of the window; never more than twice as before."""
    state = leasing(6, started=6)
    assert state.report(seconds, 0).wanted == wanted


def test_who_gets_nothing_asks_again_after_twice_the_time_each_time():
    """And a step sooner again once it got a part."""
    state = leasing(1, started=1)
    waits = []
    for granted in (0, 0, 0, 1, 0):
        report = state.report(0.0, 5)
        grant = Grant(window=1, slots=ROOM, granted=granted, valid=5.0, known=True, busy=2, part=3)
        state.granted(0.0, report, grant)
        if granted:
            send(state, 1)
        waits.append(state.due(0.0, 1))
    pause = 0.02 * 2 * 0.5  # two ask; without a window, a lease lasts for half a second
    assert waits == pytest.approx([2 * pause, 4 * pause, 8 * pause, 4 * pause, 8 * pause])


@pytest.mark.parametrize(("granted", "due"), [(2, 3.0), (0, math.inf)])
def test_what_the_others_may_want_to_know_is_told_before_long(granted, due):
    """A lease that lies about: after the time of two leases. Nothing: not before there is."""
    assert leasing(granted, slots=0).due(0.0, 0) == due


def test_slots_are_renewed_long_before_their_lease_ends():
    """Two reports may get lost."""
    assert leasing(0).due(0.0, 0) == 0.3


def test_a_grant_brings_the_next_slot_forward():
    """There is more to spread over what is left of the window than was known."""
    state = leasing(1, now=0.0, policy=SMOOTH, started=1)
    assert state.delay(0.0, SMOOTH) == math.inf
    report = state.report(4.0, 1)
    quota = snapshot(100, limit=100, reset=16.0)
    state.granted(
        4.0, report, Grant(window=1, slots=ROOM, granted=3, valid=5.0, known=True, quota=quota)
    )
    assert state.delay(4.0, SMOOTH) <= 16 / 4
    assert state.delay(4.0, SMOOTH) == pytest.approx(4.0)
