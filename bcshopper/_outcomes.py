"""The account of a batch: what became of every id."""

from __future__ import annotations

from asyncio import CancelledError
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, Generic, TypeVar, overload
from uuid import UUID

import attrs

from bcshopper._models import ShopperProfile
from bcshopper.errors import BatchError, BCShopperError

ItemT_co = TypeVar("ItemT_co", covariant=True)


class Status(Enum):
    """What became of one id of a batch."""

    CREATED = "created"
    """The customer has a profile, which this call created."""
    EXISTS = "exists"
    """The customer has a profile that this call did not create, or can't know to have created.

    Without `profile_id` where the server's words say so and no look-up finds it; `error` says why.
    Of members: in the segment, where this call did not put it, or can't know to have.
    """
    DELETED = "deleted"
    """No such profile, or segment, exists any more."""
    ADDED = "added"
    """In the segment, where this call has put it."""
    REMOVED = "removed"
    """Not in the segment any more."""
    REJECTED = "rejected"
    """The server said no to this id; nothing was changed, nor would it be next time."""
    UNKNOWN = "unknown"
    """It was sent, and whether it took effect can't be told."""
    NOT_SENT = "not_sent"
    """Not sent, or turned away for a reason that is no id's own; nothing was changed."""

    __hash__ = object.__hash__  # enum's own is made in Python, and there is one for each id


GOOD = frozenset({Status.CREATED, Status.EXISTS, Status.DELETED, Status.ADDED, Status.REMOVED})
"""What is as the call promises."""


@attrs.frozen
class Outcome(Generic[ItemT_co]):
    """What became of one id.

    Attributes:
        item: the id: of a customer for `create`, `sync` and all else that takes customers; of a
            profile or a segment, as a `UUID`, for the others.
        status: what became of it.
        profile_id: the profile's id, where it is known.
        profile: the profile, where the API gave it whole.
        error: why it failed, for a status that is not `ok`; why `profile_id` is missing.
    """

    item: ItemT_co
    status: Status
    profile_id: UUID | None = None
    profile: ShopperProfile | None = None
    error: BCShopperError | None = None

    @property
    def ok(self) -> bool:
        """Whether the id is as the call promises: created, existing, deleted, added or removed."""
        return self.status in GOOD


@attrs.frozen(repr=False)
class BatchReport(Sequence[Outcome[ItemT_co]]):
    """One outcome per distinct id, in the order in which the ids were given."""

    outcomes: tuple[Outcome[ItemT_co], ...]

    @property
    def created(self) -> tuple[Outcome[ItemT_co], ...]:
        """The outcomes with `Status.CREATED`."""
        return self._having(Status.CREATED)

    @property
    def existing(self) -> tuple[Outcome[ItemT_co], ...]:
        """The outcomes with `Status.EXISTS`."""
        return self._having(Status.EXISTS)

    @property
    def deleted(self) -> tuple[Outcome[ItemT_co], ...]:
        """The outcomes with `Status.DELETED`."""
        return self._having(Status.DELETED)

    @property
    def added(self) -> tuple[Outcome[ItemT_co], ...]:
        """The outcomes with `Status.ADDED`."""
        return self._having(Status.ADDED)

    @property
    def removed(self) -> tuple[Outcome[ItemT_co], ...]:
        """The outcomes with `Status.REMOVED`."""
        return self._having(Status.REMOVED)

    @property
    def failed(self) -> tuple[Outcome[ItemT_co], ...]:
        """The outcomes that are not `ok`: rejected, unknown or not sent."""
        return tuple(outcome for outcome in self.outcomes if not outcome.ok)

    @property
    def ok(self) -> bool:
        """Whether every outcome is."""
        return all(outcome.ok for outcome in self.outcomes)

    @property
    def profile_ids(self) -> tuple[UUID, ...]:
        """Every profile id that is known, in order."""
        return tuple(o.profile_id for o in self.outcomes if o.profile_id is not None)

    def raise_for_failures(self) -> None:
        """Do nothing if `ok`.

        Raises:
            BatchError: with this report, and the first failure as its cause.
        """
        failed = self.failed
        if failed:
            first = failed[0]
            raise BatchError(
                f"{len(failed)} of {len(self)} ids failed ({self._summary()}); "
                f"the first is {first.item}: {first.error or first.status.value}",
                self,
            ) from first.error

    @staticmethod
    def from_exception(error: BaseException) -> BatchReport[Any] | None:
        """The report that a failed or interrupted batch left on its exception.

        Takes what `except` caught: a `BatchError`, the `asyncio.CancelledError` of a cancelled
        call, or the `TimeoutError` that `asyncio.timeout` makes of it. None if there is none.
        """
        seen: BaseException | None = error
        while seen is not None:
            report = getattr(seen, "report", None)
            if isinstance(report, BatchReport):
                return report
            cause, context = seen.__cause__, seen.__context__
            # On Python 3.11.2, asyncio.timeout leaves the cancellation as the context only.
            is_timeout = isinstance(seen, TimeoutError) and isinstance(context, CancelledError)
            seen = context if cause is None and is_timeout else cause
        return None

    def _having(self, status: Status) -> tuple[Outcome[ItemT_co], ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.status is status)

    def _summary(self) -> str:
        counts = Counter(outcome.status for outcome in self.outcomes)
        return ", ".join(f"{counts[s]} {s.value}" for s in Status if counts[s]) or "empty"

    @overload
    def __getitem__(self, index: int) -> Outcome[ItemT_co]: ...
    @overload
    def __getitem__(self, index: slice) -> BatchReport[ItemT_co]: ...
    def __getitem__(self, index: int | slice) -> Outcome[ItemT_co] | BatchReport[ItemT_co]:
        if isinstance(index, slice):
            return BatchReport(self.outcomes[index])
        return self.outcomes[index]

    def __len__(self) -> int:
        return len(self.outcomes)

    def __iter__(self) -> Iterator[Outcome[ItemT_co]]:
        return iter(self.outcomes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)}: {self._summary()}>"


class SyncReport(BatchReport[int]):
    """What `sync` came to: one outcome per customer who was to be in the segment, or was in it.

    First those who were to be in it, in the order in which they were given: `added`, `existing` or
    `failed`; then those who had to go: `removed` or `failed`.
    """

    __slots__ = ()


@attrs.frozen(repr=False)
class SyncPlan:
    """What `sync` would do to a segment, by customer.

    Attributes:
        to_create: those who would be given a profile first; all of them are in `to_add`, too.
            Whether the store knows them shows only when it is asked to.
        to_add: those who would be added, in the order in which they were given.
        to_remove: those who would be removed.
        unchanged: how many are in and would stay.
        requests: writes that this would take.
    """

    to_create: tuple[int, ...]
    to_add: tuple[int, ...]
    to_remove: tuple[int, ...]
    unchanged: int
    requests: int

    def __repr__(self) -> str:
        return (
            f"<SyncPlan: {len(self.to_create)} to create, {len(self.to_add)} to add, "
            f"{len(self.to_remove)} to remove, {self.unchanged} unchanged; "
            f"{self.requests} requests>"
        )
