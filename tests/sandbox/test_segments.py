import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from bcshopper.sandbox import Fault
from tests.sandbox.store import MEMBERS, PROFILES, SEGMENTS, members_of, naming, store

TYPE = "https://developer.bigcommerce.com/api-docs/getting-started/api-status-codes"


def called(*names):
    """What a POST of segments with these names is called with."""
    return {"json": [{"name": name} for name in names]}


def names(sandbox):
    """The names of all segments, oldest first."""
    return [segment.name for segment in sandbox.store.segments.values()]


# ---------------------------------------------------------------- reading


async def test_a_segment_has_the_documented_fields():
    """Id, name, description and UTC times."""
    async with store() as (sandbox, call):
        before = datetime.now(UTC) - timedelta(seconds=1)
        posted = await call("POST", SEGMENTS, json=[{"name": "VIP", "description": "the best"}])
        assert (posted.status, posted.json["meta"]) == (201, {})
        (row,) = posted.json["data"]
        assert row.keys() == {"id", "name", "description", "created_at", "updated_at"}
        assert (row["name"], row["description"]) == ("VIP", "the best")
        assert before <= datetime.fromisoformat(row["created_at"]) <= datetime.now(UTC)
        assert row["created_at"].endswith("Z")
        assert UUID(row["id"]).version == 4
        assert (await call("GET", SEGMENTS)).json["data"] == [row]
        assert list(sandbox.store.segments) == [UUID(row["id"])]


@pytest.mark.parametrize("newest_first", [False, True])
async def test_segments_come_in_pages(newest_first):
    """In the order of creation, or the other way round, as profiles do."""
    async with store(newest_first=newest_first) as (sandbox, call):
        made = [str(sandbox.store.create_segment(f"s{i}").id) for i in range(7)]
        pages = [await call("GET", SEGMENTS, params={"page": n, "limit": 3}) for n in range(1, 5)]
        assert [p.pagination["count"] for p in pages] == [3, 3, 1, 0]
        assert {p.pagination["total"] for p in pages} == {7}
        found = [row["id"] for page in pages for row in page.json["data"]]
        assert found == (made[::-1] if newest_first else made)


async def test_segments_are_found_by_id():
    """Those that exist, in pages too."""
    async with store() as (sandbox, call):
        ids = [sandbox.store.create_segment(f"s{i}").id for i in range(4)]
        query = naming(ids[3], uuid4(), ids[1])
        found = await call("GET", SEGMENTS, **query)
        assert [row["name"] for row in found.json["data"]] == ["s3", "s1"]
        assert found.pagination["total"] == 2
        query["params"] |= {"limit": 1, "page": 2}
        assert [r["name"] for r in (await call("GET", SEGMENTS, **query)).json["data"]] == ["s1"]
        nobody = await call("GET", SEGMENTS, params={"id:in": ""})
        assert (nobody.status, nobody.pagination["total"]) == (200, 0)
        assert (await call("GET", SEGMENTS, **naming("x"))).status == 422


# ---------------------------------------------------------------- creating


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[{", 400),
        (b"[]", 422),
        (b"{}", 422),
        (b'["VIP"]', 422),
        (b"[{}]", 422),
        (b'[{"name":null}]', 422),
        (b'[{"name":""}]', 422),
        (b'[{"name":" "}]', 422),
        (b'[{"name":1}]', 422),
        (b'[{"name":"a","description":1}]', 422),
        (b'[{"name":"a"},{"name":"a"}]', 409),
        (json.dumps([{"name": str(i)} for i in range(51)]).encode(), 422),
        (json.dumps([{"name": str(i)} for i in range(50)]).encode(), 201),
    ],
)
async def test_a_body_that_is_no_list_of_one_to_fifty_segments_is_refused(body, status):
    """With nothing created."""
    async with store() as (sandbox, call):
        headers = {"Content-Type": "application/json"}
        answer = await call("POST", SEGMENTS, data=body, headers=headers)
        assert answer.status == status
        assert len(names(sandbox)) == (50 if status == 201 else 0)
        assert (await call("POST", SEGMENTS, data=body)).status == 415


