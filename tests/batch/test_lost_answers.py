"""What a failed write costs, and what is said of it."""

import asyncio
import itertools

import pytest

from bcshopper import (
    BatchReport,
    ConflictError,
    PermissionDeniedError,
    ResponseFormatError,
    RetryPolicy,
    ServerError,
    Session,
    Status,
    TransportError,
    UnprocessableError,
)
from bcshopper.sandbox import Fault, Rules, Sandbox

pytestmark = pytest.mark.lowest

LOST = {
    "the connection is cut": Fault.cut(applied=True),
    "the server fails": Fault.error(500, applied=True),
    "a gateway gives up": Fault.error(504, applied=True, body="html"),
    "the body is cut": Fault.half(),
    "the body never ends": Fault.stall(),
    "the body is garbage": Fault.garbage(),
    "the body is HTML": Fault.answer(200, b"<html>", headers={"Content-Type": "text/html"}),
    "the body says nothing": Fault.answer(201, b'{"data":[],"meta":{}}'),
    "the answer comes too late": Fault.slow(40.0),
}


def posts(sandbox):
    return sandbox.record.counts["POST", "shopper-profiles"]


def lookups(sandbox):
    return sandbox.record.counts["GET", "customers"]


@pytest.mark.parametrize("how", LOST)
async def test_a_lost_answer_is_looked_up_and_nothing_is_sent_twice(how):
    """The write took effect: one POST, one look-up, everyone has a profile."""
    async with Sandbox(customers=50) as sandbox, sandbox.session(timeout=30.0) as session:
        sandbox.faults.rule(LOST[how], method="POST", nth=1)
        report = await session.shopper_profiles.create(range(1, 51))
        assert report.profile_ids == tuple(sandbox.store.profiles)
        if how == "the answer comes too late":  # so late that the look-up comes before it
            assert posts(sandbox) <= 3
        else:
            assert len(report.existing) == 50
            assert (posts(sandbox), lookups(sandbox)) == (1, 1)


async def test_only_those_without_a_profile_are_sent_again():
    """The write took effect for some: the rest goes out once more, and nobody else."""
    async with Sandbox(customers=50) as sandbox, sandbox.session() as session:
        fault = Fault(
            ending="cut", applied=False,
            change=lambda store: [store.create(i) for i in range(1, 21)],
        )  # fmt: skip
        sandbox.faults.rule(fault, method="POST", nth=1)
        report = await session.shopper_profiles.create(range(1, 51))
        assert [o.item for o in report.existing] == list(range(1, 21))
        assert [o.item for o in report.created] == list(range(21, 51))
        assert (posts(sandbox), lookups(sandbox)) == (2, 1)
        assert sandbox.record.requests[-1].body.count(b"customer_id") == 30


@pytest.mark.parametrize("position", [0, 1, 24, 25, 48, 49])
@pytest.mark.parametrize("bad_items", ["refuse", "207", "409"])
async def test_one_bad_customer_that_is_named_costs_at_most_one_more_post(position, bad_items):
    """The innocent are created, the guilty one carries the server's words."""
    ids = list(range(1, 50))
    ids.insert(position, 777)
    rules = Rules(bad_items=bad_items)
    async with Sandbox(customers=100, rules=rules) as sandbox, sandbox.session() as session:
        report = await session.shopper_profiles.create(ids, check=False)
        assert len(report.created) == 49
        (guilty,) = report.failed
        assert (guilty.item, guilty.status) == (777, Status.REJECTED)
        assert isinstance(guilty.error, UnprocessableError)
        assert "Customer `777` does not exist" in str(guilty.error)
        assert posts(sandbox) == (2 if bad_items == "refuse" else 1)
        assert lookups(sandbox) == 0


@pytest.mark.parametrize("position", range(50))
async def test_one_bad_customer_that_is_not_named_costs_at_most_eleven_more_posts(position):
    """2 * log2(50), wherever it stands; the other 49 are created."""
    ids = list(range(1, 50))
    ids.insert(position, 777)
    rules = Rules(names_items=False)
    async with Sandbox(customers=100, rules=rules) as sandbox, sandbox.session() as session:
        report = await session.shopper_profiles.create(ids, check=False)
        assert len(report.created) == 49
        assert [o.item for o in report.failed] == [777]
        assert "the request is not valid" in str(report.failed[0].error)
        assert posts(sandbox) <= 1 + 11


@pytest.mark.parametrize("names_items", [True, False])
@pytest.mark.parametrize("bad_items", ["refuse", "207", "409"])
async def test_conflicts_cost_one_look_up_per_chunk(bad_items, names_items):
    """However many of the chunk exist."""
    rules = Rules(bad_items=bad_items, names_items=names_items)
    async with Sandbox(customers=100, rules=rules) as sandbox, sandbox.session() as session:
        for customer_id in range(5, 100, 3):
            sandbox.store.create(customer_id)
        report = await session.shopper_profiles.create(range(1, 101))
        assert len(report.existing) == 32
        assert lookups(sandbox) == 2
        assert posts(sandbox) <= 4


