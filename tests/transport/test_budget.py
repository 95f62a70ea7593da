"""The budget for retries: an API that is down is not hammered, and a short outage is sat out."""

import asyncio
import contextlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import (
    APIDownError,
    BatchError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    Status,
)
from bcshopper._quota.budget import RetryBudget
from bcshopper.sandbox import Fault, Rules, Sandbox

pytestmark = pytest.mark.thousands

DOWN = {
    "503": Fault.error(503),
    "502": Fault.error(502, applied=False),
    "cut": Fault.cut(applied=False),
}


@pytest.mark.parametrize("kind", DOWN)
async def test_a_batch_stops_when_the_api_is_down(kind):
    """Of 1,000,000 customers: at most 500 requests, the rest NOT_SENT, and it is said why."""
    async with Sandbox() as sandbox, sandbox.session() as session:
        sandbox.faults.rule(DOWN[kind])
        asyncio.get_running_loop().set_debug(False)
        with pytest.raises(BatchError) as caught:
            await session.shopper_profiles.create(range(1, 1_000_001))
        report = caught.value.report
        assert sum(sandbox.record.counts.values()) <= 500
        assert {outcome.status for outcome in report} == {Status.UNKNOWN, Status.NOT_SENT}
        last = report[999_999]
        assert last.status is Status.NOT_SENT
        assert isinstance(last.error, APIDownError)
        assert "the API is down" in str(last.error)
        assert last.error.__cause__ is not None
        assert str(pickle.loads(pickle.dumps(last.error))) == str(last.error)


@pytest.mark.parametrize("kind", DOWN)
async def test_a_small_batch_does_not_wait_for_long(kind):
    """Ten chunks, too few to spend the budget: about a minute of failures is enough."""
    async with Sandbox(customers=500) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(DOWN[kind])
        began = asyncio.get_running_loop().time()
        report = await session.shopper_profiles.create(range(1, 501), check=False)
        assert 60 <= asyncio.get_running_loop().time() - began <= 150
        assert {outcome.status for outcome in report} <= {Status.UNKNOWN, Status.NOT_SENT}
        sandbox.faults.clear()
        assert (await session.shopper_profiles.create(range(1, 501))).ok


async def test_two_requests_that_hang_are_no_api_that_is_down():
    """A minute is soon over where each takes half of it to fail."""
    async with Sandbox(customers=50) as sandbox, sandbox.session() as session:
        sandbox.faults.queue(*[Fault.stall()] * 3)
        assert (await session.shopper_profiles.create(range(1, 51))).ok


async def test_who_tries_again_later_has_all_retries():
    """Failures of long ago, with nothing between, leave nobody without patience."""
    retry = RetryPolicy(budget=4, attempts=5)
    async with Sandbox() as sandbox, sandbox.session(retry=retry) as session:
        sandbox.faults.rule(Fault.error(502))
        with pytest.raises(ServerError):
            await session.shopper_profiles.page()
        await asyncio.sleep(3600)
        sandbox.faults.clear()
        sandbox.faults.queue(Fault.error(502), Fault.error(502))
        await session.shopper_profiles.page()


@pytest.mark.parametrize(
    "answer", [Fault.answer(200, b"<html>"), Fault.answer(202, b"{}"), Fault.error(408)]
)
async def test_an_api_that_answers_nonsense_is_down_too(answer):
    """Whatever is tried again is a failure, not only a 5xx."""
    async with Sandbox() as sandbox, sandbox.session() as session:
        sandbox.faults.rule(answer)
        report = await session.shopper_profiles.create(range(1, 20_001), check=False)
        assert sum(sandbox.record.counts.values()) <= 500
        assert isinstance(report[19_999].error, APIDownError)


async def test_who_is_in_a_hurry_stops_nobody_else():
    """Timeouts that are shorter than any answer: others neither pause nor run out of retries."""
    async with Sandbox(profiles=10) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(0.2))
        hurried = session.with_options(timeout=0.05, retry=RetryPolicy(attempts=2)).shopper_profiles

        async def hurry():
            while True:
                with contextlib.suppress(RequestTimeoutError):
                    await hurried.page()

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(hurry()) for _ in range(4)]
            began = asyncio.get_running_loop().time()
            for _ in range(50):
                await session.shopper_profiles.page()
            assert asyncio.get_running_loop().time() - began < 30
            for task in tasks:
                task.cancel()


