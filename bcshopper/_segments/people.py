"""Who is to come into a segment and who is to go: pure state, and the decision who is who."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import compress, filterfalse
from uuid import UUID

from bcshopper._outcomes import SyncPlan
from bcshopper._segments.wire import MemberRow

_ID_BYTES = 16  # of a UUID
_NO_PROFILE = bytes(_ID_BYTES)


class People:
    """Customers and their profiles, in columns: 26 bytes each.

    A customer is named by the position in which it was added.

    Attributes:
        customers: their ids.
        is_looked_up: whether their profiles are known, as far as there are any.
    """

    def __init__(self, customers: Iterable[int] = ()) -> None:
        self.customers = array("q", customers)
        self.is_looked_up = not self.customers
        self._profiles = bytearray(_ID_BYTES * len(self.customers))
        self._settled = bytearray(len(self.customers))
        self._unknown = bytearray(len(self.customers))

    def add(self, customer_id: int, profile_id: UUID) -> None:
        """Put one at the end."""
        self.customers.append(customer_id)
        self._profiles += profile_id.bytes
        self._settled.append(False)
        self._unknown.append(False)

    def profile(self, position: int) -> UUID | None:
        """The profile of one, if it is known."""
        start = _ID_BYTES * position
        profile_id = bytes(self._profiles[start : start + _ID_BYTES])
        return None if profile_id == _NO_PROFILE else UUID(bytes=profile_id)

    def note_profile(self, position: int, profile_id: UUID | None) -> None:
        """Learn, or forget, the profile of one."""
        start = _ID_BYTES * position
        profile = _NO_PROFILE if profile_id is None else profile_id.bytes
        self._profiles[start : start + _ID_BYTES] = profile

    def note_unknown(self, position: int) -> None:
        """The store does not seem to know this customer."""
        self._unknown[position] = True

    def settle(self, position: int) -> None:
        """The outcome of one is told."""
        self._settled[position] = True

    def open(self) -> Iterator[int]:
        """Those whose outcome is not told yet."""
        return (position for position, settled in enumerate(self._settled) if not settled)

    def without_profile(self) -> Iterator[tuple[int, int]]:
        """Those of them whose profile is not known, and the customer.

        Whom the store may not know comes last, and so shares few requests with the others.
        """
        for unknown in (False, True):
            for position in self.open():
                if self._unknown[position] == unknown and self.profile(position) is None:
                    yield position, self.customers[position]

    def with_profile(self) -> Iterator[tuple[int, UUID]]:
        """Those of them whose profile is known, and it."""
        for position in self.open():
            if (profile_id := self.profile(position)) is not None:
                yield position, profile_id

    def __len__(self) -> int:
        return len(self.customers)


class Roll:
    """Who is wanted in a segment, and who is in it, as far as that was read.

    Attributes:
        surplus: those who are in and not wanted.
    """

    def __init__(self) -> None:
        self.surplus = People()
        self._is_in: dict[int, bool] = {}  # by customer who is wanted

    def want(self, customers: Iterable[int]) -> None:
        """These are to be in."""
        self._is_in.update(dict.fromkeys(customers, False))

    def call(self, rows: Iterable[MemberRow]) -> None:
        """These are in."""
        is_in = self._is_in
        for row in rows:
            if row.customer_id in is_in:
                is_in[row.customer_id] = True
            else:
                self.surplus.add(row.customer_id, row.id)

    def drop_repeats(self) -> None:
        """Of a customer who came with several profiles, only the newest can be there still."""
        positions = {customer: n for n, customer in enumerate(self.surplus.customers)}
        if len(positions) < len(self.surplus):
            newest = People()
            for position in positions.values():
                profile_id = self.surplus.profile(position)
                if profile_id is not None:
                    newest.add(self.surplus.customers[position], profile_id)
            self.surplus = newest

    def staying(self) -> Iterator[int]:
        """Those wanted who are in, in the order in which they were wanted."""
        return compress(self._is_in, self._is_in.values())

    def missing(self) -> Iterator[int]:
        """Those wanted who are not in, in that order."""
        return filterfalse(self._is_in.__getitem__, self._is_in)

    def count(self) -> int:
        """How many are wanted and in."""
        return sum(self._is_in.values())


def is_too_many(removals: int, unchanged: int, max_removed: float) -> bool:
    """Whether so many removals are a larger fraction of the members than this."""
    return removals > 0 and removals / (removals + unchanged) > max_removed


def plan_of(
    missing: People, surplus: People, unchanged: int, *, per_write: int, per_removal: int
) -> SyncPlan:
    """What is to be done, once the profiles of the missing were looked up.

    Args:
        missing: those wanted who are not in.
        surplus: those who are in and not wanted.
        unchanged: how many are in and wanted.
        per_write: how many one creation or addition takes.
        per_removal: how many one removal takes.
    """
    to_create = tuple(customer for _, customer in missing.without_profile())
    to_add, to_remove = tuple(missing.customers), tuple(surplus.customers)
    writes = ((to_create, per_write), (to_add, per_write), (to_remove, per_removal))
    requests = sum(-(-len(people) // most) for people, most in writes)
    return SyncPlan(to_create, to_add, to_remove, unchanged, requests)
