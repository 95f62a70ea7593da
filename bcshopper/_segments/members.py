"""`session.segments.members(segment_id)`: the verbs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any, Protocol, TypeVar
from uuid import UUID

from bcshopper._inputs import AnyIterable, check_number, collect, customer_id, shown
from bcshopper._inputs import segment_id as parse_segment_id
from bcshopper._listing import MAX_LIMIT, ListDocument, Paginator, paginate
from bcshopper._models import Page, ShopperProfile
from bcshopper._outcomes import BatchReport, Outcome, Status, SyncPlan, SyncReport
from bcshopper._segments.changes import Changes
from bcshopper._segments.people import People
from bcshopper._segments.sync import Sync
from bcshopper._segments.verbs import MemberVerbs
from bcshopper._transport import read_no_body
from bcshopper.errors import BCShopperError, InvalidInputError

ReportT = TypeVar("ReportT", bound=BatchReport[int])
_Profiles = ListDocument[ShopperProfile]


class SegmentMembers:
    """The shopper profiles in one segment.

    See https://developer.bigcommerce.com/docs/rest-management/customer-segmentation
    """

    def __init__(self, verbs: MemberVerbs) -> None:
        self._verbs = verbs

    @property
    def segment_id(self) -> UUID:
        """The segment's id."""
        return self._verbs.requests.segment_id

    def list(
        self,
        *,
        limit: int = MAX_LIMIT,
        page: int = 1,
        prefetch: int | None = None,
        consistent: bool = False,
    ) -> Paginator[ShopperProfile]:
        """List the members in the order of joining; nothing is sent before it is iterated.

        Takes, returns and raises what `ShopperProfiles.list` does. The API wants a token that may
        modify, though this only reads.
        """
        pages = self._verbs.pages(_Profiles, limit)
        return paginate(pages, first=page, prefetch=prefetch, consistent=consistent)

    async def page(self, number: int = 1, *, limit: int = 50) -> Page[ShopperProfile]:
        """Fetch one page, with one request.

        Args:
            number: the page, from 1; one past the end has no items.
            limit: profiles per page to ask for, 1 to 250.

        Raises:
            InvalidInputError: an argument is out of range.
            BCShopperError: the page could not be had.
        """
        return await self._verbs.pages(_Profiles, limit).fetch(number)

    async def add(
        self, profile_ids: AnyIterable[UUID | str], *, check: bool = True
    ) -> BatchReport[UUID]:
        """Put profiles into the segment; safe to repeat.

        One that is in already is `Status.EXISTS`. Chunks of 50 go out concurrently. If the call is
        cancelled, `BatchReport.from_exception` has what is known.

        Args:
            profile_ids: any iterable or async iterable; repeats count once.
            check: raise if any of them failed.

        Returns:
            One outcome per distinct profile, in the order given.

        Raises:
            InvalidInputError: one is not a profile id; nothing was sent.
            BatchError: with `check`, if any failed; it has the report.
        """
        return await self._verbs.add().report(profile_ids, check=check)

    def add_stream(self, profile_ids: AnyIterable[UUID | str]) -> AsyncGenerator[Outcome[UUID]]:
        """Put profiles into the segment, in memory that does not grow with their number.

        Takes, yields and raises as `ShopperProfiles.create_stream` does, for profile ids.
        """
        return self._verbs.add().stream(profile_ids)

    async def remove(
        self, profile_ids: AnyIterable[UUID | str], *, check: bool = True
    ) -> BatchReport[UUID]:
        """Make sure that none of these profiles is in the segment; safe to repeat.

        Chunks of up to 50, within 2,048 characters of URL, go out concurrently. No ids, no
        request; no profile is deleted. Takes, returns and raises what `add` does.
        """
        return await self._verbs.remove().report(profile_ids, check=check)

    def remove_stream(self, profile_ids: AnyIterable[UUID | str]) -> AsyncGenerator[Outcome[UUID]]:
        """Take profiles out of the segment, in memory that does not grow with their number.

        Takes, yields and raises as `ShopperProfiles.create_stream` does, for profile ids.
        """
        return self._verbs.remove().stream(profile_ids)

    async def add_customers(
        self, customer_ids: AnyIterable[int], *, check: bool = True
    ) -> BatchReport[int]:
        """Put customers into the segment; who has no profile is given one first. Safe to repeat.

        Their profiles are looked up through `GET /customers`. If the call is cancelled,
        `BatchReport.from_exception` has what is known.

        Args:
            customer_ids: any iterable or async iterable; repeats count once.
            check: raise if any of them failed.

        Returns:
            One outcome per distinct customer, in the order given.

        Raises:
            InvalidInputError: one is not a customer id; nothing was sent.
            BatchError: with `check`, if any failed; it has the report.
        """
        ids = await collect(customer_ids, customer_id)
        changes = Changes(self._verbs, coming=People(ids), going=People())
        return await _report(changes, changes.run(), ids, BatchReport[int], check=check)

    async def remove_customers(
        self, customer_ids: AnyIterable[int], *, check: bool = True
    ) -> BatchReport[int]:
        """Make sure that none of these customers is in the segment; safe to repeat.

        Who has no profile by `GET /customers` is in no segment: `Status.REMOVED`. What it tells
        may be a little older than the newest writes. Takes, returns and raises what
        `add_customers` does.
        """
        ids = await collect(customer_ids, customer_id)
        changes = Changes(self._verbs, coming=People(), going=People(ids))
        return await _report(changes, changes.run(), ids, BatchReport[int], check=check)

    async def plan(self, customer_ids: AnyIterable[int]) -> SyncPlan:
        """Tell what `sync` would do; change nothing.

        Args:
            customer_ids: any iterable or async iterable; repeats count once.

        Raises:
            InvalidInputError: one is not a customer id; nothing was sent.
            BCShopperError: the members, or the customers' profiles, could not be read.
        """
        return await Sync(self._verbs, customer_ids).plan()

    async def sync(
        self, customer_ids: AnyIterable[int], *, max_removed: float = 0.5, check: bool = True
    ) -> SyncReport:
        """Make the segment hold exactly these customers; safe to repeat.

        The members are read, consistently; who is missing is looked up, given a profile if need
        be, and added; then those are removed who are not among these customers. If the call is
        cancelled, `BatchReport.from_exception` has what is known, and the next `sync` does the
        rest.

        Args:
            customer_ids: any iterable or async iterable; repeats count once.
            max_removed: the fraction of the members, 0 to 1, that may be removed; 1 allows all.
            check: raise if anything failed for any of them.

        Returns:
            One outcome for everyone of these, and for everyone who was in the segment.

        Raises:
            InvalidInputError: an argument is bad; nothing was sent.
            TooManyRemovalsError: more would be removed; it has the plan, and nothing was changed.
            BatchError: with `check`, if any failed; it has the report.
            BCShopperError: the members could not be read; nothing was changed.
        """
        _check_max_removed(max_removed)
        ids = await collect(customer_ids, customer_id)
        sync = Sync(self._verbs, ids)
        return await _report(sync, sync.run(max_removed), ids, SyncReport, check=check)

    def sync_stream(
        self, customer_ids: AnyIterable[int], *, max_removed: float = 0.5
    ) -> AsyncGenerator[Outcome[int]]:
        """Make the segment hold exactly these customers, in some 100 bytes for each of them.

        Takes what `sync` does.

        Yields:
            An outcome for everyone of these, and for everyone who was in the segment, as it is
            known; not before all members are read.

        Raises:
            InvalidInputError: an argument is bad; nothing was sent.
            TooManyRemovalsError: more would be removed; it has the plan, and nothing was changed.
            BCShopperError: the members could not be read, and nothing was changed; or something
                fatal for all, such as a refused token, after everyone's outcome.
        """
        _check_max_removed(max_removed)
        return Sync(self._verbs, customer_ids).run(max_removed)

    async def clear(self, *, confirm: UUID | str) -> None:
        """Take EVERY profile out of the segment, with the documented DELETE without ids.

        Args:
            confirm: the segment's id, to show that this is meant.

        Raises:
            InvalidInputError: `confirm` is not the segment's id; nothing was sent.
            BCShopperError: it failed.
        """
        if parse_segment_id(confirm) != self.segment_id:
            raise InvalidInputError(
                f"clear empties the segment; confirm must be its id, {self.segment_id}, "
                f"not {shown(confirm)}"
            )
        await self._verbs.transport.send(self._verbs.requests.clear(), read_no_body)

    def __repr__(self) -> str:
        return f"<SegmentMembers of segment {self.segment_id}>"


