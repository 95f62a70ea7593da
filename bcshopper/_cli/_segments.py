"""`bcshopper segment`: its commands, and jobs that change who is in a segment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing, suppress
from typing import Any
from uuid import UUID

import attrs
import click

from bcshopper._cli import _options as options
from bcshopper._cli._input import Ids
from bcshopper._cli._job import Change, Verb, make_sure, say_plan, say_time, write
from bcshopper._cli._journal import Journal
from bcshopper._cli._options import Context, command, examples
from bcshopper._cli._output import PROFILES, SEGMENTS, Output
from bcshopper._cli._reading import bcshopper, print_list
from bcshopper._cli._recorder import Recorder
from bcshopper._cli._runner import CommandError
from bcshopper._cli._settings import Settings
from bcshopper._cli._source import CUSTOMER_IDS, PROFILE_IDS
from bcshopper._cli._terminal import say
from bcshopper._listing import Paginator
from bcshopper._models import Segment
from bcshopper._outcomes import BatchReport, Outcome, Status, SyncPlan
from bcshopper._segments import is_too_many, run_of_sync
from bcshopper._session import Session
from bcshopper._transport import MAX_PER_WRITE
from bcshopper.errors import (
    AuthenticationError,
    BCShopperError,
    NotFoundError,
    PermissionDeniedError,
)


async def find_segment(session: Session, name: str) -> Segment:
    """The segment of this id or exact name.

    Raises:
        CommandError: there is none.
    """
    with suppress(ValueError, NotFoundError):
        return await session.segments.get(UUID(name))
    if found := await session.segments.find(name):
        return found
    raise CommandError(f"the store has no segment {name!r}: `bcshopper segment list` shows all")


class Membership(Change):
    """Puts ids into a segment, or takes them out.

    Args:
        verb: which of these.
        name: the segment's id or name.
        profiles: whether the ids are those of profiles, not of customers.
    """

    def __init__(self, verb: Any, name: str, *, profiles: bool = False, asks: bool = False) -> None:
        kind = PROFILE_IDS if profiles else CUSTOMER_IDS
        super().__init__(verb, kind, what=name, asks=asks)
        self._method = verb if profiles else f"{verb}_customers"
        self._segment: Segment | None = None

    def prepare(self, settings: Settings, journal: Journal, count: int) -> None:
        """Find the segment."""
        del count
        self._segment = settings.ask(lambda session: find_segment(session, self.what))
        journal.expect(())

    def tell_plan(self, settings: Settings, journal: Journal) -> None:
        """Say how many requests it takes at most: who has a profile is known only by asking."""
        settings.ask(lambda session: find_segment(session, self.what))
        count = journal.open_count
        kinds = {"add": 1, "add_customers": 3, "remove": 1, "remove_customers": 2}[self._method]
        requests = kinds * -(-count // MAX_PER_WRITE)
        say_plan(f"{self.verb} {self.what}", count, requests, settings, most="up to ")

    async def run(self, session: Session, recorder: Recorder) -> AsyncGenerator[Any]:
        """Do it, with a method of `SegmentMembers`."""
        assert self._segment is not None  # noqa: S101 - it was found
        journal = recorder.journal
        change = getattr(session.segments.members(self._segment.id), self._method)

        def tell(outcomes: Iterable[Outcome[Any]]) -> None:
            recorder.add(_doubted(outcome, journal) for outcome in outcomes)

        try:
            report = await change(list(journal.open_ids()), check=False)
        except (asyncio.CancelledError, BCShopperError) as error:
            tell(BatchReport.from_exception(error) or ())
            raise
        tell(report)
        yield
        for outcome in report:
            if isinstance(outcome.error, AuthenticationError | PermissionDeniedError):
                raise outcome.error


def _doubted(outcome: Outcome[Any], journal: Journal) -> Outcome[Any]:
    """What this run has not sent may have been sent by an earlier one."""
    if outcome.status is Status.NOT_SENT and journal.is_resumed:
        return attrs.evolve(outcome, status=Status.UNKNOWN)
    return outcome


class Sync(Membership):
    """Makes a segment hold exactly the customers of a job.

    The journal gets those who are to go, too, before anything is changed: who of them is no member
    any more after that was removed, whether or not the run that did it lived to record it.

    Args:
        name: the segment's id or name.
        max_removed: the fraction of its members that may be removed.
        makes: whether to create it if there is none.
        asks: whether somebody is asked before it is changed.
    """

    starts_over = True

    def __init__(self, name: str, max_removed: float, *, makes: bool, asks: bool) -> None:
        super().__init__("sync", name, asks=asks)
        self._max_removed = max_removed
        self._makes = makes

    def prepare(self, settings: Settings, journal: Journal, count: int) -> None:
        """Tell the plan, and ask whether to go on."""
        del count
        plan = self._tell_plan(settings, journal)
        if self.asks and (plan.to_add or plan.to_remove):
            make_sure(f"Change segment {self.what} so", settings)
        journal.expect(plan.to_remove)

    def tell_plan(self, settings: Settings, journal: Journal) -> None:
        """Read what is there, and tell what would be done."""
        self._tell_plan(settings, journal)

    def _tell_plan(self, settings: Settings, journal: Journal) -> SyncPlan:
        """Raises `CommandError` if too many would be removed, or there is no such segment."""

        async def read(session: Session) -> SyncPlan:
            plan = await self._plan(session, journal)
            # What was read for the plan is read again to do it.
            return attrs.evolve(plan, requests=plan.requests + session.stats.requests)

        plan = settings.ask(read)
        create, add, remove = map(len, (plan.to_create, plan.to_add, plan.to_remove))
        is_new = "" if self._segment else " (to be created)"
        made = f", {create:,} profiles to be created" if create else ""
        say(
            f"{self.what}{is_new}: +{add:,} -{remove:,} ={plan.unchanged:,}{made}; "
            f"{plan.requests:,} requests",
            create=create, add=add, remove=remove, unchanged=plan.unchanged,
            requests=plan.requests,
        )  # fmt: skip
        say_time(plan.requests, settings)
        if is_too_many(remove, plan.unchanged, self._max_removed):
            raise CommandError(
                f"{remove:,} of {remove + plan.unchanged:,} members would be removed, which is "
                f"more than --max-removed {self._max_removed:.0%} allows: nothing was changed"
            )
        return plan

    async def _plan(self, session: Session, journal: Journal) -> SyncPlan:
        try:
            self._segment = await find_segment(session, self.what)
        except CommandError:
            if not self._makes:
                raise
            ids = tuple(journal.given())
            found = await session.shopper_profiles.lookup(ids)
            lacking = tuple(customer for customer, profile in found.items() if profile is None)
            requests = sum(-(-len(some) // MAX_PER_WRITE) for some in (ids, lacking))
            return SyncPlan(lacking, ids, (), 0, requests)
        return await session.segments.members(self._segment.id).plan(journal.given())

    async def run(self, session: Session, recorder: Recorder) -> AsyncGenerator[Any]:
        """Each is told once, and what an earlier run did is this job's."""
        journal, seen = recorder.journal, set[int]()
        earlier = {
            outcome.item: outcome for outcome in journal.outcomes({Status.ADDED, Status.REMOVED})
        }

        def settled(outcome: Outcome[int]) -> Outcome[int]:
            if outcome.status not in {Status.REJECTED, Status.UNKNOWN} and outcome.item in earlier:
                return earlier[outcome.item]
            return _doubted(outcome, journal)

        def tell(outcomes: Iterable[Outcome[int]]) -> None:
            new = [settled(outcome) for outcome in outcomes if outcome.item not in seen]
            seen.update(outcome.item for outcome in new)
            recorder.add(new)

        segment = self._segment or await session.segments.ensure(self.what)
        sync = run_of_sync(session.segments.members(segment.id), journal.given())
        failure = None
        try:
            async with aclosing(sync.run(self._max_removed)) as outcomes:
                async for outcome in outcomes:
                    tell([outcome])
                    yield
            failure = sync.failure
        except BCShopperError as error:
            failure = error
        finally:
            tell(sync.rest(failure))
            tell(journal.outcomes({Status.REMOVED}))
        if failure is not None:
            raise failure
        tell(Outcome(item, Status.REMOVED) for item in list(journal.open_ids()))


