import asyncio
import gc
import logging
import traceback

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from bcshopper import (
    APIError,
    AuthenticationError,
    BatchError,
    InvalidInputError,
    QuotaPolicy,
    RateLimitError,
    RequestTimeoutError,
    RetryPolicy,
    Session,
    SessionClosedError,
    TransportError,
    __version__,
)
from bcshopper.events import QuotaWait, RequestSent, ResponseReceived, RetryScheduled
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.conftest import run

pytestmark = pytest.mark.lowest

TOKEN = "tok3n-that-must-never-show"


async def test_every_request_carries_the_documented_headers():
    """Token, accepted type, content type of a body, and a user agent that names the version."""
    async with Sandbox(customers=1) as sandbox, sandbox.session() as session:
        await session.shopper_profiles.create([1])
        await session.shopper_profiles.page()
        post, get = sandbox.record.requests
    assert post.headers["X-Auth-Token"] == "[secure]"
    assert post.headers["Content-Type"] == "application/json"
    assert "Content-Type" not in get.headers
    for request in (post, get):
        assert request.headers["Accept"] == "application/json"
        assert request.headers["User-Agent"] == f"bcshopper/{__version__}"


def test_from_env_reads_the_three_variables(monkeypatch):
    """Hash, token and, if it is set, the base URL come from the environment."""
    monkeypatch.setenv("BIGCOMMERCE_STORE_HASH", "abc")
    monkeypatch.setenv("BIGCOMMERCE_ACCESS_TOKEN", TOKEN)
    monkeypatch.delenv("BIGCOMMERCE_BASE_URL", raising=False)
    assert "abc at https://api.bigcommerce.com" in repr(Session.from_env())
    monkeypatch.setenv("BIGCOMMERCE_BASE_URL", "http://127.0.0.1:9")
    assert "abc at http://127.0.0.1:9" in repr(Session.from_env(concurrency=3))


def test_from_env_names_each_missing_variable(monkeypatch):
    """The error says what to set."""
    monkeypatch.delenv("BIGCOMMERCE_STORE_HASH", raising=False)
    monkeypatch.setenv("BIGCOMMERCE_ACCESS_TOKEN", "")
    with pytest.raises(
        InvalidInputError, match="BIGCOMMERCE_STORE_HASH and BIGCOMMERCE_ACCESS_TOKEN"
    ):
        Session.from_env()


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        (("", "t"), {}, "not a store hash"),
        (("a/b", "t"), {}, "not a store hash"),
        (("a", ""), {}, "access token is empty"),
        (("a", f"{TOKEN}\n"), {}, "characters that no token has"),
        (("a", TOKEN), {"concurrency": 0}, "concurrency"),
        (("a", TOKEN), {"concurrency": True}, "concurrency"),
        (("a", TOKEN), {"timeout": 0}, "timeout"),
        (("a", TOKEN), {"timeout": float("nan")}, "timeout"),
        (("a", TOKEN), {"base_url": "api.bigcommerce.com"}, "http or https"),
        (("a", TOKEN), {"base_url": "ftp://example.com"}, "http or https"),
        (("a", TOKEN), {"base_url": "http://example.com"}, "unencrypted"),
        (("a", TOKEN), {"base_url": "http://127.0.0.1.example.com"}, "unencrypted"),
        (("a", TOKEN), {"base_url": "https://u:p@example.com"}, "user or password"),
        (("a", TOKEN), {"base_url": "https://example.com/?a=1"}, "no query"),
        (("a", TOKEN), {"base_url": 7}, "not a URL"),
    ],
)
def test_bad_settings_are_refused_by_name_and_without_the_token(arguments, settings, words):
    """Bad input is named; the token is in no traceback, not even with local variables."""
    with pytest.raises(InvalidInputError, match=words) as caught:
        Session(*arguments, **settings)
    ours = [
        e
        for e in traceback.TracebackException.from_exception(
            caught.value, capture_locals=True
        ).stack
        if "bcshopper" in e.filename and "tests" not in e.filename
    ]
    assert ours
    assert not any(TOKEN in str(entry.locals) for entry in ours)


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.9.9.9", "http://[::1]:80/x"])
def test_plain_http_is_for_loopback(url):
    """A store on this machine needs no TLS."""
    assert str(URL(url)) in repr(Session("a", "t", base_url=url))