def run_of_sync(members: SegmentMembers, customer_ids: AnyIterable[int]) -> Sync:
    """A run of `sync` that tells, wherever it is left, what became of everyone else."""
    return Sync(members._verbs, customer_ids)  # noqa: SLF001 - of this module


class _Run(Protocol):
    """What `Changes` and `Sync` have in common."""

    @property
    def failure(self) -> BCShopperError | None: ...
    def rest(self, error: BCShopperError | None) -> Iterator[Outcome[int]]: ...


async def _report(
    run: _Run,
    outcomes: AsyncGenerator[Outcome[int]],
    customers: Iterable[int],
    report: Callable[[tuple[Outcome[int], ...]], ReportT],
    *,
    check: bool,
) -> ReportT:
    """Gather the outcomes of a run; whatever ends it early carries what is known.

    Args:
        run: it.
        outcomes: as they are known.
        customers: those given, in their order; others come after them.
        report: makes the report.
        check: raise if any failed.
    """
    known: dict[int, Outcome[int] | None] = dict.fromkeys(customers)

    def result(error: BCShopperError | None) -> ReportT:
        return report(
            tuple(
                outcome or Outcome(customer, Status.NOT_SENT, error=error)
                for customer, outcome in known.items()
            )
        )

    try:
        async with aclosing(outcomes):
            async for outcome in outcomes:
                known[outcome.item] = outcome
    except (asyncio.CancelledError, Exception) as error:
        if error is run.failure:  # everyone's outcome says so
            return _checked(result(None), check=check)
        reason = error if isinstance(error, BCShopperError) else None
        for outcome in run.rest(reason):
            known[outcome.item] = known.get(outcome.item) or outcome
        error.report = result(reason)  # type: ignore[union-attr]  # any exception takes one
        raise
    return _checked(result(None), check=check)


def _checked(report: ReportT, *, check: bool) -> ReportT:
    if check:
        report.raise_for_failures()
    return report


def _check_max_removed(value: Any) -> None:
    check_number("max_removed", value, least=0, most=1)
