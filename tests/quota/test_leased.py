"""What a process tells, asks for and lets through, when it leases quota. Pure decisions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import QuotaPolicy, QuotaSnapshot
from bcshopper._quota.leased import Grant, LeasedQuota
from bcshopper._quota.slots import LEASE, LeasedSlots

QUOTA, WINDOW = 150, 30.0
HORIZON = WINDOW / 20
BURST, SMOOTH = QuotaPolicy(), QuotaPolicy(pacing="smooth")


def snapshot(left, reset=15.0, limit=QUOTA):
    return QuotaSnapshot(limit, left, WINDOW, reset)


def grant(number=0, *, left=QUOTA, reset=15.0, window=1, **told):
    """What Redis may say."""
    settings = {"valid": reset, "known": True, "quota": snapshot(left, reset)} | told
    return Grant(window=window, granted=number, **settings)


class AnySlots(LeasedSlots):
    """As many as anybody wants: these tests are about the quota."""

    def usable(self, now):
        return 1000

    def due(self, *_):
        return math.inf


def leasing(*grants, now=0.0, waiting=10, slots=AnySlots):
    """A process that has had these grants."""
    state = LeasedQuota(1.0, 100, uniform=lambda low, high: high)
    state._slots = slots(100)
    for each in grants:
        state.granted(now, state.report(now, waiting), each)
    return state


def go(state, number, now=0.0, policy=BURST):
    """So many requests go out."""
    for _ in range(number):
        assert state.delay(now, policy) == 0
        state.started(now, policy)


def answer(state, number, now=0.0, left=100, status=200):
    """So many are answered."""
    for _ in range(number):
        state.finished(now, now, status, snapshot(left), None)


def test_nothing_goes_before_a_grant():
    """Who waits makes a report due at once; nobody does: none is due."""
    state = leasing()
    assert state.delay(0.0, BURST) == math.inf
    assert state.due(0.0, 0) == math.inf
    assert state.due(0.0, 1) == 0
    assert state.report(0.0, 3).wanted == 3


def test_who_has_sent_nothing_and_waits_for_nothing_asks_for_nothing():
    """A process that has only begun takes no part in the division, and leases of no window."""
    report = leasing(slots=LeasedSlots).report(0.0, 0)
    assert (report.window, report.sent, report.in_flight, report.busy) == (0, 0, 0, False)
    assert (report.unused, report.wanted, report.slots, report.answered) == (0, 0, 0, 0)
    assert (report.told, report.is_free, report.pause) == (None, False, 0)


def test_as_many_go_as_were_granted():
    """Then more are asked for."""
    state = leasing(grant(5), waiting=5)
    go(state, 5)
    assert state.delay(0.0, BURST) == math.inf
    assert state.due(0.0, 1) == 0
    report = state.report(1.0, 1)
    assert (report.sent, report.in_flight, report.unused) == (5, 5, 0)


def test_more_are_asked_for_before_a_lease_is_used_up():
    """So that nobody waits for Redis while there is quota."""
    state = leasing(grant(20))
    go(state, 9)
    assert state.due(0.0, 0) > 0
    go(state, 1)
    assert state.due(0.0, 0) == 0


def test_a_faster_process_leases_more():
    """Enough for a short time at its pace, at most twice as many as before."""
    state = leasing(grant(10), waiting=1)
    go(state, 8)
    assert state.report(0.001, 0).wanted == 20 - 2
    slow = leasing(grant(10))
    go(slow, 8)
    assert slow.report(HORIZON * 4, 0).wanted == 0


def test_what_is_not_used_is_given_back():
    """A process without requests reports once, keeps nothing, and is silent from then on."""
    state = leasing(grant(20))
    go(state, 2)
    answer(state, 2)
    wait = state.due(0.0, 0)
    assert wait == pytest.approx(2 * HORIZON)
    state.report(wait, 0)
    state.granted(wait, state.report(2 * wait, 0), grant())
    assert state.delay(2 * wait, BURST) == math.inf
    assert state.due(2 * wait, 0) == math.inf


def test_who_leaves_gives_everything_back():
    """However busy it was a moment ago."""
    state = leasing(grant(20, slots=9), slots=LeasedSlots)
    go(state, 5)
    answer(state, 5)
    report = state.last_report(0.001)
    assert (report.unused, report.wanted, report.busy, report.in_flight) == (0, 0, False, 0)
    assert report.slots == 0


@pytest.mark.parametrize(("reset", "due"), [(2 * HORIZON, math.inf), (2 * HORIZON + 0.1, 3.0)])
def test_what_is_void_with_its_window_is_not_given_back(reset, due):
    """A report that comes as the window ends would help nobody."""
    state = leasing(grant(20, reset=reset))
    go(state, 2)
    assert state.due(0.0, 0) == due


def test_a_lease_ends_with_its_window():
    """Counted from the report on, however long the grant was under way."""
    state = leasing()
    report = state.report(0.0, 10)
    state.granted(0.4, report, grant(10, reset=15.0))
    assert state.delay(14.9, BURST) == 0
    assert state.delay(15.0, BURST) == math.inf
    assert state.report(15.0, 0).unused == 0


def test_a_lease_of_another_window_is_void():
    """What remains of it does not count for the new one."""
    state = leasing(grant(10), grant(3, reset=29.0, window=2))
    go(state, 3)
    assert state.delay(0.0, BURST) == math.inf


@pytest.mark.parametrize("status", [200, None])
def test_what_came_of_a_request_that_went_alone_is_told_at_once(status):
    """The others wait for it."""
    state = leasing(Grant(window=0, granted=1, alone=True, valid=2.0))
    assert state.due(0.0, 5) > 0
    go(state, 1)
    assert state.delay(0.0, BURST) == math.inf
    assert state.due(0.1, 5) == pytest.approx(1.9)  # asking again would be in vain
    state.finished(0.3, 0.3, status, None if status is None else snapshot(149), None)
    assert state.due(0.3, 0) == 0
    report = state.report(0.3, 0)
    assert report.told == (None if status is None else snapshot(149))


def test_a_request_that_was_to_go_alone_and_did_not_makes_way():
    """Cancelled before it went out."""
    state = leasing(Grant(window=0, granted=1, alone=True, valid=2.0))
    go(state, 1)
    state.withdrawn()
    assert state.due(0.0, 0) == 0
    assert state.report(0.0, 0).unused == 0


def test_asking_in_vain_happens_less_and_less_often():
    """Each pause is twice as long, up to the horizon."""
    state, now, pauses = leasing(), 0.0, []
    for _ in range(8):
        state.granted(now, state.report(now, 5), grant(busy=4))
        pauses.append(state.due(now, 5))
        now += pauses[-1]
    assert pauses[1] == pytest.approx(2 * pauses[0])
    assert pauses[-1] == HORIZON
    state.granted(now, state.report(now, 5), grant(5, busy=4))
    go(state, 5, now)
    assert state.due(now, 5) == 0


def test_where_nothing_will_be_granted_nobody_asks():
    """The wait is known, as are its reason and its length."""
    state = leasing(grant(left=0, closed=15.25))
    assert state.delay(0.0, BURST) == pytest.approx(15.25)
    assert state.due(0.0, 5) == pytest.approx(15.25)
    assert state.reason(0.0) == "0 of 150 requests are left in the window"
    assert state.delay(15.25, BURST) == math.inf
    assert state.due(15.25, 5) == 0


def test_what_is_leased_of_a_window_that_is_spent_is_void():
    """A 429 says so: nothing more goes, it is told at once, and it is known how long to wait."""
    state = leasing(grant(20, part=9))
    go(state, 2)
    state.finished(0.1, 0.0, 429, snapshot(50, 14.9), 14.9)
    assert state.delay(0.1, BURST) == pytest.approx(15.15)
    assert state.wait_for(0.1, BURST, ahead=0) == pytest.approx(15.15)
    assert state.due(0.1, 3) == 0
    report = state.report(0.1, 3)
    assert (report.unused, report.told.remaining) == (0, 0)
    state.granted(0.2, report, grant(5, left=50))  # it was under way meanwhile
    assert state.delay(0.2, BURST) == pytest.approx(15.05)


def test_that_windows_end_later_than_announced_is_told_and_heeded():
    """Who went alone, too early, tells the others; who is told tries no earlier than they."""
    state = leasing(grant(1, left=1, reset=10.0))
    go(state, 1)
    state.finished(0.0, 0.0, 200, snapshot(0, 10.0), None)
    over = snapshot(0, -0.25)
    alone = Grant(window=1, granted=1, alone=True, valid=2.0, quota=over)
    state.granted(10.25, state.report(10.25, 5), alone)
    assert state.snapshot.reset_in == 0  # which sessions show
    go(state, 1, 10.25)
    state.finished(10.3, 10.25, 429, snapshot(0, 0.0), 0.0)
    assert state.due(10.3, 5) == 0
    assert state.report(10.3, 5).margin == pytest.approx(1.25)
    other = leasing(grant(0, left=0, reset=10.0, margin=1.25))
    assert other.delay(0.0, BURST) == pytest.approx(11.25)
    assert other.report(0.0, 5).margin == 1.25


def test_a_platform_under_load_is_told_once_and_at_once():
    """And what others tell of it is heeded, and not told back."""
    first, other = leasing(grant(20)), leasing(grant(20))
    for state in (first, other):
        go(state, 10)
    first.finished(0.1, 0.1, 503, None, None)
    assert first.due(0.1, 0) == 0
    report = first.report(0.1, 0)
    assert report.pause == 1.0
    assert first.report(0.2, 0).pause == 0
    other.granted(0.3, other.report(0.2, 0), grant(pause=0.9))
    assert other.delay(0.3, BURST) == pytest.approx(0.8)
    assert other.report(0.4, 0).pause == 0


def test_a_pause_is_told_as_what_is_left_of_it():
    """However late it is told: nobody stops for longer than who was asked to."""
    for now, left in [(0.0, 1.0), (0.75, 0.25), (1.0, 0.0), (9.0, 0.0)]:
        state = leasing(grant(20))
        go(state, 2)
        state.finished(0.0, 0.0, 503, None, None)
        assert state.report(now, 0).pause == left


def test_a_pause_that_others_tell_of_halves_what_goes_at_once():
    """Without Redis it counts; once a pause, though it gets longer."""
    state = leasing(grant(20))
    go(state, 9)
    state.granted(0.0, state.report(0.0, 0), grant(pause=1.0))
    for _ in range(9):
        state.finished(0.5, 0.0, None, None, None)
    state.granted(0.5, state.report(0.5, 0), grant(pause=2.0))
    state.lost(2.5)
    assert state.delay(2.4, BURST) == pytest.approx(0.1)
    go(state, 5, 2.5)
    assert state.delay(2.5, BURST) == math.inf


def test_only_answers_that_tell_of_no_trouble_are_told_as_such():
    """By these, the others let more go again after a pause; each is told once."""
    state = leasing(grant(20))
    go(state, 6)
    answer(state, 2)
    state.finished(0.0, 0.0, 404, None, None)
    state.finished(0.0, 0.0, 500, None, None)
    state.finished(0.0, 0.0, None, None, None)
    state.finished(0.0, 0.0, 200, snapshot(100), None, failed=True)
    assert state.report(0.0, 0).answered == 3
    assert state.report(0.0, 0).answered == 0


def test_without_redis_it_goes_by_what_it_knows():
    """What it has leased is void; only as many as it knows to be left may be in flight."""
    state = leasing(grant(20, left=3))
    state.lost(0.0)
    go(state, 2)
    assert state.delay(0.0, BURST) == math.inf  # others are at work: half of the rest
    answer(state, 2, left=2)
    assert state.delay(0.0, BURST) == 0


def test_without_redis_only_who_has_requests_tries_again():
    """After a while, and what could not be told is told then."""
    state = leasing(grant(20))
    go(state, 1)
    answer(state, 1, left=77)
    state.report(0.0, 0)
    state.lost(0.0)
    assert state.due(0.0, 0) == math.inf
    assert state.due(0.0, 1) == 1.0
    go(state, 1)
    assert state.due(0.5, 0) == 0.5
    report = state.report(1.0, 0)
    assert report.told == snapshot(77, 14.0)
    assert report.unused == 0
    state.granted(1.0, report, grant(2, reset=14.0))
    assert state.sharing
    go(state, 2, 1.0)
    assert state.delay(1.0, BURST) == math.inf


def test_a_pause_that_could_not_be_told_is_told_later():
    """The report about it got lost."""
    state = leasing(grant(20))
    go(state, 1)
    state.finished(0.0, 0.0, 503, None, 20.0)
    state.report(0.0, 0)
    state.lost(0.0)
    assert state.report(1.0, 0).pause == 19.0


def test_each_process_spreads_its_part_of_the_window():
    """What it has leased, and what it can hope for besides."""
    state = leasing(grant(2, part=28, busy=4))
    go(state, 1, policy=SMOOTH)
    assert state.delay(0.0, SMOOTH) == pytest.approx(15.0 / 30)
    assert state.delay(0.0, BURST) == 0


def test_a_slot_moves_up_when_there_is_more_to_spread():
    """The last request that could be hoped for was followed by a grant of more."""
    state = leasing(grant(1, part=0, busy=4))
    go(state, 1, policy=SMOOTH)
    state.granted(0.0, state.report(0.0, 10), grant(4, part=25, busy=4))
    assert state.delay(0.0, SMOOTH) == pytest.approx(15.0 / 30)


def test_max_wait_knows_what_this_process_can_hope_for():
    """Its part of this window, then of the next ones."""
    state = leasing(grant(2, part=3, busy=4))
    assert state.wait_for(0.0, BURST, ahead=4) == 0
    assert state.wait_for(0.0, BURST, ahead=5) == pytest.approx(15.25)
    assert state.wait_for(0.0, BURST, ahead=5 + QUOTA // 4) == pytest.approx(15.25 + WINDOW)


def test_max_wait_knows_who_is_alone():
    """All of the next windows is for the one process that wants some."""
    state = leasing(grant(2, part=3))
    assert state.wait_for(0.0, BURST, ahead=4 + QUOTA) == pytest.approx(15.25)
    assert state.wait_for(0.0, BURST, ahead=5 + QUOTA) == pytest.approx(15.25 + WINDOW)


def test_where_the_api_has_no_quota_there_is_nothing_to_give_back():
    """So nothing is reported but with the next question."""
    state = leasing(grant(10, quota=None, valid=60.0))
    go(state, 1)
    state.finished(0.0, 0.0, 200, None, None)
    assert state.due(0.0, 0) == math.inf
    assert state.report(0.0, 0).is_free


def test_whatever_it_waits_for_it_asks_when_a_window_opens():
    """A pause does not go past that."""
    state = leasing()
    for _ in range(8):
        state.granted(0.0, state.report(0.0, 5), grant(left=7, reset=1.0))
    assert state.due(0.0, 5) == pytest.approx(1.25)


# -- slots


def test_no_more_are_in_flight_than_there_are_slots():
    """However much quota is leased; whoever waits asks for more."""
    state = leasing(grant(50, slots=2), slots=LeasedSlots)
    go(state, 2)
    assert state.delay(0.0, BURST) == math.inf
    assert state.due(0.0, 1) < LEASE
    assert state.report(0.1, 3).slots == 5
    answer(state, 1)
    assert state.delay(0.2, BURST) == 0


def test_slots_are_asked_for_again_long_before_the_lease_ends():
    """As long as anything is in flight; and then they are given back, and it is silent."""
    state = leasing(grant(1, slots=3), slots=LeasedSlots)
    go(state, 1)
    assert state.due(0.0, 0) <= LEASE / 3
    report = state.report(0.3, 0)
    assert report.slots == 1
    state.granted(0.3, report, grant(slots=1))
    answer(state, 1, now=0.4)
    report = state.report(0.7, 0)
    assert report.slots == 0
    state.granted(0.7, report, grant(slots=0))
    assert state.due(0.7, 0) == math.inf


def test_slots_that_were_not_renewed_are_void():
    """Counted from the report on: by then, others may have them."""
    state = leasing(slots=LeasedSlots)
    report = state.report(0.0, 10)
    state.granted(0.4, report, grant(10, slots=5))
    assert state.delay(LEASE - 0.01, BURST) == 0
    assert state.delay(LEASE, BURST) == math.inf
    assert state.due(LEASE, 1) == 0


def test_asking_for_slots_in_vain_happens_less_often():
    """But at least as often as leases are renewed, and each grant counts as news."""
    state, now, pauses = leasing(slots=LeasedSlots), 0.0, []
    for _ in range(8):
        state.granted(now, state.report(now, 50), grant(99, slots=0))
        pauses.append(state.due(now, 50))
        now += pauses[-1]
    assert pauses == sorted(pauses)
    assert 0 < pauses[0] < 0.1
    assert pauses[-1] <= LEASE / 3


def test_where_nothing_may_go_nobody_asks_for_slots():
    """What could not go does not count, in a window that is spent or in a pause."""
    state = leasing(grant(left=0, closed=15.25), slots=LeasedSlots)
    assert state.report(0.1, 5).slots == 0
    state = leasing(grant(20, slots=5), slots=LeasedSlots)
    go(state, 1)
    state.finished(0.0, 0.0, 503, None, 20.0)
    report = state.report(0.0, 5)
    assert report.slots == 1  # in case that one is sent now and then
    state.granted(0.0, report, grant(slots=0, pause=20.0, closed=20.0))
    assert state.due(0.1, 5) >= 2.0  # to give quota back
    assert state.due(20.0, 5) == 0


def test_who_has_all_slots_asks_for_no_more():
    """However many wait for them."""
    state = leasing(grant(500, slots=100), waiting=300, slots=LeasedSlots)
    go(state, 100, policy=QuotaPolicy(max_concurrent=100))
    assert state.due(0.0, 200) >= LEASE / 4


def test_who_wants_more_than_before_asks_soon():
    """A burst after a quiet time does not wait until the lease is renewed."""
    state, now = leasing(slots=LeasedSlots), 0.0
    for _ in range(9):
        state.granted(now, state.report(now, 1), grant(9, slots=1))
        now += 0.3
    go(state, 1, now - 0.1)
    assert state.due(now - 0.1, 9) == 0


def test_without_redis_a_process_uses_its_part_of_everything():
    """Quota and slots, by the number of processes last known; with Redis, what it is granted."""
    slots = QuotaPolicy(max_concurrent=20)
    state = leasing(grant(20, processes=8, busy=3))
    state.lost(0.0)
    go(state, 2, policy=slots)
    assert state.delay(0.0, slots) == math.inf  # an eighth of the slots
    answer(state, 2, left=140)
    sent = 2
    while state.delay(0.0, slots) == 0:
        go(state, 1, policy=slots)
        answer(state, 1, left=130)
        sent += 1
    assert sent == QUOTA // 8
    assert state.delay(0.0, slots) == pytest.approx(15.25)
    state.granted(1.0, state.report(1.0, 5), grant(5, reset=14.0, processes=8))
    go(state, 5, 1.0, slots)


def test_without_redis_max_wait_knows_this_processs_part():
    """An eighth of what is left of this window, then an eighth of the next ones."""
    state = leasing(grant(20, left=16, processes=8))
    state.lost(0.0)
    part = 2 + QUOTA // 8
    assert [state.wait_for(0.0, BURST, n) for n in (1, 2)] == [0, 15.25]
    assert [state.wait_for(0.0, BURST, n) for n in (part - 1, part)] == [15.25, 45.25]


def test_without_redis_one_request_goes_however_many_processes_there_are():
    """More of them than the store has slots: no process stands still for good."""
    state = leasing(grant(20, processes=50))
    state.lost(0.0)
    go(state, 1)
    assert state.delay(0.0, BURST) == math.inf


def test_without_redis_what_is_left_of_a_window_is_divided():
    """The last few are left alone: the others would take them too."""
    state = leasing(grant(20, left=7, processes=8))
    state.lost(0.0)
    assert state.delay(0.0, BURST) == pytest.approx(15.25)


class Account:
    """A process, and an account of what it may let through, kept by somebody else."""

    def __init__(self, policy):
        self.policy, self.state = policy, leasing()
        self.now, self.in_flight, self.allowed = 0.0, 0, 0

    def start(self, *_):
        if self.state.delay(self.now, self.policy) > 0:
            return
        if self.state.sharing:
            assert self.allowed > 0
            self.allowed -= 1
        self.state.started(self.now, self.policy)
        self.in_flight += 1

    def answer(self, _, left, __):
        if self.in_flight:
            self.in_flight -= 1
            self.state.finished(self.now, self.now, 200, snapshot(left), None)

    def fail(self, *_):
        if self.in_flight:
            self.in_flight -= 1
            self.state.finished(self.now, self.now, None, None, None)

    def withdraw(self, *_):
        if self.in_flight:
            self.in_flight -= 1
            self.allowed += 1
            self.state.withdrawn()

    def report(self, number, left, window):
        report = self.state.report(self.now, number)
        assert report.in_flight == self.in_flight
        assert 0 <= report.unused <= self.allowed
        assert report.wanted >= number - report.unused
        new = min(number, report.wanted)
        self.allowed = new + (report.unused if report.window == window else 0)
        self.state.granted(self.now, report, grant(new, left=left, window=window))

    def lose(self, number, *_):
        self.state.report(self.now, number)
        self.state.lost(self.now)
        self.allowed = 0

    def wait(self, number, *_):
        self.now += number


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["start", "answer", "fail", "withdraw", "report", "lose", "wait"]),
            st.integers(0, 30),
            st.integers(0, QUOTA),
            st.integers(1, 3),
        ),
        max_size=60,
    ),
    st.sampled_from([BURST, SMOOTH]),
)
def test_never_more_go_than_were_granted_and_who_waits_gets_to_ask(history, policy):
    """Whatever happens: no history lets through more, and none leaves a waiting request alone."""
    account = Account(policy)
    for what, *numbers in history:
        getattr(account, what)(*numbers)
    state, now = account.state, account.now
    if state.delay(now, policy) == math.inf and not account.in_flight:
        assert state.due(now, 1) <= WINDOW + 1
