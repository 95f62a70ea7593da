import asyncio
import http.client
import io
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper.sandbox import Fault, Rules, Sandbox
from bcshopper.sandbox._seed import Seed, SeedSegment, dump, plant
from tests.conftest import run
from tests.sandbox.store import PROFILES, SEGMENTS, create, store


@asynccontextmanager
async def admin(customers=0, **settings):
    """A sandbox, the API's way to it and the admin API's."""
    async with store(customers, **settings) as (sandbox, call):

        async def ask(method, path, document=None, **more):
            if document is not None:
                more["data"] = json.dumps(document)
            return await call(method, f"/_sandbox/{path}", token=None, **more)

        yield sandbox, call, ask


async def test_the_state_tells_of_store_quota_faults_and_rules():
    """All that a program of another language needs to begin, and to look."""
    async with admin(customers=5, profiles=3, quota=10, window=60.0) as (sandbox, call, ask):
        await call("POST", SEGMENTS, json=[{"name": "VIP"}])
        sandbox.faults.queue(Fault.half())
        sandbox.faults.rule(Fault.half(), path="customers")
        state = (await ask("GET", "state")).json
        assert state["store_hash"] == sandbox.store_hash
        assert state["access_token"] == sandbox.access_token
        assert (state["customers"], state["profiles"], state["segments"]) == (5, 3, 1)
        assert state["queued_faults"] == 1
        quota = state["quotas"].pop("store")
        assert (quota["limit"], quota["used"], state["quotas"]) == (10, 1, {})
        assert 59 < quota["seconds_left"] <= 60
        assert state["rules"] == attrs.asdict(sandbox.rules)
        assert state["statuses"] == {"201": 1}
        assert state["webhooks"] is None


async def test_the_state_has_a_quota_for_each_resource_that_has_one():
    """By name, each with what it has used."""
    async with admin(quota=10, quota_per="resource") as (_, call, ask):
        await call("GET", SEGMENTS)
        quotas = (await ask("GET", "state")).json["quotas"]
        assert {name: quota["used"] for name, quota in quotas.items()} == {
            "segments": 1,
            "shopper-profiles": 0,
            "customers": 0,
        }


async def test_requests_are_told_with_all_that_is_on_record():
    """Oldest first, the token masked."""
    async with admin(customers=1) as (sandbox, call, ask):
        await call("POST", **create(1))
        await call("GET", params=[("page", "1"), ("limit", "2")])
        post, get = (await ask("GET", "requests")).json["requests"]
        assert (post["number"], post["method"], post["path"]) == (1, "POST", PROFILES)
        assert json.loads(post["body"]) == [{"customer_id": 1}]
        assert (post["status"], get["status"]) == (201, 200)
        assert post["took"] >= 0
        assert get["query"] == [["page", "1"], ["limit", "2"]]
        assert sandbox.access_token not in json.dumps([post, get])


async def test_requests_can_be_filtered():
    """By method, path, with `*` for any part, and status; several of them together."""
    async with admin(profiles=1) as (sandbox, call, ask):
        (profile_id,) = sandbox.store.profiles
        await call("GET")
        await call("GET", f"{PROFILES}/{profile_id}/segments")
        await call("POST", SEGMENTS, json=[{"name": "VIP"}])
        await call("GET", "nothing")

        async def numbers(**wanted):
            found = await ask("GET", "requests", params=wanted)
            return [request["number"] for request in found.json["requests"]]

        assert await numbers() == [1, 2, 3, 4]
        assert await numbers(method="POST") == [3]
        assert await numbers(path=PROFILES) == [1]
        assert await numbers(path=f"{PROFILES}/*/segments") == [2]
        assert await numbers(status="404") == [4]
        assert await numbers(method="GET", status="200", since="1") == [2]


