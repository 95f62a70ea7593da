"""`session.segments.members(...)`: add and remove, by profile and by customer."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import (
    AuthenticationError,
    BatchError,
    BatchReport,
    InvalidInputError,
    NotFoundError,
    RetryPolicy,
    Status,
)
from bcshopper.events import ChunkDone
from bcshopper.sandbox import Fault
from tests.conftest import run
from tests.segments.store import (
    CUSTOMERS,
    MEMBERS,
    NOBODY,
    PROFILES,
    SEGMENTS,
    asynchronous,
    counts,
    customers_of,
    ids_of,
    members_of,
    opened,
)

LOST = [
    Fault.cut(applied=True),
    Fault.cut(applied=False),
    Fault.half(),
    Fault.stall(),
    Fault.garbage(),
    Fault.error(500, applied=True),
    Fault.error(503),
    Fault.error(429),
    Fault.slow(45),
    Fault.answer(201, b'{"data":[]}'),
]


async def test_members_are_listed_in_the_order_of_joining():
    """All of them, and one page."""
    async with opened(profiles=30, members=7) as (sandbox, session, segment):
        members = session.segments.members(segment.id)
        listed = await members.list(limit=3).all()
        assert [profile.id for profile in listed] == members_of(sandbox, segment)
        assert listed[0] == (await session.shopper_profiles.page(limit=1)).items[0]
        assert await members.list(limit=3, consistent=True).all() == listed
        page = await members.page(2, limit=5)
        assert (list(page), page.pagination.total) == (listed[5:], 7)


async def test_a_consistent_list_takes_any_order_of_joining():
    """Newer profiles may have joined before older ones."""
    async with opened(profiles=30) as (sandbox, session, segment):
        hour = timedelta(hours=1)
        for number, customer in enumerate(sandbox.store.add_customers(9)):
            profile = sandbox.store.create(customer, created_at=datetime.now(UTC) - number * hour)
            sandbox.store.add_members(segment.id, [profile.id])
        members = session.segments.members(segment.id)
        listed = await members.list(limit=3, consistent=True).all()
        assert [profile.id for profile in listed] == members_of(sandbox, segment)
        assert (await members.plan([])).to_remove == tuple(p.customer_id for p in listed)


async def test_a_missing_segment_is_named():
    """Whichever verb meets it first; nothing is changed, and no id is called bad."""
    async with opened(profiles=120) as (sandbox, session, _):
        members = session.segments.members(NOBODY)
        said = pytest.raises(NotFoundError, match=f"segment {NOBODY} does not exist")
        with said:
            await members.list().all()
        with said:
            await members.clear(confirm=NOBODY)
        for verb in (members.add, members.remove):
            sandbox.record.requests.clear()
            report = await verb(ids_of(sandbox), check=False)
            assert {o.status for o in report} == {Status.NOT_SENT}
            with said:
                raise report[0].error
            assert len(sandbox.record.requests) <= 8  # it stops what is not under way


@given(
    existing=st.sets(st.integers(0, 119)),
    chosen=st.lists(st.integers(0, 123), max_size=140),
    lift=st.sampled_from([list, iter, tuple, asynchronous]),
    as_text=st.booleans(),
    bad_items=st.sampled_from(["refuse", "207", "409"]),
    names_items=st.booleans(),
    unknown_items=st.sampled_from(["404", "422"]),
)
def test_add_gives_one_true_outcome_per_distinct_profile_in_order(
    existing, chosen, lift, as_text, bad_items, names_items, unknown_items
):
    """Profiles 120 to 123 do not exist; the others are all in the segment afterwards."""

    async def main():
        async with opened(
            profiles=120, bad_items=bad_items, names_items=names_items, unknown_items=unknown_items
        ) as (sandbox, session, segment):
            everyone = ids_of(sandbox) + [UUID(int=n, version=4) for n in range(1, 5)]
            before = {everyone[n] for n in existing}
            sandbox.store.add_members(segment.id, before)
            ids = [everyone[n] for n in chosen]
            report = await session.segments.members(segment.id).add(
                lift([str(i) if as_text else i for i in ids]), check=False
            )
            assert [o.item for o in report] == list(dict.fromkeys(ids))
            for outcome in report:
                if outcome.item not in sandbox.store.profiles:
                    assert outcome.status is Status.REJECTED
                    assert outcome.error is not None
                    continue
                expected = Status.EXISTS if outcome.item in before else Status.ADDED
                assert outcome.status is expected
                assert outcome.profile_id == outcome.item
            real = {i for i in ids if i in sandbox.store.profiles}
            assert set(members_of(sandbox, segment)) == before | real
            if not before and real == set(ids):
                assert counts(sandbox).get(("POST", MEMBERS), 0) == -(-len(real) // 50)
            assert ("GET", CUSTOMERS) not in counts(sandbox)

    run(main())


@given(
    owned=st.integers(0, 130),
    strangers=st.integers(0, 3),
    lift=st.sampled_from([list, iter, asynchronous]),
    vanished=st.sampled_from(["ignore", "not_found"]),
)
def test_remove_gives_one_true_outcome_per_distinct_profile_in_order(
    owned, strangers, lift, vanished
):
    """None of them is in the segment afterwards, all others are, and no profile is deleted."""

    async def main():
        async with opened(profiles=150, members=140, vanished=vanished) as (
            sandbox, session, segment,
        ):  # fmt: skip
            everyone = ids_of(sandbox)
            ids = everyone[:owned] + [uuid4() for _ in range(strangers)]
            report = await session.segments.members(segment.id).remove(lift([*ids, *ids[:3]]))
            assert [o.item for o in report] == ids
            assert {o.status for o in report} <= {Status.REMOVED}
            assert members_of(sandbox, segment) == everyone[owned:140]
            assert len(sandbox.store.profiles) == 150
            assert sandbox.store.wipes == 0

    run(main())


async def test_who_is_in_already_costs_one_request_more_and_no_look_up():
    """The conflict names positions: the rest goes again, those are `EXISTS`."""
    async with opened(profiles=60, members=7) as (sandbox, session, segment):
        report = await session.segments.members(segment.id).add(ids_of(sandbox)[:50])
        assert (len(report.existing), len(report.added)) == (7, 43)
        assert report.existing[0].profile_id == ids_of(sandbox)[0]
        assert report.added[0].profile.customer_id == 8
        assert counts(sandbox) == {("POST", MEMBERS): 2}


async def test_a_conflict_that_names_nobody_is_halved():
    """One culprit among 50 costs a few requests, and no look-up."""
    async with opened(profiles=60, members=1, names_items=False) as (sandbox, session, segment):
        report = await session.segments.members(segment.id).add(ids_of(sandbox)[:50])
        assert (len(report.existing), len(report.added)) == (1, 49)
        assert counts(sandbox).keys() == {("POST", MEMBERS)}
        assert counts(sandbox)["POST", MEMBERS] <= 9


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("verb", ["add", "remove"])
async def test_a_lost_answer_is_simply_sent_again(fault, verb):
    """Twice does no more than once, so nothing has to be looked up."""
    async with opened(profiles=150, members=75) as (sandbox, session, segment):
        sandbox.faults.rule(fault, path=MEMBERS, nth=1)
        inside, outside = ids_of(sandbox)[:75], ids_of(sandbox)[75:]
        members = session.segments.members(segment.id)
        report = await getattr(members, verb)(outside if verb == "add" else inside)
        await asyncio.sleep(100)
        if verb == "add":
            assert {o.status for o in report} <= {Status.ADDED, Status.EXISTS}
            assert set(members_of(sandbox, segment)) == {*inside, *outside}
        else:
            assert {o.status for o in report} == {Status.REMOVED}
            assert members_of(sandbox, segment) == []
        assert counts(sandbox).keys() <= {("POST", MEMBERS), ("DELETE", MEMBERS)}


@pytest.mark.parametrize("names_items", [True, False])
@pytest.mark.parametrize("conflicts", ["409", "422"])
async def test_a_lost_answer_whose_repeat_is_refused_comes_to_an_end(names_items, conflicts):
    """`EXISTS` where the refusal says so, `UNKNOWN` where it says nothing: never `REJECTED`."""
    async with opened(profiles=60, names_items=names_items, conflicts=conflicts) as (
        sandbox, session, segment,
    ):  # fmt: skip
        sandbox.faults.rule(Fault.cut(applied=True), method="POST", path=MEMBERS, nth=1)
        members = session.segments.members(segment.id)
        report = await members.add(ids_of(sandbox)[:50], check=False)
        is_told = names_items or conflicts == "409"
        assert {o.status for o in report} == {Status.EXISTS if is_told else Status.UNKNOWN}
        assert is_told or all(o.error is not None for o in report)
        assert len(sandbox.record.requests) <= 110


async def test_what_stays_unanswered_is_unknown():
    """After the attempts of the policy, no more: with the reason."""
    async with opened(profiles=60, retry=RetryPolicy(attempts=3)) as (sandbox, session, segment):
        sandbox.faults.rule(Fault.cut(applied=False), path=MEMBERS)
        members = session.segments.members(segment.id)
        report = await members.add(ids_of(sandbox)[:50], check=False)
        assert {o.status for o in report} == {Status.UNKNOWN}
        assert report[0].error is not None
        assert counts(sandbox) == {("POST", MEMBERS): 3}


@pytest.mark.parametrize("inner", [429, 500, 503])
@pytest.mark.parametrize("outer", [207, 409])
@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("names_items", [True, False])
async def test_an_inner_error_of_the_servers_own_is_a_doubt(inner, outer, applied, names_items):
    """Whoever it is for is not called a member for it, but sent again."""
    async with opened(profiles=60, names_items=names_items) as (sandbox, session, segment):
        sandbox.faults.queue(Fault.partial(inner, 1, 7, outer=outer, applied=applied))
        report = await session.segments.members(segment.id).add(ids_of(sandbox))
        assert len(report.added) == (58 if applied else 60)
        assert len(members_of(sandbox, segment)) == 60


@pytest.mark.parametrize("names_items", [True, False])
@pytest.mark.parametrize("unknown_items", ["404", "422"])
async def test_a_profile_that_vanished_is_rejected_and_the_others_are_added(
    names_items, unknown_items
):
    """Whose 404 it is, is told apart by a look at the segment."""
    async with opened(profiles=120, names_items=names_items, unknown_items=unknown_items) as (
        sandbox, session, segment,
    ):  # fmt: skip
        ids = ids_of(sandbox)
        gone = ids[17]
        sandbox.faults.rule(Fault.changing(lambda store: store.delete([gone])), nth=1)
        report = await session.segments.members(segment.id).add(ids, check=False)
        assert [o.item for o in report.failed] == [gone]
        assert report.failed[0].status is Status.REJECTED
        assert set(members_of(sandbox, segment)) == set(ids) - {gone}
        looks = counts(sandbox).get(("GET", SEGMENTS), 0)
        assert looks == (2 if unknown_items == "404" and not names_items else 0)


@pytest.mark.parametrize("names_items", [True, False])
@pytest.mark.parametrize("nth", range(1, 9))
async def test_a_segment_that_vanishes_meanwhile_rejects_nobody(names_items, nth):
    """Not even while a profile that vanished is searched for: no id is called bad wrongly."""
    async with opened(profiles=120, names_items=names_items) as (sandbox, session, segment):
        ids = ids_of(sandbox)
        gone = ids[17]
        sandbox.store.delete([gone])
        vanish = Fault.changing(lambda store: store.delete_segments([segment.id]))
        sandbox.faults.rule(vanish, nth=nth)
        report = await session.segments.members(segment.id).add(ids, check=False)
        rejected = [o.item for o in report if o.status is Status.REJECTED]
        assert rejected in ([], [gone])
        for outcome in report:
            if outcome.status is Status.NOT_SENT:
                assert f"segment {segment.id} does not exist" in str(outcome.error)
            else:
                assert outcome.status in {Status.ADDED, Status.REJECTED}


async def test_removing_from_a_segment_that_vanished_is_told_apart():
    """A 404 of the segment is an error; a 404 of a profile is not."""
    async with opened(profiles=120, members=120, vanished="not_found") as (
        sandbox, session, segment,
    ):  # fmt: skip
        ids = ids_of(sandbox)
        sandbox.store.delete([ids[5]])
        members = session.segments.members(segment.id)
        assert (await members.remove(ids[:50])).ok
        vanish = Fault.changing(lambda store: store.delete_segments([segment.id]))
        sandbox.faults.queue(vanish)
        with pytest.raises(BatchError, match=f"segment {segment.id} does not exist"):
            await members.remove(ids[50:60])


async def test_a_refused_token_stops_the_batch():
    """Nobody is called bad for it."""
    async with opened(profiles=2000) as (sandbox, session, segment):
        sandbox.faults.rule(Fault.error(401))
        with pytest.raises(BatchError) as caught:
            await session.segments.members(segment.id).add(ids_of(sandbox))
        assert {o.status for o in caught.value.report} == {Status.NOT_SENT}
        assert isinstance(caught.value.__cause__, AuthenticationError)
        assert len(sandbox.record.requests) <= 10


async def test_streams_give_the_same_outcomes():
    """As they are known; what is no id is an outcome of its own."""
    async with opened(profiles=230, members=30) as (sandbox, session, segment):
        members = session.segments.members(segment.id)
        ids = ids_of(sandbox)
        added = [o async for o in members.add_stream(asynchronous([*ids, "x"]))]
        assert sorted(o.status.value for o in added) == (
            ["added"] * 200 + ["exists"] * 30 + ["rejected"]
        )
        removed = [o async for o in members.remove_stream(ids[:200])]
        assert {o.item for o in removed if o.status is Status.REMOVED} == set(ids[:200])
        assert set(members_of(sandbox, segment)) == set(ids[200:])


async def test_bad_ids_are_refused_before_anything_is_sent():
    """A report is of ids that were all checked."""
    async with opened(profiles=1) as (sandbox, session, segment):
        members = session.segments.members(segment.id)
        for verb in (members.add, members.remove):
            with pytest.raises(InvalidInputError, match="not a profile id"):
                await verb([*ids_of(sandbox), 7])
            with pytest.raises(InvalidInputError, match="not a collection of ids"):
                await verb(str(segment.id))
        for verb in (members.add_customers, members.remove_customers):
            with pytest.raises(InvalidInputError, match="not a customer id"):
                await verb([1, 0])
        assert not sandbox.record.requests


async def test_each_chunk_is_an_event():
    """Verbs `add`, `remove` and `create`, with the outcomes."""
    seen = []
    async with opened(120, profiles=60) as (sandbox, _, segment):
        async with sandbox.session(on_event=seen.append) as session:
            members = session.segments.members(segment.id)
            await members.add_customers(range(1, 121))
            await members.remove(ids_of(sandbox)[:60])
        told = [(e.verb, len(e.outcomes)) for e in seen if isinstance(e, ChunkDone)]
        assert sorted(told) == [
            ("add", 20), ("add", 50), ("add", 50), ("create", 10), ("create", 50),
            ("remove", 11), ("remove", 49),
        ]  # fmt: skip


# ---------------------------------------------------------------- by customer


async def test_customers_are_added_and_removed():
    """Who has no profile is given one; who is unknown to the store is rejected, alone."""
    async with opened(300, profiles=130, members=20) as (sandbox, session, segment):
        members = session.segments.members(segment.id)
        wanted = [*range(1, 231), 999, 5]
        report = await members.add_customers(asynchronous(wanted), check=False)
        assert [o.item for o in report] == wanted[:-1]
        assert (len(report.existing), len(report.added)) == (20, 210)
        assert [(o.item, o.status) for o in report.failed] == [(999, Status.REJECTED)]
        assert all(o.profile_id == sandbox.store.customers[o.item] for o in report if o.ok)
        assert customers_of(sandbox, segment) == set(range(1, 231))
        gone = [3, 4, 999, 250]
        removed = await members.remove_customers(gone)
        assert [(o.item, o.status) for o in removed] == [(i, Status.REMOVED) for i in gone]
        assert customers_of(sandbox, segment) == set(range(1, 231)) - {3, 4}
        assert sandbox.store.customers[3] is not None


async def test_adding_customers_takes_the_fewest_requests():
    """Look-ups of as many as a URL takes, then whole chunks of creates and of adds."""
    async with opened(1000, profiles=500) as (sandbox, session, segment):
        await session.segments.members(segment.id).add_customers(range(1, 1001))
        lookups = counts(sandbox).pop(("GET", CUSTOMERS))
        assert lookups <= 5
        assert counts(sandbox) == {
            ("GET", CUSTOMERS): lookups, ("POST", PROFILES): 10, ("POST", MEMBERS): 20,
        }  # fmt: skip


async def test_a_profile_that_vanishes_after_the_look_up_is_made_anew():
    """The customer is in the segment in the end."""
    async with opened(100, profiles=100) as (sandbox, session, segment):
        gone = ids_of(sandbox)[:5]
        sandbox.faults.rule(
            Fault.changing(lambda store: store.delete(gone)), method="POST", path=MEMBERS, nth=1
        )
        report = await session.segments.members(segment.id).add_customers(range(1, 101))
        assert len(report.added) == 100
        assert customers_of(sandbox, segment) == set(range(1, 101))


async def test_whom_the_look_up_refuses_hinders_nobody():
    """A search refused for one customer leaves the others as they were meant to be."""
    async with opened(60, profiles=30) as (sandbox, session, segment):
        refusing = Fault.error(422)
        sandbox.faults.rule(refusing, method="GET", path=CUSTOMERS, nth=1)
        report = await session.segments.members(segment.id).add_customers(range(1, 61))
        assert len(report.added) == 60
        sandbox.faults.rule(refusing, method="GET", path=CUSTOMERS)
        members = session.segments.members(segment.id)
        report = await members.remove_customers([1, 2], check=False)
        assert {o.status for o in report} == {Status.REJECTED}
        assert customers_of(sandbox, segment) == set(range(1, 61))


async def test_a_look_up_without_an_answer_changes_nothing():
    """Those who could not be looked up are `NOT_SENT`, with the reason; the others are added."""
    async with opened(500, profiles=500, retry=RetryPolicy(attempts=1)) as (
        sandbox, session, segment,
    ):  # fmt: skip
        sandbox.faults.rule(Fault.error(500), method="GET", path=CUSTOMERS, nth=1)
        members = session.segments.members(segment.id)
        report = await members.add_customers(range(1, 501), check=False)
        assert {o.status for o in report} == {Status.ADDED, Status.NOT_SENT}
        assert all(o.error is not None for o in report.failed)
        assert customers_of(sandbox, segment) == {o.item for o in report.added}


async def test_a_cancelled_call_leaves_a_true_report():
    """At any moment: whoever is in, was in, or may be, is told apart."""
    for seconds in (0.05, 0.15, 0.25, 0.35, 0.45, 0.55):
        async with opened(2000, profiles=1000) as (sandbox, session, segment):
            sandbox.faults.rule(Fault.slow(0.1))
            members = session.segments.members(segment.id)
            report = None
            try:
                async with asyncio.timeout(seconds):
                    await members.add_customers(range(1, 2001))
            except TimeoutError as error:
                report = BatchReport.from_exception(error)
            assert report is not None
            assert [o.item for o in report] == list(range(1, 2001))
            there = customers_of(sandbox, segment)
            for outcome in report:
                if outcome.status is Status.ADDED:
                    assert outcome.item in there
                elif outcome.status is Status.NOT_SENT:
                    assert outcome.item not in there
                else:
                    assert outcome.status is Status.UNKNOWN
            unsure = sum(o.status is Status.UNKNOWN for o in report)
            assert unsure <= 500, "only what was in flight is"
