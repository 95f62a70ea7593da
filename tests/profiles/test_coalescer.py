import asyncio
import contextvars
import itertools
import json
import math
import pickle
import traceback
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcshopper import (
    AuthenticationError,
    Coalescer,
    InvalidInputError,
    PermissionDeniedError,
    QuotaPolicy,
    RateLimitError,
    RetryPolicy,
    ServerError,
    Session,
    SessionClosedError,
    Status,
    TransportError,
    UnprocessableError,
)
from bcshopper.events import RequestSent, ResponseReceived
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.conftest import run

DELAY = 0.05
SLOW = 1.0


def requests(sandbox, method, path="shopper-profiles"):
    return [
        r for r in sandbox.record.requests if r.method == method and r.path.endswith(f"/{path}")
    ]


def posted(sandbox):
    """The customers of each POST."""
    return [[row["customer_id"] for row in json.loads(r.body)] for r in requests(sandbox, "POST")]


def deleted(sandbox):
    """The profiles of each DELETE."""
    return [
        [UUID(text) for text in dict(r.query)["id:in"].split(",")]
        for r in requests(sandbox, "DELETE")
    ]


def searched(sandbox):
    """The customers of each GET."""
    return [
        [int(text) for text in dict(r.query)["id:in"].split(",")]
        for r in requests(sandbox, "GET", "customers")
    ]


def start(*calls):
    return [asyncio.create_task(call) for call in calls]


async def soon():
    """Let everything happen that can happen without time going by."""
    await asyncio.sleep(0.001)


async def stop(*tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# What shares a request, and when it goes out.


async def test_fifty_callers_share_one_request():
    """Each gets the outcome of its own customer, from one POST."""
    async with Sandbox(customers=50) as sandbox, sandbox.session() as session:
        async with session.shopper_profiles.coalesce() as one:
            outcomes = await asyncio.gather(*(one.create(i) for i in range(1, 51)))
        assert [o.item for o in outcomes] == list(range(1, 51))
        assert {o.status for o in outcomes} == {Status.CREATED}
        assert [o.profile_id for o in outcomes] == list(sandbox.store.customers.values())
        assert posted(sandbox) == [list(range(1, 51))]


async def test_fifty_go_at_once():
    """Nobody waits for company that the request has no room for."""
    async with Sandbox(customers=60, profiles=50) as sandbox, sandbox.session() as session:
        profile_ids = list(sandbox.store.profiles)
        async with session.shopper_profiles.coalesce(max_delay=60) as one:
            began = asyncio.get_running_loop().time()
            await asyncio.gather(*(one.lookup(i) for i in range(1, 51)))
            await asyncio.gather(*(one.delete(i) for i in profile_ids))
            await asyncio.gather(*(one.create(i) for i in range(1, 51)))
            assert asyncio.get_running_loop().time() - began < 1
        assert session.stats.requests == 3


async def test_calls_within_the_delay_share_a_request():
    """From different tasks, at different moments; the first of them starts the clock."""
    async with Sandbox(customers=50) as sandbox, sandbox.session() as session:
        began = asyncio.get_running_loop().time()
        async with session.shopper_profiles.coalesce(max_delay=DELAY) as one:

            async def later(customer_id):
                await asyncio.sleep(customer_id / 100)
                return await one.create(customer_id)

            await asyncio.gather(*(later(i) for i in range(1, 9)))
        assert posted(sandbox) == [[1, 2, 3, 4, 5], [6, 7, 8]]
        first = requests(sandbox, "POST")[0].at - began
        assert first <= 0.01 + DELAY


@pytest.mark.parametrize("delay", [0, 0.001, 0.05, 3])
async def test_a_lone_call_is_delayed_by_no_more_than_the_delay(delay):
    """Whatever the verb; and nearly so long, as company may come."""
    async with Sandbox(customers=1, profiles=1) as sandbox, sandbox.session() as session:
        (profile_id,) = sandbox.store.profiles
        async with session.shopper_profiles.coalesce(max_delay=delay) as one:
            for call in (one.create, one.lookup, one.delete):
                began = asyncio.get_running_loop().time()
                await call(profile_id if call == one.delete else 1)
                waited = sandbox.record.requests[-1].at - began
                assert delay - 0.003 <= waited <= delay


@pytest.mark.parametrize("concurrency", [1, 10])
async def test_many_creates_take_the_least_requests(concurrency):
    """Each of 50, and as many at once as the session allows."""
    async with (
        Sandbox(customers=1000) as sandbox,
        sandbox.session(concurrency=concurrency) as session,
    ):
        sandbox.faults.rule(Fault.slow(DELAY))
        async with session.shopper_profiles.coalesce() as one:
            outcomes = await asyncio.gather(*(one.create(i) for i in range(1, 1001)))
        assert [o.item for o in outcomes] == list(range(1, 1001))
        assert len(sandbox.store.profiles) == session.stats.requests * 50 == 1000
        assert sandbox.record.peak == concurrency


async def test_many_deletes_and_lookups_take_the_least_requests():
    """DELETEs of 50, and GETs of as many customers as fit in their URL."""
    async with Sandbox(profiles=1000) as sandbox, sandbox.session() as session:
        owners = {p.customer_id: p.id for p in sandbox.store.profiles.values()}
        async with session.shopper_profiles.coalesce() as one:
            found = await asyncio.gather(*(one.lookup(i) for i in owners))
            assert found == list(owners.values())
            gets = session.stats.requests
            await session.shopper_profiles.lookup(owners)
            assert gets == session.stats.requests - gets
            await asyncio.gather(*(one.delete(i) for i in owners.values()))
        assert sandbox.store.profiles == {}
        assert len(deleted(sandbox)) == 20


async def test_while_requests_wait_for_quota_calls_gather():
    """One chunk waits for its turn; what comes meanwhile makes full ones."""
    async with (
        Sandbox(customers=300, rules=Rules(quota=2)) as sandbox,
        sandbox.session() as session,
    ):
        async with session.shopper_profiles.coalesce() as one:
            await one.create(1)
            await one.create(2)

            async def later(customer_id):
                await asyncio.sleep(customer_id / 100)
                return await one.create(customer_id)

            await asyncio.gather(*(later(i) for i in range(3, 103)))
        assert sum(map(len, posted(sandbox))) == 102
        assert len(posted(sandbox)) <= 6
        assert 429 not in sandbox.record.statuses


# Each its own.


async def test_one_bad_customer_costs_the_others_nothing():
    """It gets its own outcome, with the server's words; the rest are created."""
    async with Sandbox(customers=49) as sandbox, sandbox.session() as session:
        async with session.shopper_profiles.coalesce() as one:
            *good, bad = await asyncio.gather(*(one.create(i) for i in [*range(1, 50), 777]))
        assert {o.status for o in good} == {Status.CREATED}
        assert (bad.item, bad.status) == (777, Status.REJECTED)
        assert "Customer `777` does not exist" in str(bad.error)


async def test_one_bad_lookup_costs_the_others_nothing():
    """A search that the server refuses is halved until it is clear because of whom."""
    huge = 2**63 - 1  # the sandbox takes no number of so many digits
    async with Sandbox(profiles=40) as sandbox, sandbox.session() as session:
        async with session.shopper_profiles.coalesce() as one:
            *found, refused = await asyncio.gather(
                *(one.lookup(i) for i in [*range(1, 41), 777, huge]), return_exceptions=True
            )
        assert found == [*sandbox.store.profiles, None]
        assert isinstance(refused, UnprocessableError)


async def test_deletes_get_the_outcome_of_their_own_profile():
    """What does not exist is as it should be."""
    rules = Rules(vanished="not_found")
    async with Sandbox(profiles=30, rules=rules) as sandbox, sandbox.session() as session:
        ids = [*sandbox.store.profiles, uuid4()]
        async with session.shopper_profiles.coalesce() as one:
            outcomes = await asyncio.gather(*(one.delete(str(i)) for i in ids))
        assert [o.item for o in outcomes] == ids
        assert {o.status for o in outcomes} == {Status.DELETED}
        assert sandbox.store.profiles == {}
        assert sandbox.store.wipes == 0


async def test_a_create_whose_answer_got_lost_is_looked_up():
    """Recovery is that of `create`."""
    async with Sandbox(customers=50) as sandbox, sandbox.session() as session:
        sandbox.faults.queue(Fault.cut(applied=True))
        async with session.shopper_profiles.coalesce() as one:
            outcomes = await asyncio.gather(*(one.create(i) for i in range(1, 51)))
        assert {o.status for o in outcomes} == {Status.EXISTS}
        assert len(posted(sandbox)) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_what_is_wrong_for_all_is_raised_to_each_as_its_own(status):
    """One exception per caller; of what waited, only what was on its way is sent."""
    kind = {401: AuthenticationError, 403: PermissionDeniedError}[status]
    async with Sandbox(customers=500) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.error(status), method="POST")
        async with session.shopper_profiles.coalesce() as one:
            errors = await asyncio.gather(
                *(one.create(i) for i in range(1, 501)), return_exceptions=True
            )
            assert {type(e) for e in errors} == {kind}
            assert len(set(map(id, errors))) == 500
            assert len(posted(sandbox)) <= 3
            assert all(len(traceback.extract_tb(e.__traceback__)) < 30 for e in errors)
            assert pickle.loads(pickle.dumps(errors[0])).status == status
            assert await one.lookup(1) is None  # other verbs go on
            sandbox.faults.clear()
            assert (await one.create(1)).status is Status.CREATED  # and so do later calls


