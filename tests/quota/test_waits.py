"""No wait is longer than was asked for, and each is told as it is. In simulated time."""

import asyncio
from collections import Counter
from contextlib import suppress

import aiohttp
import pytest

from bcshopper import (
    APIError,
    QuotaPolicy,
    RateLimitError,
    RetryPolicy,
    ServerError,
    TransportError,
)
from bcshopper.events import QuotaWait, RetryScheduled
from bcshopper.sandbox import Fault, Rules, Sandbox

pytestmark = pytest.mark.thousands

WINDOW = 30.0


def now():
    return asyncio.get_running_loop().time()


def told(*, left=0, reset=None, **more):
    """The headers of an answer that tells the quota, and others."""
    headers = {} if reset is None else {
        "X-Rate-Limit-Requests-Quota": "100",
        "X-Rate-Limit-Requests-Left": str(left),
        "X-Rate-Limit-Time-Window-Ms": "30000",
        "X-Rate-Limit-Time-Reset-Ms": str(int(1000 * reset)),
    }  # fmt: skip
    return headers | {name.replace("_", "-"): str(value) for name, value in more.items()}


async def ended(call):
    """What a call came to, and after how many seconds."""
    began = now()
    try:
        return await call, now() - began
    except APIError as error:
        return error, now() - began


# -- max_wait, for who waits already


PATIENT, HASTY = QuotaPolicy(), QuotaPolicy(max_wait=5.0)


async def test_a_window_that_is_spent_while_requests_wait_ends_those_that_cannot_wait_so_long():
    """They fail as soon as it is known, with the true wait; the patient ones of the queue go."""
    async with (
        Sandbox(rules=Rules(quota=20)) as sandbox,
        sandbox.session() as busy,
        sandbox.session() as patient,
        sandbox.session(quota=HASTY) as hasty,
    ):
        sandbox.spend(9)
        await busy.shopper_profiles.page()
        sandbox.faults.rule(Fault.slow(2.0))
        sessions = [busy] * 5 + [patient, hasty] * 3  # these wait for the answers to those
        running = [asyncio.create_task(ended(s.shopper_profiles.page())) for s in sessions]
        await asyncio.sleep(1.0)
        sandbox.spend(100)
        results = await asyncio.gather(*running)
        for error, seconds in results[6::2]:
            assert isinstance(error, RateLimitError)
            assert "max_wait is 5 s" in str(error)
            assert seconds == pytest.approx(2.0, abs=0.1)
            assert error.retry_after == pytest.approx(WINDOW - 2.0 + 0.25, abs=0.1)
        for page, seconds in results[5::2]:
            assert not isinstance(page, APIError)
            assert seconds > WINDOW - 1
        assert hasty.stats.requests == 0
        assert patient.stats.requests == 3


async def test_a_pause_that_begins_while_requests_wait_ends_those_that_cannot_wait_so_long():
    """The platform asks for a minute: who has five seconds is told so at once."""
    async with Sandbox() as sandbox, sandbox.session(quota=HASTY) as session:
        sandbox.faults.queue(
            Fault(status=503, applied=False, latency=2.0, headers={"Retry-After": "60"})
        )
        results = await asyncio.gather(*(ended(session.shopper_profiles.page()) for _ in range(6)))
        (first, *others) = results
        assert isinstance(first[0], ServerError), "it was sent, so that is what it came to"
        for error, seconds in others:
            assert isinstance(error, RateLimitError)
            assert "was not sent" in str(error)
            assert error.retry_after == pytest.approx(60.0, abs=0.1)
            assert seconds == pytest.approx(2.0, abs=0.1)
        assert len(sandbox.record.requests) == 1
        assert session.stats.quota_seconds == 0


async def test_what_was_waited_already_counts():
    """A pause of four seconds is too long for who has waited three of its five."""
    async with Sandbox() as sandbox, sandbox.session(quota=HASTY) as session:
        sandbox.faults.queue(
            Fault(status=503, applied=False, latency=3.0, headers={"Retry-After": "4"})
        )
        first = asyncio.create_task(ended(session.shopper_profiles.page()))
        await asyncio.sleep(0.5)
        early = asyncio.create_task(ended(session.shopper_profiles.page()))
        await asyncio.sleep(2.0)
        late = asyncio.create_task(ended(session.shopper_profiles.page()))
        assert isinstance((await early)[0], RateLimitError)
        for page, seconds in (await late, await first):
            assert not isinstance(page, APIError)
            assert seconds >= 4.0


