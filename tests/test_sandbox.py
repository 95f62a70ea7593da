import asyncio
import json
import threading
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import aiohttp
import attrs
import pytest

from bcshopper import Session
from bcshopper.sandbox import Fault, Record, Rules, Sandbox

PROFILES, CUSTOMERS = "shopper-profiles", "customers"
WINDOW_MS, RESET_MS, QUOTA, LEFT = (
    f"X-Rate-Limit-{name}"
    for name in ("Time-Window-Ms", "Time-Reset-Ms", "Requests-Quota", "Requests-Left")
)


@attrs.frozen
class Answer:
    status: int
    headers: object
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def pagination(self):
        return self.json["meta"]["pagination"]


@asynccontextmanager
async def store(customers=0, *, profiles=0, seed=0, **rules):
    """A sandbox, and a way to speak to it that is not our client."""
    sandbox = Sandbox(customers, profiles=profiles, seed=seed, rules=Rules(**rules))
    async with sandbox, aiohttp.ClientSession() as http:

        async def call(method, path=PROFILES, *, token=sandbox.access_token, headers=(), **more):
            url = path if path.startswith("/") else f"/stores/{sandbox.store_hash}/v3/{path}"
            sent = dict(headers)
            if token is not None:
                sent["X-Auth-Token"] = token
            async with http.request(method, sandbox.url + url, headers=sent, **more) as response:
                return Answer(response.status, response.headers, await response.read())

        yield sandbox, call


def create(*customer_ids):
    """What a POST for these customers is called with."""
    return {"json": [{"customer_id": customer_id} for customer_id in customer_ids]}


def naming(*profile_ids):
    """What a DELETE of these profiles is called with."""
    return {"params": {"id:in": ",".join(map(str, profile_ids))}}


def existing(sandbox):
    """The ids of all profiles, oldest first."""
    return list(sandbox.store.profiles)


# ---------------------------------------------------------------- who may ask, and for what


@pytest.mark.parametrize("token", [None, "", "wrong"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_missing_or_wrong_token_is_401(method, token):
    """Nothing is told and nothing is done without a token."""
    async with store(profiles=1) as (sandbox, call):
        answer = await call(method, token=token)
        assert answer.status == answer.json["status"] == 401
        assert len(existing(sandbox)) == 1


async def test_a_read_only_token_reads_and_gets_403_for_writes():
    """The scope store_v2_customers_read_only is enough for GET."""
    async with store(customers=1, profiles=1) as (sandbox, call):
        token = sandbox.read_only_token
        assert (await call("GET", token=token)).status == 200
        assert (await call("GET", CUSTOMERS, token=token)).status == 200
        assert (await call("POST", token=token, **create(1))).status == 403
        assert (await call("DELETE", token=token)).status == 403
        assert len(existing(sandbox)) == 1
        assert sandbox.store.wipes == 0


async def test_a_plan_without_the_feature_gets_403_on_the_whole_family():
    """Stores below Enterprise have no shopper profiles, but customers."""
    async with store(customers=1, feature=False) as (_, call):
        for method in ("GET", "POST", "DELETE"):
            answer = await call(method)
            assert answer.status == 403
            assert "plan" in answer.json["title"]
        assert (await call("GET", CUSTOMERS)).status == 200


@pytest.mark.parametrize("path", ["/stores/other/v3/shopper-profiles", "/", "/stores/sandbox"])
async def test_an_unknown_store_is_404_and_says_what_is_served(path):
    """A wrong hash or base URL is found at once."""
    async with store() as (_, call):
        answer = await call("GET", path)
        assert answer.status == 404
        assert path in answer.json["title"]
        assert "/stores/sandbox/v3/" in answer.json["title"]


async def test_an_unknown_path_is_404_and_explains_itself():
    """What the sandbox does not play, it names, with what it does."""
    async with store() as (_, call):
        answer = await call("GET", "segments")
        assert answer.status == 404
        for words in ("GET segments", "GET shopper-profiles", "DELETE shopper-profiles"):
            assert words in answer.json["title"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", PROFILES, {"GET", "POST", "DELETE"}), ("POST", CUSTOMERS, {"GET"})],
)
async def test_a_method_that_a_path_does_not_take_is_405_with_allow(method, path, allowed):
    """As HTTP has it."""
    async with store() as (_, call):
        answer = await call(method, path)
        assert answer.status == 405
        assert set(answer.headers["Allow"].split(", ")) == allowed


async def test_errors_have_the_documented_body():
    """Status, title and type, as JSON."""
    async with store() as (_, call):
        answer = await call("GET", params={"page": "0"})
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json.keys() == {"status", "title", "type"}
        assert answer.status == answer.json["status"] == 422


# ---------------------------------------------------------------- lists


async def test_a_list_has_the_documented_rows_oldest_first():
    """Id, customer and UTC times, in the order of creation."""
    async with store(customers=3) as (sandbox, call):
        before = datetime.now(UTC) - timedelta(seconds=1)
        for customer_id in (3, 1, 2):
            await call("POST", **create(customer_id))
        rows = (await call("GET")).json["data"]
        assert [row["customer_id"] for row in rows] == [3, 1, 2]
        assert [UUID(row["id"]) for row in rows] == existing(sandbox)
        for row in rows:
            assert row.keys() == {"id", "customer_id", "created_at", "updated_at"}
            assert row["created_at"].endswith("Z")
            assert before <= datetime.fromisoformat(row["created_at"]) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, (50, 50, 1, 11)),
        ({"page": "11"}, (20, 50, 11, 11)),
        ({"page": "12"}, (0, 50, 12, 11)),
        ({"page": "1000000"}, (0, 50, 1_000_000, 11)),
        ({"limit": "1"}, (1, 1, 1, 520)),
        ({"limit": "250", "page": "3"}, (20, 250, 3, 3)),
        ({"limit": "520"}, (250, 250, 1, 3)),
        ({"limit": "251", "page": "2"}, (250, 250, 2, 3)),
    ],
)
@pytest.mark.parametrize("path", [PROFILES, CUSTOMERS])
async def test_pages_follow_page_and_limit(path, query, expected):
    """50 by default, at most 250, and past the end there is nothing."""
    async with store(customers=520, profiles=520) as (_, call):
        answer = await call("GET", path, params=query)
        got = answer.pagination
        shown = got["count"], got["per_page"], got["current_page"], got["total_pages"]
        assert (answer.status, got["total"]) == (200, 520)
        assert shown == expected
        assert len(answer.json["data"]) == expected[0]