@bcshopper.group(**examples("bcshopper segment sync VIP --from vip.csv"))
def segment() -> None:
    """Manage segments and who is in them. SEGMENT is an id or an exact name."""


def _some_text(_: click.Context, __: click.Parameter, text: str) -> str:
    if not text.strip():
        raise click.BadParameter("it is blank")
    return text


def _share(_: click.Context, __: click.Parameter, text: str) -> float:
    with suppress(ValueError):
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        if 0 <= share <= 1:
            return share
    raise click.BadParameter(f"{text!r} is no part of a whole, such as 50% or 0.5")


_segment = click.argument("name", metavar="SEGMENT", callback=_some_text)


def _print_one(
    context: Context, output: Output, call: Callable[[Session], Coroutine[Any, Any, Segment]]
) -> None:
    settings = context.settings
    with output.open(SEGMENTS) as rows:
        rows.write(settings.ask(call))


@command(segment, "bcshopper segment list --format csv", name="list")
@options.prints
def list_segments(context: Context, *, output: Output) -> None:
    """List every segment, oldest first."""
    print_list(context, output, SEGMENTS, lambda session: session.segments.list())


@command(segment, "bcshopper segment members VIP --format csv --output vip.csv")
@_segment
@options.prints
def members(context: Context, *, name: str, output: Output) -> None:
    """List the profiles in a segment, in the order of joining."""

    async def choose(session: Session) -> Paginator[Any]:
        return session.segments.members((await find_segment(session, name)).id).list()

    print_list(context, output, PROFILES, choose)


