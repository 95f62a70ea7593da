"""One universe: a store, its callers and what goes wrong, all drawn from one seed.

Each caller has customers of its own, so that what it says of them can be held against the store
whatever the others do at the same time. The schedule is the simulated event loop's.
"""

import asyncio
import contextlib
import random

import attrs

from bcshopper import BatchReport, BCShopperError, RetryPolicy, Status
from bcshopper.events import ChunkDone
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.batch.test_every_outcome_is_true import TROUBLE
from tests.segments.store import customers_of
from tests.segments.test_sync import assert_true

ATTEMPTS = 4
TIMEOUT = 30.0  # seconds
AT_REST = 20 * TIMEOUT  # seconds; nothing lands later than that

CREATED = range(1, 131)
DELETED = range(201, 321)
SYNCED = range(401, 521)
ASKED = range(601, 631)
ROWS = len(CREATED) + len(DELETED) + len(SYNCED) + len(ASKED)
STRANGERS = range(9001, 9004)
OVERLOAD = [
    Fault.error(429, body="empty"),
    Fault.error(503, body="empty"),
    Fault.error(429, headers={"X-Rate-Limit-Time-Reset-Ms": "15000"}),
    Fault.error(503, headers={"Retry-After": "7"}),
]
_SETTLED = {Status.CREATED, Status.EXISTS, Status.DELETED}