async def test_a_failed_lookup_raises_to_each_its_own():
    """With the failure of the connection as the cause, as ever."""
    retry = RetryPolicy(attempts=1)
    async with Sandbox(customers=3) as sandbox, sandbox.session(retry=retry) as session:
        sandbox.faults.rule(Fault.cut(applied=True))
        async with session.shopper_profiles.coalesce() as one:
            errors = await asyncio.gather(
                *(one.lookup(i) for i in (1, 2, 2)), return_exceptions=True
            )
    assert {type(e) for e in errors} == {TransportError}
    assert len(set(map(id, errors))) == 3
    assert all(e.__cause__ is not None for e in errors)


async def test_what_was_not_sent_raises_and_what_cannot_be_told_is_an_outcome():
    """`max_wait` refuses before anything leaves; a delete without an answer is unknown."""
    async with Sandbox(profiles=2, rules=Rules(quota=1)) as sandbox:
        profile_id, other = sandbox.store.profiles
        async with (
            sandbox.session(quota=QuotaPolicy(max_wait=5)) as session,
            session.shopper_profiles.coalesce() as one,
        ):
            assert (await one.delete(profile_id)).ok
            with pytest.raises(RateLimitError, match="was not sent"):
                await one.delete(other)
        sandbox.faults.rule(Fault.error(500), method="DELETE")
        async with (
            sandbox.session(retry=RetryPolicy(attempts=1)) as session,
            session.shopper_profiles.coalesce() as one,
        ):
            outcome = await one.delete(other)
        assert outcome.status is Status.UNKNOWN
        assert isinstance(outcome.error, ServerError)


