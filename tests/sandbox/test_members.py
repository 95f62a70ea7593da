from uuid import UUID, uuid4

import pytest

from bcshopper.sandbox import Fault
from tests.sandbox.store import CUSTOMERS, MEMBERS, members_of, naming, store

TYPE = "https://developer.bigcommerce.com/api-docs/getting-started/api-status-codes"


def ids(*profile_ids):
    """What a POST of these profiles is called with."""
    return {"json": [str(profile_id) for profile_id in profile_ids]}


def members(sandbox, segment):
    """Who is in a segment, in the order of joining."""
    return list(sandbox.store.segments[segment.id].members)


async def test_members_are_whole_profiles_in_the_order_of_joining():
    """Which need not be that of the profiles."""
    async with store(profiles=5) as (sandbox, call):
        segment = sandbox.store.create_segment("a")
        a, b, c, d, _ = sandbox.store.profiles
        added = await call("POST", members_of(segment), **ids(d, a))
        assert added.status == 201
        await call("POST", members_of(segment), **ids(c, b))
        listed = await call("GET", members_of(segment))
        assert [UUID(row["id"]) for row in listed.json["data"]] == [d, a, c, b]
        assert members(sandbox, segment) == [d, a, c, b]
        assert listed.json["data"][:2] == added.json["data"]
        rows = {row["id"]: row for row in (await call("GET")).json["data"]}
        assert all(rows[row["id"]] == row for row in listed.json["data"])


async def test_members_come_in_pages():
    """By page and limit, and the other way round where the rule says so."""
    for newest_first in (False, True):
        async with store(profiles=7, newest_first=newest_first) as (sandbox, call):
            segment = sandbox.store.create_segment("a")
            sandbox.store.add_members(segment.id, sandbox.store.profiles)
            query = {"page": 2, "limit": 3}
            answer = await call("GET", members_of(segment), params=query)
            wanted = list(sandbox.store.profiles)
            wanted = (wanted[::-1] if newest_first else wanted)[3:6]
            assert [UUID(row["id"]) for row in answer.json["data"]] == wanted
            assert answer.pagination["links"].keys() == {"previous", "current", "next"}


async def test_the_order_stays_when_members_go_and_come_again():
    """Whoever joins again is the youngest; the others keep their order."""
    async with store(profiles=60) as (sandbox, call):
        segment = sandbox.store.create_segment("a")
        every = list(sandbox.store.profiles)
        sandbox.store.add_members(segment.id, every)
        gone = every[::3]
        await call("DELETE", members_of(segment), **naming(*gone))
        await call("POST", members_of(segment), **ids(*gone[:2]))
        left = [i for i in every if i not in gone] + gone[:2]
        assert members(sandbox, segment) == left
        answer = await call("GET", members_of(segment), params={"limit": 250})
        assert [UUID(row["id"]) for row in answer.json["data"]] == left


# ---------------------------------------------------------------- adding


async def test_who_is_in_already_is_named_by_position_in_the_documented_409():
    """Nobody is added, adding twice does nothing twice."""
    async with store(profiles=3) as (sandbox, call):
        segment = sandbox.store.create_segment("a")
        first, second, third = sandbox.store.profiles
        await call("POST", members_of(segment), **ids(second))
        answer = await call("POST", members_of(segment), **ids(first, second, third, third))
        assert answer.status == 409
        text = "Shopper profile `{}` already exists for segment `{}`."
        assert answer.json == {
            "data": [],
            "errors": [
                {
                    "status": 409,
                    "title": "Unable to add shopper profiles to segment due to conflicts.",
                    "type": TYPE,
                    "errors": {
                        "1": text.format(second, segment.id),
                        "3": text.format(third, segment.id),
                    },
                }
            ],
            "meta": {"total": 4, "success": 0, "failed": 4},
        }
        assert members(sandbox, segment) == [second]


@pytest.mark.parametrize("rule", ["404", "422"])
@pytest.mark.parametrize("names_items", [True, False])
async def test_a_profile_that_does_not_exist_refuses_the_call_with_positions(rule, names_items):
    """Which status it is nobody knows: the sandbox plays both."""
    async with store(profiles=2, unknown_items=rule, names_items=names_items) as (sandbox, call):
        segment = sandbox.store.create_segment("a")
        first, second = sandbox.store.profiles
        answer = await call("POST", members_of(segment), **ids(first, uuid4(), second, uuid4()))
        assert answer.status == answer.json["status"] == int(rule)
        assert answer.json.get("errors", {}).keys() == ({"1", "3"} if names_items else set())
        assert not members(sandbox, segment)


@pytest.mark.parametrize("status", [207, 409])
async def test_the_rest_of_the_profiles_can_be_added(status):
    """All three kinds of what can be wrong with an item, each in its inner error."""
    async with store(profiles=3, bad_items=str(status)) as (sandbox, call):
        segment = sandbox.store.create_segment("a")
        first, second, third = sandbox.store.profiles
        sandbox.store.add_members(segment.id, [first])
        answer = await call("POST", members_of(segment), **ids(first, "x", third, uuid4(), second))
        assert answer.status == status
        assert [UUID(row["id"]) for row in answer.json["data"]] == [third, second]
        named = {problem["status"]: set(problem["errors"]) for problem in answer.json["errors"]}
        assert named == {409: {"0"}, 422: {"1"}, 404: {"3"}}
        assert answer.json["meta"] == {"total": 5, "success": 2, "failed": 3}
        assert members(sandbox, segment) == [first, third, second]