async def test_a_redirect_is_not_followed():
    """The token must not travel to another host."""
    visited = []

    async def handle(request):
        visited.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with Session("a", "t", base_url=f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
        with pytest.raises(APIError) as caught:
            await session.shopper_profiles.page()
    await runner.cleanup()
    assert caught.value.status == 302
    assert visited == ["/stores/a/v3/shopper-profiles"]


async def test_a_lent_http_session_is_used_and_never_closed():
    """The caller's aiohttp session stays the caller's, with its own settings."""
    async with (
        Sandbox() as sandbox,
        aiohttp.ClientSession(headers={"X-Mine": "yes"}) as http,
    ):
        async with sandbox.session(http=http) as session:
            await session.shopper_profiles.page()
        assert not http.closed
        assert sandbox.record.requests[0].headers["X-Mine"] == "yes"


async def test_a_closed_lent_session_gives_our_error():
    """What the caller closed too early is named."""
    async with Sandbox() as sandbox:
        http = aiohttp.ClientSession()
        await http.close()
        async with sandbox.session(http=http) as session:
            with pytest.raises(SessionClosedError, match="lent"):
                await session.shopper_profiles.page()


async def test_a_closed_session_says_so():
    """Nothing works after closing, and closing twice is harmless."""
    async with Sandbox() as sandbox:
        session = sandbox.session()
        await session.shopper_profiles.page()
        await session.aclose()
        await session.aclose()
        assert session.closed
        with pytest.raises(SessionClosedError, match="closed"):
            await session.shopper_profiles.page()


@pytest.mark.real_time
def test_a_session_used_from_a_second_event_loop_says_so(bcshopper_sandbox):
    """One session, one event loop."""
    session = bcshopper_sandbox.session()
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(session.shopper_profiles.page())
        with pytest.raises(SessionClosedError, match="another event loop"):
            second.run(session.shopper_profiles.page())
        first.run(session.aclose())


@pytest.mark.parametrize("use", ["page", "list", "create", "stream", "lookup", "delete"])
@pytest.mark.parametrize("lent", [False, True])
async def test_closing_ends_whatever_is_under_way(use, lent):
    """A call that is in flight when its session closes ends with our error; no task is left."""
    async with Sandbox(customers=1000, profiles=1000) as sandbox, aiohttp.ClientSession() as http:
        sandbox.faults.rule(Fault.slow(20.0))
        session = sandbox.session(http=http if lent else None)
        profiles = session.shopper_profiles

        async def consume(stream):
            return [item async for item in stream]

        calls = {
            "page": profiles.page,
            "list": profiles.list().all,
            "create": lambda: profiles.create(range(1, 1001), check=False),
            "stream": lambda: consume(profiles.create_stream(range(1, 1001))),
            "lookup": lambda: profiles.lookup(range(1, 1001)),
            "delete": lambda: profiles.delete(list(sandbox.store.profiles), check=False),
        }
        before = asyncio.all_tasks()
        call = asyncio.create_task(calls[use]())
        await asyncio.sleep(10)
        await session.aclose()
        if use in {"create", "delete"}:
            report = await call
            assert len(report) == 1000
            assert all(isinstance(o.error, SessionClosedError) for o in report.failed)
            assert report.failed
        else:
            with pytest.raises(SessionClosedError):
                await call
        left = {
            t for t in asyncio.all_tasks() - before - {call} if "bcshopper/sandbox" not in repr(t)
        }
        assert not [t for t in left if "bcshopper" in repr(t.get_coro())]


async def test_closing_ends_a_call_that_waits_for_its_next_attempt():
    """A long backoff does not keep a closed session alive."""
    async with Sandbox() as sandbox:
        sandbox.faults.rule(Fault.error(503, headers={"X-Retry-After": "100"}))
        session = sandbox.session()
        call = asyncio.create_task(session.shopper_profiles.page())
        await asyncio.sleep(50)
        await session.aclose()
        with pytest.raises(SessionClosedError):
            await call
        assert asyncio.get_running_loop().time() < 51


async def test_at_most_concurrency_requests_are_in_flight():
    """Every page and every chunk of a session passes one gate."""
    async with (
        Sandbox(customers=500, profiles=300) as sandbox,
        sandbox.session(concurrency=4) as session,
    ):
        sandbox.faults.rule(Fault.slow(1.0, jitter=1.0))
        profiles = session.shopper_profiles
        await asyncio.gather(
            profiles.list(limit=10).all(),
            profiles.create(range(300, 501)),
            profiles.lookup(range(1, 501)),
        )
    assert sandbox.record.peak == 4


async def test_the_timeout_bounds_one_attempt_and_starts_after_the_gate():
    """Twenty slow requests through one slot all succeed: waiting for the slot does not count."""
    async with (
        Sandbox() as sandbox,
        sandbox.session(concurrency=1, timeout=2.0) as session,
    ):
        sandbox.faults.rule(Fault.slow(1.0))
        await asyncio.gather(*(session.shopper_profiles.page() for _ in range(20)))
        assert session.stats.retries == 0


async def test_an_attempt_that_takes_too_long_is_a_timeout():
    """`RequestTimeoutError` is also a `TimeoutError`, and says how long it waited."""
    async with (
        Sandbox() as sandbox,
        sandbox.session(timeout=2.0, retry=RetryPolicy(attempts=1)) as session,
    ):
        sandbox.faults.rule(Fault.slow(3.0))
        with pytest.raises(RequestTimeoutError, match="within 2 s") as caught:
            await session.shopper_profiles.page()
        assert isinstance(caught.value, TimeoutError)


async def test_the_callers_own_timeout_bounds_the_whole_call():
    """`asyncio.timeout` around a call ends it, retries and waits included."""
    async with Sandbox() as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.error(503))
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.01):
                await session.shopper_profiles.page()
        assert not isinstance(caught.value, RequestTimeoutError)


