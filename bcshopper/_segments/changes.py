"""Bringing customers into a segment and taking others out, with one outcome for each."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from typing import Any, Generic, TypeAlias, TypeVar
from uuid import UUID

import attrs

from bcshopper._batch import FATAL, Batch, Claim, read_claim
from bcshopper._listing import in_order
from bcshopper._outcomes import Outcome, Status
from bcshopper._segments.people import People
from bcshopper._segments.verbs import MemberVerbs
from bcshopper._transport import UNWATCHED, Effect, effect_of
from bcshopper.errors import APIError, BCShopperError, NotFoundError

ItemT = TypeVar("ItemT", int, UUID)
Found: TypeAlias = tuple[Sequence[int], Mapping[int, UUID | BCShopperError | None]]
"""Who was looked up, and their profiles; the store does not know who is not among these."""


class Changes:
    """Changes of one segment's members, in steps: look up, create, add, remove.

    Each step ends before the next begins, so that each takes as few requests as can be. At any
    moment `rest` has an outcome for everyone of whom `run` has not told.

    Args:
        verbs: what is done with the members.
        coming: who is to be in.
        going: who is not to be in.

    Attributes:
        failure: what ended it before all was done.
    """

    def __init__(self, verbs: MemberVerbs, coming: People, going: People) -> None:
        self.failure: BCShopperError | None = None
        self._verbs = verbs
        self._coming = coming
        self._going = going
        self._step: _Step[Any] | None = None
        # Of whom an earlier step found no profile to add, by position.
        self._missing: dict[int, Outcome[UUID]] = {}

    async def run(self) -> AsyncGenerator[Outcome[int]]:
        """Do it, and yield an outcome for everyone as it is known.

        Raises:
            BCShopperError: `failure`, after everyone's outcome.
        """
        try:
            async with aclosing(self._all()) as told:
                async for outcome in told:
                    yield outcome
        except BCShopperError as error:
            self.failure = error
        for outcome in self.rest(self.failure):
            yield outcome
        if self.failure is not None:
            raise self.failure

    def rest(self, error: BCShopperError | None) -> Iterator[Outcome[int]]:
        """The outcomes of everyone else, once nothing is under way any more.

        Args:
            error: why it ended, if it did not end well.
        """
        if self._step is not None:
            yield from self._step.left()
        for people in (self._coming, self._going):
            for position in people.open():
                people.settle(position)
                yield Outcome(people.customers[position], Status.NOT_SENT, error=error)

    async def look_up(self) -> AsyncGenerator[Outcome[int]]:
        """Learn who has which profile; yield an outcome for those of whom that can't be learnt."""
        for people in (self._coming, self._going):
            if people.is_looked_up:
                continue
            position = 0
            async with aclosing(self._find_all(people.customers)) as found:
                async for customers, profiles in found:
                    for customer in customers:
                        if outcome := self._note(people, position, customer, profiles):
                            people.settle(position)
                            yield outcome
                        position += 1
            people.is_looked_up = True

    def _find_all(self, customers: Sequence[int]) -> AsyncGenerator[Found]:
        lookup, transport = self._verbs.lookup, self._verbs.transport
        chunks = lookup.requests.split(customers)

        def next_call() -> Coroutine[Any, Any, Found] | None:
            chunk = next(chunks, None)
            return None if chunk is None else self._find(chunk)

        async def keep(found: Found) -> Found:
            return found

        ahead = 2 * transport.concurrency
        return in_order(next_call, keep, ahead=ahead, spawn=transport.life.spawn)

    async def _find(self, customers: Sequence[int]) -> Found:
        try:
            return customers, await self._verbs.lookup.find(customers)
        except FATAL:
            raise
        except BCShopperError as error:
            if effect_of(error) is Effect.REFUSED:
                return customers, await self._verbs.lookup.find_each(customers, UNWATCHED)
            return customers, dict.fromkeys(customers, error)

    def _note(
        self,
        people: People,
        position: int,
        customer: int,
        profiles: Mapping[int, UUID | BCShopperError | None],
    ) -> Outcome[int] | None:
        answer = profiles.get(customer)
        if isinstance(answer, UUID):
            people.note_profile(position, answer)
        elif isinstance(answer, BCShopperError):
            if effect_of(answer) is not Effect.REFUSED:
                return Outcome(customer, Status.NOT_SENT, error=answer)
            if people is self._going:
                return Outcome(customer, Status.REJECTED, error=answer)
            people.note_unknown(position)
        elif people is self._going:  # who has no profile is in no segment
            return Outcome(customer, Status.REMOVED)
        elif customer not in profiles:
            people.note_unknown(position)
        return None

    async def _all(self) -> AsyncGenerator[Outcome[int]]:
        async with aclosing(self.look_up()) as told:
            async for outcome in told:
                yield outcome
        for step in self._steps():
            self._step = step
            async with aclosing(step.run()) as told:
                async for outcome in told:
                    yield outcome

    def _steps(self) -> Iterator[_Step[Any]]:
        verbs, coming, going = self._verbs, self._coming, self._going
        yield _Step(verbs.create(), coming, coming.without_profile(), self._note_created)
        yield _Step(verbs.add(), coming, coming.with_profile(), self._forget_rejected)
        # A profile can vanish after it was found: whoever was rejected is tried once more, afresh.
        yield _Step(verbs.create(), coming, coming.without_profile(), self._note_created)
        yield _Step(verbs.add(), coming, coming.with_profile(), self._take)
        yield _Step(verbs.remove(), going, going.with_profile(), self._take)

    def _note_created(self, position: int, outcome: Outcome[int]) -> Outcome[int] | None:
        missing = self._missing.get(position)
        if missing is not None and missing.item == outcome.profile_id:
            # It was missing when it was to be added, and is found again: look-ups can lag.
            return Outcome(outcome.item, Status.UNKNOWN, error=missing.error)
        if outcome.ok and outcome.profile_id is not None:
            self._coming.note_profile(position, outcome.profile_id)
            return None
        status = Status.UNKNOWN if outcome.ok else outcome.status
        return Outcome(outcome.item, status, error=outcome.error)

    def _forget_rejected(self, position: int, outcome: Outcome[UUID]) -> Outcome[UUID] | None:
        error = outcome.error
        if outcome.status is Status.REJECTED and (
            isinstance(error, NotFoundError)
            or (isinstance(error, APIError) and read_claim(error) is Claim.MISSING)
        ):
            self._missing[position] = outcome
            self._coming.note_profile(position, None)
            return None
        return outcome

    def _take(self, _: int, outcome: Outcome[UUID]) -> Outcome[UUID]:
        return outcome


