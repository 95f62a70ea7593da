import json
from uuid import UUID, uuid4

import pytest

from bcshopper.sandbox import Fault, Sandbox
from tests.sandbox.store import PROFILES, create, existing, naming, store


async def test_a_creation_is_201_with_the_new_profiles_in_the_order_of_the_request():
    """Every customer gets one, with a random UUID4."""
    async with store(customers=60) as (sandbox, call):
        answer = await call("POST", **create(*range(50, 0, -1)))
        assert (answer.status, answer.json["meta"]) == (201, {})
        rows = answer.json["data"]
        assert [row["customer_id"] for row in rows] == list(range(50, 0, -1))
        made = [UUID(row["id"]) for row in rows]
        assert made == existing(sandbox)
        assert all(profile_id.version == 4 for profile_id in made)
        assert len(set(made)) == 50
        assert rows == (await call("GET")).json["data"]


async def test_ids_depend_on_the_seed_alone():
    """A failing test can be repeated."""
    ids = [existing(Sandbox(profiles=20, seed=seed)) for seed in (1, 1, 2)]
    assert ids[0] == ids[1]
    assert not set(ids[0]) & set(ids[2])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[{", 400),
        (b"\xff", 400),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"customer_id":1}', 422),
        (b"null", 422),
        (json.dumps([{"customer_id": i} for i in range(1, 52)]).encode(), 422),
        (b"[1]", 422),
        (b"[{}]", 422),
        (b'[{"customer_id":"1"}]', 422),
        (b'[{"customer_id":1.0}]', 422),
        (b'[{"customer_id":true}]', 422),
        (b'[{"customer_id":null}]', 422),
        (b'[{"customer_id":0}]', 422),
        (b'[{"customer_id":101}]', 422),
        (b'[{"customer_id":2},{"customer_id":1},{"customer_id":1}]', 409),
        (b"[" * 100_000, 400),
    ],
)
async def test_a_body_that_is_no_list_of_one_to_fifty_customers_is_refused(body, status):
    """With nothing created."""
    async with store(customers=100) as (sandbox, call):
        answer = await call("POST", data=body, headers={"Content-Type": "application/json"})
        assert answer.status == status
        assert not existing(sandbox)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_a_body_that_is_not_sent_as_json_is_415(content_type):
    """The header counts, not what the body looks like."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    async with store(customers=1) as (sandbox, call):
        answer = await call("POST", data=b'[{"customer_id":1}]', headers=headers)
        assert answer.status == 415
        assert not existing(sandbox)


async def test_json_with_a_charset_is_json():
    """Parameters of the content type do not matter."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    async with store(customers=1) as (_, call):
        assert (await call("POST", data=b'[{"customer_id":1}]', headers=headers)).status == 201


MIXED = create(1, 99, 2, 3, 98)  # 1 has a profile; 98 and 99 do not exist


async def test_an_unknown_customer_refuses_the_whole_call_with_positions():
    """422 in the documented error body; nothing is created."""
    async with store(customers=3, profiles=1) as (sandbox, call):
        answer = await call("POST", **MIXED)
        assert answer.status == 422
        assert answer.json["errors"].keys() == {"1.customer_id", "4.customer_id"}
        assert "`99`" in answer.json["errors"]["1.customer_id"]
        assert len(existing(sandbox)) == 1


async def test_a_conflict_refuses_the_whole_call_with_positions():
    """409 in the family's documented conflict body; nothing is created."""
    async with store(customers=3, profiles=1) as (sandbox, call):
        answer = await call("POST", **create(2, 1, 3))
        assert answer.status == 409
        assert answer.json["data"] == []
        assert answer.json["meta"] == {"total": 3, "success": 0, "failed": 3}
        (problem,) = answer.json["errors"]
        assert problem["status"] == 409
        assert problem.keys() == {"status", "title", "type", "errors"}
        assert problem["errors"].keys() == {"1"}
        assert "already exists" in problem["errors"]["1"]
        assert len(existing(sandbox)) == 1


