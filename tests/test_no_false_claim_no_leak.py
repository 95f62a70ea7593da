"""Rare turns of events, each of which once led, or could lead, to a false claim or a leak."""

import asyncio
import itertools
import json
import logging
from uuid import UUID

import aiohttp
import pytest

from bcshopper import (
    AuthenticationError,
    BatchError,
    BatchReport,
    BCShopperError,
    InvalidInputError,
    QuotaPolicy,
    RateLimitError,
    ResponseFormatError,
    RetryPolicy,
    ServerError,
    Session,
    Status,
    UnprocessableError,
)
from bcshopper.events import ChunkDone, RetryScheduled
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.transport.test_secrets import everything_about

pytestmark = pytest.mark.lowest

TOKEN = "t0ken-4711-of-nobody"
ONCE = RetryPolicy(attempts=1)


def posts(sandbox):
    return sandbox.record.counts["POST", "shopper-profiles"]


def statuses(report):
    return {outcome.status for outcome in report}


def http_answer(status, body, *headers):
    lines = [f"HTTP/1.1 {status}".encode("latin-1"), f"Content-Length: {len(body)}".encode()]
    return b"\r\n".join([*lines, *headers, b"Connection: close", b"", body])


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("names", [True, False])
async def test_a_refusal_does_not_settle_what_an_earlier_timeout_left_open(status, names):
    """POST 1 lands late, POST 2 is refused: nobody can say that nothing was changed."""
    document = {"status": status, "title": "no"}
    if names:
        document["errors"] = {f"{i}.customer_id": "no" for i in range(4)}
    refusal = Fault.answer(status, json.dumps(document).encode(), applied=False)
    async with Sandbox(customers=4) as sandbox, sandbox.session(timeout=5.0) as session:
        sandbox.faults.rule(Fault.slow(200.0), method="POST", nth=1)
        sandbox.faults.rule(refusal, method="POST")
        report = await session.shopper_profiles.create([1, 2, 3, 4], check=False)
        assert posts(sandbox) >= 2
        assert statuses(report) == {Status.UNKNOWN}
        await asyncio.sleep(300.0)
        assert len(sandbox.store.profiles) == 4


async def test_a_failure_does_not_settle_what_an_earlier_timeout_left_open():
    """POST 1 lands late, POST 2 is answered 500 and did nothing: POST 1 is still in doubt."""
    retry = RetryPolicy(attempts=2)
    async with Sandbox(customers=4) as sandbox:
        async with sandbox.session(timeout=5.0, retry=retry) as session:
            sandbox.faults.rule(Fault.slow(200.0), method="POST", nth=1)
            sandbox.faults.rule(Fault.error(500), method="POST")
            report = await session.shopper_profiles.create([1, 2, 3, 4], check=False)
        assert posts(sandbox) == 2
        assert statuses(report) == {Status.UNKNOWN}
        await asyncio.sleep(300.0)
        assert len(sandbox.store.profiles) == 4


@pytest.mark.parametrize("status", [500, 502])
@pytest.mark.parametrize("inner", [422, 429])
async def test_a_server_error_is_one_whatever_its_body_says(status, inner):
    """A 4xx inside of a 5xx is no refusal: the POST is looked up, the DELETE stays in doubt."""
    body = json.dumps({"errors": [{"status": inner, "title": "no"}]}).encode()
    fault = Fault.answer(status, body)
    async with Sandbox(customers=4) as sandbox, sandbox.session(retry=ONCE) as session:
        sandbox.faults.queue(fault)
        report = await session.shopper_profiles.create([1, 2, 3, 4])
        assert len(report.existing) == 4
        assert posts(sandbox) == 1
        sandbox.faults.queue(fault)
        deletion = await session.shopper_profiles.delete(report.profile_ids, check=False)
        assert statuses(deletion) == {Status.UNKNOWN}
        assert isinstance(deletion[0].error, ServerError)
        assert deletion[0].error.status == status