async def test_no_request_is_missed_by_who_asks_again_with_next():
    """Those under way come again, until they have ended; those that are over come once."""
    async with admin() as (sandbox, call, ask):
        sandbox.faults.rule(Fault.slow(10.0), nth=2)
        await call("GET")
        slow = asyncio.create_task(call("GET"))
        await asyncio.sleep(5)
        await call("GET")

        async def look(since):
            told = (await ask("GET", "requests", params={"since": since})).json
            return [(r["number"], r["status"]) for r in told["requests"]], told["next"]

        seen, since = await look(0)
        assert seen == [(1, 200), (2, None), (3, 200)]
        await slow
        seen, since = await look(since)
        assert seen == [(2, 200), (3, 200)]
        assert await look(since) == ([], 3)


async def test_a_long_record_is_told_in_parts():
    """`limit` at a time, without a gap."""
    async with admin() as (_, call, ask):
        for _ in range(5):
            await call("GET")
        found, since = [], 0
        for _ in range(3):
            told = (await ask("GET", "requests", params={"since": since, "limit": "2"})).json
            found.append([request["number"] for request in told["requests"]])
            since = told["next"]
        assert found == [[1, 2], [3, 4], [5]]


async def test_numbers_go_on_after_a_reset():
    """So that who asks with an old `since` misses nothing of the new."""
    async with admin() as (_, call, ask):
        await call("GET")
        assert (await ask("POST", "reset")).status == 204
        assert (await ask("GET", "requests")).json == {"requests": [], "next": 0}
        state = (await ask("GET", "state")).json
        assert (state["first"], state["last"], state["statuses"]) == (2, 1, {})
        await call("GET")
        told = (await ask("GET", "requests", params={"since": "1"})).json["requests"]
        assert [request["number"] for request in told] == [2]


FAULTS = [
    ({"kind": "slow", "seconds": 2, "jitter": 0.5}, Fault.slow(2, jitter=0.5)),
    (
        {"kind": "error", "status": 503, "body": "html", "headers": {"Retry-After": "1"}},
        Fault.error(503, body="html", headers={"Retry-After": "1"}),
    ),
    ({"kind": "error", "status": 500, "lands_after": 3}, Fault.error(500, lands_after=3)),
    ({"kind": "answer", "status": 200, "body": "oh!"}, Fault.answer(200, b"oh!")),
    ({"kind": "cut", "applied": True}, Fault.cut(applied=True)),
    ({"kind": "partial", "status": 503, "positions": [0, 2]}, Fault.partial(503, 0, 2)),
    ({"kind": "partial", "status": 503}, Fault.partial(503)),
    ({"kind": "half"}, Fault.half()),
    ({"kind": "stall"}, Fault.stall()),
    ({"kind": "garbage", "size": 10, "seed": 3}, Fault.garbage(size=10, seed=3)),
]


@pytest.mark.parametrize(
    ("document", "fault"), FAULTS, ids=lambda x: isinstance(x, dict) and x["kind"]
)
async def test_every_fault_can_be_queued(document, fault):
    """It is the one that the method of the same name makes."""
    async with admin() as (sandbox, _, ask):
        assert (await ask("POST", "faults", {"fault": document})).status == 204
        assert sandbox.faults.unused == [fault]


def test_every_kind_of_fault_is_among_these():
    """But the one that is about a function of Python."""
    made = {name for name, value in vars(Fault).items() if isinstance(value, classmethod)}
    assert made - {document["kind"] for document, _ in FAULTS} == {"changing"}


async def test_a_lost_answer_is_queued_and_met():
    """The write took effect, and the record has it without a status."""
    async with admin(customers=1) as (sandbox, call, ask):
        await ask("POST", "faults", {"fault": {"kind": "cut", "applied": True}})
        with pytest.raises(aiohttp.ClientError):
            await call("POST", **create(1))
        assert len(sandbox.store.profiles) == 1
        (request,) = (await ask("GET", "requests")).json["requests"]
        assert (request["status"], request["method"]) == (None, "POST")
        assert request["took"] is not None