async def test_pages_together_hold_every_profile_once():
    """Walking the pages is walking the list."""
    async with store(profiles=101) as (sandbox, call):
        pages = [await call("GET", params={"page": n, "limit": 25}) for n in range(1, 6)]
        found = [UUID(row["id"]) for page in pages for row in page.json["data"]]
        assert found == existing(sandbox)


@pytest.mark.parametrize("path", [PROFILES, CUSTOMERS])
@pytest.mark.parametrize("name", ["page", "limit"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "x", ""])
async def test_a_page_or_limit_that_makes_no_sense_is_422(path, name, value):
    """The title says which, and what it was."""
    async with store() as (_, call):
        answer = await call("GET", path, params={name: value})
        assert answer.status == 422
        assert f"{name} must be" in answer.json["title"]
        assert f"`{value}`" in answer.json["title"]


async def test_the_largest_limit_is_a_rule():
    """A store may give fewer per page than the documented 250, by default too."""
    async with store(profiles=60, max_limit=20) as (_, call):
        assert (await call("GET")).pagination["per_page"] == 20
        assert (await call("GET", params={"limit": 250})).pagination["per_page"] == 20


async def test_a_limit_above_the_largest_can_be_refused_with_413():
    """The documented answer, if the rules want it."""
    async with store(profiles=1, above_max_limit="refuse") as (_, call):
        assert (await call("GET", params={"limit": 250})).status == 200
        answer = await call("GET", params={"limit": 251})
        assert answer.status == 413
        assert "250" in answer.json["title"]


@pytest.mark.parametrize("path", [PROFILES, CUSTOMERS])
async def test_an_empty_store_has_an_empty_list(path):
    """200, no rows, no pages."""
    async with store() as (_, call):
        answer = await call("GET", path)
        assert (answer.status, answer.json["data"]) == (200, [])
        assert (answer.pagination["total"], answer.pagination["total_pages"]) == (0, 0)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (1, {"current": 1, "next": 2}),
        (2, {"previous": 1, "current": 2, "next": 3}),
        (3, {"previous": 2, "current": 3}),
    ],
)
async def test_links_name_the_pages_around(page, names):
    """`meta.pagination.links` is there by default, and leads to pages that exist."""
    async with store(profiles=5) as (_, call):
        links = (await call("GET", params={"page": page, "limit": 2})).pagination["links"]
        assert links == {name: f"?page={n}&limit=2" for name, n in names.items()}


