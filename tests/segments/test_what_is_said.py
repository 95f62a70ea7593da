"""Answers that do not say what they seem to: no outcome is read into them."""

import copy
import json
import pickle

import pytest

from bcshopper import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    RetryPolicy,
    Status,
    TooManyRemovalsError,
)
from bcshopper.errors import APIError, BCShopperError
from bcshopper.sandbox import Fault, Rules, Sandbox

TWICE = RetryPolicy(attempts=2)


def refusal(status, words, title="no"):
    named = {"status": status, "title": title, "errors": words}
    body = {"data": [], "errors": [named], "meta": {}}
    return Fault.answer(status, json.dumps(body).encode(), applied=False)


@pytest.fixture
async def segment():
    """A sandbox, a session, and a segment of its store."""
    async with (
        Sandbox(customers=300, profiles=100) as sandbox,
        sandbox.session(retry=TWICE) as session,
    ):
        made = sandbox.store.create_segment("VIP")
        yield sandbox, session, made, session.segments.members(made.id)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (409, "Shopper profile can be in at most 1000 segments."),
        (409, "Segment is locked by a running import, try again later"),
        (422, "Shopper profile has already reached its maximum number of segments"),
        (422, "all 1000 places are taken"),
    ],
)
async def test_words_that_do_not_say_it_is_in_are_no_exists(segment, status, words):
    """Whoever was not added is not called existing, whatever the status."""
    sandbox, _, made, members = segment
    profile_id = next(iter(sandbox.store.profiles))
    sandbox.faults.rule(refusal(status, {"0": words}), method="POST")
    report = await members.add([profile_id], check=False)
    assert report[0].status in {Status.REJECTED, Status.UNKNOWN}
    assert profile_id not in sandbox.store.segments[made.id].members


@pytest.mark.parametrize("body", [b"", b"<html>Conflict</html>"])
async def test_a_conflict_without_words_is_a_doubt(segment, body):
    """Nobody can tell with what it is one."""
    sandbox, _, _, members = segment
    sandbox.faults.rule(Fault.answer(409, body, applied=False), method="POST")
    report = await members.add(list(sandbox.store.profiles)[:3], check=False)
    assert {o.status for o in report} == {Status.UNKNOWN}


async def test_a_segment_that_is_gone_rejects_nobody_though_positions_are_named(segment):
    """Whose 404 it is, is asked where the words do not name the profile."""
    sandbox, _, made, members = segment
    profiles = list(sandbox.store.profiles)[:2]
    words = {"0": f"Segment `{made.id}` does not exist", "1": "no such segment"}
    sandbox.faults.rule(refusal(422, words), method="POST")
    sandbox.store.delete_segments([made.id])
    report = await members.add(profiles, check=False)
    assert {o.status for o in report} == {Status.NOT_SENT}
    assert {type(o.error) for o in report} == {NotFoundError}


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_within_an_answer_rejects_nobody(segment, status):
    """It is about no item, wherever it stands."""
    sandbox, session, _, members = segment
    inner = {"status": status, "title": "no", "errors": {"0": "nope", "1": "nope"}}
    body = json.dumps({"data": [], "errors": [inner], "meta": {}}).encode()
    sandbox.faults.rule(Fault.answer(207, body, applied=False), method="POST")
    for report in (
        await members.add(list(sandbox.store.profiles)[:2], check=False),
        await session.shopper_profiles.create([201, 202], check=False),
    ):
        assert {o.status for o in report} == {Status.NOT_SENT}


async def test_a_profile_that_look_ups_find_though_it_is_gone_is_a_doubt():
    """The customer has another one, which nobody can see yet: nobody is rejected."""
    async with (
        Sandbox(customers=5, profiles=2, rules=Rules(lag=20.0)) as sandbox,
        sandbox.session(retry=TWICE) as session,
    ):
        made = sandbox.store.create_segment("VIP")
        sandbox.store.delete([sandbox.store.customers[1]])
        sandbox.store.create(1)
        members = session.segments.members(made.id)
        added = await members.add_customers([1], check=False)
        synced = await members.sync([1], check=False)
    assert added[0].status is not Status.REJECTED
    assert synced[0].status is not Status.REJECTED


async def test_another_segment_than_was_asked_for_is_no_answer(segment):
    """Neither of a change nor of a creation: members of a wrong one would be changed."""
    sandbox, session, made, _ = segment
    other = sandbox.store.create_segment("other")
    row = {"id": str(other.id), "name": "other", "description": ""}
    answer = Fault.answer(200, json.dumps({"data": [row], "meta": {}}).encode(), applied=False)
    for method in ("PUT", "POST"):
        sandbox.faults.rule(answer, method=method)
    with pytest.raises(BCShopperError):
        await session.segments.update(made.id, name="n")
    with pytest.raises(BCShopperError):
        await session.segments.ensure("n")


async def test_create_does_not_take_anothers_segment_for_its_own(segment):
    """Also after a lost answer: the name is taken."""
    sandbox, session, _, _ = segment
    await session.segments.create("Gold", description="old")
    sandbox.faults.rule(Fault.cut(applied=False), method="POST", path="segments", times=1)
    with pytest.raises(ConflictError):
        await session.segments.create("Gold", description="new")
    sandbox.faults.rule(Fault.cut(applied=True), method="POST", path="segments", times=1)
    assert (await session.segments.create("Silver", description="new")).description == "new"


@pytest.mark.parametrize("status", ["507", "403", "422"])
async def test_a_full_store_is_told_at_once(status):
    """No look-up and no repeat can help."""
    rules = Rules(max_segments=1, above_max_segments=status)
    async with Sandbox(rules=rules) as sandbox, sandbox.session() as session:
        await session.segments.ensure("a")
        before = len(sandbox.record.requests)
        with pytest.raises(APIError, match="1,000"):
            await session.segments.ensure("b")
        assert len(sandbox.record.requests) - before <= 3


async def test_text_that_is_not_unicode_is_refused(segment):
    """Before it is sent: the store would keep what nobody can read."""
    sandbox, session, _, _ = segment
    with pytest.raises(InvalidInputError, match="surrogate"):
        await session.segments.create("a\ud800")
    assert not sandbox.record.requests


async def test_an_error_that_its_own_report_holds_keeps_all_when_copied(segment):
    """A worker process gets plan and report, though they lead back to the error."""
    sandbox, _, _, members = segment
    await members.sync(range(1, 101))
    sandbox.faults.rule(Fault.error(500), method="GET", path="customers")
    with pytest.raises(TooManyRemovalsError) as caught:
        await members.sync([500])
    for twin in (pickle.loads(pickle.dumps(caught.value)), copy.deepcopy(caught.value)):
        assert twin.plan.to_remove == caught.value.plan.to_remove
        assert vars(twin).keys() == vars(caught.value).keys()
        assert str(twin) == str(caught.value)


async def test_a_confirmation_that_is_wrong_makes_a_short_message(segment):
    """Whatever was given: it may be a token, or of any length."""
    _, session, _, members = segment
    for call in (session.segments.delete_all, session.shopper_profiles.delete_all):
        with pytest.raises(InvalidInputError) as caught:
            await call(confirm="t0ken" * 20_000)
        assert "t0ken" not in str(caught.value)
    with pytest.raises(InvalidInputError) as caught:
        await members.clear(confirm="-" * 100_000 + "0" * 32)
    assert len(str(caught.value)) < 500
