import asyncio

import pytest

from bcshopper.sandbox import Fault
from tests.sandbox.store import (
    CUSTOMERS,
    LEFT,
    PROFILES,
    QUOTA,
    RESET_MS,
    WINDOW_MS,
    create,
    existing,
    store,
)


async def test_every_answer_tells_the_quota_if_there_is_one():
    """Four headers, on successes and refusals alike, counting down."""
    async with store(quota=5, window=30.0) as (_, call):
        answers = [await call("GET"), await call("DELETE", token="wrong"), await call("GET", "x")]
        assert [a.status for a in answers] == [200, 401, 404]
        assert [a.headers[LEFT] for a in answers] == ["4", "3", "2"]
        for answer in answers:
            assert (answer.headers[QUOTA], answer.headers[WINDOW_MS]) == ("5", "30000")
            assert 0 < int(answer.headers[RESET_MS]) <= 30_000


async def test_without_a_quota_there_are_no_headers_about_it():
    """Clients must live without them."""
    async with store() as (_, call):
        assert not any(name.lower().startswith("x-rate") for name in (await call("GET")).headers)


async def test_a_spent_quota_is_429_until_the_window_ends():
    """Nothing is done meanwhile, and the reset that is told is the real one."""
    async with store(customers=2, quota=2, window=30.0) as (sandbox, call):
        for customer_id in (1, 2):
            assert (await call("POST", **create(customer_id))).status == 201
        await asyncio.sleep(10)
        refused = await call("DELETE")
        assert (refused.status, refused.headers[LEFT]) == (429, "0")
        assert len(existing(sandbox)) == 2
        assert 19_000 < int(refused.headers[RESET_MS]) <= 20_000
        await asyncio.sleep(int(refused.headers[RESET_MS]) / 1000 - 1)
        assert (await call("GET")).status == 429
        await asyncio.sleep(1)
        answer = await call("GET")
        assert (answer.status, answer.headers[LEFT]) == (200, "1")


async def test_a_window_that_nobody_uses_changes_nothing():
    """After a long pause there is one full window, not several."""
    async with store(quota=2, window=30.0) as (_, call):
        await call("GET")
        await asyncio.sleep(1000)
        assert [(await call("GET")).status for _ in range(3)] == [200, 200, 429]


async def test_other_apps_can_spend_the_quota():
    """One quota per store, shared by all."""
    async with store(quota=10, window=30.0) as (sandbox, call):
        sandbox.spend(7)
        assert (await call("GET")).headers[LEFT] == "2"
        sandbox.spend(100)
        answer = await call("GET")
        assert (answer.status, answer.headers[LEFT]) == (429, "0")


async def test_spending_without_a_quota_is_harmless():
    """There is nothing to spend."""
    async with store() as (sandbox, call):
        sandbox.spend(100)
        assert (await call("GET")).status == 200


async def test_too_many_requests_at_once_are_429_without_headers():
    """The documented sign of a platform under load."""
    async with store(profiles=1, max_concurrent=2, quota=100) as (sandbox, call):
        sandbox.faults.rule(Fault.slow(1.0))
        answers = await asyncio.gather(*(call("GET") for _ in range(5)))
        assert sorted(a.status for a in answers) == [200, 200, 429, 429, 429]
        for answer in answers:
            assert (QUOTA in answer.headers) == (answer.status == 200)
        assert (await call("GET")).status == 200


async def test_a_client_that_hung_up_is_no_longer_under_way():
    """Who gave up on a stalled answer does not take a place for ever."""
    async with store(profiles=1, max_concurrent=1) as (sandbox, call):
        sandbox.faults.queue(Fault.stall())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await call("GET")
        await asyncio.sleep(5)
        assert sandbox.record.in_flight == 0
        assert (await call("GET")).status == 200


async def test_each_resource_can_have_a_quota_of_its_own():
    """Who has spent that of profiles can still read customers; the headers tell of each."""
    async with store(quota=2, quota_per="resource") as (sandbox, call):
        answers = [await call("GET", path) for path in [PROFILES] * 3 + [CUSTOMERS] * 3]
        assert [a.status for a in answers] == [200, 200, 429] * 2
        assert [a.headers[LEFT] for a in answers] == ["1", "0", "0"] * 2
        sandbox.reset()
        sandbox.spend(1)
        assert [(await call("GET", p)).headers[LEFT] for p in (PROFILES, CUSTOMERS)] == ["0", "0"]


async def test_windows_can_slide():
    """Each request counts for a window's length after it; the reset is when the first ends."""
    async with store(quota=2, window=30.0, windows="sliding") as (_, call):
        await call("GET")
        await asyncio.sleep(20)
        second = await call("GET")
        assert (second.status, second.headers[LEFT]) == (200, "0")
        assert 9_900 < int(second.headers[RESET_MS]) <= 10_000
        assert (await call("GET")).status == 429
        await asyncio.sleep(10.1)
        third = await call("GET")
        assert (third.status, third.headers[LEFT]) == (200, "0")
        assert 19_500 < int(third.headers[RESET_MS]) <= 20_000
        assert (await call("GET")).status == 429
        await asyncio.sleep(60)
        assert (await call("GET")).headers[LEFT] == "1"


async def test_other_apps_can_spend_a_sliding_quota():
    """What they took comes back a window later."""
    async with store(quota=10, window=30.0, windows="sliding") as (sandbox, call):
        sandbox.spend(100)
        assert (await call("GET")).status == 429
        await asyncio.sleep(30.1)
        assert (await call("GET")).headers[LEFT] == "9"


async def test_the_reset_can_be_cut_to_whole_seconds():
    """Up to one second too early, so that who believes it meets the same window again."""
    async with store(quota=1, window=30.0, reset_in="seconds") as (_, call):
        await call("GET")
        await asyncio.sleep(10.4)
        refused = await call("GET")
        assert refused.headers[RESET_MS] == "19000"
        await asyncio.sleep(19)
        assert (await call("GET")).status == 429
        await asyncio.sleep(0.7)
        assert (await call("GET")).status == 200


async def test_the_reset_can_be_announced_too_early():
    """By the seconds of the rule, and never below nought."""
    async with store(quota=1, window=30.0, reset_error=0.5) as (_, call):
        assert 29_000 < int((await call("GET")).headers[RESET_MS]) <= 29_500
        await asyncio.sleep(29.8)
        refused = await call("GET")
        assert (refused.status, refused.headers[RESET_MS]) == (429, "0")
