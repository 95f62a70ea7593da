"""Changing who is in a segment: its plan, and an account of everyone, kept in the journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeAlias, overload
from uuid import UUID

import attrs

from bcshopper._batch import MAX_PER_WRITE
from bcshopper._cli._job import RESULTS, Recorder, Writing, say_time, tell
from bcshopper._cli._journal import Item, Journal
from bcshopper._cli._output import Output, Rows
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

Tell: TypeAlias = Callable[[Iterable[Outcome[Any]]], None]

_PLAN_COLUMNS = ("segment", "create", "add", "remove", "unchanged", "requests")


@overload
async def find_segment(session: Session, name: str) -> Segment: ...
@overload
async def find_segment(session: Session, name: str, *, may_lack: bool) -> Segment | None: ...
async def find_segment(session: Session, name: str, *, may_lack: bool = False) -> Segment | None:
    """The segment of this id or exact name.

    Raises:
        CommandError: there is none, and there has to be one.
    """
    found = None
    with suppress(ValueError, NotFoundError):
        found = await session.segments.get(UUID(name))
    found = found or await session.segments.find(name)
    if found is None and not may_lack:
        raise CommandError(
            f"the store has no segment {name!r}: `bcshopper segment list` shows all", Exit.USAGE
        )
    return found


class Membership:
    """Puts ids into a segment, or takes them out.

    Args:
        verb: the method of `SegmentMembers` that does it.
        name: the segment's id or name.
    """

    def __init__(self, verb: str, name: str) -> None:
        self._verb = verb
        self._name = name
        self._segment: Segment | None = None
        self._is_to_do = False

    @property
    def steps(self) -> dict[str, Any]:
        """What `write` wants to know of it."""
        return {"ask": self._ask, "show_plan": self._show_plan, "work": self._work}

    def _ask(self, settings: Settings, journal: Journal, _: int) -> None:
        self._begin(settings, journal, may_lack=False)
        journal.expect(())

    def _begin(self, settings: Settings, journal: Journal, *, may_lack: bool) -> SyncPlan | None:
        async def read() -> SyncPlan | None:
            async with settings.session(log_response) as session:
                self._segment = await find_segment(session, self._name, may_lack=may_lack)
                return await self._plan(session, journal)

        plan = run(read())
        self._is_to_do = True
        return plan

    async def _plan(self, _: Session, __: Journal) -> SyncPlan | None:
        return None

    def _show_plan(
        self, verb: str, settings: Settings, journal: Journal, _: Output, *, every: bool
    ) -> None:
        del every
        self._begin(settings, journal, may_lack=False)
        ids = sum(1 for _ in journal.untold())
        requests = -(-ids // MAX_PER_WRITE)
        say(
            f"{verb}: {ids:,} ids; {requests:,} requests would go, with more to look up or create "
            "profiles; none was sent",
            ids=ids, requests=requests,
        )  # fmt: skip
        say_time(requests, settings)

    async def _work(self, job: Writing, rows: Rows) -> None:
        journal, seen = job.journal, set[Item]()
        earlier = {o.item: o for o in journal.outcomes({Status.ADDED, Status.REMOVED})}

        def show(outcomes: Sequence[Outcome[Any]]) -> None:
            with work.hidden():
                tell(job, outcomes, rows)
            work.pace.advance(len(outcomes))

        def settled(outcome: Outcome[Any]) -> Outcome[Any]:
            """What an earlier run did is this job's, though this run may find nothing to do."""
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
                await recorder.run(self._all(work.session, journal, tell_once))
            finally:
                job.summary.end(work.session.stats)

    async def _all(self, session: Session, journal: Journal, tell: Tell) -> AsyncGenerator[None]:
        if not self._is_to_do:
            tell(journal.outcomes(RESULTS))
            return
        try:
            segment = self._segment or await session.segments.ensure(self._name)
            async with aclosing(self._change(session, segment.id, journal, tell)) as change:
                async for _ in change:
                    yield
        finally:
            tell(journal.outcomes({Status.ADDED, Status.REMOVED}))

    async def _change(
        self, session: Session, segment_id: UUID, journal: Journal, tell: Tell
    ) -> AsyncGenerator[None]:
        """Tells all outcomes, and yields now and then."""
        change = getattr(session.segments.members(segment_id), self._verb)
        tell(journal.outcomes(RESULTS))
        try:
            report = await change([item for item, _ in journal.untold()], check=False)
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
        *,
        max_removed: float,
        makes: bool,
        confirm: Callable[[str, Settings], None] | None,
    ) -> None:
        super().__init__("sync", name)
        self._max_removed = max_removed
        self._makes = makes
        self._confirm = confirm

    def _ask(self, settings: Settings, journal: Journal, _: int) -> None:
        plan = self._announce(settings, journal)
        if self._confirm and (plan.to_add or plan.to_remove):
            self._confirm(f"Change segment {self._name} so", settings)
        journal.expect(plan.to_remove)

    def _show_plan(
        self, verb: str, settings: Settings, journal: Journal, output: Output, *, every: bool
    ) -> None:
        del verb, every
        plan = self._announce(settings, journal)
        with output.open(_PLAN_COLUMNS) as rows:
            rows.write({"segment": self._name, **_counts(plan)})

    def _announce(self, settings: Settings, journal: Journal) -> SyncPlan:
        """Read what is there, and tell what would be done."""
        plan = self._begin(settings, journal, may_lack=self._makes)
        assert plan is not None  # noqa: S101 - of a sync
        counts = _counts(plan)
        what = "{add:+,} -{remove:,} ={unchanged:,}; {requests:,} requests".format(**counts)
        is_new = "" if self._segment else " (to be created)"
        made = f", {counts['create']:,} profiles to be created" if plan.to_create else ""
        say(f"{self._name}{is_new}: {what}{made}", **counts)
        say_time(plan.requests, settings)
        members = counts["remove"] + plan.unchanged
        if counts["remove"] and counts["remove"] / members > self._max_removed:
            raise CommandError(
                f"{counts['remove']:,} of {members:,} members would be removed, which is more than "
                f"--max-removed {self._max_removed:.0%} allows: nothing was changed",
                Exit.USAGE,
            )
        return plan

    async def _plan(self, session: Session, journal: Journal) -> SyncPlan:
        if self._segment:
            return await session.segments.members(self._segment.id).plan(journal.given())
        ids = list(journal.given())
        found = await session.shopper_profiles.lookup(ids)
        lacking = tuple(customer for customer, profile in found.items() if profile is None)
        requests = 1 + sum(-(-len(some) // MAX_PER_WRITE) for some in (ids, lacking))
        return SyncPlan(lacking, tuple(ids), (), 0, requests)

    async def _change(
        self, session: Session, segment_id: UUID, journal: Journal, tell: Tell
    ) -> AsyncGenerator[None]:
        sync = run_of_sync(session.segments.members(segment_id), journal.given())
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
        if failure is not None:
            raise failure
        tell(Outcome(item, Status.REMOVED) for item, _ in journal.untold())


def _counts(plan: SyncPlan) -> dict[str, int]:
    return {
        "create": len(plan.to_create), "add": len(plan.to_add), "remove": len(plan.to_remove),
        "unchanged": plan.unchanged, "requests": plan.requests,
    }  # fmt: skip
