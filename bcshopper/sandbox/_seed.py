"""What a store is to hold, as JSON: for seeds, and to keep a store over restarts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, TypeAlias
from uuid import UUID

from msgspec import Meta, Struct

from bcshopper.errors import InvalidInputError
from bcshopper.sandbox._store import Store

_Id: TypeAlias = Annotated[int, Meta(ge=1, le=2**63 - 1)]
_Count: TypeAlias = Annotated[int, Meta(ge=0, le=10_000_000)]
_Time: TypeAlias = Annotated[datetime, Meta(tz=True)]


class SeedCustomer(Struct, forbid_unknown_fields=True):
    """A customer with the time when it was modified last."""

    id: _Id
    modified_at: _Time


class SeedProfile(Struct, forbid_unknown_fields=True):
    """A customer's profile with its id and time."""

    id: UUID
    customer_id: _Id
    created_at: _Time | None = None


class SeedSegment(Struct, forbid_unknown_fields=True):
    """A segment, and the customers whose profiles are in it; who has none is given one."""

    name: Annotated[str, Meta(min_length=1)]
    description: str = ""
    customers: list[_Id] = []
    id: UUID | None = None
    created_at: _Time | None = None
    updated_at: _Time | None = None


class Seed(Struct, forbid_unknown_fields=True):
    """What is added to a store. What is there already stays as it is.

    Attributes:
        customers: how many to add, with ids that go on from the highest; or which.
        profiles: to how many customers who have none to give one; or to which.
        segments: segments and who is in them; those of a segment that is there are added to it.
        gone: customers to delete, with their profiles.
    """

    customers: _Count | list[_Id | SeedCustomer] = 0
    profiles: _Count | list[_Id | SeedProfile] = 0
    segments: list[SeedSegment] = []
    gone: list[_Id] = []


def plant(store: Store, seed: Seed) -> None:
    """Do to a store what a seed says.

    Raises:
        InvalidInputError: it contradicts itself or the store, which is as it was.
    """
    _check(store, seed)
    if isinstance(seed.customers, int):
        store.add_customers(seed.customers)
    else:
        store.register(c.id if isinstance(c, SeedCustomer) else c for c in seed.customers)
        for customer in seed.customers:
            if isinstance(customer, SeedCustomer):
                store.touch([customer.id], at=customer.modified_at)
    if isinstance(seed.profiles, int):
        store.add_profiles(seed.profiles)
    else:
        for profile in seed.profiles:
            _give(store, SeedProfile(UUID(int=0), profile) if isinstance(profile, int) else profile)
    for wanted in seed.segments:
        found = (s for s in store.segments.values() if s.name == wanted.name)
        segment = next(found, None) or store.create_segment(
            wanted.name,
            wanted.description,
            created_at=wanted.created_at,
            updated_at=wanted.updated_at,
            segment_id=wanted.id,
        )
        members = [_give(store, SeedProfile(UUID(int=0), c)) for c in wanted.customers]
        store.add_members(segment.id, members)
    store.delete_customers(seed.gone)


def _give(store: Store, wanted: SeedProfile) -> UUID:
    """The id of a customer's profile, which is made if there is none; so is the customer."""
    store.register([wanted.customer_id])
    has = store.customers[wanted.customer_id]
    if has is not None:
        return has
    chosen = wanted.id if wanted.id.int else None
    return store.create(
        wanted.customer_id, created_at=wanted.created_at, profile_id=chosen
    ).id  # fmt: skip


def _check(store: Store, seed: Seed) -> None:
    profiles = seed.profiles if isinstance(seed.profiles, list) else []
    given = [profile for profile in profiles if isinstance(profile, SeedProfile)]
    known = {profile.id: profile.customer_id for profile in store.profiles.values()}
    for profile in given:
        has = store.customers.get(profile.customer_id)
        if has not in {None, profile.id}:
            raise InvalidInputError(f"customer {profile.customer_id} has the profile {has} already")
        if known.get(profile.id, profile.customer_id) != profile.customer_id:
            raise InvalidInputError(f"profile {profile.id} is of customer {known[profile.id]}")
    names = {segment.name: segment.id for segment in store.segments.values()}
    for segment in seed.segments:
        if segment.id is not None and names.get(segment.name, segment.id) != segment.id:
            raise InvalidInputError(f"segment {segment.name!r} has the id {names[segment.name]}")
        has_id = None if segment.id is None else store.segments.get(segment.id)
        if has_id is not None and has_id.name != segment.name:
            raise InvalidInputError(f"segment {segment.id} has another name than {segment.name!r}")
    _no_repeats("profile", (profile.id for profile in given))
    _no_repeats("customer", (profile.customer_id for profile in given))
    _no_repeats("segment", (segment.id for segment in seed.segments if segment.id))


def _no_repeats(what: str, ids: Iterable[object]) -> None:
    counts: Mapping[object, int] = Counter(ids)
    repeated = next((i for i, count in counts.items() if count > 1), None)
    if repeated is not None:
        raise InvalidInputError(f"{what} {repeated} stands there twice")


def dump(store: Store) -> Seed:
    """The seed that makes an empty store into one with the same customers, profiles, segments."""
    return Seed(
        customers=[SeedCustomer(i, store.modified(i)) for i in store.customers],
        profiles=[SeedProfile(p.id, p.customer_id, p.created_at) for p in store.profiles.values()],
        segments=[
            SeedSegment(
                name=segment.name,
                description=segment.description,
                customers=[profile.customer_id for profile in segment.members.values()],
                id=segment.id,
                created_at=segment.created_at,
                updated_at=segment.updated_at,
            )
            for segment in store.segments.values()
        ],
    )