@pytest.mark.parametrize("bad", [0, -1, True, 1.0, "1", None, math.nan])
async def test_a_bad_id_is_refused_to_its_caller_alone(bad):
    """Before anything is sent; the others do not notice."""
    async with Sandbox(customers=3) as sandbox, sandbox.session() as session:
        async with session.shopper_profiles.coalesce() as one:
            *refused, good = await asyncio.gather(
                one.create(bad), one.lookup(bad), one.delete(bad), one.delete(""), one.create(3),
                return_exceptions=True,
            )  # fmt: skip
        assert {type(e) for e in refused} == {InvalidInputError}
        assert good.status is Status.CREATED
        assert session.stats.requests == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_delay": -0.1},
        {"max_delay": math.nan},
        {"max_delay": math.inf},
        {"max_delay": True},
        {"max_delay": "1"},
        {"max_pending": 0},
        {"max_pending": 1.5},
        {"max_pending": True},
        {"shutdown_timeout": -1},
        {"shutdown_timeout": math.nan},
        {"shutdown_timeout": None},
    ],
)
def test_bad_arguments_are_refused(arguments):
    """By name."""
    profiles = Session("hash", "token").shopper_profiles
    with pytest.raises(InvalidInputError, match=next(iter(arguments))):
        profiles.coalesce(**arguments)


# The same id, asked more than once.


async def test_the_same_id_asked_at_once_is_sent_once_and_answers_all():
    """Of every verb, while it waits."""
    async with Sandbox(customers=3, profiles=1) as sandbox, sandbox.session() as session:
        (profile_id,) = sandbox.store.profiles
        async with session.shopper_profiles.coalesce() as one:
            found = await asyncio.gather(*(one.lookup(1) for _ in range(100)))
            gone = await asyncio.gather(
                *(one.delete(i) for i in 50 * [profile_id, str(profile_id)])
            )
            made = await asyncio.gather(*(one.create(i) for i in 50 * [1, 2]))
        assert set(found) == {profile_id}
        assert {(o.item, o.status) for o in gone} == {(profile_id, Status.DELETED)}
        assert [o.item for o in made] == 50 * [1, 2]
        assert {o.status for o in made} == {Status.CREATED}
        assert (searched(sandbox), deleted(sandbox)) == ([[1]], [[profile_id]])
        assert posted(sandbox) == [[1, 2]]


async def test_a_write_under_way_answers_who_asks_for_the_same():
    """Not so a lookup: what it finds may be older than the later call."""
    async with Sandbox(customers=3, profiles=1) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(SLOW))
        (profile_id,) = sandbox.store.profiles
        async with session.shopper_profiles.coalesce() as one:
            for call, item in ((one.create, 2), (one.delete, profile_id), (one.lookup, 1)):
                (first,) = start(call(item))
                await asyncio.sleep(SLOW / 2)
                second = await call(item)
                assert await first == second
        assert posted(sandbox) == [[2]]
        assert deleted(sandbox) == [[profile_id]]
        assert searched(sandbox) == [[1], [1]]


async def test_a_lookup_sees_what_was_answered_before_it():
    """Also where the same lookup is under way from before the create."""
    async with Sandbox(customers=1) as sandbox, sandbox.session() as session:
        slow = Fault.slow(SLOW)
        async with session.shopper_profiles.coalesce() as one:
            await one.lookup(1)  # the quota is known: from now on several go at once
            sandbox.faults.rule(slow, method="GET", path="customers")
            (early,) = start(one.lookup(1))
            await asyncio.sleep(2 * DELAY)
            sandbox.store.create(1)
            created = await one.create(1)
            assert await one.lookup(1) == created.profile_id
            await early


# Cancelled callers.


async def test_a_cancelled_caller_is_taken_out_if_it_was_not_sent():
    """Its id is in no request; the others are as they would be."""
    async with Sandbox(customers=50, profiles=20) as sandbox, sandbox.session() as session:
        profile_ids = list(sandbox.store.profiles)
        async with session.shopper_profiles.coalesce() as one:
            creates = start(*(one.create(i) for i in range(30, 40)))
            lookups = start(*(one.lookup(i) for i in range(1, 10)))
            await soon()
            await stop(creates[3], lookups[0])
            assert all(await asyncio.gather(*creates[:3], *creates[4:]))
            await asyncio.gather(*lookups[1:])
            deletes = start(*(one.delete(i) for i in profile_ids))
            await soon()
            await stop(*deletes[:5])
            await asyncio.gather(*deletes[5:])
        assert posted(sandbox) == [[30, 31, 32, *range(34, 40)]]
        assert searched(sandbox) == [list(range(2, 10))]
        assert deleted(sandbox) == [profile_ids[5:]]


async def test_nothing_is_sent_for_callers_who_are_all_gone():
    """No request at all."""
    async with Sandbox(customers=50) as sandbox, sandbox.session() as session:
        async with session.shopper_profiles.coalesce() as one:
            calls = start(*(one.create(i) for i in range(1, 51)), one.create(1), one.lookup(1))
            await asyncio.sleep(0)
            await stop(*calls)
            await asyncio.sleep(10 * DELAY)
        assert session.stats.requests == 0


async def test_a_cancelled_caller_leaves_the_id_to_others_who_want_it():
    """The first to ask may go; the second is answered."""
    async with (
        Sandbox(customers=5) as sandbox,
        sandbox.session() as session,
        session.shopper_profiles.coalesce() as one,
    ):
        first, second = start(one.create(1), one.create(1))
        await soon()
        await stop(first)
        assert (await second).status is Status.CREATED


@pytest.mark.parametrize("verb", ["create", "delete", "lookup"])
async def test_a_cancelled_caller_is_taken_out_of_a_request_that_waits_for_quota(verb):
    """The request was made, but has not left: it leaves without that id, and when it may."""
    rules = Rules(quota=1, window=30.0)
    async with Sandbox(profiles=20, rules=rules) as sandbox, sandbox.session() as session:
        await session.shopper_profiles.page()
        ids = list(sandbox.store.profiles) if verb == "delete" else list(range(1, 21))
        async with session.shopper_profiles.coalesce() as one:
            call = getattr(one, verb)
            calls = start(*(call(i) for i in ids))
            await asyncio.sleep(10)
            assert len(sandbox.record.requests) == 1
            began = asyncio.get_running_loop().time()
            await stop(calls[4])
            joined = await call(ids[7])
            assert joined == await calls[7]
            await asyncio.gather(*calls[:4], *calls[5:])
            assert asyncio.get_running_loop().time() - began < (21 if verb != "create" else 100)
        sent = {"create": posted, "delete": deleted, "lookup": searched}[verb](sandbox)[0]
        assert sent == ids[:4] + ids[5:]


