"""A sandbox with a segment, a session on it, and what happened there."""

from contextlib import asynccontextmanager

from bcshopper import RetryPolicy
from bcshopper.sandbox import Rules, Sandbox

PROFILES, SEGMENTS, CUSTOMERS = "shopper-profiles", "segments", "customers"
MEMBERS = "segments/*/shopper-profiles"
NOBODY = "00000000-0000-4000-8000-000000000000"


@asynccontextmanager
async def opened(customers=0, *, profiles=0, members=0, retry=RetryPolicy(), **rules):  # noqa: B008
    """A sandbox, a session and a segment with so many of the profiles, the oldest."""
    sandbox = Sandbox(customers, profiles=profiles, rules=Rules(**rules))
    async with sandbox, sandbox.session(retry=retry) as session:
        segment = sandbox.store.create_segment("VIP")
        sandbox.store.add_members(segment.id, ids_of(sandbox)[:members])
        yield sandbox, session, segment


def ids_of(sandbox):
    """The ids of all profiles, oldest first."""
    return list(sandbox.store.profiles)


def members_of(sandbox, segment):
    """The ids of all profiles in a segment, in the order of joining."""
    return list(sandbox.store.segments[segment.id].members)


def customers_of(sandbox, segment):
    """The customers who are in a segment."""
    found = sandbox.store.segments.get(segment.id)
    return set() if found is None else {profile.customer_id for profile in found.members.values()}


def counts(sandbox):
    """How many requests came, by method and path."""
    return dict(sandbox.record.counts)


async def asynchronous(values):
    for value in values:
        yield value
