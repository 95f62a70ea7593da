"""What it costs, and what it saves, that processes share the quota through Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import repeat

import redis

from bcshopper import QuotaPolicy, Session
from bcshopper.sandbox import Rules, Sandbox
from benchmarks.clock import fastest
from benchmarks.figures import Figure, Skipped
from benchmarks.processes import server
from tests.quota.worker import Workers

_REDIS = "redis://127.0.0.1:6379/0"
_REQUESTS = 2000
_TASKS = 10
_ROUNDS = 9
_PROCESSES = 4
_QUOTA, _WINDOW, _WINDOWS = 150, 2.0, 4
_TOO_MANY = 429


async def measure_sharing() -> AsyncIterator[Figure | Skipped]:
    """Time and round trips where quota is plenty; round trips and 429s where it is not."""
    with redis.Redis.from_url(_REDIS, socket_connect_timeout=1) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            yield Skipped("the quota shared through Redis", f"no Redis at {_REDIS}: {error}")
            return
    with server("sandbox", quota=1_000_000) as url:
        async for figure in _where_it_is_plenty(url):
            yield figure
    async for figure in _where_it_is_short():
        yield figure


async def _where_it_is_plenty(url: str) -> AsyncIterator[Figure]:
    shared = QuotaPolicy(shared=_REDIS)
    async with (
        Session("sandbox", "sandbox-token", base_url=url) as alone,
        Session("sandbox", "sandbox-token", base_url=url, quota=shared) as sharing,
    ):
        await sharing.shopper_profiles.page()
        asked = _count_exchanges(sharing)
        seconds = await fastest(
            {"alone": lambda: _spend(alone), "sharing": lambda: _spend(sharing)}, rounds=_ROUNDS
        )
        sent = sharing.stats.requests
    yield Figure(
        name="time per request with the quota shared through Redis, quota plenty",
        rival="the same with a count of its own",
        ours=1e6 * seconds["sharing"] / _REQUESTS,
        theirs=1e6 * seconds["alone"] / _REQUESTS,
        unit="µs",
    )
    yield Figure(
        name="round trips to Redis per request, quota plenty",
        rival="one for each",
        ours=len(asked) / sent,
        theirs=1.0,
        unit="round trips",
        limit=0.1,
    )


async def _where_it_is_short() -> AsyncIterator[Figure]:
    label = f"{_PROCESSES} processes at {_QUOTA} per {_WINDOW:g} s"
    asked, refused = await _work(shared=_REDIS)
    _, refused_alone = await _work()
    yield Figure(
        name=f"round trips to Redis per request, {label}",
        rival="one for each",
        ours=asked,
        theirs=1.0,
        unit="round trips",
        limit=1.0,
    )
    yield Figure(
        name=f"answers of 429, {label}, quota shared",
        rival="the same with a count of their own",
        ours=refused,
        theirs=refused_alone,
        unit="answers",
        limit=0.0,
    )


async def _work(**policy: str) -> tuple[float, int]:
    """Round trips per request, and refusals, of processes that ask as fast as they may."""
    async with Sandbox(rules=Rules(quota=_QUOTA, window=_WINDOW)) as sandbox:
        async with Workers(sandbox, _PROCESSES, **policy) as workers:
            await asyncio.sleep(_WINDOWS * _WINDOW)
            counted = await workers.finish()
        asked, sent = (sum(c[name] for c in counted) for name in ("asked", "sent"))
        return asked / sent, sandbox.record.statuses[_TOO_MANY]


def _count_exchanges(session: Session) -> list[None]:
    """A list that grows by one with each round trip to Redis."""
    gate = session._transport.life.gate
    store = gate._store  # type: ignore[union-attr]
    exchange, asked = store.exchange, []

    async def counted(report: object) -> object:
        asked.append(None)
        return await exchange(report)

    store.exchange = counted
    return asked


async def _spend(session: Session) -> None:
    remaining = repeat(None, _REQUESTS)

    async def work() -> None:
        for _ in remaining:
            await session.shopper_profiles.page()

    await asyncio.gather(*(work() for _ in range(_TASKS)))
