import asyncio
import json

import aiohttp
import pytest

from bcshopper.sandbox import Fault, Record
from tests.sandbox.store import DELETE, FIND, GET, PROFILES, create, fates, store


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