async def test_links_can_be_left_out():
    """Not every answer of the real API has them."""
    async with store(profiles=5, links=False) as (_, call):
        assert "links" not in (await call("GET")).pagination
        assert "links" not in (await call("GET", CUSTOMERS)).pagination


# ---------------------------------------------------------------- creating


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


# ---------------------------------------------------------------- deleting


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


# ---------------------------------------------------------------- customers


async def test_customers_are_found_by_id_with_their_profile_ids():
    """Who does not exist is left out; who has no profile has null."""
    async with store(customers=3, profiles=1) as (sandbox, call):
        query = {"id:in": "2,1,9,1", "include": "shopper_profile_id,segment_ids"}
        rows = (await call("GET", CUSTOMERS, params=query)).json["data"]
        found = {row["id"]: (row["shopper_profile_id"], row["segment_ids"]) for row in rows}
        assert len(rows) == 2
        assert found == {1: (str(existing(sandbox)[0]), []), 2: (None, [])}


@pytest.mark.parametrize(
    ("include", "fields"),
    [
        ({}, set()),
        ({"include": "addresses"}, set()),
        ({"include": "shopper_profile_id"}, {"shopper_profile_id"}),
        ({"include": "segment_ids"}, {"segment_ids"}),
        ({"include": "segment_ids,shopper_profile_id"}, {"shopper_profile_id", "segment_ids"}),
    ],
)
async def test_customers_have_only_what_is_included(include, fields):
    """Without `include` there is no profile id."""
    async with store(customers=1) as (_, call):
        (row,) = (await call("GET", CUSTOMERS, params=include)).json["data"]
        assert row.keys() == {"id", "email"} | fields


async def test_customers_come_in_pages_with_and_without_ids():
    """`id:in` and paging work together."""
    async with store(customers=9) as (_, call):
        query = {"id:in": "8,6,4,2,1", "limit": "2", "page": "3"}
        answer = await call("GET", CUSTOMERS, params=query)
        assert [row["id"] for row in answer.json["data"]] == [1]
        assert (answer.pagination["total"], answer.pagination["total_pages"]) == (5, 3)
        answer = await call("GET", CUSTOMERS, params={"limit": "4", "page": "2"})
        assert [row["id"] for row in answer.json["data"]] == [5, 6, 7, 8]


async def test_customer_ids_must_be_integers():
    """422, as the real API has it."""
    async with store(customers=1) as (_, call):
        assert (await call("GET", CUSTOMERS, params={"id:in": "1,x"})).status == 422


# ---------------------------------------------------------------- quota


async def test_every_answer_tells_the_quota_if_there_is_one():
    """Four headers, on successes and refusals alike, counting down."""
    async with store(quota=5, window=30.0) as (_, call):
        answers = [await call("GET"), await call("DELETE", token="wrong"), await call("GET", "x")]
        assert [a.status for a in answers] == [200, 401, 404]
        assert [a.headers[LEFT] for a in answers] == ["4", "3", "2"]
        for answer in answers:
            assert (answer.headers[QUOTA], answer.headers[WINDOW_MS]) == ("5", "30000")
            assert 0 < int(answer.headers[RESET_MS]) <= 30_000


async def test_without_a_quota_there_are_no_headers_about_it():
    """Clients must live without them."""
    async with store() as (_, call):
        assert not any(name.lower().startswith("x-rate") for name in (await call("GET")).headers)


async def test_a_spent_quota_is_429_until_the_window_ends():
    """Nothing is done meanwhile, and the reset that is told is the real one."""
    async with store(customers=2, quota=2, window=30.0) as (sandbox, call):
        for customer_id in (1, 2):
            assert (await call("POST", **create(customer_id))).status == 201
        await asyncio.sleep(10)
        refused = await call("DELETE")
        assert (refused.status, refused.headers[LEFT]) == (429, "0")
        assert len(existing(sandbox)) == 2
        assert 19_000 < int(refused.headers[RESET_MS]) <= 20_000
        await asyncio.sleep(int(refused.headers[RESET_MS]) / 1000 - 1)
        assert (await call("GET")).status == 429
        await asyncio.sleep(1)
        answer = await call("GET")
        assert (answer.status, answer.headers[LEFT]) == (200, "1")


