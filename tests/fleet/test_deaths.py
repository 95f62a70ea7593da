"""Whatever dies, every id has one true outcome, and the store is never crowded."""

import asyncio
import random
import signal
import time

import pytest

from bcshopper import fleet as library
from bcshopper.sandbox import Rules
from tests.fleet.audit import audit
from tests.fleet.waiting import until, until_done

pytestmark = pytest.mark.real_time

# What a kill interrupts: an answer takes a while, and no more than ten may be waited for.
BUSY = Rules(max_concurrent=10, latency=0.25)
SHORT = Rules(max_concurrent=10, latency=0.25, quota=60, window=3.0)
LONGEST_TAKEOVER = 5.0  # seconds


async def survive(fleet, database, *options, seed, customers, stopped, rules=BUSY):
    """Three stores and three workers: two are killed, one is stopped and continued."""
    rng = random.Random(seed)
    names = ["A", "B", "C"]
    for name in names:
        fleet.add_store(name, customers=customers, rules=rules)
        await library.submit("create", name, range(1, customers + 1), job=name, database=database)
    workers = [fleet.start(database, *options) for _ in names]
    rng.shuffle(workers)
    first, second, third = workers
    watcher = fleet.watch(database)
    events = [(first, signal.SIGKILL), (second, signal.SIGKILL), (third, signal.SIGSTOP)]
    rng.shuffle(events)
    took = []
    for worker, what in events:
        await until(lambda worker=worker: watcher.under_way(worker))
        await asyncio.sleep(rng.random() * 0.3)
        worker.send_signal(what)
        began = time.monotonic()
        if what == signal.SIGSTOP:
            await asyncio.sleep(stopped)
            worker.send_signal(signal.SIGCONT)
        else:
            await until(lambda worker=worker: not watcher.under_way(worker))
            took.append(time.monotonic() - began)
    await until_done(3, database)
    for name in names:
        await audit(name, fleet.stores[name], range(1, customers + 1), database)
    assert max(took) <= LONGEST_TAKEOVER, took
    return took


async def test_workers_die_and_stop(fleet, database):
    """Their chunks are taken over soon; nobody is given two profiles, and no outcome is false."""
    await survive(fleet, database, seed=1, customers=7_500, stopped=3.0)


async def test_workers_die_where_the_quota_is_short_and_shared(fleet, database, redis_url):
    """Who comes to a store whose window is spent knows that, and draws no 429."""
    shared = ("--shared", redis_url)
    await survive(fleet, database, *shared, seed=2, customers=7_500, stopped=3.0, rules=SHORT)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
async def test_workers_die_and_stop_at_length(fleet, database, seed):
    """The same with 36,000 customers, and a worker that is stopped for ten seconds."""
    await survive(fleet, database, seed=seed, customers=12_000, stopped=10.0)
