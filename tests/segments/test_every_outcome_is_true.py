"""Random stores, wanted customers and faults: what `sync` says of each customer is so."""

import asyncio

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bcshopper import BatchReport, BCShopperError, RetryPolicy, Status
from bcshopper.sandbox import Rules, Sandbox
from tests.batch.test_every_outcome_is_true import FAULTS, TIMEOUT
from tests.conftest import run
from tests.segments.store import customers_of, ids_of
from tests.segments.test_sync import assert_true, fewest_lookups

ATTEMPTS = 4
STRANGERS = range(90_001, 90_061)


@attrs.frozen
class Case:
    """A store, who is wanted in a segment of it, and what goes wrong.

    Attributes:
        customers: how many there are.
        profiles: how many of them have a profile: the first ones.
        members: the customers in the segment.
        wanted: who is to be in it.
        rules: the store's behaviour.
        faults: of the first requests.
        by_chance: one that any later request may meet.
    """

    customers: int
    profiles: int
    members: list[int]
    wanted: list[int]
    rules: Rules
    faults: list[object]
    by_chance: object


@st.composite
def cases(draw, *, faults):
    customers = draw(st.integers(1, 700))
    profiles = draw(st.integers(0, customers))
    rng = draw(st.randoms(use_true_random=False))
    members = rng.sample(range(1, profiles + 1), draw(st.integers(0, profiles)))
    stays = rng.sample(members, int(len(members) * draw(st.floats(0, 1))))
    outside = sorted(set(range(1, customers + 1)).difference(members))
    comes = rng.sample(outside, draw(st.integers(0, len(outside))))
    strangers = list(STRANGERS[: draw(st.sampled_from([0, 0, 1, 3, 60]))])
    wanted = [*stays, *comes, *strangers]
    rng.shuffle(wanted)
    rules = Rules(
        bad_items=draw(st.sampled_from(["refuse", "207", "409"])),
        names_items=draw(st.sampled_from([True, True, False])),
        vanished=draw(st.sampled_from(["ignore", "not_found"])),
        unknown_items=draw(st.sampled_from(["404", "422"])),
        conflicts=draw(st.sampled_from(["409", "422"])),
        lag=draw(st.sampled_from([0.0, 0.0, 3.0])) if faults else 0.0,
    )
    return Case(
        customers=customers,
        profiles=profiles,
        members=members,
        wanted=wanted,
        rules=rules,
        faults=draw(st.lists(FAULTS, max_size=12)) if faults else [],
        by_chance=draw(st.one_of(st.none(), FAULTS)) if faults else None,
    )


async def play(case):
    """Sync, see who was right, and sync again when all is well."""
    sandbox = Sandbox(case.customers, profiles=case.profiles, rules=case.rules)
    session = None
    async with sandbox:
        session = sandbox.session(timeout=TIMEOUT, retry=RetryPolicy(attempts=ATTEMPTS))
        async with session:
            store = sandbox.store
            segment = store.create_segment("VIP")
            store.add_members(segment.id, [store.customers[i] for i in case.members])
            members = session.segments.members(segment.id)
            sandbox.faults.queue(*case.faults)
            if case.by_chance is not None:
                sandbox.faults.rule(case.by_chance, probability=0.2, times=8)
            before = customers_of(sandbox, segment)
            is_whole = True
            try:
                report = await members.sync(case.wanted, max_removed=1, check=False)
            except BCShopperError as error:
                report, is_whole = BatchReport.from_exception(error), False
            took = len(sandbox.record.requests)
            await asyncio.sleep(TIMEOUT * 10)  # what lands late has landed

            assert [o.item for o in report][: len(case.wanted)] == case.wanted
            told = {o.item for o in report}
            assert len(told) == len(report)
            everyone = before | set(case.wanted)
            assert told == everyone if is_whole else told <= everyone
            assert_true(report, before, customers_of(sandbox, segment))
            assert all(o.error is not None for o in report.failed)
            # Of a conflict that is called neither that nor whose, nobody can tell what it is about.
            is_told = case.rules.names_items or case.rules.conflicts == "409"
            is_well = len(case.faults) < ATTEMPTS and case.by_chance is None
            if is_well and is_told and not case.rules.lag:
                assert is_whole
                assert {o.item for o in report.failed} == set(case.wanted) & set(STRANGERS)
                # A stranger may be in doubt over a request whose answer got lost.
                doubts = {Status.UNKNOWN} if case.faults else set()
                assert {o.status for o in report.failed} <= {Status.REJECTED} | doubts

            sandbox.faults.clear()
            again = await members.sync(case.wanted, max_removed=1, check=False)
            assert {o.item for o in again.failed} == set(case.wanted) & set(STRANGERS)
            assert {o.status for o in again.failed} <= {Status.REJECTED}
            assert customers_of(sandbox, segment) == set(case.wanted) - set(STRANGERS)
            assert store.wipes == 0
            assert len(ids_of(sandbox)) >= case.profiles
        return took


def fewest(case):
    """The requests that it can't be done without.

    Pages of a consistent reading, look-ups of who is missing, and chunks of creations, additions
    and removals. Of customers who do not exist, chunks that are refused because of them.
    """
    members, wanted = set(case.members), set(case.wanted)
    missing = [customer for customer in case.wanted if customer not in members]
    strangers = len(wanted & set(STRANGERS))
    pages = -(-len(members) // 250)
    without = sum(customer > case.profiles for customer in missing)
    refusals = -(-strangers // 50) + 1 if strangers and case.rules.bad_items == "refuse" else 0
    return (
        (pages + 2 if pages > 1 else 1)
        + (fewest_lookups(missing) if missing else 0)
        + -(-without // 50)
        + -(-(len(missing) - strangers) // 50)
        + -(-len(members - wanted) // 49)
        + refusals
    )


@given(cases(faults=True))
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
def test_every_outcome_is_true(case):
    """Whatever goes wrong; and a second sync finishes what the first one left."""
    run(play(case))


@pytest.mark.long
@given(cases(faults=True))
@settings(max_examples=2000, suppress_health_check=list(HealthCheck))
def test_every_outcome_is_true_at_length(case):
    """The same, for longer."""
    run(play(case))


@given(cases(faults=False))
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_where_nothing_goes_wrong_it_takes_hardly_more_than_the_fewest_requests(case):
    """At most 1.15 times as many, if the store names whom it refuses."""
    took = run(play(case))
    if case.rules.names_items or not set(case.wanted) & set(STRANGERS):
        assert took <= 1.15 * fewest(case)