ABSURD = {
    "400 digits": ["9" * 400] * 4,
    "400 digits, negative": ["-" + "9" * 400] * 4,
    "5,000 digits": ["9" * 5000, "1", "30000", "1"],
    "negative": ["-1", "-1", "-1", "-1"],
    "left above the quota": ["150", "9999999", "30000", "1000"],
    "reset in the past": ["150", "10", "30000", "-5000"],
    "reset far ahead": ["150", "10", "30000", "9" * 30],
    "no numbers": ["nan", "inf", "1e5", ""],
}
HEADERS = ["Requests-Quota", "Requests-Left", "Time-Window-Ms", "Time-Reset-Ms"]


@pytest.mark.parametrize("status", [200, 429, 503])
@pytest.mark.parametrize("what", ABSURD)
async def test_absurd_quota_headers_leak_nothing(what, status):
    """Whatever they say, calls end in time, with a result or an error of ours."""
    values = ABSURD[what]
    headers = {f"x-rate-limit-{n}".lower(): v for n, v in zip(HEADERS, values, strict=True)}
    async with Sandbox(customers=60) as sandbox, sandbox.session() as session:
        fault = Fault(headers=headers, status=status, body=sandbox.store.page(1, 50, links=False))
        sandbox.faults.queue(fault)
        async with asyncio.timeout(400.0):
            await session.shopper_profiles.page()
            report = await session.shopper_profiles.create(range(1, 61))
        assert report.ok
        if session.quota is not None:
            assert 0 <= session.quota.remaining <= session.quota.limit
            assert 0 <= session.quota.reset_in <= session.quota.window


async def test_quota_headers_are_read_in_any_case():
    """HTTP/2 proxies send names in small letters."""
    headers = {f"x-rate-limit-{n}".lower(): "1000" for n in HEADERS}
    async with Sandbox() as sandbox, sandbox.session() as session:
        sandbox.faults.queue(
            Fault(headers=headers, status=200, body=sandbox.store.page(1, 50, links=False))
        )
        await session.shopper_profiles.page()
        assert session.quota is not None
        assert session.quota.limit == 1000


async def cancelled_after(seconds, session, verb, ids):
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(seconds):
            await getattr(session.shopper_profiles, verb)(ids)
    return BatchReport.from_exception(caught.value)


IDS = {"create": range(1, 121), "delete": [UUID(int=i) for i in range(1, 121)]}


@pytest.mark.parametrize("verb", IDS)
async def test_cancelled_while_it_waits_after_429_nothing_was_sent(verb):
    """A 429 surely did nothing, so there is nothing to doubt."""
    async with Sandbox(customers=120) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.error(429, headers={"Retry-After": "60"}))
        report = await cancelled_after(10.0, session, verb, IDS[verb])
        assert sandbox.record.requests
    assert statuses(report) == {Status.NOT_SENT}
    assert len(report) == 120


@pytest.mark.parametrize("verb", IDS)
async def test_cancelled_in_back_off_after_a_refused_connection_nothing_was_sent(verb):
    """What never left is not in doubt."""
    async with Sandbox() as sandbox:
        pass
    retry = RetryPolicy(attempts=100, base_delay=10.0)
    async with sandbox.session(retry=retry) as session:
        report = await cancelled_after(40.0, session, verb, IDS[verb])
        assert session.stats.requests
    assert statuses(report) == {Status.NOT_SENT}


@pytest.mark.real_time  # virtual time stands still while anything is ready to run
async def test_an_endless_source_of_repeats_lets_the_loop_breathe():
    """A timeout around the stream fires."""
    async with Sandbox(customers=3) as sandbox, sandbox.session() as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                async for _ in session.shopper_profiles.create_stream(itertools.cycle([1, 2, 3])):
                    pass


async def test_a_lent_session_that_raises_for_status_works():
    """Its setting is its owner's; our errors stay ours, and a 401 is fatal at once."""
    async with (
        Sandbox(customers=3000) as sandbox,
        aiohttp.ClientSession(raise_for_status=True) as http,
        sandbox.session(http=http) as session,
    ):
        sandbox.faults.rule(Fault.error(401))
        with pytest.raises(AuthenticationError):
            await session.shopper_profiles.page()
        assert len(sandbox.record.requests) == 1
        report = await session.shopper_profiles.create(range(1, 3001), check=False)
        assert statuses(report) == {Status.NOT_SENT}
        assert posts(sandbox) <= 10