async def test_a_name_that_is_taken_is_a_409_in_the_documented_shape():
    """Which names nobody."""
    async with store() as (sandbox, call):
        sandbox.store.create_segment("VIP")
        answer = await call("POST", SEGMENTS, **called("VIP"))
        assert answer.status == 409
        assert answer.json == {
            "data": [],
            "errors": [
                {
                    "status": 409,
                    "title": "Cannot have multiple segments with the same name.",
                    "type": TYPE,
                    "errors": {},
                }
            ],
            "meta": {"total": 1, "success": 0, "failed": 1},
        }
        assert (await call("POST", SEGMENTS, **called("new", "VIP"))).status == 409
        assert names(sandbox) == ["VIP"]


async def test_a_store_can_refuse_a_taken_name_with_a_422():
    """The rule for conflicts holds here too."""
    async with store(conflicts="422") as (_, call):
        answer = await call("POST", SEGMENTS, **called("a", "a"))
        assert (answer.status, answer.json["errors"].keys()) == (422, {"1.name"})


async def test_the_rest_of_the_segments_can_be_applied():
    """As for profiles: both lists filled."""
    async with store(bad_items="207") as (sandbox, call):
        answer = await call("POST", SEGMENTS, **called("a", "a", "b", ""))
        assert answer.status == 207
        assert [row["name"] for row in answer.json["data"]] == names(sandbox) == ["a", "b"]
        named = {problem["status"]: problem["errors"].keys() for problem in answer.json["errors"]}
        assert named == {409: set(), 422: {"3"}}
        assert answer.json["meta"] == {"total": 4, "success": 2, "failed": 2}


@pytest.mark.parametrize("status", [403, 409, 422, 507])
async def test_one_segment_too_many_is_refused_with_the_status_of_the_rule(status):
    """The title names the limit; how the API says it is not documented."""
    async with store(max_segments=3, above_max_segments=str(status)) as (sandbox, call):
        assert (await call("POST", SEGMENTS, **called("a", "b"))).status == 201
        answer = await call("POST", SEGMENTS, **called("c", "d"))
        assert answer.status == status
        title = (answer.json["errors"][0] if status == 409 else answer.json)["title"]
        assert title == "a store can have at most 3 segments"
        assert names(sandbox) == ["a", "b"]
        assert (await call("POST", SEGMENTS, **called("c"))).status == 201
        assert (await call("POST", SEGMENTS, **called("a"))).status == 409


async def test_a_store_has_room_for_a_thousand_segments():
    """The documented limit is the default."""
    async with store() as (sandbox, call):
        for i in range(999):
            sandbox.store.create_segment(str(i))
        assert (await call("POST", SEGMENTS, **called("x"))).status == 201
        assert (await call("POST", SEGMENTS, **called("y"))).status == 507


# ---------------------------------------------------------------- changing


async def test_a_segment_can_get_another_name_or_description():
    """What is not given stays, so do its id, its place and its members."""
    async with store(profiles=1) as (sandbox, call):
        first, second = (sandbox.store.create_segment(n, "old") for n in ("a", "b"))
        sandbox.store.add_members(first.id, sandbox.store.profiles)
        body = [{"id": str(first.id), "name": "c"}, {"id": str(second.id), "description": "new"}]
        answer = await call("PUT", SEGMENTS, json=body)
        assert (answer.status, answer.json["meta"]) == (200, {})
        rows = [(row["id"], row["name"], row["description"]) for row in answer.json["data"]]
        assert rows == [(str(first.id), "c", "old"), (str(second.id), "b", "new")]
        assert (await call("GET", SEGMENTS)).json["data"] == answer.json["data"]
        assert (await call("GET", members_of(first))).pagination["total"] == 1