async def test_a_fault_with_when_is_a_rule():
    """For those that fit, so often; an empty `when` is for all."""
    async with admin() as (_, call, ask):
        when = {"method": "GET", "path": PROFILES, "times": 2}
        await ask("POST", "faults", {"fault": {"kind": "error", "status": 503}, "when": when})
        await ask("POST", "faults", {"fault": {"kind": "error", "status": 418}, "when": {}})
        statuses = [(await call("GET", path)).status for path in (SEGMENTS, *[PROFILES] * 3)]
        assert statuses == [418, 503, 503, 418]
        assert (await ask("DELETE", "faults")).status == 204
        assert (await call("GET")).status == 200


async def test_rules_are_replaced_and_reset_brings_back_the_first_ones():
    """What is not named is as ever; a new quota window begins."""
    async with admin(profiles=5, max_limit=3, names_items=False) as (sandbox, call, ask):
        assert (await ask("PUT", "rules", {"max_limit": 2, "quota": 2})).status == 204
        assert sandbox.rules == Rules(max_limit=2, quota=2)
        answers = [await call("GET", params={"limit": "250"}) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[0].pagination["count"] == 2
        await ask("POST", "reset")
        assert sandbox.rules == Rules(max_limit=3, names_items=False)
        assert (await call("GET", params={"limit": "250"})).pagination["count"] == 3


async def test_a_rule_about_lag_holds_from_then_on():
    """Like all that are set while the store is served."""
    async with admin(customers=1) as (_, call, ask):
        await ask("PUT", "rules", {"lag": 5.0})
        await call("POST", **create(1))
        params = {"id:in": "1", "include": "shopper_profile_id"}
        (row,) = (await call("GET", "customers", params=params)).json["data"]
        assert row["shopper_profile_id"] is None


async def test_quota_is_spent_as_by_other_apps():
    """Where there is one; else that is said."""
    async with admin(quota=10) as (_, call, ask):
        assert (await ask("POST", "spend", {"count": 9})).status == 204
        assert [(await call("GET")).status for _ in range(2)] == [200, 429]
    async with admin() as (_, call, ask):
        refused = await ask("POST", "spend", {"count": 9})
        assert refused.status == 422
        assert "no quota" in refused.json["title"]


async def test_a_seed_adds_what_it_names():
    """Counts or ids; segments by their customers, who get a profile; some who are deleted."""
    async with admin(customers=2) as (sandbox, _, ask):
        seed = {
            "customers": [101, 102],
            "profiles": [101, 1],
            "segments": [{"name": "VIP", "customers": [102, 101, 500]}, {"name": "none"}],
            "gone": [2, 101],
        }
        assert (await ask("POST", "seed", seed)).status == 204
        assert list(sandbox.store.customers) == [1, 102, 500]
        assert [p.customer_id for p in sandbox.store.profiles.values()] == [1, 102, 500]
        vip, none = sandbox.store.segments.values()
        assert [p.customer_id for p in vip.members.values()] == [102, 500]
        assert (none.name, len(none.members)) == ("none", 0)
        assert (await ask("POST", "seed", {"customers": 3, "profiles": 2})).status == 204
        assert len(sandbox.store.customers) == 6
        assert [p.customer_id for p in sandbox.store.profiles.values()][-2:] == [501, 502]


async def test_the_same_seed_again_changes_nothing():
    """What is named is there already."""
    async with admin() as (sandbox, _, ask):
        seed = {"customers": [7], "profiles": [7], "segments": [{"name": "A", "customers": [7]}]}
        await ask("POST", "seed", seed)
        before = list(sandbox.store.profiles), list(sandbox.store.segments)
        assert (await ask("POST", "seed", seed)).status == 204
        assert (list(sandbox.store.profiles), list(sandbox.store.segments)) == before


ID = "8c6f9d3e-6d0e-4a55-9e3a-2a4c5b0f1e11"


@pytest.mark.parametrize(
    ("path", "document", "words"),
    [
        ("faults", {"fault": {"kind": "error", "status": 99}}, "status"),
        ("faults", {"fault": {"kind": "error", "statu": 503}}, "statu"),
        ("faults", {"fault": {"kind": "changing"}}, "changing"),
        ("faults", {"fault": {"kind": "cut"}}, "applied"),
        ("faults", {"fault": {"kind": "cut", "applied": "yes"}}, "bool"),
        ("faults", {"fault": {"kind": "error", "status": 503, "headers": {"a b": "c"}}}, "a b"),
        (
            "faults",
            {"fault": {"kind": "answer", "status": 200, "body": "", "headers": {"A": "b\r\nC: d"}}},
            "one line",
        ),
        ("faults", {"fault": {"kind": "garbage", "size": -1}}, "size"),
        ("faults", {"fault": {"kind": "half"}, "when": {"method": "post"}}, "method"),
        ("faults", {"fault": {"kind": "half"}, "when": {"nth": 0}}, "nth"),
        ("faults", {"kind": "half"}, "kind"),
        ("faults", [], "object"),
        ("seed", {"customers": -1}, "customers"),
        ("seed", {"customers": [0]}, "customers"),
        ("seed", {"customers": [True]}, "customers"),
        ("seed", {"custmers": 1}, "custmers"),
        ("seed", {"segments": [{"name": ""}]}, "name"),
        ("seed", {"profiles": [{"id": ID, "customer_id": 1}]}, "1 is there already"),
        ("seed", {"profiles": [{"id": ID, "customer_id": n} for n in (5, 6)]}, "twice"),
        ("seed", {"segments": [{"name": n, "id": ID} for n in "ab"]}, "twice"),
        ("spend", {"count": 0}, "count"),
        ("spend", {}, "count"),
    ],
)
async def test_what_can_never_be_is_refused_with_a_sentence(path, document, words):
    """422 in the API's shape; nothing of it took effect."""
    async with admin(customers=2, profiles=1, quota=10) as (sandbox, _, ask):
        sandbox.store.create_segment("VIP")
        before = (await ask("GET", "state")).body.partition(b'"quotas"')[0]
        refused = await ask("POST", path, document)
        assert refused.status == 422
        assert refused.json.keys() == {"status", "title", "type"}
        assert words in refused.json["title"]
        assert (await ask("GET", "state")).body.partition(b'"quotas"')[0] == before


@pytest.mark.parametrize(
    "document", [{"quota": 0}, {"quta": 1}, {"lag": "2"}, {"window": 0}, {"gzip": 1}, [], None]
)
async def test_rules_that_cannot_be_are_refused(document):
    """And the old ones hold."""
    async with admin(max_limit=7) as (sandbox, _, ask):
        refused = await ask("PUT", "rules", data=json.dumps(document))
        assert refused.status == 422
        assert sandbox.rules == Rules(max_limit=7)


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("POST", "seed", {"data": "{"}, 400),
        ("POST", "seed", {"data": b"\xff\xfe"}, 400),
        ("POST", "faults", {"data": "[" * 100_000}, 400),
        ("POST", "spend", {}, 400),
        ("POST", "seed", {"data": io.BytesIO(b" " * 2**21)}, 413),
        ("GET", "nothing", {}, 404),
        ("GET", "state/more", {}, 404),
        ("GET", "requests?sice=1", {}, 422),
        ("GET", "requests?since=-1", {}, 422),
        ("GET", "requests?limit=1001", {}, 422),
        ("GET", "requests?status=ok", {}, 422),
        ("POST", "state", {}, 405),
        ("PUT", "faults", {}, 405),
        ("DELETE", "", {}, 405),
    ],
)
async def test_errors_are_the_documented_ones(method, path, sent, status):
    """In the API's shape, with `Allow` where the method is wrong."""
    async with admin() as (_, _, ask):
        answer = await ask(method, path, **sent)
        assert answer.status == answer.json["status"] == status
        assert ("Allow" in answer.headers) == (status == 405)


