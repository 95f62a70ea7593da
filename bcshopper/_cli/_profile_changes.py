"""What `create` and `delete` do to profiles, and what becomes of those that a killed run sent."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from datetime import datetime
from typing import Any
from uuid import UUID

from bcshopper._batch import MAX_PER_WRITE
from bcshopper._cli._input import Ids
from bcshopper._cli._job import Change, chunks, make_sure
from bcshopper._cli._journal import Item, Job, Journal
from bcshopper._cli._progress import working
from bcshopper._cli._recorder import Recorder
from bcshopper._cli._runner import run
from bcshopper._cli._settings import Settings
from bcshopper._cli._source import CUSTOMER_IDS, PROFILE_IDS
from bcshopper._cli._terminal import Terminal
from bcshopper._customers import CustomerRequests
from bcshopper._listing import MAX_LIMIT
from bcshopper._outcomes import Outcome, Status
from bcshopper._profiles import ProfileRequests, ShopperProfiles
from bcshopper._session import Session
from bcshopper._transport import Request


class Create(Change):
    """Gives customers a profile."""

    hears_chunks = True

    def __init__(self, what: str = "") -> None:
        super().__init__("create", CUSTOMER_IDS, what=what)

    async def run(self, session: Session, recorder: Recorder) -> AsyncGenerator[Any]:
        """Find out first what an earlier run did."""
        await _settle_doubts(session.shopper_profiles, recorder)
        untaken = _untaken(recorder.journal)
        async with aclosing(session.shopper_profiles.create_stream(untaken)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    def plan(self, settings: Settings, journal: Journal) -> Iterator[Request]:
        """Where an earlier run left doubts, the look-ups; what follows depends on them."""
        journal.rewind()
        customers = CustomerRequests(settings.root)
        while doubtful := journal.in_doubt():
            for group in customers.split(doubtful):
                yield customers.find(group, 1)
        for some in chunks(journal.open_ids(), MAX_PER_WRITE):
            yield ProfileRequests(settings.root).create(some)


class CreateForEveryone(Create):
    """Gives a profile to all who have none, of the whole store or of those modified lately."""

    def __init__(self, modified_since: datetime | None, terminal: Terminal) -> None:
        since = f" since {modified_since}" if modified_since else ""
        super().__init__(f"--all-customers{since}")
        self._modified_since = modified_since
        self._terminal = terminal

    def begin(self, journal: Journal, job: Job, ids: Ids, settings: Settings, *, keep: bool) -> int:
        """A journal goes on with those who were found first."""
        del ids, keep
        journal.begin(job, None if journal.job else run(self._find(settings)))
        return 0

    async def _find(self, settings: Settings) -> array[int]:
        found = array("q")
        async with working("customers", None, settings, self._terminal) as work:
            every = work.session.customers.list(modified_since=self._modified_since)
            async for page in every.pages():
                work.pace.total = page.pagination.total
                found.extend(c.id for c in page if c.shopper_profile_id is None)
                work.pace.advance(len(page))
        return found


class Delete(Change):
    """Deletes profiles."""

    hears_chunks = True

    def __init__(self, *, asks: bool) -> None:
        super().__init__("delete", PROFILE_IDS, asks=asks)

    def prepare(self, settings: Settings, journal: Journal, count: int) -> None:
        """Say what would be gone."""
        del journal
        if self.asks:
            requests = -(-count // ProfileRequests(settings.root).delete_capacity)
            make_sure(f"Delete {count:,} shopper profiles in {requests:,} requests", settings)

    def run(self, session: Session, recorder: Recorder) -> AsyncGenerator[Any]:
        """What an earlier run sent is sent again."""
        return session.shopper_profiles.delete_stream(_untaken(recorder.journal))

    def plan(self, settings: Settings, journal: Journal) -> Iterator[Request]:
        """As many ids as a URL takes."""
        journal.rewind()
        requests = ProfileRequests(settings.root)
        for some in chunks(journal.open_ids(), requests.delete_capacity):
            yield requests.delete(some)


async def _untaken(journal: Journal) -> AsyncIterator[Item]:
    """Every id that has no outcome; the journal knows before it may be sent."""
    journal.rewind()
    while items := await asyncio.to_thread(journal.take):
        for item in items:
            yield item


async def _settle_doubts(profiles: ShopperProfiles, recorder: Recorder) -> None:
    """Find out what became of customers that an earlier run may have sent, and record it.

    A customer without a profile is open as before. One with a profile was given it by the
    earlier run, if it is from that run's time, and had it before otherwise.
    """
    journal = recorder.journal
    while customers := await asyncio.to_thread(journal.in_doubt):
        found = {c: p for c, p in (await profiles.lookup(customers)).items() if p is not None}
        if not found:
            continue
        new = await _find_new(profiles, set(found.values()), journal)
        await recorder.keep([
            Outcome(customer, Status.CREATED if profile in new else Status.EXISTS, profile)
            for customer, profile in found.items()
        ])  # fmt: skip


async def _find_new(profiles: ShopperProfiles, wanted: set[UUID], journal: Journal) -> set[UUID]:
    """Those of these profiles that were created since the ids in doubt were taken.

    Only the list has a profile's time. Its newest are at its end, or else at its beginning:
    the order is documented nowhere.
    """
    since = await asyncio.to_thread(journal.doubtful_since)
    since = since.replace(microsecond=0)  # the API's times are whole seconds
    new: set[UUID] = set()
    last = (await profiles.page(1, limit=MAX_LIMIT)).pagination.total_pages
    for numbers in (range(last, 0, -1), range(1, last + 1)):
        for number in numbers:
            page = await profiles.page(number, limit=MAX_LIMIT)
            recent = {p.id for p in page if p.created_at is not None and p.created_at >= since}
            new |= recent & wanted
            if new == wanted:
                return new
            if len(recent) < len(page):
                break
        else:
            return new
    return new