@pytest.mark.parametrize("reset_error", [0.0, 0.5, 1.0])
async def test_who_comes_back_after_the_wait_that_it_was_told_is_served(reset_error):
    """Whatever the store announces, no call waits longer than `max_wait`, and few are refused."""
    rules = Rules(quota=3, reset_error=reset_error)
    quota = QuotaPolicy(max_wait=2.0)
    async with Sandbox(rules=rules) as sandbox, sandbox.session(quota=quota) as session:
        outcomes, slowest = Counter(), 0.0
        while outcomes["served"] < 12:
            result, seconds = await ended(session.shopper_profiles.page())
            slowest = max(slowest, seconds)
            refused = isinstance(result, RateLimitError)
            outcomes["refused" if refused else "served"] += 1
            if refused:
                await asyncio.sleep(result.retry_after)
        assert slowest <= 2.0 + 0.1
        assert outcomes["refused"] <= 4
        assert now() <= 3 * (WINDOW + 1.5)


@pytest.mark.parametrize("settings", [{"quota": HASTY}, {"retry": RetryPolicy(max_elapsed=5.0)}])
@pytest.mark.parametrize("ending", ["cut", "whole"])
async def test_a_retry_that_would_wait_too_long_ends_with_its_own_failure(ending, settings):
    """Another call is told to wait a minute. It was sent: nothing says that it was not."""
    async with (
        Sandbox() as sandbox,
        sandbox.session() as other,
        sandbox.session(**settings) as session,
    ):
        await other.shopper_profiles.page()
        sandbox.faults.queue(
            Fault(status=429, applied=False, latency=0.1, headers=told(X_Retry_After=60)),
            Fault(status=503, applied=False, latency=0.1, ending=ending),
        )
        patient = asyncio.create_task(other.shopper_profiles.page())
        await asyncio.sleep(0.01)
        with pytest.raises((TransportError, ServerError)) as caught:
            await session.shopper_profiles.page()
        assert now() <= 5.2
        assert isinstance(caught.value, TransportError) == (ending == "cut")
        if ending == "cut":
            assert isinstance(caught.value.__cause__, aiohttp.ClientError)
        assert session.stats.requests == 1
        await patient


# -- windows that end later than announced


EARLY = {
    **{f"{error:g} s early": {"reset_error": error} for error in (0.3, 0.5, 0.8, 1.0)},
    "cut to seconds": {"reset_in": "seconds"},
    "cut to seconds, and half a second early": {"reset_in": "seconds", "reset_error": 0.5},
}