LOCAL = ["127.0.0.1:8080", "localhost:8080", "localhost", "[::1]:8080", "127.8.9.1"]
FOREIGN = ["example.com", "127.0.0.1.example.com:8080", "192.168.1.2:8080", "0.0.0.0", "", "a b"]


@pytest.mark.parametrize("host", LOCAL)
async def test_loopback_hosts_are_let_in(host):
    """By any of their names, with their own Origin or none."""
    async with admin() as (_, _, ask):
        for more in ({}, {"Origin": f"http://{host}"}, {"Sec-Fetch-Site": "same-origin"}):
            assert (await ask("GET", "state", headers={"Host": host, **more})).status == 200


@pytest.mark.parametrize("path", ["", "state", "openapi.json", "faults", "nothing"])
@pytest.mark.parametrize("host", FOREIGN)
async def test_a_name_that_is_made_to_lead_here_is_refused(host, path):
    """A page of that name could read all of it otherwise (DNS rebinding)."""
    async with admin() as (_, _, ask):
        answer = await ask("GET", path, headers={"Host": host, "Origin": f"http://{host}"})
        assert answer.status in {400, 403}  # some are no host to aiohttp


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.com"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=lambda headers: ": ".join(*headers.items()),
)
async def test_a_web_page_of_another_origin_is_refused(headers):
    """Whatever it asks for, also what a form or an image could; nothing of it takes effect."""
    async with admin(customers=3, profiles=3) as (sandbox, call, ask):
        await call("GET")
        assert (await ask("GET", "state", headers=headers)).status == 403
        assert (await ask("GET", "", headers=headers)).status == 403
        refused = await ask("POST", "reset", headers=headers | {"Content-Type": "text/plain"})
        assert refused.status == 403
        assert len(sandbox.record.requests) == 1


