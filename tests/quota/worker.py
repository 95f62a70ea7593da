"""Processes that use a store's quota as fast as they may: `python -m tests.quota.worker {...}`.

One prints a line when it is ready and begins when it is given one. It asks for the page that is its
number, so that the sandbox's record tells whose a request was. It ends with its input, and prints
how many requests it sent and how often it asked Redis.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from typing import Any, Self

from bcshopper import QuotaPolicy, Session
from bcshopper._quota import redis as store_module
from bcshopper._quota.leased import Grant, Report
from bcshopper.sandbox import Sandbox


class Workers:
    """So many of these processes on one sandbox, which begin together.

    Args:
        sandbox: whose quota they use.
        number: how many there are.
        policy: the settings of their `QuotaPolicy`.
    """

    def __init__(self, sandbox: Sandbox, number: int, **policy: Any) -> None:
        self.processes: list[asyncio.subprocess.Process] = []
        self._settings = [
            {"url": sandbox.url, "number": member, "policy": policy}
            for member in range(1, number + 1)
        ]

    async def __aenter__(self) -> Self:
        for settings in self._settings:
            self.processes.append(
                await asyncio.create_subprocess_exec(
                    sys.executable, "-W", "error", "-m", "tests.quota.worker", json.dumps(settings),
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )
            )  # fmt: skip
        for process in self.processes:
            assert process.stdout is not None
            await process.stdout.readline()
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        return self

    async def finish(self) -> list[dict[str, Any]]:
        """End those that live, and return what they counted."""
        counted = []
        for process in self.processes:
            out, err = await process.communicate(b"")
            if process.returncode != -signal.SIGKILL:
                assert err == b""
                counted.append(json.loads(out))
        return counted

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


class CountingStore(store_module.QuotaStore):
    """Counts how often Redis is asked."""

    asked = 0

    async def exchange(self, report: Report) -> Grant:
        """Hand in a report, and get the grant."""
        CountingStore.asked += 1
        return await super().exchange(report)


async def _work(url: str, number: int, policy: dict[str, Any], tasks: int = 10) -> None:
    async with Session(
        "sandbox", "sandbox-token", base_url=url, quota=QuotaPolicy(**policy)
    ) as session:

        async def ask() -> None:
            while True:
                await session.shopper_profiles.page(number)

        _say("ready\n")
        await asyncio.to_thread(sys.stdin.readline)
        asking = [asyncio.create_task(ask()) for _ in range(tasks)]
        await asyncio.to_thread(sys.stdin.read)
        for task in asking:
            task.cancel()
        ended = await asyncio.gather(*asking, return_exceptions=True)
        failed = [repr(e) for e in ended if not isinstance(e, asyncio.CancelledError)]
        sent = session.stats.requests
    _say(json.dumps({"sent": sent, "asked": CountingStore.asked, "failed": failed}))


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    store_module.QuotaStore = CountingStore  # type: ignore[misc]
    asyncio.run(_work(**json.loads(sys.argv[1])))