@pytest.mark.parametrize("verb", ["create", "delete", "lookup"])
async def test_a_caller_cancelled_just_as_its_request_may_go_costs_the_others_nothing(verb):
    """The request is stopped in the last moment, and goes without that id."""
    calls = []

    def cancel(event):
        if isinstance(event, ResponseReceived) and calls:
            calls.pop().cancel()

    async with Sandbox(profiles=20) as sandbox:
        ids = list(sandbox.store.profiles) if verb == "delete" else list(range(1, 21))
        sandbox.faults.rule(Fault.slow(SLOW), nth=1)
        async with (
            sandbox.session(concurrency=1, on_event=cancel) as session,
            session.shopper_profiles.coalesce() as one,
        ):
            (page,) = start(session.shopper_profiles.page())
            await soon()
            call = getattr(one, verb)
            others = start(*(call(i) for i in ids[:9]))
            calls += start(call(ids[9]))
            await page
            await asyncio.gather(*others)
        sent = {"create": posted, "delete": deleted, "lookup": searched}[verb](sandbox)
        assert sent[0] == ids[:9]
        assert not any(ids[9] in chunk for chunk in sent)


async def test_a_request_that_waits_for_quota_is_dropped_with_its_last_caller():
    """Then nothing goes out, and the next call is served as ever."""
    async with Sandbox(customers=9, rules=Rules(quota=1)) as sandbox, sandbox.session() as session:
        await session.shopper_profiles.page()
        async with session.shopper_profiles.coalesce() as one:
            calls = start(one.create(1), one.create(2))
            await asyncio.sleep(5)
            await stop(*calls)
            assert (await one.create(3)).status is Status.CREATED
        assert posted(sandbox) == [[3]]


async def test_a_caller_cancelled_after_sending_costs_the_others_nothing():
    """The request goes on, and they are answered by it."""
    async with Sandbox(customers=50) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(SLOW))
        async with session.shopper_profiles.coalesce() as one:
            calls = start(*(one.create(i) for i in range(1, 51)))
            await asyncio.sleep(SLOW / 2)
            await stop(*calls[:49])
            assert (await calls[49]).status is Status.CREATED
            assert len(sandbox.store.profiles) == 50
        assert len(posted(sandbox)) == 1


async def test_timeouts_of_callers_work():
    """`asyncio.timeout` around one call ends it in time."""
    async with Sandbox(customers=2) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(SLOW))
        async with session.shopper_profiles.coalesce() as one:
            (other,) = start(one.create(2))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SLOW / 2):
                    await one.create(1)
            assert (await other).ok


# Creates and deletes of the same customer.


@pytest.mark.parametrize("bad_items", ["refuse", "207", "409"])
@pytest.mark.parametrize("names_items", [True, False])
async def test_a_create_after_a_delete_makes_a_new_profile(bad_items, names_items):
    """Called while the delete still waits: the customer ends with a profile, and a new one."""
    rules = Rules(bad_items=bad_items, names_items=names_items)
    async with Sandbox(customers=30, profiles=9, rules=rules) as sandbox:
        async with sandbox.session() as session:
            old = list(sandbox.store.profiles)
            async with session.shopper_profiles.coalesce() as one:
                outcomes = await asyncio.gather(
                    *(one.delete(i) for i in old), *(one.create(i) for i in range(1, 31))
                )
        assert {o.status for o in outcomes[:9]} == {Status.DELETED}
        assert {o.status for o in outcomes[9:]} == {Status.CREATED}
        assert [o.profile_id for o in outcomes[9:]] == list(sandbox.store.customers.values())
        assert not set(old) & set(sandbox.store.profiles)


@pytest.mark.parametrize("slow", ["POST", "DELETE", "GET", None])
@pytest.mark.parametrize("names_items", [True, False])
async def test_a_create_that_meets_a_delete_halfway_makes_a_new_profile(slow, names_items):
    """Both are under way at once, in any order of arrival."""
    rules = Rules(names_items=names_items)
    for wait in (0, 0.06, 0.3):
        async with Sandbox(profiles=1, rules=rules) as sandbox, sandbox.session() as session:
            await session.shopper_profiles.page()
            if slow:
                sandbox.faults.rule(Fault.slow(0.2), method=slow)
            (old,) = sandbox.store.profiles
            async with session.shopper_profiles.coalesce() as one:
                (delete,) = start(one.delete(old))
                await asyncio.sleep(wait)
                created = await one.create(1)
                assert (await delete).status is Status.DELETED
            assert created.status is Status.CREATED
            assert sandbox.store.customers == {1: created.profile_id}


async def test_a_create_that_found_the_profile_before_it_was_deleted_is_sent_again():
    """Also where its request goes on for others, and the delete is answered by then."""
    async with Sandbox(profiles=1, customers=2) as sandbox, sandbox.session() as session:
        await session.shopper_profiles.page()
        sandbox.faults.rule(Fault.slow(SLOW), method="POST", nth=2)
        sandbox.faults.rule(Fault.slow(SLOW / 2), method="DELETE")
        (old,) = sandbox.store.profiles
        async with session.shopper_profiles.coalesce() as one:
            gone, first, second = await asyncio.gather(
                one.delete(old), one.create(1), one.create(2)
            )
        assert gone.status is Status.DELETED
        assert {first.status, second.status} == {Status.CREATED}
        assert posted(sandbox) == [[1, 2], [2], [1]]
        assert sandbox.store.customers == {1: first.profile_id, 2: second.profile_id}


