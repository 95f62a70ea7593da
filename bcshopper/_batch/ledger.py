"""What is known of the ids of one chunk, at any moment: pure state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar
from uuid import UUID

from bcshopper._models import ShopperProfile
from bcshopper._outcomes import Outcome, Status
from bcshopper._transport import Effect, effect_of
from bcshopper.errors import BCShopperError

ItemT = TypeVar("ItemT")


class Ledger(Generic[ItemT]):
    """Each id is not sent, in flight, in doubt, or settled; at any moment there is an outcome.

    Attributes:
        items: the ids, in order.
        error: what ended the work on this chunk before all of it was settled.
        is_looked_up: whether the server is being asked about these ids.
    """

    def __init__(self, items: Iterable[ItemT]) -> None:
        self.items = tuple(items)
        self.error: BCShopperError | None = None
        self.is_looked_up = False
        self._settled: dict[ItemT, Outcome[ItemT]] = {}
        self._in_flight: set[ItemT] = set()
        self._doubts: dict[ItemT, BCShopperError] = {}

    @property
    def is_busy(self) -> bool:
        """Whether an answer is under way that will tell something."""
        return bool(self._in_flight) or self.is_looked_up

    @property
    def pending(self) -> list[ItemT]:
        """The ids that are not settled, in order."""
        return self.unsettled(self.items)

    def unsettled(self, items: Iterable[ItemT]) -> list[ItemT]:
        """Those of these ids that are not settled, in order."""
        return [item for item in items if item not in self._settled]

    def settle(
        self,
        item: ItemT,
        status: Status,
        *,
        profile_id: UUID | None = None,
        profile: ShopperProfile | None = None,
        error: BCShopperError | None = None,
    ) -> None:
        """Fix the outcome of one id."""
        self._in_flight.discard(item)
        self._settled[item] = Outcome(item, status, profile_id, profile, error)

    def sent(self, items: Iterable[ItemT]) -> None:
        """A request with these goes out."""
        self._in_flight.update(items)

    def without_effect(self, items: Iterable[ItemT]) -> None:
        """The request in flight did nothing to these; doubts about earlier ones remain."""
        self._in_flight.difference_update(items)

    def doubt(self, items: Iterable[ItemT], error: BCShopperError) -> None:
        """The request in flight may have taken effect; `error` says why that can't be told."""
        self.without_effect(items)
        for item in items:
            self._doubts.setdefault(item, error)

    def explain(self, items: Iterable[ItemT], error: BCShopperError) -> None:
        """Say better why these are in doubt."""
        for item in items:
            if item in self._doubts:
                self._doubts[item] = error

    def refused(self, items: Iterable[ItemT], error: BCShopperError) -> None:
        """The server said no to these; whoever is in doubt over an earlier request stays so."""
        self.without_effect(items)
        for item in self.unsettled(items):
            if item not in self._doubts:
                self.settle(item, Status.REJECTED, error=error)

    def failed(self, items: Iterable[ItemT], error: BCShopperError) -> None:
        """The request in flight with these failed so."""
        if effect_of(error) is Effect.UNKNOWN:
            self.doubt(items, error)
        else:
            self.without_effect(items)

    def outcomes(self, error: BCShopperError | None = None) -> list[Outcome[ItemT]]:
        """One outcome per id, in order; `error` is why the batch stopped, if it did."""
        return [self._settled.get(item) or self._open(item, error) for item in self.items]

    def _open(self, item: ItemT, error: BCShopperError | None) -> Outcome[ItemT]:
        reason = self._doubts.get(item) or self.error or error
        unknown = item in self._doubts or item in self._in_flight
        return Outcome(item, Status.UNKNOWN if unknown else Status.NOT_SENT, error=reason)


class BadId(Ledger[Any]):
    """The ledger of a value that is no id at all."""

    def __init__(self, value: object, error: BCShopperError) -> None:
        super().__init__(())
        self._outcome = Outcome(value, Status.REJECTED, error=error)

    def outcomes(self, error: BCShopperError | None = None) -> list[Outcome[Any]]:  # noqa: ARG002
        """The one outcome."""
        return [self._outcome]