@attrs.define
class _Step(Generic[ItemT]):
    """One verb for some of these people.

    Attributes:
        batch: a run of it.
        people: them.
        items: whom it is for, each with the id that the verb takes.
        translate: what an outcome comes to; None if theirs is still open.
    """

    batch: Batch[ItemT]
    people: People
    items: Iterable[tuple[int, ItemT]]
    translate: Callable[[int, Outcome[ItemT]], Outcome[Any] | None]
    _positions: dict[ItemT, int] = attrs.field(factory=dict[ItemT, int], init=False)

    async def run(self) -> AsyncGenerator[Outcome[int]]:
        async with aclosing(self.batch.stream(self._feed())) as outcomes:
            async for outcome in outcomes:
                if told := self._tell(outcome):
                    yield told

    def left(self) -> Iterator[Outcome[int]]:
        """Of what was under way when `run` was left early."""
        return filter(None, map(self._tell, self.batch.under_way()))

    def _feed(self) -> Iterator[ItemT]:
        for position, item in self.items:
            if item not in self._positions:  # or a store gave two customers the same profile
                self._positions[item] = position
                yield item

    def _tell(self, outcome: Outcome[ItemT]) -> Outcome[int] | None:
        position = self._positions.pop(outcome.item)
        result = self.translate(position, outcome)
        if result is None:
            return None
        self.people.settle(position)
        return attrs.evolve(result, item=self.people.customers[position])
