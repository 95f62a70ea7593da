"""What a turn does at the store, and what comes after it: decisions without the database."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import attrs

from bcshopper._outcomes import BatchReport, Outcome, Status
from bcshopper._segments import is_too_many
from bcshopper._session import Session
from bcshopper.fleet._rows import Job

_FIRST_DELAY, _LONGEST_DELAY = 5.0, 600.0  # seconds
_ATTEMPTS = 150
"""A day: whoever comes back in the morning finds jobs that wait for the store, not failures."""


@attrs.frozen
class Plan:
    """What a job that decides at the store has to do there.

    Attributes:
        new: items to be added to the job's rows.
        unchanged: positions of rows that are as they should be.
        refusal: why nothing of it may be done.
    """

    new: Sequence[int]
    unchanged: Sequence[int] = ()
    refusal: str | None = None


async def make_plan(session: Session, job: Job, wanted: Sequence[tuple[int, int]]) -> Plan:
    """Read what is there, and decide; change nothing.

    Args:
        session: of the store.
        job: a sync, or a creation for all customers.
        wanted: the positions and customers of its rows.

    Raises:
        BCShopperError: something could not be read.
    """
    if job.verb == "create-all-customers":
        new = array("q")
        async for page in session.customers.list().pages():
            new.extend(customer.id for customer in page if customer.shopper_profile_id is None)
        return Plan(new)
    plan = await session.segments.members(str(job.segment_id)).plan(item for _, item in wanted)
    removals = len(plan.to_remove)
    if is_too_many(removals, plan.unchanged, job.max_removed):
        return Plan((), refusal=(
            f"{removals:,} of {removals + plan.unchanged:,} members would be removed, which is "
            f"more than max_removed={job.max_removed:g} allows; nothing was changed"
        ))  # fmt: skip
    missing = set(plan.to_add)
    return Plan(plan.to_remove, [position for position, item in wanted if item not in missing])


async def act(
    session: Session, job: Job, items: Sequence[Any], *, removes: bool
) -> BatchReport[Any]:
    """Do what the job is to do with these items; all of it is safe to repeat."""
    profiles = session.shopper_profiles
    if job.verb == "delete":
        return await profiles.delete(items, check=False)
    if job.verb != "sync":
        return await profiles.create(items, check=False)
    members = session.segments.members(str(job.segment_id))
    change = members.remove_customers if removes else members.add_customers
    return await change(items, check=False)


@attrs.frozen
class Result:
    """What a turn came to.

    Attributes:
        noted: the outcomes to be written, with their positions.
        start: where the next turn goes on.
        attempt: how often the store was tried in vain by then.
        delay: seconds until then; None: the job is given up.
        trouble: what is wrong with the store, if anything.
        doubts: the outcomes of rows that go again, and may have been sent.
    """

    noted: Sequence[tuple[int, Outcome[Any]]]
    start: int
    attempt: int = 0
    delay: float | None = 0.0
    trouble: str | None = None
    doubts: Sequence[tuple[int, Outcome[Any]]] = ()


def judge(
    rows: Sequence[tuple[int, Any]], outcomes: Sequence[Outcome[Any]], *, start: int, attempt: int
) -> Result:
    """Decide what to write and how to go on.

    What was not sent is the store's fault, and stays open. If nothing at all was learnt, the store
    is not well, and is left alone for longer and longer; what else is not known is written down so.

    Args:
        rows: positions and items.
        outcomes: what became of the items, in any order.
        start: where this turn began.
        attempt: how often the store was tried in vain before.
    """
    by_item = {outcome.item: outcome for outcome in outcomes}
    pairs = [(position, by_item[item]) for position, item in rows]
    trouble = next((str(o.error) for _, o in pairs if o.status is Status.NOT_SENT), None)
    learnt = [(position, o) for position, o in pairs if o.status is not Status.NOT_SENT]
    if all(o.status is Status.UNKNOWN for _, o in learnt):
        trouble = trouble or str(learnt[0][1].error)
        return back_off(trouble, start=start, attempt=attempt, doubts=learnt)
    if trouble is not None:
        return Result(learnt, start, 1, delay_of(1), trouble)
    return Result(learnt, rows[-1][0] + 1)


def back_off(
    trouble: str, *, start: int, attempt: int, doubts: Sequence[tuple[int, Outcome[Any]]] = ()
) -> Result:
    """The same rows again, later."""
    return Result((), start, attempt + 1, delay_of(attempt + 1), trouble, doubts)


def delay_of(attempt: int) -> float | None:
    """Seconds to wait after so many attempts in vain; None: no more."""
    if attempt > _ATTEMPTS:
        return None
    return min(_FIRST_DELAY * 2.0 ** (attempt - 1), _LONGEST_DELAY)
