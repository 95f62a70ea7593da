"""A create or delete of any number of ids: from the journal, over the wire, into the journal."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from itertools import islice
from typing import Any, Literal, TypeAlias, TypeVar
from uuid import UUID

import attrs

from bcshopper._batch import MAX_PER_WRITE
from bcshopper._cli._journal import Item, Journal
from bcshopper._cli._output import (
    OUTCOMES,
    REQUESTS,
    Output,
    Rows,
)
from bcshopper._cli._pace import clock
from bcshopper._cli._progress import working
from bcshopper._cli._runner import run
from bcshopper._cli._settings import Settings
from bcshopper._cli._summary import Summary
from bcshopper._cli._terminal import Terminal, say
from bcshopper._customers import CustomerRequests
from bcshopper._listing import MAX_LIMIT
from bcshopper._outcomes import GOOD, Outcome, Status
from bcshopper._profiles import ProfileRequests, ShopperProfiles
from bcshopper._transport import Request
from bcshopper.errors import BCShopperError
from bcshopper.events import ChunkDone, Event

T = TypeVar("T")
Verb: TypeAlias = Literal["create", "delete", "sync", "add", "remove"]
Show: TypeAlias = Callable[[Sequence[Outcome[Any]]], None]

RESULTS = GOOD | {Status.REJECTED}
"""Outcomes that another run would not change."""

_MOST_PRINTED = 100
_QUOTAS = {"Standard and Plus": 150, "Pro": 450}
"""Requests per window of 30 s, as the API documents them for a store's plan."""
_MOST_UNRECORDED = 5000
_COMMIT_EVERY = 0.1


@attrs.frozen
class Writing:
    """A job that writes to the store, and where its outcomes go."""

    verb: Verb
    settings: Settings
    journal: Journal
    output: Output
    summary: Summary
    terminal: Terminal


def write_all(job: Writing, write: Callable[[Writing, Rows], Any]) -> None:
    """Do what is open in the journal, and account for every id, whatever happens."""
    stop: BaseException | None = None
    try:
        with job.output.open(OUTCOMES) as rows:
            try:
                run(write(job, rows))
            except (BCShopperError, sqlite3.Error, KeyboardInterrupt) as error:
                stop = error
                _tell_the_rest(job, rows, error)
    except OSError as error:  # of the rows
        if stop is None:
            _tell_the_rest(job, None, error)
        raise
    if stop is not None:
        raise stop


async def write_ids(job: Writing, rows: Rows) -> None:
    """What is done already comes first in the rows."""

    def on_event(event: Event) -> None:
        if isinstance(event, ChunkDone):
            recorder.add(event.outcomes)

    def show(outcomes: Sequence[Outcome[Any]]) -> None:
        job.summary.add(outcomes)
        work.print(rows, outcomes)

    recorder = Recorder(job.journal, show)
    total = job.journal.total
    async with working(job.verb, total, job.settings, job.terminal, on_event) as work:
        profiles = work.session.shopper_profiles
        job.journal.pace = lambda: (work.pace.rate, work.pace.seconds_left)
        try:
            for earlier in chunks(job.journal.outcomes(RESULTS), MAX_PER_WRITE):
                work.pace.resume(len(earlier))
                show(earlier)
            if job.verb == "create":
                await settle_doubts(profiles, job.journal, show)
                await recorder.run(profiles.create_stream(_untaken(job.journal)))
            else:
                await recorder.run(profiles.delete_stream(_untaken(job.journal)))
        finally:
            job.summary.end(work.session.stats)


def _tell_the_rest(job: Writing, rows: Rows | None, stop: BaseException) -> None:
    """Tell what became of the ids that a run did not come to, because something stopped it."""
    unsent = stop if isinstance(stop, BCShopperError) else BCShopperError(_UNSENT)
    why = {Status.NOT_SENT: unsent, Status.UNKNOWN: BCShopperError(_SENT_EARLIER)}
    rest = (Outcome(item, status, error=why[status]) for item, status in job.journal.untold())
    failure = None
    for some in chunks(rest, _MOST_UNRECORDED):
        job.summary.add(some)
        try:
            if rows is not None and failure is None:
                rows.write_all(some)
        except OSError as error:
            failure = error
    if failure is not None:
        raise failure