@pytest.mark.parametrize("status", [207, 409])
async def test_a_store_can_apply_the_rest_and_name_what_it_refused(status):
    """207, or 409 with both lists filled: both happen in this API family."""
    async with store(customers=3, profiles=1, bad_items=str(status)) as (sandbox, call):
        answer = await call("POST", **MIXED)
        assert answer.status == status
        assert [row["customer_id"] for row in answer.json["data"]] == [2, 3]
        assert answer.json["meta"] == {"total": 5, "success": 2, "failed": 3}
        named = {problem["status"]: set(problem["errors"]) for problem in answer.json["errors"]}
        assert named == {422: {"1", "4"}, 409: {"0"}}
        assert [p.customer_id for p in sandbox.store.profiles.values()] == [1, 2, 3]


@pytest.mark.parametrize("status", [207, 409])
async def test_a_partial_answer_may_have_no_success_at_all(status):
    """Where every item is bad, nothing was created, and the counts say so."""
    async with store(bad_items=str(status)) as (_, call):
        answer = await call("POST", **create(1, 2))
        assert (answer.status, answer.json["data"]) == (status, [])
        assert answer.json["meta"] == {"total": 2, "success": 0, "failed": 2}


@pytest.mark.parametrize("bad_items", ["refuse", "207", "409"])
async def test_a_store_can_leave_the_bad_items_unnamed(bad_items):
    """Then a client has to find out for itself."""
    async with store(customers=2, profiles=1, bad_items=bad_items, names_items=False) as (_, call):
        unknown = (await call("POST", **create(9, 2))).json
        conflict = (await call("POST", **create(1))).json
        for document in (unknown, conflict):
            problems = document.get("errors", {})
            for problem in [document] if isinstance(problems, dict) else problems:
                assert problem["status"] in {409, 422}
                assert not problem.get("errors")


async def test_a_store_can_name_who_exists_already_beside_who_does_not_in_a_422():
    """Instead of the 409: reasons of both kinds in one refusal, and nothing is created."""
    async with store(customers=3, profiles=1, conflicts="422") as (sandbox, call):
        mixed = await call("POST", **MIXED)
        assert mixed.status == mixed.json["status"] == 422
        assert mixed.json["errors"].keys() == {"0.customer_id", "1.customer_id", "4.customer_id"}
        assert "already exists" in mixed.json["errors"]["0.customer_id"]
        alone = await call("POST", **create(1))
        assert (alone.status, alone.json["errors"].keys()) == (422, {"0.customer_id"})
        assert len(existing(sandbox)) == 1


@pytest.mark.parametrize("status", [207, 409])
async def test_the_inner_status_of_who_exists_already_can_be_422_too(status):
    """Where the rest is applied, all that was refused is in one inner error."""
    rules = {"bad_items": str(status), "conflicts": "422"}
    async with store(customers=3, profiles=1, **rules) as (sandbox, call):
        answer = await call("POST", **MIXED)
        (problem,) = answer.json["errors"]
        assert (problem["status"], set(problem["errors"])) == (422, {"0", "1", "4"})
        assert len(existing(sandbox)) == 3


@pytest.mark.parametrize("outer", [207, 409])
@pytest.mark.parametrize("inner", [429, 500, 503])
@pytest.mark.parametrize("applied", [False, True])
async def test_a_store_can_fail_for_some_items_and_do_the_others(outer, inner, applied):
    """The inner error names the positions; whether those were done, it does not say."""
    async with store(customers=4) as (sandbox, call):
        sandbox.faults.queue(Fault.partial(inner, 1, 3, outer=outer, applied=applied))
        answer = await call("POST", **create(1, 2, 3, 4))
        assert answer.status == outer
        assert [row["customer_id"] for row in answer.json["data"]] == [1, 3]
        assert answer.json["meta"] == {"total": 4, "success": 2, "failed": 2}
        (problem,) = answer.json["errors"]
        assert (problem["status"], set(problem["errors"])) == (inner, {"1", "3"})
        held = {p.customer_id for p in sandbox.store.profiles.values()}
        assert held == ({1, 2, 3, 4} if applied else {1, 3})
        again = await call("POST", **create(2))
        assert again.status == (409 if applied else 201)