async def test_a_create_refused_for_a_profile_that_is_gone_when_looked_up_is_sent_again():
    """The delete came between the refusal and the look-up."""
    async with Sandbox(profiles=1) as sandbox, sandbox.session() as session:
        await session.shopper_profiles.page()
        sandbox.faults.rule(Fault.slow(SLOW), method="DELETE")
        sandbox.faults.rule(Fault.slow(2 * SLOW), method="GET")
        (old,) = sandbox.store.profiles
        async with session.shopper_profiles.coalesce() as one:
            gone, made = await asyncio.gather(one.delete(old), one.create(1))
        assert gone.status is Status.DELETED
        assert made.status is Status.CREATED
        assert sandbox.store.customers == {1: made.profile_id}


async def test_a_delete_after_a_create_leaves_no_profile():
    """It waits until the create is answered, though nobody knows yet whose profile it is."""
    async with Sandbox(profiles=3) as sandbox, sandbox.session() as session:
        await session.shopper_profiles.page()
        sandbox.faults.rule(Fault.slow(SLOW), method="POST")
        old = list(sandbox.store.profiles)
        async with session.shopper_profiles.coalesce() as one:
            outcomes = await asyncio.gather(
                *(one.create(i) for i in (1, 2, 3)), *(one.delete(i) for i in old)
            )
        assert [o.status for o in outcomes] == 3 * [Status.EXISTS] + 3 * [Status.DELETED]
        assert [o.profile_id for o in outcomes] == 2 * old
        assert sandbox.store.profiles == {}


async def test_a_create_is_not_answered_by_one_from_before_a_delete():
    """Create, delete, create of one customer: there, gone, and there again."""
    async with Sandbox(profiles=2) as sandbox, sandbox.session() as session:
        old, other = sandbox.store.profiles
        async with session.shopper_profiles.coalesce() as one:
            first, gone, second, again = await asyncio.gather(
                one.create(1), one.delete(old), one.create(1), one.create(2)
            )
        assert (first.status, first.profile_id) == (Status.EXISTS, old)
        assert gone.status is Status.DELETED
        assert second.status is Status.CREATED
        assert (again.status, again.profile_id) == (Status.EXISTS, other)
        assert sandbox.store.customers == {1: second.profile_id, 2: other}
        assert posted(sandbox)[-1] == [1]


async def test_unrelated_deletes_between_the_same_creates_cost_nothing():
    """The second is still answered by the first's request."""
    async with Sandbox(customers=9, profiles=2) as sandbox, sandbox.session() as session:
        async with session.shopper_profiles.coalesce() as one:
            first, *_, second = await asyncio.gather(
                one.create(5), *(one.delete(i) for i in sandbox.store.profiles), one.create(5)
            )
        assert first == second
        assert posted(sandbox) == [[5]]
        assert len(deleted(sandbox)) == 1


async def test_creates_and_deletes_that_come_mixed_still_share_requests():
    """500 of each, in turns, of different customers: not one request more than need be."""
    async with Sandbox(customers=1000, profiles=500) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(DELAY))
        calls = []
        async with session.shopper_profiles.coalesce() as one:
            for customer_id, profile_id in zip(
                range(501, 1001), list(sandbox.store.profiles), strict=True
            ):
                calls += [one.create(customer_id), one.delete(profile_id)]
            outcomes = await asyncio.gather(*calls)
        assert {o.status for o in outcomes} == {Status.CREATED, Status.DELETED}
        assert (len(posted(sandbox)), len(deleted(sandbox))) == (10, 10)


async def test_a_create_held_back_for_a_delete_can_be_cancelled():
    """It is not sent again, and the delete is answered."""
    async with Sandbox(profiles=1) as sandbox, sandbox.session() as session:
        await session.shopper_profiles.page()
        sandbox.faults.rule(Fault.slow(SLOW), method="DELETE")
        (old,) = sandbox.store.profiles
        async with session.shopper_profiles.coalesce() as one:
            delete, create = start(one.delete(old), one.create(1))
            await asyncio.sleep(SLOW / 2)
            await stop(create)
            assert (await delete).ok
        assert posted(sandbox) == [[1]]
        assert sandbox.store.profiles == {}


async def test_a_delete_that_fails_lets_the_create_go():
    """It is sent again, finds the profile, and says so."""
    retry = RetryPolicy(attempts=1)
    async with Sandbox(profiles=1) as sandbox, sandbox.session(retry=retry) as session:
        await session.shopper_profiles.page()
        sandbox.faults.rule(Fault(latency=SLOW, status=500, applied=False), method="DELETE")
        (old,) = sandbox.store.profiles
        async with session.shopper_profiles.coalesce() as one:
            gone, made = await asyncio.gather(one.delete(old), one.create(1))
    assert gone.status is Status.UNKNOWN
    assert (made.status, made.profile_id) == (Status.EXISTS, old)


# Backpressure.


async def test_a_full_backlog_makes_callers_wait():
    """Never more ids under way than `max_pending`; all are served, first come, first served."""
    async with Sandbox(customers=1000) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(SLOW))
        async with session.shopper_profiles.coalesce(max_pending=100) as one:
            calls = start(*(one.create(i) for i in range(1, 1001)))
            await asyncio.sleep(SLOW / 2)
            assert sum(map(len, posted(sandbox))) <= 100
            outcomes = await asyncio.gather(*calls)
        assert {o.status for o in outcomes} == {Status.CREATED}
        assert sorted(itertools.chain(*posted(sandbox))) == list(range(1, 1001))
        assert posted(sandbox)[0] == list(range(1, 51))
        assert len(posted(sandbox)) == 20
        assert sandbox.record.peak <= 2


async def test_a_small_backlog_does_not_wait_for_company_that_cannot_come():
    """Ten at a time go at once, where no more than ten are let in."""
    async with Sandbox(customers=100) as sandbox, sandbox.session() as session:
        began = asyncio.get_running_loop().time()
        async with session.shopper_profiles.coalesce(max_delay=60, max_pending=10) as one:
            await asyncio.gather(*(one.create(i) for i in range(1, 101)))
        assert asyncio.get_running_loop().time() - began < 1
        assert [len(ids) for ids in posted(sandbox)] == 10 * [10]