@command(segment, "bcshopper segment show VIP")
@_segment
@options.prints
def show(context: Context, *, name: str, output: Output) -> None:
    """Print a segment."""
    _print_one(context, output, lambda session: find_segment(session, name))


@command(segment, "bcshopper segment create VIP --description 'spent 1,000'")
@click.argument("name", callback=_some_text)
@click.option("--description", default="", help="What people are told of it.")
@options.prints
def create(context: Context, *, name: str, description: str, output: Output) -> None:
    """Create a segment."""
    _print_one(context, output, lambda s: s.segments.create(name, description=description))


@command(segment, "bcshopper segment rename VIP Gold")
@_segment
@click.argument("new_name", callback=_some_text)
@options.prints
def rename(context: Context, *, name: str, new_name: str, output: Output) -> None:
    """Give a segment another name."""

    async def call(session: Session) -> Segment:
        found = await find_segment(session, name)
        return await session.segments.update(found.id, name=new_name)

    _print_one(context, output, call)


@command(segment, "bcshopper segment delete VIP")
@_segment
@options.yes
def delete(context: Context, *, name: str, yes: bool) -> None:
    """Delete a segment; no profile is deleted."""
    settings = context.settings
    found = settings.ask(lambda session: find_segment(session, name))
    if not yes:
        make_sure(f"Delete segment {found.name} ({found.id})", settings)
    settings.ask(lambda session: session.segments.delete([found.id]))


def _add_command(verb: Verb, text: str) -> None:
    @command(segment, f"bcshopper segment {verb} VIP 101 102", name=verb, help=text)
    @_segment
    @options.takes_ids("ID")
    @click.option("--profiles", is_flag=True, help="The ids are those of profiles.")
    @options.writes
    def _(context: Context, /, *, name: str, profiles: bool, **given: Any) -> None:
        write(Membership(verb, name, profiles=profiles), context, **given)


_add_command("add", "Put customers into a segment, with a new profile if need be; safe to repeat.")
_add_command("remove", "Take customers out of a segment; safe to repeat.")


@command(segment, "bcshopper segment sync VIP --from vip.csv --create --dry-run")
@_segment
@options.takes_ids("CUSTOMER_ID")
@click.option(
    "--max-removed", callback=_share, metavar="PERCENT", default="50%", show_default=True,
    help="Change nothing if more of the members would be removed.",
)  # fmt: skip
@click.option("--create", "makes", is_flag=True, help="Create the segment if there is none.")
@options.yes
@options.writes
def sync(
    context: Context, /, *, name: str, max_removed: float, makes: bool, yes: bool, **given: Any
) -> None:
    """Make a segment hold exactly these customers; safe to repeat."""
    ids: Ids = given["ids"]
    if ids.allow_empty:
        raise click.UsageError("no ids at all would empty the segment: leave out --allow-empty")
    write(Sync(name, max_removed, makes=makes, asks=not yes), context, **given)
