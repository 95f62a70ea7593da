"""A create or delete of any number of ids: from the journal, over the wire, into the journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeAlias
from uuid import UUID

import attrs

from bcshopper._cli._journal import Item, Journal
from bcshopper._listing import MAX_LIMIT
from bcshopper._outcomes import Outcome, Status
from bcshopper._profiles import ShopperProfiles
from bcshopper.errors import APIError

Show: TypeAlias = Callable[[Sequence[Outcome[Any]]], None]

_MOST_UNRECORDED = 5000
_COMMIT_EVERY = 0.1

# Other refusals are of the account or of the whole API: the ids may fare better another time.
_ABOUT_THE_ID = frozenset({400, 409, 413, 414, 422})


class Recorder:
    """Puts outcomes into the journal as they come, and shows them once they are there.

    A commit costs as much for one as for hundreds, so there are no more than ten a second.

    Args:
        journal: where to.
        show: told of outcomes that are on disk.
    """

    def __init__(self, journal: Journal, show: Show) -> None:
        self._journal = journal
        self._show = show
        self._waiting: list[Outcome[Item]] = []
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._ended = asyncio.Event()
        self._unshown: OSError | None = None

    def add(self, outcomes: Sequence[Outcome[Item]]) -> None:
        """Take outcomes; returns at once."""
        self._waiting.extend(map(_for_the_journal, outcomes))
        self._news.set()
        if len(self._waiting) > _MOST_UNRECORDED:
            self._room.clear()

    async def run(self, work: AsyncGenerator[Any]) -> None:
        """Drive work whose outcomes are added meanwhile, until all of them are recorded."""
        writer = asyncio.create_task(self._write())
        writer.add_done_callback(lambda _: self._room.set())
        try:
            async with aclosing(work):
                async for _ in work:
                    await self._room.wait()
                    if writer.done() or self._unshown is not None:
                        break
        finally:
            self._ended.set()
            self._news.set()
            await writer

    async def _write(self) -> None:
        while self._waiting or not self._ended.is_set():
            await self._news.wait()
            self._news.clear()
            outcomes, self._waiting = self._waiting, []
            self._room.set()
            await asyncio.to_thread(self._journal.record, outcomes)
            try:
                self._show(outcomes)
            except OSError as error:  # what is under way is recorded all the same
                self._unshown = self._unshown or error
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _COMMIT_EVERY)
        if self._unshown is not None:
            raise self._unshown


def _for_the_journal(outcome: Outcome[Item]) -> Outcome[Item]:
    """What was refused for no fault of its own is still to be sent."""
    error = outcome.error
    if (
        outcome.status is Status.REJECTED
        and isinstance(error, APIError)
        and error.status not in _ABOUT_THE_ID
    ):
        return attrs.evolve(outcome, status=Status.NOT_SENT)
    return outcome


async def open_items(journal: Journal) -> AsyncIterator[Item]:
    """Every id that has no outcome; the journal knows before it may be sent."""
    journal.rewind()
    while items := await asyncio.to_thread(journal.take):
        for item in items:
            yield item


async def settle_doubts(profiles: ShopperProfiles, journal: Journal, show: Show) -> None:
    """Find out what became of customers that an earlier run may have sent, and record it.

    A customer without a profile is open as before. One with a profile was given it by the
    earlier run, if it is from that run's time, and had it before otherwise.
    """
    while customers := await asyncio.to_thread(journal.in_doubt):
        found = {c: p for c, p in (await profiles.lookup(customers)).items() if p is not None}
        if not found:
            continue
        new = await _find_new(profiles, set(found.values()), journal)
        outcomes = [
            Outcome(customer, Status.CREATED if profile in new else Status.EXISTS, profile)
            for customer, profile in found.items()
        ]
        await asyncio.to_thread(journal.record, outcomes)
        show(outcomes)


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