@attrs.define(slots=False)
class Universe:
    """What is drawn from a seed, and what is told in the course of it."""

    seed: int
    rng: random.Random = attrs.field(init=False)
    disturbed: bool = False
    busy: int = 0
    busiest: int = 0
    calls: int = 0
    limit: int = 0
    told: list = attrs.field(factory=list)
    ever: dict = attrs.field(factory=dict)

    def __attrs_post_init__(self):
        self.rng = random.Random(self.seed)

    async def play(self, world):
        """Let all callers loose at once; then, when all is at rest, see who told the truth."""
        rng = self.rng
        asyncio.get_running_loop().set_exception_handler(_heed)
        world.net.set_latency(*rng.choice([(0.0005, 0.02), (0.0, 0.0), (0.0, 1.0)]))
        self.faults = rng.choices(TROUBLE, k=rng.choice([0, 0, 1, 2, 3, 6, 12]))
        self.overloaded = rng.random() < 0.3
        self.rules = Rules(
            bad_items=rng.choice(["refuse", "207", "409"]),
            names_items=rng.random() < 0.7,
            vanished=rng.choice(["ignore", "not_found"]),
            unknown_items=rng.choice(["404", "422"]),
            conflicts=rng.choice(["409", "422"]),
            keep_alive=rng.choice(["kept", "kept", "kept", "closed", "dead"]),
            lag=rng.choice([0.0, 0.0, 0.0, 0.3, 3.0]),
            quota=rng.choice([None, None, 20, 150]),
            max_concurrent=rng.choice([None, None, None, 3]),
        )
        self.concurrency = rng.randint(1, 10)
        sandbox = self.sandbox = Sandbox(rules=self.rules, seed=self.seed)
        self._fill(sandbox.store)
        async with sandbox:
            self.session = sandbox.session(
                timeout=TIMEOUT,
                concurrency=self.concurrency,
                retry=RetryPolicy(attempts=ATTEMPTS),
                on_event=self._note,
            )
            self._count_requests_in_flight()
            sandbox.faults.queue(*self.faults)
            if self.overloaded:
                sandbox.faults.rule(rng.choice(OVERLOAD), probability=0.3, times=20)
            async with self.session:
                await self._let_loose()
                self.requests = sandbox.record.counts.total()
                await asyncio.sleep(AT_REST)
                self._audit()
                await self._audit_recovery()
        left = [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert all("RequestHandler.start" in task for task in left), left  # of aiohttp's server
        assert sandbox.store.wipes == 0
        assert self.busy == 0
        assert self.busiest <= self.concurrency
        assert self.requests <= self._most_requests(), self.requests

    @property
    def is_well(self):
        """Whether nothing can come of the faults in the end: each request has a try to spare."""
        return (
            len(self.faults) < ATTEMPTS
            and not self.overloaded
            and not self.disturbed
            and not self.rules.lag
            and self.rules.max_concurrent is None
            and self.rules.keep_alive != "dead"
        )

    def _fill(self, store):
        rng = self.rng
        store.register([*CREATED, *DELETED, *SYNCED, *ASKED])
        with_profile = [
            *rng.sample(CREATED, rng.choice([0, 5, 60])),
            *DELETED,
            *rng.sample(SYNCED, 80),
            *rng.sample(ASKED, 10),
        ]
        rng.shuffle(with_profile)
        for customer in with_profile:
            store.create(customer)
        self.segment = store.create_segment("VIP")
        members = [c for c in SYNCED if store.customers[c] and rng.random() < 0.6]
        rng.shuffle(members)
        store.add_members(self.segment.id, [store.customers[c] for c in members])
        self.before = dict(store.customers)
        self.members_before = set(members)

    def _note(self, event):
        if isinstance(event, ChunkDone) and event.verb == "create":
            self.told += event.outcomes

    def _count_requests_in_flight(self):
        wire = self.session._transport._wire
        exchange = wire.exchange

        async def counted(*args, **kwargs):
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
            try:
                return await exchange(*args, **kwargs)
            finally:
                self.busy -= 1

        wire.exchange = counted

    # ------------------------------------------------------------ the callers

    async def _let_loose(self):
        rng = self.rng
        everyone = {
            "creator": self._create(),
            "rival": self._create_too(),
            "streamer": self._stream(),
            "deleter": self._delete(),
            "syncer": self._sync(),
            "walker": self._walk(),
            "asker": self._ask(),
        }
        self.results = {}
        chosen = [name for name in everyone if rng.random() < 0.6]
        for name in everyone.keys() - set(chosen):
            everyone[name].close()
        rng.shuffle(chosen)
        tasks = {}
        for name in chosen:
            tasks[name] = asyncio.create_task(everyone[name])
            if rng.random() < 0.3:
                await asyncio.sleep(rng.random() * rng.choice([0.1, 5.0]))
        if rng.random() < 0.35:
            self.disturbed = True
            await self._disturb(list(tasks.values()))
        done = await asyncio.gather(*tasks.values(), return_exceptions=True)
        for name, error in zip(tasks, done, strict=True):
            if isinstance(error, BaseException):
                expected = (BCShopperError, asyncio.CancelledError)
                assert self.disturbed or not self.is_well, (name, error)
                assert isinstance(error, expected), (name, error)

    async def _disturb(self, tasks):
        """Cancel some callers, or close the session, at any time."""
        rng = self.rng
        await asyncio.sleep(rng.random() * rng.choice([0.02, 0.3, 5.0, 60.0]))
        for task in tasks:
            if rng.random() < 0.5:
                task.cancel()
                if rng.random() < 0.3:
                    await asyncio.sleep(rng.random())
        if rng.random() < 0.4:
            closing = [asyncio.create_task(self.session.aclose()) for _ in range(rng.randint(1, 2))]
            if rng.random() < 0.3:
                await asyncio.sleep(0)
                closing[0].cancel()
            await asyncio.gather(*closing, return_exceptions=True)

    async def _reported(self, name, call, wanted):
        self.results[name] = wanted, None
        try:
            report = await call
        except (BCShopperError, asyncio.CancelledError) as error:
            report = BatchReport.from_exception(error)
            self.results[name] = wanted, report
            raise
        self.results[name] = wanted, report
        return report

    async def _create(self):
        wanted = self.rng.sample([*CREATED[:80], *STRANGERS], self.rng.randint(1, 80))
        call = self.session.shopper_profiles.create(wanted, check=False)
        await self._reported("creator", call, wanted)

    async def _create_too(self):
        """Others of the same customers."""
        wanted = self.rng.sample(CREATED[:80], self.rng.randint(1, 60))
        call = self.session.shopper_profiles.create(iter(wanted), check=False)
        await self._reported("rival", call, wanted)

    async def _stream(self):
        """Maybe left early."""
        read, got = [], []
        self.results["streamer"] = read, got
        enough = self.rng.choice([10**6, 1, 20])
        source = (read.append(i) or i for i in self.rng.sample(CREATED[80:], 50))
        stream = self.session.shopper_profiles.create_stream(source)
        async with contextlib.aclosing(stream):
            async for outcome in stream:
                got.append(outcome)
                if len(got) == enough:
                    break

    async def _delete(self):
        customers = self.rng.sample(DELETED, self.rng.randint(1, 120))
        wanted = [self.before[customer] for customer in customers]
        call = self.session.shopper_profiles.delete(wanted, check=False)
        await self._reported("deleter", call, wanted)

    async def _sync(self):
        wanted = self.rng.sample([*SYNCED, *STRANGERS], self.rng.randint(0, 100))
        members = self.session.segments.members(self.segment.id)
        call = members.sync(wanted, max_removed=1, check=False)
        await self._reported("syncer", call, wanted)

    async def _walk(self):
        store = self.sandbox.store
        before = list(store.profiles)
        found = []
        self.results["walker"] = before, found
        self.limit = self.rng.choice([5, 20, 250])
        walk = self.session.shopper_profiles.list(limit=self.limit, consistent=True)
        async with contextlib.aclosing(walk.pages()) as pages:
            async for page in pages:
                found += [profile.id for profile in page]
        stayed = [profile_id for profile_id in before if profile_id in store.profiles]
        assert set(stayed) <= set(found)
        if stayed == before:
            assert found[: len(before)] == before

    async def _ask(self):
        """Many single calls: of each customer one after another, some given up."""
        self.last = {}
        async with (
            self.session.shopper_profiles.coalesce(max_delay=self.rng.choice([0, 0.05])) as one,
            asyncio.TaskGroup() as group,
        ):
            for customer in self.rng.sample(ASKED, self.rng.randint(1, 30)):
                seed = self.rng.random()
                group.create_task(self._ask_about(one, customer, random.Random(seed)))

    async def _ask_about(self, one, customer, rng):
        ever = self.ever[customer] = {self.before[customer], None}
        held = self.before[customer]
        for _ in range(rng.randint(1, 4)):
            verb = rng.choice(["create", "create", "lookup", "delete"])
            if verb == "delete" and (held is None or self.rules.lag):
                continue
            item = held if verb == "delete" else customer
            self.calls += 1
            try:
                async with asyncio.timeout(rng.choice([None, None, 0.03, 1.0])):
                    answer = await getattr(one, verb)(item)
            except (TimeoutError, BCShopperError) as error:
                if self.is_well and not isinstance(error, TimeoutError):
                    raise
                if verb != "lookup":
                    self.last[customer] = None
                    return
                continue
            except asyncio.CancelledError:
                self.last[customer] = None
                raise
            if verb == "lookup":
                assert answer in ever or self.last.get(customer, 0) is None, (customer, answer)
                continue
            self.last[customer] = answer
            if answer.status not in _SETTLED:
                self.last[customer] = None
                assert not self.is_well, answer
                return
            held = answer.profile_id if verb == "create" else None
            ever.add(held)

    # ------------------------------------------------------------ the truth

    def _most_requests(self):
        """How many requests all of it may cost: by chunks, pages and calls, and what goes wrong.

        A chunk takes a write, and where some of it is refused, a look-up and a second write, which
        a rival may spoil once more. A refusal that names nobody is found by halving. A sync reads,
        looks up, adds and removes beside what it creates.
        """
        chunks = sum(-(-len(self._wanted_by(name)) // 49) for name in self.results)
        crowds = 20 * self.overloaded + 20 * (self.rules.max_concurrent is not None)
        patience = ATTEMPTS if self.rules.lag or self.rules.keep_alive == "dead" else 1
        is_calm = not self.faults and not crowds and patience == 1
        each = 6 if not is_calm else 5 if {"creator", "rival"} <= self.results.keys() else 3
        bound = 2 + each * chunks + self.calls  # 2: what is refused twice
        if "syncer" in self.results:
            bound += 4
        if "walker" in self.results:  # others delete, so that pages are read again
            bound += 3 * -(-ROWS // self.limit) + 4
        if not self.rules.names_items:
            bad = sum(len(self._wanted_by(name) & set(STRANGERS)) for name in self.results)
            for name in ("creator", "rival"):
                bad += min(8, sum(self.before.get(c) is not None for c in self._wanted_by(name)))
            bound += 2 * 6 * bad  # halving 50 takes six steps
        trouble = 3 * ATTEMPTS * (len(self.faults) + crowds)
        if self.rules.vanished == "not_found" and self.results.keys() & {"deleter", "syncer"}:
            trouble += 2 * 49 * len(self.faults)  # what a lost DELETE has deleted, one by one
        return patience * bound + trouble

    def _audit(self):
        store = self.sandbox.store
        shared = self._wanted_by("creator") & self._wanted_by("rival")
        created = []
        for name in ("creator", "rival"):
            for outcome in self._in_order(name):
                self._audit_creation(outcome, is_shared=outcome.item in shared)
                if outcome.status is Status.CREATED:
                    created.append(outcome.item)
        assert len(created) == len(set(created)), "one profile was created twice"
        for outcome in self._in_order("deleter"):
            match outcome.status:
                case Status.DELETED:
                    assert outcome.item not in store.profiles, outcome
                case Status.REJECTED | Status.NOT_SENT:
                    assert outcome.item in store.profiles, outcome
                case status:
                    assert status is Status.UNKNOWN
            assert outcome.ok or not self.is_well, outcome
        self._audit_stream()
        self._audit_sync()
        self._audit_walk()
        self._audit_single_calls()
        deleted = {self.before[c] for c in DELETED} - self._wanted_by("deleter")
        assert deleted <= set(store.profiles), "deleted though nobody asked"
        given = {c for c in CREATED if store.customers[c] and not self.before[c]}
        asked = self._wanted_by("creator") | self._wanted_by("rival") | self._wanted_by("streamer")
        assert given <= asked, "created though nobody asked"

    def _wanted_by(self, name):
        return set(self.results[name][0]) if name in self.results else set()

    def _in_order(self, name):
        """The outcomes of a caller's report, which has one for each of its ids, in their order."""
        wanted, report = self.results.get(name, ([], []))
        if report is None:
            assert self.disturbed or not self.is_well, name
            return []
        assert [outcome.item for outcome in report] == wanted
        return report

    def _audit_creation(self, outcome, *, is_shared):
        held = self.sandbox.store.customers.get(outcome.item)
        match outcome.status:
            case Status.CREATED:
                assert held == outcome.profile_id is not None, outcome
                assert self.before[outcome.item] is None
            case Status.EXISTS:
                assert held is not None, outcome
                known = outcome.profile_id
                assert known == held or (known is None and outcome.error is not None), outcome
            case Status.REJECTED | Status.NOT_SENT:
                assert is_shared or held == self.before.get(outcome.item), outcome
                assert outcome.status is Status.NOT_SENT or outcome.item in STRANGERS, outcome
            case status:
                assert status is Status.UNKNOWN
        assert outcome.ok or not self.is_well or outcome.item in STRANGERS, outcome

    def _audit_stream(self):
        if "streamer" not in self.results:
            return
        read, got = self.results["streamer"]
        mine = [outcome for outcome in self.told if outcome.item in CREATED[80:]]
        assert sorted(outcome.item for outcome in mine) == sorted(read)
        assert all(outcome in mine for outcome in got)
        for outcome in mine:
            if outcome.ok or self.is_well is False:
                self._audit_creation(outcome, is_shared=False)

    def _audit_sync(self):
        if "syncer" not in self.results:
            return
        wanted, report = self.results["syncer"]
        if report is None:
            assert self.disturbed or not self.is_well
            return
        after = customers_of(self.sandbox, self.segment)
        told = [outcome.item for outcome in report]
        assert told[: len(wanted)] == wanted
        assert len(told) == len(set(told))
        assert_true(report, self.members_before, after)
        if self.is_well and (self.rules.names_items or self.rules.conflicts == "409"):
            assert after == set(wanted) - set(STRANGERS)
            assert set(told) == self.members_before | set(wanted)

    def _audit_walk(self):
        if "walker" in self.results:
            _, found = self.results["walker"]
            assert len(found) == len(set(found)), "listed twice"

    def _audit_single_calls(self):
        store = self.sandbox.store
        for customer, outcome in getattr(self, "last", {}).items():
            if outcome is None:
                continue
            match outcome.status:
                case Status.DELETED:
                    assert outcome.item not in store.profiles, outcome
                case Status.CREATED | Status.EXISTS:
                    held, known = store.customers[customer], outcome.profile_id
                    assert held is not None, outcome
                    assert known == held or (known is None and outcome.error is not None), outcome

    async def _audit_recovery(self):
        """What was not done is done by calling again, once the storm is over."""
        self.sandbox.faults.clear()
        self.sandbox.rules = Rules()
        store = self.sandbox.store
        async with self.sandbox.session() as session:
            wanted = list(CREATED)
            report = await session.shopper_profiles.create(wanted)
            assert [outcome.profile_id for outcome in report] == [
                store.customers[customer] for customer in wanted
            ]
            members = session.segments.members(self.segment.id)
            await members.sync(SYNCED[:50], max_removed=1)
            assert customers_of(self.sandbox, self.segment) == set(SYNCED[:50])
            walk = session.shopper_profiles.list(consistent=True)
            assert [profile.id for profile in await walk.all()] == list(store.profiles)


def _heed(loop, context):
    """Whatever nobody has handled fails the universe; aiohttp's server may trip at its end."""
    if "web_protocol" not in repr(context.get("exception").__traceback__.tb_frame):
        loop.default_exception_handler(context)
