"""What the commands do over the wire, once everything is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, TypeAlias, TypeVar

from bcshopper._batch import MAX_PER_WRITE
from bcshopper._cli._job import Recorder, open_items, settle_doubts
from bcshopper._cli._journal import Item, Journal
from bcshopper._cli._output import Rows, lookup_row, outcome_row, profile_row
from bcshopper._cli._progress import Pace, shown
from bcshopper._cli._settings import Settings
from bcshopper._cli._summary import Summary
from bcshopper._cli._terminal import Terminal, log_response
from bcshopper._customers import CustomerRequests
from bcshopper._listing import MAX_LIMIT
from bcshopper._outcomes import GOOD, Outcome, Status
from bcshopper._profiles import ProfileRequests
from bcshopper._transport import Request
from bcshopper.events import ChunkDone, Event

T = TypeVar("T")
Verb: TypeAlias = Literal["create", "delete"]

RESULTS = GOOD | {Status.REJECTED}
"""Outcomes that another run would not change."""


async def write_ids(
    verb: Verb,
    settings: Settings,
    journal: Journal,
    *,
    rows: Rows,
    summary: Summary,
    terminal: Terminal,
) -> None:
    """Create or delete what is open in the journal; what is done comes first in the rows."""

    def on_event(event: Event) -> None:
        pace.watch(event)
        log_response(event)
        if isinstance(event, ChunkDone):
            recorder.add(event.outcomes)

    async with settings.session(on_event) as session:
        pace = Pace(verb, journal.total, lambda: session.quota)
        for earlier in _chunks(journal.outcomes(RESULTS), MAX_PER_WRITE):
            _print(rows, earlier, summary)
            pace.resume(len(earlier))
        try:
            async with shown(pace, terminal) as hidden:

                def show(outcomes: Sequence[Outcome[Any]]) -> None:
                    with hidden():
                        _print(rows, outcomes, summary)
                    pace.advance(len(outcomes))

                recorder = Recorder(journal, show)
                profiles = session.shopper_profiles
                if verb == "create":
                    await settle_doubts(profiles, journal, show)
                    await recorder.run(profiles.create_stream(open_items(journal)))
                else:
                    await recorder.run(profiles.delete_stream(open_items(journal)))
        finally:
            summary.end(session.stats)


def _print(rows: Rows, outcomes: Sequence[Outcome[Any]], summary: Summary) -> None:
    summary.add(outcomes)
    for outcome in outcomes:
        rows.write(outcome_row(outcome))
    rows.flush()


def plan(verb: Verb, settings: Settings, journal: Journal) -> Iterator[Request]:
    """The requests that `write_ids` would send, if all of them succeed.

    Where an earlier run left doubts, these are the look-ups; what follows depends on them.
    """
    requests, customers = ProfileRequests(settings.root), CustomerRequests(settings.root)
    if verb == "delete":
        for some in _chunks(_open_ids(journal.peek), requests.delete_capacity):
            yield requests.delete(some)
        return
    while doubtful := journal.in_doubt():
        for run in customers.split(doubtful):
            yield customers.find(run, 1)
    for some in _chunks(_open_ids(journal.peek), MAX_PER_WRITE):
        yield requests.create(some)


def _open_ids(read: Callable[[], list[Item]]) -> Iterator[Any]:
    while items := read():
        yield from items


async def delete_everything(settings: Settings, total: int, summary: Summary) -> None:
    """The documented wipe."""
    async with settings.session(log_response) as session:
        try:
            await session.shopper_profiles.delete_all(confirm=settings.store_hash)
            summary.counts[Status.DELETED] = total
        finally:
            summary.end(session.stats)


async def list_all(settings: Settings, *, consistent: bool, rows: Rows, terminal: Terminal) -> None:
    """Every profile."""

    def on_event(event: Event) -> None:
        pace.watch(event)
        log_response(event)

    async with settings.session(on_event) as session:
        pace = Pace("list", None, lambda: session.quota)
        async with shown(pace, terminal) as hidden:
            async for page in session.shopper_profiles.list(consistent=consistent).pages():
                pace.total = page.pagination.total
                with hidden():
                    for profile in page:
                        rows.write(profile_row(profile))
                    rows.flush()
                pace.advance(len(page))


async def look_up(settings: Settings, journal: Journal, *, rows: Rows, terminal: Terminal) -> None:
    """The profile of each customer, in the order given."""

    def on_event(event: Event) -> None:
        pace.watch(event)
        log_response(event)

    async with settings.session(on_event) as session:
        pace = Pace("lookup", journal.total, lambda: session.quota)
        async with shown(pace, terminal) as hidden:
            for some in _chunks(_open_ids(journal.peek), settings.concurrency * MAX_LIMIT):
                found = await session.shopper_profiles.lookup(some)
                with hidden():
                    for customer_id, profile_id in found.items():
                        rows.write(lookup_row(customer_id, profile_id))
                    rows.flush()
                pace.advance(len(found))


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