@pytest.mark.parametrize("latency", [0.0, 0.01])
@pytest.mark.parametrize("window", [5.0, 30.0])
@pytest.mark.parametrize("kind", EARLY)
async def test_a_reset_announced_too_early_stalls_nobody(kind, window, latency):
    """Each window is used, one after the other, with at most one 429 in any and two in all."""
    rules = Rules(quota=50, window=window, **EARLY[kind])
    async with Sandbox(rules=rules) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(latency))
        await asyncio.gather(*(session.shopper_profiles.page() for _ in range(300)))
        opened = sandbox.record.requests[0].at
        throttled = [r.at - opened for r in sandbox.record.requests if r.status == 429]
        assert max(Counter(at // window for at in throttled).values(), default=0) <= 1
        assert len(throttled) <= 2
        assert now() <= 5 * window + 2.5
        assert session.stats.throttled == len(throttled)


async def test_a_window_whose_end_is_told_right_again_is_tried_no_later_than_it_must():
    """A store that once said nonsense costs two and a half seconds a window, not more."""
    async with Sandbox(rules=Rules(quota=5)) as sandbox, sandbox.session() as session:
        nonsense = told(left=0, reset=0)
        sandbox.faults.queue(*[Fault(status=200, headers=nonsense, body=b"{}")] * 20)
        for _ in range(20):
            with suppress(Exception):
                await session.shopper_profiles.page()
        sandbox.faults.clear()
        await asyncio.gather(*(session.shopper_profiles.page() for _ in range(20)))
        began = now()
        await asyncio.gather(*(session.shopper_profiles.page() for _ in range(10)))
        assert now() - began <= 2 * (WINDOW + 2.5)


# -- after a 429 or 503, the policy and the gate agree


@pytest.mark.parametrize(
    ("status", "headers", "policy", "delay"),
    [
        (429, told(X_Retry_After=7), {}, 7.0),
        (429, told(Retry_After=7), {}, 7.0),
        (429, told(reset=5, X_Retry_After=20), {}, 20.0),
        (429, told(reset=20, X_Retry_After=5), {}, 20.25),
        (429, told(reset=20), {}, 20.25),
        (429, told(X_Rate_Limit_Time_Reset_Ms=9000), {}, 9.0),
        (503, told(Retry_After=9), {}, 9.0),
        (503, told(reset=20, left=50, X_Retry_After=9), {}, 9.0),
        (503, told(reset=20, left=0, X_Retry_After=9), {}, 20.25),
        (500, told(reset=20, left=0), {}, 20.25),
        (429, told(), {}, None),
        (503, told(), {}, None),
        # of what the API asks for, only so much is waited
        (429, told(X_Retry_After=100), {"max_retry_after": 5.0}, 5.0),
        (429, told(X_Retry_After=500), {}, 120.0),
        (429, told(X_Retry_After=500), {"max_retry_after": 400.0}, 400.0),
        (429, told(reset=2, X_Retry_After=100), {"max_retry_after": 5.0}, 5.0),
        (503, told(X_Retry_After=100), {"max_retry_after": 5.0}, 5.0),
        (503, told(X_Retry_After=100), {"max_retry_after": 5.0, "max_elapsed": 6.0}, 5.0),
    ],
)  # fmt: skip
async def test_the_wait_that_is_announced_is_the_wait_that_happens(status, headers, policy, delay):
    """`RetryScheduled.delay` is what lies between the two tries, and within the policy's bounds."""
    events = []
    async with (
        Sandbox() as sandbox,
        sandbox.session(retry=RetryPolicy(**policy), on_event=events.append) as session,
    ):
        sandbox.faults.queue(Fault.error(status, headers=headers))
        await session.shopper_profiles.page()
        first, second = (request.at for request in sandbox.record.requests)
    (scheduled,) = [event for event in events if isinstance(event, RetryScheduled)]
    assert second - first == pytest.approx(scheduled.delay, abs=0.02)
    if delay is not None:
        assert scheduled.delay == pytest.approx(delay, abs=0.02)


@pytest.mark.parametrize(
    ("status", "headers", "policy", "retry_after"),
    [
        (429, told(X_Retry_After=100), {"max_elapsed": 10.0}, 100.0),
        (429, told(reset=20), {"max_elapsed": 10.0}, 20.0),
        (429, told(reset=2, X_Retry_After=20), {"max_elapsed": 10.0}, 20.0),
        (503, told(X_Retry_After=100), {"max_elapsed": 10.0}, 100.0),
        (503, told(reset=20, left=0), {"max_elapsed": 10.0}, None),
        (500, told(reset=20, left=0), {"max_elapsed": 10.0}, None),
        (429, told(reset=20), {"max_retry_after": 5.0}, 20.0),
        (503, told(reset=20, left=0, X_Retry_After=2), {"max_retry_after": 5.0}, 2.0),
    ],
)
async def test_a_wait_beyond_the_policys_bounds_is_not_begun(status, headers, policy, retry_after):
    """The call fails at once, and says how long the API asked to wait."""
    events = []
    async with (
        Sandbox() as sandbox,
        sandbox.session(retry=RetryPolicy(**policy), on_event=events.append) as session,
    ):
        sandbox.faults.queue(Fault.error(status, headers=headers))
        error, seconds = await ended(session.shopper_profiles.page())
    assert (error.status, error.retry_after) == (status, retry_after)
    assert seconds < 0.1
    assert not [event for event in events if isinstance(event, RetryScheduled)]


async def test_a_longer_wait_is_heeded_although_everyone_pauses_already():
    """Two are refused together, and the second one is asked for more patience."""
    async with Sandbox() as sandbox, sandbox.session() as session:
        await session.shopper_profiles.page()
        sandbox.faults.queue(
            Fault.error(429), Fault.error(429, headers=told(X_Retry_After=20)), Fault.error(503)
        )
        await asyncio.gather(*(session.shopper_profiles.page() for _ in range(3)))
        later = [request.at for request in list(sandbox.record.requests)[4:]]
        assert len(later) == 3
        assert min(later) >= 20.0


async def test_max_elapsed_bounds_a_wait_that_gets_longer_while_it_lasts():
    """Another call is told to wait a minute: who may take five seconds ends after five."""
    retry = RetryPolicy(max_elapsed=5.0)
    async with (
        Sandbox() as sandbox,
        sandbox.session() as other,
        sandbox.session(retry=retry) as session,
    ):
        await other.shopper_profiles.page()
        sandbox.faults.queue(
            Fault(status=429, applied=False, latency=0.2, headers=told(X_Retry_After=60)),
            Fault.error(503),
        )
        patient = asyncio.create_task(other.shopper_profiles.page())
        await asyncio.sleep(0.1)
        error, seconds = await ended(session.shopper_profiles.page())
        assert isinstance(error, ServerError)
        assert seconds == pytest.approx(5.0, abs=0.1)
        assert sandbox.record.in_flight == 0
        await patient
        assert now() >= 60.0


@pytest.mark.parametrize("queued_for", ["a slot", "quota"])
async def test_max_elapsed_counts_from_when_the_first_try_goes_out(queued_for):
    """However long it was queued before: a passing failure is survived."""
    rules = Rules(quota=3) if queued_for == "quota" else Rules()
    settings = {"concurrency": 1} if queued_for == "a slot" else {}
    retry = RetryPolicy(max_elapsed=8.0)
    async with (
        Sandbox(rules=rules) as sandbox,
        sandbox.session(retry=retry, **settings) as session,
    ):
        sandbox.faults.queue(*[Fault.slow(5.0)] * 3, Fault.error(502))
        await asyncio.gather(*(session.shopper_profiles.page() for _ in range(4)))
        assert now() > 15.0
        assert session.stats.retries == 1


async def test_a_batchs_max_elapsed_counts_from_when_its_first_try_goes_out():
    """Chunks that wait for their turn do not use up their time."""
    retry = RetryPolicy(max_elapsed=8.0)
    async with Sandbox(customers=200, rules=Rules(quota=2)) as sandbox:
        async with sandbox.session(retry=retry) as session:
            sandbox.faults.rule(Fault(ending="cut", applied=False), method="POST", nth=3)
            report = await session.shopper_profiles.create(range(1, 201), check=False)
        assert len(report.created) == 200


# -- the seconds that are counted


async def test_waits_are_counted_as_they_pass():
    """In mid-wait only what has passed, once however many wait; and nothing after they gave up."""
    async with Sandbox(rules=Rules(quota=1)) as sandbox, sandbox.session() as session:
        await session.shopper_profiles.page()
        waiting = [asyncio.create_task(session.shopper_profiles.page()) for _ in range(3)]
        await asyncio.sleep(10.0)
        assert session.stats.quota_seconds == pytest.approx(10.0, abs=0.1)
        await asyncio.sleep(2.0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        await asyncio.sleep(8.0)
        assert session.stats.quota_seconds == pytest.approx(12.0, abs=0.1)
        await session.shopper_profiles.page()
        assert now() == pytest.approx(WINDOW + 0.25, abs=0.1)
        assert session.stats.quota_seconds == pytest.approx(22.25, abs=0.2)
    assert session.stats.quota_seconds == pytest.approx(22.25, abs=0.2)


async def test_a_session_closed_in_mid_wait_has_waited_until_then():
    """It tells so afterwards, without an event loop too."""
    async with Sandbox(rules=Rules(quota=1)) as sandbox:
        session = sandbox.session()
        await session.shopper_profiles.page()
        waiting = asyncio.create_task(session.shopper_profiles.page())
        await asyncio.sleep(4.0)
        await session.aclose()
        await asyncio.wait([waiting])
        waiting.exception()
        assert session.stats.quota_seconds == pytest.approx(4.0, abs=0.1)
        assert await asyncio.to_thread(lambda: session.stats.quota_seconds) <= 4.1


@pytest.mark.parametrize("kind", [*EARLY, "as it is"])
async def test_no_more_is_counted_than_has_passed(kind):
    """Whatever is announced, extended or refused meanwhile."""
    rules = Rules(quota=4, window=5.0, **EARLY.get(kind, {}))
    events = []
    async with Sandbox(rules=rules) as sandbox, sandbox.session(on_event=events.append) as session:
        sandbox.faults.rule(Fault.error(429, headers=told(X_Retry_After=3)), nth=6)
        for seconds in (0.5, 3.0, 9.0, 12.0):
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asyncio.gather(*(session.shopper_profiles.page() for _ in range(9)))
            assert session.stats.quota_seconds <= now() + 1e-6
        assert session.stats.quota_seconds > 5.0
        assert [event for event in events if isinstance(event, QuotaWait)]
