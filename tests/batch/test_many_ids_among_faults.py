import asyncio
import gc
from pathlib import Path

import pytest

from bcshopper import RetryPolicy, Status
from bcshopper.sandbox import Fault, Sandbox

pytestmark = pytest.mark.thousands

FAULTS = [
    Fault.cut(applied=False),
    Fault.cut(applied=True),
    Fault.half(),
    Fault.stall(),
    Fault.garbage(),
    Fault.error(500, applied=True),
    Fault.error(503, body="html"),
    Fault.error(429, headers={"X-Rate-Limit-Time-Reset-Ms": "1000"}),
    Fault.error(429, body="empty"),
    Fault.slow(45.0),
]
OPEN_FILES = Path("/proc/self/fd")


def sockets():
    """The sockets that this process has open."""
    found = 0
    for file in list(OPEN_FILES.iterdir()):
        try:
            found += str(file.readlink()).startswith("socket")
        except FileNotFoundError:
            continue
    return found


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="sockets are counted through /proc")
@pytest.mark.parametrize("customers", [20_000, pytest.param(100_000, marks=pytest.mark.long)])
async def test_many_ids_among_faults_of_all_kinds(customers):
    """One request in twenty fails somehow: an exact account, few tasks, nothing left behind."""
    before = sockets()
    async with Sandbox(customers=customers) as sandbox:
        async with sandbox.session(retry=RetryPolicy(attempts=8)) as session:
            for fault in FAULTS:
                sandbox.faults.rule(fault, probability=0.05 / len(FAULTS))
            seen: set[int] = set()
            most_tasks = 0
            async for o in session.shopper_profiles.create_stream(range(1, customers + 1)):
                assert o.status in {Status.CREATED, Status.EXISTS}, o
                assert sandbox.store.customers[o.item] == o.profile_id
                assert o.item not in seen
                seen.add(o.item)
                most_tasks = max(most_tasks, len(asyncio.all_tasks()))
            assert len(seen) == customers == len(sandbox.store.profiles)
            await asyncio.sleep(60)  # a POST given up on may still land, and would after a delete
            report = await session.shopper_profiles.delete(list(sandbox.store.profiles))
            assert len(report.deleted) == customers
            assert sandbox.store.profiles == {}
            assert session.stats.retries > customers / 5000
            assert most_tasks < 100
        assert not [t for t in asyncio.all_tasks() if "bcshopper/_" in repr(t)]
    gc.collect()
    assert sockets() == before
