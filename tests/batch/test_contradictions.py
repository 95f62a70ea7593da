"""Answers that contradict each other or themselves, and look-ups that lag: no outcome is false."""

import asyncio
import json
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import (
    AuthenticationError,
    RetryPolicy,
    Session,
    Status,
    TransportError,
)
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.conftest import run

PATIENT = RetryPolicy(attempts=8, base_delay=2.0)
ONCE = RetryPolicy(attempts=1)


def statuses(report):
    return {o.status for o in report}


def check(report, store):
    """Every outcome, beside the store."""
    for o in report:
        held = store.customers.get(o.item)
        if o.status in {Status.CREATED, Status.EXISTS}:
            assert held is not None
            assert o.profile_id in {held, None}
        elif o.status is not Status.UNKNOWN:
            assert held is None


@pytest.mark.parametrize("lag", [0.1, 0.5, 3.0])
@pytest.mark.parametrize("bad_items", ["refuse", "207", "409"])
@pytest.mark.parametrize("names_items", [True, False])
async def test_a_write_that_was_applied_though_answered_500_exists(lag, bad_items, names_items):
    """However far look-ups lag behind it, within the patience that was asked for."""
    rules = Rules(lag=lag, bad_items=bad_items, names_items=names_items)
    async with (
        Sandbox(customers=50, rules=rules) as sandbox,
        sandbox.session(retry=PATIENT) as session,
    ):
        sandbox.faults.queue(Fault.error(500, applied=True))
        report = await session.shopper_profiles.create(range(1, 51))
    assert statuses(report) == {Status.EXISTS}
    check(report, sandbox.store)


@pytest.mark.parametrize("attempts", [1, 2, 5])
@pytest.mark.parametrize("conflicts", ["409", "422"])
@pytest.mark.parametrize("names_items", [True, False])
async def test_the_same_event_twice_within_the_lag_is_never_rejected(
    attempts, conflicts, names_items
):
    """The server says itself that the profile is there; what the look-up finds can be older."""
    rules = Rules(lag=3.0, conflicts=conflicts, names_items=names_items)
    retry = RetryPolicy(attempts=attempts)
    async with (
        Sandbox(customers=50, rules=rules) as sandbox,
        sandbox.session(retry=retry) as session,
    ):
        first = await session.shopper_profiles.create([7])
        again = await session.shopper_profiles.create([7, 8], check=False)
    assert statuses(first) == {Status.CREATED}
    assert again[1].status is Status.CREATED
    assert again[0].status in ({Status.EXISTS} if names_items else {Status.EXISTS, Status.UNKNOWN})
    assert again[0].status is Status.EXISTS or again[0].error is not None
    check(again, sandbox.store)


async def test_the_coalescer_rejects_nobody_for_a_look_up_that_lags():
    """As the batch; each caller gets the same."""
    async with (
        Sandbox(customers=50, rules=Rules(lag=3.0)) as sandbox,
        sandbox.session() as session,
        session.shopper_profiles.coalesce() as one,
    ):
        first = await one.create(7)
        again = await asyncio.gather(one.create(7), one.create(7))
    assert first.status is Status.CREATED
    assert {o.status for o in again} == {Status.EXISTS}


async def test_a_refusal_with_mixed_reasons_is_looked_up_before_it_is_final():
    """Who has a profile exists, whatever the status; who does not exist is rejected."""
    rules = Rules(conflicts="422")
    async with (
        Sandbox(customers=50, profiles=20, rules=rules) as sandbox,
        sandbox.session() as session,
    ):
        report = await session.shopper_profiles.create([*range(1, 41), 777], check=False)
    assert [o.item for o in report.existing] == list(range(1, 21))
    assert len(report.created) == 20
    assert [(o.item, o.status) for o in report.failed] == [(777, Status.REJECTED)]
    check(report, sandbox.store)


