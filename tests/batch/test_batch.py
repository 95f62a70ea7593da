import asyncio
import itertools
import tracemalloc
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import (
    AuthenticationError,
    BatchError,
    BatchReport,
    InvalidInputError,
    RetryPolicy,
    Session,
    Status,
)
from bcshopper.events import ChunkDone
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.conftest import run


def count(sandbox, method):
    return sandbox.record.counts[method, "shopper-profiles"]


async def asynchronous(values):
    for value in values:
        await asyncio.sleep(0)
        yield value


@pytest.mark.thousands
async def test_the_main_job_takes_exactly_the_minimum_of_requests():
    """10,000 created, listed and deleted: 200 POST, 40 GET, 200 DELETE, ten at a time."""
    async with Sandbox(customers=10_000) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(0.05))
        profiles = session.shopper_profiles
        report = await profiles.create(range(1, 10_001))
        assert report.ok
        assert len(report.created) == 10_000
        assert {p.id for p in await profiles.list().all()} == set(report.profile_ids)
        assert (await profiles.delete(o.profile_id for o in report)).ok
        assert sandbox.store.profiles == {}
        assert dict(sandbox.record.counts) == {
            ("POST", "shopper-profiles"): 200,
            ("GET", "shopper-profiles"): 40,
            ("DELETE", "shopper-profiles"): 200,
        }
        assert sandbox.record.peak == 10
        assert session.stats.requests == 440


