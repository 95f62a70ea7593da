"""Whatever goes wrong, every report is true: the account against the store, id by id."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from bcshopper import RetryPolicy, Status
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.virtual_time import VirtualTimeLoop

CUSTOMERS = 130
STRANGERS = 5
ATTEMPTS = 4
TIMEOUT = 30.0
STRANGE = b'{"data":[{"id":"00000000-0000-4000-8000-000000000001","customer_id":4711}],"meta":{}}'

TROUBLE = [
    Fault.cut(applied=False),
    Fault.cut(applied=True),
    Fault.half(),
    Fault.stall(),
    Fault.garbage(),
    Fault.error(500, applied=False),
    Fault.error(500, applied=True, body="html"),
    Fault.error(502, applied=True, body="problem"),
    Fault.error(503, body="empty"),
    Fault.error(503, headers={"Retry-After": "7"}),
    Fault.error(429, headers={"X-Rate-Limit-Time-Reset-Ms": "15000"}),
    Fault.error(429, body="empty"),
    Fault.error(408),
    Fault.answer(200, b"<html>", headers={"Content-Type": "text/html"}),
    Fault.answer(201, b"[]"),
    Fault.answer(200, b'{"errors":[{"status":500,"title":"no"}]}'),
    # inner statuses: for some of them the server failed
    Fault.partial(500, 0, 3, outer=207, applied=True),
    Fault.partial(503, 1, outer=409, applied=False),
    Fault.partial(429, 0, outer=207, applied=False),
    # contradictions: somebody else's answer, applied or not; an error that lands later
    Fault.answer(201, STRANGE, applied=True),
    Fault.answer(201, STRANGE, applied=False),
    Fault.error(500, lands_after=TIMEOUT),
    Fault.cut(applied=False, lands_after=TIMEOUT / 2),
    Fault.slow(TIMEOUT / 2),
    Fault.slow(TIMEOUT * 1.5),  # it takes effect after the client has given up
    Fault.slow(TIMEOUT * 4),
]
FAULTS = st.sampled_from(TROUBLE)


class Outcomes(RuleBasedStateMachine):
    """Random stores, batches and faults; after each batch the store is asked who was right."""

    @initialize(
        profiles=st.integers(0, CUSTOMERS),
        bad_items=st.sampled_from(["refuse", "207", "409"]),
        names_items=st.booleans(),
        vanished=st.sampled_from(["ignore", "not_found"]),
        conflicts=st.sampled_from(["409", "422"]),
        lag=st.sampled_from([0.0, 0.0, 0.3, 3.0, 60.0]),
    )
    def open(self, profiles, bad_items, names_items, vanished, conflicts, lag):
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        rules = Rules(
            bad_items=bad_items, names_items=names_items, vanished=vanished, conflicts=conflicts,
            lag=lag,
        )  # fmt: skip
        self.lag = lag
        self.sandbox = Sandbox(customers=CUSTOMERS, profiles=profiles, rules=rules)
        self.runner.run(self.sandbox.start())
        self.session = self.sandbox.session(timeout=TIMEOUT, retry=RetryPolicy(attempts=ATTEMPTS))
        self.gone = []
        self.faults = 0

    def teardown(self):
        if hasattr(self, "runner"):
            self.runner.run(self.session.aclose())
            left = [
                t for t in asyncio.all_tasks(self.runner.get_loop()) if "bcshopper/_" in repr(t)
            ]
            assert left == []
            self.runner.run(self.sandbox.stop())
            self.runner.close()

    @rule(faults=st.lists(FAULTS, min_size=1, max_size=12))
    def break_things(self, faults):
        self.sandbox.faults.queue(*faults)
        self.faults += len(faults)

    @rule(ids=st.lists(st.integers(1, CUSTOMERS + STRANGERS), max_size=150, unique=True))
    def create(self, ids):
        store = self.sandbox.store
        before = dict(store.customers)
        report = self._run(self.session.shopper_profiles.create(ids, check=False))
        assert [o.item for o in report] == ids
        for o in report:
            held = store.customers.get(o.item)
            match o.status:
                case Status.CREATED:
                    assert held == o.profile_id is not None
                case Status.EXISTS:
                    assert held is not None
                    assert o.profile_id == held or (o.profile_id is None and o.error is not None)
                case Status.REJECTED | Status.NOT_SENT:
                    assert held == before.get(o.item)
                    assert o.error is not None
                    assert o.status is Status.NOT_SENT or o.item > CUSTOMERS
                case status:
                    assert status is Status.UNKNOWN
                    assert o.error is not None
        self._expect_no_harm_from_few_faults([o for o in report if o.item <= CUSTOMERS])

    @rule(share=st.floats(0, 1), ghosts=st.integers(0, 3))
    def delete(self, share, ghosts):
        store = self.sandbox.store
        existing = list(store.profiles)
        ids = existing[: int(len(existing) * share)] + self.gone[:ghosts]
        report = self._run(self.session.shopper_profiles.delete(ids, check=False))
        assert [o.item for o in report] == ids
        for o in report:
            match o.status:
                case Status.DELETED:
                    assert o.item not in store.profiles
                case Status.REJECTED | Status.NOT_SENT:
                    assert (o.item in store.profiles) == (o.item in existing)
                    assert o.error is not None
                case status:
                    assert status is Status.UNKNOWN
                    assert o.error is not None
        assert set(existing[len(ids) :]) <= set(store.profiles)
        assert store.wipes == 0
        self.gone += [i for i in ids if i not in store.profiles and i not in self.gone]
        self._expect_no_harm_from_few_faults(report)

    def _run(self, batch):
        async def to_rest():
            report = await batch
            await asyncio.sleep(TIMEOUT * 10)  # what lands late has landed
            return report

        return self.runner.run(to_rest())

    def _expect_no_harm_from_few_faults(self, outcomes):
        """Fewer faults than attempts change nothing in the end, where look-ups tell what is."""
        if self.faults < ATTEMPTS and not self.lag:
            assert all(o.ok for o in outcomes)
        self.sandbox.faults.clear()
        self.faults = 0


class TestOutcomes(Outcomes.TestCase):
    settings = settings(max_examples=120, stateful_step_count=8, deadline=None)


@pytest.mark.long
class TestOutcomesAtLength(Outcomes.TestCase):
    settings = settings(max_examples=2000, stateful_step_count=12, deadline=None)
