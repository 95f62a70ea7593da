"""What a job's rows say, held against what is in the store."""

from bcshopper import Status, fleet

_HAS = {Status.CREATED, Status.EXISTS}


async def audit(job, store, customers, database):
    """Each customer has one row, which is true, and one profile; the store was never crowded."""
    outcomes = [outcome async for outcome in fleet.outcomes(job, database=database)]
    assert [outcome.item for outcome in outcomes] == list(customers)
    assert {outcome.status for outcome in outcomes} <= _HAS
    assert all(store.store.customers[o.item] == o.profile_id for o in outcomes)
    assert len(store.store.profiles) == len(outcomes)
    assert store.record.statuses[429] == 0
    assert store.record.peak <= 10