@pytest.mark.real_time
def test_two_hosts_are_none():
    """Which of them counts is not ours to guess."""
    with Sandbox() as sandbox:
        connection = http.client.HTTPConnection(sandbox.url.removeprefix("http://"))
        connection.putrequest("GET", "/_sandbox/state", skip_host=True)
        connection.putheader("Host", "127.0.0.1")
        connection.putheader("Host", "example.com")
        connection.endheaders()
        assert connection.getresponse().status in {400, 403}
        connection.close()


async def test_answers_are_for_this_origin_alone():
    """No cache keeps them, no other page shows or guesses at them; scripts are the page's own."""
    async with admin() as (_, _, ask):
        for path in ("", "state", "nothing"):
            headers = (await ask("GET", path)).headers
            assert headers["Cache-Control"] == "no-store"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert "Access-Control-Allow-Origin" not in headers


async def test_without_admin_there_is_nothing():
    """As with any path that is unknown, and it is on record as such."""
    async with Sandbox(admin=False) as sandbox, aiohttp.ClientSession() as http:
        for path in ("", "/", "/state"):
            async with http.get(f"{sandbox.url}/_sandbox{path}") as answer:
                assert answer.status == 404
                assert "_sandbox/state" not in await answer.text() or path == "/state"
        assert len(sandbox.record.requests) == 3


async def test_looking_disturbs_nothing():
    """It takes no fault and no quota, is not on record, and works while the store is crowded."""
    async with admin(quota=1, max_concurrent=1, keep_alive="dead") as (sandbox, _, ask):
        sandbox.faults.queue(Fault.error(503))
        for _ in range(3):
            assert (await ask("GET", "state")).status == 200
        assert sandbox.faults.unused
        assert not sandbox.record.requests


async def test_the_path_without_its_slash_leads_to_the_page():
    """As people type it."""
    async with (
        Sandbox() as sandbox,
        aiohttp.ClientSession() as http,
        http.get(f"{sandbox.url}/_sandbox") as answer,
    ):
        assert answer.url.path == "/_sandbox/"
        assert answer.content_type == "text/html"
        assert answer.status == 200


