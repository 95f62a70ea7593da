"""What is wrong with some stores costs the others nothing."""

import asyncio
import contextlib
import time

import pytest

from bcshopper import fleet as library
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.fleet.audit import audit

pytestmark = pytest.mark.real_time

STORES, WORKERS, CUSTOMERS = 200, 10, 1500
MOST_DELAY = 1.2  # times what they take without the three


@pytest.mark.long
async def test_three_bad_stores_among_two_hundred(fleet, postgres):
    """One is dead, one throttled, one refuses its token: the others take hardly longer."""
    async with contextlib.AsyncExitStack() as stack:
        good = {}
        for number in range(STORES - 3):
            rules = Rules(max_concurrent=10, latency=0.1)
            store = good[f"good{number}"] = Sandbox(customers=CUSTOMERS, rules=rules)
            await stack.enter_async_context(store)
        throttled = await stack.enter_async_context(
            Sandbox(customers=CUSTOMERS, rules=Rules(quota=15, window=30.0))
        )
        refusing = await stack.enter_async_context(Sandbox(customers=CUSTOMERS))
        refusing.faults.rule(Fault.error(401))
        dead = Sandbox()
        async with dead:
            pass
        bad = {"throttled": throttled, "refusing": refusing, "dead": dead}
        for name, store in {**good, **bad}.items():
            fleet.add_store(name, url=store.url)
        took = {}
        for run, stores in ("alone", good), ("beside", {**bad, **good}):
            for store in good.values():
                store.reset()
            database = postgres.new_database(run)
            for name in stores:
                everyone = range(1, CUSTOMERS + 1)
                await library.submit("create", name, everyone, job=name, database=database)
            took[run] = await seconds_for(good, fleet, database)
            for name, store in good.items():
                await audit(name, store, range(1, CUSTOMERS + 1), database)
        assert throttled.record.statuses[429] == 0
        assert took["beside"] <= MOST_DELAY * took["alone"], took


async def seconds_for(stores, fleet, database):
    """From the start of ten workers until these stores' jobs are done."""
    began = time.monotonic()
    for _ in range(WORKERS):
        fleet.start(database)
    while True:
        found = await library.statuses(database=database)
        if all(status.state == "done" for status in found if status.job in stores):
            break
        assert time.monotonic() < began + 400, found
        await asyncio.sleep(0.2)
    took = time.monotonic() - began
    fleet.kill_workers()
    return took