@given(
    ids=st.lists(st.integers(1, 120), max_size=250),
    existing=st.sets(st.integers(1, 100)),
    lift=st.sampled_from([list, iter, tuple, asynchronous]),
    bad_items=st.sampled_from(["refuse", "207", "409"]),
    names_items=st.booleans(),
)
def test_create_gives_one_true_outcome_per_distinct_id_in_order(
    ids, existing, lift, bad_items, names_items
):
    """Customers 101 to 120 do not exist; the others all have a profile afterwards."""

    async def main():
        rules = Rules(bad_items=bad_items, names_items=names_items)
        async with Sandbox(customers=100, rules=rules) as sandbox, sandbox.session() as session:
            for customer_id in existing:
                sandbox.store.create(customer_id)
            report = await session.shopper_profiles.create(lift(ids), check=False)
            assert [o.item for o in report] == list(dict.fromkeys(ids))
            for outcome in report:
                held = sandbox.store.customers.get(outcome.item)
                if outcome.item > 100:
                    assert outcome.status is Status.REJECTED
                    assert outcome.error is not None
                    continue
                expected = Status.EXISTS if outcome.item in existing else Status.CREATED
                assert outcome.status is expected
                assert outcome.profile_id == held is not None
            if not existing and all(i <= 100 for i in ids):
                assert count(sandbox, "POST") == -(-len(set(ids)) // 50)

    run(main())


@given(
    owned=st.integers(0, 130),
    strangers=st.integers(0, 3),
    repeats=st.integers(0, 5),
    lift=st.sampled_from([list, iter, asynchronous]),
    as_text=st.booleans(),
    vanished=st.sampled_from(["ignore", "not_found"]),
)
def test_delete_gives_one_true_outcome_per_distinct_id_in_order(
    owned, strangers, repeats, lift, as_text, vanished
):
    """None of them exists afterwards, all others do, and ids that never existed are no failure."""

    async def main():
        rules = Rules(vanished=vanished)
        async with Sandbox(profiles=150, rules=rules) as sandbox, sandbox.session() as session:
            spared = set(list(sandbox.store.profiles)[owned:])
            ids = list(sandbox.store.profiles)[:owned]
            for n in range(strangers):
                ids.insert(n * 7 % (len(ids) + 1), uuid4())
            given_ids = ids + ids[:repeats]
            report = await session.shopper_profiles.delete(
                lift([str(i) if as_text else i for i in given_ids])
            )
            assert [o.item for o in report] == ids
            assert {o.status for o in report} <= {Status.DELETED}
            assert set(sandbox.store.profiles) == spared
            assert sandbox.store.wipes == 0
            if vanished == "ignore" or not strangers:
                assert count(sandbox, "DELETE") == -(-len(ids) // 50)

    run(main())


async def test_create_can_be_repeated():
    """The second time everyone is there already, with the same id and no profile made twice."""
    async with Sandbox(customers=120) as sandbox, sandbox.session() as session:
        first = await session.shopper_profiles.create(range(1, 121))
        second = await session.shopper_profiles.create(range(1, 121))
        assert second.profile_ids == first.profile_ids
        assert len(second.existing) == len(second) == 120
        assert sandbox.record.counts["GET", "customers"] == 3


async def test_a_failed_batch_raises_with_the_whole_report():
    """`check` is the default: a failure can't go unnoticed, and nothing known is lost with it."""
    async with Sandbox(customers=60) as sandbox, sandbox.session() as session:
        with pytest.raises(BatchError, match=r"1 of 61 ids failed.*99") as caught:
            await session.shopper_profiles.create([*range(1, 61), 99])
        report = caught.value.report
        assert len(report.created) == 60
        assert [o.item for o in report.failed] == [99]
        assert "Customer `99` does not exist" in str(report.failed[0].error)
        assert caught.value.__cause__ is report.failed[0].error
        assert BatchReport.from_exception(caught.value) is report


async def test_one_bad_customer_costs_the_others_nothing():
    """The rest of its chunk goes out again at once, and the other chunks do not notice."""
    async with Sandbox(customers=200) as sandbox, sandbox.session() as session:
        report = await session.shopper_profiles.create([*range(1, 200), 777], check=False)
        assert len(report.created) == 199
        assert count(sandbox, "POST") == 5


async def test_a_wrong_token_stops_the_batch_at_once():
    """No more than the requests already in flight go out; the rest is not sent."""
    async with Sandbox(customers=5000) as sandbox:
        sandbox.faults.rule(Fault.slow(1.0))
        async with Session("sandbox", "wrong", base_url=sandbox.url) as session:
            report = await session.shopper_profiles.create(range(1, 5001), check=False)
        assert len(sandbox.record.requests) == 1  # the first goes alone
        assert {o.status for o in report} == {Status.NOT_SENT}
        assert all(isinstance(o.error, AuthenticationError) for o in report)


async def test_the_url_of_a_delete_stays_short_with_a_long_base_url():
    """The chunk shrinks so that the URL stays within 2,048 characters, percent-encoded."""
    async with Sandbox(profiles=100) as sandbox:
        url = f"{sandbox.url}/{'x' * 900}"
        async with Session("sandbox", "t", base_url=url) as session:
            await session.shopper_profiles.delete(sandbox.store.profiles, check=False)
        (request,) = {r.query for r in list(sandbox.record.requests)[:1]}
        assert len(request[0][1].split(",")) == 27


@pytest.mark.parametrize("verb", ["create", "delete", "create_stream", "delete_stream", "lookup"])
@pytest.mark.parametrize("ids", ["abc", b"abc", None, 7, uuid4()])
async def test_a_single_id_in_place_of_a_collection_is_refused(verb, ids):
    """Text is not taken for a list of characters."""
    async with Sandbox() as sandbox, sandbox.session() as session:
        with pytest.raises(InvalidInputError, match="give a list"):
            result = getattr(session.shopper_profiles, verb)(ids)
            if verb.endswith("stream"):
                await anext(result)
            else:
                await result
        assert not sandbox.record.requests


@pytest.mark.parametrize("bad", [0, -1, 1.0, "1", None, True, 2**63, [1]])
@pytest.mark.parametrize("verb", ["create", "lookup"])
async def test_one_bad_customer_id_is_named_before_anything_is_sent(verb, bad):
    """A batch with a bad id does not start."""
    async with Sandbox(customers=100) as sandbox, sandbox.session() as session:
        with pytest.raises(InvalidInputError) as caught:
            await getattr(session.shopper_profiles, verb)([*range(1, 60), bad])
        assert repr(bad) in str(caught.value)
        assert not sandbox.record.requests


@pytest.mark.parametrize("bad", ["", " ", ",", None, 5, "not-a-uuid", b"x", "*"])
async def test_one_bad_profile_id_is_named_before_anything_is_sent(bad):
    """A batch with a bad id does not start."""
    async with Sandbox(profiles=60) as sandbox, sandbox.session() as session:
        with pytest.raises(InvalidInputError) as caught:
            await session.shopper_profiles.delete([*sandbox.store.profiles, bad])
        assert repr(bad) in str(caught.value)
        assert not sandbox.record.requests


async def test_a_stream_takes_a_bad_id_as_an_outcome_of_its_own():
    """The others go on; the bad one is rejected with the reason."""
    async with Sandbox(customers=100) as sandbox, sandbox.session() as session:
        stream = session.shopper_profiles.create_stream([1, "x", 2, [3], 4])
        outcomes = [outcome async for outcome in stream]
        bad = [o for o in outcomes if not o.ok]
        assert [o.item for o in bad] == ["x", [3]]
        assert all(isinstance(o.error, InvalidInputError) for o in bad)
        assert sorted(o.item for o in outcomes if o.ok) == [1, 2, 4]
        assert count(sandbox, "POST") == 1


async def test_a_stream_yields_while_its_source_is_still_waiting():
    """A slow source holds back no outcome of what it gave before."""
    async with Sandbox(customers=100) as sandbox, sandbox.session() as session:

        async def source():
            for customer_id in range(1, 51):
                yield customer_id
            await asyncio.sleep(1000)
            yield 51

        stream = session.shopper_profiles.create_stream(source())
        first = [await anext(stream) for _ in range(50)]
        assert asyncio.get_running_loop().time() < 1
        assert [o.item for o in first] == list(range(1, 51))
        assert (await anext(stream)).item == 51
        assert asyncio.get_running_loop().time() >= 1000


async def test_a_stream_reads_no_further_ahead_than_it_sends():
    """A source of any length is read as it is used."""
    async with Sandbox(customers=10) as sandbox, sandbox.session(concurrency=2) as session:
        read = 0

        def source():
            nonlocal read
            for customer_id in itertools.count(1):
                read += 1
                yield customer_id

        sandbox.faults.rule(Fault.slow(1.0))
        stream = session.shopper_profiles.create_stream(source())
        await anext(stream)
        assert read <= 50 * (2 * 2 + 1)
        await stream.aclose()


async def test_a_fatal_error_ends_a_stream_after_the_outcomes_of_all_that_was_read():
    """Nothing that was read is left without an outcome; then the error is raised."""
    read = []

    def source():
        for customer_id in range(1, 10_001):
            read.append(customer_id)
            yield customer_id

    outcomes = []
    async with Sandbox(customers=10_000) as sandbox:
        sandbox.faults.rule(Fault.slow(1.0))
        async with Session("sandbox", "wrong", base_url=sandbox.url) as session:
            with pytest.raises(AuthenticationError):
                async for outcome in session.shopper_profiles.create_stream(source()):
                    outcomes.append(outcome)
    assert sorted(o.item for o in outcomes) == read
    assert len(read) < 2000
    assert {o.status for o in outcomes} == {Status.NOT_SENT}


async def test_a_source_that_fails_ends_a_stream_after_the_outcomes_of_all_that_was_read():
    """The chunk that was not full is not sent, and says so; then the source's error is raised."""

    def source():
        yield from range(1, 71)
        raise KeyError("mine")

    outcomes = []
    async with Sandbox(customers=100) as sandbox, sandbox.session() as session:
        with pytest.raises(KeyError, match="mine"):
            async for outcome in session.shopper_profiles.create_stream(source()):
                outcomes.append(outcome)
    by_status = {s: [o.item for o in outcomes if o.status is s] for s in Status}
    assert by_status[Status.CREATED] == list(range(1, 51))
    assert by_status[Status.NOT_SENT] == list(range(51, 71))


async def test_repeats_in_a_stream_count_once_while_the_first_is_under_way():
    """One outcome for both; much later, the same id is new, and exists."""
    async with Sandbox(customers=300) as sandbox, sandbox.session() as session:
        ids = [1, 1, 2, 1, *range(3, 300), 1]
        outcomes = [o async for o in session.shopper_profiles.create_stream(ids)]
        assert sorted({o.item for o in outcomes}) == list(range(1, 300))
        assert 299 <= len(outcomes) <= 300
        assert all(o.ok for o in outcomes)


async def test_leaving_a_stream_early_sends_nothing_more():
    """Break, and what is in flight is given up, what is waiting is not sent."""
    async with Sandbox(customers=5000) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(1.0))
        stream = session.shopper_profiles.create_stream(range(1, 5001))
        async for _ in stream:
            break
        await stream.aclose()
        sent = session.stats.requests
        await asyncio.sleep(100)
        assert len(sandbox.record.requests) <= session.stats.requests == sent <= 11


@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_a_cancelled_batch_hands_over_what_is_known(how):
    """The cancellation goes on, and carries the report: created, in doubt, and not sent."""
    async with Sandbox(customers=5000) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(1.0))
        create = session.shopper_profiles.create(range(1, 5001))

        async def bounded():
            async with asyncio.timeout(2.5):
                await create

        if how == "cancel":
            task = asyncio.create_task(create)
            await asyncio.sleep(2.5)
            task.cancel()
            expected = asyncio.CancelledError
        else:
            task = asyncio.create_task(bounded())
            expected = TimeoutError
        with pytest.raises(expected) as caught:
            await task
        report = BatchReport.from_exception(caught.value)
        assert len(report) == 5000
        statuses = [o.status for o in report]
        assert statuses.count(Status.CREATED) == 50 + 500  # the first goes alone
        assert statuses.count(Status.UNKNOWN) == 500
        assert statuses.count(Status.NOT_SENT) == 3950
        sent = len(sandbox.record.requests)
        await asyncio.sleep(100)
        assert len(sandbox.record.requests) == sent == 21


