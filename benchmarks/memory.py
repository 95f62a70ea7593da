"""Memory, in processes of their own: `python -m benchmarks.memory stream|ours|raw URL`."""

from __future__ import annotations

import asyncio
import gc
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from bcshopper import Session
from benchmarks.figures import Figure, Skipped
from benchmarks.pages import LIMIT
from benchmarks.processes import server
from benchmarks.rivals import raw

_STREAMED = 1_000_000
_SETTLED = 10_000
_KEPT = 100_000
MEBIBYTE = 1024 * 1024
_STATM = Path("/proc/self/statm")
HAS_STATM = _STATM.exists()


async def measure_memory() -> AsyncIterator[Figure | Skipped]:
    """What listing leaves in memory, and what it needs on the way."""
    name = f"memory while streaming {_STREAMED:,} profiles"
    if HAS_STATM:
        with server("pages", pages=_STREAMED // LIMIT) as url:
            before, most = _run("stream", url)
        yield Figure(
            name=name,
            rival=f"the same process after the first {_SETTLED:,}",
            ours=most / MEBIBYTE,
            theirs=before / MEBIBYTE,
            unit="MiB resident",
            comparison="difference",
            limit=16,
        )
    else:
        yield Skipped(name, "this system has no /proc/self/statm")
    with server("pages", pages=_KEPT // LIMIT) as url:
        (ours,), (theirs,) = _run("ours", url), _run("raw", url)
    yield Figure(
        name=f"bytes kept for each of {_KEPT:,} profiles in all()",
        rival="bare msgspec into the same classes, in one list",
        ours=ours / _KEPT,
        theirs=theirs / _KEPT,
        unit="bytes",
        limit=1.1,
    )


def _run(what: str, url: str) -> list[int]:
    output = subprocess.check_output(
        [sys.executable, "-m", "benchmarks.memory", what, url], text=True
    )
    return [int(word) for word in output.split()]


async def _stream(url: str) -> list[int]:
    before = most = seen = 0
    async with Session("x", "t", base_url=url) as session:
        async for _ in session.shopper_profiles.list():
            seen += 1
            if seen == _SETTLED:
                before = most = resident()
            elif seen > _SETTLED and seen % LIMIT == 0:
                most = max(most, resident())
    if seen != _STREAMED:
        raise AssertionError(f"streamed {seen} of {_STREAMED} profiles")
    return [before, most]


def resident() -> int:
    return int(_STATM.read_text().split()[1]) * resource.getpagesize()


async def _keep_ours(url: str) -> list[int]:
    async with Session("x", "t", base_url=url) as session:
        return await _kept(session.shopper_profiles.list().all)


async def _keep_raw(url: str) -> list[int]:
    async with raw(url) as rival:
        return await _kept(rival.collect)


async def _kept(collect: Callable[[], Awaitable[list[Any]]]) -> list[int]:
    await collect()  # whatever is made once and cached is not the list's
    gc.collect()
    tracemalloc.start()
    profiles = await collect()
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    if len(profiles) != _KEPT:
        raise AssertionError(f"kept {len(profiles)} of {_KEPT} profiles")
    return [kept]


if __name__ == "__main__":
    _WAYS = {"stream": _stream, "ours": _keep_ours, "raw": _keep_raw}
    print(*asyncio.run(_WAYS[sys.argv[1]](sys.argv[2])))
