"""What is known of the ids of one chunk, at any moment: pure state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar
from uuid import UUID

from bcshopper._models import ShopperProfile
from bcshopper._outcomes import Outcome, Status
from bcshopper._retry import took_no_effect
from bcshopper.errors import APIError, BCShopperError

ItemT = TypeVar("ItemT")

# These come from the server or from what stands before it, which may still be at work.
_UNCERTAIN = frozenset({408, 423, 425})


class Account(Generic[ItemT]):
    """Each id is not sent, in doubt, or settled; whatever interrupts, there is an outcome.

    Attributes:
        items: the ids, in order.
        error: what ended the work on this chunk before all of it was settled.
    """

    def __init__(self, items: Iterable[ItemT]) -> None:
        self.items = tuple(items)
        self.error: BCShopperError | None = None
        self._settled: dict[ItemT, Outcome[ItemT]] = {}
        self._in_doubt: dict[ItemT, BCShopperError | None] = {}

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
        self._settled[item] = Outcome(item, status, profile_id, profile, error)

    def doubt(self, items: Iterable[ItemT], error: BCShopperError | None = None) -> None:
        """From now on these may have taken effect; `error` says why that can't be told."""
        self._in_doubt.update(dict.fromkeys(items, error))

    def clear_doubt(self, items: Iterable[ItemT]) -> None:
        """These did not take effect after all."""
        for item in items:
            self._in_doubt.pop(item, None)

    def failed(self, items: Iterable[ItemT], error: BCShopperError) -> None:
        """Draw the consequence for the ids of a request that failed for good."""
        if took_no_effect(error):
            self.clear_doubt(items)
        elif isinstance(error, APIError) and error.status < 500 and error.status not in _UNCERTAIN:  # noqa: PLR2004
            for item in items:
                self.settle(item, Status.REJECTED, error=error)
        else:
            self.doubt(items, error)

    def outcomes(self, error: BCShopperError | None = None) -> list[Outcome[ItemT]]:
        """One outcome per id, in order; `error` is why the batch stopped, if it did."""
        return [self._settled.get(item) or self._open(item, error) for item in self.items]

    def _open(self, item: ItemT, error: BCShopperError | None) -> Outcome[ItemT]:
        if item in self._in_doubt:
            reason = self._in_doubt[item] or self.error or error
            return Outcome(item, Status.UNKNOWN, error=reason)
        return Outcome(item, Status.NOT_SENT, error=self.error or error)


class BadId(Account[Any]):
    """The account of a value that is no id at all."""

    def __init__(self, value: object, error: BCShopperError) -> None:
        super().__init__(())
        self._outcome = Outcome(value, Status.REJECTED, error=error)

    def outcomes(self, error: BCShopperError | None = None) -> list[Outcome[Any]]:  # noqa: ARG002
        """The one outcome."""
        return [self._outcome]
