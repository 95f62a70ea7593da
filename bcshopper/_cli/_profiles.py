"""`create`, `delete` and `delete-all`, and what becomes of what a killed run has sent."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from bcshopper._cli import _options as options
from bcshopper._cli._input import Ids
from bcshopper._cli._job import Change, chunks, make_sure, write
from bcshopper._cli._journal import BLOCK, Item, Job, Journal
from bcshopper._cli._options import Context, command
from bcshopper._cli._output import REQUESTS, Output
from bcshopper._cli._progress import working
from bcshopper._cli._reading import ask_page, bcshopper
from bcshopper._cli._recorder import Recorder
from bcshopper._cli._runner import run
from bcshopper._cli._settings import Settings
from bcshopper._cli._source import CUSTOMER_IDS, PROFILE_IDS
from bcshopper._cli._summary import Summary
from bcshopper._cli._terminal import Terminal, log_response, say
from bcshopper._customers import CustomerRequests
from bcshopper._listing import MAX_LIMIT
from bcshopper._outcomes import Outcome, Status
from bcshopper._profiles import ProfileRequests, ShopperProfiles
from bcshopper._session import Session
from bcshopper._transport import MAX_PER_WRITE, Effect, Request, effect_of
from bcshopper.errors import BCShopperError


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
        customers = CustomerRequests(settings.root)
        for doubtful in chunks(journal.open_ids(taken=True), BLOCK):
            for group in customers.split(doubtful):
                yield customers.find(group, 1)
        for some in chunks(journal.open_ids(taken=False), MAX_PER_WRITE):
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
        requests = ProfileRequests(settings.root)
        for some in chunks(journal.open_ids(), requests.delete_capacity):
            yield requests.delete(some)


async def _untaken(journal: Journal) -> AsyncIterator[Item]:
    """Every id that has no outcome; the journal knows before it may be sent."""
    while items := await asyncio.to_thread(journal.take):
        for item in items:
            yield item


async def _settle_doubts(profiles: ShopperProfiles, recorder: Recorder) -> None:
    """Find out what became of customers that an earlier run may have sent, and record it.

    A customer without a profile is open as before. One with a profile was given it by the
    earlier run, if it is from that run's time, and had it before otherwise.
    """
    journal = recorder.journal
    for customers in chunks(journal.open_ids(taken=True), BLOCK):
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


@command(
    bcshopper,
    "bcshopper create 101 102",
    "bcshopper create --from customers.csv --column customer_id --journal night.journal",
    "zcat ids.gz | bcshopper create --share 0.5 --summary-json summary.json",
)
@options.takes_ids("CUSTOMER_ID")
@click.option("--all-customers", is_flag=True, help="Everyone in the store without a profile.")
@options.modified_since
@options.writes
def create(
    context: Context, /, *, all_customers: bool, modified_since: datetime | None, **given: Any
) -> None:
    """Give each of these customers a profile; safe to repeat."""
    ids: Ids = given["ids"]
    if all_customers and ids.are_given:
        raise click.UsageError("--all-customers is everyone: give no ids with it")
    if modified_since is not None and not all_customers:
        raise click.UsageError("--modified-since goes with --all-customers")
    everyone = CreateForEveryone(modified_since, context.terminal)
    write(everyone if all_customers else Create(), context, **given)


@command(
    bcshopper,
    "bcshopper delete 6f6a9a2e-1bd5-4b6f-9a41-5b1c2c1c7e11",
    "bcshopper list --format csv --output all.csv && bcshopper delete --from all.csv",
    "bcshopper delete --yes --from old.txt --journal old.journal",
)
@options.takes_ids("PROFILE_ID")
@options.yes
@options.writes
def delete(context: Context, /, *, yes: bool, **given: Any) -> None:
    """Delete these profiles; safe to repeat."""
    write(Delete(asks=not yes), context, **given)


@command(
    bcshopper,
    "bcshopper delete-all --confirm abc123",
    "bcshopper delete-all --dry-run",
    name="delete-all",
)
@click.option("--confirm", metavar="STORE_HASH", help="The store's hash, to be sure.")
@options.yes
@options.dry_run
@options.summary
def delete_all(
    context: Context, *, confirm: str | None, yes: bool, dry_run: bool, summary_json: Path | None
) -> None:
    """Delete every profile in the store."""
    settings = context.settings
    if dry_run:
        with Output.choose().open(REQUESTS) as rows:
            rows.write(ProfileRequests(settings.root).delete_all())
        say("1 requests would go; none was sent", requests=1)
        return
    if confirm != settings.store_hash:
        raise click.UsageError(
            f"this deletes every profile in store {settings.store_hash}: "
            f"to be sure, give its hash with --confirm"
        )
    total = ask_page(settings)[0].pagination.total
    if not yes:
        make_sure(f"Delete all {total:,} shopper profiles", settings)
    summary = Summary("delete-all", settings.store_hash, total)
    try:
        run(_delete_all(settings, summary))
    finally:
        summary.report(summary_json)


async def _delete_all(settings: Settings, summary: Summary) -> None:
    became = Status.UNKNOWN
    async with settings.session(on_event=log_response) as session:
        try:
            await session.shopper_profiles.delete_all(confirm=settings.store_hash)
            became = Status.DELETED
        except BCShopperError as error:
            unknown = effect_of(error) is Effect.UNKNOWN
            became = Status.UNKNOWN if unknown else Status.NOT_SENT
            raise
        finally:
            summary.counts[became] = summary.total
            summary.end(session.stats)