async def test_a_lent_session_that_repeats_a_delete_in_vain_hides_no_effect():
    """The second connection of aiohttp is refused, but its first one had done it."""
    deleted = []

    async def handle(reader, writer):
        deleted.append(await reader.readuntil(b"\r\n\r\n"))
        server.close()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with (
        aiohttp.ClientSession() as http,
        Session("a", "t", base_url=url, http=http, retry=ONCE) as session,
    ):
        report = await session.shopper_profiles.delete([UUID(int=1)], check=False)
    assert deleted[0].startswith(b"DELETE")
    assert statuses(report) == {Status.UNKNOWN}


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("verb", ["create", "delete"])
async def test_a_refused_token_ends_the_batch_though_another_chunk_sleeps(verb, status):
    """Nobody waits a minute to be told what is known already."""
    async with Sandbox(customers=200, profiles=200) as sandbox, sandbox.session() as session:
        await session.shopper_profiles.page(limit=1)
        ids = {"create": range(1, 201), "delete": list(sandbox.store.profiles)}[verb]
        busy = Fault.error(status, headers={"Retry-After": "60"})
        refused = Fault(latency=5.0, applied=False, status=401)
        sandbox.faults.queue(busy, *[refused] * 10)
        began = asyncio.get_running_loop().time()
        report = await getattr(session.shopper_profiles, verb)(ids, check=False)
        assert asyncio.get_running_loop().time() - began < 10
        assert statuses(report) <= {Status.NOT_SENT, Status.UNKNOWN}
        assert any(isinstance(o.error, AuthenticationError) for o in report)


@pytest.mark.parametrize("verb", ["create_stream", "delete_stream"])
async def test_a_source_that_raises_cancelled_error_does_not_end_a_stream_as_if_complete(verb):
    """The consumer learns that not everything was read."""

    async def source():
        yield 1
        raise asyncio.CancelledError

    async with Sandbox(customers=1) as sandbox, sandbox.session() as session:
        with pytest.raises(asyncio.CancelledError):
            async for _ in getattr(session.shopper_profiles, verb)(source()):
                pass


async def test_a_source_may_hold_a_timeout_open_around_its_yields():
    """One task reads all of it, so that it behaves as when it is iterated plainly."""
    readers = set()

    async def source(pause):
        async with asyncio.timeout(0.3):
            for customer_id in range(1, 301):
                readers.add(asyncio.current_task())
                yield customer_id
            await asyncio.sleep(pause)

    async with Sandbox(customers=300) as sandbox, sandbox.session() as session:
        outcomes = [o async for o in session.shopper_profiles.create_stream(source(0.1))]
        assert len(outcomes) == 300
        assert len(readers) == 1
        outcomes = []
        with pytest.raises(TimeoutError):
            async for outcome in session.shopper_profiles.create_stream(source(1.0)):
                outcomes.append(outcome)
        assert len(outcomes) == 300


@pytest.mark.parametrize("how", ["cancelled", "raises", "closed"])
@pytest.mark.parametrize("latency", [0.0, 5.0])
async def test_chunk_done_accounts_for_every_id_that_a_stream_has_read(how, latency):
    """Also for those whose outcome nobody waits for any more."""
    read, told = [], []

    async def source():
        for customer_id in itertools.count(1):
            read.append(customer_id)
            yield customer_id
            await asyncio.sleep(0.001)

    def watch(event):
        if isinstance(event, ChunkDone):
            told.extend(event.outcomes)

    async def consume(session):
        stream = session.shopper_profiles.create_stream(source())
        try:
            async for _ in stream:
                if how == "raises":
                    raise KeyError
                if how == "closed":
                    break
        finally:
            await stream.aclose()

    async with Sandbox(customers=3000) as sandbox, sandbox.session(on_event=watch) as session:
        sandbox.faults.rule(Fault.slow(latency), method="POST")
        try:
            async with asyncio.timeout(2.01):
                await consume(session)
        except (KeyError, TimeoutError):
            pass
        assert len(read) >= 50
        assert sorted(o.item for o in told) == read  # once each


