"""What a store is to hold, as JSON: for seeds, and to keep a store over restarts."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Annotated, TypeAlias
from uuid import UUID

from msgspec import Meta, Struct

from bcshopper.errors import InvalidInputError
from bcshopper.sandbox._store import Store

_Id: TypeAlias = Annotated[int, Meta(ge=1, le=2**63 - 1)]
_Count: TypeAlias = Annotated[int, Meta(ge=0, le=10_000_000)]
_Time: TypeAlias = Annotated[datetime, Meta(tz=True)]


class SeedProfile(Struct, forbid_unknown_fields=True):
    """A customer's profile, which is new."""

    customer_id: _Id
    id: UUID
    created_at: _Time | None = None


class SeedSegment(Struct, forbid_unknown_fields=True):
    """A segment, and the customers whose profiles are in it; who has none is given one."""

    name: Annotated[str, Meta(pattern=r"\S")]
    description: str = ""
    customers: list[_Id] = []
    id: UUID | None = None
    created_at: _Time | None = None
    updated_at: _Time | None = None


class Seed(Struct, forbid_unknown_fields=True):
    """What is added to a store; what is there already stays as it is.

    Attributes:
        customers: how many to add, with ids that go on from the highest; or which.
        profiles: to how many customers who have none to give one; or to which.
        segments: segments and who is in them; those of a segment that is there are added to it.
        modified: when customers were modified last.
        gone: customers to delete, with their profiles.
    """

    customers: _Count | list[_Id] = 0
    profiles: _Count | list[_Id | SeedProfile] = 0
    segments: list[SeedSegment] = []
    modified: dict[_Id, _Time] = {}
    gone: list[_Id] = []


def plant(store: Store, seed: Seed) -> None:
    """Do to a store what a seed says.

    Raises:
        InvalidInputError: an id is there already, or stands there twice; nothing was done.
    """
    profiles = seed.profiles if isinstance(seed.profiles, list) else []
    _check_new(store, [p for p in profiles if isinstance(p, SeedProfile)], seed.segments)
    if isinstance(seed.customers, int):
        store.add_customers(seed.customers)
    else:
        store.register(seed.customers)
    if isinstance(seed.profiles, int):
        store.add_profiles(seed.profiles)
    for profile in profiles:
        if isinstance(profile, int):
            _give(store, profile)
        else:
            store.register([profile.customer_id])
            store.create(profile.customer_id, created_at=profile.created_at, profile_id=profile.id)
    ids = {segment.name: segment.id for segment in store.segments.values()}
    for s in seed.segments:
        if s.name not in ids:
            times = {"created_at": s.created_at, "updated_at": s.updated_at}
            segment = store.create_segment(s.name, s.description, segment_id=s.id, **times)
            ids[s.name] = segment.id
        store.add_members(ids[s.name], [_give(store, customer) for customer in s.customers])
    for customer_id, at in seed.modified.items():
        store.touch([customer_id], at=at)
    store.delete_customers(seed.gone)


def _give(store: Store, customer_id: int) -> UUID:
    """The id of a customer's profile; both are made if they are not there."""
    store.register([customer_id])
    return store.customers[customer_id] or store.create(customer_id).id


def _check_new(store: Store, profiles: list[SeedProfile], segments: list[SeedSegment]) -> None:
    ids: list[object] = [s.id for s in segments if s.id is not None]
    ids += [i for profile in profiles for i in (profile.id, profile.customer_id)]
    known = {*store.profiles, *store.segments, *(c for c, has in store.customers.items() if has)}
    clash = next((i for i, count in Counter(ids).items() if count > 1 or i in known), None)
    if clash is not None:
        raise InvalidInputError(f"{clash} is there already, or stands there twice")


def dump(store: Store) -> Seed:
    """The seed that makes an empty store into one with the same customers, profiles, segments."""
    return Seed(
        customers=list(store.customers),
        profiles=[SeedProfile(p.customer_id, p.id, p.created_at) for p in store.profiles.values()],
        segments=[
            SeedSegment(
                s.name, s.description, [p.customer_id for p in s.members.values()],
                s.id, s.created_at, s.updated_at,
            )
            for s in store.segments.values()
        ],
        modified={customer_id: store.modified(customer_id) for customer_id in store.customers},
    )  # fmt: skip
