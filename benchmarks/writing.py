"""Creating and deleting by the ten thousand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from bcshopper import Session
from bcshopper._transport import MAX_PER_WRITE
from benchmarks.clock import seconds_of
from benchmarks.figures import Figure
from benchmarks.processes import server
from benchmarks.rivals import raw

_COUNT = 10_000
_DELAY = 0.05
_ROUNDS = 4


async def measure_writing() -> AsyncIterator[Figure]:
    """How long creating and then deleting takes, where each request takes 50 ms."""
    customers = range(1, _COUNT + 1)
    with server("sandbox", customers=_COUNT, delay=_DELAY) as url:
        async with (
            Session("sandbox", "sandbox-token", base_url=url) as session,
            raw(url, store="sandbox", token="sandbox-token") as rival,
        ):
            capacity = session.shopper_profiles._requests.delete_capacity
            created: Sequence[UUID] = ()

            async def create() -> None:
                nonlocal created
                created = (await session.shopper_profiles.create(customers)).profile_ids

            async def delete() -> None:
                await session.shopper_profiles.delete(created)

            async def create_raw() -> None:
                nonlocal created
                created = await rival.create(customers, size=MAX_PER_WRITE)

            async def delete_raw() -> None:
                await rival.delete(created, size=capacity)

            # Not with `fastest`: whoever deletes needs the ids that were just created.
            both = [("ours", create, delete), ("raw", create_raw, delete_raw)]
            best: dict[str, float] = {}
            for turn in range(_ROUNDS):
                for name, *steps in both[:: -1 if turn % 2 else 1]:
                    for verb, step in zip(("create", "delete"), steps, strict=True):
                        seconds = await seconds_of(step)
                        key = f"{verb} {name}"
                        best[key] = min(best.get(key, seconds), seconds)
    for verb in ("create", "delete"):
        yield Figure(
            name=f"{verb} {_COUNT:,} at 50 ms a request",
            rival="a raw gather of the same chunks, 10 at once",
            ours=1000 * best[f"{verb} ours"],
            theirs=1000 * best[f"{verb} raw"],
            unit="ms",
            limit=1.10,
        )
