"""`members(...).plan`, `sync` and `sync_stream`."""

import asyncio
import pickle

import pytest

from bcshopper import (
    BatchError,
    BatchReport,
    InvalidInputError,
    NotFoundError,
    RetryPolicy,
    ServerError,
    Status,
    SyncPlan,
    SyncReport,
    TooManyRemovalsError,
)
from bcshopper.sandbox import Fault
from tests.segments.store import (
    CUSTOMERS,
    MEMBERS,
    NOBODY,
    PROFILES,
    asynchronous,
    counts,
    customers_of,
    ids_of,
    opened,
)


def statuses(report):
    return {outcome.item: outcome.status for outcome in report}


def reads(sandbox):
    return [request for request in sandbox.record.requests if request.method == "GET"]


async def test_a_segment_holds_exactly_these_customers_afterwards():
    """Wanted ones first, in their order, then those who had to go; nobody else is touched."""
    async with opened(100, profiles=60, members=30) as (sandbox, session, segment):
        members = session.segments.members(segment.id)
        wanted = [90, 5, 40, 5, *range(10, 30)]
        report = await members.sync(wanted)
        assert isinstance(report, SyncReport)
        assert [o.item for o in report][:23] == list(dict.fromkeys(wanted))
        assert {o.item for o in report.added} == {90, 40}
        assert {o.item for o in report.existing} == {5, *range(10, 30)}
        assert {o.item for o in report.removed} == {*range(1, 10), 30} - {5}
        assert report.ok
        assert customers_of(sandbox, segment) == set(wanted)
        assert report.added[0].profile_id == sandbox.store.customers[90]
        assert all(sandbox.store.customers[i] is not None for i in range(1, 10))
        again = await members.sync(wanted)
        assert statuses(again) == dict.fromkeys(wanted, Status.EXISTS)
        assert repr(again) == "<SyncReport of 23: 23 exists>"
        assert pickle.loads(pickle.dumps(again)) == again


async def test_the_plan_is_the_same_without_the_writes():
    """Exactly what `sync` then does, in exactly so many writes."""
    async with opened(300, profiles=150, members=140) as (sandbox, session, segment):
        members = session.segments.members(segment.id)
        wanted = [*range(1, 71), *range(145, 261)]
        plan = await members.plan(asynchronous(wanted))
        assert plan == SyncPlan(
            to_create=tuple(range(151, 261)),
            to_add=tuple(range(145, 261)),
            to_remove=tuple(range(71, 141)),
            unchanged=70,
            requests=3 + 3 + 2,
        )
        assert list(sandbox.record.requests) == reads(sandbox)
        report = await members.sync(wanted)
        assert {o.item for o in report.added} == set(plan.to_add)
        assert {o.item for o in report.removed} == set(plan.to_remove)
        assert len(report.existing) == plan.unchanged
        assert len(sandbox.record.requests) - len(reads(sandbox)) == plan.requests


@pytest.mark.thousands
async def test_twenty_thousand_customers_and_then_500_changes():
    """The exact requests: pages of members, look-ups of the missing, chunks of writes."""
    async with opened(20_250, profiles=12_000) as (sandbox, session, segment):
        members = session.segments.members(segment.id)
        wanted = list(range(1, 20_001))
        assert len((await members.sync(wanted)).added) == 20_000
        lookups = counts(sandbox)["GET", CUSTOMERS]
        assert counts(sandbox) == {
            ("GET", MEMBERS): 1,
            ("GET", CUSTOMERS): lookups,
            ("POST", PROFILES): 160,
            ("POST", MEMBERS): 400,
        }
        assert lookups == fewest_lookups(wanted)
        sandbox.record.requests.clear()
        sandbox.record.counts.clear()
        report = await members.sync([*range(251, 20_001), *range(20_001, 20_251)])
        assert (len(report.added), len(report.removed)) == (250, 250)
        assert counts(sandbox) == {
            ("GET", MEMBERS): 80 + 2,
            ("GET", CUSTOMERS): fewest_lookups(range(20_001, 20_251)),
            ("POST", PROFILES): 5,
            ("POST", MEMBERS): 5,
            ("DELETE", MEMBERS): 6,
        }
        assert customers_of(sandbox, segment) == set(range(251, 20_251))
        assert sandbox.store.wipes == 0


