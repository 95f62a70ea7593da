"""A process that uses a store's quota as fast as it may: `python -m tests.quota_worker {...}`.

It prints a line when it is ready and begins when it is given one. It asks for the page that is its
number, so that the sandbox's record tells whose a request was. It ends with its input, and prints
how many requests it sent and how often it asked Redis.
"""

import asyncio
import json
import sys

from bcshopper import QuotaPolicy, Session
from bcshopper._redis import QuotaStore


class CountingStore(QuotaStore):
    """Counts how often it is asked."""

    asked = 0

    async def exchange(self, report):
        CountingStore.asked += 1
        return await super().exchange(report)


async def work(url, number, policy, tasks=10):
    """Ask as long as there is input to wait for."""
    async with Session(
        "sandbox", "sandbox-token", base_url=url, quota=QuotaPolicy(**policy), concurrency=tasks
    ) as session:

        async def ask():
            while True:
                await session.shopper_profiles.page(number)

        say("ready\n")
        await asyncio.to_thread(sys.stdin.readline)
        asking = [asyncio.create_task(ask()) for _ in range(tasks)]
        await asyncio.to_thread(sys.stdin.read)
        for task in asking:
            task.cancel()
        ended = await asyncio.gather(*asking, return_exceptions=True)
        failed = [repr(e) for e in ended if not isinstance(e, asyncio.CancelledError)]
        sent = session.stats.requests
    say(json.dumps({"sent": sent, "asked": CountingStore.asked, "failed": failed}))


def say(text):
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    import bcshopper._redis

    bcshopper._redis.QuotaStore = CountingStore
    asyncio.run(work(**json.loads(sys.argv[1])))
