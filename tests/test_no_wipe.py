"""No path but `delete_all` and `clear` leads to a DELETE that names no ids."""

from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcshopper import BatchError, InvalidInputError, TooManyRemovalsError
from bcshopper._transport import Request, read_no_body
from bcshopper.sandbox import Sandbox
from tests.conftest import run

blank = st.sampled_from(["", " ", ",", ",,", "\t", "\n", "%2C", " , ", "\u00a0", "\u200b"])
anything = st.one_of(
    st.none(), blank, st.text(), st.binary(), st.integers(), st.integers(1, 9), st.floats(),
    st.booleans(), st.uuids(), st.uuids().map(str), st.lists(st.none(), max_size=2), st.tuples(),
)  # fmt: skip


def generator(values):
    yield from values


async def async_generator(values):
    for value in values:
        yield value


async def spoil(stream):
    async for _ in stream:
        pass


VERBS = {
    "delete": lambda profiles, segments, members, ids: profiles.delete(ids),
    "delete, unchecked": lambda profiles, segments, members, ids: profiles.delete(ids, check=False),
    "delete_stream": lambda profiles, segments, members, ids: spoil(profiles.delete_stream(ids)),
    "delete segments": lambda profiles, segments, members, ids: segments.delete(ids),
    "remove": lambda profiles, segments, members, ids: members.remove(ids),
    "remove_stream": lambda profiles, segments, members, ids: spoil(members.remove_stream(ids)),
    "remove_customers": lambda profiles, segments, members, ids: members.remove_customers(ids),
    "add_customers": lambda profiles, segments, members, ids: members.add_customers(ids),
    "sync": lambda profiles, segments, members, ids: members.sync(ids, max_removed=1),
    "sync_stream": lambda profiles, segments, members, ids: spoil(
        members.sync_stream(ids, max_removed=1)
    ),
}
KEPT = {"sync", "sync_stream", "remove_customers"}  # these may take members out, by name


@given(
    ids=st.one_of(st.lists(anything, max_size=60), st.lists(blank, max_size=3), anything),
    lift=st.sampled_from([lambda ids: ids, generator, async_generator, dict.fromkeys]),
    verb=st.sampled_from(sorted(VERBS)),
)
@settings(max_examples=400)
def test_no_input_can_wipe_a_collection(ids, lift, verb):
    """Whatever is passed as ids, every DELETE that goes out names some."""

    async def main():
        async with Sandbox(customers=9, profiles=4) as sandbox, sandbox.session() as session:
            segment = sandbox.store.create_segment("VIP")
            sandbox.store.add_members(segment.id, list(sandbox.store.profiles)[:3])
            members = session.segments.members(segment.id)
            try:
                lifted = lift(ids)
            except TypeError:
                lifted = ids
            with suppress(InvalidInputError, BatchError, TypeError):
                await VERBS[verb](session.shopper_profiles, session.segments, members, lifted)
            for request in sandbox.record.requests:
                if request.method == "DELETE":
                    assert len(dict(request.query)["id:in"].split(",")[0]) == 36
            assert sandbox.store.wipes == 0
            assert len(sandbox.store.profiles) >= 4
            assert list(sandbox.store.segments) == [segment.id]
            if verb not in KEPT:
                assert len(sandbox.store.segments[segment.id].members) >= 3

    run(main())


@pytest.mark.parametrize("empty", [[], (), set(), iter([]), {}, generator([]), async_generator([])])
@pytest.mark.parametrize("verb", ["delete", "delete segments", "remove", "remove_customers"])
async def test_an_empty_delete_sends_nothing(empty, verb):
    """No ids, no request, an empty report."""
    async with Sandbox(profiles=2) as sandbox, sandbox.session() as session:
        members = session.segments.members(sandbox.store.create_segment("VIP").id)
        report = await VERBS[verb](session.shopper_profiles, session.segments, members, empty)
        assert len(report) == 0
        assert report.ok
        assert not sandbox.record.requests


async def test_a_sync_with_nobody_names_everyone_whom_it_removes():
    """Even when all have to go, it is no wipe."""
    async with Sandbox(profiles=120) as sandbox, sandbox.session() as session:
        segment = sandbox.store.create_segment("VIP")
        sandbox.store.add_members(segment.id, sandbox.store.profiles)
        report = await session.segments.members(segment.id).sync([], max_removed=1)
        assert len(report.removed) == 120
        assert not sandbox.store.segments[segment.id].members
        assert sandbox.store.wipes == 0