async def test_who_waits_for_room_can_be_cancelled():
    """Its id is never sent, and its place in the queue goes to the next."""
    async with Sandbox(customers=9) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(SLOW))
        async with session.shopper_profiles.coalesce(max_pending=1) as one:
            calls = start(*(one.create(i) for i in range(1, 6)))
            await asyncio.sleep(SLOW / 2)
            await stop(calls[1], calls[3])
            assert [(await calls[i]).item for i in (0, 2, 4)] == [1, 3, 5]
        assert posted(sandbox) == [[1], [3], [5]]


async def test_a_caller_cancelled_in_a_full_backlog_makes_room():
    """Also where nothing of it was sent."""
    async with (
        Sandbox(customers=9) as sandbox,
        sandbox.session() as session,
        session.shopper_profiles.coalesce(max_pending=2) as one,
    ):
        calls = start(one.create(1), one.delete(uuid4()), one.create(3), one.create(4))
        await asyncio.sleep(0)
        await stop(calls[0], calls[1])
        assert [(await call).item for call in calls[2:]] == [3, 4]


async def test_the_same_id_needs_no_room():
    """It is sent once though the backlog is full."""
    async with Sandbox(customers=9) as sandbox, sandbox.session() as session:
        async with session.shopper_profiles.coalesce(max_pending=1) as one:
            calls = [one.create(i) for i in (1, 2, 1, 2, 1, 2)]
            assert [o.item for o in await asyncio.gather(*calls)] == [1, 2, 1, 2, 1, 2]
        assert posted(sandbox) == [[1], [2]]


async def test_the_same_id_needs_no_room_once_nothing_stands_before_it():
    """A delete that waited for room has gone; the create behind it joins the one under way."""
    async with Sandbox(customers=9) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(SLOW))
        async with session.shopper_profiles.coalesce(max_pending=1) as one:
            first, delete, second = start(one.create(1), one.delete(uuid4()), one.create(1))
            await asyncio.sleep(SLOW / 2)
            await stop(delete)
            assert await first == await second
        assert session.stats.requests == 1


async def test_a_full_backlog_keeps_the_order():
    """A create does not pass a delete that waits for room."""
    async with Sandbox(profiles=1, customers=5) as sandbox, sandbox.session() as session:
        (old,) = sandbox.store.profiles
        async with session.shopper_profiles.coalesce(max_pending=1) as one:
            first, gone, second = await asyncio.gather(
                one.create(1), one.delete(old), one.create(1)
            )
        assert [first.status, gone.status] == [Status.EXISTS, Status.DELETED]
        assert sandbox.store.customers[1] == second.profile_id
        assert second.status is Status.CREATED


# Leaving the block.


async def test_leaving_sends_what_is_pending_and_answers_everyone():
    """At once, also those who were waiting for room."""
    async with Sandbox(customers=130, profiles=2) as sandbox, sandbox.session() as session:
        old, _ = sandbox.store.profiles
        began = asyncio.get_running_loop().time()
        async with session.shopper_profiles.coalesce(max_delay=60, max_pending=70) as one:
            creates = start(*(one.create(i) for i in range(3, 131)))
            others = start(one.delete(old), one.lookup(2))
            await asyncio.sleep(0)
        assert all(o.ok for o in await asyncio.gather(*creates))
        assert (await others[0]).ok
        assert await others[1] is not None
        assert asyncio.get_running_loop().time() - began < 1
        assert len(posted(sandbox)) <= 4


async def test_leaving_counts_the_tasks_that_were_only_just_started():
    """Their calls are made, and answered, though nothing was awaited in the block."""
    async with Sandbox(customers=9) as sandbox, sandbox.session() as session:
        async with session.shopper_profiles.coalesce() as one:
            calls = start(*(one.create(i) for i in range(1, 10)))
        assert {o.status for o in await asyncio.gather(*calls)} == {Status.CREATED}
        assert len(posted(sandbox)) == 1


async def test_no_call_is_taken_outside_of_the_block():
    """Before it, after it, and while it is being left; the error says so."""
    async with Sandbox(customers=5) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(SLOW))
        one = session.shopper_profiles.coalesce()
        with pytest.raises(SessionClosedError, match="inside its `async with` block"):
            await one.create(1)

        async def late():
            await asyncio.sleep(SLOW / 2)
            await one.create(2)

        async with one:
            first, second = start(one.create(1), late())
            await asyncio.sleep(0)
        assert (await first).ok
        with pytest.raises(SessionClosedError, match="inside its `async with` block"):
            await second
        with pytest.raises(SessionClosedError, match="one block"):
            async with one:
                pass
        assert posted(sandbox) == [[1]]


async def test_leaving_keeps_its_deadline():
    """Who was sent and is not answered gets UNKNOWN, who was not sent an exception."""
    async with Sandbox(profiles=500) as sandbox, sandbox.session(concurrency=2) as session:
        await session.shopper_profiles.page()
        sandbox.faults.rule(Fault.slow(60.0))
        began = asyncio.get_running_loop().time()
        profile_ids = list(sandbox.store.profiles)
        async with session.shopper_profiles.coalesce(max_pending=300, shutdown_timeout=7.0) as one:
            deletes = start(*(one.delete(i) for i in profile_ids))
            creates = start(*(one.create(i) for i in range(1, 50)))
            await asyncio.sleep(3)
        assert asyncio.get_running_loop().time() - began == pytest.approx(10.0, abs=0.01)
        results = await asyncio.gather(*deletes, *creates, return_exceptions=True)
        for profile_id, outcome in zip(profile_ids[:100], results[:100], strict=True):
            assert (outcome.item, outcome.status) == (profile_id, Status.UNKNOWN)
            assert isinstance(outcome.error, SessionClosedError)
        assert {type(e) for e in results[100:]} == {SessionClosedError}
        assert len(set(map(id, results))) == len(results)
        assert not left_behind()