async def test_chunk_done_comes_for_a_chunk_that_was_stopped_before_it_began():
    """A stream that is left right after its chunks were cut still tells of each."""
    told = []

    def watch(event):
        if isinstance(event, ChunkDone):
            told.extend(o.item for o in event.outcomes)

    async with Sandbox(customers=200) as sandbox, sandbox.session(on_event=watch) as session:
        for turns in range(6):
            told.clear()
            read = []
            source = (read.append(i) or i for i in range(1, 201))
            stream = session.shopper_profiles.create_stream(source)
            reader = asyncio.ensure_future(anext(stream))
            for _ in range(turns):
                await asyncio.sleep(0)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            await stream.aclose()
            assert sorted(told) == read


@pytest.mark.parametrize(
    "body",
    [b'{"status":500,"title":"no"}', b'{"data":[]}', b"<html>", b'{"errors":[{"status":422}]}'],
)
async def test_a_success_with_a_body_is_no_deletion(body):
    """A DELETE is documented to have none; what a proxy says in its place proves nothing."""
    async with Sandbox(profiles=3) as sandbox, sandbox.session(retry=ONCE) as session:
        sandbox.faults.rule(Fault.answer(200, body, applied=False))
        report = await session.shopper_profiles.delete(list(sandbox.store.profiles), check=False)
        assert statuses(report) == {Status.UNKNOWN}
        with pytest.raises(ResponseFormatError):
            await session.shopper_profiles.delete_all(confirm="sandbox")


@pytest.mark.parametrize("status", [200, 207])
async def test_customers_with_errors_are_not_without_profile(status):
    """A look-up that failed in part is no answer."""
    body = (
        b'{"data":[],"errors":[{"status":500,"title":"no"}],"meta":{"pagination":'
        b'{"total":0,"count":0,"per_page":250,"current_page":1,"total_pages":0}}}'
    )
    async with Sandbox(customers=3, profiles=3) as sandbox:
        async with sandbox.session(retry=ONCE) as session:
            sandbox.faults.rule(Fault.answer(status, body), path="customers")
            with pytest.raises(ResponseFormatError):
                await session.shopper_profiles.lookup([1, 2, 3])
            sandbox.faults.rule(Fault.cut(applied=True), method="POST")
            report = await session.shopper_profiles.create([1, 2, 3], check=False)
        assert statuses(report) != {Status.CREATED}
        assert not [o for o in report if o.status is Status.NOT_SENT]


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_0_still_backs_off(status):
    """A server in trouble that asks for no wait gets one."""
    async with Sandbox() as sandbox:
        delays = []

        def watch(event):
            if isinstance(event, RetryScheduled):
                delays.append(event.delay)

        async with sandbox.session(on_event=watch) as session:
            sandbox.faults.rule(Fault.error(status, headers={"Retry-After": "0"}))
            began = asyncio.get_running_loop().time()
            with pytest.raises(BCShopperError):
                await session.shopper_profiles.page()
            waited = asyncio.get_running_loop().time() - began
        assert len(delays) == 4
        assert all(delays)
        assert waited > 1


async def test_max_wait_holds_for_requests_that_waited_for_a_slot():
    """The quota was there when the call began, and is gone when its turn comes."""
    rules = Rules(quota=100, window=60.0)
    quota = QuotaPolicy(max_wait=1.0)
    async with Sandbox(profiles=1, rules=rules) as sandbox:
        async with sandbox.session(concurrency=1, quota=quota) as session:
            await session.shopper_profiles.page()
            sandbox.faults.queue(Fault.slow(5.0))
            first = asyncio.create_task(session.shopper_profiles.page())
            await asyncio.sleep(1.0)
            second = asyncio.create_task(session.shopper_profiles.page())
            await asyncio.sleep(1.0)
            sandbox.spend(1000)
            await first
            began = asyncio.get_running_loop().time()
            with pytest.raises(RateLimitError, match="max_wait is 1 s"):
                await second
            assert asyncio.get_running_loop().time() - began < 1
        assert len(sandbox.record.requests) == 2


def headers_dump(head):
    return b"<pre>" + head.replace(b"\r\n", b"<br>") + b"</pre>"