async def test_a_window_that_nobody_uses_changes_nothing():
    """After a long pause there is one full window, not several."""
    async with store(quota=2, window=30.0) as (_, call):
        await call("GET")
        await asyncio.sleep(1000)
        assert [(await call("GET")).status for _ in range(3)] == [200, 200, 429]


async def test_other_apps_can_spend_the_quota():
    """One quota per store, shared by all."""
    async with store(quota=10, window=30.0) as (sandbox, call):
        sandbox.spend(7)
        assert (await call("GET")).headers[LEFT] == "2"
        sandbox.spend(100)
        answer = await call("GET")
        assert (answer.status, answer.headers[LEFT]) == (429, "0")


async def test_spending_without_a_quota_is_harmless():
    """There is nothing to spend."""
    async with store() as (sandbox, call):
        sandbox.spend(100)
        assert (await call("GET")).status == 200


async def test_too_many_requests_at_once_are_429_without_headers():
    """The documented sign of a platform under load."""
    async with store(profiles=1, max_concurrent=2, quota=100) as (sandbox, call):
        sandbox.faults.rule(Fault.slow(1.0))
        answers = await asyncio.gather(*(call("GET") for _ in range(5)))
        assert sorted(a.status for a in answers) == [200, 200, 429, 429, 429]
        for answer in answers:
            assert (QUOTA in answer.headers) == (answer.status == 200)
        assert (await call("GET")).status == 200


async def test_a_client_that_hung_up_is_no_longer_under_way():
    """Who gave up on a stalled answer does not take a place for ever."""
    async with store(profiles=1, max_concurrent=1) as (sandbox, call):
        sandbox.faults.queue(Fault.stall())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await call("GET")
        await asyncio.sleep(5)
        assert sandbox.record.in_flight == 0
        assert (await call("GET")).status == 200


# ---------------------------------------------------------------- faults


async def test_a_slow_request_takes_its_time_and_is_answered_as_it_should_be():
    """So many seconds, and up to the jitter more."""
    clock = asyncio.get_running_loop().time
    async with store(profiles=1) as (sandbox, call):
        sandbox.faults.queue(*[Fault.slow(10.0)] * 2, *[Fault.slow(10.0, jitter=5.0)] * 20)
        taken = []
        for _ in range(22):
            began = clock()
            assert len((await call("GET")).json["data"]) == 1
            taken.append(clock() - began)
    assert [round(seconds) for seconds in taken[:2]] == [10, 10]
    assert all(10 <= seconds < 15.1 for seconds in taken)
    assert max(taken) - min(taken) > 1


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        ("json", "application/json", b'"title"'),
        ("problem", "application/problem+json", b'"detail"'),
        ("html", "text/html", b"<html>"),
        ("empty", "application/json", b""),
    ],
)
async def test_an_error_has_a_body_of_the_kind_that_was_asked_for(body, content_type, words):
    """What the API says, what another service says, what a proxy says, and silence."""
    async with store() as (sandbox, call):
        sandbox.faults.queue(Fault.error(503, body=body, headers={"X-Retry-After": "3"}))
        async with asyncio.timeout(0.1):
            answer = await call("GET")
        assert (answer.status, answer.headers["X-Retry-After"]) == (503, "3")
        assert answer.headers["Content-Type"] == content_type
        assert words in answer.body
        assert bool(answer.body) == (body != "empty")
        if body in {"json", "problem"}:
            assert answer.json["status"] == 503


@pytest.mark.parametrize("applied", [False, True])
async def test_an_error_can_come_before_or_after_the_write(applied):
    """By default a write that is answered with an error has not happened."""
    async with store(customers=1) as (sandbox, call):
        sandbox.faults.queue(Fault.error(500, applied=True) if applied else Fault.error(500))
        assert (await call("POST", **create(1))).status == 500
        assert len(existing(sandbox)) == applied


@pytest.mark.parametrize("applied", [True, False])
async def test_an_answer_can_be_put_in_the_stores_mouth(applied):
    """Exactly this status, body and headers; by default the write happens."""
    async with store(customers=1) as (sandbox, call):
        headers = {"X-Request-ID": "r-1"}
        more = {} if applied else {"applied": False}
        sandbox.faults.queue(Fault.answer(202, b"{not json", headers=headers, **more))
        answer = await call("POST", **create(1))
        assert (answer.status, answer.body) == (202, b"{not json")
        assert answer.headers["X-Request-ID"] == "r-1"
        assert answer.headers["Content-Type"] == "application/json"
        assert len(existing(sandbox)) == applied


