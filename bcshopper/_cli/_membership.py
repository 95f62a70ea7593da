"""Changing who is in a segment: its plan, and an account of everyone, kept in the journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import attrs

from bcshopper._batch import MAX_PER_WRITE
from bcshopper._cli._job import RESULTS, Recorder, Writing, say_time
from bcshopper._cli._journal import Item, Journal
from bcshopper._cli._output import Rows
from bcshopper._cli._progress import working
from bcshopper._cli._runner import CommandError, Exit, run
from bcshopper._cli._settings import Settings
from bcshopper._cli._terminal import log_response, say
from bcshopper._models import Segment
from bcshopper._outcomes import BatchReport, Outcome, Status, SyncPlan
from bcshopper._segments import run_of_sync
from bcshopper._session import Session
from bcshopper.errors import (
    AuthenticationError,
    BCShopperError,
    NotFoundError,
    PermissionDeniedError,
)

T = TypeVar("T")
Tell: TypeAlias = Callable[[Iterable[Outcome[Any]]], None]

_BY_THIS_JOB = frozenset({Status.ADDED, Status.REMOVED})


def ask_store(settings: Settings, call: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
    """Run a call in a session of its own."""

    async def job() -> T:
        async with settings.session(log_response) as session:
            return await call(session)

    return run(job())


async def find_segment(session: Session, name: str) -> Segment:
    """The segment of this id or exact name.

    Raises:
        CommandError: there is none.
    """
    with suppress(ValueError, NotFoundError):
        return await session.segments.get(UUID(name))
    if found := await session.segments.find(name):
        return found
    raise CommandError(
        f"the store has no segment {name!r}: `bcshopper segment list` shows all", Exit.USAGE
    )


class Membership:
    """Puts ids into a segment, or takes them out, with a method of `SegmentMembers`.

    Its `ask` and `work` are for `write`.
    """

    def __init__(self, name: str, verb: str) -> None:
        self._name = name
        self._verb = verb
        self._segment: Segment | None = None

    def ask(self, settings: Settings, journal: Journal, count: int) -> None:
        """Find the segment."""
        del journal, count
        self._segment = ask_store(settings, lambda session: find_segment(session, self._name))

    async def work(self, job: Writing, rows: Rows) -> None:
        """Do it; each id is told once."""
        journal, seen = job.journal, set[Item]()
        earlier = {outcome.item: outcome for outcome in journal.outcomes(_BY_THIS_JOB)}

        def show(outcomes: Sequence[Outcome[Any]]) -> None:
            job.summary.add(outcomes)
            work.print(rows, outcomes)

        def settled(outcome: Outcome[Any]) -> Outcome[Any]:
            # What an earlier run did is this job's, though this run finds nothing to do.
            if outcome.status not in {Status.REJECTED, Status.UNKNOWN} and outcome.item in earlier:
                return earlier[outcome.item]
            if outcome.status is Status.NOT_SENT and journal.is_resumed:
                return attrs.evolve(outcome, status=Status.UNKNOWN)
            return outcome

        def tell_once(outcomes: Iterable[Outcome[Any]]) -> None:
            new = [settled(outcome) for outcome in outcomes if outcome.item not in seen]
            seen.update(outcome.item for outcome in new)
            recorder.add(new)

        recorder = Recorder(journal, show)
        async with working(job.verb, journal.total, job.settings, job.terminal) as work:
            work.pace.resume(len(earlier))
            try:
                if next(journal.untold(), None) is None:
                    show(list(journal.outcomes(RESULTS)))
                else:
                    await recorder.run(self._change(work.session, journal, tell_once))
            finally:
                job.summary.end(work.session.stats)

    async def _change(self, session: Session, journal: Journal, tell: Tell) -> AsyncGenerator[None]:
        """Tells all outcomes, however it ends, and yields now and then."""
        assert self._segment is not None  # noqa: S101 - it was found
        change = getattr(session.segments.members(self._segment.id), self._verb)
        try:
            report = await change(journal.given(), check=False)
        except (asyncio.CancelledError, BCShopperError) as error:
            tell(BatchReport.from_exception(error) or ())
            raise
        tell(report)
        yield
        for outcome in report:
            if isinstance(outcome.error, AuthenticationError | PermissionDeniedError):
                raise outcome.error


class Sync(Membership):
    """Makes a segment hold exactly the customers of a job.

    The journal gets those who are to go, too, before anything is changed: who of them is no member
    any more after that was removed, whether or not the run that did it lived to record it.

    Args:
        name: the segment's id or name.
        max_removed: the fraction of its members that may be removed.
        makes: whether to create it if there is none.
        confirm: asks whether to go on; None: nobody is asked.
    """

    def __init__(
        self,
        name: str,
        max_removed: float,
        *,
        makes: bool,
        confirm: Callable[[str, Settings], None] | None,
    ) -> None:
        super().__init__(name, "sync")
        self._max_removed = max_removed
        self._makes = makes
        self._confirm = confirm

    def ask(self, settings: Settings, journal: Journal, count: int) -> None:
        """Tell the plan, and ask whether to go on."""
        del count
        plan = self.show_plan("sync", settings, journal)
        if self._confirm and (plan.to_add or plan.to_remove):
            self._confirm(f"Change segment {self._name} so", settings)
        journal.expect(plan.to_remove)

    def show_plan(
        self, _: str, settings: Settings, journal: Journal, *__: Any, **___: Any
    ) -> SyncPlan:
        """Read what is there, and tell what would be done.

        Raises:
            CommandError: too many would be removed, or there is no such segment.
        """

        async def read(session: Session) -> SyncPlan:
            plan = await self._plan(session, journal)
            # What was read for the plan is read again to do it.
            return attrs.evolve(plan, requests=plan.requests + session.stats.requests)

        plan = ask_store(settings, read)
        create, add, remove = map(len, (plan.to_create, plan.to_add, plan.to_remove))
        is_new = "" if self._segment else " (to be created)"
        made = f", {create:,} profiles to be created" if create else ""
        say(
            f"{self._name}{is_new}: +{add:,} -{remove:,} ={plan.unchanged:,}{made}; "
            f"{plan.requests:,} requests",
            create=create, add=add, remove=remove, unchanged=plan.unchanged,
            requests=plan.requests,
        )  # fmt: skip
        say_time(plan.requests, settings)
        if remove and remove / (members := remove + plan.unchanged) > self._max_removed:
            raise CommandError(
                f"{remove:,} of {members:,} members would be removed, which is more than "
                f"--max-removed {self._max_removed:.0%} allows: nothing was changed",
                Exit.USAGE,
            )
        return plan

    async def _plan(self, session: Session, journal: Journal) -> SyncPlan:
        try:
            self._segment = await find_segment(session, self._name)
        except CommandError:
            if not self._makes:
                raise
            ids = tuple(journal.given())
            found = await session.shopper_profiles.lookup(ids)
            lacking = tuple(customer for customer, profile in found.items() if profile is None)
            requests = sum(-(-len(some) // MAX_PER_WRITE) for some in (ids, lacking))
            return SyncPlan(lacking, ids, (), 0, requests)
        return await session.segments.members(self._segment.id).plan(journal.given())

    async def _change(self, session: Session, journal: Journal, tell: Tell) -> AsyncGenerator[None]:
        segment = self._segment or await session.segments.ensure(self._name)
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
        tell(Outcome(item, Status.REMOVED) for item, _ in journal.untold())