async def test_a_proper_answer_is_no_failure_of_the_api():
    """A 404 for what is gone says that it is deleted, though others have spent all retries."""
    async with Sandbox(profiles=200) as sandbox, sandbox.session() as session:
        ids = list(sandbox.store.profiles)
        sandbox.rules = Rules(vanished="not_found")
        sandbox.store.delete(ids)
        sandbox.faults.rule(Fault.error(502), path="customers")
        for _ in range(2):
            with pytest.raises(ServerError):
                await session.shopper_profiles.lookup([1])
        poor = session.with_options(retry=RetryPolicy(budget=5))
        report = await poor.shopper_profiles.delete(ids)
        assert len(report.deleted) == 200


async def test_a_stream_ends_with_the_error():
    """After the outcomes of all that had been read."""
    async with Sandbox() as sandbox:
        retry = RetryPolicy(budget=10)
        async with sandbox.session(retry=retry) as session:
            sandbox.faults.rule(DOWN["503"])
            with pytest.raises(APIDownError):
                async for _ in session.shopper_profiles.create_stream(range(1, 100_001)):
                    pass
            assert sum(sandbox.record.counts.values()) <= 60


@pytest.mark.parametrize("kind", DOWN)
@pytest.mark.parametrize("verb", ["create", "delete"])
async def test_an_outage_of_twenty_seconds_costs_nothing(kind, verb):
    """Nothing was given up, and nothing is in doubt."""
    async with (
        Sandbox(customers=5000, profiles=3000) as sandbox,
        sandbox.session() as session,
    ):
        sandbox.faults.rule(Fault.slow(0.5))
        profiles = session.shopper_profiles
        ids = range(3001, 5001) if verb == "create" else list(sandbox.store.profiles)
        batch = asyncio.create_task(getattr(profiles, verb)(ids))
        await asyncio.sleep(1.2)
        sandbox.faults.clear()
        sandbox.faults.rule(DOWN[kind])
        await asyncio.sleep(20)
        sandbox.faults.clear()
        report = await batch
        assert not report.failed


async def test_the_budget_is_the_stores_and_comes_back_with_answers():
    """One session spends it, another has none to spend; each success gives one retry back."""
    retry = RetryPolicy(budget=6, attempts=5)
    async with (
        Sandbox() as sandbox,
        sandbox.session(retry=retry) as one,
        sandbox.session(retry=retry) as other,
    ):
        sandbox.faults.rule(Fault.error(502))
        for session, tries in ((one, 5), (other, 3), (one, 1)):
            before = sum(sandbox.record.counts.values())
            with pytest.raises(ServerError):
                await session.shopper_profiles.page()
            assert sum(sandbox.record.counts.values()) - before == tries
        sandbox.faults.clear()
        await one.shopper_profiles.page()
        sandbox.faults.queue(Fault.error(502))
        await other.shopper_profiles.page()


async def test_a_tenth_of_faults_never_spends_it():
    """A thousand requests, a hundred retries: not one fails for a budget of twenty."""
    retry = RetryPolicy(budget=20, attempts=12)
    async with Sandbox(profiles=10) as sandbox, sandbox.session(retry=retry) as session:
        sandbox.faults.rule(Fault.error(502), probability=0.1)

        async def ask():
            for _ in range(100):
                await session.shopper_profiles.page()

        await asyncio.gather(*(ask() for _ in range(10)))
        assert session.stats.retries > 50


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 10))
def test_it_never_gives_more_than_it_holds(history, size):
    """Whatever the history: retries are at most the budget and what came back."""
    budget, drawn, back = RetryBudget(), 0, 0
    for succeeds in history:
        if succeeds:
            budget.refill()
            back += 1
        elif budget.draw(size):
            drawn += 1
        assert 0 <= budget.spent <= size
        assert drawn <= size + back