def fewest_lookups(customers):
    """How many runs of them have URLs of up to 2,048 characters, 250 each at most."""
    frame = len(
        "http://127.0.0.1:12345/stores/sandbox/v3/customers"
        "?include=shopper_profile_id&limit=250&page=250&id%3Ain="
    )
    count, room, run = 1, 2048 - frame, 0
    for customer in customers:
        length = len(str(customer)) + (len("%2C") if run else 0)
        if run == 250 or length > room:
            count, room, run = count + 1, 2048 - frame, 0
            length = len(str(customer))
        room, run = room - length, run + 1
    return count


# ---------------------------------------------------------------- the guard


@pytest.mark.parametrize(
    ("wanted", "max_removed", "refused"),
    [
        ([], 0.5, True),
        ([], 0.99, True),
        ([], 1, False),
        (range(1, 51), 0.5, False),
        (range(1, 50), 0.5, True),
        (range(1, 100), 0, True),
        (range(1, 121), 0, False),
        ([*range(1, 50), *range(101, 200)], 0.5, True),  # those who come are no members
    ],
)
async def test_more_removals_than_allowed_are_refused_before_anything_is_written(
    wanted, max_removed, refused
):
    """The error has the plan; an empty collection counts as all of them."""
    async with opened(200, profiles=120, members=100) as (sandbox, session, segment):
        members = session.segments.members(segment.id)
        if not refused:
            assert (await members.sync(wanted, max_removed=max_removed)).ok
            assert customers_of(sandbox, segment) == set(wanted)
            return
        with pytest.raises(TooManyRemovalsError, match="of 100 members would be removed") as caught:
            await members.sync(wanted, max_removed=max_removed)
        assert caught.value.plan == await members.plan(wanted)
        with pytest.raises(TooManyRemovalsError):
            async for _ in members.sync_stream(wanted, max_removed=max_removed):
                pytest.fail("nobody has an outcome")
        assert list(sandbox.record.requests) == reads(sandbox)
        assert customers_of(sandbox, segment) == set(range(1, 101))


@pytest.mark.parametrize("max_removed", [-0.1, 1.1, "0.5", None, True, float("nan")])
async def test_a_bad_fraction_is_refused_at_once(max_removed):
    """By `sync` and by `sync_stream`."""
    async with opened(9, profiles=9, members=9) as (sandbox, session, segment):
        members = session.segments.members(segment.id)
        with pytest.raises(InvalidInputError, match="max_removed must be"):
            await members.sync([1], max_removed=max_removed)
        with pytest.raises(InvalidInputError, match="max_removed must be"):
            members.sync_stream([1], max_removed=max_removed)
        assert not sandbox.record.requests


@pytest.mark.parametrize("bad", [[1, "2"], [0], [None], [2**63], 7, "123"])
async def test_a_bad_id_is_refused_before_anything_is_sent(bad):
    """Left out, it would be removed."""
    async with opened(9, profiles=9, members=9) as (sandbox, session, segment):
        members = session.segments.members(segment.id)
        for call in (members.sync, members.plan, lambda ids: anext(members.sync_stream(ids))):
            with pytest.raises(InvalidInputError):
                await call(bad)
        assert not sandbox.record.requests


async def test_a_source_that_fails_changes_nothing():
    """Half of a list is not the list."""

    async def half():
        yield 1
        raise OSError("the database is gone")

    async with opened(9, profiles=9, members=9) as (sandbox, session, segment):
        members = session.segments.members(segment.id)
        for call in (members.sync, members.plan, lambda ids: anext(members.sync_stream(ids))):
            with pytest.raises(OSError, match="the database is gone"):
                await call(half())
        assert not sandbox.record.requests