@pytest.mark.parametrize("body", [[], ["x"], [1], [None], [{"id": str(UUID(int=1))}], {}, "x"])
async def test_a_body_that_is_no_list_of_profile_ids_is_422(body):
    """Nobody is added."""
    async with store(profiles=1) as (sandbox, call):
        segment = sandbox.store.create_segment("a")
        assert (await call("POST", members_of(segment), json=body)).status == 422


async def test_at_most_fifty_profiles_are_added_per_request():
    """As documented."""
    async with store(profiles=51) as (sandbox, call):
        segment = sandbox.store.create_segment("a")
        every = list(sandbox.store.profiles)
        assert (await call("POST", members_of(segment), **ids(*every))).status == 422
        assert not members(sandbox, segment)
        assert (await call("POST", members_of(segment), **ids(*every[:50]))).status == 201
        assert members(sandbox, segment) == every[:50]


async def test_a_store_can_fail_for_some_members():
    """Inner statuses work for every write of several items."""
    async with store(profiles=3) as (sandbox, call):
        segment = sandbox.store.create_segment("a")
        every = list(sandbox.store.profiles)
        sandbox.faults.rule(Fault.partial(503, 1), path=MEMBERS)
        answer = await call("POST", members_of(segment), **ids(*every))
        assert answer.status == 207
        assert answer.json["errors"][0]["errors"].keys() == {"1"}
        assert members(sandbox, segment) == [every[0], every[2]]


# ---------------------------------------------------------------- removing


async def test_removing_takes_the_membership_and_not_the_profile():
    """Only of those that are named, and only out of this segment."""
    async with store(profiles=3) as (sandbox, call):
        one, other = (sandbox.store.create_segment(name) for name in "ab")
        every = list(sandbox.store.profiles)
        for segment in (one, other):
            sandbox.store.add_members(segment.id, every)
        answer = await call("DELETE", members_of(one), **naming(every[0], every[2]))
        assert (answer.status, answer.body) == (204, b"")
        assert members(sandbox, one) == [every[1]]
        assert members(sandbox, other) == list(sandbox.store.profiles) == every
        assert sandbox.store.wipes == 0


@pytest.mark.parametrize("query", ["", "?id:in=", "?id:in=,", "?page=1"])
async def test_removing_without_ids_empties_the_segment_and_is_counted(query):
    """As documented; no profile goes, and no other segment is touched."""
    async with store(profiles=3) as (sandbox, call):
        one, other = (sandbox.store.create_segment(name) for name in "ab")
        for segment in (one, other):
            sandbox.store.add_members(segment.id, sandbox.store.profiles)
        assert (await call("DELETE", members_of(one) + query)).status == 204
        assert not members(sandbox, one)
        assert members(sandbox, other) == list(sandbox.store.profiles)
        assert sandbox.store.wiped == {MEMBERS: 1}


@pytest.mark.parametrize(("vanished", "status"), [("ignore", 204), ("not_found", 404)])
async def test_who_is_not_in_is_ignored_or_refuses_the_whole_removal(vanished, status):
    """Even if the profile exists."""
    async with store(profiles=2, vanished=vanished) as (sandbox, call):
        segment = sandbox.store.create_segment("a")
        first, second = sandbox.store.profiles
        sandbox.store.add_members(segment.id, [first])
        assert (await call("DELETE", members_of(segment), **naming(first, second))).status == status
        assert members(sandbox, segment) == ([] if status == 204 else [first])


async def test_a_deleted_profile_leaves_its_segments():
    """Whether it is named or all are wiped; a new one for the same customer is in none."""
    async with store(profiles=3) as (sandbox, call):
        segment = sandbox.store.create_segment("a")
        first, second, third = sandbox.store.profiles
        sandbox.store.add_members(segment.id, sandbox.store.profiles)
        await call("DELETE", **naming(second))
        assert members(sandbox, segment) == [first, third]
        await call("POST", json=[{"customer_id": 2}])
        assert members(sandbox, segment) == [first, third]
        await call("DELETE")
        assert not members(sandbox, segment)
        assert (await call("GET", members_of(segment))).pagination["total"] == 0


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("segment_id", [str(UUID(int=1)), "x"])
async def test_a_segment_that_does_not_exist_is_404_and_says_so(method, segment_id):
    """So that it can be told from a profile that does not exist."""
    async with store(profiles=1) as (sandbox, call):
        more = ids(*sandbox.store.profiles) if method == "POST" else {}
        answer = await call(method, f"segments/{segment_id}/shopper-profiles", **more)
        assert answer.status == 404
        assert answer.json["title"] == f"Segment `{segment_id}` does not exist"
        assert sandbox.store.wipes == 0


# ---------------------------------------------------------------- what a look-up tells of it


@pytest.mark.parametrize("lag", [0.0, 5.0])
async def test_a_customer_tells_its_segments(lag):
    """As they are, or as they were a lag ago."""
    async with store(customers=3, profiles=2, lag=lag) as (sandbox, call):
        segments = [sandbox.store.create_segment(name) for name in "abc"]
        first, second = sandbox.store.profiles
        sandbox.store.add_members(segments[2].id, [first])
        sandbox.store.add_members(segments[0].id, [first, second])
        answer = await call("GET", CUSTOMERS, params={"id:in": "1,2,3", "include": "segment_ids"})
        told = {row["id"]: row["segment_ids"] for row in answer.json["data"]}
        joined = {
            1: [str(segments[0].id), str(segments[2].id)],
            2: [str(segments[0].id)],
            3: [],
        }
        assert told == (joined if not lag else {1: [], 2: [], 3: []})
