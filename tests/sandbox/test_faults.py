import asyncio
import json
from uuid import UUID

import aiohttp
import pytest

from bcshopper.sandbox import Fault
from tests.sandbox.store import (
    CUSTOMERS,
    DELETE,
    FIND,
    GET,
    LEFT,
    PROFILES,
    create,
    existing,
    fates,
    naming,
    store,
)


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


@pytest.mark.parametrize("fault", [Fault.error, Fault.cut])
async def test_a_write_can_land_after_its_error_or_its_cut(fault):
    """What a look-up in between does not find is there later all the same."""
    late = (
        Fault.cut(applied=True, lands_after=5.0)
        if fault == Fault.cut
        else Fault.error(500, lands_after=5.0)
    )
    async with store(customers=1) as (sandbox, call):
        sandbox.faults.queue(late)
        if fault == Fault.cut:
            with pytest.raises(aiohttp.ClientError):
                await call("POST", **create(1))
        else:
            assert (await call("POST", **create(1))).status == 500
        await asyncio.sleep(4.9)
        assert (await call("GET")).pagination["total"] == 0
        await asyncio.sleep(0.2)
        assert (await call("GET")).pagination["total"] == 1
        assert existing(sandbox)


async def test_a_write_that_lands_late_meets_the_store_as_it_is_then():
    """Who got a profile meanwhile does not get a second one."""
    async with store(customers=1) as (sandbox, call):
        sandbox.faults.queue(Fault.error(503, lands_after=5.0))
        await call("POST", **create(1))
        assert (await call("POST", **create(1))).status == 201
        await asyncio.sleep(6)
        assert len(existing(sandbox)) == 1


@pytest.mark.parametrize("ending", ["reset", "stop"])
async def test_a_late_write_does_not_land_in_another_life_of_the_store(ending):
    """Neither after a reset nor after the end."""
    async with store(customers=1) as (sandbox, call):
        sandbox.faults.queue(Fault.error(500, lands_after=5.0))
        await call("POST", **create(1))
        if ending == "reset":
            sandbox.reset()
        else:
            await sandbox.stop()
        await asyncio.sleep(6)
        assert not existing(sandbox)


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