# ---------------------------------------------------------------- who can't be helped


@pytest.mark.parametrize("bad_items", ["refuse", "207", "409"])
@pytest.mark.parametrize("names_items", [True, False])
async def test_a_customer_who_does_not_exist_is_rejected_and_hinders_nobody(bad_items, names_items):
    """Unknown customers go last, so that nearly nobody shares a request with them."""
    async with opened(400, profiles=100, bad_items=bad_items, names_items=names_items) as (
        sandbox, session, segment,
    ):  # fmt: skip
        strangers = [9001, 9002, 9003]
        wanted = [9001, *range(1, 201), 9002, *range(201, 401), 9003]
        members = session.segments.members(segment.id)
        report = await members.sync(wanted, check=False)
        assert [o.item for o in report.failed] == strangers
        assert {o.status for o in report.failed} == {Status.REJECTED}
        assert all(o.error is not None for o in report.failed)
        assert customers_of(sandbox, segment) == set(range(1, 401))
        assert counts(sandbox)["POST", MEMBERS] == 8
        assert counts(sandbox)["POST", PROFILES] <= (8 if names_items else 20)
        with pytest.raises(BatchError, match="3 of 403 ids failed") as caught:
            await members.sync(wanted)
        assert isinstance(caught.value.report, SyncReport)


async def test_members_that_cant_be_read_are_an_error():
    """Whatever `check` says: an empty report would look like success."""
    async with opened(9, profiles=9, members=9) as (_, session, _):
        for check in (True, False):
            with pytest.raises(NotFoundError, match=f"segment {NOBODY} does not exist"):
                await session.segments.members(NOBODY).sync([], check=check)
        with pytest.raises(NotFoundError) as caught:
            await session.segments.members(NOBODY).sync([1, 2])
        report = BatchReport.from_exception(caught.value)
        assert statuses(report) == dict.fromkeys([1, 2], Status.NOT_SENT)
        with pytest.raises(NotFoundError):
            await session.segments.members(NOBODY).plan([1])


async def test_a_plan_that_cant_be_had_is_an_error():
    """A look-up that fails leaves open who needs a profile."""
    async with opened(9, profiles=9, retry=RetryPolicy(attempts=1)) as (sandbox, session, segment):
        sandbox.faults.rule(Fault.error(500), path=CUSTOMERS)
        with pytest.raises(ServerError):
            await session.segments.members(segment.id).plan([1])


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", CUSTOMERS), ("POST", PROFILES), ("POST", MEMBERS), ("DELETE", MEMBERS)],
)
@pytest.mark.parametrize("nth", [1, 3])
async def test_what_stops_it_leaves_a_true_report_and_a_second_sync_finishes(method, path, nth):
    """A refused token at any step; everyone wanted and everyone who was in has one outcome."""
    async with opened(1000, profiles=600, members=300) as (sandbox, session, segment):
        wanted = list(range(151, 1001))
        before = customers_of(sandbox, segment)
        sandbox.faults.rule(Fault.error(401), method=method, path=path, nth=nth)
        members = session.segments.members(segment.id)
        report = await members.sync(wanted, check=False)
        assert_true(report, before, customers_of(sandbox, segment))
        assert {o.item for o in report} == before | set(wanted)
        assert len(report) == 1000
        assert {o.status for o in report.failed} == {Status.NOT_SENT}
        assert report.failed[0].error is not None
        assert (await members.sync(wanted)).ok
        assert customers_of(sandbox, segment) == set(wanted)


async def test_a_stream_tells_everyones_outcome_before_what_stopped_it():
    """As the other streams do."""
    async with opened(1000, profiles=600, members=300) as (sandbox, session, segment):
        before = customers_of(sandbox, segment)
        sandbox.faults.rule(Fault.error(401), method="POST", path=MEMBERS, nth=3)
        outcomes = []
        with pytest.raises(Exception, match="401"):
            async for outcome in session.segments.members(segment.id).sync_stream(
                asynchronous(range(151, 1001))
            ):
                outcomes.append(outcome)
        assert sorted(o.item for o in outcomes) == list(range(1, 1001))
        assert_true(outcomes, before, customers_of(sandbox, segment))


