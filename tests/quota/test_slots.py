"""Requests in flight, shared between processes through a real Redis: never one too many."""

import asyncio

import pytest

from bcshopper import QuotaPolicy, RetryPolicy
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.quota.test_shared import REDIS, end, keys, processes, server  # noqa: F401 - fixtures
from tests.quota.worker import Workers

pytestmark = pytest.mark.thousands

TAKES_TEN = Rules(max_concurrent=10)


def busy(sandbox, since, until):
    """The part of the store's ten slots that answered requests had in this time."""
    records = [r for r in sandbox.record.requests if r.took is not None]
    used = sum(max(0.0, min(r.at + r.took, until) - max(r.at, since)) for r in records)
    return used / (10 * (until - since))


@pytest.mark.parametrize(("number", "tasks"), [(4, 10), (3, 4), (15, 3)])
async def test_processes_share_the_slots_of_a_store(number, tasks, server, keys):  # noqa: F811
    """A server that refuses the 11th request at once refuses none, and nine of ten are busy.

    Where there are more processes than slots, they take turns, which costs a few.
    """
    group = processes(number, server, keys, rules=TAKES_TEN, slots=10)
    async with group as group:
        await group.work(20, tasks)
        assert set(group.sandbox.record.statuses) <= {200, None}
        assert group.sandbox.record.peak == 10
        assert busy(group.sandbox, 3, 19) >= (0.9 if number <= 10 else 0.8)
        counts = {}
        for request in group.sandbox.record.requests:
            page = dict(request.query)["page"]
            counts[page] = counts.get(page, 0) + 1
        assert len(counts) == number
        assert min(counts.values()) >= 0.4 * sum(counts.values()) / number


async def test_the_slots_of_a_process_that_died_are_back_within_moments(server, keys):  # noqa: F811
    """It is never heard of again: 1.5 seconds later the others have all ten."""
    async with processes(4, server, keys, rules=TAKES_TEN, slots=10) as group:
        asking = [group.busy(member) for member in range(4)]
        await asyncio.sleep(5)
        group.die(0, asking[0])
        await asyncio.sleep(5)
        await end([task for tasks in asking for task in tasks])
        assert set(group.sandbox.record.statuses) <= {200, None}
        assert busy(group.sandbox, 6.5, 9.5) >= 0.9


async def test_slots_that_nobody_needs_any_more_go_to_others_at_once(server, keys):  # noqa: F811
    """A process that has nothing more to do gives them back long before their lease ends.

    The server here takes any number: those that were cancelled may be at work there for a moment.
    """
    async with processes(2, server, keys, rules=Rules(), slots=10, latency=0.05) as group:
        first = group.busy(0, 30)
        await asyncio.sleep(2)
        await end(first)
        began = asyncio.get_running_loop().time()
        second = group.busy(1, 30)
        await asyncio.sleep(3)
        assert busy(group.sandbox, began + 0.5, began + 3) >= 0.9
        await end(second)


async def test_processes_that_are_told_different_limits_get_on(server, keys):  # noqa: F811
    """The lowest holds for all, and nobody starves."""
    async with processes(2, server, keys, slots=[10, 4]) as group:
        first = group.busy(0, 20)
        await asyncio.sleep(2)
        before = len(group.sandbox.record.requests)
        second = group.busy(1, 8)
        await asyncio.sleep(10)
        pages = [dict(r.query)["page"] for r in list(group.sandbox.record.requests)[before:]]
        assert pages.count("2") >= 0.3 * len(pages)
        await end(first + second)


async def test_under_load_all_processes_together_halve_what_is_in_flight(server, keys):  # noqa: F811
    """A server that takes four at once, and says so with bare 429s: after a while, hardly one."""
    retry = RetryPolicy(attempts=30)
    rules = Rules(max_concurrent=4)
    async with processes(4, server, keys, rules=rules, slots=10, retry=retry) as group:
        await group.work(30)
        record = group.sandbox.record
        refused = [r for r in record.requests if r.status == 429]
        assert refused
        assert len(refused) <= 0.5 * record.statuses[200]
        assert record.statuses[200] >= 100


async def test_without_redis_the_processes_together_hardly_trip(server, keys):  # noqa: F811
    """It goes away, and eight of them go on by what they know: at most ten 429s in any window."""
    retry = RetryPolicy(attempts=30)
    async with processes(8, server, keys, rules=Rules(quota=150), slots=10, retry=retry) as group:
        asking = [task for member in range(8) for task in group.busy(member)]
        await asyncio.sleep(2)
        for store in group.stores:
            store.refusing = True
        await asyncio.sleep(4 * 30.0)
        await end(asking)
        refused = [int(r.at // 30) for r in group.sandbox.record.requests if r.status == 429]
        assert max((refused.count(window) for window in set(refused)), default=0) <= 10
        assert group.sandbox.record.statuses[200] >= 4 * 0.85 * 150


def test_each_policy_says_how_many():
    """Ten, as the API documents; and it has to be a number."""
    assert QuotaPolicy().max_concurrent == 10
    with pytest.raises(ValueError, match="max_concurrent"):
        QuotaPolicy(max_concurrent=0)


async def test_a_long_request_keeps_its_slot(server, keys):  # noqa: F811
    """However much longer than a lease it takes."""
    async with processes(2, server, keys, rules=TAKES_TEN, slots=10) as group:
        group.sandbox.faults.clear()
        group.sandbox.faults.rule(Fault.slow(8.0))
        await group.work(30)
        assert set(group.sandbox.record.statuses) <= {200, None}
        assert group.sandbox.record.peak == 10


# -- with real processes, on the server's own clock


async def until(sandbox, number):
    """So many requests have come."""
    while sum(sandbox.record.counts.values()) < number:  # noqa: ASYNC110 - polled
        await asyncio.sleep(0.01)


@pytest.mark.real_time
@pytest.mark.parametrize("number", [2000, pytest.param(20_000, marks=pytest.mark.long)])
async def test_four_real_processes_share_the_slots(number, server, keys):  # noqa: F811
    """A server that refuses the 11th request at once refuses none of so many."""
    asyncio.get_running_loop().set_debug(False)  # the server has to keep up
    async with Sandbox(rules=TAKES_TEN) as sandbox:
        sandbox.faults.rule(Fault.slow(0.01, jitter=0.01))
        keys(sandbox.url, sandbox.store_hash)
        async with Workers(sandbox, 4, shared=REDIS) as workers:
            await until(sandbox, number)
            refused = sandbox.record.statuses[429]
            counted = await workers.finish()
        assert refused == 0  # in the end, they give up requests that the server is still at
        assert sum(c["asked"] for c in counted) < len(sandbox.record.requests)


@pytest.mark.real_time
async def test_the_slots_of_a_killed_process_come_back(server, keys):  # noqa: F811
    """`kill -9`: two seconds later, the other three have all ten, and still none is refused."""
    asyncio.get_running_loop().set_debug(False)  # the server has to keep up
    async with Sandbox(rules=TAKES_TEN) as sandbox:
        sandbox.faults.rule(Fault.slow(0.1, jitter=0.1))
        keys(sandbox.url, sandbox.store_hash)
        async with Workers(sandbox, 4, shared=REDIS) as workers:
            await asyncio.sleep(1.0)
            workers.processes[0].kill()
            await asyncio.sleep(2.0)
            peaks = []
            for _ in range(50):
                peaks.append(sandbox.record.in_flight)
                await asyncio.sleep(0.02)
            refused = sandbox.record.statuses[429]
            await workers.finish()
        assert refused == 0
        assert max(peaks) == 10
        assert sum(peaks) >= 0.8 * 10 * len(peaks)