@pytest.mark.parametrize("name", ["Content-Type", "content-type"])
async def test_an_answers_headers_count_whatever_their_case(name):
    """JSON unless the headers say otherwise, in either spelling."""
    async with store() as (sandbox, call):
        sandbox.faults.queue(Fault.answer(200, b"hello", headers={name: "text/plain"}))
        assert (await call("GET")).headers.getall("Content-Type") == ["text/plain"]


async def test_a_fault_keeps_the_quotas_headers():
    """An error of the store still tells its quota."""
    async with store(quota=9) as (sandbox, call):
        sandbox.faults.queue(Fault.error(503))
        assert (await call("GET")).headers[LEFT] == "8"


@pytest.mark.parametrize("applied", [True, False])
async def test_a_cut_connection_gives_no_answer_and_the_write_happened_or_not(applied):
    """The two cases that a client can't tell apart."""
    async with store(customers=1) as (sandbox, call):
        sandbox.faults.queue(Fault.cut(applied=applied))
        with pytest.raises(aiohttp.ClientError):
            await call("POST", **create(1))
        assert len(existing(sandbox)) == applied


async def test_half_an_answer_ends_in_the_middle_of_its_body():
    """The status came, the body breaks off."""
    async with store(profiles=10) as (sandbox, call), aiohttp.ClientSession() as http:
        whole = (await call("GET")).body
        sandbox.faults.queue(Fault.half())
        url = f"{sandbox.url}/stores/sandbox/v3/{PROFILES}"
        received = b""
        async with http.get(url, headers={"X-Auth-Token": sandbox.access_token}) as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                async for block in response.content.iter_any():
                    received += block
        assert received == whole[: len(whole) // 2]


async def test_a_stalled_answer_never_ends():
    """Half of the body, then nothing more, for as long as one waits."""
    async with store(profiles=10) as (sandbox, call):
        sandbox.faults.queue(Fault.stall())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await call("GET")


@pytest.mark.parametrize("fault", [Fault.half(), Fault.stall()])
async def test_an_answer_without_a_body_can_break_off_too(fault):
    """A DELETE's 204 is as little use half-sent or stalled as any other answer."""
    async with store(profiles=1) as (sandbox, call):
        # more than once, as aiohttp sends a DELETE again by itself where the connection is cut
        sandbox.faults.rule(fault)
        with pytest.raises((aiohttp.ClientError, TimeoutError)):
            async with asyncio.timeout(100):
                await call("DELETE", **naming(*existing(sandbox)))


async def test_stopping_does_not_wait_for_a_stalled_answer():
    """Whatever hangs is cut when the sandbox stops."""
    async with store(profiles=1) as (sandbox, call):
        sandbox.faults.queue(Fault.stall())
        pending = asyncio.create_task(call("GET"))
        await asyncio.sleep(1)
        await sandbox.stop()
        with pytest.raises(aiohttp.ClientError):
            await pending


async def test_garbage_is_random_bytes_after_what_was_asked_for_was_done():
    """Repeatable, of the size that was asked for, and no JSON."""
    async with store(customers=1) as (sandbox, call):
        noises = Fault.garbage(), Fault.garbage(), Fault.garbage(size=9), Fault.garbage(seed=1)
        sandbox.faults.queue(*noises)
        answers = [await call("POST", **create(1)) for _ in noises]
        assert len(existing(sandbox)) == 1
    first, same, short, other = (answer.body for answer in answers)
    assert {answer.status for answer in answers} == {200}
    assert first == same != other
    assert (len(first), len(short)) == (256, 9)
    with pytest.raises(ValueError):  # noqa: PT011 - bad JSON, or no text at all
        json.loads(first)


async def test_the_store_can_change_right_before_a_request_is_looked_at():
    """As another app would do; the answer is that of the changed store."""
    async with store(customers=2, profiles=2) as (sandbox, call):
        first, second = existing(sandbox)
        sandbox.faults.queue(Fault.changing(lambda its: its.delete_oldest(1)))
        assert [UUID(row["id"]) for row in (await call("GET")).json["data"]] == [second]
        sandbox.faults.queue(Fault.changing(lambda its: its.add_profiles(2)))
        assert (await call("GET")).pagination["total"] == 3
        assert first not in existing(sandbox)


async def fates(call, *requests):
    """The statuses that these requests meet, one after the other."""
    return [(await call(method, path)).status for method, path in requests]


GET, DELETE, FIND = ("GET", PROFILES), ("DELETE", PROFILES), ("GET", CUSTOMERS)


async def test_queued_faults_come_first_one_for_each_request():
    """In order, whatever the requests are; then the rules, the first that fits."""
    async with store() as (sandbox, call):
        sandbox.faults.rule(Fault.error(502), method="GET")
        sandbox.faults.rule(Fault.error(504))
        sandbox.faults.queue(Fault.error(500), Fault.error(501))
        assert await fates(call, GET, DELETE, GET, DELETE) == [500, 501, 502, 504]


@pytest.mark.parametrize(
    ("rule", "statuses"),
    [
        ({}, [503] * 6),
        ({"method": "DELETE"}, [200, 503, 200, 200, 503, 200]),
        ({"path": CUSTOMERS}, [200, 204, 503, 200, 204, 503]),
        ({"method": "GET", "path": PROFILES}, [503, 204, 200, 503, 204, 200]),
        ({"method": "POST"}, [200, 204, 200, 200, 204, 200]),
        ({"nth": 1}, [503, 204, 200, 200, 204, 200]),
        ({"nth": 5}, [200, 204, 200, 200, 503, 200]),
        ({"method": "GET", "nth": 3}, [200, 204, 200, 503, 204, 200]),
        ({"times": 2}, [503, 503, 200, 200, 204, 200]),
        ({"method": "GET", "times": 2}, [503, 204, 503, 200, 204, 200]),
        ({"times": 0}, [200, 204, 200, 200, 204, 200]),
        ({"probability": 0.0}, [200, 204, 200, 200, 204, 200]),
    ],
)
async def test_a_rule_takes_the_requests_that_fit(rule, statuses):
    """By method, path, turn and number of times, in any combination."""
    async with store() as (sandbox, call):
        sandbox.faults.rule(Fault.error(503), **rule)
        if rule.get("method") == "DELETE":
            statuses = [200 if status == 204 else status for status in statuses]
        assert await fates(call, GET, DELETE, FIND, GET, DELETE, FIND) == statuses


async def test_the_nth_request_that_fits_a_rule_is_counted_whoever_else_took_one():
    """A rule for the first request and one for the second meet the first and the second."""
    async with store() as (sandbox, call):
        sandbox.faults.rule(Fault.error(502), nth=1)
        sandbox.faults.rule(Fault.error(504), nth=2)
        assert await fates(call, GET, GET, GET) == [502, 504, 200]


async def test_a_rule_can_take_a_fraction_of_the_requests_by_the_seed():
    """Roughly that many, and the same ones each time."""
    runs = []
    for seed in (1, 1, 2):
        async with store(seed=seed) as (sandbox, call):
            sandbox.faults.rule(Fault.error(503), probability=0.5)
            runs.append(await fates(call, *[GET] * 60))
    assert runs[0] == runs[1] != runs[2]
    assert all(15 < run.count(503) < 45 for run in runs)


async def test_faults_can_be_cleared():
    """Queue and rules."""
    async with store() as (sandbox, call):
        sandbox.faults.rule(Fault.error(503))
        sandbox.faults.queue(Fault.error(500))
        sandbox.faults.clear()
        assert await fates(call, GET) == [200]


# ---------------------------------------------------------------- the record


async def test_the_record_has_every_request_with_its_token_masked():
    """Method, path, query, headers, body and status, oldest first."""
    async with store(customers=1) as (sandbox, call):
        await call("POST", headers={"X-Mine": "yes"}, **create(1))
        await call("GET", params=[("page", "1"), ("limit", "2")], token="wr0ng")
        post, get = sandbox.record.requests
    assert (post.method, post.path) == ("POST", "/stores/sandbox/v3/shopper-profiles")
    assert (post.status, json.loads(post.body)) == (201, [{"customer_id": 1}])
    assert (post.headers["X-Mine"], post.query) == ("yes", ())
    assert (get.method, get.status, get.body) == ("GET", 401, b"")
    assert get.query == (("page", "1"), ("limit", "2"))
    assert sandbox.access_token not in repr(post)
    assert "wr0ng" not in repr(get)
    assert post.headers["X-Auth-Token"] == get.headers["X-Auth-Token"] == "[secure]"


async def test_the_record_counts_requests_and_statuses():
    """By method and path below /v3/, and by status."""
    async with store(quota=4) as (sandbox, call):
        await fates(call, GET, GET, FIND, DELETE, GET)
        assert sandbox.record.counts == {GET: 3, FIND: 1, DELETE: 1}
        assert sandbox.record.statuses == {200: 3, 204: 1, 429: 1}


async def test_the_record_keeps_the_newest_requests_and_all_counts():
    """A long run does not fill the memory."""
    assert Record().requests.maxlen == 10_000


async def test_the_record_knows_how_many_requests_were_under_way_at_once():
    """The peak stays, the present number falls back to none."""
    async with store() as (sandbox, call):
        sandbox.faults.rule(Fault.slow(10.0))
        calls = asyncio.gather(*(call("GET") for _ in range(7)))
        await asyncio.sleep(5)
        assert sandbox.record.in_flight == 7
        assert [request.status for request in sandbox.record.requests] == [None] * 7
        await calls
        await call("GET")
        assert (sandbox.record.in_flight, sandbox.record.peak) == (0, 7)


@pytest.mark.parametrize("applied", [True, False])
async def test_a_request_without_an_answer_has_no_status_on_record(applied):
    """Nothing was answered, so nothing is counted."""
    async with store(customers=1) as (sandbox, call):
        sandbox.faults.queue(Fault.cut(applied=applied))
        with pytest.raises(aiohttp.ClientError):
            await call("POST", **create(1))
        assert sandbox.record.counts == {("POST", PROFILES): 1}
        assert sandbox.record.requests[0].status is None
        assert not sandbox.record.statuses


# ---------------------------------------------------------------- seeding, resetting, starting


def test_a_sandbox_starts_with_customers_and_profiles():
    """Customers from 1 on; the first of them have the profiles, more are added if need be."""
    sandbox = Sandbox(customers=5, profiles=2)
    assert list(sandbox.store.customers) == [1, 2, 3, 4, 5]
    assert [p.customer_id for p in sandbox.store.profiles.values()] == [1, 2]
    assert len(Sandbox(customers=1, profiles=3).store.customers) == 3


def test_seeding_adds_to_what_is_there():
    """New customers go on from the highest id; profiles go to those who have none."""
    sandbox = Sandbox(customers=2, profiles=1)
    first = existing(sandbox)
    sandbox.seed(customers=1, profiles=2)
    assert list(sandbox.store.customers) == [1, 2, 3]
    assert existing(sandbox)[:1] == first
    assert [p.customer_id for p in sandbox.store.profiles.values()] == [1, 2, 3]


async def test_a_reset_makes_the_store_as_it_was_at_the_start():
    """Customers, profiles and their number; wipes, faults and record are forgotten."""
    async with store(customers=3, profiles=2) as (sandbox, call):
        await call("DELETE")
        sandbox.seed(customers=10, profiles=5)
        sandbox.faults.rule(Fault.error(503))
        sandbox.faults.queue(Fault.error(503))
        sandbox.reset()
        assert list(sandbox.store.customers) == [1, 2, 3]
        assert [p.customer_id for p in sandbox.store.profiles.values()] == [1, 2]
        assert sandbox.store.wipes == 0
        assert not sandbox.record.requests
        assert not sandbox.record.counts
        assert (await call("GET")).pagination["total"] == 2
        assert sandbox.record.counts == {GET: 1}


async def test_a_reset_brings_back_the_same_profiles():
    """As it was at the start, ids included, so that each test of several sees the same."""
    sandbox = Sandbox(profiles=3)
    first = existing(sandbox)
    sandbox.reset()
    assert existing(sandbox) == first


async def test_a_reset_brings_back_the_quota():
    """What one test has spent is not missing in the next."""
    async with store(quota=2) as (sandbox, call):
        sandbox.spend(2)
        sandbox.reset()
        assert (await call("GET")).status == 200


async def test_a_session_on_the_sandbox_is_one_call():
    """`sandbox.session()` takes the settings of `Session`."""
    async with (
        Sandbox(profiles=3) as sandbox,
        sandbox.session(concurrency=2) as session,
    ):
        assert isinstance(session, Session)
        assert len(await session.shopper_profiles.page()) == 3
        assert sandbox.url in repr(sandbox)


async def test_two_sandboxes_are_two_stores():
    """Each on a port of its own."""
    async with store(profiles=1) as (one, ask), store(profiles=2) as (other, ask_other):
        assert one.url != other.url
        assert (await ask("GET")).pagination["total"] == 1
        assert (await ask_other("GET")).pagination["total"] == 2


async def test_a_stopped_sandbox_can_be_started_again():
    """The store stays as it is in between."""
    sandbox = Sandbox(profiles=1)
    async with sandbox:
        pass
    async with sandbox, sandbox.session() as session:
        assert len(await session.shopper_profiles.page()) == 1


async def test_a_port_in_use_is_an_oserror_with_async_with():
    """Nothing listens elsewhere without a word."""
    async with Sandbox() as first:
        second = Sandbox(port=port_of(first))
        with pytest.raises(OSError, match="in use"):
            await second.start()
        with pytest.raises(OSError, match="in use"):
            async with second:
                pass


def port_of(sandbox):
    """Where a sandbox listens."""
    return int(sandbox.url.rpartition(":")[2])


def get(sandbox, path=PROFILES):
    """A synchronous GET."""
    request = urllib.request.Request(
        f"{sandbox.url}/stores/{sandbox.store_hash}/v3/{path}",
        headers={"X-Auth-Token": sandbox.access_token},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)


@pytest.mark.real_time
def test_a_plain_with_runs_the_sandbox_in_a_thread():
    """For code that is not asynchronous; at the end the thread and the port are gone."""
    before = threading.active_count()
    with Sandbox(profiles=3) as sandbox:
        assert get(sandbox)["meta"]["pagination"]["total"] == 3
        assert sandbox.record.counts == {GET: 1}
        assert threading.active_count() == before + 1
        port = port_of(sandbox)
    assert threading.active_count() == before
    with pytest.raises(urllib.error.URLError):
        get(sandbox)
    with Sandbox(port=port) as again:
        assert get(again)["data"] == []


@pytest.mark.real_time
def test_a_port_in_use_is_an_oserror_with_a_plain_with():
    """The thread's failure is the caller's, and the thread is gone."""
    with Sandbox() as first:
        before = threading.active_count()
        with pytest.raises(OSError, match="in use"), Sandbox(port=port_of(first)):
            pass
        assert threading.active_count() == before


@pytest.mark.real_time
def test_a_sandbox_that_cannot_start_never_hangs():
    """Any failure in the thread reaches the caller, not only those of the network."""
    raised = []

    def enter():
        try:
            with Sandbox(port=70_000):
                pass
        except (OSError, OverflowError, ValueError) as error:
            raised.append(error)

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    thread.join(5)
    assert raised


@pytest.mark.real_time
def test_the_fixture_gives_a_store_in_a_thread(bcshopper_sandbox):
    """A hundred customers without profiles, for synchronous tests."""
    assert get(bcshopper_sandbox)["data"] == []
    assert get(bcshopper_sandbox, CUSTOMERS)["meta"]["pagination"]["total"] == 100


@pytest.mark.real_time
async def test_the_fixture_serves_asynchronous_tests_too(bcshopper_sandbox):
    """The same fixture, from an event loop of the test's own."""
    async with bcshopper_sandbox.session() as session:
        report = await session.shopper_profiles.create([1, 100])
    assert len(report.created) == 2


async def test_no_number_is_too_long_for_the_sandbox():
    """What a client sends wrong is answered as wrong, never with a failure of the sandbox."""
    async with store(customers=1) as (_, call):
        assert (await call("GET", params={"page": "9" * 5000})).status < 500
        assert (await call("GET", CUSTOMERS, params={"id:in": "9" * 5000})).status < 500


@pytest.mark.parametrize("fault", [Fault.slow(500.0), Fault.stall()], ids=["slow", "stall"])
@pytest.mark.parametrize("client", ["waits", "has gone"])
async def test_stopping_ends_handlers_that_sleep_at_once(fault, client):
    """No task is left, and nobody waits; what had not been applied is not applied any more."""
    before = asyncio.all_tasks()
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as http:
        async with Sandbox(customers=3, profiles=1) as sandbox:
            sandbox.faults.rule(fault)
            url = f"{sandbox.url}/stores/sandbox/v3/shopper-profiles"
            headers = {"X-Auth-Token": sandbox.access_token}
            request = asyncio.create_task(_fetch(http, url, headers))
            await asyncio.sleep(2.5)
            if client == "has gone":
                request.cancel()
                await asyncio.wait([request])
            stopping = loop.time()
        assert loop.time() - stopping < 0.1
        await asyncio.wait([request])
        assert request.cancelled() or isinstance(request.exception(), aiohttp.ClientError)
        assert asyncio.all_tasks() <= before


async def _fetch(http, url, headers):
    async with http.get(url, headers=headers) as answer:
        return await answer.read()
