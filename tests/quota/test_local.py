"""The quota gate: all of the quota is used, and nobody trips over it. In simulated time."""

import asyncio
import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import QuotaPolicy, QuotaSnapshot, RetryPolicy
from bcshopper._quota.gate import QuotaGate
from bcshopper._quota.local import LocalQuota
from bcshopper._quota.registry import shared_gate
from bcshopper.sandbox import Fault, Rules, Sandbox

pytestmark = pytest.mark.thousands

QUOTA, WINDOW = 150, 30.0
BURST, SMOOTH = QuotaPolicy(), QuotaPolicy(pacing="smooth")


def headers(limit="150", left="35", window="30000", reset="15000", case=str):
    names = ("Requests-Quota", "Requests-Left", "Time-Window-Ms", "Time-Reset-Ms")
    values = zip(names, (limit, left, window, reset), strict=True)
    return {case(f"X-Rate-Limit-{n}"): v for n, v in values if v is not None}


def snapshot(left, reset=15.0, limit=QUOTA):
    return QuotaSnapshot(limit, left, WINDOW, reset)


# -- the whole way, over a socket


async def spend(session, number):
    """So many requests, with as many tasks as a busy service may have."""
    profiles = session.shopper_profiles
    remaining = iter(range(number))

    async def worker():
        for _ in remaining:
            await profiles.page()

    await asyncio.gather(*(worker() for _ in range(30)))