async def test_a_stream_gives_the_outcomes_of_the_report():
    """The same ones, in another order."""
    async with opened(1000, profiles=600, members=300) as (sandbox, session, segment):
        members = session.segments.members(segment.id)
        streamed = {o.item: o async for o in members.sync_stream(range(151, 1001))}
        assert len(streamed) == 1000
        await members.clear(confirm=segment.id)
        sandbox.store.add_members(segment.id, ids_of(sandbox)[:300])
        report = await members.sync(range(151, 1001))
        assert statuses(report) == {i: o.status for i, o in streamed.items()}


def assert_true(outcomes, before, after):
    """What is said of each customer is so."""
    for outcome in outcomes:
        was_in, is_in = outcome.item in before, outcome.item in after
        match outcome.status:
            case Status.ADDED | Status.EXISTS:
                assert is_in, outcome
            case Status.REMOVED:
                assert not is_in, outcome
            case Status.NOT_SENT | Status.REJECTED:
                assert is_in == was_in, outcome
            case status:
                assert status is Status.UNKNOWN


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.15, 0.25, 0.45, 0.65, 0.75, 0.85, 0.95, 1.05])
async def test_a_cancelled_sync_leaves_a_true_report_and_the_next_one_finishes(seconds):
    """At any moment: everyone wanted and everyone who was in has one outcome."""
    async with opened(2000, profiles=1000, members=700) as (sandbox, session, segment):
        sandbox.faults.rule(Fault.slow(0.1))
        wanted = list(range(301, 2001))
        before = customers_of(sandbox, segment)
        members = session.segments.members(segment.id)
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(seconds):
                await members.sync(wanted)
        report = BatchReport.from_exception(caught.value)
        assert isinstance(report, SyncReport)
        assert len({o.item for o in report}) == len(report)
        assert [o.item for o in report][:1700] == wanted
        if seconds > 0.5:  # all members were read
            assert {o.item for o in report} == before | set(wanted)
        assert_true(report, before, customers_of(sandbox, segment))
        assert sum(o.status is Status.UNKNOWN for o in report) <= 500
        await asyncio.sleep(10)
        sandbox.faults.clear()
        assert (await members.sync(wanted)).ok
        assert customers_of(sandbox, segment) == set(wanted)


async def test_leaving_a_stream_early_leaves_nothing_running():
    """What was sent was sent; the next sync does the rest."""
    async with opened(2000, profiles=1000, members=100) as (sandbox, session, segment):
        members = session.segments.members(segment.id)
        stream = members.sync_stream(range(51, 2001))
        async for outcome in stream:
            if outcome.status is Status.ADDED:
                break
        await stream.aclose()
        await asyncio.sleep(1)  # what had left has arrived
        sent = len(sandbox.record.requests)
        await asyncio.sleep(60)
        assert len(sandbox.record.requests) == sent
        assert (await members.sync(range(51, 2001))).ok


# ---------------------------------------------------------------- when others change it too


async def test_whoever_another_app_adds_or_removes_meanwhile_has_a_true_outcome():
    """Added by another: `EXISTS`. Removed by another: `REMOVED`."""
    async with opened(300, profiles=200, members=100) as (sandbox, session, segment):
        ids = ids_of(sandbox)
        sandbox.faults.rule(
            Fault.changing(lambda store: store.add_members(segment.id, ids[120:130])),
            method="POST", path=MEMBERS, nth=1,
        )  # fmt: skip
        sandbox.faults.rule(
            Fault.changing(lambda store: store.remove_members(segment.id, ids[10:20])),
            method="DELETE", path=MEMBERS, nth=1,
        )  # fmt: skip
        report = await session.segments.members(segment.id).sync(range(51, 201))
        assert {o.item for o in report.existing} == {*range(51, 101), *range(121, 131)}
        assert {o.item for o in report.removed} == set(range(1, 51))
        assert customers_of(sandbox, segment) == set(range(51, 201))


