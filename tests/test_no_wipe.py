"""No path but `delete_all` leads to a DELETE that names no ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import BatchError, InvalidInputError
from bcshopper._transport import Request, read_no_body
from bcshopper.sandbox import Sandbox
from tests.conftest import run

blank = st.sampled_from(["", " ", ",", ",,", "\t", "\n", "%2C", " , ", "\u00a0", "\u200b"])
anything = st.one_of(
    st.none(), blank, st.text(), st.binary(), st.integers(), st.floats(), st.booleans(),
    st.uuids(), st.uuids().map(str), st.lists(st.none(), max_size=2), st.tuples(),
)  # fmt: skip


def generator(values):
    yield from values


async def async_generator(values):
    for value in values:
        yield value


@given(
    ids=st.one_of(st.lists(anything, max_size=60), st.lists(blank, max_size=3), anything),
    lift=st.sampled_from([lambda ids: ids, generator, async_generator, dict.fromkeys]),
    stream=st.booleans(),
    check=st.booleans(),
)
def test_no_input_to_delete_can_wipe_the_store(ids, lift, stream, check):
    """Whatever is passed as ids, every DELETE that goes out names some, and nothing else goes."""

    async def main():
        async with Sandbox(profiles=2) as sandbox, sandbox.session() as session:
            profiles = session.shopper_profiles
            try:
                lifted = lift(ids)
            except TypeError:
                lifted = ids
            try:
                if stream:
                    async for _ in profiles.delete_stream(lifted):
                        pass
                else:
                    await profiles.delete(lifted, check=check)
            except (InvalidInputError, BatchError, TypeError):
                pass
            for request in sandbox.record.requests:
                assert request.method == "DELETE"
                assert len(dict(request.query)["id:in"].split(",")[0]) == 36
            assert sandbox.store.wipes == 0
            assert len(sandbox.store.profiles) == 2

    run(main())


@pytest.mark.parametrize("empty", [[], (), set(), iter([]), {}, generator([]), async_generator([])])
async def test_an_empty_delete_sends_nothing(empty):
    """No ids, no request, an empty report."""
    async with Sandbox(profiles=2) as sandbox, sandbox.session() as session:
        report = await session.shopper_profiles.delete(empty)
        assert len(report) == 0
        assert report.ok
        assert not sandbox.record.requests


@pytest.mark.parametrize(
    "query", [{}, {"id:in": ""}, {"id:in": " , "}, {"id:in": ",,"}, {"id": "7"}]
)
async def test_the_transport_refuses_a_delete_without_ids(query):
    """A second guard, below all else, for mistakes of our own."""
    async with Sandbox(profiles=2) as sandbox, sandbox.session() as session:
        profiles = session.shopper_profiles
        url = profiles._requests.delete_all().url.with_query(query)
        with pytest.raises(InvalidInputError, match="refused to send DELETE"):
            await profiles._transport.send(Request("DELETE", url), read_no_body)
        assert not sandbox.record.requests


@pytest.mark.parametrize("confirm", ["", "yes", "SANDBOX", None, True])
async def test_delete_all_wants_the_store_hash(confirm):
    """The wipe is meant, or it is not done."""
    async with Sandbox(profiles=2) as sandbox, sandbox.session() as session:
        with pytest.raises(InvalidInputError, match="must be the store hash"):
            await session.shopper_profiles.delete_all(confirm=confirm)
        assert not sandbox.record.requests


async def test_delete_all_wipes():
    """With the store hash it does what it says, in one request."""
    async with Sandbox(profiles=2) as sandbox, sandbox.session() as session:
        await session.shopper_profiles.delete_all(confirm="sandbox")
        assert sandbox.store.wipes == 1
        assert sandbox.store.profiles == {}
        assert len(sandbox.record.requests) == 1


async def test_other_calls_never_send_a_delete():
    """Listing, looking up and creating only read and add."""
    async with Sandbox(customers=100, profiles=20) as sandbox, sandbox.session() as session:
        profiles = session.shopper_profiles
        await profiles.list(limit=5).all()
        await profiles.create(range(1, 101))
        await profiles.lookup(range(1, 101))
        await profiles.create([99999], check=False)
        assert not [r for r in sandbox.record.requests if r.method == "DELETE"]