QUOTED = TOKEN.encode()
ECHOES = {
    "title": lambda _: http_answer("400 Bad", b'{"status":400,"title":"bad token %b"}' % QUOTED),
    "errors": lambda _: http_answer("422 Bad", b'{"errors":{"0.%b":"%b"}}' % (QUOTED, QUOTED)),
    "body": lambda _: http_answer("500 Bad", b"<p>%b</p>" % QUOTED),
    "reason phrase": lambda _: http_answer(f"403 {TOKEN}", b""),
    "request id": lambda _: http_answer("500 Bad", b"", b"X-Request-ID: " + QUOTED),
    "headers dump": lambda head: http_answer("503 Bad", headers_dump(head)),
    "headers dump with 200": lambda head: http_answer("200 OK", headers_dump(head)),
    "in place of a number": lambda _: http_answer(
        "200 OK",
        b'{"data":[{"id":"%b","customer_id":"%b"}]}' % (bytes(str(UUID(int=1)), "ascii"), QUOTED),
    ),
    "errors beside data": lambda _: http_answer(
        "201 Created", b'{"data":[],"errors":[{"status":422,"title":"%b"}]}' % QUOTED
    ),
    "redirect": lambda _: http_answer(f"302 {TOKEN}", QUOTED, b"Location: /" + QUOTED),
}


@pytest.mark.parametrize("where", ECHOES)
async def test_a_server_that_echoes_the_token_does_not_show_it(where, raw_server, caplog):
    """Not in an error, a log line or an event."""
    caplog.set_level(logging.DEBUG)
    events, told = [], []
    url = await raw_server(ECHOES[where])
    retry = RetryPolicy(attempts=2)
    async with Session("a", TOKEN, base_url=url, retry=retry, on_event=events.append) as session:
        profiles = session.shopper_profiles
        for call in (
            profiles.page,
            lambda: profiles.create([1, 2]),
            lambda: profiles.delete([UUID(int=1)]),
            lambda: profiles.lookup([1]),
        ):
            with pytest.raises(BCShopperError) as caught:
                await call()
            told.append(everything_about(caught.value))
    told += [repr(event) for event in events]
    told += [record.getMessage() for record in caplog.records]
    assert not [text for text in told if TOKEN in text]


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (("abc", None), {}),
        (("abc", TOKEN.encode()), {}),
        ((None, TOKEN), {}),
        ((TOKEN.encode(), TOKEN), {}),
        (("abc", TOKEN), {"timeout": None}),
        (("abc", TOKEN), {"timeout": "5"}),
    ],
    ids=str,
)
def test_arguments_of_a_wrong_type_are_refused_without_the_token(arguments, settings):
    """As bad input, not as an AttributeError from the depths."""
    with pytest.raises(InvalidInputError) as caught:
        Session(*arguments, **settings)
    if arguments[0] != TOKEN.encode():
        assert TOKEN not in everything_about(caught.value)


async def test_an_overtaken_older_answer_does_not_end_a_listing_early():
    """The furthest page was asked for last, and knows best how many there are."""
    async with Sandbox(customers=100, profiles=30) as sandbox, sandbox.session() as session:
        older = sandbox.store.page(2, 10, links=False)
        sandbox.faults.queue(
            Fault(),
            Fault(latency=5.0, status=200, body=older),
            Fault.changing(lambda store: store.add_profiles(20)),
        )
        listed = await session.shopper_profiles.list(limit=10).all()
        assert [p.id for p in listed] == list(sandbox.store.profiles)
        assert len(listed) == 50


@pytest.mark.parametrize("ids", [[1, 2], [7, 8]])
async def test_a_look_up_follows_no_server_that_claims_more_pages_than_there_can_be(ids):
    """Nor does it take its word that nobody has a profile."""
    meta = '"pagination":{"total":9999,"count":2,"per_page":2,"current_page":1,"total_pages":5000}'
    rows = ",".join(f'{{"id":{i},"shopper_profile_id":null}}' for i in (1, 2))
    body = f'{{"data":[{rows}],"meta":{{{meta}}}}}'.encode()
    async with Sandbox() as sandbox, sandbox.session(retry=ONCE) as session:
        sandbox.faults.rule(Fault.answer(200, body), path="customers")
        with pytest.raises(ResponseFormatError, match="9999"):
            await session.shopper_profiles.lookup(ids)
        assert len(sandbox.record.requests) == 1


