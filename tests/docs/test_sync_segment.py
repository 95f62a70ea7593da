"""The example `sync_segment.py`, run as a program against PostgreSQL."""

import signal
import time

import pytest

from bcshopper.sandbox import Fault, Sandbox

pytestmark = pytest.mark.real_time

JOB = ("-W", "error", "sync_segment.py")


def spend(database, customers, total):
    """Let each of these customers have ordered for so much in all."""
    database.run("CREATE TABLE IF NOT EXISTS orders (customer_id bigint, total numeric)")
    database.run("DELETE FROM orders WHERE customer_id = ANY(%s)", list(customers))
    for part in (0.4, 0.6):
        database.run(
            "INSERT INTO orders SELECT unnest(%s::bigint[]), %s", list(customers), part * total
        )


def loyal(sandbox):
    """The customers who are in the segment."""
    (segment,) = sandbox.store.segments.values()
    assert segment.name == "Loyal customers"
    return {profile.customer_id for profile in segment.members.values()}


def finish(job, code=0):
    printed, errors = job.communicate(timeout=120)
    assert job.returncode == code, errors
    return printed, errors


def test_the_segment_follows_the_query(database, start):
    """The plan is printed first; then those who came are in, and those who went are out."""
    with Sandbox(customers=500, profiles=200) as sandbox:
        spend(database, range(1, 301), 1000)
        spend(database, range(301, 401), 999)
        printed, errors = finish(start(sandbox, *JOB))
        assert printed == (
            "<SyncPlan: 100 to create, 300 to add, 0 to remove, 0 unchanged; 8 requests>\n"
            "<SyncReport of 300: 300 added>\n"
        )
        assert not errors
        assert loyal(sandbox) == set(range(1, 301))
        spend(database, range(1, 31), 10)
        spend(database, [401, 9999], 5000)
        printed, errors = finish(start(sandbox, *JOB))
        assert printed == (
            "<SyncPlan: 2 to create, 2 to add, 30 to remove, 270 unchanged; 3 requests>\n"
            "<SyncReport of 302: 270 exists, 1 added, 30 removed, 1 rejected>\n"
        )
        assert errors.startswith("9999 rejected ")
        assert loyal(sandbox) == {*range(31, 301), 401}
        assert sandbox.store.wipes == 0


def test_a_killed_job_finishes_when_it_is_started_again(database, start):
    """With the fewest writes that are left, and nobody added twice."""
    spend(database, range(1, 3001), 2000)
    with Sandbox(customers=3000, profiles=2000) as sandbox:
        sandbox.faults.rule(Fault.slow(0.1), method="POST", path="segments/*/shopper-profiles")
        job = start(sandbox, *JOB)
        deadline = time.monotonic() + 240
        while not sandbox.store.segments or not loyal(sandbox):
            assert job.poll() is None, job.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        job.send_signal(signal.SIGKILL)
        printed, _ = job.communicate()
        assert printed.startswith("<SyncPlan: 1000 to create, 3000 to add,")
        time.sleep(0.5)  # what had left has arrived
        before = loyal(sandbox)
        assert 0 < len(before) < 3000
        sandbox.faults.clear()
        printed, _ = finish(start(sandbox, *JOB))
        assert printed.startswith(f"<SyncPlan: 0 to create, {3000 - len(before)} to add,")
        assert printed.endswith(f"{len(before)} exists, {3000 - len(before)} added>\n")
        assert loyal(sandbox) == set(range(1, 3001))
        assert len(sandbox.store.segments) == 1


def test_a_query_that_lost_its_customers_empties_nothing(database, start):
    """More removals than the program allows: it says so, fails, and changes nothing."""
    spend(database, range(1, 101), 2000)
    with Sandbox(customers=100, profiles=100) as sandbox:
        finish(start(sandbox, *JOB))
        spend(database, range(1, 51), 1)
        printed, errors = finish(start(sandbox, *JOB), code=1)
        assert printed.startswith("<SyncPlan: 0 to create, 0 to add, 50 to remove, 50 unchanged")
        assert "50 of 100 members would be removed" in errors
        assert loyal(sandbox) == set(range(1, 101))


def test_what_stopped_it_is_told_and_left_for_the_next_run(database, start):
    """A refused token: the program fails, and the next one does the rest."""
    spend(database, range(1, 1001), 2000)
    with Sandbox(customers=1000, profiles=1000) as sandbox:
        sandbox.faults.rule(Fault.error(401), path="segments/*/shopper-profiles", nth=5)
        _, errors = finish(start(sandbox, *JOB), code=1)
        assert "not_sent" in errors
        assert len(loyal(sandbox)) < 1000
        finish(start(sandbox, *JOB))
        assert loyal(sandbox) == set(range(1, 1001))
