"""What a session tells of each attempt: one beginning, and exactly one end."""

import asyncio
import logging
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcshopper import BCShopperError, RetryPolicy
from bcshopper.events import (
    ChunkDone,
    CoalescedDone,
    CoalescedStarted,
    QuotaWait,
    RequestEvent,
    RequestFailed,
    RequestGivenUp,
    RequestSent,
    ResponseReceived,
    RetryScheduled,
)
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.virtual_time import VirtualTimeLoop

ENDS = (ResponseReceived, RequestFailed, RequestGivenUp)


def assert_each_attempt_ends_once(events):
    """One at a time for each URL and attempt, as often as it began."""
    began = Counter((e.url, e.attempt) for e in events if isinstance(e, RequestSent))
    ended = Counter((e.url, e.attempt) for e in events if isinstance(e, ENDS))
    assert began == ended


async def told(*faults, timeout=2.0, attempts=1, cancel_after=None):
    """The events of one page that meets these faults."""
    events = []
    async with (
        Sandbox(profiles=1) as sandbox,
        sandbox.session(
            on_event=events.append, timeout=timeout, retry=RetryPolicy(attempts=attempts)
        ) as session,
    ):
        sandbox.faults.queue(*faults)
        try:
            async with asyncio.timeout(cancel_after):
                await session.shopper_profiles.page()
        except (BCShopperError, TimeoutError):
            pass
    assert_each_attempt_ends_once(events)
    return events


@pytest.mark.parametrize(
    ("fault", "end", "facts"),
    [
        (Fault.slow(0.1), ResponseReceived, {"status": 200}),
        (Fault.error(503), ResponseReceived, {"status": 503}),
        (
            Fault.cut(applied=True),
            RequestFailed,
            {"error": "TransportError", "status": None, "sent": True},
        ),
        (Fault.stall(), RequestFailed, {"error": "RequestTimeoutError", "status": None}),
        (Fault.garbage(), RequestFailed, {"error": "ResponseFormatError", "status": 200}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
async def test_an_attempt_ends_in_one_event(fault, end, facts):
    """Answered, or failed; with what there is to know."""
    first, last = await told(fault)
    assert isinstance(first, RequestSent)
    assert isinstance(last, end)
    assert {name: getattr(last, name) for name in facts} == facts
    assert last.seconds >= 0


async def test_an_attempt_that_never_left_says_so():
    """Nobody listens there."""
    async with Sandbox() as sandbox:
        pass
    events = []
    async with sandbox.session(on_event=events.append, retry=RetryPolicy(attempts=1)) as session:
        with pytest.raises(BCShopperError):
            await session.shopper_profiles.page()
    assert isinstance(events[-1], RequestFailed)
    assert not events[-1].sent


async def test_an_attempt_that_is_cancelled_was_given_up():
    """Whether the caller's time is up, or the session closes."""
    events = await told(Fault.slow(1.0), cancel_after=0.5)
    assert isinstance(events[-1], RequestGivenUp)
    assert events[-1].seconds == pytest.approx(0.5, abs=0.1)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [Fault.error(503), Fault.error(429), Fault.cut(applied=True), Fault.half(),
             Fault.garbage(), Fault.stall(), Fault.slow(1.0)]
        ),
        max_size=6,
    ),
    st.none() | st.floats(0.01, 20.0),
)  # fmt: skip
def test_whatever_happens_each_attempt_ends_once(faults, cancel_after):
    """Faults of all kinds, retries, and a caller who may lose patience at any moment."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(told(*faults, attempts=4, cancel_after=cancel_after))


async def test_events_can_be_labelled():
    """With the store, and with a route that has no ids: few values, whatever is asked."""
    events = []
    async with (
        Sandbox(customers=20, profiles=3, rules=Rules(quota=30)) as sandbox,
        sandbox.session(on_event=events.append) as session,
    ):
        sandbox.faults.queue(Fault.error(503))
        profiles = session.shopper_profiles
        await profiles.create(range(1, 11))
        await profiles.delete(list(sandbox.store.profiles)[:2])
        await profiles.lookup([1, 2])
        vip = await session.segments.ensure("VIP")
        members = session.segments.members(vip.id)
        await members.add([profile.id async for profile in profiles.list()])
        await session.segments.get(vip.id)
        sandbox.spend(30)
        await asyncio.gather(*(profiles.page() for _ in range(3)))
        store = sandbox.store_hash
    assert {e.store for e in events} == {store}
    assert {type(e) for e in events} >= {RetryScheduled, QuotaWait, ChunkDone}
    assert {e.route for e in events if isinstance(e, RequestEvent)} == {
        "GET /shopper-profiles", "POST /shopper-profiles", "DELETE /shopper-profiles",
        "GET /customers", "GET /segments", "POST /segments",
        "POST /segments/{id}/shopper-profiles",
    }  # fmt: skip
    answers = [e for e in events if isinstance(e, ResponseReceived) and e.status == 200]
    assert answers[0].quota_limit == 30
    assert 0 <= answers[0].quota_left < 30
    retry = next(e for e in events if isinstance(e, RetryScheduled))
    assert retry.error == "ServerError"


async def test_log_records_carry_fields(caplog):
    """For who collects logs as JSON: no need to read the sentences."""
    caplog.set_level(logging.INFO, "bcshopper")
    async with Sandbox(rules=Rules(quota=1)) as sandbox, sandbox.session() as session:
        sandbox.faults.queue(Fault.error(502))
        await session.shopper_profiles.page()
        await session.shopper_profiles.page()
        store = sandbox.store_hash
    retry = next(r for r in caplog.records if "failed" in r.message)
    assert (retry.store, retry.route, retry.attempt) == (store, "GET /shopper-profiles", 1)
    assert retry.delay >= 0
    wait = next(r for r in caplog.records if "waiting" in r.message)
    assert wait.store == store
    assert wait.delay > 1


async def test_shared_requests_are_told_of():
    """How many ids and callers, when it began and when it was done."""
    events = []
    async with (
        Sandbox(customers=60) as sandbox,
        sandbox.session(on_event=events.append) as session,
        session.shopper_profiles.coalesce() as one,
    ):
        await asyncio.gather(*(one.create(1 + n % 60) for n in range(70)))
        await one.lookup(3)
    started = [e for e in events if isinstance(e, CoalescedStarted)]
    done = [e for e in events if isinstance(e, CoalescedDone)]
    assert [(e.verb, e.size) for e in started] == [("create", 50), ("create", 10), ("lookup", 1)]
    assert started[0].waiting == 70
    assert sorted(e.number for e in started) == sorted(e.number for e in done)
    assert sum(len(e.callers) for e in done) == 71