async def test_a_profile_that_vanishes_meanwhile_is_made_anew():
    """Before it is added; one that vanishes before it is removed is gone."""
    async with opened(200, profiles=200, members=100, vanished="not_found") as (
        sandbox, session, segment,
    ):  # fmt: skip
        ids = ids_of(sandbox)
        sandbox.faults.rule(
            Fault.changing(lambda store: store.delete([ids[150], ids[7]])),
            method="POST", path=MEMBERS, nth=1,
        )  # fmt: skip
        report = await session.segments.members(segment.id).sync(range(51, 201))
        assert len(report.removed) == 50
        assert len(report.added) == 100
        assert customers_of(sandbox, segment) == set(range(51, 201))


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_segment_that_vanishes_meanwhile_stops_it(method):
    """With an error that names it, and no outcome that is not so."""
    async with opened(1000, profiles=900, members=600) as (sandbox, session, segment):
        vanish = Fault.changing(lambda store: store.delete_segments([segment.id]))
        sandbox.faults.rule(vanish, method=method, path=MEMBERS, nth=2)
        said = f"segment {segment.id} does not exist"
        members = session.segments.members(segment.id)
        with pytest.raises((NotFoundError, BatchError), match=said) as caught:
            await members.sync(range(301, 1001))
        report = BatchReport.from_exception(caught.value)
        assert Status.REJECTED not in {o.status for o in report}
        assert {o.item for o in report} >= set(range(301, 1001))


async def test_members_that_move_while_they_are_read_are_not_missed():
    """Others leave the segment between two pages; nobody is taken for missing or forgotten."""
    async with opened(2000, profiles=2000, members=1500) as (sandbox, session, segment):
        ids = ids_of(sandbox)
        leave = Fault.changing(lambda store: store.remove_members(segment.id, ids[:100]))
        sandbox.faults.rule(leave, method="GET", path=MEMBERS, nth=4)
        members = session.segments.members(segment.id)
        report = await members.sync(range(501, 1501))
        assert (len(report.existing), len(report.added)) == (1000, 0)
        assert customers_of(sandbox, segment) == set(range(501, 1501))


async def test_a_customer_who_gets_a_new_profile_while_members_are_read_is_not_removed():
    """The old and the new one are seen: who is wanted stays, who is not goes."""
    async with opened(600, profiles=600, members=600) as (sandbox, _, segment):

        def renew(store):
            for customer in (1, 2):
                store.delete([store.customers[customer]])
                store.add_members(segment.id, [store.create(customer).id])

        # The end, the first page: then the old ones have been seen, and the new ones will be.
        sandbox.faults.rule(Fault.changing(renew), method="GET", path=MEMBERS, nth=4)
        async with sandbox.session(concurrency=1) as session:
            members = session.segments.members(segment.id)
            report = await members.sync(range(2, 601))
        assert report.ok
        assert customers_of(sandbox, segment) == set(range(2, 601))


@pytest.mark.parametrize("nth", range(1, 7))
async def test_a_member_who_comes_with_another_profile_meanwhile_is_one_customer(nth):
    """Deleted, created and added anew while the members are read: planned for once."""
    async with opened(700, profiles=700, members=600) as (sandbox, session, segment):

        def renew(store):
            store.delete([store.customers[customer] for customer in range(5, 505, 10)])
            for customer in range(5, 505, 10):
                store.create(customer)
                store.add_members(segment.id, [store.customers[customer]])

        sandbox.faults.rule(Fault.changing(renew), nth=nth)
        members = session.segments.members(segment.id)
        plan = await members.plan(range(301, 601))
        assert len(plan.to_remove) == len(set(plan.to_remove))
        await members.sync(range(301, 601), max_removed=1)
        assert customers_of(sandbox, segment) == set(range(301, 601))