@pytest.mark.parametrize("conflicts", ["409", "422"])
async def test_a_look_up_that_fails_rejects_nobody(conflicts):
    """Who is named as existing exists, without an id; why the id is not known is said."""
    rules = Rules(conflicts=conflicts)
    async with (
        Sandbox(customers=50, profiles=3, rules=rules) as sandbox,
        sandbox.session(retry=RetryPolicy(attempts=2)) as session,
    ):
        sandbox.faults.rule(Fault.error(500), path="customers")
        report = await session.shopper_profiles.create(range(1, 51), check=False)
    assert len(report.existing) == 3
    assert all(o.profile_id is None and o.error is not None for o in report.existing)
    assert Status.REJECTED not in statuses(report)
    check(report, sandbox.store)


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405, 410, 415, 451])
@pytest.mark.parametrize("verb", ["create", "delete"])
async def test_an_answer_that_is_about_no_id_rejects_none(verb, status):
    """Surely nothing was done, and no id is to blame: not sent, with the error."""
    async with Sandbox(customers=120, profiles=60) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.error(status))
        ids = {"create": range(1, 121), "delete": list(sandbox.store.profiles)}[verb]
        report = await getattr(session.shopper_profiles, verb)(ids, check=False)
    assert statuses(report) == {Status.NOT_SENT}
    assert {o.error.status for o in report} == {status}


@pytest.mark.parametrize("status", [500, 502, 503, 504, 507])
@pytest.mark.parametrize("verb", ["create", "delete"])
async def test_a_server_error_rejects_none(verb, status):
    """It may have done it, or still do it."""
    async with Sandbox(customers=60, profiles=60) as sandbox:
        ids = {"create": range(1, 61), "delete": list(sandbox.store.profiles)}[verb]
        if verb == "create":
            sandbox.store.wipe()
        async with sandbox.session(retry=RetryPolicy(attempts=2)) as session:
            sandbox.faults.rule(Fault.error(status), path="shopper-profiles")
            report = await getattr(session.shopper_profiles, verb)(ids, check=False)
    assert statuses(report) == {Status.UNKNOWN}


@pytest.mark.parametrize("status", [500, 503])
async def test_a_server_error_can_land_after_its_look_up(status):
    """Nobody is called rejected or not sent who has a profile a minute later."""
    async with Sandbox(customers=50) as sandbox, sandbox.session(retry=ONCE) as session:
        sandbox.faults.queue(Fault.error(status, lands_after=60.0))
        report = await session.shopper_profiles.create(range(1, 51), check=False)
        await asyncio.sleep(100.0)
    assert len(sandbox.store.profiles) == 50
    check(report, sandbox.store)


@pytest.mark.parametrize("inner", [429, 500, 503])
@pytest.mark.parametrize("outer", [207, 409])
@pytest.mark.parametrize("applied", [True, False])
async def test_an_inner_error_of_the_servers_own_is_a_doubt(inner, outer, applied):
    """It refuses nobody: looked up, and sent again if there is no profile."""
    async with Sandbox(customers=50) as sandbox, sandbox.session() as session:
        sandbox.faults.queue(Fault.partial(inner, 0, 7, outer=outer, applied=applied))
        report = await session.shopper_profiles.create(range(1, 51))
    assert len(sandbox.store.profiles) == 50
    check(report, sandbox.store)


async def test_what_the_server_saw_is_unknown_if_the_store_cannot_be_asked():
    """A 404 means the ids or the store; while that can't be told, nobody is called not sent."""
    async with Sandbox(profiles=50, rules=Rules(vanished="not_found")) as sandbox:
        gone = list(sandbox.store.profiles)[:3]
        for profile_id in gone:
            sandbox.store.delete([profile_id])
        async with sandbox.session(retry=ONCE) as session:
            sandbox.faults.rule(Fault.error(500), method="GET")
            report = await session.shopper_profiles.delete(
                [*gone, *sandbox.store.profiles], check=False
            )
    assert statuses(report) == {Status.UNKNOWN}
    assert {o.error.status for o in report} in ({404}, {500})


def row(customer_id, profile_id):
    return {"id": str(profile_id), "customer_id": customer_id}


SAME = uuid4()
CONTRADICTIONS = {
    "one profile for two customers": lambda ids: [row(i, SAME) for i in ids],
    "two profiles for one customer": lambda ids: [
        *(row(i, uuid4()) for i in ids), row(ids[0], uuid4())
    ],
    "a customer who was not sent": lambda ids: [
        *(row(i, uuid4()) for i in ids), row(4711, uuid4())
    ],
    "somebody else's answer": lambda _: [row(4711, uuid4())],
    "a customer below 1": lambda ids: [*(row(i, uuid4()) for i in ids), row(0, uuid4())],
    "nobody": lambda _: [],
}  # fmt: skip


