"""Making a segment hold exactly these customers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import islice, repeat
from typing import Any

from bcshopper._inputs import AnyIterable, customer_ids, in_groups
from bcshopper._listing import MAX_LIMIT, ListDocument, paginate
from bcshopper._outcomes import Outcome, Status, SyncPlan
from bcshopper._segments.changes import Changes
from bcshopper._segments.people import People, Roll, is_too_many, plan_of
from bcshopper._segments.verbs import MemberVerbs
from bcshopper._segments.wire import MemberRow
from bcshopper._transport import MAX_PER_WRITE
from bcshopper.errors import BCShopperError, TooManyRemovalsError

_BREATH = 1000  # customers handled without a pause, after which other tasks get a turn


class Sync:
    """One run of it. At any moment `rest` has an outcome for everyone of whom `run` has not told.

    Args:
        verbs: what is done with the members.
        customer_ids: who is to be in the segment.
    """

    def __init__(self, verbs: MemberVerbs, customer_ids: AnyIterable[Any]) -> None:
        self._verbs = verbs
        self._customer_ids = customer_ids
        self._roll = Roll()
        self._changes: Changes | None = None

    @property
    def failure(self) -> BCShopperError | None:
        """What ended it before all was done."""
        return None if self._changes is None else self._changes.failure

    async def plan(self) -> SyncPlan:
        """Read what is there, and decide; change nothing.

        Raises:
            BCShopperError: something could not be read.
        """
        await self._read()
        return await self._plan()

    async def run(self, max_removed: float) -> AsyncGenerator[Outcome[int]]:
        """Do it, and yield an outcome for everyone as it is known.

        Args:
            max_removed: the fraction of the members that may be removed.

        Raises:
            TooManyRemovalsError: more would be; nothing was changed.
            BCShopperError: the members could not be read, and nothing was changed; or `failure`,
                after everyone's outcome.
        """
        await self._read()
        unchanged, removals = self._roll.count(), len(self._roll.surplus)
        if is_too_many(removals, unchanged, max_removed):
            try:
                plan = await self._plan()
            except BCShopperError:  # the refusal does not depend on who has a profile
                plan = self._plan_of(People(self._roll.missing()))
            raise TooManyRemovalsError(
                f"{removals:,} of {removals + unchanged:,} members would be removed from segment "
                f"{self._verbs.requests.segment_id}, which is more than max_removed={max_removed:g}"
                " allows; nothing was changed",
                plan,
            )
        changes = self._changes = self._begin()
        staying = self._staying()
        for outcome in staying:
            yield outcome
            for another in islice(staying, _BREATH):
                yield another
            await asyncio.sleep(0)
        self._roll = Roll()  # which is large, and no longer needed
        async with aclosing(changes.run()) as outcomes:
            async for outcome in outcomes:
                yield outcome

    def rest(self, error: BCShopperError | None) -> Iterator[Outcome[int]]:
        """The outcomes of everyone else, once nothing is under way any more.

        Args:
            error: why it ended, if it did not end well.
        """
        yield from self._staying()
        yield from (self._changes or self._begin()).rest(error)

    async def _read(self) -> None:
        """Read who is wanted, and who is in."""
        async with aclosing(in_groups(self._customer_ids, _BREATH)) as groups:
            async for group in groups:
                self._roll.want(customer_ids(group))
        members = paginate(
            self._verbs.pages(ListDocument[MemberRow], MAX_LIMIT),
            first=1,
            prefetch=None,
            consistent=True,
        )
        async with aclosing(members.pages()) as pages:
            async for page in pages:
                self._roll.call(page.items)
        if members.drifted:
            self._roll.drop_repeats()

    async def _plan(self) -> SyncPlan:
        missing = People(self._roll.missing())
        async with aclosing(Changes(self._verbs, missing, People()).look_up()) as failures:
            async for outcome in failures:
                if outcome.error is not None:
                    raise outcome.error
        return self._plan_of(missing)

    def _plan_of(self, missing: People) -> SyncPlan:
        return plan_of(
            missing,
            self._roll.surplus,
            self._roll.count(),
            per_write=MAX_PER_WRITE,
            per_removal=self._verbs.requests.remove_capacity,
        )

    def _begin(self) -> Changes:
        missing = People(self._roll.missing())
        return Changes(self._verbs, missing, self._roll.surplus)

    def _staying(self) -> Iterator[Outcome[int]]:
        return map(Outcome, self._roll.staying(), repeat(Status.EXISTS))
