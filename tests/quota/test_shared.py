"""The quota shared between processes, through a real Redis.

Most of it in simulated time: each session has a gate of its own, as if it were a process, and the
script takes the time from the event loop's clock instead of the server's.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import random
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections import Counter

import attrs
import pytest
import redis

from bcshopper import (
    InvalidInputError,
    QuotaPolicy,
    QuotaSnapshot,
    RateLimitError,
    RetryPolicy,
    Session,
)
from bcshopper._quota import redis as store_module
from bcshopper._quota.leased import LeasedQuota, Report
from bcshopper._quota.leasing_gate import LeasingGate
from bcshopper._quota.local import MARGIN
from bcshopper._quota.redis import QuotaStore, key_of
from bcshopper._quota.registry import shared_gate
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.quota.test_local import NONSENSE
from tests.quota.worker import Workers
from tests.transport.test_secrets import everything_about

pytestmark = pytest.mark.thousands

QUOTA, WINDOW = 150, 30.0
REDIS = "redis://127.0.0.1:6379/0"
CLOCK = "redis.call('TIME')"
PASSWORD = "pa55word-of-nobody"


@pytest.fixture(scope="session")
def server():
    """A client of the Redis server that runs here."""
    with redis.Redis.from_url(REDIS, socket_connect_timeout=1) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            pytest.skip(f"no Redis at {REDIS}: {error}")
        yield client


@pytest.fixture
def keys(server):
    """Makes names of stores that no other test uses, and removes what is kept under them."""
    made = []

    def make(base_url="http://127.0.0.1", store_hash=None):
        made.append(key_of(base_url, store_hash or uuid.uuid4().hex))
        return made[-1]

    yield make
    server.delete(*made or ["none"])


# -- in simulated time


def report(**settings):
    """Of a process that has done nothing yet."""
    nothing = {
        "window": 0, "sent": 0, "in_flight": 0, "unused": 0, "wanted": 0, "busy": True,
        "slots": 100, "answered": 0, "max_concurrent": 100,
        "share": 1.0, "margin": MARGIN, "told": None, "is_free": False, "pause": 0.0,
    }  # fmt: skip
    return Report(**nothing | settings)


class SimulatedStore:
    """The state in Redis, on the event loop's clock; each way to it takes a little while."""

    script = store_module._SCRIPT.replace(CLOCK, "{ tonumber(ARGV[5]), tonumber(ARGV[6]) }")
    clock_error = 0.0

    def __init__(self, server, key, member, rng):
        self.server, self.key, self.member, self.rng = server, key, member, rng
        self.sha = server.script_load(self.script)
        self.exchanges = 0
        self.silent = self.refusing = self.loses_answers = self.closed = False

    async def exchange(self, report):
        self.exchanges += 1
        await asyncio.sleep(self.rng.random() * 0.002)
        if self.silent:
            await asyncio.sleep(3600)
        if self.refusing:
            raise ConnectionRefusedError("nobody there")
        now = asyncio.get_running_loop().time() + 1e9 + self.clock_error
        answer = self.server.evalsha(
            self.sha, 1, self.key, self.member, store_module._encode(report),
            2000, 1000, int(now), int(now % 1 * 1e6),
        )  # fmt: skip
        await asyncio.sleep(self.rng.random() * 0.002)
        if self.loses_answers:
            raise ConnectionResetError("the answer got lost")
        return store_module._decode(answer)

    def explain(self, error):
        return repr(error)

    async def aclose(self):
        self.closed = True


class Processes:
    """Sessions on one store, each with a gate as if it were alone in a process.

    Attributes:
        sessions: the processes.
        stores: each one's way to Redis.

    With a list of `slots`, each has a limit of its own.
    """

    def __init__(self, sandbox, server, key, number, **settings):
        self.sandbox = sandbox
        self.sessions, self.stores = [], []
        slots = settings.pop("slots", 100)
        common = settings.pop("quota", QuotaPolicy())
        for member in range(number):
            own = slots[member] if isinstance(slots, list) else slots
            policy = settings["quota"] = attrs.evolve(common, max_concurrent=own)
            store = SimulatedStore(server, key, f"process {member}", random.Random(member))
            leased = LeasedQuota(policy.share, policy.max_concurrent)
            gate = LeasingGate(leased, lambda store=store: store)
            session = sandbox.session(**settings)
            session._transport.life.loop = asyncio.get_running_loop()
            session._transport.life.gate = gate
            gate.join(session._transport.life)
            self.sessions.append(session)
            self.stores.append(store)

    @property
    def exchanges(self):
        return sum(store.exchanges for store in self.stores)

    def busy(self, member, tasks=10):
        """Tasks that ask without end for the page that tells whose request it is."""

        async def ask():
            while True:
                await self.sessions[member].shopper_profiles.page(member + 1)

        return [asyncio.create_task(ask()) for _ in range(tasks)]

    def die(self, member, tasks):
        """End a process as `kill -9` does: nobody hears of it again."""
        gate = self.sessions[member]._transport.life.gate
        gate._consider = lambda: None
        for pending in (gate._exchange, gate._next_exchange):
            if pending is not None:
                pending.cancel()
        for task in tasks:
            task.cancel()

    async def work(self, seconds, tasks=10):
        """Let all of them ask for so long."""
        asking = [task for member in range(len(self.sessions)) for task in self.busy(member, tasks)]
        await asyncio.sleep(seconds)
        await end(asking)

    async def aclose(self):
        await asyncio.gather(*(session.aclose() for session in self.sessions))