async def test_each_chunk_tells_on_event_when_it_is_done():
    """A progress bar needs no stream."""
    events = []
    async with (
        Sandbox(customers=120) as sandbox,
        sandbox.session(on_event=events.append) as session,
    ):
        report = await session.shopper_profiles.create(range(1, 121))
        await session.shopper_profiles.delete(report.profile_ids)
    done = [e for e in events if isinstance(e, ChunkDone)]
    assert [(e.verb, len(e.outcomes)) for e in done if e.verb == "create"] == [
        ("create", 50), ("create", 50), ("create", 20)
    ]  # fmt: skip
    assert sum(len(e.outcomes) for e in done if e.verb == "delete") == 120


@pytest.mark.thousands
async def test_a_stream_takes_no_more_memory_for_more_ids():
    """Three times the ids, the same peak: neither they nor their outcomes pile up."""

    async def peak(session, number):
        tracemalloc.start()
        async for _ in session.shopper_profiles.delete_stream(UUID(int=n) for n in range(number)):
            pass
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    async with Sandbox() as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.answer(204, b"", applied=False))
        sandbox.record.requests = type(sandbox.record.requests)(maxlen=10)
        await peak(session, 1_000)
        # the ids alone would be 2 MB more
        assert await peak(session, 30_000) - await peak(session, 10_000) < 400_000