async def test_reads_are_repeated_on_passing_failures():
    """A GET survives 5xx, a cut connection, a cut body, garbage and a stall."""
    faults = [
        Fault.error(503, body="html"),
        Fault.cut(applied=False),
        Fault.half(),
        Fault.garbage(),
        Fault.stall(),
    ]
    events = []
    async with (
        Sandbox(profiles=3) as sandbox,
        sandbox.session(retry=RetryPolicy(attempts=6), on_event=events.append) as session,
    ):
        sandbox.faults.queue(*faults)
        assert len(await session.shopper_profiles.page()) == 3
        assert session.stats.retries == 5
    assert [type(e) for e in events if isinstance(e, RetryScheduled)] == [RetryScheduled] * 5
    assert isinstance(events[0], RequestSent)
    assert isinstance(events[-1], ResponseReceived)
    assert events[-1].attempt == 6


@pytest.mark.parametrize("verb", ["page", "delete"])
async def test_no_request_goes_out_uncounted(verb):
    """Aiohttp does not repeat a GET or DELETE behind our back when a connection is dropped."""
    async with (
        Sandbox(profiles=1) as sandbox,
        sandbox.session(retry=RetryPolicy(attempts=1)) as session,
    ):
        profiles = session.shopper_profiles
        await profiles.page()  # the connection is then an old one
        sandbox.faults.rule(Fault.cut(applied=False))
        with pytest.raises((TransportError, BatchError)):
            await (profiles.page() if verb == "page" else profiles.delete(sandbox.store.profiles))
        assert len(sandbox.record.requests) == session.stats.requests == 2


async def test_giving_up_raises_the_last_failure():
    """After the last attempt the caller gets what happened, with the cause."""
    async with (
        Sandbox() as sandbox,
        sandbox.session(retry=RetryPolicy(attempts=2)) as session,
    ):
        sandbox.faults.rule(Fault.half())
        with pytest.raises(TransportError) as caught:
            await session.shopper_profiles.page()
        assert isinstance(caught.value.__cause__, aiohttp.ClientError)
        assert len(sandbox.record.requests) == 2


async def test_a_refused_connection_is_a_transport_error_that_was_not_sent():
    """Connection failures are ours, wrapped, and known to have had no effect."""
    async with Sandbox() as sandbox:
        pass  # its port is free again
    async with sandbox.session(retry=RetryPolicy(attempts=2)) as session:
        with pytest.raises(TransportError, match="could not connect") as caught:
            await session.shopper_profiles.page()
        assert not caught.value.sent


async def test_a_refused_token_is_not_tried_again():
    """401 is final."""
    async with Sandbox() as sandbox:
        async with Session("sandbox", "wrong", base_url=sandbox.url) as session:
            with pytest.raises(AuthenticationError, match="check the access token"):
                await session.shopper_profiles.page()
        assert len(sandbox.record.requests) == 1