async def test_a_store_can_fail_for_all_items_beside_those_it_refuses():
    """Without positions, every item that is not refused anyway."""
    async with store(customers=3, profiles=1) as (sandbox, call):
        sandbox.faults.queue(Fault.partial(503))
        answer = await call("POST", **MIXED)
        named = {problem["status"]: set(problem["errors"]) for problem in answer.json["errors"]}
        assert named == {409: {"0"}, 422: {"1", "4"}, 503: {"2", "3"}}
        assert answer.json["meta"] == {"total": 5, "success": 0, "failed": 5}
        assert len(existing(sandbox)) == 1


@pytest.mark.parametrize("separator", [",", "&id:in=", "&id%3Ain=", ",,", "%2C"])
async def test_a_delete_takes_ids_with_commas_and_as_repeated_keys(separator):
    """Both readings of the documentation are served; only the named ones go."""
    async with store(profiles=4) as (sandbox, call):
        ids = existing(sandbox)
        assert (await call("GET")).pagination["total"] == 4
        answer = await call("DELETE", f"{PROFILES}?id:in={ids[1]}{separator}{ids[3]}")
        assert (answer.status, answer.body) == (204, b"")
        assert (await call("GET")).pagination["total"] == 2
        assert existing(sandbox) == [ids[0], ids[2]]
        assert sandbox.store.customers == {1: ids[0], 2: None, 3: ids[2], 4: None}


async def test_a_deleted_customer_can_have_a_new_profile():
    """It is another one, and the youngest."""
    async with store(profiles=2) as (sandbox, call):
        first, second = existing(sandbox)
        await call("DELETE", **naming(first))
        (row,) = (await call("POST", **create(1))).json["data"]
        assert existing(sandbox) == [second, UUID(row["id"])]
        assert UUID(row["id"]) != first


@pytest.mark.parametrize("bad", ["x", "123", "f47ac10b-58cc-4372-a567", "*"])
async def test_an_id_that_is_no_uuid_refuses_the_whole_delete(bad):
    """With its position; nothing is deleted."""
    async with store(profiles=2) as (sandbox, call):
        answer = await call("DELETE", **naming(existing(sandbox)[0], bad))
        assert answer.status == 422
        assert answer.json["errors"] == {"1": f"`{bad}` is not a UUID"}
        assert len(existing(sandbox)) == 2


@pytest.mark.parametrize(
    ("vanished", "status", "left"), [("ignore", 204, 1), ("not_found", 404, 2)]
)
async def test_ids_that_no_longer_exist_are_ignored_or_refuse_the_whole_delete(
    vanished, status, left
):
    """Nobody knows which: the sandbox plays both."""
    async with store(profiles=2, vanished=vanished) as (sandbox, call):
        answer = await call("DELETE", **naming(existing(sandbox)[0], uuid4()))
        assert answer.status == status
        assert len(existing(sandbox)) == left
        assert (await call("DELETE", **naming(*existing(sandbox)))).status == 204


@pytest.mark.parametrize(
    "query", ["", "?id:in=", "?id:in=,", "?id:in=%20,%20", "?id:in=&id:in=", "?id=x", "?page=1"]
)
async def test_a_delete_without_ids_wipes_and_is_counted(query):
    """As documented: every profile goes, no customer does."""
    async with store(customers=4, profiles=3) as (sandbox, call):
        assert (await call("DELETE", PROFILES + query)).status == 204
        assert existing(sandbox) == []
        assert sandbox.store.customers == dict.fromkeys(range(1, 5))
        assert sandbox.store.wipes == 1
        await call("DELETE", PROFILES + query)
        assert sandbox.store.wipes == 2


async def test_a_delete_that_names_ids_is_no_wipe():
    """Not even where it deletes everything."""
    async with store(profiles=2) as (sandbox, call):
        await call("DELETE", **naming(*existing(sandbox)))
        assert existing(sandbox) == []
        assert sandbox.store.wipes == 0