async def test_a_chunk_of_strangers_that_are_not_named_stays_affordable():
    """Even 50 culprits cost no more than about two requests each."""
    rules = Rules(names_items=False)
    async with Sandbox(rules=rules) as sandbox, sandbox.session() as session:
        report = await session.shopper_profiles.create(range(1, 51), check=False)
        assert {o.status for o in report} == {Status.REJECTED}
        assert posts(sandbox) <= 2 * 50 + 10


@pytest.mark.parametrize("names_items", [True, False])
async def test_a_refused_look_up_is_said_and_nothing_is_guessed(names_items):
    """Whom the server calls existing exists, without an id; of the others nobody can tell."""
    rules = Rules(names_items=names_items)
    async with Sandbox(customers=50, profiles=3, rules=rules) as sandbox:
        sandbox.faults.rule(Fault.error(403), path="customers")
        async with sandbox.session() as session:
            report = await session.shopper_profiles.create(range(1, 51), check=False)
        for outcome in report.existing if names_items else report.failed:
            assert outcome.status is (Status.EXISTS if names_items else Status.UNKNOWN)
            assert outcome.profile_id is None
            assert isinstance(outcome.error, ConflictError)
            assert isinstance(outcome.error.__cause__, PermissionDeniedError)
            assert "looking up who has a profile failed too" in str(outcome.error)
        for outcome in report.created:
            assert sandbox.store.customers[outcome.item] == outcome.profile_id
        assert len(report.created) == (47 if names_items else 0)
        assert len(report.existing) == (3 if names_items else 0)
        assert posts(sandbox) <= 2


async def test_a_lost_answer_that_cannot_be_looked_up_is_unknown():
    """The only case left in doubt, with both reasons."""
    async with Sandbox(customers=50) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.error(403), path="customers")
        sandbox.faults.rule(Fault.cut(applied=True), method="POST")
        report = await session.shopper_profiles.create(range(1, 51), check=False)
        assert {o.status for o in report} == {Status.UNKNOWN}
        assert isinstance(report[0].error, TransportError)
        assert isinstance(report[0].error.__cause__, PermissionDeniedError)
        assert posts(sandbox) == 1


async def test_a_server_that_keeps_failing_is_not_believed():
    """500 on every POST, and no profile is found: one may still come of it, so it is unknown."""
    retry = RetryPolicy(attempts=3)
    async with Sandbox(customers=50) as sandbox, sandbox.session(retry=retry) as session:
        sandbox.faults.rule(Fault.error(500), method="POST")
        report = await session.shopper_profiles.create(range(1, 51), check=False)
        assert {o.status for o in report} == {Status.UNKNOWN}
        assert isinstance(report[0].error, ServerError)
        assert posts(sandbox) == 3


async def test_a_server_out_of_reach_leaves_everything_unsent():
    """No connection, no doubt."""
    async with Sandbox() as sandbox:
        pass
    async with sandbox.session(retry=RetryPolicy(attempts=2)) as session:
        report = await session.shopper_profiles.create(range(1, 51), check=False)
        assert {o.status for o in report} == {Status.NOT_SENT}
        assert isinstance(report[0].error, TransportError)


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("verb", ["create", "delete"])
async def test_what_is_fatal_stops_the_batch_at_once(verb, status):
    """No more than the requests in flight go out, whatever was retried or looked up meanwhile."""
    async with Sandbox(customers=3000, profiles=3000) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault(latency=1.0, applied=False, status=status))
        ids = {"create": range(1, 3001), "delete": list(sandbox.store.profiles)}[verb]
        report = await getattr(session.shopper_profiles, verb)(ids, check=False)
        # After the 404 of a DELETE the store itself is asked for, while others still go out.
        assert session.stats.requests <= (21 if (verb, status) == ("delete", 404) else 10)
        assert len(report) == 3000
        assert {o.status for o in report} == {Status.NOT_SENT}
        assert {o.error.status for o in report} == {status}
        assert len(sandbox.store.profiles) == 3000


async def test_a_delete_survives_whatever_passes():
    """It is resent until it is answered, and ends as it should."""
    faults = [Fault.cut(applied=True), Fault.error(500), Fault.garbage(), Fault.error(429)]
    async with Sandbox(profiles=50) as sandbox, sandbox.session() as session:
        sandbox.faults.queue(*faults)
        report = await session.shopper_profiles.delete(list(sandbox.store.profiles))
        assert len(report.deleted) == 50
        assert session.stats.retries == 4