async def test_a_segment_keeps_its_own_name_but_takes_no_other():
    """Neither that of a segment in the store, nor one that the same request gives away."""
    async with store() as (sandbox, call):
        first, second = (sandbox.store.create_segment(name) for name in ("a", "b"))
        own = [{"id": str(first.id), "name": "a", "description": "same"}]
        assert (await call("PUT", SEGMENTS, json=own)).status == 200
        taken = [{"id": str(first.id), "name": "b"}]
        assert (await call("PUT", SEGMENTS, json=taken)).status == 409
        both = [{"id": str(first.id), "name": "c"}, {"id": str(second.id), "name": "c"}]
        assert (await call("PUT", SEGMENTS, json=both)).status == 409
        assert names(sandbox) == ["a", "b"]


@pytest.mark.parametrize("rule", ["404", "422"])
async def test_changing_a_segment_that_does_not_exist_is_refused(rule):
    """With the status of the rule, and the position."""
    async with store(unknown_items=rule) as (sandbox, call):
        known = sandbox.store.create_segment("a")
        body = [{"id": str(known.id), "name": "b"}, {"id": str(uuid4()), "name": "c"}]
        answer = await call("PUT", SEGMENTS, json=body)
        assert (answer.status, answer.json["errors"].keys()) == (int(rule), {"1.id"})
        assert names(sandbox) == ["a"]


@pytest.mark.parametrize("item", [{}, {"id": "x"}, {"id": 1}, {"name": "a"}, "x", None])
async def test_a_change_needs_the_id_of_a_segment(item):
    """Anything else is 422."""
    async with store() as (_, call):
        assert (await call("PUT", SEGMENTS, json=[item])).status == 422


@pytest.mark.parametrize("change", [{"name": ""}, {"name": None}, {"description": 5}])
async def test_a_change_to_what_is_no_name_or_description_is_refused(change):
    """422, and nothing is changed."""
    async with store() as (sandbox, call):
        segment = sandbox.store.create_segment("a")
        answer = await call("PUT", SEGMENTS, json=[{"id": str(segment.id)} | change])
        assert answer.status == 422
        assert names(sandbox) == ["a"]


# ---------------------------------------------------------------- deleting


async def test_deleting_segments_deletes_no_profile():
    """The named ones go, their members stay in the store and in other segments."""
    async with store(profiles=2) as (sandbox, call):
        first, second, third = (sandbox.store.create_segment(name) for name in "abc")
        for segment in (first, second):
            sandbox.store.add_members(segment.id, sandbox.store.profiles)
        assert (await call("DELETE", SEGMENTS, **naming(first.id, third.id))).status == 204
        assert names(sandbox) == ["b"]
        assert len(sandbox.store.profiles) == len(sandbox.store.segments[second.id].members) == 2
        assert (await call("GET", members_of(first))).status == 404
        assert (await call("POST", SEGMENTS, **called("a"))).status == 201
        assert sandbox.store.wipes == 0


@pytest.mark.parametrize("query", ["", "?id:in=", "?id:in=%20,", "?id=x"])
async def test_deleting_segments_without_ids_wipes_and_is_counted(query):
    """As documented: every segment goes, no profile does."""
    async with store(profiles=1) as (sandbox, call):
        for name in "abc":
            sandbox.store.create_segment(name)
        assert (await call("DELETE", SEGMENTS + query)).status == 204
        assert not names(sandbox)
        assert len(sandbox.store.profiles) == 1
        assert sandbox.store.wiped == {SEGMENTS: 1}
        assert sandbox.store.wipes == 1


@pytest.mark.parametrize(("vanished", "status"), [("ignore", 204), ("not_found", 404)])
async def test_segments_that_do_not_exist_are_ignored_or_refuse_the_whole_delete(vanished, status):
    """The rule is that of profiles."""
    async with store(vanished=vanished) as (sandbox, call):
        segment = sandbox.store.create_segment("a")
        assert (await call("DELETE", SEGMENTS, **naming(segment.id, uuid4()))).status == status
        assert names(sandbox) == ([] if status == 204 else ["a"])


