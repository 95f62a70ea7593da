"""Many stores in one process: what an idle session costs. Run alone: `python -m benchmarks.stores`.

10,000 sessions, each of a store of its own, over one shared connector, each after one request.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from bcshopper import Session
from benchmarks.figures import Figure, Skipped
from benchmarks.memory import HAS_STATM, resident
from benchmarks.pages import LIMIT
from benchmarks.processes import server

_STORES = 10_000
_CONNECTIONS = 100
_AT_ONCE = 50
_BYTES = 8000  # at most, for each idle session
_FDS = Path("/proc/self/fd")


async def measure_stores() -> AsyncIterator[Figure | Skipped]:
    """Memory, file descriptors and time to close, of idle sessions."""
    if not HAS_STATM:
        yield Skipped(f"{_STORES:,} idle sessions", "this system has no /proc/self/statm")
        return
    with server("pages", pages=1) as url:
        memory, fds, seconds = _run(url)
    label = f"{_STORES:,} sessions over one connector"
    yield Figure(
        name=f"memory per idle session, {label}",
        rival=f"{_BYTES} bytes",
        ours=memory / _STORES,
        theirs=_BYTES,
        unit="bytes resident",
        limit=1.0,
    )
    yield Figure(
        name=f"file descriptors, {label}",
        rival=f"the connector's limit of {_CONNECTIONS}",
        ours=fds,
        theirs=_CONNECTIONS,
        unit="descriptors",
        limit=1.0,
    )
    yield Figure(
        name=f"time to close {label}",
        rival="one second",
        ours=seconds,
        theirs=1.0,
        unit="s",
        limit=1.0,
    )


def _run(url: str) -> tuple[int, int, float]:
    output = subprocess.check_output([sys.executable, "-m", "benchmarks.stores", url])
    memory, fds, seconds = json.loads(output)
    return memory, fds, seconds


async def _open_and_close(url: str) -> tuple[int, int, float]:
    """Bytes that the sessions keep, descriptors that are open meanwhile, seconds to close all."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS), cookie_jar=aiohttp.DummyCookieJar()
    ) as http:
        await _use(Session("warm", "token", base_url=url, http=http))
        gc.collect()
        before, fds_before = resident(), _descriptors()
        async with AsyncExitStack() as stack:
            sessions = [
                Session(f"store{n}", f"token{n}", base_url=url, http=http) for n in range(_STORES)
            ]
            for start in range(0, _STORES, _AT_ONCE):
                await asyncio.gather(*map(_use, sessions[start : start + _AT_ONCE]))
            gc.collect()
            kept, fds = resident() - before, _descriptors() - fds_before
            for session in sessions:
                stack.push_async_callback(session.aclose)
            began = time.perf_counter()
        return kept, fds, time.perf_counter() - began


async def _use(session: Session) -> None:
    if len(await session.shopper_profiles.page(limit=LIMIT)) != LIMIT:
        raise AssertionError("a page is not full")


def _descriptors() -> int:
    return len(list(_FDS.iterdir()))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_open_and_close(sys.argv[1]))))
