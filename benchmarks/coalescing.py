"""Ten thousand callers with one customer each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from bcshopper import Session
from bcshopper._transport import MAX_PER_WRITE
from benchmarks.clock import seconds_of
from benchmarks.figures import Figure
from benchmarks.processes import server

_COUNT = 10_000
_LATENCY = 0.05
_MAX_DELAY = 0.05
_ROUNDS = 8
_LONE_ROUNDS = 20


async def measure_coalescing() -> AsyncIterator[Figure]:
    """What single creates cost beside `create` with the list in hand, at 50 ms a request."""
    customers = range(1, _COUNT + 1)
    with server("sandbox", customers=_COUNT, delay=_LATENCY) as url:
        async with (
            Session("sandbox", "sandbox-token", base_url=url) as session,
            session.shopper_profiles.coalesce(max_delay=_MAX_DELAY) as one,
        ):
            profiles = session.shopper_profiles
            created: Sequence[UUID | None] = ()
            most_requests = 0

            async def from_a_list() -> None:
                nonlocal created
                created = (await profiles.create(customers)).profile_ids

            async def from_callers() -> None:
                nonlocal created, most_requests
                before = session.stats.requests
                outcomes = await asyncio.gather(*(one.create(i) for i in customers))
                most_requests = max(most_requests, session.stats.requests - before)
                created = [outcome.profile_id for outcome in outcomes]

            async def lone_in_a_list() -> None:
                nonlocal created
                created = (await profiles.create([1])).profile_ids

            async def lone_caller() -> None:
                nonlocal created
                created = [(await one.create(1)).profile_id]

            # Not with `fastest`: what was created has to be deleted before the next turn.
            best: dict[str, float] = {}
            for contenders, rounds in (
                ({"list": from_a_list, "callers": from_callers}, _ROUNDS),
                ({"lone list": lone_in_a_list, "lone caller": lone_caller}, _LONE_ROUNDS),
            ):
                for turn in range(rounds):
                    for name in list(contenders)[:: -1 if turn % 2 else 1]:
                        seconds = await seconds_of(contenders[name])
                        best[name] = min(best.get(name, seconds), seconds)
                        await profiles.delete(i for i in created if i is not None)
    yield Figure(
        name=f"requests of {_COUNT:,} single creates at once, coalesced",
        rival=f"{MAX_PER_WRITE} in each",
        ours=most_requests,
        theirs=_COUNT / MAX_PER_WRITE,
        unit="requests",
        limit=1.10,
    )
    yield Figure(
        name=f"{_COUNT:,} single creates at once, coalesced, at 50 ms a request",
        rival="create(ids) with the list in hand",
        ours=1000 * best["callers"],
        theirs=1000 * best["list"],
        unit="ms",
        limit=1.15,
    )
    yield Figure(
        name=f"one lone create, coalesced within {1000 * _MAX_DELAY:g} ms",
        rival="create([id])",
        ours=1000 * best["lone caller"],
        theirs=1000 * best["lone list"],
        unit="ms",
        comparison="difference",
        limit=1000 * _MAX_DELAY,
    )
