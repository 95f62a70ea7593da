"""202 is not done yet, 206 is not whole: neither is a success, whatever was asked."""

import pytest

from bcshopper import ResponseFormatError, RetryPolicy, Status
from bcshopper.sandbox import Fault, Sandbox

ONCE = RetryPolicy(attempts=1)
NOBODY = (
    b'{"data":[],"meta":{"pagination":'
    b'{"total":0,"count":0,"per_page":250,"current_page":1,"total_pages":0}}}'
)
half_done = pytest.mark.parametrize(
    ("status", "reason"), [(202, "not done yet"), (206, "not whole")]
)


def the_whole(sandbox, session):
    """What the store would answer, had it finished."""
    page = sandbox.store.page(1, 250, links=False)
    profiles = session.shopper_profiles
    return {
        "page": (page, profiles.page),
        "list": (page, profiles.list().all),
        "consistent list": (page, profiles.list(consistent=True).all),
        "delete_all": (b"", lambda: profiles.delete_all(confirm="sandbox")),
        "lookup": (NOBODY, lambda: profiles.lookup([1])),
    }


@half_done
@pytest.mark.parametrize("call", ["page", "list", "consistent list", "delete_all", "lookup"])
async def test_what_is_half_done_is_no_answer(status, reason, call):
    """However whole the body looks."""
    async with Sandbox(profiles=3) as sandbox, sandbox.session(retry=ONCE) as session:
        body, ask = the_whole(sandbox, session)[call]
        sandbox.faults.rule(Fault.answer(status, body, applied=False))
        with pytest.raises(ResponseFormatError, match=reason) as caught:
            await ask()
        assert caught.value.status == status
        assert len(sandbox.store.profiles) == 3


@half_done
async def test_what_is_half_done_is_asked_again(status, reason):
    """It may be done by then."""
    async with Sandbox(profiles=3) as sandbox, sandbox.session() as session:
        sandbox.faults.queue(Fault.answer(status, b""))
        assert len(await session.shopper_profiles.list().all()) == 3


@half_done
@pytest.mark.parametrize("applied", [True, False])
async def test_a_creation_that_is_half_done_is_looked_up(status, reason, applied):
    """It is in doubt: neither done nor refused."""
    row = b'{"id":"f47ac10b-58cc-4372-a567-0e02b2c3d479","customer_id":%d}'
    body = b'{"data":[%b],"meta":{}}' % b",".join(row % i for i in (1, 2))
    async with Sandbox(customers=2) as sandbox:
        sandbox.faults.rule(Fault.answer(status, body, applied=applied), method="POST")
        async with sandbox.session(retry=ONCE) as session:
            report = await session.shopper_profiles.create([1, 2], check=False)
        expected = Status.EXISTS if applied else Status.UNKNOWN
        assert {o.status for o in report} == {expected}
        assert not set(report.profile_ids) - set(sandbox.store.profiles)


@half_done
@pytest.mark.parametrize("applied", [True, False])
async def test_a_deletion_that_is_half_done_is_in_doubt(status, reason, applied):
    """An empty body with that status is not the documented 204."""
    async with Sandbox(profiles=2) as sandbox, sandbox.session(retry=ONCE) as session:
        sandbox.faults.rule(Fault.answer(status, b"", applied=applied), method="DELETE")
        ids = list(sandbox.store.profiles)
        report = await session.shopper_profiles.delete(ids, check=False)
        assert {o.status for o in report} == {Status.UNKNOWN}
        sandbox.faults.clear()
        assert (await session.shopper_profiles.delete(ids)).ok
        assert not sandbox.store.profiles
