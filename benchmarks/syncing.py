"""Keeping a segment: CPU and memory for a million members, and time beside a raw loop.

In processes of their own: `python -m benchmarks.syncing list|sync|memory URL`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from uuid import UUID

from bcshopper import Session
from bcshopper._transport import MAX_PER_WRITE
from benchmarks.clock import seconds_of
from benchmarks.figures import Figure, Skipped
from benchmarks.memory import HAS_STATM, MEBIBYTE, resident
from benchmarks.pages import LIMIT
from benchmarks.processes import server
from benchmarks.rivals import raw

_MEMBERS = 1_000_000
_SEGMENT = UUID(int=1, version=4)
_TURNS = 5

_COUNT = 20_000
_SHIFT = 10_000
_DELAY = 0.05
_ROUNDS = 4


async def measure_syncing() -> AsyncIterator[Figure | Skipped]:
    """What a sync costs, where nothing changes and where much does."""
    with server("pages", pages=_MEMBERS // LIMIT) as url:
        turns = [(_run("list", url), _run("sync", url)) for _ in range(_TURNS)]
        listing, syncing = map(min, zip(*turns, strict=True))
        yield Figure(
            name=f"CPU of sync_stream() over {_MEMBERS:,} members, unchanged",
            rival="list(consistent=True) over them",
            ours=syncing,
            theirs=listing,
            unit="s",
            limit=1.25,
        )
        name = f"memory of that sync_stream(), above {_MEMBERS:,} ids of the caller's"
        if HAS_STATM:
            yield Figure(
                name=name,
                rival="the same process before it",
                ours=_run("memory", url) / MEBIBYTE,
                theirs=0.0,
                unit="MiB resident",
                comparison="difference",
                limit=120,
            )
        else:
            yield Skipped(name, "this system has no /proc/self/statm")
    async for figure in _beside_raw():
        yield figure


async def _beside_raw() -> AsyncIterator[Figure]:
    first = range(1, _COUNT + 1)
    second = range(_SHIFT + 1, _COUNT + _SHIFT + 1)
    profiles = _COUNT + _SHIFT
    with server("sandbox", customers=profiles, profiles=profiles, delay=_DELAY) as url:
        async with (
            Session("sandbox", "sandbox-token", base_url=url) as session,
            raw(url, store="sandbox", token="sandbox-token") as rival,
        ):
            segment = await session.segments.ensure("VIP")
            members = session.segments.members(segment.id)
            await members.sync(first)
            profile_of = {p.customer_id: p.id async for p in session.shopper_profiles.list()}
            below = f"segments/{segment.id}/"
            removable = members._verbs.requests.remove_capacity
            now, wanted = first, second
            best: dict[str, float] = {}

            async def ours() -> None:
                await members.sync(wanted, max_removed=1)

            async def writes() -> None:
                there, to_be = set(now), set(wanted)
                new = [profile_of[i] for i in wanted if i not in there]
                gone = [profile_of[i] for i in now if i not in to_be]
                await rival.add(segment.id, new, size=MAX_PER_WRITE)
                await rival.delete(gone, size=removable, below=below)

            async def all_of_it() -> None:
                await rival.all_known(_COUNT // LIMIT, below)
                missing = sorted(set(wanted) - set(now))
                await rival.look_up(session.segments._lookup.requests.split(missing))
                await writes()

            for turn in range(_ROUNDS):
                steps = (("sync", ours), ("loop", all_of_it), ("writes", writes))
                for name, step in steps[:: -1 if turn % 2 else 1]:
                    seconds = await seconds_of(step)
                    best[name] = min(best.get(name, seconds), seconds)
                    now, wanted = wanted, now
    name = f"sync {_COUNT:,} members, {_SHIFT:,} come and {_SHIFT:,} go, at 50 ms a request"
    for rival_name, key, limit in (
        ("a raw gather of the same pages, look-ups and writes, 10 at once", "loop", 1.10),
        ("a raw gather of the writes alone, told what to write", "writes", None),
    ):
        yield Figure(
            name=name,
            rival=rival_name,
            ours=1000 * best["sync"],
            theirs=1000 * best[key],
            unit="ms",
            limit=limit,
        )


def _run(what: str, url: str) -> float:
    output = subprocess.check_output(
        [sys.executable, "-m", "benchmarks.syncing", what, url], text=True
    )
    return float(output)


async def _list(url: str) -> float:
    async with Session("x", "t", base_url=url) as session:
        began, seen = time.process_time(), 0
        async for _ in session.segments.members(_SEGMENT).list(consistent=True):
            seen += 1
        _expect(seen)
        return time.process_time() - began


async def _sync(url: str) -> float:
    customers = list(range(1, _MEMBERS + 1))
    async with Session("x", "t", base_url=url) as session:
        began, seen = time.process_time(), 0
        async for _ in session.segments.members(_SEGMENT).sync_stream(customers):
            seen += 1
        _expect(seen)
        return time.process_time() - began


async def _remember(url: str) -> float:
    customers = list(range(1, _MEMBERS + 1))
    async with Session("x", "t", base_url=url) as session:
        await session.segments.members(_SEGMENT).page()
        before = most = resident()
        asleep = asyncio.Event()

        async def watch() -> None:
            nonlocal most
            while not asleep.is_set():
                most = max(most, resident())
                await asyncio.sleep(0.001)

        watching = asyncio.create_task(watch())
        seen = 0
        async for _ in session.segments.members(_SEGMENT).sync_stream(customers):
            seen += 1
        asleep.set()
        await watching
        _expect(seen)
        return max(most, resident()) - before


def _expect(seen: int) -> None:
    if seen != _MEMBERS:
        raise AssertionError(f"{seen} of {_MEMBERS} members came")


if __name__ == "__main__":
    _WAYS = {"list": _list, "sync": _sync, "memory": _remember}
    print(asyncio.run(_WAYS[sys.argv[1]](sys.argv[2])))
