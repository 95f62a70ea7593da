"""`session.with_options`: other patience for some calls, through the same session."""

import asyncio

import pytest

from bcshopper import (
    InvalidInputError,
    QuotaPolicy,
    RateLimitError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    SessionClosedError,
)
from bcshopper.sandbox import Fault, Rules, Sandbox


async def test_some_calls_have_other_patience():
    """Fewer tries, a shorter timeout, no wait for quota; the others are as they were."""
    async with Sandbox(rules=Rules(quota=50)) as sandbox, sandbox.session() as session:
        once = RetryPolicy(attempts=1)
        hasty = session.with_options(retry=once, timeout=1.0, quota=QuotaPolicy(max_wait=0.0))
        sandbox.faults.queue(Fault.error(503))
        with pytest.raises(ServerError):
            await hasty.shopper_profiles.page()
        sandbox.faults.queue(Fault.slow(2.0), Fault.slow(2.0))
        with pytest.raises(RequestTimeoutError, match="within 1 s"):
            await hasty.shopper_profiles.page()
        await session.shopper_profiles.page()
        sandbox.spend(50)
        await session.segments.page()
        with pytest.raises(RateLimitError):
            sandbox.spend(50)
            while True:
                await hasty.shopper_profiles.page()


async def test_it_is_one_session():
    """One connection pool, one gate, one budget, one count, and the same ten at once."""
    async with Sandbox(profiles=5) as sandbox, sandbox.session(concurrency=2) as session:
        other = session.with_options(timeout=5.0)
        again = other.with_options(retry=RetryPolicy(attempts=2))
        sandbox.faults.rule(Fault.slow(1.0))
        calls = [s.shopper_profiles.page() for s in (session, other, again) for _ in range(4)]
        await asyncio.gather(*calls)
        assert sandbox.record.peak == 2
        assert session.stats == other.stats == again.stats
        assert session.stats.requests == 12
        assert other.quota == session.quota
        assert again.store_hash == session.store_hash


async def test_the_owner_closes():
    """Leaving the block of the other one ends nothing; closing the owner ends both."""
    async with Sandbox() as sandbox:
        session = sandbox.session()
        async with session.with_options(timeout=1.0) as other:
            await other.shopper_profiles.page()
        await session.shopper_profiles.page()
        await other.shopper_profiles.page()
        await session.aclose()
        assert other.closed
        with pytest.raises(SessionClosedError):
            await other.shopper_profiles.page()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"timeout": 0}, "timeout"),
        ({"retry": 3}, "retry"),
        ({"quota": "burst"}, "quota"),
        ({"quota": QuotaPolicy(max_concurrent=20)}, "max_concurrent"),
        ({"quota": QuotaPolicy(shared="redis://127.0.0.1/0")}, "shared"),
    ],
)
async def test_what_cant_be_is_refused(settings, said):
    """Also what is shared by all calls to the store."""
    async with Sandbox() as sandbox, sandbox.session() as session:
        with pytest.raises(InvalidInputError, match=said):
            session.with_options(**settings)


def test_more_at_once_than_the_store_takes_is_refused():
    """The policy says how many that are, for all sessions."""
    sandbox = Sandbox()
    with pytest.raises(InvalidInputError, match="max_concurrent=20"):
        sandbox.session(concurrency=20)
