import asyncio
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import aiohttp
import pytest

from bcshopper import Session
from bcshopper.sandbox import Fault, Sandbox
from tests.sandbox.store import CUSTOMERS, GET, PROFILES, existing, store


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


CANNOT_START = """
import resource, sys, threading, time
from bcshopper.sandbox import Sandbox
{setup}
began = time.monotonic()
try:
    with Sandbox():
        print("started")
except BaseException as error:
    print(type(error).__name__)
print("quick" if time.monotonic() - began < 5 else "slow", threading.active_count())
"""
NO_MORE_FILES = """
import asyncio, os
asyncio.new_event_loop().close()  # what it imports needs files too
held = os.open("/dev/null", os.O_RDONLY)
resource.setrlimit(resource.RLIMIT_NOFILE, (held + 1, held + 1))
"""
NO_SOCKETS = """
import socket
def refuse(*args, **more):
    raise RuntimeError("no sockets here")
socket.socketpair = socket.socket = refuse
"""
INTERRUPTED = """
import _thread, asyncio
new = asyncio.new_event_loop
def slow():
    _thread.interrupt_main()
    time.sleep(0.5)
    return new()
asyncio.new_event_loop = slow
asyncio.events.new_event_loop = asyncio.runners.events.new_event_loop = slow
"""


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("setup", "error"),
    [(NO_MORE_FILES, "OSError"), (NO_SOCKETS, "RuntimeError"), (INTERRUPTED, "KeyboardInterrupt")],
    ids=["no more files", "no sockets", "interrupted"],
)
def test_a_sandbox_whose_thread_cannot_start_raises_at_once(setup, error):
    """Whatever hinders its event loop, or whoever interrupts: no hanging, and no thread is left."""
    done = subprocess.run(
        [sys.executable, "-c", CANNOT_START.format(setup=setup)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.split() == [error, "quick", "1"], done.stderr


PROBE = """
import sys

def test_nothing_of_it_is_loaded():
    loaded = {name.partition(".")[0] for name in sys.modules}
    assert "pytest_bcshopper" in loaded
    assert not loaded & {"aiohttp", "bcshopper"}
"""
FORGOTTEN = """
from bcshopper.sandbox import Fault

def test_forgets(bcshopper_sandbox):
    bcshopper_sandbox.faults.queue(Fault.error(503), Fault.error(504))

def test_forgets_nothing(bcshopper_sandbox):
    bcshopper_sandbox.faults.queue(Fault.error(503))
    bcshopper_sandbox.faults.clear()
"""


def pytest_in(folder, text):
    """Run pytest on a file of its own, with the plugins that are installed."""
    (folder / "test_it.py").write_text(text)
    plain = ["-p", "no:cacheprovider", "-p", "no:xdist", "-c", "/dev/null", "--rootdir", folder]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *map(str, plain), "test_it.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.real_time
def test_the_plugin_costs_nothing_where_nobody_uses_it(tmp_path):
    """One small module: neither aiohttp nor the package is imported."""
    output = pytest_in(tmp_path, PROBE)
    assert "1 passed" in output, output


@pytest.mark.real_time
def test_the_fixture_warns_of_queued_faults_that_were_never_met(tmp_path):
    """At the end of the test that queued them, and of no other."""
    output = pytest_in(tmp_path, FORGOTTEN)
    assert "2 passed, 1 warning" in output, output
    assert "faults that were queued and met no request" in output
    assert "status=503" in output