async def test_closing_that_is_cancelled_midway_closes_the_network():
    """At every step of it; nothing warns of an unclosed session."""
    for step in itertools.count(1):
        async with Sandbox(customers=100) as sandbox:
            session = sandbox.session()
            sandbox.faults.rule(Fault.stall())
            work = [
                asyncio.create_task(session.shopper_profiles.create([1, 2])),
                asyncio.create_task(session.shopper_profiles.list().all()),
            ]
            await asyncio.sleep(1.0)
            closing = asyncio.create_task(session.aclose())
            for _ in range(step):
                await asyncio.sleep(0)
            finished = closing.done()
            closing.cancel()
            await asyncio.gather(closing, *work, return_exceptions=True)
            assert session._transport._wire._http.closed
            if finished:
                break
    assert step > 2


async def test_a_report_is_never_taken_from_an_older_failure():
    """An error that is raised while another is handled is a matter of its own."""
    async with Sandbox(customers=1) as sandbox, sandbox.session() as session:
        try:
            await session.shopper_profiles.create([9])
        except BatchError:
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(1.0):
                    await asyncio.sleep(2.0)
            assert BatchReport.from_exception(caught.value) is None
            with pytest.raises(InvalidInputError) as refused:
                await session.shopper_profiles.create(["x"])
            assert BatchReport.from_exception(refused.value) is None


@pytest.mark.parametrize("body", [b"", b'{"title":"\xff"}', b'{"title":"\\ud800"}'])
@pytest.mark.parametrize("status", [400, 201, 500])
async def test_any_error_can_be_printed(status, body, raw_server):
    """Whatever bytes its server uses, in the reason phrase too."""
    url = await raw_server(lambda _: http_answer(f"{status} Caf\xe9", body))
    async with Session("a", "t", base_url=url, retry=ONCE) as session:
        with pytest.raises(BCShopperError) as caught:
            await session.shopper_profiles.page()
        assert str(caught.value).encode()
        report = await session.shopper_profiles.create([1], check=False)
        assert str(report[0].error).encode()


@pytest.mark.parametrize("what", ["title", "errors", "many errors", "reason"])
async def test_an_error_fits_on_a_screen(what, raw_server):
    """8 MB of words from a server do not reach the log."""
    words = "x" * (8 * 1024 * 1024)
    answers = {
        "title": ("422 No", {"title": words}),
        "errors": ("422 No", {"title": words, "errors": {words[:9999]: words[:9999]}}),
        "many errors": ("422 No", {"errors": {f"{i}.a": words[:5000] for i in range(500)}}),
        "reason": ("422 " + words[:8000], {}),
    }
    reason, document = answers[what]
    url = await raw_server(lambda _: http_answer(reason, json.dumps(document).encode()))
    async with Session("a", "t", base_url=url, retry=ONCE) as session:
        with pytest.raises(UnprocessableError) as caught:
            await session.shopper_profiles.page()
        assert len(str(caught.value)) < 3000
        report = await session.shopper_profiles.create([1], check=False)
        assert len(str(report[0].error)) < 3000


@pytest.mark.parametrize("status", [101, 302, 304, 399])
async def test_a_status_that_is_neither_success_nor_error_proves_nothing(status, raw_server):
    """What was written may have taken effect."""
    url = await raw_server(lambda _: http_answer(f"{status} Hm", b""))
    async with Session("a", "t", base_url=url, retry=ONCE) as session:
        created = await session.shopper_profiles.create([1, 2], check=False)
        deleted = await session.shopper_profiles.delete([UUID(int=1)], check=False)
    assert statuses(created) == statuses(deleted) == {Status.UNKNOWN}


async def test_an_id_that_prints_as_nothing_cannot_blank_the_query():
    """A UUID's own text is sent, whatever its class makes of `str`."""

    class Blank(UUID):
        def __str__(self):
            return ""

    async with Sandbox(profiles=3) as sandbox, sandbox.session() as session:
        first, *others = sandbox.store.profiles
        await session.shopper_profiles.delete([Blank(int=first.int)])
        assert list(sandbox.store.profiles) == others
        assert sandbox.store.wipes == 0