async def test_a_deadline_loses_nothing_that_is_known():
    """What the half-done recovery of a chunk has settled is told."""
    async with Sandbox(customers=50, profiles=20) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(60.0), method="POST", nth=2)
        async with session.shopper_profiles.coalesce(shutdown_timeout=1) as one:
            calls = start(*(one.create(i) for i in range(1, 31)))
            await soon()
        outcomes = await asyncio.gather(*calls)
        assert {o.status for o in outcomes[:20]} == {Status.EXISTS}
        assert {o.status for o in outcomes[20:]} == {Status.UNKNOWN}


@pytest.mark.parametrize("timeout", [0, 0.0])
async def test_no_time_to_leave(timeout):
    """Everyone is answered at once."""
    async with Sandbox(customers=9) as sandbox, sandbox.session() as session:
        async with session.shopper_profiles.coalesce(shutdown_timeout=timeout) as one:
            calls = start(one.create(1), one.lookup(1))
            await asyncio.sleep(0)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(e) for e in results} == {SessionClosedError}
        assert session.stats.requests == 0


async def test_an_error_in_the_block_does_not_concern_the_callers():
    """They are answered, and it goes on its way."""
    async with Sandbox(customers=9) as sandbox, sandbox.session() as session:
        with pytest.raises(ZeroDivisionError):
            async with session.shopper_profiles.coalesce() as one:
                (call,) = start(one.create(1))
                await asyncio.sleep(0)
                _ = 1 / 0
        assert (await call).status is Status.CREATED


@pytest.mark.parametrize("when", ["inside", "leaving"])
async def test_a_cancelled_block_ends_promptly(when):
    """Nothing more goes out; everyone is told."""
    async with Sandbox(customers=100) as sandbox, sandbox.session(concurrency=1) as session:
        sandbox.faults.rule(Fault.slow(SLOW))
        calls = []

        async def block():
            async with session.shopper_profiles.coalesce() as one:
                calls.extend(start(*(one.create(i) for i in range(1, 101))))
                await asyncio.sleep(3600 if when == "inside" else 0)

        (task,) = start(block())
        await asyncio.sleep(SLOW / 2)
        began = asyncio.get_running_loop().time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() - began < 0.01
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {o.status for o in results[:50]} == {Status.UNKNOWN}
        assert {type(e) for e in results[50:]} == {SessionClosedError}
        await asyncio.sleep(10)
        assert len(posted(sandbox)) == 1


async def test_a_block_in_a_task_group_that_fails():
    """The callers are cancelled with the group, and the block is left at once."""
    async with Sandbox(customers=100) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(3600))

        async def fail():
            await asyncio.sleep(1)
            raise ZeroDivisionError

        began = asyncio.get_running_loop().time()
        with pytest.raises(ExceptionGroup):
            async with session.shopper_profiles.coalesce() as one, asyncio.TaskGroup() as group:
                for i in range(1, 101):
                    group.create_task(one.create(i))
                group.create_task(fail())
        assert asyncio.get_running_loop().time() - began < 1.1
        assert not left_behind()


async def test_a_session_that_closes_answers_everyone():
    """With SessionClosedError, or UNKNOWN for what was sent."""
    async with Sandbox(customers=900, profiles=2) as sandbox:
        session = sandbox.session(concurrency=2)
        await session.shopper_profiles.page()
        sandbox.faults.rule(Fault.slow(3600))
        async with session.shopper_profiles.coalesce(max_pending=400) as one:
            calls = start(*(one.create(i) for i in range(1, 800)), one.lookup(1))
            calls += start(one.delete(uuid4()))
            await asyncio.sleep(1)
            await session.aclose()
            results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 1)
            assert {o.status for o in results[:100]} == {Status.UNKNOWN}
            assert {type(o.error) for o in results[:100]} == {SessionClosedError}
            assert {type(e) for e in results[100:]} == {SessionClosedError}
            with pytest.raises(SessionClosedError, match="the session is closed"):
                await one.create(1)
        assert not left_behind()


def test_another_event_loop_is_refused():
    """A coalescer belongs to the loop of its block."""

    async def enter():
        async with Sandbox(customers=1) as sandbox, sandbox.session() as session:
            one = session.shopper_profiles.coalesce()
            await one.__aenter__()
            return one

    one = run(enter())

    async def call():
        with pytest.raises(SessionClosedError):
            await one.create(1)

    run(call())


def left_behind():
    return [t for t in asyncio.all_tasks() if "bcshopper/_" in repr(t)]


async def test_a_shared_request_runs_in_the_context_of_the_block():
    """Not in that of one caller: traces and log lines would take it for that one's alone."""
    who = contextvars.ContextVar("who")
    who.set("the block")
    seen = []
    async with (
        Sandbox(customers=200) as sandbox,
        sandbox.session(on_event=lambda _: seen.append(who.get())) as session,
        session.shopper_profiles.coalesce() as one,
    ):

        async def call(customer_id):
            who.set(f"caller {customer_id}")
            await one.create(customer_id)

        await asyncio.gather(*(call(i) for i in range(1, 151)))
        await asyncio.gather(call(151))
        await asyncio.gather(call(152))
    assert len(seen) >= 3 * 5
    assert set(seen) == {"the block"}


async def test_the_class_is_there_for_annotations():
    """`bcshopper.Coalescer` is what `coalesce` gives."""
    async with Session("hash", "token") as session:
        assert isinstance(session.shopper_profiles.coalesce(), Coalescer)


# Everything together.

