"""Looking again and again, since no event tells of another process."""

import asyncio
import time

from bcshopper import fleet


async def until(holds, seconds=60.0):
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.01)


async def until_done(jobs, database, seconds=240.0):
    """Wait until so many jobs are there, and done."""
    deadline = time.monotonic() + seconds
    while True:
        found = await fleet.statuses(database=database)
        if len(found) == jobs and all(status.state == "done" for status in found):
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.2)
