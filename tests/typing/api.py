"""Typical user code: never run, but accepted by the type checkers as it stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import assert_type
from uuid import UUID

import aiohttp

from bcshopper import (
    APIError,
    BatchError,
    BatchReport,
    Coalescer,
    Outcome,
    Page,
    Paginator,
    QuotaPolicy,
    QuotaSnapshot,
    RateLimitError,
    RetryPolicy,
    Segment,
    SegmentMembers,
    Segments,
    Session,
    SessionStats,
    ShopperProfile,
    Status,
    SyncPlan,
    SyncReport,
    TooManyRemovalsError,
)
from bcshopper.events import ChunkDone, Event, RequestFailed, RetryScheduled
from bcshopper.otel import Telemetry
from bcshopper.sandbox import Fault, Rules, Sandbox


async def customers() -> AsyncIterator[int]:
    yield 1


def watch(event: Event) -> None:
    if isinstance(event, RetryScheduled):
        assert_type(event.delay, float)
    elif isinstance(event, ChunkDone):
        assert_type(event.verb, str)
    elif isinstance(event, RequestFailed):
        assert_type(event.status, int | None)
        assert_type(event.route, str)


async def main() -> None:
    async with (
        aiohttp.ClientSession() as http,
        Session(
            "hash",
            "token",
            http=http,
            concurrency=5,
            timeout=10,
            retry=RetryPolicy(attempts=3),
            quota=QuotaPolicy(max_wait=5, shared="redis://localhost:6379/0"),
            on_event=watch,
        ) as session,
    ):
        hasty = session.with_options(retry=RetryPolicy(attempts=1, budget=10), timeout=2)
        assert_type(hasty, Session)
        Session("hash", "token", quota=QuotaPolicy(max_concurrent=20), on_event=Telemetry())
        profiles = session.shopper_profiles
        assert_type(profiles.list(), Paginator[ShopperProfile])
        async for profile in profiles.list(limit=100):
            assert_type(profile, ShopperProfile)
            assert_type(profile.id, UUID)
            assert_type(profile.created_at, datetime | None)
        async for page in profiles.list().pages():
            assert_type(page, Page[ShopperProfile])
            assert_type(page.next_number, int | None)
        assert_type(await profiles.list().all(), list[ShopperProfile])
        assert_type(await profiles.page(2), Page[ShopperProfile])

        created = await profiles.create([1, 2, 3])
        assert_type(created, BatchReport[int])
        as_sequence: Sequence[Outcome[int]] = created
        assert_type(created[0].item, int)
        assert_type(created[:2], BatchReport[int])
        assert_type(len(as_sequence), int)
        await profiles.create(customers(), check=False)
        deleted = await profiles.delete(created.profile_ids)
        assert_type(deleted[0].item, UUID)
        await profiles.delete(["00000000-0000-4000-8000-000000000000"])
        async for outcome in profiles.create_stream(customers()):
            assert_type(outcome.status, Status)
            assert_type(outcome.profile_id, UUID | None)
        assert_type(await profiles.lookup([1]), dict[int, UUID | None])
        async with profiles.coalesce(max_delay=0.1, max_pending=100) as one:
            assert_type(one, Coalescer)
            assert_type(await one.create(1), Outcome[int])
            assert_type(await one.delete("00000000-0000-4000-8000-000000000000"), Outcome[UUID])
            assert_type(await one.lookup(1), UUID | None)
        assert_type(session.stats, SessionStats)
        assert_type(session.quota, QuotaSnapshot | None)

        try:
            await profiles.create([1])
        except BatchError as error:
            assert_type(error.report.failed[0].status, Status)
        except RateLimitError as error:
            assert_type(error.retry_after, float | None)
        except APIError as error:
            assert_type(error.errors, dict[str, str])


async def segments_and_members(session: Session, ids: Sequence[UUID]) -> None:
    segments = session.segments
    assert_type(segments, Segments)
    assert_type(segments.list(consistent=True), Paginator[Segment])
    assert_type(await segments.page(), Page[Segment])
    vip = await segments.ensure("VIP", description="text")
    assert_type(vip, Segment)
    assert_type(vip.description, str | None)
    assert_type(await segments.find("VIP"), Segment | None)
    assert_type(await segments.get(str(vip.id)), Segment)
    assert_type(await segments.update(vip.id, name="new"), Segment)
    assert_type(await segments.delete([vip.id]), BatchReport[UUID])
    assert_type(session.shopper_profiles.segments(ids[0]), Paginator[Segment])
    members = segments.members(vip.id)
    assert_type(members, SegmentMembers)
    assert_type(members.list(), Paginator[ShopperProfile])
    assert_type(await members.add(ids), BatchReport[UUID])
    assert_type(await members.remove(ids, check=False), BatchReport[UUID])
    assert_type(await members.add_customers(customers()), BatchReport[int])
    assert_type(await members.remove_customers([1]), BatchReport[int])
    async for added in members.add_stream(ids):
        assert_type(added, Outcome[UUID])
    assert_type(await members.plan([1]), SyncPlan)
    report = await members.sync(customers(), max_removed=0.1)
    assert_type(report, SyncReport)
    assert_type(report.removed, tuple[Outcome[int], ...])
    async for synced in members.sync_stream([1]):
        assert_type(synced, Outcome[int])
    await members.clear(confirm=vip.id)
    try:
        await members.sync([])
    except TooManyRemovalsError as error:
        assert_type(error.plan, SyncPlan)


async def tests() -> None:
    async with Sandbox(customers=10, rules=Rules(quota=5)) as sandbox:
        sandbox.faults.queue(Fault.error(503))
        async with sandbox.session(concurrency=2) as session:
            assert_type(session, Session)
        sandbox.session(concurency=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    Session.from_env(time_out=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


asyncio.run(main())