FAULTS = st.sampled_from(
    [
        Fault.cut(applied=False),
        Fault.cut(applied=True),
        Fault.half(),
        Fault.garbage(),
        Fault.error(500, applied=True),
        Fault.error(503, body="html"),
        Fault.error(429, headers={"X-Rate-Limit-Time-Reset-Ms": "1000"}),
    ]
)
CUSTOMERS = 2
STRANGER = 3
NEW = "a profile that nobody was told of"

OPERATIONS = st.tuples(
    st.sampled_from(["create", "create", "delete", "delete", "lookup"]),
    st.integers(1, STRANGER),
    st.sampled_from([0, 0, 0.01, 0.06, 0.3]),  # before the next
    st.sampled_from([*5 * [None], 0, 0.04, 0.07, 0.3]),  # until it is cancelled
)
LATENCIES = st.fixed_dictionaries(
    dict.fromkeys(["POST", "GET", "DELETE"], st.sampled_from([0, 0.03, 0.1, 0.4]))
)


class Ledger:
    """What one customer may have, when calls take effect in the order of the calls."""

    def __init__(self, profile_id):
        self.possible = {profile_id}
        self.seen = {profile_id}

    def create(self, outcome):
        if outcome is None:  # it was cancelled, and may have taken effect or not
            if None in self.possible:
                self.possible.add(NEW)
            return
        assert outcome.ok
        is_new = outcome.profile_id not in self.seen
        assert self.possible & ({None, NEW} if is_new else {outcome.profile_id})
        self.seen.add(outcome.profile_id)
        self.possible = {outcome.profile_id}

    def delete(self, profile_id, outcome):
        if profile_id in self.possible:
            self.possible.add(None)
            if outcome is not None:
                assert outcome.status is Status.DELETED
                self.possible.discard(profile_id)

    def end(self, profile_id):
        assert profile_id in self.possible or (NEW in self.possible and profile_id not in self.seen)


class Play:
    """Makes calls as scheduled, and keeps the books."""

    def __init__(self, store, one):
        self.store = store
        self.one = one
        self.ledgers = {i: Ledger(p) for i, p in store.customers.items()}
        self.newest = dict(store.customers)
        self.calls = []
        self.cancels = []

    def call(self, verb, customer_id, cancelled):
        item = self.newest.get(customer_id) if verb == "delete" else customer_id
        if item is None:
            return
        (call,) = start(self._answer(verb, customer_id, item))
        self.calls.append((verb, customer_id, item, cancelled, call))
        if cancelled is not None:
            self.cancels += start(self._cancel(call, cancelled))

    async def _answer(self, verb, customer_id, item):
        answer = await getattr(self.one, verb)(item)
        if verb == "lookup":
            return answer
        assert answer.item == item
        if answer.profile_id is not None:
            self.newest[customer_id] = answer.profile_id
        return answer

    async def _cancel(self, call, seconds):
        await asyncio.sleep(seconds)
        call.cancel()

    async def settle(self):
        """Everyone has been answered or was cancelled, and every customer is as called."""
        await asyncio.gather(*self.cancels, return_exceptions=True)
        for verb, customer_id, item, cancelled, call in self.calls:
            await asyncio.wait([call], timeout=0.001)
            assert call.done()
            assert cancelled is not None or not call.cancelled()
            answer = None if call.cancelled() else call.result()
            if verb == "lookup":
                continue
            if customer_id == STRANGER:
                assert answer is None or answer.status in {Status.REJECTED, Status.UNKNOWN}
            elif verb == "create":
                self.ledgers[customer_id].create(answer)
            else:
                self.ledgers[customer_id].delete(item, answer)
        for customer_id, ledger in self.ledgers.items():
            ledger.end(self.store.customers[customer_id])


SCHEDULES = st.fixed_dictionaries(
    {
        "operations": st.lists(OPERATIONS, max_size=25),
        "profiles": st.integers(0, CUSTOMERS),
        "latencies": LATENCIES,
        "faults": st.lists(FAULTS, max_size=4),
        "rules": st.builds(
            Rules,
            bad_items=st.sampled_from(["refuse", "207", "409"]),
            names_items=st.booleans(),
            vanished=st.sampled_from(["ignore", "not_found"]),
            quota=st.sampled_from([None, None, 3]),
            window=st.sampled_from([0.3, 1.0]),
        ),
        "concurrency": st.sampled_from([10, 2, 1]),
        "max_pending": st.sampled_from([1000, 3, 1]),
    }
)


async def perform(*, operations, profiles, latencies, faults, rules, concurrency, max_pending):
    most = 0

    def note(event):
        nonlocal most
        if one is not None and isinstance(event, RequestSent):
            most = max(most, one._backlog._pending)

    one = None
    async with Sandbox(customers=CUSTOMERS, profiles=profiles, rules=rules) as sandbox:
        async with sandbox.session(
            concurrency=concurrency, retry=RetryPolicy(attempts=9), on_event=note
        ) as session:
            await session.shopper_profiles.page()
            sandbox.faults.queue(*faults)
            for method, seconds in latencies.items():
                sandbox.faults.rule(Fault.slow(seconds), method=method)
            async with session.shopper_profiles.coalesce(max_pending=max_pending) as one:
                play = Play(sandbox.store, one)
                for verb, customer_id, wait, cancelled in operations:
                    play.call(verb, customer_id, cancelled)
                    if wait:
                        await asyncio.sleep(wait)
            await play.settle()
            assert not left_behind()
        assert most <= max_pending
        assert sandbox.store.wipes == 0


@settings(max_examples=100)
@given(SCHEDULES)
def test_every_caller_gets_its_own_and_every_customer_ends_as_called(schedule):
    """Whatever is called, cancelled or broken, in whatever order and however crowded it is."""
    run(perform(**schedule))


@pytest.mark.long
@settings(max_examples=3000)
@given(SCHEDULES)
def test_every_caller_gets_its_own_at_length(schedule):
    """The same, many times."""
    run(perform(**schedule))