async def test_a_delete_that_was_cut_and_then_refused_stays_unknown():
    """The last word was no, but an earlier attempt may have done it, and here it has."""
    async with Sandbox(profiles=50) as sandbox, sandbox.session() as session:
        sandbox.faults.queue(Fault.cut(applied=True), Fault.error(401))
        report = await session.shopper_profiles.delete(list(sandbox.store.profiles), check=False)
        assert sandbox.store.profiles == {}
        assert {o.status for o in report} == {Status.UNKNOWN}


async def test_html_with_status_200_is_no_deletion():
    """A proxy's page is not taken for the API's word."""
    async with Sandbox(profiles=5) as sandbox:
        page = Fault.answer(200, b"<html>", headers={"Content-Type": "text/html"}, applied=False)
        sandbox.faults.rule(page)
        async with sandbox.session() as session:
            report = await session.shopper_profiles.delete(
                list(sandbox.store.profiles), check=False
            )
        assert {o.status for o in report} == {Status.UNKNOWN}
        assert isinstance(report[0].error, ResponseFormatError)


RAW = {
    "a wrong Content-Length": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}",
    "a bad Content-Length": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
    "bad gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!",
    "invalid UTF-8": b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"data":"\xff\xfe"}',
    "HTML": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    "another shape": b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"data":{}}',
    "a list": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    "an errors body": b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"errors":[]}',
    "204 with a body": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}",
    "nothing": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "a bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a null byte in a header": b"HTTP/1.1 200 OK\r\nX-A: \x00\r\nContent-Length: 2\r\n\r\n{}",
    "50 MB": b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 50_000_000,
    "deep nesting": b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n"
    + b"[" * 10_000
    + b"]" * 10_000,
    "duplicate keys": b'HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"data":[],"data":{}}',
    "a number beyond 64 bits": b"HTTP/1.1 200 OK\r\nContent-Length: 108\r\n\r\n"
    b'{"data":[],"meta":{"pagination":{"total":1e999,"count":0,"per_page":9,"current_page":1,'
    b'"total_pages":1}}}  ',
}


@pytest.mark.parametrize("what", RAW)
async def test_an_unreadable_answer_is_repeated_and_then_our_error(what, raw_server):
    """A GET is tried again; then the error names the request, and is one of ours."""
    seen = []
    url = await raw_server(lambda head: seen.append(head) or RAW[what])
    async with Session("a", "t", base_url=url, retry=RetryPolicy(attempts=2)) as session:
        with pytest.raises((ResponseFormatError, TransportError)) as caught:
            await session.shopper_profiles.page()
    assert "GET http://127.0.0.1" in str(caught.value)
    assert "/stores/a/v3/shopper-profiles" in caught.value.url
    assert len(str(caught.value)) < 1500
    assert len(seen) == 2


@pytest.mark.parametrize("what", RAW)
async def test_an_unreadable_answer_to_a_write_leaves_no_false_claim(what, raw_server):
    """Nothing can be learnt from such a server, and the report says just that."""
    url = await raw_server(lambda _: RAW[what])
    async with Session("a", "t", base_url=url, retry=RetryPolicy(attempts=2)) as session:
        report = await session.shopper_profiles.create([1, 2], check=False)
    assert [o.status for o in report] == [Status.UNKNOWN] * 2
    assert isinstance(report[0].error, (ResponseFormatError, TransportError))


async def test_a_compressed_bomb_is_not_unpacked(raw_server):
    """A small answer that unpacks to 200 MB is cut off at the same bound."""
    import tracemalloc
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    url = await raw_server(lambda _: head.encode() + body)
    async with Session("a", "t", base_url=url, retry=RetryPolicy(attempts=1)) as session:
        tracemalloc.start()
        with pytest.raises(TransportError):
            await session.shopper_profiles.page()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 64_000_000


async def test_cancelling_at_any_moment_gives_a_true_report():
    """At every step of the event loop: the partial report has every id, and lies about none."""
    for step in itertools.count(1):
        async with Sandbox(customers=130, profiles=20) as sandbox, sandbox.session() as session:
            sandbox.faults.queue(Fault(), Fault.cut(applied=True), Fault.error(503))
            existing = dict(sandbox.store.customers)
            task = asyncio.create_task(session.shopper_profiles.create(range(1, 131)))
            for turn in range(step):
                await asyncio.sleep(0.3 if turn % 40 == 39 else 0)  # now and then time goes on
            if task.done():
                break
            task.cancel()
            try:
                report = await task
                assert task.cancelling()
            except asyncio.CancelledError as error:
                report = BatchReport.from_exception(error)
            await asyncio.sleep(100)
            if report is None:  # it had not begun
                assert step <= 2
                continue
            assert [o.item for o in report] == list(range(1, 131))
            for o in report:
                held = sandbox.store.customers[o.item]
                if o.ok:
                    assert held == o.profile_id is not None
                elif o.status is not Status.UNKNOWN:
                    assert held == existing[o.item]
    assert step > 30