@pytest.mark.parametrize(
    "query", [{}, {"id:in": ""}, {"id:in": " , "}, {"id:in": ",,"}, {"id": "7"}]
)
async def test_the_transport_refuses_a_delete_without_ids(query):
    """A second guard, below all else, for mistakes of our own."""
    async with Sandbox(profiles=2) as sandbox, sandbox.session() as session:
        members = session.segments.members(sandbox.store.create_segment("VIP").id)
        for wipe in (
            session.shopper_profiles._requests.delete_all(),
            session.segments._requests.delete_all(),
            members._verbs.requests.clear(),
        ):
            request = Request("DELETE", wipe.url.with_query(query))
            with pytest.raises(InvalidInputError, match="refused to send DELETE"):
                await session.segments._transport.send(request, read_no_body)
        assert not sandbox.record.requests


@pytest.mark.parametrize("confirm", ["", "yes", "SANDBOX", None, True])
async def test_delete_all_wants_the_store_hash(confirm):
    """The wipe is meant, or it is not done."""
    async with Sandbox(profiles=2) as sandbox, sandbox.session() as session:
        for collection in (session.shopper_profiles, session.segments):
            with pytest.raises(InvalidInputError, match="must be the store hash"):
                await collection.delete_all(confirm=confirm)
        assert not sandbox.record.requests


@pytest.mark.parametrize("confirm", ["", "yes", "sandbox", None, True, UUID(int=1)])
async def test_clear_wants_the_segments_id(confirm):
    """The emptying is meant, or it is not done."""
    async with Sandbox(profiles=2) as sandbox, sandbox.session() as session:
        members = session.segments.members(sandbox.store.create_segment("VIP").id)
        with pytest.raises(InvalidInputError):
            await members.clear(confirm=confirm)
        assert not sandbox.record.requests


@pytest.mark.parametrize("as_text", [True, False])
async def test_the_wipes_that_are_meant_wipe(as_text):
    """In one request each, and what they say."""
    async with Sandbox(profiles=2) as sandbox, sandbox.session() as session:
        segment, other = (sandbox.store.create_segment(name) for name in ("VIP", "other"))
        for each in (segment, other):
            sandbox.store.add_members(each.id, sandbox.store.profiles)
        confirm = str(segment.id) if as_text else segment.id
        await session.segments.members(segment.id).clear(confirm=confirm)
        assert not sandbox.store.segments[segment.id].members
        assert len(sandbox.store.segments[other.id].members) == 2
        await session.segments.delete_all(confirm="sandbox")
        assert not sandbox.store.segments
        assert len(sandbox.store.profiles) == 2
        assert dict(sandbox.store.wiped) == {"segments/*/shopper-profiles": 1, "segments": 1}
        assert len(sandbox.record.requests) == 2


async def test_delete_all_wipes():
    """With the store hash it does what it says, in one request."""
    async with Sandbox(profiles=2) as sandbox, sandbox.session() as session:
        await session.shopper_profiles.delete_all(confirm="sandbox")
        assert sandbox.store.wipes == 1
        assert sandbox.store.profiles == {}
        assert len(sandbox.record.requests) == 1


async def test_other_calls_never_send_a_delete():
    """Listing, looking up, creating and adding only read and add."""
    async with Sandbox(customers=100, profiles=20) as sandbox, sandbox.session() as session:
        profiles = session.shopper_profiles
        await profiles.list(limit=5).all()
        await profiles.create(range(1, 101))
        await profiles.lookup(range(1, 101))
        await profiles.create([99999], check=False)
        segment = await session.segments.ensure("VIP")
        await session.segments.update(segment.id, description="text")
        members = session.segments.members(segment.id)
        await members.add(list(sandbox.store.profiles)[:30])
        await members.add_customers([1, 40, 99999], check=False)
        await members.plan([1])
        with pytest.raises(TooManyRemovalsError):
            await members.sync([])
        assert not [r for r in sandbox.record.requests if r.method == "DELETE"]