async def test_the_description_is_of_what_there_is():
    """Each operation that it has is served, and says all that it answers with."""
    async with admin() as (_, _, ask):
        document = (await ask("GET", "openapi.json")).json
        assert document["openapi"].startswith("3.1")
        told = {
            (method.upper(), path): operation
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
        }
        assert {(m, p.removeprefix("/_sandbox/")) for m, p in told} == {
            ("GET", "state"), ("GET", "requests"), ("POST", "faults"), ("DELETE", "faults"),
            ("POST", "seed"), ("POST", "reset"), ("POST", "spend"), ("PUT", "rules"),
        }  # fmt: skip
        for (method, path), operation in told.items():
            status = (await ask(method, path.removeprefix("/_sandbox/"))).status
            assert str(status) in operation["responses"]
        names = {p["name"] for p in told["GET", "/_sandbox/requests"]["parameters"]}
        assert names == {"since", "method", "path", "status", "limit"}


async def test_requests_and_refusals_fit_the_description():
    """What is sent and refused here, against its own schemas."""
    import jsonschema_rs

    async with admin() as (_, _, ask):
        document = (await ask("GET", "openapi.json")).json
        refused = document["paths"]["/_sandbox/state"]["get"]["responses"]["404"]["content"]
        schema = refused["application/json"]["schema"]
        jsonschema_rs.validate(schema, (await ask("GET", "nothing")).json)
        fault = {"$ref": "#/components/schemas/Fault", "components": document["components"]}
        for sent, _ in FAULTS:
            jsonschema_rs.validate(fault, {"fault": sent, "when": {"method": "GET"}})
        for wrong in ({"fault": {"kind": "cut"}}, {"fault": {"kind": "half"}, "wen": {}}):
            with pytest.raises(jsonschema_rs.ValidationError):
                jsonschema_rs.validate(fault, wrong)
        rules = {"$ref": "#/components/schemas/Rules", "components": document["components"]}
        jsonschema_rs.validate(rules, attrs.asdict(Rules()))


@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["fault", "when", "kind", "status", "customers", "count"])
                | st.text(),
                inner | st.sampled_from(["error", "cut", "partial", "GET"]),
                max_size=4,
            )
        ),
        max_leaves=8,
    )
)
def test_no_document_is_a_failure_of_the_sandbox(document):
    """Whatever JSON comes, the answer is a 204 or a 422."""
    server = Sandbox(rules=Rules(quota=5))

    async def main():
        async with server, aiohttp.ClientSession() as http:
            for method, path in [("POST", "faults"), ("POST", "spend"), ("PUT", "rules")]:
                url = f"{server.url}/_sandbox/{path}"
                async with http.request(method, url, data=json.dumps(document)) as answer:
                    assert answer.status in {204, 400, 422}

    run(main())


def test_a_kept_store_is_the_same_store():
    """Customers, profiles, segments and members in their order, ids and times, over JSON."""
    first = Sandbox(customers=30, profiles=5)
    plant(first.store, Seed(segments=[SeedSegment("VIP", "best", [9, 2]), SeedSegment("none")]))
    first.store.delete_customers([4, 5])
    first.store.touch([7], at=datetime(2020, 1, 1, tzinfo=UTC))
    again = Sandbox()
    again.begin_with(msgspec.json.decode(msgspec.json.encode(dump(first.store))))
    one, other = first.store, again.store
    assert list(other.customers.items()) == list(one.customers.items())
    assert list(other.profiles.items()) == list(one.profiles.items())
    assert list(other.segments.items()) == list(one.segments.items())
    for mine, theirs in zip(one.segments.values(), other.segments.values(), strict=True):
        assert list(mine.members) == list(theirs.members)
    assert [other.modified(i) for i in (1, 7)] == [one.modified(i) for i in (1, 7)]
