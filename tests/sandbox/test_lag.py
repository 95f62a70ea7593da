import asyncio

import pytest

from bcshopper.sandbox import Rules, Sandbox
from tests.sandbox.store import CUSTOMERS, create, existing, naming, store

PROFILE_IDS = {"include": "shopper_profile_id"}


async def seen(call):
    """Who has a profile, and which, as a look-up tells."""
    rows = (await call("GET", CUSTOMERS, params=PROFILE_IDS)).json["data"]
    return {row["id"]: row["shopper_profile_id"] for row in rows}


@pytest.mark.parametrize("lag", [0.1, 3.0])
async def test_a_lookup_is_as_old_as_the_rule_says(lag):
    """What was written is seen when the lag has passed, and not before."""
    async with store(customers=2, lag=lag) as (sandbox, call):
        await call("POST", **create(1))
        (made,) = existing(sandbox)
        assert await seen(call) == {1: None, 2: None}
        await asyncio.sleep(lag * 0.9)
        assert await seen(call) == {1: None, 2: None}
        await asyncio.sleep(lag * 0.2)
        assert await seen(call) == {1: str(made), 2: None}


async def test_every_state_is_seen_in_its_turn():
    """Created, deleted and created again: a look-up walks through all of it, a lag behind."""
    async with store(customers=1, lag=10.0) as (sandbox, call):
        written = []
        for _ in range(2):
            await call("POST", **create(1))
            written.append(str(existing(sandbox)[0]))
            await asyncio.sleep(3)
            await call("DELETE", **naming(*existing(sandbox)))
            await asyncio.sleep(3)
        shown = []
        for _ in range(12):
            shown.append((await seen(call))[1])
            await asyncio.sleep(1)
        assert list(dict.fromkeys(shown)) == [written[0], None, written[1]]
        assert shown[-1] is None


async def test_a_new_customer_is_seen_late_too():
    """Neither by id nor in the list, nor in its total."""
    async with store(customers=1, lag=2.0) as (sandbox, call):
        sandbox.seed(customers=1)
        assert await seen(call) == {1: None}
        assert (await call("GET", CUSTOMERS)).pagination["total"] == 1
        assert (await call("GET", CUSTOMERS, params={"id:in": "1,2"})).pagination["total"] == 1
        await asyncio.sleep(2.1)
        assert (await call("GET", CUSTOMERS, params={"id:in": "1,2"})).pagination["total"] == 2


async def test_only_lookups_lag():
    """The store itself knows what it has: the list of profiles, conflicts and deletes are true."""
    async with store(customers=1, lag=60.0) as (_, call):
        assert (await call("POST", **create(1))).status == 201
        assert (await call("GET")).pagination["total"] == 1
        assert (await call("POST", **create(1))).status == 409
        assert await seen(call) == {1: None}


async def test_what_was_there_at_the_start_or_after_a_reset_has_been_there_for_ever():
    """A store does not begin with a lag."""
    async with store(customers=2, profiles=1, lag=60.0) as (sandbox, call):
        (first,) = existing(sandbox)
        assert await seen(call) == {1: str(first), 2: None}
        sandbox.seed(profiles=1)
        assert await seen(call) == {1: str(first), 2: None}
        sandbox.reset()
        assert await seen(call) == {1: str(first), 2: None}


async def test_a_store_changed_before_its_start_does_not_lag_then():
    """The times before are of no clock that counts."""
    sandbox = Sandbox(customers=1, rules=Rules(lag=60.0))
    profile = sandbox.store.create(1)
    async with sandbox, sandbox.session() as session:
        assert await session.shopper_profiles.lookup([1]) == {1: profile.id}
