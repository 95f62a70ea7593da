"""A store's customers, profiles and segments: state without HTTP."""

from __future__ import annotations

import json
import random
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

import attrs

from bcshopper._models import ShopperProfile
from bcshopper.sandbox._past import Past
from bcshopper.sandbox._table import Table


class Customers(MutableMapping[int, UUID | None]):
    """The profile id of each customer, or None, by customer id.

    Attributes:
        ids: all customer ids, ascending; not to be changed.
        watch: is told who was `created` or `deleted`.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.watch: Callable[[str, int], None] = lambda *_: None
        self._profile_ids: dict[int, UUID | None] = {}

    def __getitem__(self, customer_id: int) -> UUID | None:
        return self._profile_ids[customer_id]

    def __setitem__(self, customer_id: int, profile_id: UUID | None) -> None:
        is_new = customer_id not in self._profile_ids
        if is_new:
            insort(self.ids, customer_id)
        self._profile_ids[customer_id] = profile_id
        if is_new:
            self.watch("created", customer_id)

    def __delitem__(self, customer_id: int) -> None:
        del self._profile_ids[customer_id]
        del self.ids[bisect_left(self.ids, customer_id)]
        self.watch("deleted", customer_id)

    def __ior__(self, more: Mapping[int, UUID | None]) -> Self:
        self.update(more)
        return self

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return repr(dict(self))


@attrs.frozen
class StoredSegment:
    """A segment and who is in it, in the order of joining."""

    id: UUID
    name: str
    description: str
    created_at: datetime
    updated_at: datetime
    members: Table[ShopperProfile] = attrs.field(
        factory=Table[ShopperProfile], eq=False, repr=lambda members: f"<{len(members)} profiles>"
    )


@attrs.frozen
class Look:
    """What a look-up tells of a customer."""

    profile_id: UUID | None
    segment_ids: tuple[UUID, ...]


class Store:
    """Customers, their profiles, and the segments that these are in.

    Attributes:
        customers: the profile id of each customer, or None, by customer id.
        profiles: every profile by its id, oldest first.
        segments: every segment by its id, oldest first; its `members` are profiles by their ids.
        wiped: how often all of a collection was deleted at once, by its path below `/v3/`, such as
            `segments/*/shopper-profiles`.
    """

    def __init__(self, rng: random.Random, past: Past[Look | None]) -> None:
        self.customers = Customers()
        self.profiles = Table[ShopperProfile]()
        self.segments = Table[StoredSegment]()
        self.wiped: Counter[str] = Counter()
        self._modified: dict[int, datetime] = {}
        self._began = datetime.now(UTC)
        self._rng = rng
        self._past = past

    @property
    def wipes(self) -> int:
        """How often all of a collection was deleted at once."""
        return self.wiped.total()

    # ------------------------------------------------------------ customers

    def add_customers(self, count: int) -> list[int]:
        """Register customers; their ids go on from the highest."""
        first = (self.customers.ids or [0])[-1] + 1
        return self.register(range(first, first + count))

    def register(self, customer_ids: Iterable[int]) -> list[int]:
        """Register customers with these ids, as far as there are none; returns the new ones."""
        ids = [i for i in dict.fromkeys(customer_ids) if i not in self.customers]
        self._note(ids)
        self.customers.update(dict.fromkeys(ids))
        self.touch(ids)
        return ids

    def delete_customers(self, customer_ids: Iterable[int]) -> None:
        """Delete customers with their profiles; those that do not exist are ignored."""
        for customer_id in customer_ids:
            if customer_id in self.customers:
                self._note([customer_id])
                profile_id = self.customers[customer_id]
                self.delete([] if profile_id is None else [profile_id])
                del self.customers[customer_id]

    def touch(self, customer_ids: Iterable[int], *, at: datetime | None = None) -> None:
        """Let customers have been modified now, or at another time."""
        self._modified.update(dict.fromkeys(customer_ids, at or datetime.now(UTC)))

    def modified(self, customer_id: int) -> datetime:
        """When a customer was modified last."""
        return self._modified.get(customer_id, self._began)

    def look(self, customer_id: int) -> Look | None:
        """What a look-up tells of a customer, which may be old; None if there is none."""
        return self._past.seen(customer_id, self._look)

    def seen_ids(self, among: Iterable[int] | None = None) -> Sequence[int]:
        """The customers that a look-up knows of, ascending; or, in their order, among some."""
        unknown = {i for i in self._past.recent() if self.look(i) is None}
        if among is not None:
            return [i for i in among if i in self.customers and i not in unknown]
        ids = self.customers.ids
        return [i for i in ids if i not in unknown] if unknown else ids

    def _look(self, customer_id: int) -> Look | None:
        if customer_id not in self.customers:
            return None
        profile_id = self.customers[customer_id]
        if profile_id is None or not self.segments:
            return Look(profile_id, ())
        return Look(profile_id, tuple(segment.id for segment in self.segments_of(profile_id)))

    def _note(self, customer_ids: Iterable[int]) -> None:
        for customer_id in customer_ids:
            self._past.note(customer_id, self._look)

    # ------------------------------------------------------------ profiles

    def create(
        self, customer_id: int, *, created_at: datetime | None = None,
        profile_id: UUID | None = None,
    ) -> ShopperProfile:  # fmt: skip
        """Give a customer, who must have none, a profile; of now, if no other time is given."""
        now = _whole_second(created_at)
        profile = ShopperProfile(profile_id or self._new_id(), customer_id, now, now)
        self._note([customer_id])
        self.customers[customer_id] = profile.id
        stamp = _stamp(now)
        body = (
            f'{{"id":"{profile.id}","customer_id":{customer_id},'
            f'"created_at":"{stamp}","updated_at":"{stamp}"}}'
        )
        self.profiles.append(profile.id, profile, body.encode())
        return profile

    def add_profiles(self, count: int) -> list[ShopperProfile]:
        """Give a profile to customers who have none, registering more where there are too few."""
        without = [i for i, profile_id in self.customers.items() if profile_id is None][:count]
        without += self.add_customers(count - len(without))
        return [self.create(customer_id) for customer_id in without]

    def delete(self, profile_ids: Iterable[UUID]) -> None:
        """Delete profiles, out of their segments too; those that do not exist are ignored."""
        for profile_id in profile_ids:
            profile = self.profiles.get(profile_id)
            if profile is None:
                continue
            self._note([profile.customer_id])
            for segment in self.segments_of(profile_id):
                segment.members.discard(profile_id)
            self.profiles.discard(profile_id)
            self._take_from([profile.customer_id])

    def delete_oldest(self, count: int) -> list[UUID]:
        """Delete the first profiles of the list."""
        oldest = list(self.profiles)[:count]
        self.delete(oldest)
        return oldest

    def wipe(self) -> None:
        """Delete every profile."""
        self.wiped["shopper-profiles"] += 1
        holders = [profile.customer_id for profile in self.profiles.values()]
        self._note(holders)
        for segment in self.segments.values():
            segment.members.clear()
        self.profiles.clear()
        self._take_from(holders)

    def _take_from(self, holders: Iterable[int]) -> None:
        # A customer who was deleted before the profile does not come back.
        self.customers.update(dict.fromkeys(i for i in holders if i in self.customers))

    def page(self, number: int, limit: int, *, links: bool, newest_first: bool = False) -> bytes:
        """One page of the list of profiles as the API answers it."""
        return self.profiles.page(number, limit, links=links, newest_first=newest_first)

    # ------------------------------------------------------------ segments

    def create_segment(
        self, name: str, description: str = "", *, created_at: datetime | None = None,
        updated_at: datetime | None = None, segment_id: UUID | None = None,
    ) -> StoredSegment:  # fmt: skip
        """Add a segment, whose name must be new; of now, if no other times are given."""
        created = _whole_second(created_at)
        updated = _whole_second(updated_at or created)
        segment = StoredSegment(segment_id or self._new_id(), name, description, created, updated)
        self.segments.append(segment.id, segment, _segment_body(segment))
        return segment

    def update_segment(
        self, segment_id: UUID, *, name: str | None = None, description: str | None = None
    ) -> StoredSegment:
        """Change what is given of a segment, which must exist."""
        old = self.segments[segment_id]
        segment = attrs.evolve(
            old,
            name=old.name if name is None else name,
            description=old.description if description is None else description,
            updated_at=_whole_second(None),
        )
        self.segments.replace(segment_id, segment, _segment_body(segment))
        return segment

    def delete_segments(self, segment_ids: Iterable[UUID]) -> None:
        """Delete segments, and no profile; those that do not exist are ignored."""
        for segment_id in segment_ids:
            if segment_id in self.segments:
                self._note([p.customer_id for p in self.segments[segment_id].members.values()])
                self.segments.discard(segment_id)

    def wipe_segments(self) -> None:
        """Delete every segment."""
        self.wiped["segments"] += 1
        self.delete_segments(list(self.segments))

    def segments_of(self, profile_id: UUID) -> list[StoredSegment]:
        """The segments that a profile is in, oldest first."""
        return [s for s in self.segments.values() if profile_id in s.members]

    # ------------------------------------------------------------ members

    def add_members(self, segment_id: UUID, profile_ids: Iterable[UUID]) -> None:
        """Put profiles, which must exist, into a segment; those that are in it are ignored."""
        members = self.segments[segment_id].members
        for profile_id in profile_ids:
            if profile_id not in members:
                profile = self.profiles[profile_id]
                self._note([profile.customer_id])
                members.append(profile_id, profile, self.profiles.body(profile_id))

    def remove_members(self, segment_id: UUID, profile_ids: Iterable[UUID]) -> None:
        """Take profiles out of a segment; those that are not in it are ignored."""
        members = self.segments[segment_id].members
        for profile_id in profile_ids:
            if profile_id in members:
                self._note([members[profile_id].customer_id])
                members.discard(profile_id)

    def clear_members(self, segment_id: UUID) -> None:
        """Take every profile out of a segment."""
        self.wiped["segments/*/shopper-profiles"] += 1
        members = self.segments[segment_id].members
        self._note([profile.customer_id for profile in members.values()])
        members.clear()

    def _new_id(self) -> UUID:
        return UUID(int=self._rng.getrandbits(128), version=4)


def _whole_second(at: datetime | None) -> datetime:
    return (at or datetime.now(UTC)).replace(microsecond=0)


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _segment_body(segment: StoredSegment) -> bytes:
    document = {
        "id": str(segment.id),
        "name": segment.name,
        "description": segment.description,
        "created_at": _stamp(segment.created_at),
        "updated_at": _stamp(segment.updated_at),
    }
    return json.dumps(document).encode()