@pytest.mark.parametrize("turns", range(6))
async def test_closing_twice_at_once_is_closing(turns):
    """Whenever the second one comes."""
    async with Sandbox(profiles=1) as sandbox:
        sandbox.faults.rule(Fault.stall())
        session = sandbox.session()
        pages = [asyncio.create_task(session.shopper_profiles.page()) for _ in range(3)]
        await asyncio.sleep(1)
        first = asyncio.create_task(session.aclose())
        for _ in range(turns):
            await asyncio.sleep(0)
        await session.aclose()
        await first
        for page in pages:
            with pytest.raises(SessionClosedError):
                await page


async def test_a_spent_quota_makes_everyone_wait_for_the_next_window(caplog):
    """Nobody runs into a 429; the wait is counted, told as an event, and said in one line."""
    caplog.set_level(logging.INFO)
    events = []
    rules = Rules(quota=5, window=30.0)
    async with (
        Sandbox(customers=500, rules=rules) as sandbox,
        sandbox.session(on_event=events.append) as session,
    ):
        report = await session.shopper_profiles.create(range(1, 501))
        assert len(report.created) == 500
        assert sandbox.record.statuses[429] == session.stats.throttled == 0
        assert 30 <= asyncio.get_running_loop().time() < 31
        assert session.quota is not None
        assert session.quota.limit == session.stats.window_requests == 5
        assert 29 < session.stats.quota_seconds < 31
    (wait,) = [e for e in events if isinstance(e, QuotaWait)]
    assert 29 < wait.seconds < 31
    assert "0 of 5 requests are left" in wait.reason
    (line,) = [r for r in caplog.records if r.levelno == logging.INFO and "bcshopper" in r.name]
    assert "for quota, until" in line.getMessage()


async def test_a_429_all_the_same_pauses_everyone_and_the_post_is_repeated():
    """Another app was quicker: all wait for the reset, and the refused request goes again."""
    async with (
        Sandbox(customers=500, rules=Rules(quota=20, window=30.0)) as sandbox,
        sandbox.session() as session,
    ):
        sandbox.faults.rule(Fault.changing(lambda _: sandbox.spend(20)), method="POST", nth=2)
        report = await session.shopper_profiles.create(range(1, 501))
        assert len(report.created) == 500
        assert 1 <= sandbox.record.statuses[429] <= 10
        assert 30 <= asyncio.get_running_loop().time() < 31


async def test_max_wait_fails_at_once_instead_of_waiting():
    """Who can't wait for the quota is told how long it would take."""
    rules = Rules(quota=1, window=30.0)
    quota = QuotaPolicy(max_wait=5.0)
    async with Sandbox(rules=rules) as sandbox, sandbox.session(quota=quota) as session:
        await session.shopper_profiles.page()
        with pytest.raises(RateLimitError, match="max_wait is 5 s") as caught:
            await session.shopper_profiles.page()
        assert 29 < caught.value.retry_after < 31
        assert asyncio.get_running_loop().time() < 1


async def test_a_callback_that_raises_harms_nothing_and_is_logged(caplog):
    """`on_event` is a guest."""

    def raising(event):
        raise RuntimeError("mine")

    async with Sandbox(customers=1) as sandbox, sandbox.session(on_event=raising) as session:
        assert (await session.shopper_profiles.create([1])).ok
    assert "on_event raised" in caplog.text


async def test_a_retry_is_logged_as_a_warning(caplog):
    """Operators see what was repeated, and why."""
    async with Sandbox() as sandbox, sandbox.session() as session:
        sandbox.faults.queue(Fault.error(502))
        await session.shopper_profiles.page()
    (record,) = [r for r in caplog.records if r.name == "bcshopper.transport"]
    assert record.levelno == logging.WARNING
    assert "502" in record.getMessage()


def test_a_session_left_unused_needs_no_loop_and_no_closing():
    """Making a session opens nothing."""
    Session("a", "t")
    gc.collect()


def test_leaving_a_session_open_mid_walk_prints_nothing(capfd):
    """`asyncio.run` right after an early break leaves no task and no warning."""

    async def main():
        async with Sandbox(profiles=2000) as sandbox, sandbox.session() as session:
            async for _ in session.shopper_profiles.list(limit=10):
                break

    run(main())
    gc.collect()
    assert capfd.readouterr() == ("", "")
