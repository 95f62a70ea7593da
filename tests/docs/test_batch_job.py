"""The batch job of the examples, run as a program against PostgreSQL."""

import json
import signal
import time

import pytest

from bcshopper.sandbox import Fault, Sandbox

pytestmark = pytest.mark.real_time

JOB = ("-W", "error", "batch_job.py")
# Prints the most memory that the job had, in KiB; the interpreter itself is part of it.
MEASURED = """
import resource, runpy
runpy.run_path("batch_job.py", run_name="__main__")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def add(database, count):
    """Add customers; their ids go on from the last one's, or from 1."""
    database.run("CREATE TABLE IF NOT EXISTS customers (id bigserial PRIMARY KEY, name text)")
    database.run("INSERT INTO customers (name) SELECT 'n' FROM generate_series(1, %s)", count)


def outcomes_in(database):
    """What the job wrote, by customer: status, profile and error."""
    rows = database.run("SELECT * FROM profile_outcomes ORDER BY customer_id").fetchall()
    return {row[0]: row[1:] for row in rows}


def written(database):
    """How many outcomes there are yet."""
    (table,) = database.run("SELECT to_regclass('profile_outcomes')").fetchone()
    return database.run("SELECT count(*) FROM profile_outcomes").fetchone()[0] if table else 0


def finish(job, code=0):
    """Wait for the job's end, and give back what it printed."""
    printed, errors = job.communicate(timeout=120)
    assert job.returncode == code, errors
    return printed + errors


def posted(sandbox):
    """The customers that were sent, in order."""
    posts = [json.loads(r.body) for r in sandbox.record.requests if r.method == "POST"]
    return [row["customer_id"] for post in posts for row in post]


def test_every_outcome_is_written(database, start):
    """Also of those who had a profile or are unknown to the store; then nothing is left to do."""
    add(database, 2300)
    with Sandbox(customers=2299, profiles=10) as sandbox:
        assert not finish(start(sandbox, *JOB))
        outcomes = outcomes_in(database)
        assert {i: o[1] for i, o in outcomes.items() if i < 2300} == sandbox.store.customers
        assert [o[0] for o in outcomes.values()] == 10 * ["exists"] + 2289 * ["created"] + [
            "rejected"
        ]
        assert outcomes[2300][2]
        sandbox.record.requests.clear()
        assert not finish(start(sandbox, *JOB))
        assert not sandbox.record.requests


def test_a_killed_job_goes_on_where_it_was(database, start):
    """Started again it finishes; what was written down is not sent again."""
    add(database, 5000)
    with Sandbox(customers=5000) as sandbox:
        sandbox.faults.rule(Fault.slow(0.1), method="POST")
        job = start(sandbox, *JOB)
        deadline = time.monotonic() + 240
        while not written(database):
            assert job.poll() is None, job.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        job.send_signal(signal.SIGKILL)
        job.communicate()
        before = outcomes_in(database)
        assert 0 < len(before) < 5000
        sandbox.record.requests.clear()
        assert not finish(start(sandbox, *JOB))
        assert not set(posted(sandbox)) & before.keys()
        assert {i: o[1] for i, o in outcomes_in(database).items()} == sandbox.store.customers
        assert None not in sandbox.store.customers.values()
        assert len(sandbox.store.profiles) == 5000


def test_what_was_done_before_an_error_is_written(database, start):
    """A job that can't go on says so and leaves what it knows; the next one does the rest."""
    add(database, 500)
    with Sandbox(customers=500) as sandbox:
        sandbox.faults.queue(Fault.slow(0.5), Fault.error(401))
        assert "AuthenticationError" in finish(start(sandbox, *JOB), code=1)
        left = {i for i, profile in sandbox.store.customers.items() if profile is None}
        assert left
        assert outcomes_in(database).keys() == sandbox.store.customers.keys() - left
        assert not finish(start(sandbox, *JOB))
        assert {i: o[1] for i, o in outcomes_in(database).items()} == sandbox.store.customers


def test_memory_does_not_grow_with_the_rows(database, start):
    """100,000 rows take no more of it than 10,000, give or take a tenth."""
    memory = {}
    with Sandbox(customers=110_000) as sandbox:
        for rows in (10_000, 100_000):
            add(database, rows)
            memory[rows] = int(finish(start(sandbox, "-c", MEASURED)))
    assert written(database) == 110_000
    assert memory[100_000] <= 1.1 * memory[10_000], memory