async def test_lookup_finds_profiles_by_customer():
    """Everyone asked for is in the answer, in order: an id, or None."""
    async with Sandbox(customers=700, profiles=300) as sandbox, sandbox.session() as session:
        ids = [*range(700, 0, -1), 99999, 5]
        found = await session.shopper_profiles.lookup(ids)
        assert list(found) == ids[:-1]
        assert found == {i: sandbox.store.customers.get(i) for i in ids}
        assert all(len(r.query[0][1]) < 2048 for r in sandbox.record.requests)
        assert sandbox.record.counts == {("GET", "customers"): len(sandbox.record.requests)}


async def test_lookup_follows_a_server_that_gives_fewer_per_page():
    """The server's page size counts, not ours."""
    rules = Rules(max_limit=30)
    async with Sandbox(profiles=100, rules=rules) as sandbox, sandbox.session() as session:
        found = await session.shopper_profiles.lookup(range(1, 101))
        assert found == sandbox.store.customers
        assert sandbox.record.counts["GET", "customers"] == 4


async def test_a_failed_lookup_raises_plainly():
    """No group of exceptions: the first failure, and nothing left under way."""
    async with (
        Sandbox(customers=1000) as sandbox,
        sandbox.session(retry=RetryPolicy(attempts=1)) as session,
    ):
        sandbox.faults.rule(Fault.error(401), nth=2)
        with pytest.raises(AuthenticationError):
            await session.shopper_profiles.lookup(range(1, 1001))


def test_a_callback_that_ends_the_program_leaves_no_batch_hanging():
    """Whoever runs the event loop on after a SystemExit gets the report."""
    exits = [SystemExit(3)]

    def leave_once(event):
        if isinstance(event, ChunkDone) and exits:
            raise exits.pop()

    async def create(sandbox):
        async with sandbox.session(on_event=leave_once) as session:
            return await session.shopper_profiles.create(range(1, 101))

    with Sandbox(customers=100) as sandbox, asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(create(sandbox))
        with pytest.raises(SystemExit):
            loop.run_until_complete(task)
        report = loop.run_until_complete(asyncio.wait_for(task, 10))
    assert len(report.created) == 100