@pytest.mark.parametrize("what", CONTRADICTIONS)
@pytest.mark.parametrize("applied", [True, False])
async def test_an_answer_that_contradicts_itself_is_no_data(what, applied):
    """Everyone in it is looked up, and only those without a profile are sent again."""
    ids = [1, 2, 3]
    body = json.dumps({"data": CONTRADICTIONS[what](ids), "meta": {}}).encode()
    async with Sandbox(customers=3) as sandbox, sandbox.session() as session:
        sandbox.faults.queue(Fault.answer(201, body, applied=applied))
        report = await session.shopper_profiles.create(ids)
    assert {o.profile_id for o in report} == set(sandbox.store.profiles)
    assert statuses(report) == {Status.EXISTS if applied else Status.CREATED}


async def test_who_is_both_created_and_refused_is_looked_up():
    """One of the two is false."""
    profile = UUID(int=7)
    body = json.dumps(
        {
            "data": [row(1, profile), row(2, uuid4())],
            "errors": [{"status": 422, "title": "no", "errors": {"1": "no"}}],
            "meta": {},
        }
    ).encode()
    async with Sandbox(customers=2) as sandbox, sandbox.session() as session:
        sandbox.faults.queue(Fault.answer(207, body, applied=False))
        report = await session.shopper_profiles.create([1, 2], check=False)
    assert report[1].status is Status.CREATED
    assert report[1].profile_id == sandbox.store.customers[2]


@given(
    lag=st.sampled_from([0.0, 0.3, 3.0, 50.0]),
    conflicts=st.sampled_from(["409", "422"]),
    bad_items=st.sampled_from(["refuse", "207", "409"]),
    names_items=st.booleans(),
    attempts=st.integers(1, 5),
    ids=st.lists(st.integers(1, 130), min_size=1, max_size=70, unique=True),
    faults=st.lists(
        st.sampled_from(
            [
                Fault(),
                Fault.cut(applied=True),
                Fault.cut(applied=False, lands_after=20.0),
                Fault.error(500, applied=True),
                Fault.error(503, lands_after=5.0),
                Fault.error(429),
                Fault.error(403),
                Fault.partial(500, 0, 1, outer=207, applied=True),
                Fault.partial(429, 0, outer=409, applied=False),
            ]
        ),
        max_size=4,
    ),
)
def test_no_outcome_is_false_whatever_lags_or_contradicts(
    lag, conflicts, bad_items, names_items, attempts, ids, faults
):
    """Created and existing have a profile; rejected and not sent have none in the end."""
    rules = Rules(lag=lag, conflicts=conflicts, bad_items=bad_items, names_items=names_items)

    async def main():
        async with Sandbox(customers=120, rules=rules) as sandbox:
            async with sandbox.session(retry=RetryPolicy(attempts=attempts)) as session:
                await session.shopper_profiles.create([i for i in ids if i % 3 == 0], check=False)
                before = dict(sandbox.store.customers)
                sandbox.faults.queue(*faults)
                report = await session.shopper_profiles.create(ids, check=False)
                await asyncio.sleep(1000.0)
            assert [o.item for o in report] == ids
            for o in report:
                held = sandbox.store.customers.get(o.item)
                if o.ok:
                    assert held is not None
                    assert o.profile_id in {held, None}
                elif o.status is Status.UNKNOWN:
                    assert o.error is not None
                else:
                    assert held == before.get(o.item)
                    assert o.error is not None
                if o.status is Status.REJECTED:
                    assert o.item > 120, "only who does not exist is refused for himself"

    run(main())


async def test_a_refused_token_leaves_ids_unsent_in_a_report_and_raises_in_a_coalescer(raw_server):
    """Library and coalescer agree that no id is to blame."""
    url = await raw_server(
        lambda _: b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    async with Session("a", "t", base_url=url) as session:
        report = await session.shopper_profiles.create([1, 2], check=False)
        async with session.shopper_profiles.coalesce() as one:
            with pytest.raises(AuthenticationError):
                await one.create(1)
    assert statuses(report) == {Status.NOT_SENT}
    assert not any(isinstance(o.error, TransportError) for o in report)