def windows(sandbox, length=WINDOW):
    """Our answered requests in each window of the store."""
    opened = sandbox.record.requests[0].at
    return Counter(int((r.at - opened) // length) for r in sandbox.record.requests)


def full(sandbox, length=WINDOW):
    """The windows that were not cut short by the end of the work."""
    counts = windows(sandbox, length)
    return [counts[n] for n in range(max(counts))]


async def test_a_burst_uses_every_window_whole_and_never_trips():
    """5,000 requests at 150 per window: no 429, at least 99 % of each full window."""
    async with Sandbox(rules=Rules(quota=QUOTA)) as sandbox, sandbox.session() as session:
        await spend(session, 5000)
        assert sandbox.record.statuses == {200: 5000}
        assert min(full(sandbox)) >= 0.99 * QUOTA
        assert len(windows(sandbox)) == math.ceil(5000 / QUOTA)


async def test_smooth_pacing_spreads_the_window():
    """No 429, at least 97 % of each full window, and no tenth of a window has more than 15 %."""
    quota = QuotaPolicy(pacing="smooth")
    async with (
        Sandbox(rules=Rules(quota=QUOTA)) as sandbox,
        sandbox.session(quota=quota) as session,
    ):
        await spend(session, 5000)
        assert sandbox.record.statuses == {200: 5000}
        assert min(full(sandbox)) >= 0.97 * QUOTA
        tenths = Counter(int(r.at // (WINDOW / 10)) for r in sandbox.record.requests)
        assert max(tenths.values()) <= 0.15 * QUOTA


async def test_ten_sessions_on_one_store_share_the_quota():
    """Together they use at least 99 % of each full window, and none of them trips."""
    async with Sandbox(rules=Rules(quota=QUOTA)) as sandbox:
        sessions = [sandbox.session() for _ in range(10)]
        await asyncio.gather(*(spend(session, 300) for session in sessions))
        for session in sessions:
            await session.aclose()
        assert sandbox.record.statuses == {200: 3000}
        assert min(full(sandbox)) >= 0.99 * QUOTA


@pytest.mark.parametrize("seed", range(3))
async def test_what_other_apps_take_is_left_to_them(seed):
    """Another app takes 0 to 60 % of each window: hardly a 429, and 90 % of the rest is used."""
    draw = random.Random(seed)
    taken: Counter[int] = Counter()
    throttled: list[float] = []
    async with Sandbox(rules=Rules(quota=QUOTA)) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(0.02, jitter=0.06))

        async def other_app():
            loop = asyncio.get_running_loop()
            opened = loop.time()
            for window in itertools.count():
                share = int(draw.uniform(0, 0.6) * QUOTA)
                for moment in sorted(draw.uniform(0, 0.9 * WINDOW) for _ in range(share)):
                    at = opened + window * WINDOW + moment
                    await asyncio.sleep(max(0.0, at - loop.time()))
                    before = sandbox._server.quota.headers(loop.time())
                    if int(before["X-Rate-Limit-Requests-Left"]):
                        sandbox.spend(1)
                        taken[window] += 1
                await asyncio.sleep(opened + (window + 1) * WINDOW - loop.time())

        await session.shopper_profiles.page()  # opens the window
        app = asyncio.create_task(other_app())
        await spend(session, 1500)
        app.cancel()
        ours = windows(sandbox)
        opened = sandbox.record.requests[0].at
        throttled = [r.at - opened for r in sandbox.record.requests if r.status == 429]
        per_window = Counter(int(at // WINDOW) for at in throttled)
        assert max(per_window.values(), default=0) <= 1
        assert not [w for w in per_window if w + 1 in per_window]
        for window in range(max(ours)):
            assert ours[window] - per_window[window] >= 0.9 * (QUOTA - taken[window])


async def test_a_share_is_never_exceeded():
    """Half of each window stays for the store's other apps."""
    quota = QuotaPolicy(share=0.5)
    async with Sandbox(rules=Rules(quota=QUOTA)) as sandbox:
        sessions = [sandbox.session(quota=quota) for _ in range(2)]
        await asyncio.gather(*(spend(session, 600) for session in sessions))
        for session in sessions:
            await session.aclose()
        assert sandbox.record.statuses == {200: 1200}
        assert max(windows(sandbox).values()) <= QUOTA // 2
        assert min(full(sandbox)) >= 0.97 * QUOTA / 2


async def test_a_quota_that_changes_is_followed_within_a_window():
    """From 150 to 450 and back between windows: still no 429, and the larger one is used."""
    async with Sandbox(rules=Rules(quota=QUOTA)) as sandbox, sandbox.session() as session:

        async def change():
            for limit in itertools.cycle([450, 150]):
                await asyncio.sleep(3 * WINDOW)
                sandbox._server.quota.limit = limit

        await session.shopper_profiles.page()
        changing = asyncio.create_task(change())
        await spend(session, 4000)
        changing.cancel()
        assert sandbox.record.statuses == {200: 4001}
        counts = full(sandbox)
        assert max(counts) >= 0.99 * 450
        assert sum(count >= 0.99 * 450 for count in counts) >= len(counts) // 2 - 3


async def test_windows_that_end_later_than_announced_trip_nobody():
    """Server and client may differ by 200 ms."""
    rules = Rules(quota=QUOTA, reset_error=0.2)
    async with Sandbox(rules=rules) as sandbox, sandbox.session() as session:
        await spend(session, 2000)
        assert sandbox.record.statuses == {200: 2000}
        assert min(full(sandbox)) >= 0.99 * QUOTA


NONSENSE = {
    "absent": {},
    "negative left": headers(left="-5"),
    "left above the quota": headers(left="9999"),
    "reset in the past": headers(left="0", reset="-20000"),
    "reset after the window": headers(left="0", reset="99999999"),
    "nothing left for ever": headers(left="0", reset="0"),
    "no quota at all": headers(limit="0"),
    "no numbers": headers(limit="many", left="few"),
    "absurd": headers(limit="9" * 400, left="9" * 400, window="9" * 400, reset="9" * 400),
    "one missing": headers(reset=None),
    "lower case": headers(case=str.lower),
    "fractions": headers(left="3.5"),
}


@pytest.mark.parametrize("kind", NONSENSE)
async def test_nonsense_in_the_headers_stalls_nobody_for_long(kind):
    """No crash, no storm, and no wait beyond one window for each answer."""
    async with Sandbox() as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault(headers=NONSENSE[kind], latency=0.01))
        for _ in range(5):
            await session.shopper_profiles.page()
        assert asyncio.get_running_loop().time() <= 5 * (WINDOW + 1)
        assert len(sandbox.record.requests) == 5


@pytest.mark.parametrize("status", [429, 503])
async def test_a_platform_under_load_is_given_air(status):
    """Without headers: everyone pauses, half as many go at once, and step by step more again."""
    async with (
        Sandbox(rules=Rules()) as sandbox,
        sandbox.session(retry=RetryPolicy(attempts=9)) as session,
    ):
        sandbox.faults.rule(Fault.slow(1.0))
        gate = session._transport.life
        await spend(session, 40)
        assert gate.gate.state.ceiling is None
        sandbox.faults.clear()
        sandbox.faults.queue(*[Fault(status=status, applied=False, latency=1.0)] * 8)
        sandbox.faults.rule(Fault.slow(1.0))
        sandbox.record.peak = 0
        await spend(session, 20)
        lowest = gate.gate.state.ceiling
        assert lowest is not None
        assert lowest < 10
        await spend(session, 600)
        assert gate.gate.state.ceiling is None
        assert sandbox.record.statuses[status] == 8


async def test_a_server_that_bears_few_requests_at_once_is_found_out():
    """More than four at once are refused without headers: in the end nearly all go through."""
    rules = Rules(max_concurrent=4)
    async with (
        Sandbox(customers=10_000, rules=rules) as sandbox,
        sandbox.session(retry=RetryPolicy(attempts=12)) as session,
    ):
        sandbox.faults.rule(Fault.slow(1.0))
        report = await session.shopper_profiles.create(range(1, 10_001))
        assert len(report.created) == 10_000
        assert sandbox.record.statuses[429] <= 0.4 * sandbox.record.statuses[201]


async def test_a_single_page_does_not_starve_behind_a_batch():
    """Of 10,000 customers' chunks, no more than a few dozen are ever in front of a web request."""
    async with Sandbox(customers=10_000) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(1.0))
        batch = asyncio.create_task(session.shopper_profiles.create(range(1, 10_001)))
        await asyncio.sleep(5)
        began = asyncio.get_running_loop().time()
        await session.shopper_profiles.page()
        assert asyncio.get_running_loop().time() - began <= 4
        assert not batch.done()
        await batch


@pytest.mark.real_time
async def test_a_burst_in_real_time_trips_nobody():
    """The same with real clocks, once, with windows of two seconds."""
    rules = Rules(quota=60, window=2.0)
    async with Sandbox(rules=rules) as sandbox, sandbox.session() as session:
        await spend(session, 150)
        assert sandbox.record.statuses == {200: 150}
        assert min(full(sandbox, 2.0)) >= 0.99 * 60


# -- the gate


async def test_waiters_go_in_order_and_cancelled_ones_give_their_place_back():
    """1,000 wait, half of them give up: the others all go, first come first served."""
    gate = QuotaGate(LocalQuota())
    first = await gate.admit(BURST, lambda *_: None)
    went = []

    async def one(number):
        admitted_at = await gate.admit(BURST, lambda *_: None)
        went.append(number)
        await asyncio.sleep(0.01)
        gate.leave(admitted_at, 200, headers(left=str(QUOTA)))

    tasks = [asyncio.create_task(one(n)) for n in range(1000)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    gate.leave(first, 200, headers(limit="2000", left="1999"))
    await asyncio.gather(*tasks, return_exceptions=True)
    assert went == list(range(1, 1000, 2))
    assert gate.state.sent <= QUOTA * 4 + 1


async def test_a_waiter_cancelled_as_it_is_let_through_leaves_nothing_taken():
    """The place that it had just been given goes to the next."""
    gate = QuotaGate(LocalQuota())
    first = await gate.admit(BURST, lambda *_: None)
    second = asyncio.create_task(gate.admit(BURST, lambda *_: None))
    third = asyncio.create_task(gate.admit(BURST, lambda *_: None))
    await asyncio.sleep(0)
    gate.leave(first, 200, headers(limit="2", left="1"))  # lets the second through
    second.cancel()
    await asyncio.wait([second, third])
    assert second.cancelled()
    assert not third.cancelled()
    assert asyncio.get_running_loop().time() == 0


async def test_a_store_has_one_gate_in_an_event_loop():
    """Sessions on the same base URL and store hash share it; others have their own."""
    gate = shared_gate("https://a.example", "s", BURST)
    assert shared_gate("https://a.example", "s", SMOOTH) is gate
    assert shared_gate("https://a.example", "t", BURST) is not gate
    assert shared_gate("https://b.example", "s", BURST) is not gate


def test_the_gate_costs_next_to_nothing_when_quota_is_plenty():
    """Counted in function calls rather than seconds: a handful for each request."""
    import cProfile

    async def many():
        gate = QuotaGate(LocalQuota())
        admitted_at = await gate.admit(BURST, lambda *_: None)
        gate.leave(admitted_at, 200, headers(limit="100000", left="99999"))
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(1000):
            admitted_at = await gate.admit(BURST, lambda *_: None)
            gate.leave(admitted_at, 200, None)
        profile.disable()
        return sum(entry.callcount for entry in profile.getstats()) / 1000

    assert asyncio.run(many()) < 25


async def test_no_store_has_more_requests_in_flight_than_it_takes_at_once():
    """Three sessions of a process, ten times as many tasks: ten at once, and ten all the time."""
    rules = Rules(max_concurrent=10)
    async with Sandbox(rules=rules) as sandbox:
        sandbox.faults.rule(Fault.slow(1.0))
        sessions = [sandbox.session() for _ in range(3)]
        await asyncio.gather(*(spend(session, 100) for session in sessions))
        for session in sessions:
            await session.aclose()
        assert sandbox.record.statuses == {200: 300}
        assert sandbox.record.peak == 10
        assert asyncio.get_running_loop().time() <= 32


async def test_a_session_may_have_less_than_all_requests_of_the_store():
    """It holds nobody else up meanwhile."""
    async with Sandbox() as sandbox:
        sandbox.faults.rule(Fault.slow(1.0))
        async with sandbox.session(concurrency=2) as modest, sandbox.session() as other:
            await asyncio.gather(spend(modest, 20), spend(other, 80))
        assert sandbox.record.peak == 10
        assert asyncio.get_running_loop().time() <= 15


# -- the pure state


def known(left, *, reset=15.0, limit=QUOTA, now=0.0):
    """A state that has had one answer."""
    state = LocalQuota(uniform=lambda low, high: high)
    state.started(now, BURST)
    state.finished(now, now, 200, snapshot(left, reset, limit), None)
    return state


def test_at_first_one_request_goes_alone():
    """Nothing is known: the others wait for its answer, but not for ever."""
    state = LocalQuota()
    assert state.delay(0.0, BURST) == 0
    state.started(0.0, BURST)
    assert 0 < state.delay(0.1, BURST) < 11
    assert state.delay(60.0, BURST) == 0
    state.finished(0.2, 0.2, None, None, None)
    assert state.delay(0.3, BURST) == 0  # it came to nothing: the next one goes
    state.started(0.3, BURST)
    state.finished(0.4, 0.4, 200, None, None)
    assert state.delay(0.5, BURST) == 0  # no headers: no quota
    many = QuotaPolicy(max_concurrent=101)
    for _ in range(100):
        state.started(0.5, many)
    assert state.delay(0.5, many) == 0


def test_as_many_may_be_in_flight_as_are_left():
    """Some of them may be in the API's count already, or not."""
    state = known(3, limit=4)
    for _ in range(3):
        assert state.delay(0.0, BURST) == 0
        state.started(0.0, BURST)
    assert state.delay(0.0, BURST) > 0
    state.finished(0.1, 0.1, 200, snapshot(2, 14.9, 4), None)
    assert state.delay(0.1, BURST) > 0
    state.finished(0.2, 0.2, 200, snapshot(1, 14.8, 4), None)
    state.finished(0.2, 0.2, 200, snapshot(0, 14.8, 4), None)
    assert state.delay(0.2, BURST) == pytest.approx(14.8 + 0.25)


def test_where_other_apps_are_at_work_twice_as_much_is_left_to_them():
    """As many of their requests as of ours may not be in the API's count yet."""
    state = known(4)
    for _ in range(2):
        assert state.delay(0.0, BURST) == 0
        state.started(0.0, BURST)
    assert state.delay(0.0, BURST) == math.inf


@given(st.permutations(range(10)))
def test_answers_out_of_order_never_raise_the_count(order):
    """The lowest count of a window is the newest."""
    state = known(10)
    for _ in range(10):
        state.started(0.0, BURST)
    for left in order:
        state.finished(1.0, 1.0, 200, snapshot(left, 14.0), None)
    assert state.delay(1.0, BURST) > 0


def test_a_late_answer_of_the_window_before_is_ignored():
    """What was left then says nothing of now."""
    state = known(149, reset=30.0, now=100.0)
    state.started(101.0, BURST)
    state.finished(101.0, 99.0, 200, snapshot(0, 0.5), None)  # it was answered before the turn
    assert state.delay(101.0, BURST) == 0


def test_short_windows_turn_as_promptly_as_long_ones():
    """Each window is looked at anew, however soon after the one before."""
    state = LocalQuota()
    state.started(0.0, BURST)
    for window in range(5):
        state.finished(2.3 * window, 2.3 * window, 200, QuotaSnapshot(1, 0, 2.0, 2.0), None)
        assert state.delay(2.3 * window, BURST) == pytest.approx(2.25)
        assert state.delay(2.3 * window + 2.26, BURST) == 0
        state.started(2.3 * (window + 1), BURST)


def test_after_a_window_one_request_goes_alone_to_see_the_new_one():
    """No thundering herd."""
    state = known(0, reset=10.0)
    assert state.delay(1.0, BURST) == pytest.approx(9.25)
    assert state.delay(10.25, BURST) == 0
    state.started(10.25, BURST)
    assert state.delay(10.3, BURST) > 5
    state.finished(10.4, 10.4, 200, snapshot(149, 29.9), None)
    assert state.delay(10.4, BURST) == 0


@pytest.mark.parametrize(
    ("went", "came", "reset", "waits"),
    [
        (10.25, 10.3, 0.0, 0.95),  # a second after the one that came too early went
        (10.25, 11.0, 0.0, 0.25),  # however late its answer is
        (10.25, 10.3, 0.5, 0.95),
        (10.25, 10.3, 3.0, 3.25),  # or as long as it says
        (10.3, 10.4, 29.0, None),  # the new window
        (9.0, 10.4, 0.0, 0.0),  # an answer from before the end says nothing of it
    ],
)
def test_a_window_that_did_not_end_when_it_should_is_waited_for(went, came, reset, waits):
    """Seconds until the next request goes to see; None if what came is a new window."""
    state = known(0, reset=10.0)
    state.started(went, BURST)
    state.finished(came, went, 200, snapshot(100 if waits is None else 0, reset), None)
    if waits is None:
        assert state.delay(came, BURST) == 0
        return
    assert state.delay(came, BURST) == pytest.approx(waits, abs=1e-6)
    assert state.wait_for(came, BURST, ahead=0) == pytest.approx(waits, abs=1e-6)


@pytest.mark.parametrize(("too_early", "tries"), [(0.2, 0), (1.0, 1), (2.0, 2), (9.0, 9)])
def test_how_much_too_early_an_end_is_announced_is_learnt_once(too_early, tries):
    """From then on no request goes before the end, as long as the announcement meant one."""
    state, seen, ends_at = known(0, reset=30.0 - too_early), [], 30.0
    now = 0.0
    for _ in range(4):
        early = 0
        while True:
            now += state.delay(now, BURST)
            state.started(now, BURST)
            if now >= ends_at:
                break
            early += 1
            state.finished(now, now, 429, snapshot(0, max(0.0, ends_at - too_early - now)), None)
        assert now <= ends_at + 1.0
        state.finished(now, now, 200, snapshot(0, ends_at + 30.0 - too_early - now), None)
        ends_at += 30.0
        seen.append(early)
    assert seen[0] == tries
    assert set(seen[1:]) == ({0} if too_early <= 2.5 else {tries - 2})


def test_max_wait_knows_how_many_are_in_front():
    """Each window has room for so many."""
    state = known(2, reset=10.0)
    assert state.wait_for(0.0, BURST, ahead=0) == 0
    assert state.wait_for(0.0, BURST, ahead=1) == 0
    assert state.wait_for(0.0, BURST, ahead=2) == pytest.approx(10.25)
    assert state.wait_for(0.0, BURST, ahead=2 + QUOTA) == pytest.approx(10.25 + WINDOW)
    half = QuotaPolicy(share=0.5)
    assert state.wait_for(0.0, half, ahead=2 + QUOTA // 2) == pytest.approx(10.25 + WINDOW)


def test_an_overload_halves_and_backs_off_longer_each_time():
    """Those that went out together count once; an answer ends the series."""
    state = LocalQuota(uniform=lambda low, high: high)
    state.started(0.0, BURST)
    state.finished(0.0, 0.0, 200, None, None)
    pauses, now = [], 0.0
    for _ in range(7):
        for _ in range(10):
            state.started(now, BURST)
        for _ in range(10):
            state.finished(now, now, 429, None, None)
        pauses.append(state.delay(now, BURST))
        now += pauses[-1]
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert state.ceiling == 5
    state.started(now, BURST)
    state.finished(now, now, 429, None, 77.0)
    assert state.delay(now, BURST) == 77  # as long as it asks for


def test_a_spent_window_is_known_whatever_is_in_flight():
    """Nobody waits for an answer that can't help."""
    state = LocalQuota()
    for _ in range(4):
        state.started(0.0, BURST)
    state.finished(0.0, 0.0, 503, None, None)
    state.finished(1.0, 0.0, 200, snapshot(0, 15.0), None)
    assert state.ceiling is not None
    assert state.delay(1.0, BURST) == pytest.approx(15.25)


def test_a_longer_pause_that_an_answer_asks_for_is_kept():
    """With the quota's headers or without, during another pause or not."""
    state = known(100)
    for _ in range(4):
        state.started(0.0, BURST)
    state.finished(0.0, 0.0, 429, None, None)
    assert state.delay(0.0, BURST) == 1
    state.finished(0.0, 0.0, 429, None, 5.0)
    assert state.delay(0.0, BURST) == 5
    state.finished(0.0, 0.0, 429, snapshot(0, 15.0), 40.0)
    assert state.delay(0.0, BURST) == 40
    state.finished(0.0, 0.0, 503, None, 2.0)
    assert state.delay(0.0, BURST) == 40
    assert state.reason(0.0) == "the API answered 429 or 503, or fails"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["start", "answer", "fail", "wait", "jump"]),
            st.integers(0, 200),
            st.floats(0, 40),
            st.sampled_from([200, 429, 503]),
            st.booleans(),
        ),
        max_size=60,
    ),
    st.sampled_from([BURST, SMOOTH, QuotaPolicy(share=0.3)]),
)
def test_no_history_stalls_the_gate_for_good(history, policy):
    """Whatever was answered, with nothing in flight a request may go within a bounded time."""
    state, now, in_flight = LocalQuota(), 0.0, 0
    for what, left, seconds, status, with_headers in history:
        if what == "start" and state.delay(now, policy) <= 0:
            state.started(now, policy)
            in_flight += 1
        elif what == "answer" and in_flight:
            in_flight -= 1
            told = snapshot(min(left, QUOTA), min(seconds, WINDOW)) if with_headers else None
            state.finished(now, now, status, told, None)
        elif what == "fail" and in_flight:
            in_flight -= 1
            state.finished(now, now, None, None, None)
        elif what == "wait":
            now += seconds
        elif what == "jump":
            now += seconds * 1e6
    for _ in range(in_flight):
        state.finished(now, now, None, None, None)
    for _ in range(10):
        delay = state.delay(now, policy)
        if delay <= 0:
            return
        assert delay <= WINDOW + 1
        now += delay
    raise AssertionError("no request may ever go")


@pytest.mark.parametrize(
    "settings", [{"share": 0}, {"share": 1.1}, {"pacing": "fast"}, {"max_wait": -1}]
)
def test_a_policy_that_makes_no_sense_is_refused(settings):
    """By name, when it is made."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        QuotaPolicy(**settings)