async def end(tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def processes(number, server, keys, *, rules=None, latency=0.1, **settings):
    """So many of them on a sandbox; all of them close in the end."""
    async with Sandbox(rules=rules or Rules(quota=QUOTA)) as sandbox:
        sandbox.faults.rule(Fault.slow(latency, jitter=latency))
        group = Processes(sandbox, server, keys(), number, **settings)
        try:
            yield group
        finally:
            await group.aclose()
        assert all(store.closed for store in group.stores if store.exchanges)


def windows(sandbox, length=WINDOW):
    """For each window of the store: how many requests each process had answered in it."""
    opened = sandbox.record.requests[0].at
    counts = {}
    for request in sandbox.record.requests:
        window = counts.setdefault(int((request.at - opened) // length), Counter())
        window[dict(request.query)["page"]] += 1
    return [counts[window] for window in sorted(counts)]


def assert_well_shared(window, number, budget=QUOTA):
    """All of it is used, and no process has less than half of its part."""
    assert window.total() <= budget
    assert window.total() >= 0.97 * budget
    assert len(window) == number
    assert min(window.values()) >= 0.5 * budget / number


@pytest.mark.parametrize(("number", "share"), [(2, 1.0), (4, 1.0), (4, 0.5), (8, 1.0)])
async def test_processes_share_each_window_fairly_and_never_trip(number, share, server, keys):
    """No 429, at least 97 % of the budget used, and less than a question to Redis per request."""
    quota = QuotaPolicy(share=share)
    async with processes(number, server, keys, quota=quota) as group:
        await group.work(3 * WINDOW - 1)
        assert set(group.sandbox.record.statuses) == {200}
        for window in windows(group.sandbox):
            assert_well_shared(window, number, int(QUOTA * share))
        assert group.exchanges < len(group.sandbox.record.requests)


async def test_a_slow_process_gets_its_part_beside_fast_ones(server, keys):
    """One request at a time, where the others have twenty: still at least half of its part."""
    async with processes(4, server, keys) as group:
        asking = [task for member in (0, 1, 2) for task in group.busy(member, 20)]
        asking += group.busy(3, 1)
        await asyncio.sleep(3 * WINDOW - 1)
        await end(asking)
        for window in windows(group.sandbox):
            assert_well_shared(window, 4)


async def test_processes_that_pace_themselves_spread_the_window_together(server, keys):
    """At least 97 % of each window, and no tenth of it has more than 20 % of the requests."""
    quota = QuotaPolicy(pacing="smooth")
    async with processes(4, server, keys, quota=quota) as group:
        await group.work(3 * WINDOW)
        assert set(group.sandbox.record.statuses) == {200}
        for window in windows(group.sandbox)[:3]:
            assert_well_shared(window, 4)
        tenths = Counter(int(r.at // (WINDOW / 10)) for r in group.sandbox.record.requests)
        assert max(tenths.values()) <= 0.2 * QUOTA


async def test_where_quota_is_plenty_redis_is_hardly_asked(server, keys):
    """One question for ten requests and more."""
    async with processes(4, server, keys, rules=Rules(quota=20_000)) as group:
        await group.work(2)
        assert len(group.sandbox.record.requests) > 400
        assert group.exchanges < 0.1 * len(group.sandbox.record.requests)


async def test_an_api_without_a_quota_holds_nobody_up(server, keys):
    """Only the first request goes alone."""
    async with processes(4, server, keys, rules=Rules()) as group:
        await group.work(2)
        assert len(group.sandbox.record.requests) > 400
        assert group.exchanges < 0.1 * len(group.sandbox.record.requests)


async def test_who_is_gone_is_forgotten_where_there_are_no_windows(server, keys):
    """Many processes that live briefly leave nothing behind."""
    async with processes(12, server, keys, rules=Rules()) as group:
        for session in group.sessions:
            await session.shopper_profiles.page()
            await session.aclose()
            await asyncio.sleep(20)
        assert len(json.loads(server.get(group.stores[0].key))["members"]) < 6


@pytest.mark.parametrize("kind", NONSENSE)
async def test_nonsense_in_the_headers_stalls_nobody_for_long(kind, server, keys):
    """No storm, and no wait beyond one window for each answer, in two processes."""
    async with processes(2, server, keys) as group:
        group.sandbox.faults.clear()
        group.sandbox.faults.rule(Fault(headers=NONSENSE[kind], latency=0.01))

        async def ask(session):
            for _ in range(5):
                await session.shopper_profiles.page()

        await asyncio.gather(*(ask(session) for session in group.sessions))
        assert asyncio.get_running_loop().time() <= 10 * (WINDOW + 1)
        assert len(group.sandbox.record.requests) == 10


@pytest.mark.long
@pytest.mark.parametrize("seed", range(40))
async def test_whatever_the_numbers_nobody_trips(seed, server, keys):
    """Windows, quotas, shares, processes, tasks and delays as they come: not one 429."""
    draw = random.Random(seed)
    window, quota = draw.choice([5.0, 10.0, 30.0]), draw.choice([5, 20, 60, 150, 300])
    policy = QuotaPolicy(
        share=draw.choice([1.0, 0.8, 0.5]), pacing=draw.choice(["burst", "smooth"])
    )
    async with processes(
        draw.choice([1, 2, 3, 5, 8]), server, keys,
        rules=Rules(quota=quota, window=window), quota=policy,
        latency=draw.choice([0.001, 0.01, 0.03, 0.1]) * window,
    ) as group:  # fmt: skip
        await group.work(4 * window, draw.choice([1, 3, 10, 20]))
        assert set(group.sandbox.record.statuses) == {200}
        assert max(w.total() for w in windows(group.sandbox, window)) <= quota * policy.share


async def test_one_request_of_all_processes_goes_alone_to_see(server, keys):
    """Until its answer comes, however late, there is at most one more every two seconds."""
    async with processes(4, server, keys, latency=0) as group:
        group.sandbox.faults.queue(Fault.slow(1.9))
        asking = [task for member in range(4) for task in group.busy(member)]
        await asyncio.sleep(1.8)
        assert len(group.sandbox.record.requests) == 1
        await asyncio.sleep(1.0)
        assert len(group.sandbox.record.requests) > 100
        await end(asking)


async def test_a_request_that_went_alone_in_vain_holds_nobody_up(server, keys):
    """It was cut off: another process' request goes alone at once, and not after some patience."""
    async with processes(2, server, keys, latency=0) as group:
        group.sandbox.faults.queue(Fault(ending="cut", applied=False, latency=0.1))
        first = group.busy(0, 1)
        await asyncio.sleep(0.05)
        await group.sessions[1].shopper_profiles.page(2)
        assert asyncio.get_running_loop().time() < 1.0
        await end(first)


async def test_a_process_that_dies_while_all_wait_for_it_is_waited_for_briefly(server, keys):
    """The next one goes alone in its stead."""
    async with processes(4, server, keys) as group:
        first = group.busy(0)
        await asyncio.sleep(0.05)
        group.die(0, first)
        asking = [task for member in (1, 2, 3) for task in group.busy(member)]
        await asyncio.sleep(WINDOW - 1)
        await end(asking)
        assert_well_shared(windows(group.sandbox)[0] - Counter({"1": 1}), 3, QUOTA - 1)


async def test_what_a_dead_process_held_is_lost_for_one_window_at_most(server, keys):
    """Then the others use all of each window; and in the first one, what was not leased to it."""
    async with processes(4, server, keys) as group:
        dying = group.busy(0)
        asking = [task for member in (1, 2, 3) for task in group.busy(member)]
        await asyncio.sleep(0.6)
        group.die(0, dying)
        await asyncio.sleep(3 * WINDOW - 1.6)
        await end(asking)
        assert set(group.sandbox.record.statuses) <= {200, None}
        first, *others = windows(group.sandbox)
        assert first.total() >= 0.8 * QUOTA
        assert [window.total() for window in others] == [QUOTA, QUOTA]
        for window in others:
            assert_well_shared(window, 3)


async def test_who_comes_late_gets_a_part_of_what_is_left(server, keys):
    """One process has leased two thirds of the window when three more come."""
    key = keys()
    first, *late = (SimulatedStore(server, key, str(n), random.Random(n)) for n in range(4))
    await first.exchange(report(wanted=1))
    told = QuotaSnapshot(QUOTA, QUOTA - 1, WINDOW, WINDOW - 1)
    grant = await first.exchange(report(sent=1, told=told, wanted=100))
    assert grant.granted == 100
    granted = [(await store.exchange(report(wanted=30))).granted for store in late]
    assert min(granted) >= 3
    assert sum(granted) < QUOTA - 101


async def test_who_stops_leaves_its_part_to_the_others_in_the_same_window(server, keys):
    """Whether it closes or only has nothing more to do."""
    async with processes(3, server, keys) as group:
        asking = [group.busy(member) for member in range(3)]
        await asyncio.sleep(0.7)
        await end(asking[0] + asking[1])
        await group.sessions[0].aclose()
        await asyncio.sleep(WINDOW - 1.7)
        await end(asking[2])
        assert windows(group.sandbox)[0].total() >= 0.97 * QUOTA


async def test_an_idle_process_costs_the_others_nothing(server, keys):
    """One request each, and then silence: the busy one has all the rest."""
    async with processes(5, server, keys) as group:
        for session in group.sessions[1:]:
            await session.shopper_profiles.page(9)
        await end_after(group.busy(0), WINDOW - 2)
        assert windows(group.sandbox)[0] == {"9": 4, "1": QUOTA - 4}
        assert group.sandbox.record.statuses == {200: QUOTA}


async def end_after(tasks, seconds):
    await asyncio.sleep(seconds)
    await end(tasks)


async def test_what_other_apps_take_is_seen(server, keys):
    """Another app takes a third and more of each window: hardly a 429, and the rest is used."""
    draw = random.Random(0)
    async with processes(4, server, keys, latency=0.3) as group:

        async def other_app():
            while True:
                await asyncio.sleep(draw.expovariate(20))
                group.sandbox.spend(1)

        app = asyncio.create_task(other_app())
        await group.work(4 * WINDOW)
        await end([app])
        assert group.sandbox.record.statuses[429] <= 6
        for window in windows(group.sandbox)[:4]:
            assert window.total() >= 0.45 * QUOTA


async def test_a_platform_under_load_is_given_air_by_all_processes(server, keys):
    """One of them is told 503: within a moment none sends anything until the pause is over."""
    async with processes(4, server, keys, rules=Rules(), retry=RetryPolicy(attempts=9)) as group:
        asking = [task for member in range(4) for task in group.busy(member, 2)]
        await asyncio.sleep(2)
        headers = {"Retry-After": "20"}
        group.sandbox.faults.queue(Fault.error(503, headers=headers, applied=False))
        await asyncio.sleep(2)
        before = len(group.sandbox.record.requests)
        await asyncio.sleep(15)
        assert len(group.sandbox.record.requests) == before
        await asyncio.sleep(8)
        assert len(group.sandbox.record.requests) > before + 50
        await end(asking)


@pytest.mark.parametrize(
    "early",
    [{"reset_error": 0.3}, {"reset_error": 0.5}, {"reset_error": 1.0}, {"reset_in": "seconds"}],
)
async def test_a_reset_announced_too_early_trips_one_of_all_processes_once(early, server, keys):
    """Nine windows of four processes: at most one 429 in any, and hardly any in all."""
    rules = Rules(quota=QUOTA, **early)
    async with processes(4, server, keys, rules=rules, latency=0.01) as group:
        await group.work(9 * WINDOW - 1)
        record = group.sandbox.record
        opened = next(iter(record.requests)).at
        throttled = [r.at - opened for r in record.requests if r.status == 429]
        assert max(Counter(at // WINDOW for at in throttled).values(), default=0) <= 1
        assert len(throttled) <= 2
        for window in windows(group.sandbox):
            assert window.total() >= 0.97 * QUOTA


async def test_a_process_that_was_idle_learns_that_windows_end_later_than_announced(server, keys):
    """Each asks once in a while, and mostly right after an announced end: still hardly a 429."""
    rules = Rules(quota=QUOTA, reset_error=0.5)
    async with processes(8, server, keys, rules=rules, latency=0.001) as group:
        for member, session in enumerate(group.sessions):
            await session.shopper_profiles.page(member + 1)
            group.sandbox.spend(QUOTA)
            await asyncio.sleep(WINDOW - 0.2)
        assert group.sandbox.record.statuses[429] <= 2
        assert group.sandbox.record.statuses[200] == 8


@pytest.mark.parametrize("with_quota", [False, True])
async def test_a_pause_that_begins_while_requests_wait_ends_the_hasty_of_all_processes(
    with_quota, server, keys
):
    """A 429 asks for a minute: in each process, who has five seconds is told so at once."""
    headers = {"X-Retry-After": "60"}
    if with_quota:
        headers |= {
            "X-Rate-Limit-Requests-Quota": "150", "X-Rate-Limit-Requests-Left": "0",
            "X-Rate-Limit-Time-Window-Ms": "30000", "X-Rate-Limit-Time-Reset-Ms": "10000",
        }  # fmt: skip
    quota = QuotaPolicy(max_wait=5.0)
    async with processes(2, server, keys, quota=quota) as group:
        group.sandbox.faults.queue(Fault(status=429, applied=False, latency=1.5, headers=headers))
        calls = [session.shopper_profiles.page() for session in group.sessions for _ in range(3)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(error) for error in errors} == {RateLimitError}
        assert asyncio.get_running_loop().time() <= 1.8
        assert all(59 <= error.retry_after <= 60.1 for error in errors)
        assert len(group.sandbox.record.requests) == 1
        await asyncio.sleep(60.1)
        assert await group.sessions[1].shopper_profiles.page() is not None


async def test_a_quota_that_changes_is_followed(server, keys):
    """From 150 to 450 and back between windows."""
    async with processes(4, server, keys) as group:

        async def change():
            for limit in itertools.cycle([450, 150]):
                await asyncio.sleep(2 * WINDOW)
                group.sandbox._server.quota.limit = limit

        changing = asyncio.create_task(change())
        await group.work(5 * WINDOW - 1)
        await end([changing])
        assert set(group.sandbox.record.statuses) == {200}
        used = [window.total() for window in windows(group.sandbox)]
        assert max(used) >= 0.97 * 450
        assert min(used) >= 0.97 * 150


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_a_clock_that_is_set_wrong_stalls_nobody(step, server, keys):
    """The clock of the Redis server jumps in mid-window: soon each window is used again."""
    async with processes(4, server, keys) as group:
        asking = [task for member in range(4) for task in group.busy(member)]
        await asyncio.sleep(WINDOW / 2)
        for store in group.stores:
            store.clock_error = step
        await asyncio.sleep(2.5 * WINDOW - 1)
        await end(asking)
        assert group.sandbox.record.statuses[429] <= 4
        for window in windows(group.sandbox)[2:]:
            assert window.total() >= 0.97 * QUOTA


async def test_a_redis_that_forgets_everything_is_told_again(server, keys):
    """Its state is gone in mid-window: nobody stalls, and the next windows are shared as before."""
    async with processes(4, server, keys) as group:
        asking = [task for member in range(4) for task in group.busy(member)]
        await asyncio.sleep(0.5)
        server.delete(group.stores[0].key)
        await asyncio.sleep(3 * WINDOW - 1.5)
        await end(asking)
        for window in windows(group.sandbox)[1:]:
            assert_well_shared(window, 4)


async def test_an_answer_of_redis_that_gets_lost_costs_nothing(server, keys, caplog):
    """What was granted in it is given back with the next report."""
    caplog.set_level(logging.INFO, "bcshopper.quota")
    async with processes(4, server, keys) as group:
        asking = [task for member in range(4) for task in group.busy(member)]
        await asyncio.sleep(0.4)
        group.stores[0].loses_answers = True
        await asyncio.sleep(0.4)
        group.stores[0].loses_answers = False
        await asyncio.sleep(2 * WINDOW - 1.8)
        await end(asking)
        assert group.sandbox.record.statuses[429] <= 2
        assert all(window.total() >= 0.97 * QUOTA for window in windows(group.sandbox))
        assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]


@pytest.mark.parametrize("trouble", ["silent", "refusing"])
async def test_without_redis_each_process_goes_on_and_returns_to_sharing(
    trouble, server, keys, caplog
):
    """One WARNING each, no failed request, and an INFO each once it is back."""
    caplog.set_level(logging.INFO, "bcshopper.quota")
    async with processes(2, server, keys, retry=RetryPolicy(attempts=9)) as group:
        for store in group.stores:
            setattr(store, trouble, True)
        async with asyncio.timeout(2.0):
            await group.sessions[0].shopper_profiles.page(1)
        asking = [task for member in range(2) for task in group.busy(member)]
        await asyncio.sleep(WINDOW)
        assert not [task for task in asking if task.done()]
        assert [r.levelname for r in caplog.records] == ["WARNING"] * 2
        for store in group.stores:
            setattr(store, trouble, False)
        await asyncio.sleep(WINDOW)
        assert [r.levelname for r in caplog.records] == ["WARNING"] * 2 + ["INFO"] * 2
        before = group.sandbox.record.statuses[429]
        await asyncio.sleep(2 * WINDOW - 1)
        await end(asking)
        assert group.sandbox.record.statuses[429] == before
        for window in windows(group.sandbox)[2:4]:
            assert_well_shared(window, 2)


async def test_who_gives_up_waiting_for_redis_takes_nothing_along(server, keys):
    """Cancelled at once; what was leased for it goes to the next."""
    async with processes(1, server, keys) as group:
        group.stores[0].silent = True
        asking = group.busy(0)
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        await end(asking)
        assert asyncio.get_running_loop().time() == began
        group.stores[0].silent = False
        await group.sessions[0].shopper_profiles.page()
        assert len(group.sandbox.record.requests) == 1


async def test_a_session_that_closes_does_not_wait_for_a_silent_redis(server, keys):
    """It is given half a second, and whatever was under way ends."""
    async with processes(1, server, keys) as group:
        await group.sessions[0].shopper_profiles.page()
        group.stores[0].silent = True
        asking = group.busy(0, 200)
        await asyncio.sleep(0.01)
        began = asyncio.get_running_loop().time()
        await group.sessions[0].aclose()
        assert asyncio.get_running_loop().time() - began <= 0.6
        await end(asking)
        assert not [t for t in asyncio.all_tasks() if "bcshopper/_leas" in repr(t)]


async def test_a_closed_session_leaves_no_timer_behind(server, keys):
    """Which would keep the gate alive, and ask Redis for nobody."""
    async with processes(2, server, keys) as group:
        await group.work(0.5)
        await group.aclose()
        scheduled = [t for t in asyncio.get_running_loop()._scheduled if not t.cancelled()]
        owners = [getattr(timer._callback, "__self__", None) for timer in scheduled]
        assert not [owner for owner in owners if isinstance(owner, LeasingGate)]


async def test_a_way_to_redis_that_cant_even_be_made_fails_no_request(caplog):
    """As when there is no memory or no file left: each process keeps its own count."""

    def no_way():
        raise OSError("too many open files")

    async with Sandbox() as sandbox, sandbox.session() as session:
        session._transport.life.loop = asyncio.get_running_loop()
        session._transport.life.gate = gate = LeasingGate(LeasedQuota(1.0, 10), no_way)
        gate.join(session._transport.life)
        for number in range(1, 4):
            await session.shopper_profiles.page(number)
    said = [record for record in caplog.records if record.name == "bcshopper.quota"]
    assert [record.levelname for record in said] == ["WARNING"]


async def test_max_wait_counts_what_others_have_spent(server, keys):
    """A process that knew of nothing refuses at once what would have to wait."""
    quota = QuotaPolicy(max_wait=5.0)
    async with processes(2, server, keys, quota=quota, latency=0.01) as group:
        await group.sessions[1].shopper_profiles.page(2)
        with contextlib.suppress(RateLimitError):
            while True:
                await group.sessions[0].shopper_profiles.page(1)
        began = asyncio.get_running_loop().time()
        with pytest.raises(RateLimitError, match="there is room for it"):
            await group.sessions[1].shopper_profiles.page(2)
        assert asyncio.get_running_loop().time() - began < 0.1
        assert group.sandbox.record.statuses == {200: QUOTA}
        await asyncio.sleep(WINDOW)
        await group.sessions[1].shopper_profiles.page(2)


async def test_sessions_of_a_process_share_a_lease_until_the_last_one_closes(server, keys):
    """The store is left once."""
    async with processes(1, server, keys) as group:
        gate = group.sessions[0]._transport.life.gate
        async with group.sandbox.session() as second:
            second._transport.life.loop = asyncio.get_running_loop()
            second._transport.life.gate = gate
            gate.join(second._transport.life)
            await second.shopper_profiles.page()
            await group.sessions[0].aclose()
            assert not group.stores[0].closed
            await second.shopper_profiles.page()
        assert group.stores[0].closed


# -- with the server's own clock


@pytest.mark.real_time
async def test_the_state_is_kept_under_a_hashed_key_and_expires_by_itself(server, keys):
    """On the server's clock; with nothing in the key that tells whose it is."""
    store_hash = uuid.uuid4().hex
    key = keys("https://api.example", store_hash)
    assert store_hash not in key
    store = QuotaStore(REDIS, ("https://api.example", store_hash), "one")
    other = QuotaStore(REDIS, ("https://api.example", store_hash), "two")
    try:
        assert (await store.exchange(report(wanted=5))).alone
        assert (await other.exchange(report(wanted=5))).granted == 0
        told = QuotaSnapshot(QUOTA, QUOTA - 1, WINDOW, WINDOW - 1)
        grant = await store.exchange(report(sent=1, told=told, wanted=5))
        assert (grant.granted, grant.busy, grant.quota.limit) == (5, 2, 150)
        assert 28 < grant.valid <= 29
        assert (await other.exchange(report(wanted=7))).granted == 7
        assert 55_000 < server.pttl(key) <= 60_000
    finally:
        await store.aclose()
        await other.aclose()


@pytest.mark.real_time
@pytest.mark.parametrize("share", [1.0, 0.5])
async def test_four_real_processes_share_the_quota(share, server, keys):
    """150 per window of 2 s: no 429, 97 % of each full window, nobody under half of its part."""
    asyncio.get_running_loop().set_debug(False)  # the server has to keep up
    async with Sandbox(rules=Rules(quota=QUOTA, window=2.0)) as sandbox:
        keys(sandbox.url, sandbox.store_hash)
        async with Workers(sandbox, 4, shared=REDIS, share=share) as workers:
            await asyncio.sleep(4 * 2.0)
            counted = await workers.finish()
        assert set(sandbox.record.statuses) == {200}
        for window in windows(sandbox, 2.0)[:3]:
            assert_well_shared(window, 4, int(QUOTA * share))
        assert sum(c["sent"] for c in counted) == len(sandbox.record.requests)
        assert sum(c["asked"] for c in counted) < len(sandbox.record.requests)


@pytest.mark.real_time
async def test_a_killed_process_leaves_nothing_reserved_past_the_window(server, keys):
    """`kill -9` in mid-window: the other three use all of the next ones, without a 429."""
    asyncio.get_running_loop().set_debug(False)  # the server has to keep up
    async with Sandbox(rules=Rules(quota=QUOTA, window=2.0)) as sandbox:
        sandbox.faults.rule(Fault.slow(0.02, jitter=0.02))
        keys(sandbox.url, sandbox.store_hash)
        async with Workers(sandbox, 4, shared=REDIS) as workers:
            await asyncio.sleep(0.3)
            workers.processes[0].kill()
            await asyncio.sleep(4 * 2.0 - 0.3)
            await workers.finish()
        assert set(sandbox.record.statuses) <= {200, None}
        for window in windows(sandbox, 2.0)[1:3]:
            assert_well_shared(window, 3)


@pytest.fixture
def own_redis(tmp_path):
    """Starts and stops a Redis server of the test's own; gives its port, `start` and `stop`."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("no redis-server to start and stop")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = []

    class OwnRedis:
        url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"

        def start(self):
            command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
            command += ["--requirepass", PASSWORD, "--dir", str(tmp_path)]
            running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            with redis.Redis.from_url(self.url) as client:
                while True:
                    try:
                        client.ping()
                    except redis.ConnectionError:
                        continue
                    return

        def stop(self):
            running[-1].kill()
            running[-1].wait()

        def send(self, number):
            running[-1].send_signal(number)

        def connections(self):
            with redis.Redis.from_url(self.url) as client:
                return len(client.client_list()) - 1

    own = OwnRedis()
    own.start()
    yield own
    own.send(signal.SIGCONT)
    own.stop()


@pytest.mark.real_time
async def test_a_server_that_has_forgotten_the_script_is_given_it_again(own_redis):
    """Who asks does not notice."""
    store = QuotaStore(own_redis.url, ("https://api.example", "x"), "one")
    try:
        assert (await store.exchange(report(wanted=1))).granted == 1
        with redis.Redis.from_url(own_redis.url) as client:
            client.script_flush()
        assert (await store.exchange(report(unused=1, wanted=1))).granted == 0
    finally:
        await store.aclose()


async def ask_until(session, condition):
    """Requests, one after the other, until it is so."""
    async with asyncio.timeout(20):
        while not condition():
            await session.shopper_profiles.page()


@pytest.mark.lowest
@pytest.mark.real_time
async def test_a_redis_that_restarts_or_hangs_fails_no_request(own_redis, caplog):
    """One WARNING and one INFO each time, without the password; in the end no connection."""
    caplog.set_level(logging.DEBUG)
    told = [r for r in caplog.records if r.name == "bcshopper.quota"]

    def seen():
        told[:] = [r for r in caplog.records if r.name == "bcshopper.quota"]
        return [r.levelname for r in told]

    quota = QuotaPolicy(shared=own_redis.url)
    async with Sandbox() as sandbox:
        async with sandbox.session(quota=quota) as session, sandbox.session(quota=quota) as second:
            await asyncio.gather(session.shopper_profiles.page(), second.shopper_profiles.page())
            assert own_redis.connections() == 1
            own_redis.stop()
            await ask_until(session, lambda: seen() == ["WARNING"])
            own_redis.start()
            await ask_until(session, lambda: seen() == ["WARNING", "INFO"])
            own_redis.send(signal.SIGSTOP)
            await ask_until(session, lambda: len(seen()) == 3)
            own_redis.send(signal.SIGCONT)
            await ask_until(session, lambda: len(seen()) == 4)
        assert seen() == ["WARNING", "INFO"] * 2
        assert set(sandbox.record.statuses) == {200}
    assert own_redis.connections() == 0
    assert f"127.0.0.1:{own_redis.url.rpartition(':')[2][:-2]}" in told[0].getMessage()
    texts = [r.getMessage() + repr(vars(r)) for r in caplog.records]
    assert not [text for text in texts if PASSWORD in text]


@pytest.mark.real_time
async def test_a_redis_that_refuses_the_password_fails_no_request(own_redis, caplog):
    """The WARNING says what it is that is wrong, and where, but not the password."""
    shared = own_redis.url.replace(PASSWORD, "wr0ng-password")
    async with Sandbox() as sandbox, sandbox.session(quota=QuotaPolicy(shared=shared)) as session:
        await session.shopper_profiles.page()
    ours = [r for r in caplog.records if r.name.startswith("bcshopper")]
    [record] = [r for r in ours if r.levelname == "WARNING"]
    assert "AuthenticationError at 127.0.0.1" in record.getMessage()
    assert "wr0ng" not in record.getMessage() + repr(vars(record))


async def test_gates_that_share_are_apart_from_those_that_do_not():
    """And from those that share elsewhere, or may use another part."""
    policies = [
        QuotaPolicy(),
        QuotaPolicy(shared=REDIS),
        QuotaPolicy(shared="redis://other"),
        QuotaPolicy(shared=REDIS, share=0.5),
    ]
    gates = [shared_gate("https://a.example", "s", policy) for policy in policies]
    assert len(set(gates)) == 4
    assert shared_gate("https://a.example", "s", QuotaPolicy(shared=REDIS)) is gates[1]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://localhost:6379",
        "localhost:6379",
        f"redis://:{PASSWORD}@localhost:many/0",
        f"redis://:{PASSWORD}@localhost?no_such_option=1",
        f"redis://:{PASSWORD}@localhost?socket_timeout=long",
        f"redis://:{PASSWORD}@localhost?encoding=nope",
        f"redis://:{PASSWORD}@localhost?protocol=9",
        f"redis://:{PASSWORD}@localhost?retry=5",
        f"rediss://:{PASSWORD}@localhost?ssl_cert_reqs=bogus",
    ],
)
@pytest.mark.lowest
def test_a_url_that_is_none_of_redis_is_refused_when_the_session_is_made(url):
    """In words, and without a password that may be in it."""
    with pytest.raises(InvalidInputError, match="redis://host:6379/0") as caught:
        Session("a", "b", quota=QuotaPolicy(shared=url))
    assert PASSWORD not in everything_about(caught.value)


def test_the_password_shows_in_no_policy():
    """Nor in the complaint about one that makes no sense."""
    shared = f"redis://:{PASSWORD}@localhost/0"
    policy = QuotaPolicy(shared=shared)
    assert policy.shared == shared
    assert PASSWORD not in repr(policy)
    session = Session("a", "b", quota=policy)
    assert PASSWORD not in repr(vars(session)) + repr(vars(session._transport))
    with pytest.raises(ValueError, match="share") as caught:
        QuotaPolicy(share=5, shared=shared)
    assert PASSWORD not in everything_about(caught.value)


@pytest.mark.real_time
def test_without_the_extra_the_refusal_says_what_to_install():
    """And the rest of bcshopper works: it does not import redis."""
    program = (
        "import sys; import bcshopper, bcshopper.sandbox; assert 'redis' not in sys.modules\n"
        "sys.modules['redis'] = None\n"
        "bcshopper.Session('a', 'b')\n"
        "bcshopper.Session('a', 'b', quota=bcshopper.QuotaPolicy(shared='redis://localhost'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "InvalidInputError" in done.stderr.splitlines()[-1]
    assert "pip install 'bcshopper[redis]'" in done.stderr.splitlines()[-1]


@pytest.mark.real_time
def test_nothing_is_left_behind_in_a_strict_interpreter(server):
    """Sessions that share, closed by the book: no warning, nothing on standard error."""
    program = f"""
import asyncio
from bcshopper import QuotaPolicy
from bcshopper.sandbox import Sandbox

async def main():
    async with Sandbox() as sandbox:
        quota = QuotaPolicy(shared={REDIS!r})
        async with sandbox.session(quota=quota) as one, sandbox.session(quota=quota) as two:
            await asyncio.gather(*(s.shopper_profiles.page() for s in (one, two) * 20))
        async with sandbox.session(quota=quota) as again:
            await again.shopper_profiles.page()

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Executing ")]
    assert lines == []