# ---------------------------------------------------------------- the segments of a profile


async def test_a_profile_tells_its_segments_in_pages():
    """Whole segments, oldest first."""
    async with store(profiles=2) as (sandbox, call):
        mine, other = sandbox.store.profiles
        made = [sandbox.store.create_segment(name) for name in "abcd"]
        for segment in (made[3], made[0], made[2]):
            sandbox.store.add_members(segment.id, [mine])
        path = f"{PROFILES}/{mine}/{SEGMENTS}"
        answer = await call("GET", path, params={"limit": 2})
        every = {row["id"]: row for row in (await call("GET", SEGMENTS)).json["data"]}
        assert answer.json["data"] == [every[str(made[0].id)], every[str(made[2].id)]]
        assert (answer.pagination["total"], answer.pagination["total_pages"]) == (3, 2)
        assert (await call("GET", f"{PROFILES}/{other}/{SEGMENTS}")).json["data"] == []


@pytest.mark.parametrize("profile_id", [str(UUID(int=1)), "x"])
async def test_a_profile_that_does_not_exist_has_no_segments(profile_id):
    """404, which says what is missing."""
    async with store() as (_, call):
        answer = await call("GET", f"{PROFILES}/{profile_id}/{SEGMENTS}")
        assert answer.status == 404
        assert profile_id in answer.json["title"]


async def test_a_profile_can_be_in_a_thousand_segments():
    """As many as a store can have."""
    async with store(profiles=1) as (sandbox, call):
        (profile_id,) = sandbox.store.profiles
        for i in range(1000):
            sandbox.store.add_members(sandbox.store.create_segment(str(i)).id, [profile_id])
        path = f"{PROFILES}/{profile_id}/{SEGMENTS}"
        assert (await call("GET", path)).pagination["total"] == 1000


# ---------------------------------------------------------------- who may, faults and the record


async def test_the_whole_family_needs_the_feature():
    """403 for segments as for profiles."""
    async with store(feature=False) as (_, call):
        for path in (SEGMENTS, MEMBERS.replace("*", str(uuid4()))):
            assert (await call("GET", path)).status == 403


async def test_reading_members_needs_the_modify_scope():
    """Although it reads; segments themselves are read with the read-only scope."""
    async with store(profiles=1) as (sandbox, call):
        token = sandbox.read_only_token
        segment = sandbox.store.create_segment("a")
        (profile_id,) = sandbox.store.profiles
        assert (await call("GET", SEGMENTS, token=token)).status == 200
        path = f"{PROFILES}/{profile_id}/{SEGMENTS}"
        assert (await call("GET", path, token=token)).status == 200
        assert (await call("GET", members_of(segment), token=token)).status == 403
        for method in ("POST", "PUT", "DELETE"):
            assert (await call(method, SEGMENTS, token=token)).status == 403
        assert names(sandbox) == ["a"]


async def test_faults_take_any_segment_by_a_pattern_and_the_record_counts_by_it():
    """`*` is any one part of a path."""
    async with store() as (sandbox, call):
        first, second = (sandbox.store.create_segment(name) for name in "ab")
        sandbox.faults.rule(Fault.error(503), path=MEMBERS, times=2)
        sandbox.faults.rule(Fault.error(504), path=members_of(first))
        paths = [members_of(first), members_of(second), SEGMENTS, members_of(first)]
        statuses = [(await call("GET", path)).status for path in paths]
        assert statuses == [503, 503, 200, 504]
        assert (await call("GET", members_of(second))).status == 200
        assert sandbox.record.counts == {("GET", MEMBERS): 4, ("GET", SEGMENTS): 1}


async def test_a_reset_forgets_segments_and_wipes():
    """As it was at the start: without any."""
    async with store(profiles=1) as (sandbox, call):
        sandbox.store.create_segment("a")
        await call("DELETE", SEGMENTS)
        sandbox.reset()
        assert not names(sandbox)
        assert sandbox.store.wipes == 0