_UNSENT = "stopped before it was sent"
_UNANSWERED = "stopped before an answer came: it may have taken effect"
_SENT_EARLIER = "stopped before it was looked up: an earlier run may have sent it"


@attrs.define
class Recorder:
    """Puts outcomes into the journal as they come, and shows them once they are there.

    A commit costs as much for one as for hundreds, so there are no more than ten a second.
    Once outcomes can't be recorded or shown, no more ids go out, and what is under way is
    recorded and shown as well as it can be.
    """

    _journal: Journal
    _show: Show
    _waiting: list[Outcome[Item]] = attrs.field(factory=list[Outcome[Item]])
    _news: asyncio.Event = attrs.field(factory=asyncio.Event)
    _room: asyncio.Event = attrs.field(factory=asyncio.Event)
    _ended: asyncio.Event = attrs.field(factory=asyncio.Event)
    _failure: OSError | sqlite3.Error | None = None

    def add(self, outcomes: Sequence[Outcome[Item]]) -> None:
        """Take outcomes; returns at once."""
        self._waiting.extend(map(_explained, outcomes))
        self._news.set()
        if len(self._waiting) > _MOST_UNRECORDED:
            self._room.clear()

    async def run(self, work: AsyncGenerator[Any]) -> None:
        """Drive work whose outcomes are added meanwhile, until all of them are recorded."""
        self._room.set()
        writer = asyncio.create_task(self._write())
        writer.add_done_callback(lambda _: self._room.set())
        try:
            async with aclosing(work):
                async for _ in work:
                    await self._room.wait()
                    if writer.done() or self._failure is not None:
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
            with self._kept():
                await asyncio.to_thread(self._journal.record, outcomes)
            with self._kept():
                self._show(outcomes)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _COMMIT_EVERY)
        if self._failure is not None:
            raise self._failure

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            self._failure = self._failure or error


def _explained(outcome: Outcome[Item]) -> Outcome[Item]:
    """Without a reason of its own, it was in the way when the job was stopped."""
    if outcome.ok or outcome.error is not None:
        return outcome
    words = _UNANSWERED if outcome.status is Status.UNKNOWN else _UNSENT
    return attrs.evolve(outcome, error=BCShopperError(words))


async def _untaken(journal: Journal) -> AsyncIterator[Item]:
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


def print_plan(
    verb: Verb, settings: Settings, journal: Journal, output: Output, *, every: bool
) -> None:
    """Say how many requests would go and for how long; print them if that is not too many."""
    requests = sum(1 for _ in plan(verb, settings, journal))
    ids = journal.total - sum(n for status, n in journal.counts().items() if status in RESULTS)
    say(
        f"{verb}: {ids:,} ids; {requests:,} requests would go; none was sent",
        ids=ids, requests=requests,
    )  # fmt: skip
    say_time(requests, settings)
    if requests > _MOST_PRINTED and not every and output.path is None:
        say("to see them, give --verbose, or --output FILE")
        return
    with output.open(REQUESTS) as rows:
        for request in plan(verb, settings, journal):
            rows.write(request)


def say_time(requests: int, settings: Settings) -> None:
    """Say how long so many requests take, if that is more than a window of the quota."""
    for name, limit in _QUOTAS.items():
        windows = requests / max(1, int(limit * settings.quota.share))
        if windows > 1:
            say(f"with the quota of {name}, that takes {clock(windows * 30)}")


def plan(verb: Verb, settings: Settings, journal: Journal) -> Iterator[Request]:
    """The requests that `write_ids` would send, if all of them succeed.

    Where an earlier run left doubts, these are the look-ups; what follows depends on them.
    """
    journal.rewind()
    requests, customers = ProfileRequests(settings.root), CustomerRequests(settings.root)
    if verb == "delete":
        for some in chunks(open_ids(journal), requests.delete_capacity):
            yield requests.delete(some)
        return
    while doubtful := journal.in_doubt():
        for group in customers.split(doubtful):
            yield customers.find(group, 1)
    for some in chunks(open_ids(journal), MAX_PER_WRITE):
        yield requests.create(some)


def open_ids(journal: Journal) -> Iterator[Any]:
    """Every id that has no outcome, which none of them gets by this."""
    while items := journal.peek():
        yield from items


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of so many, and the rest."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
